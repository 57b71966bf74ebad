//! Where state lives when one process is not enough: sealed, in a database, an HSM or a Vault.

#[cfg(any(feature = "pkcs11", feature = "transit"))]
mod flights;
#[cfg(feature = "pkcs11")]
pub mod pkcs11;
#[cfg(feature = "sealed")]
pub mod seal;
#[cfg(feature = "transit")]
pub mod transit;
