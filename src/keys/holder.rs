//! Who has the private halves of recorded keys.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::records::{KeyRecord, Material, StoredKey};
use super::{KeyError, KeyId, KeySpec, LocalKey, Purpose, Signer};
use crate::clock::Timestamp;
use crate::crypto::Digest;
use crate::owner::Owner;

/// Has the private halves of keys whose records are kept elsewhere: sealed in the record itself, in an HSM, in a Vault.
///
/// # Writing one
///
/// - A key's name is [`key_name`], the hash of all that it belongs to, since labels of devices are not unique and paths can
///   be written in more than one way. Exactly one object may have it; two are [`KeyError::Mismatch`].
/// - After making a key read back that it cannot be exported, and refuse it otherwise.
/// - A signer is pinned to one key (and one version of it) whose public half is that of the record; another one is
///   [`KeyError::Mismatch`].
/// - Every wait for a device or service has an end of its own.
/// - Reconnect: a server that was restarted is no reason to restart this process. A failure is not remembered.
#[async_trait]
pub trait KeyHolder: fmt::Debug + Send + Sync {
    /// Makes a key, and the record that [`KeyRecord::pending`] makes of it, not yet written.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`], [`KeyError::SignerFailed`] when the device or service does not answer,
    /// [`KeyError::Randomness`], [`KeyError::OperationFailed`], [`KeyError::Mismatch`].
    async fn make(&self, owner: &Owner, id: KeyId, spec: KeySpec, now: Timestamp) -> Result<StoredKey, KeyError>;

    /// Takes over a key that was made elsewhere. Holders whose keys never leave take none, which is the default.
    ///
    /// # Errors
    /// As [`KeyHolder::make`].
    async fn take(
        &self,
        _owner: &Owner,
        _id: KeyId,
        _purpose: Purpose,
        key: LocalKey,
        _now: Timestamp,
    ) -> Result<StoredKey, KeyError> {
        Err(KeyError::Unsupported {
            algorithm: key.algorithm(),
            hint: "this store makes its keys itself and takes none from outside",
        })
    }

    /// The material for the next version of a record. Default: what it is now. `None`: the private half goes with this version.
    ///
    /// # Errors
    /// [`KeyError::Mismatch`] when the material does not belong to the record, [`KeyError::SignerFailed`].
    async fn carry(&self, stored: &StoredKey, _next: &KeyRecord) -> Result<Option<Material>, KeyError> {
        Ok(stored.material.clone())
    }

    /// What signs with this key.
    ///
    /// # Errors
    /// [`KeyError::Missing`] when the private half is gone, [`KeyError::Mismatch`] when it is not that of the record,
    /// [`KeyError::SignerFailed`] when the holder does not answer.
    async fn signer(&self, stored: &StoredKey) -> Result<Arc<dyn Signer>, KeyError>;

    /// Destroys the private half. May be repeated: one that is gone is destroyed.
    ///
    /// # Errors
    /// [`KeyError::SignerFailed`]: destroyed or not; it is tried again.
    async fn destroy(&self, record: &KeyRecord) -> Result<(), KeyError>;
}

/// The name of a key in a device or service: 64 hexadecimal digits, the hash of owner, purpose and id.
pub fn key_name(owner: &Owner, purpose: Purpose, id: KeyId) -> String {
    let digest = key_digest(owner, purpose, id);
    digest.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The octets of [`key_name`].
pub(crate) fn key_digest(owner: &Owner, purpose: Purpose, id: KeyId) -> [u8; 32] {
    let mut parts = Digest::default();
    parts.text("shipbound key");
    owner.digest_into(&mut parts);
    parts.text(purpose.as_str());
    parts.bytes(id.as_uuid().as_bytes());
    parts.finish()
}
