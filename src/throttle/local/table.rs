//! Accounts by what they count: small tables under locks of their own, so that connections do not wait for each other.

use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::binding::Role;
use crate::clock::{Clock, Monotonic};
use crate::owner::{CarrierId, ConnectionId, Environment};
use crate::throttle::{CountedBy, Demand};

use super::account::Account;

const SHARDS: usize = 64;

/// Accounts of one shard. 100 000 in all fall so that the fullest has far less: some 1 700.
const ROOM: usize = 2048;

/// How often a shard looks for idle accounts at most.
const SWEEP: Duration = Duration::from_secs(1);

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key<'a> {
    Address(&'a CarrierId, Environment, Role),
    Connection(&'a ConnectionId, Role),
}

impl<'a> Key<'a> {
    pub(super) fn of(demand: &Demand<'a>, counted_by: CountedBy) -> Self {
        let Demand { connection, role, .. } = *demand;
        match counted_by {
            CountedBy::Address => Self::Address(connection.carrier(), connection.environment(), role),
            CountedBy::Connection => Self::Connection(connection, role),
        }
    }
}

#[derive(Debug)]
enum OwnedKey {
    Address(CarrierId, Environment, Role),
    Connection(ConnectionId, Role),
}

impl OwnedKey {
    fn of(key: Key<'_>) -> Self {
        match key {
            Key::Address(carrier, environment, role) => Self::Address(carrier.clone(), environment, role),
            Key::Connection(connection, role) => Self::Connection(connection.clone(), role),
        }
    }

    fn borrowed(&self) -> Key<'_> {
        match self {
            Self::Address(carrier, environment, role) => Key::Address(carrier, *environment, *role),
            Self::Connection(connection, role) => Key::Connection(connection, *role),
        }
    }
}

struct Entry {
    hash: u64,
    key: OwnedKey,
    account: Arc<Mutex<Account>>,
}

struct Shard {
    entries: HashTable<Entry>,
    /// When idle entries were dropped last.
    swept: Monotonic,
}

pub(super) struct Table {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
}

impl Table {
    pub(super) fn new() -> Self {
        let shard = |_| {
            Mutex::new(Shard {
                entries: HashTable::new(),
                swept: Monotonic::ORIGIN,
            })
        };
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            hasher: RandomState::default(),
        }
    }

    /// The account of this key, if there is one.
    pub(super) fn find(&self, key: Key<'_>) -> Option<Arc<Mutex<Account>>> {
        let hash = self.hasher.hash_one(key);
        self.shard(hash)?.find(hash, key)
    }

    /// The account of this key, made if there is none; `None` where there is no room for it.
    pub(super) fn find_or_make(&self, key: Key<'_>, clock: &dyn Clock) -> Option<Arc<Mutex<Account>>> {
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash)?;
        if let Some(account) = shard.find(hash, key) {
            return Some(account);
        }
        shard.sweep(clock.monotonic());
        if shard.entries.len() >= ROOM {
            return None;
        }
        let account = Arc::<Mutex<Account>>::default();
        let entry = Entry {
            hash,
            key: OwnedKey::of(key),
            account: Arc::clone(&account),
        };
        shard.entries.insert_unique(hash, entry, |entry| entry.hash);
        Some(account)
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).entries.len()).sum()
    }

    fn shard(&self, hash: u64) -> Option<MutexGuard<'_, Shard>> {
        // A table itself uses the low bits for the place and the topmost for its tags.
        self.shards.get((hash >> 32) as usize % SHARDS).map(lock)
    }
}

impl Shard {
    fn find(&self, hash: u64, key: Key<'_>) -> Option<Arc<Mutex<Account>>> {
        let entry = self
            .entries
            .find(hash, |entry| entry.hash == hash && entry.key.borrowed() == key)?;
        Some(Arc::clone(&entry.account))
    }

    /// Drops idle accounts. One that somebody holds stays: he is about to write to it, and nobody else can come to hold it
    /// while this shard is locked.
    fn sweep(&mut self, now: Monotonic) {
        if now < self.swept + SWEEP {
            return;
        }
        self.swept = now;
        self.entries.retain(|entry| {
            let alone = Arc::get_mut(&mut entry.account);
            alone.is_none_or(|account| !account.get_mut().unwrap_or_else(PoisonError::into_inner).is_idle(now))
        });
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
