//! Where state lives when one process is not enough: sealed, in a database, an HSM or a Vault.

pub mod anchor;
mod regional;
#[cfg(feature = "sealed")]
pub mod seal;
#[cfg(feature = "sql")]
pub mod sql;

pub use self::regional::Regional;
