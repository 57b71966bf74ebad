//! Keys in the memory of this process.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::local::{Backend, LocalKey};
use super::{
    KeyError, KeyFilter, KeyHandle, KeyId, KeyListing, KeyRecord, KeySpec, KeyState, KeyStore, Purpose, Retired,
};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::jose::Thumbprint;
use crate::owner::Owner;

/// A [`KeyStore`] that forgets everything when the process ends.
///
/// Tokens that are bound to its keys are of no use to the next process, which asks for new ones. Holds at most 1 000 000
/// keys, 64 of one owner; both are settable. A P-256 key takes some 1.3 KiB with its owner and its place.
///
/// Ended keys are forgotten, and not listed any more: destroyed ones are wiped with their last handle; compromised ones that
/// were imported are remembered by thumbprint, and never taken in again.
pub struct MemoryKeyStore {
    clock: Arc<dyn Clock>,
    backend: Backend,
    most_in_all: usize,
    most_of_one: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Few keys to an owner, so a list is small and quick.
    of: HashMap<Owner, Vec<KeptKey>>,
    count: usize,
    /// Thumbprints that came from outside and live, or were compromised. A key has one owner.
    imported: HashSet<Thumbprint>,
}

/// A key, and what rotation wants to know of it.
struct KeptKey {
    key: KeyHandle,
    created_at: Timestamp,
    activated_at: Option<Timestamp>,
}

impl KeptKey {
    fn record(&self) -> KeyRecord {
        let key = &self.key;
        let state = key.state();
        KeyRecord {
            state,
            revision: match state {
                KeyState::Pending => 0,
                KeyState::Active => 1,
                _ => 2,
            },
            activated_at: self.activated_at,
            drain_until: key.drain_until(),
            ..KeyRecord::pending(
                key.owner().clone(),
                key.id(),
                key.purpose(),
                key.public().clone(),
                self.created_at,
            )
        }
    }
}

impl MemoryKeyStore {
    /// An empty store with the system's clock and the default backend.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock::new()))
    }

    /// An empty store whose draining keys end by `clock`.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            backend: Backend::default(),
            most_in_all: 1_000_000,
            most_of_one: 64,
            kept: Mutex::default(),
        }
    }

    /// Makes its keys with `backend`.
    #[must_use]
    pub fn with_backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// Holds at most `in_all` keys, `of_one` of one owner.
    #[must_use]
    pub fn with_limits(mut self, in_all: usize, of_one: usize) -> Self {
        self.most_in_all = in_all;
        self.most_of_one = of_one;
        self
    }

    /// Takes over a key that was made elsewhere, as a pending key of `owner`.
    ///
    /// # Errors
    /// [`KeyError::Duplicate`] if the key has been imported before and lives, or was compromised; [`KeyError::Unsupported`]
    /// for an RS256 key that is not to sign client assertions; [`KeyError::Full`], [`KeyError::Randomness`].
    pub fn import(&self, owner: &Owner, purpose: Purpose, key: LocalKey) -> Result<KeyHandle, KeyError> {
        let handle = self.pending(owner, purpose, key)?;
        handle.check(owner, purpose)?;
        let mut kept = self.kept();
        if kept.imported.contains(&handle.jkt()) {
            return Err(KeyError::Duplicate);
        }
        if kept.imported.len() >= self.most_in_all {
            return Err(KeyError::Full {
                limit: self.most_in_all,
            });
        }
        self.keep(&mut kept, &handle)?;
        kept.imported.insert(handle.jkt());
        Ok(handle)
    }

    /// How many keys the store holds: pending, active and draining.
    pub fn len(&self) -> usize {
        self.kept().count
    }

    /// Whether the store holds no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn pending(&self, owner: &Owner, purpose: Purpose, key: LocalKey) -> Result<KeyHandle, KeyError> {
        let public = key.public().clone();
        Ok(KeyHandle::pending(
            owner.clone(),
            KeyId::random()?,
            purpose,
            public,
            Arc::new(key),
        ))
    }

    fn keep(&self, kept: &mut Kept, handle: &KeyHandle) -> Result<(), KeyError> {
        self.check_room(kept, handle.owner())?;
        kept.of.entry(handle.owner().clone()).or_default().push(KeptKey {
            key: handle.clone(),
            created_at: self.clock.now(),
            activated_at: None,
        });
        kept.count += 1;
        Ok(())
    }

    fn check_room(&self, kept: &mut Kept, owner: &Owner) -> Result<(), KeyError> {
        kept.sweep(owner);
        if kept.of.get(owner).map_or(0, Vec::len) >= self.most_of_one {
            return Err(KeyError::Full {
                limit: self.most_of_one,
            });
        }
        if kept.count >= self.most_in_all {
            kept.sweep_all();
        }
        if kept.count >= self.most_in_all {
            return Err(KeyError::Full {
                limit: self.most_in_all,
            });
        }
        Ok(())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing is half done between two statements that could panic.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Forgets the owner's keys that have ended, and gives those that have not.
    fn sweep(&mut self, owner: &Owner) -> &mut [KeptKey] {
        let Self { of, count, imported } = self;
        let Some(keys) = of.get_mut(owner) else { return &mut [] };
        let before = keys.len();
        keys.retain(|kept| stays(&kept.key, imported));
        *count -= before - keys.len();
        if keys.is_empty() {
            of.remove(owner);
        }
        of.get_mut(owner).map_or(&mut [], Vec::as_mut_slice)
    }

    fn find(&mut self, owner: &Owner, id: &KeyId) -> Option<KeyHandle> {
        let found = self.sweep(owner).iter().find(|kept| kept.key.id() == *id);
        found.map(|kept| kept.key.clone())
    }

    fn sweep_all(&mut self) {
        let Self { of, count, imported } = self;
        of.retain(|_, keys| {
            keys.retain(|kept| stays(&kept.key, imported));
            !keys.is_empty()
        });
        *count = of.values().map(Vec::len).sum();
    }
}

