//! The token cache: connections to slots.
//!
//! A look-up takes no lock and touches few cache lines: one of many small tables is loaded, searched, and the slot in it
//! yields its lease. A new connection copies its small table, which is rare and cheap.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::clock::Monotonic;
use crate::owner::Tenant;

use super::lease::Lease;
use super::slot::{Scope, Slot};

/// The most tables.
const MOST_SHARDS: usize = 1024;

/// How many connections a cache holds unless told otherwise.
pub const DEFAULT_CAPACITY: usize = 262_144;

/// The tokens of all clients that share it, each in the slot of its connection and of what it was asked for.
///
/// Bounded: beyond its capacity a slot gives way, that whose token ends first among some, as long as nobody is fetching for
/// it.
pub struct TokenCache {
    shards: Box<[Shard]>,
    hasher: RandomState,
    capacity: usize,
    connections: AtomicUsize,
}

struct Shard {
    table: ArcSwap<Table>,
    writer: Mutex<()>,
}

type Table = HashTable<Entry>;

#[derive(Clone)]
struct Entry {
    hash: u64,
    slot: Arc<Slot>,
}

impl TokenCache {
    /// A cache for at most `capacity` connections, and at least one.
    pub fn new(capacity: usize) -> Self {
        let shard = || Shard {
            table: ArcSwap::from_pointee(Table::new()),
            writer: Mutex::new(()),
        };
        let shards = (capacity / 64).clamp(1, MOST_SHARDS);
        Self {
            shards: (0..shards).map(|_| shard()).collect(),
            hasher: RandomState::default(),
            capacity: capacity.max(1),
            connections: AtomicUsize::new(0),
        }
    }

    /// A fresh lease of this connection, if there is one: the path of almost every call.
    pub(crate) fn fresh(&self, scope: &Arc<Scope>, tenant: &Tenant, now: Monotonic) -> Option<Arc<Lease>> {
        let hash = scope.hash(tenant, &self.hasher);
        let table = self.shard(hash)?.table.load();
        table
            .find(hash, |entry| entry.hash == hash && entry.slot.is(scope, tenant))?
            .slot
            .fresh(now)
    }

    /// The slot of this connection, made if there is none.
    pub(crate) fn slot(&self, scope: &Arc<Scope>, tenant: &Tenant) -> Arc<Slot> {
        let hash = scope.hash(tenant, &self.hasher);
        let made = || Arc::new(Slot::new(Arc::clone(scope), tenant.clone()));
        let Some(shard) = self.shard(hash) else { return made() };
        let find = |table: &Table| {
            let entry = table.find(hash, |entry| entry.hash == hash && entry.slot.is(scope, tenant));
            entry.map(|entry| Arc::clone(&entry.slot))
        };
        if let Some(slot) = find(&shard.table.load()) {
            return slot;
        }
        let slot = {
            let _writing = shard.lock();
            let table = shard.table.load_full();
            if let Some(slot) = find(&table) {
                return slot;
            }
            let slot = made();
            let mut next = Table::clone(&table);
            next.insert_unique(
                hash,
                Entry {
                    hash,
                    slot: Arc::clone(&slot),
                },
                |entry| entry.hash,
            );
            shard.table.store(Arc::new(next));
            slot
        };
        self.connections.fetch_add(1, Ordering::Relaxed);
        // More than one where slots could not give way before, since callers waited for them.
        while self.len() > self.capacity && self.make_room(hash, &slot) {}
        slot
    }

    /// How many connections have a slot.
    pub fn len(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Whether no connection has a slot.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops one slot other than `kept`, from the first table behind `hash` that has one to give; false when none has.
    fn make_room(&self, hash: u64, kept: &Arc<Slot>) -> bool {
        let start = self.place(hash);
        for shard in self.shards.iter().cycle().skip(start).take(self.shards.len()) {
            let _writing = shard.lock();
            let table = shard.table.load_full();
            let spare = |entry: &&Entry| !Arc::ptr_eq(&entry.slot, kept) && !entry.slot.is_awaited();
            let Some(first) = table.iter().filter(spare).min_by_key(|entry| entry.slot.ends()) else {
                continue;
            };
            let mut next = Table::clone(&table);
            if let Ok(entry) = next.find_entry(first.hash, |entry| Arc::ptr_eq(&entry.slot, &first.slot)) {
                entry.remove();
                shard.table.store(Arc::new(next));
                self.connections.fetch_sub(1, Ordering::Relaxed);
                return true;
            }
        }
        false
    }

    fn place(&self, hash: u64) -> usize {
        // The table itself uses the low bits for the place and the topmost for its tags.
        (hash >> 32) as usize % self.shards.len().max(1)
    }

    fn shard(&self, hash: u64) -> Option<&Shard> {
        self.shards.get(self.place(hash))
    }
}

impl Default for TokenCache {
    /// A cache for at most about [`DEFAULT_CAPACITY`] connections.
    fn default() -> Self {
        Self::new(DEFAULT_CAPACITY)
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache")
            .field("connections", &self.len())
            .finish_non_exhaustive()
    }
}
