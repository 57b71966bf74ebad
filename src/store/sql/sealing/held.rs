//! Data keys that this process has unwrapped.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::rows::Holder;
use crate::clock::Monotonic;
use crate::store::seal::{DataKey, DataKeyId};

pub(super) struct Held {
    most: usize,
    idle: Duration,
    keys: Mutex<HashMap<DataKeyId, One>>,
}

struct One {
    holder: Holder,
    /// Wiped when the last one who uses it lets go.
    key: Arc<DataKey>,
    used: Monotonic,
}

impl Held {
    pub(super) fn new(most: usize, idle: Duration) -> Self {
        Self {
            most: most.max(1),
            idle,
            keys: Mutex::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys().len()
    }

    /// The data key with this id, if it is held and is this holder's.
    pub(super) fn get(&self, holder: &Holder, id: DataKeyId, now: Monotonic) -> Option<Arc<DataKey>> {
        let mut keys = self.keys();
        let one = keys.get_mut(&id).filter(|one| one.holder == *holder)?;
        one.used = now;
        Some(Arc::clone(&one.key))
    }

    pub(super) fn put(&self, holder: &Holder, id: DataKeyId, key: Arc<DataKey>, now: Monotonic) {
        let mut keys = self.keys();
        if keys.len() >= self.most && !keys.contains_key(&id) {
            make_room(&mut keys, self.most);
        }
        let holder = holder.clone();
        keys.insert(id, One { holder, key, used: now });
    }

    pub(super) fn ids(&self) -> Vec<DataKeyId> {
        self.keys().keys().copied().collect()
    }

    pub(super) fn forget(&self, id: DataKeyId) {
        self.keys().remove(&id);
    }

    pub(super) fn drop_idle(&self, now: Monotonic) {
        self.keys().retain(|_, one| now.saturating_since(one.used) < self.idle);
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<DataKeyId, One>> {
        // Nothing is half done between two statements that could panic.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops a tenth, those that were not used for longest: so that a look at all of them is seldom.
fn make_room(keys: &mut HashMap<DataKeyId, One>, most: usize) {
    let mut used: Vec<Monotonic> = keys.values().map(|one| one.used).collect();
    let tenth = (most / 10).min(used.len().saturating_sub(1));
    let (_, oldest, _) = used.select_nth_unstable(tenth);
    let oldest = *oldest;
    keys.retain(|_, one| one.used > oldest);
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({} of {})", self.len(), self.most)
    }
}