fn stays(key: &KeyHandle, imported: &mut HashSet<Thumbprint>) -> bool {
    match key.state() {
        KeyState::Pending | KeyState::Active | KeyState::Draining => true,
        KeyState::Destroyed => {
            imported.remove(&key.jkt());
            false
        }
        KeyState::Compromised => false,
    }
}

#[async_trait]
impl KeyStore for MemoryKeyStore {
    async fn active(&self, owner: &Owner, purpose: Purpose) -> Result<Option<KeyHandle>, KeyError> {
        let mut kept = self.kept();
        let active = |key: &&KeyHandle| key.purpose() == purpose && key.state() == KeyState::Active;
        Ok(kept.sweep(owner).iter().map(|kept| &kept.key).find(active).cloned())
    }

    async fn get(&self, owner: &Owner, key: &KeyId) -> Result<Option<KeyHandle>, KeyError> {
        Ok(self.kept().find(owner, key))
    }

    async fn with_thumbprint(
        &self,
        owner: &Owner,
        purpose: Purpose,
        jkt: &Thumbprint,
    ) -> Result<Option<KeyHandle>, KeyError> {
        let mut kept = self.kept();
        let meant = |key: &&KeyHandle| key.purpose() == purpose && key.jkt() == *jkt && key.is_usable();
        Ok(kept.sweep(owner).iter().map(|kept| &kept.key).find(meant).cloned())
    }

    async fn create(&self, owner: &Owner, spec: KeySpec) -> Result<KeyHandle, KeyError> {
        self.check_room(&mut self.kept(), owner)?;
        let key = LocalKey::generate_aside(spec.algorithm, self.backend).await?;
        let handle = self.pending(owner, spec.purpose, key)?;
        self.keep(&mut self.kept(), &handle)?;
        Ok(handle)
    }

    async fn promote(
        &self,
        owner: &Owner,
        key: &KeyId,
        replaces: Option<&KeyId>,
        drain_until: Timestamp,
    ) -> Result<bool, KeyError> {
        let mut kept = self.kept();
        let keys = kept.sweep(owner);
        let next = keys.iter().position(|kept| kept.key.id() == *key);
        let purpose = next.and_then(|next| keys.get(next)).map(|next| next.key.purpose());
        let active = keys
            .iter()
            .map(|kept| &kept.key)
            .find(|key| Some(key.purpose()) == purpose && key.state() == KeyState::Active)
            .cloned();
        let next = next.and_then(|next| keys.get_mut(next)).ok_or(KeyError::Missing)?;
        if active.as_ref().map(KeyHandle::id) != replaces.copied() {
            return Ok(false);
        }
        // Not pending any more: promoted before, or closed by a handle outside, which it then stays.
        if !next.key.open() {
            return Ok(false);
        }
        next.activated_at = Some(self.clock.now());
        if let Some(active) = active {
            active.drain(drain_until, &self.clock);
        }
        Ok(true)
    }

    async fn prolong(&self, owner: &Owner, key: &KeyId, drain_until: Timestamp) -> Result<bool, KeyError> {
        let handle = self.kept().find(owner, key);
        Ok(handle.is_some_and(|handle| handle.prolong(drain_until)))
    }

    async fn retire(&self, owner: &Owner, key: &KeyId, to: Retired) -> Result<bool, KeyError> {
        let mut kept = self.kept();
        let Some(handle) = kept.find(owner, key) else {
            return Ok(false);
        };
        let changed = handle.close(to);
        kept.sweep(owner);
        Ok(changed)
    }
}

/// Looks at every key of the owner for a page, or at every key where none is named, so that keeping them costs no more for it.
#[async_trait]
impl KeyListing for MemoryKeyStore {
    async fn list(&self, filter: &KeyFilter, after: Option<KeyId>, most: usize) -> Result<Vec<KeyRecord>, KeyError> {
        let mut kept = self.kept();
        let of_one = match &filter.owner {
            Some(owner) => {
                kept.sweep(owner);
                kept.of.get(owner)
            }
            None => {
                kept.sweep_all();
                None
            }
        };
        let of_all = filter.owner.is_none().then(|| kept.of.values()).into_iter().flatten();
        let later = |kept: &&KeptKey| after.is_none_or(|after| kept.key.id() > after);
        // The first ones in order: the greatest goes when there is one too many.
        let mut page = BTreeMap::new();
        for kept in of_one.into_iter().chain(of_all).flatten().filter(later) {
            let is_beyond = page.last_key_value().is_some_and(|(last, _)| kept.key.id() > *last);
            if page.len() >= most && is_beyond {
                continue;
            }
            let record = kept.record();
            if !filter.takes(&record) {
                continue;
            }
            page.insert(record.id, record);
            if page.len() > most {
                page.pop_last();
            }
        }
        Ok(page.into_values().collect())
    }
}

impl Default for MemoryKeyStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryKeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryKeyStore")
            .field("backend", &self.backend)
            .field("keys", &self.len())
            .finish_non_exhaustive()
    }
}
