//! The keys of which handles exist in this process: each has one gate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{BoxFuture, FutureExt, Shared, WeakShared};

use crate::clock::{Clock, Timestamp};
use crate::keys::handle::WeakKeyHandle;
use crate::keys::{KeyError, KeyHandle, KeyId, KeyRecord, KeyState, Moved, Retired};
use crate::owner::Owner;

/// From how many entries on those of keys that nobody holds are looked for.
const FIRST_SWEEP: usize = 64;

/// How many ends are remembered that the store could not be told of.
const MOST_UNTOLD: usize = 10_000;

type Made = BoxFuture<'static, Result<KeyHandle, KeyError>>;

/// A handle on its way.
pub(super) type Making = Shared<Made>;

pub(super) struct Live {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    keys: HashMap<KeyId, Entry>,
    /// With how many entries the next sweep comes: at twice as many as the last one left, so that a sweep costs nothing on
    /// average and half of the entries at least are of keys that live.
    sweep_at: usize,
    /// What the next look asks with.
    number: Option<u64>,
    /// How often this process did something to a key, or learned of it.
    stirred: u64,
    /// Ends that the store has not been told of, as far as is known.
    untold: HashMap<(Owner, KeyId), Retired>,
}

enum Entry {
    Key(WeakKeyHandle),
    Making(WeakShared<Made>),
}

impl Live {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            state: Mutex::new(State {
                keys: HashMap::new(),
                sweep_at: FIRST_SWEEP,
                number: None,
                stirred: 0,
                untold: HashMap::new(),
            }),
        }
    }

    /// The handle of this key, or what makes it: by whoever else makes it now, or else by `make`.
    pub(super) fn find_or_make(&self, id: KeyId, make: impl FnOnce() -> Made) -> Result<KeyHandle, Making> {
        let mut state = self.state();
        match state.keys.get(&id) {
            Some(Entry::Key(key)) => {
                if let Some(key) = key.upgrade() {
                    return Ok(key);
                }
            }
            Some(Entry::Making(making)) => match making.upgrade() {
                // What has failed is made anew, though somebody may not have looked at the failure yet.
                Some(making) if !matches!(making.peek(), Some(Err(_))) => return Err(making),
                _ => {}
            },
            None => {}
        }
        let making = make().shared();
        if let Some(weak) = making.downgrade() {
            state.put(id, Entry::Making(weak));
        }
        Err(making)
    }

    /// From now on `key` is found.
    pub(super) fn made(&self, key: &KeyHandle) {
        self.state().put(key.id(), Entry::Key(key.downgrade()));
    }

    /// How often anything was done or learned. A record that was read before the number moved may be out of date.
    pub(super) fn stirred(&self) -> u64 {
        self.state().stirred
    }

    pub(super) fn number(&self) -> Option<u64> {
        self.state().number
    }

    /// Handles follow what a look has found. One step, so that a handle that is made meanwhile is followed here, or else sees
    /// that something moved.
    pub(super) fn learn(&self, number: u64, moved: &[Moved]) {
        let mut state = self.state();
        for moved in moved {
            if let Some(key) = state.key(moved.id) {
                follow(&key, moved.state, moved.drain_until, &self.clock);
            }
            if moved.state >= KeyState::Destroyed {
                state.untold.retain(|(_, id), _| *id != moved.id);
            }
        }
        if !moved.is_empty() {
            state.stirred += 1;
        }
        state.number = Some(number);
    }

    /// Closes handles of keys of which `has_ended` knows, whatever their records say by now.
    pub(super) fn close_ended(&self, has_ended: impl Fn(&KeyHandle) -> bool) {
        // Nobody waits while all of them are asked for.
        let keys: Vec<KeyHandle> = {
            let state = self.state();
            state.keys.values().filter_map(Entry::key).collect()
        };
        for key in keys {
            if key.state() < KeyState::Destroyed && has_ended(&key) {
                key.close(Retired::Destroyed);
                self.state().stirred += 1;
            }
        }
    }

    /// The key's handles are as its record says, which this process has just written or read.
    pub(super) fn follow(&self, record: &KeyRecord) {
        let mut state = self.state();
        if let Some(key) = state.key(record.id).filter(|key| *key.owner() == record.owner) {
            follow(&key, record.state, record.drain_until, &self.clock);
        }
        state.stirred += 1;
    }

    /// Closes the key's handles before its record says so.
    pub(super) fn close(&self, owner: &Owner, id: KeyId, to: Retired) {
        let mut state = self.state();
        if let Some(key) = state.key(id) {
            if key.owner() != owner {
                return;
            }
            key.close(to);
        }
        let name = (owner.clone(), id);
        let worst = match state.untold.get(&name) {
            Some(Retired::Compromised) => Retired::Compromised,
            _ => to,
        };
        if state.untold.len() < MOST_UNTOLD || state.untold.contains_key(&name) {
            state.untold.insert(name, worst);
        }
        state.stirred += 1;
    }

    /// The store knows of this key's end, or has no such key.
    pub(super) fn told(&self, owner: &Owner, id: KeyId, to: Retired) {
        let mut state = self.state();
        if let Some(key) = state.key(id).filter(|key| key.owner() == owner) {
            key.close(to);
        }
        state.untold.remove(&(owner.clone(), id));
        state.stirred += 1;
    }

    /// The end of this key that the store could not be told of.
    pub(super) fn untold(&self, owner: &Owner, id: KeyId) -> Option<Retired> {
        let state = self.state();
        if state.untold.is_empty() {
            return None;
        }
        state.untold.get(&(owner.clone(), id)).copied()
    }

    /// How many entries there are, those of keys that nobody holds among them.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.state().keys.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is half done between two statements that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn key(&self) -> Option<KeyHandle> {
        match self {
            Self::Key(key) => key.upgrade(),
            Self::Making(_) => None,
        }
    }
}

