//! The records of keys, in the memory of this process.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::records::{Change, KeyFilter, KeyListing, KeyRecord, KeyRecords, Moved, StoredKey};
use super::{KeyError, KeyId, KeyState, Purpose};
use crate::jose::Thumbprint;
use crate::owner::Owner;

/// [`KeyRecords`] that are forgotten when the process ends: for keys in an HSM or a Vault where nothing is to be written down,
/// and for tests.
///
/// A key in a device is then left there when the process ends, by a name that nobody looks for any more. Holds at most
/// 1 000 000 keys, which is settable; the thumbprints of keys that have ended count, since they never come back. Of ended
/// keys the newest 10 000 records are kept for listings.
pub struct MemoryKeyRecords {
    most: usize,
    kept: Mutex<Kept>,
}

/// How many records of ended and wiped keys are kept.
const MOST_ENDED: usize = 10_000;

#[derive(Default)]
struct Kept {
    keys: BTreeMap<KeyId, Row>,
    of: HashMap<Owner, BTreeSet<KeyId>>,
    active: HashMap<(Owner, Purpose), KeyId>,
    living: HashSet<Thumbprint>,
    dead: HashSet<Thumbprint>,
    /// The newest change of each key by its number, also of those whose record is gone.
    moved: BTreeMap<u64, Moved>,
    number: u64,
    /// Keys that have ended and were wiped, by when that was.
    wiped: BTreeMap<u64, KeyId>,
    /// Keys that have ended and were not.
    unwiped: BTreeSet<KeyId>,
}

struct Row {
    stored: StoredKey,
    number: u64,
}

impl MemoryKeyRecords {
    /// No records.
    pub fn new() -> Self {
        Self {
            most: 1_000_000,
            kept: Mutex::default(),
        }
    }

    /// Holds at most this many keys, those that have ended among them.
    #[must_use]
    pub fn with_limit(mut self, keys: usize) -> Self {
        self.most = keys;
        self
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing is half done between two statements that could panic.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn forget(&mut self, id: &KeyId) {
        let Some(row) = self.keys.remove(id) else { return };
        let owner = &row.stored.record.owner;
        if let Some(ids) = self.of.get_mut(owner) {
            ids.remove(id);
            if ids.is_empty() {
                self.of.remove(owner);
            }
        }
    }

    fn of(&self, owner: &Owner, id: &KeyId) -> Option<&Row> {
        self.keys.get(id).filter(|row| row.stored.record.owner == *owner)
    }

    /// Whether `change` replaces the version that is there by a legal next one.
    fn fits(&self, owner: &Owner, change: &Change) -> bool {
        let (next, expected) = (&change.next.record, change.expected);
        self.of(owner, &next.id).is_some_and(|row| {
            let record = &row.stored.record;
            record.revision == expected
                && next.revision == expected.saturating_add(1)
                && next.owner == *owner
                && next.purpose == record.purpose
                && next.public == record.public
                && next.state >= record.state
        })
    }

    fn put(&mut self, stored: StoredKey) {
        let record = &stored.record;
        self.number += 1;
        let (id, jkt, slot) = (record.id, record.jkt(), (record.owner.clone(), record.purpose));
        if record.state == KeyState::Active {
            self.active.insert(slot, id);
        } else if self.active.get(&slot) == Some(&id) {
            self.active.remove(&slot);
        }
        if record.has_ended() {
            self.living.remove(&jkt);
            self.dead.insert(jkt);
        } else {
            self.living.insert(jkt);
        }
        let moved = Moved::new(id, record.state, record.drain_until);
        let is_wiped = record.has_ended() && stored.material.is_none();
        if record.has_ended() && !is_wiped {
            self.unwiped.insert(id);
        } else {
            self.unwiped.remove(&id);
        }
        if !self.keys.contains_key(&id) {
            self.of.entry(record.owner.clone()).or_default().insert(id);
        }
        let row = Row {
            stored,
            number: self.number,
        };
        if let Some(before) = self.keys.insert(id, row) {
            self.moved.remove(&before.number);
            self.wiped.remove(&before.number);
        }
        self.moved.insert(self.number, moved);
        if is_wiped {
            self.wiped.insert(self.number, id);
        }
        while self.wiped.len() > MOST_ENDED
            && let Some((_, oldest)) = self.wiped.pop_first()
        {
            self.forget(&oldest);
        }
    }
}

#[async_trait]
impl KeyListing for MemoryKeyRecords {
    async fn list(&self, filter: &KeyFilter, after: Option<KeyId>, most: usize) -> Result<Vec<KeyRecord>, KeyError> {
        let kept = self.kept();
        let behind = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let page = |rows: &mut dyn Iterator<Item = &Row>| {
            let records = rows.map(|row| &row.stored.record);
            let taken = records.filter(|record| filter.takes(record));
            taken.take(most).cloned().collect()
        };
        // An owner has few keys; to rotate each of many would look at all of them each time.
        Ok(match &filter.owner {
            Some(owner) => {
                let ids = kept.of.get(owner).into_iter().flat_map(|ids| ids.range(behind));
                page(&mut ids.filter_map(|id| kept.keys.get(id)))
            }
            None => page(&mut kept.keys.range(behind).map(|(_, row)| row)),
        })
    }
}

#[async_trait]
impl KeyRecords for MemoryKeyRecords {
    async fn insert(&self, key: &StoredKey) -> Result<(), KeyError> {
        let (id, jkt) = (key.record.id, key.record.jkt());
        let mut kept = self.kept();
        if kept.keys.contains_key(&id) || kept.living.contains(&jkt) || kept.dead.contains(&jkt) {
            return Err(KeyError::Duplicate);
        }
        if kept.living.len() + kept.dead.len() >= self.most {
            return Err(KeyError::Full { limit: self.most });
        }
        kept.put(key.clone());
        Ok(())
    }

