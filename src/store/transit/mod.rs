//! Keys in the Transit engine of OpenBao or HashiCorp Vault, which they never leave.
//!
//! [`Transit`] is a [`KeyHolder`](crate::keys::KeyHolder): with records anywhere it is a key store ([`TransitKeyStore`]).
//! [`KvAnchor`] keeps the anchor of a chain of ended things. With the feature `sealed`, `TransitKek` wraps data keys
//! under a key of the engine.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use shipbound::clock::SystemClock;
//! use shipbound::keys::{Authority, MemoryKeyRecords};
//! use shipbound::secret::VaultToken;
//! use shipbound::store::transit::{Transit, TransitError, TransitKeyStore, VaultServer};
//! use shipbound::target::Target;
//! use shipbound::transport::Transport;
//!
//! # fn make(
//! #     address: Target, token: VaultToken, transport: Arc<dyn Transport>,
//! # ) -> Result<TransitKeyStore<MemoryKeyRecords>, TransitError> {
//! let clock = Arc::new(SystemClock::new());
//! // address: https://vault.shipper.example:8200
//! let server = VaultServer::builder(address, token).build(transport, clock.clone())?;
//! let (records, holder) = (Arc::new(MemoryKeyRecords::new()), Arc::new(Transit::new(&server, "transit")?));
//! let keys = TransitKeyStore::new(records, holder, clock, Authority::default());
//! # Ok(keys)
//! # }
//! ```
//!
//! # Keys
//!
//! ES256 (`ecdsa-p256`), Ed25519 (`ed25519`) and PS256 (`rsa-2048`). A key's name is [`key_name`](crate::keys::key_name):
//! the hash of owner, purpose and id, so no text of anybody's is in a path. When a key is made and whenever a signer of
//! it is made, the server must say that it cannot be exported nor backed up in plain text, has one version, and that this
//! version's public half is the record's. Otherwise it is [`KeyError::Mismatch`](crate::keys::KeyError::Mismatch), and a
//! key that was just made is destroyed. Nobody rotates these keys in the engine: one that has a second version was
//! tampered with, or an operator erred; have the connection's key rotated by this crate. Signatures are asked of version
//! 1, and verified before they are released.
//!
//! # Time and failures
//!
//! A request takes [10 s](VaultServerBuilder::limit) at most, and reads 256 KiB of an answer. A signature is one request;
//! looking at a key is one, making it two, destroying it four. One whose connection is lost is sent once more on a fresh
//! connection within its time, since all of them can be repeated; nothing else is, and no failure is remembered.
//! [`VaultServer::failure`] tells why the newest request failed. Redirects of standby servers are not followed.
//!
//! # Cost
//!
//! A proof is one request on a connection that is open as a rule, and one verification here. With OpenBao
//! on the same machine an ES256 proof takes 2.3 ms, 84 times what it takes with a key in this process (27 µs), both with their share
//! of two cores (`cargo bench --bench held --features pkcs11,transit`). A network adds its round trip.
//!
//! # Policy
//!
//! What the application's token needs, and no more. Give this crate a mount of its own: `+` is every key of the mount.
//! Tokens are short-lived; the application renews them or logs in again, and hands over the new one by
//! [`VaultServer::set_token`].
//!
//! ```text
#![doc = include_str!("application.hcl")]
//! ```
//!
//! The KEK is made by an administrator, who alone may rotate it: `bao write -f transit/keys/shipbound-kek`. Switch an
//! audit device on: signatures of a thief who calls the server directly are in no journal of this crate.
//!
//! # What a thief gets
//!
//! | of | who then |
//! |---|---|
//! | the database, a backup of it | knows whose keys there are, signs and opens nothing |
//! | the token, and a way to the server | signs as every tenant and unwraps data keys until the token ends, takes no key along, can destroy those of connections |
//! | the server's storage | nothing without the unseal keys |
//! | unseal keys or the root token | everything: it makes keys exportable, which the next look-up refuses, and reads the server's memory |

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
