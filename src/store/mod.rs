//! Where state lives when one process is not enough: sealed, in a database, an HSM or a Vault.

pub mod anchor;
#[cfg(feature = "pkcs11")]
pub mod pkcs11;
mod regional;
#[cfg(feature = "sealed")]
pub mod seal;
#[cfg(feature = "sql")]
pub mod sql;
#[cfg(feature = "transit")]
pub mod transit;

pub use self::regional::Regional;
