//! The data key of a tenant: what content keys are derived from.

use std::fmt;

use uuid::Uuid;
use zeroize::Zeroizing;

use super::kek::KekError;
use crate::crypto;

/// The id of a data key: random, `kid` of all that is sealed under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataKeyId(Uuid);

impl DataKeyId {
    /// The id that a store has written down.
    pub const fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }

    /// The id, to write it down.
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

/// 32 random octets of one tenant. Redacted and wiped.
pub struct DataKey(Zeroizing<[u8; 32]>);

impl DataKey {
    /// A new data key and its id.
    ///
    /// # Errors
    /// [`KekError::Randomness`].
    pub fn random() -> Result<(DataKeyId, Self), KekError> {
        let (mut id, mut key) = ([0; 16], Zeroizing::new([0; 32]));
        crypto::random(&mut id).map_err(|_failed| KekError::Randomness)?;
        crypto::random(&mut key[..]).map_err(|_failed| KekError::Randomness)?;
        let id = uuid::Builder::from_random_bytes(id).into_uuid();
        Ok((DataKeyId(id), Self(key)))
    }

    /// The key that a provider has unwrapped.
    pub fn new(octets: Zeroizing<[u8; 32]>) -> Self {
        Self(octets)
    }

    /// The octets, for a provider to wrap.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(redacted)")
    }
}
