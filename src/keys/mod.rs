//! Private keys: whose they are, what they are for, how long they live, and how they sign.
//!
//! Whoever signs has a [`KeyHandle`]: it says who the key is and signs, and no way leads from it to private bytes. Keys are
//! made and kept by a [`KeyStore`]. [`MemoryKeyStore`] keeps them in this process. [`RecordedKeys`] is a store of two halves:
//! [`KeyRecords`], which outlive the process, and a [`KeyHolder`], which has the private halves; anyone can write either, and
//! by [`KeyHandle::new`] and [`Signer`] a store of another kind.
//!
//! A key's life: *pending* (made, stored, not yet signing), *active*, *draining* (replaced; signs for tokens that are still
//! bound to it), and *destroyed* or *compromised* at its end.
//!
//! ```
//! use shipbound::clock::Timestamp;
//! use shipbound::jose::Algorithm;
//! use shipbound::keys::{KeySpec, KeyStore, MemoryKeyStore, Purpose};
//! use shipbound::owner::{DeploymentId, Owner};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), shipbound::keys::KeyError> {
//! let owner = Owner::Deployment(DeploymentId::default_deployment());
//! let keys = MemoryKeyStore::new();
//! let spec = KeySpec { purpose: Purpose::Proof, algorithm: Algorithm::Es256 };
//! let key = keys.create(&owner, spec).await?;
//! assert!(!key.is_usable());
//! assert!(keys.promote(&owner, &key.id(), None, Timestamp::UNIX_EPOCH).await?);
//! let signature = key.sign(b"message").wait().await?;
//! assert!(key.public().verify(b"message", signature.as_bytes()).is_ok());
//! # Ok(())
//! # }
//! ```

use std::fmt;

use async_trait::async_trait;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::jose::{Algorithm, Thumbprint};
use crate::owner::Owner;

mod draining;
mod error;
mod gate;
mod handle;
mod holder;
mod jwks;
pub mod local;
mod local_keys;
mod memory_records;
mod recorded;
mod records;
mod signature;
mod store;

pub(crate) use draining::{HELD_FOR, drain};
pub use error::{KeyError, KeyImportError};
pub use gate::KeyState;
pub use handle::{KeyHandle, Signer, Signing};
#[cfg(feature = "pkcs11")]
pub(crate) use holder::key_digest;
pub use holder::{KeyHolder, key_name};
pub use jwks::Jwks;
pub use local::{Backend, LocalKey, RsaSize};
pub use local_keys::LocalKeys;
pub use memory_records::MemoryKeyRecords;
pub use recorded::{Authority, KeyEnds, RecordedKeys};
pub use records::{Change, KeyFilter, KeyListing, KeyRecord, KeyRecords, Material, Moved, StoredKey};
pub use signature::Signature;
pub use store::MemoryKeyStore;

/// What the gate is made of. A model checker puts its own atomics in this place.
mod sync {
    pub(super) use std::sync::atomic::{AtomicU8, Ordering};
}

/// What a key is for. A key has one purpose and never serves another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// Signs DPoP proofs (RFC 9449).
    Proof,
    /// Signs client assertions (`private_key_jwt`, RFC 7523).
    ClientAssertion,
    /// The key of a client certificate (RFC 8705).
    Tls,
}

impl Purpose {
    /// `proof`, `client-assertion` or `tls`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proof => "proof",
            Self::ClientAssertion => "client-assertion",
            Self::Tls => "tls",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which key to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeySpec {
    /// What it is for.
    pub purpose: Purpose,
    /// What it signs with. RSA keys (PS256) get 2048 bits; for more make a [`LocalKey`] and import it.
    pub algorithm: Algorithm,
}

/// The id of a key's record in its store: random, and no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Uuid);

impl KeyId {
    /// A new random id.
    ///
    /// # Errors
    /// [`KeyError::Randomness`].
    pub fn random() -> Result<Self, KeyError> {
        let mut bytes = [0; 16];
        crate::crypto::random(&mut bytes).map_err(|_| KeyError::Randomness)?;
        Ok(Self(uuid::Builder::from_random_bytes(bytes).into_uuid()))
    }