    async fn load(&self, owner: &Owner, id: &KeyId) -> Result<Option<StoredKey>, KeyError> {
        Ok(self.kept().of(owner, id).map(|row| row.stored.clone()))
    }

    async fn active(&self, owner: &Owner, purpose: Purpose) -> Result<Option<StoredKey>, KeyError> {
        let kept = self.kept();
        let id = kept.active.get(&(owner.clone(), purpose));
        Ok(id.and_then(|id| kept.of(owner, id)).map(|row| row.stored.clone()))
    }

    async fn change(&self, owner: &Owner, changes: &[Change]) -> Result<bool, KeyError> {
        let mut kept = self.kept();
        let ids: HashSet<KeyId> = changes.iter().map(|change| change.next.record.id).collect();
        if ids.len() != changes.len() || !changes.iter().all(|change| kept.fits(owner, change)) {
            return Ok(false);
        }
        let mut activated = HashSet::new();
        for change in changes {
            let record = &change.next.record;
            if record.state != KeyState::Active {
                continue;
            }
            let active = kept.active.get(&(owner.clone(), record.purpose));
            // The one that is active must be among those that change.
            if !activated.insert(record.purpose) || active.is_some_and(|active| !ids.contains(active)) {
                return Ok(false);
            }
        }
        for change in changes {
            kept.put(change.next.clone());
        }
        Ok(true)
    }

    async fn moved(&self, since: Option<u64>) -> Result<(u64, Vec<Moved>), KeyError> {
        let kept = self.kept();
        let moved = since.map_or_else(Vec::new, |since| {
            let later = (Bound::Excluded(since), Bound::Unbounded);
            kept.moved.range(later).map(|(_, moved)| *moved).collect()
        });
        Ok((kept.number, moved))
    }

    async fn to_be_wiped(&self, most: usize) -> Result<Vec<StoredKey>, KeyError> {
        let kept = self.kept();
        let rows = kept.unwiped.iter().filter_map(|id| kept.keys.get(id)).take(most);
        Ok(rows.map(|row| row.stored.clone()).collect())
    }
}

impl Default for MemoryKeyRecords {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryKeyRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryKeyRecords")
            .field("keys", &self.kept().keys.len())
            .finish_non_exhaustive()
    }
}
