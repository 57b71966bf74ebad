//! Keys in the Transit engine of OpenBao or Vault.

mod anchor;
mod engine;
mod failure;
mod holder;
#[cfg(feature = "sealed")]
mod kek;
mod key;
mod server;

use thiserror::Error;

pub use self::anchor::KvAnchor;
pub use self::failure::TransitFailure;
pub use self::holder::Transit;
#[cfg(feature = "sealed")]
pub use self::kek::TransitKek;
pub use self::server::{VaultServer, VaultServerBuilder};

use crate::keys::RecordedKeys;
use crate::target::TargetError;

/// Keys of connections in a Transit engine, their records in `R`.
pub type TransitKeyStore<R> = RecordedKeys<R, Transit>;

/// Why something on a server cannot be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TransitError {
    /// A mount or a key's name is empty or has other characters than `A-Z a-z 0-9 . _ -`; a mount may also have `/` inside.
    ///
    /// User action: write them as `bao secrets list` and `bao list transit/keys` show them.
    #[error("the mount or the key is not a name")]
    Name,
    /// Address and mount do not make a URL.
    ///
    /// User action: as [`TargetError`] says.
    #[error("the address cannot be used")]
    Address(#[source] TargetError),
    /// The namespace cannot stand in a header.
    ///
    /// User action: correct the namespace.
    #[error("the namespace has a character that a header cannot carry")]
    Namespace,
}