    /// The id that a store has written down.
    pub const fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }

    /// The id, to write it down.
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// How a key ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retired {
    /// Not needed any more.
    Destroyed,
    /// In foreign hands, or perhaps.
    Compromised,
}

impl KeyState {
    /// `pending`, `active`, `draining`, `destroyed` or `compromised`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Destroyed => "destroyed",
            Self::Compromised => "compromised",
        }
    }
}

impl From<Retired> for KeyState {
    fn from(end: Retired) -> Self {
        match end {
            Retired::Destroyed => Self::Destroyed,
            Retired::Compromised => Self::Compromised,
        }
    }
}

/// Makes keys and keeps them. Never yields private bytes.
///
/// Whatever is asked about a key of another owner is answered as if there were no such key. Handles of one key share one
/// gate within a process: a handle that was given out while the key was pending signs once it is promoted.
#[async_trait]
pub trait KeyStore: fmt::Debug + Send + Sync {
    /// The owner's active key for `purpose`, if there is one.
    ///
    /// # Errors
    /// [`KeyError::StoreUnavailable`] when the store cannot tell. That is not the same as having none.
    async fn active(&self, owner: &Owner, purpose: Purpose) -> Result<Option<KeyHandle>, KeyError>;

    /// The owner's key with this id: pending, active or draining.
    ///
    /// # Errors
    /// [`KeyError::StoreUnavailable`].
    async fn get(&self, owner: &Owner, key: &KeyId) -> Result<Option<KeyHandle>, KeyError>;

    /// The owner's key for `purpose` with this thumbprint, active or draining: what a refresh token or a code is bound to must
    /// be shown as long as it signs. A store that wraps another one asks that one.
    ///
    /// # Errors
    /// [`KeyError::StoreUnavailable`].
    async fn with_thumbprint(
        &self,
        owner: &Owner,
        purpose: Purpose,
        jkt: &Thumbprint,
    ) -> Result<Option<KeyHandle>, KeyError>;

    /// Makes a key, pending. When this returns `Ok` the key is durable (as durable as this store gets).
    ///
    /// # Errors
    /// [`KeyError::Unsupported`], [`KeyError::Full`], [`KeyError::NotPersisted`], [`KeyError::StoreUnavailable`],
    /// [`KeyError::Randomness`], [`KeyError::OperationFailed`].
    async fn create(&self, owner: &Owner, spec: KeySpec) -> Result<KeyHandle, KeyError>;

    /// Makes the pending `key` the active one and lets `replaces`, the active one until now, sign until `drain_until`: both
    /// or neither. `replaces` is `None` where the owner has no active key for this purpose.
    ///
    /// `Ok(false)`: nothing was done because another process was first; read [`KeyStore::active`] again.
    ///
    /// # Errors
    /// [`KeyError::Missing`] if the owner has no such key (any more), [`KeyError::StoreUnavailable`].
    async fn promote(
        &self,
        owner: &Owner,
        key: &KeyId,
        replaces: Option<&KeyId>,
        drain_until: Timestamp,
    ) -> Result<bool, KeyError>;

    /// Lets a draining key sign until `drain_until`, where it would end earlier: a refresh token is bound to it, and can be used
    /// with no other (RFC 9449 5). Handles follow. `Ok(true)`: it signs until then, or longer. `Ok(false)`: the owner has no such
    /// key that drains. A store that wraps another one asks that one. Default: `Ok(false)`, for stores that cannot; what is bound
    /// to a replaced key then ends when that has drained.
    ///
    /// # Errors
    /// [`KeyError::StoreUnavailable`].
    async fn prolong(&self, _owner: &Owner, _key: &KeyId, _drain_until: Timestamp) -> Result<bool, KeyError> {
        Ok(false)
    }

    /// Ends a key. When this has returned `Ok`, no handle of it in this process releases a signature any more. `Ok(false)`:
    /// the owner has no such key, or it had ended before.
    ///
    /// # Errors
    /// [`KeyError::StoreUnavailable`]. Handles in this process are closed all the same.
    async fn retire(&self, owner: &Owner, key: &KeyId, to: Retired) -> Result<bool, KeyError>;
}
