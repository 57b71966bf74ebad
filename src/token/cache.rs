//! The token cache: connections to slots.
//!
//! A hit touches few cache lines: one of many small tables, under a lock that readers share, has the lease beside its key. The
//! slot behind it is looked at when that lease is not fresh, or was evicted.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::clock::Monotonic;
use crate::exchange::connection::Connection;
use crate::owner::{ConnectionId, Tenant};

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
    /// What all slots of one connection share, however many clients have one.
    shared: Mutex<HashMap<ConnectionId, Weak<Connection>>>,
}

/// A table on cache lines of its own, so that readers of one do not disturb those of the next.
#[derive(Default)]
#[repr(align(64))]
struct Shard(RwLock<Table>);

type Table = HashTable<Entry>;

struct Entry {
    hash: u64,
    scope: Arc<Scope>,
    tenant: Tenant,
    slot: Arc<Slot>,
    /// What the slot held when it was last [shown](TokenCache::show). An evicted lease says so itself.
    lease: Option<Arc<Lease>>,
}

impl TokenCache {
    /// A cache for at most `capacity` connections, and at least one.
    pub fn new(capacity: usize) -> Self {
        let shards = (capacity / 64).clamp(1, MOST_SHARDS).next_power_of_two();
        Self {
            shards: (0..shards).map(|_| Shard::default()).collect(),
            hasher: RandomState::default(),
            capacity: capacity.max(1),
            connections: AtomicUsize::new(0),
            shared: Mutex::default(),
        }
    }

    /// A fresh lease of this connection, if there is one: the path of almost every call.
    pub(crate) fn fresh(&self, scope: &Arc<Scope>, tenant: &Tenant, now: Monotonic) -> Option<Arc<Lease>> {
        let hash = scope.hash(tenant, &self.hasher);
        let table = self.shard(hash)?.read();
        let entry = table.find(hash, |entry| entry.is(hash, scope, tenant))?;
        let shown = entry.lease.as_ref().filter(|lease| lease.is_fresh(now));
        shown.cloned().or_else(|| entry.slot.fresh(now))
    }

    /// The slot of this connection, made if there is none.
    pub(crate) fn slot(&self, scope: &Arc<Scope>, tenant: &Tenant) -> Arc<Slot> {
        let hash = scope.hash(tenant, &self.hasher);
        let made = || Arc::new(Slot::new(self.connection(scope.connection(tenant))));
        let Some(shard) = self.shard(hash) else { return made() };
        let find = |table: &Table| {
            let entry = table.find(hash, |entry| entry.is(hash, scope, tenant));
            entry.map(|entry| Arc::clone(&entry.slot))
        };
        if let Some(slot) = find(&shard.read()) {
            return slot;
        }
        let slot = {
            let mut table = shard.write();
            if let Some(slot) = find(&table) {
                return slot;
            }
            let slot = made();
            let entry = Entry {
                hash,
                scope: Arc::clone(scope),
                tenant: tenant.clone(),
                slot: Arc::clone(&slot),
                lease: None,
            };
            table.insert_unique(hash, entry, |entry| entry.hash);
            slot
        };
        self.connections.fetch_add(1, Ordering::Relaxed);
        // More than one where slots could not give way before, since callers waited for them.
        while self.len() > self.capacity && self.make_room(hash, &slot) {}
        slot
    }

    /// Puts what the connection's slot holds where [`TokenCache::fresh`] finds it.
    pub(crate) fn show(&self, scope: &Arc<Scope>, tenant: &Tenant) {
        let hash = scope.hash(tenant, &self.hasher);
        let Some(shard) = self.shard(hash) else { return };
        let shown = shard
            .read()
            .find(hash, |entry| entry.is(hash, scope, tenant))
            .is_some_and(Entry::is_shown);
        if shown {
            return;
        }
        let replaced = {
            let mut table = shard.write();
            let entry = table.find_mut(hash, |entry| entry.is(hash, scope, tenant));
            // Read under the lock, so that the last to write has read the newest.
            entry.map(|entry| std::mem::replace(&mut entry.lease, entry.slot.held()))
        };
        // Token and key are wiped without anybody waiting for it.
        drop(replaced);
    }

    /// Whether the connection has a token here, or one is asked for.
    pub(crate) fn holds(&self, scope: &Arc<Scope>, tenant: &Tenant) -> bool {
        let hash = scope.hash(tenant, &self.hasher);
        let Some(shard) = self.shard(hash) else { return false };
        let table = shard.read();
        let entry = table.find(hash, |entry| entry.is(hash, scope, tenant));
        entry.is_some_and(|entry| !entry.slot.is_empty())
    }

    /// Takes the connection's slot out, with its token.
    pub(crate) fn remove(&self, scope: &Arc<Scope>, tenant: &Tenant) -> Option<Arc<Slot>> {
        let hash = scope.hash(tenant, &self.hasher);
        let shard = self.shard(hash)?;
        let removed = {
            let mut table = shard.write();
            let found = table.find_entry(hash, |entry| entry.is(hash, scope, tenant));
            found.ok().map(|found| found.remove().0)
        };
        let removed = removed?;
        self.connections.fetch_sub(1, Ordering::Relaxed);
        // Calls that have the token already do not begin anew with it.
        let dropped = removed.slot.clear();
        drop((removed.lease, dropped));
        Some(removed.slot)
    }