impl State {
    fn key(&self, id: KeyId) -> Option<KeyHandle> {
        self.keys.get(&id).and_then(Entry::key)
    }

    fn put(&mut self, id: KeyId, entry: Entry) {
        self.keys.insert(id, entry);
        if self.keys.len() >= self.sweep_at {
            self.keys.retain(|_, entry| match entry {
                Entry::Key(key) => !key.is_gone(),
                Entry::Making(making) => making.upgrade().is_some(),
            });
            self.sweep_at = FIRST_SWEEP.max(self.keys.len() * 2);
        }
    }
}

/// Brings a handle where its record is. It never goes back, whatever an older record says.
pub(super) fn follow(key: &KeyHandle, state: KeyState, drain_until: Option<Timestamp>, clock: &Arc<dyn Clock>) {
    match state {
        KeyState::Pending => {}
        KeyState::Active => {
            key.open();
        }
        KeyState::Draining => match drain_until {
            Some(until) => {
                key.open();
                if !key.drain(until, clock) {
                    key.prolong(until);
                }
            }
            // Nobody knows how long, so not at all.
            None => {
                key.close(Retired::Destroyed);
            }
        },
        KeyState::Destroyed => {
            key.close(Retired::Destroyed);
        }
        KeyState::Compromised => {
            key.close(Retired::Compromised);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::keys::{Backend, LocalKey, Purpose};
    use crate::owner::DeploymentId;

    #[test]
    fn keys_that_nobody_holds_take_no_room() {
        let live = Live::new(Arc::new(SystemClock::new()));
        let owner = Owner::Deployment(DeploymentId::default_deployment());
        let signer = Arc::new(LocalKey::generate(crate::jose::Algorithm::Es256, Backend::default()).unwrap());
        let mut held = Vec::new();
        for number in 0..10_000 {
            let id = KeyId::random().unwrap();
            let making = live.find_or_make(id, || Box::pin(std::future::pending()));
            drop(making);
            if number % 2 == 0 {
                continue;
            }
            let public = signer.public().clone();
            let key = KeyHandle::pending(owner.clone(), id, Purpose::Proof, public, signer.clone());
            live.made(&key);
            if number % 100 == 1 {
                held.push(key);
            }
            assert!(live.len() < 2 * FIRST_SWEEP.max(held.len() + 1));
        }
        for key in held {
            let found = live.find_or_make(key.id(), || panic!("it is held"));
            assert_eq!(found.unwrap().id(), key.id());
        }
    }
}
