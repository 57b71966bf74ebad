//! The private halves of recorded keys, in the memory of this process.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::local::{Backend, LocalKey};
use super::records::{KeyRecord, Material, StoredKey};
use super::{KeyError, KeyHolder, KeyId, KeySpec, Purpose, Signer};
use crate::clock::Timestamp;
use crate::owner::Owner;

/// A [`KeyHolder`] whose keys are in this process, and gone with it: for tests of whoever keeps records, and as the least that
/// a holder does.
///
/// Records that outlive the process are then of keys that nobody has: to use one is [`KeyError::Missing`]. Holds at most
/// 1 000 000 keys, which is settable. They are wiped when they are destroyed and their last handle is gone.
pub struct LocalKeys {
    backend: Backend,
    most: usize,
    keys: Mutex<HashMap<KeyId, Arc<LocalKey>>>,
}

impl LocalKeys {
    /// Has no keys, and makes them with the default backend.
    pub fn new() -> Self {
        Self {
            backend: Backend::default(),
            most: 1_000_000,
            keys: Mutex::default(),
        }
    }

    /// Makes its keys with `backend`.
    #[must_use]
    pub fn with_backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// Holds at most this many keys.
    #[must_use]
    pub fn with_limit(mut self, keys: usize) -> Self {
        self.most = keys;
        self
    }

    /// How many private halves are here.
    pub fn len(&self) -> usize {
        self.keys().len()
    }

    /// Whether no private half is here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn hold(&self, record: KeyRecord, key: LocalKey) -> Result<StoredKey, KeyError> {
        let mut keys = self.keys();
        if keys.len() >= self.most {
            return Err(KeyError::Full { limit: self.most });
        }
        keys.insert(record.id, Arc::new(key));
        Ok(StoredKey {
            record,
            material: Some(Material::new("in the process that made it")),
        })
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<KeyId, Arc<LocalKey>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl KeyHolder for LocalKeys {
    async fn make(&self, owner: &Owner, id: KeyId, spec: KeySpec, now: Timestamp) -> Result<StoredKey, KeyError> {
        let key = LocalKey::generate_aside(spec.algorithm, self.backend).await?;
        self.take(owner, id, spec.purpose, key, now).await
    }

    async fn take(
        &self,
        owner: &Owner,
        id: KeyId,
        purpose: Purpose,
        key: LocalKey,
        now: Timestamp,
    ) -> Result<StoredKey, KeyError> {
        let record = KeyRecord::pending(owner.clone(), id, purpose, key.public().clone(), now);
        self.hold(record, key)
    }

    async fn signer(&self, stored: &StoredKey) -> Result<Arc<dyn Signer>, KeyError> {
        let key = self.keys().get(&stored.record.id).cloned().ok_or(KeyError::Missing)?;
        if *key.public() != stored.record.public {
            return Err(KeyError::Mismatch);
        }
        Ok(key)
    }

    async fn destroy(&self, record: &KeyRecord) -> Result<(), KeyError> {
        let mut keys = self.keys();
        if keys.get(&record.id).is_some_and(|key| *key.public() == record.public) {
            keys.remove(&record.id);
        }
        Ok(())
    }
}

impl Default for LocalKeys {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for LocalKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKeys")
            .field("backend", &self.backend)
            .field("keys", &self.len())
            .finish_non_exhaustive()
    }
}