    /// How much of this connection is under way.
    pub(crate) fn under_way(&self, id: &ConnectionId) -> u32 {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = shared.get(id).and_then(Weak::upgrade);
        connection.map_or(0, |connection| connection.under_way())
    }

    /// The slots of this scope whose token was used and should be renewed by now.
    pub(crate) fn due(&self, scope: &Arc<Scope>, now: Monotonic) -> Vec<(Tenant, Arc<Slot>)> {
        let mut due = Vec::new();
        for shard in &self.shards {
            let table = shard.read();
            let of_scope = table.iter().filter(|entry| entry.scope == *scope);
            due.extend(of_scope.filter_map(|entry| {
                let lease = entry.slot.held()?;
                let is_due = lease.is_used() && lease.renew_from <= now && now < lease.usable_until;
                is_due.then(|| (entry.tenant.clone(), Arc::clone(&entry.slot)))
            }));
        }
        due
    }

    /// A tenant that uses this scope, if there is one.
    pub(crate) fn any_tenant(&self, scope: &Arc<Scope>) -> Option<Tenant> {
        self.shards.iter().find_map(|shard| {
            let table = shard.read();
            let mut of_scope = table.iter().filter(|entry| entry.scope == *scope);
            of_scope.next().map(|entry| entry.tenant.clone())
        })
    }

    /// Drops the tokens whose key or certificate may not be used any more.
    #[cfg(feature = "mtls")]
    pub(crate) fn purge(&self) {
        let mut dropped = Vec::new();
        for shard in &self.shards {
            // Calls that find their lease here do not wait where there is nothing to drop.
            let is_spent = |entry: &Entry| entry.slot.held().is_some_and(|lease| !lease.binding.is_usable());
            if !shard.read().iter().any(is_spent) {
                continue;
            }
            let mut table = shard.write();
            for entry in table.iter_mut() {
                let Some(lease) = entry.slot.held().filter(|lease| !lease.binding.is_usable()) else {
                    continue;
                };
                entry.slot.evict(&lease);
                dropped.push((entry.lease.take(), lease));
            }
        }
        // Tokens are wiped outside of the locks.
        drop(dropped);
    }

    /// How many connections have a slot.
    pub fn len(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Whether no connection has a slot.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn connection(&self, id: ConnectionId) -> Arc<Connection> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = shared.get(&id).and_then(Weak::upgrade) {
            return connection;
        }
        // What nobody holds any more goes before the map would grow.
        if shared.len() == shared.capacity() {
            shared.retain(|_, connection| connection.strong_count() > 0);
        }
        let connection = Arc::new(Connection::new(id.clone()));
        shared.insert(id, Arc::downgrade(&connection));
        connection
    }

    /// Drops one slot other than `kept`, from the first table behind `hash` that has one to give; false when none has.
    fn make_room(&self, hash: u64, kept: &Arc<Slot>) -> bool {
        let start = self.place(hash);
        for shard in self.shards.iter().cycle().skip(start).take(self.shards.len()) {
            let removed = take_spare(&mut shard.write(), kept);
            if removed.is_some() {
                self.connections.fetch_sub(1, Ordering::Relaxed);
                return true;
            }
        }
        false
    }

    fn place(&self, hash: u64) -> usize {
        // The table itself uses the low bits for the place and the topmost for its tags. The shards are a power of two.
        (hash >> 32) as usize & (self.shards.len() - 1)
    }

    fn shard(&self, hash: u64) -> Option<&Shard> {
        self.shards.get(self.place(hash))
    }
}

/// Takes the entry whose token ends first out of `table`, other than that of `kept` and those that somebody waits for.
fn take_spare(table: &mut Table, kept: &Arc<Slot>) -> Option<Entry> {
    let spare = |entry: &&Entry| !Arc::ptr_eq(&entry.slot, kept) && !entry.slot.is_awaited();
    let first = table.iter().filter(spare).min_by_key(|entry| entry.slot.ends())?;
    let (hash, slot) = (first.hash, Arc::clone(&first.slot));
    let found = table.find_entry(hash, |entry| Arc::ptr_eq(&entry.slot, &slot)).ok()?;
    Some(found.remove().0)
}

impl Default for TokenCache {
    /// A cache for at most about [`DEFAULT_CAPACITY`] connections.
    fn default() -> Self {
        Self::new(DEFAULT_CAPACITY)
    }
}

impl Shard {
    #[inline]
    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    #[inline]
    fn is(&self, hash: u64, scope: &Arc<Scope>, tenant: &Tenant) -> bool {
        self.hash == hash && (Arc::ptr_eq(&self.scope, scope) || self.scope == *scope) && self.tenant == *tenant
    }

    fn is_shown(&self) -> bool {
        match (&self.lease, &self.slot.held()) {
            (Some(shown), Some(held)) => Arc::ptr_eq(shown, held),
            (None, None) => true,
            _ => false,
        }
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache")
            .field("connections", &self.len())
            .finish_non_exhaustive()
    }
}
