//! Where state lives when one process is not enough: sealed, in a database, an HSM or a Vault.

mod regional;
#[cfg(feature = "sealed")]
pub mod seal;

pub use self::regional::Regional;
