//! Accounts of connections: small tables under locks of their own, so that connections do not wait for each other, and a part
//! of them at most for each tenant, so that tenants do not take each other's room.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::binding::Role;
use crate::clock::{Clock, Monotonic};
use crate::owner::{ConnectionId, TenantId};
use crate::throttle::Demand;

use super::account::Account;
use super::addresses::is_idle;
use super::lock;

const SHARDS: usize = 64;

/// Accounts of one shard. 100 000 in all fall so that the fullest has far less: some 1 700.
const ROOM: usize = 2048;

/// Accounts of one tenant, whatever its incarnation: a hundredth of 100 000.
pub(super) const OF_ONE_TENANT: usize = 1000;

/// How often a shard looks for idle accounts at most.
const SWEEP: Duration = Duration::from_secs(1);

struct Entry {
    hash: u64,
    connection: ConnectionId,
    role: Role,
    account: Arc<Mutex<Account>>,
}

struct Shard {
    entries: HashTable<Entry>,
    /// When idle entries were dropped last.
    swept: Monotonic,
}

pub(super) struct Connections {
    shards: Box<[Mutex<Shard>]>,
    /// How many accounts each tenant has. Locked after a shard, never before one.
    tenants: Mutex<HashMap<TenantId, usize, RandomState>>,
    hasher: RandomState,
}

impl Connections {
    pub(super) fn new() -> Self {
        let shard = |_| {
            Mutex::new(Shard {
                entries: HashTable::new(),
                swept: Monotonic::ORIGIN,
            })
        };
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            tenants: Mutex::default(),
            hasher: RandomState::default(),
        }
    }

    /// The account of this demand's connection, if there is one.
    pub(super) fn find(&self, demand: &Demand<'_>) -> Option<Arc<Mutex<Account>>> {
        let hash = self.hash(demand);
        self.shard(hash)?.find(hash, demand)
    }

    /// The account of this demand's connection, made if there is none; `None` where there is no room for it.
    pub(super) fn find_or_make(&self, demand: &Demand<'_>, clock: &dyn Clock) -> Option<Arc<Mutex<Account>>> {
        let hash = self.hash(demand);
        if let Some(account) = self.shard(hash)?.find(hash, demand) {
            return Some(account);
        }
        let now = clock.monotonic();
        let tenant = demand.connection.tenant().id();
        let has = lock(&self.tenants).get(tenant).copied();
        if has.is_some_and(|has| has >= OF_ONE_TENANT) {
            // Its idle accounts give way, wherever they are.
            for shard in &self.shards {
                self.sweep(&mut lock(shard), now);
            }
        }
        let mut shard = self.shard(hash)?;
        self.sweep(&mut shard, now);
        // It may have come meanwhile.
        if let Some(account) = shard.find(hash, demand) {
            return Some(account);
        }
        if shard.entries.len() >= ROOM || !self.admit(tenant) {
            return None;
        }
        let account = Arc::<Mutex<Account>>::default();
        let entry = Entry {
            hash,
            connection: demand.connection.clone(),
            role: demand.role,
            account: Arc::clone(&account),
        };
        shard.entries.insert_unique(hash, entry, |entry| entry.hash);
        Some(account)
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).entries.len()).sum()
    }

    fn hash(&self, demand: &Demand<'_>) -> u64 {
        self.hasher.hash_one((demand.connection, demand.role))
    }

    fn shard(&self, hash: u64) -> Option<MutexGuard<'_, Shard>> {
        // A table itself uses the low bits for the place and the topmost for its tags.
        self.shards.get((hash >> 32) as usize % SHARDS).map(lock)
    }

    /// Counts one more account of this tenant, if it may have one.
    fn admit(&self, tenant: &TenantId) -> bool {
        let mut tenants = lock(&self.tenants);
        let has = tenants.entry(tenant.clone()).or_default();
        let admitted = *has < OF_ONE_TENANT;
        *has += usize::from(admitted);
        admitted
    }

    /// Drops a shard's idle accounts.
    fn sweep(&self, shard: &mut Shard, now: Monotonic) {
        if now < shard.swept + SWEEP {
            return;
        }
        shard.swept = now;
        let mut tenants = lock(&self.tenants);
        shard.entries.retain(|entry| {
            let idle = is_idle(&mut entry.account, now);
            if idle {
                let tenant = entry.connection.tenant().id();
                let left = tenants.get_mut(tenant).map(|has| {
                    *has = has.saturating_sub(1);
                    *has
                });
                if left == Some(0) {
                    tenants.remove(tenant);
                }
            }
            !idle
        });
    }
}

impl Shard {
    fn find(&self, hash: u64, demand: &Demand<'_>) -> Option<Arc<Mutex<Account>>> {
        let is_it =
            |entry: &Entry| entry.hash == hash && entry.role == demand.role && entry.connection == *demand.connection;
        Some(Arc::clone(&self.entries.find(hash, is_it)?.account))
    }
}
