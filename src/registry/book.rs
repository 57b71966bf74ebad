//! The connections that this process knows, in little memory.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::directory::PiiPolicy;
use crate::directory::{ConnectionRecord, Listing, Standing};
use crate::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Region};

/// How many tables there are, each with a lock of its own.
const SHARDS: usize = 64;

/// How many different carriers, accounts or regions share their text; those beyond have one each.
const MOST_SHARED: usize = 1024;

/// What there is of each connection. Newer numbers take the place of older ones, whichever comes first.
pub(super) struct Book {
    deployment: DeploymentId,
    shards: Box<[Shard]>,
    hasher: RandomState,
    texts: Mutex<Texts>,
    /// All changes up to this number are in here.
    followed: AtomicU64,
    /// How many removed connections may still be in here.
    ended: AtomicUsize,
    generation: AtomicU32,
}

#[derive(Default)]
#[repr(align(64))]
struct Shard(RwLock<HashTable<Entry>>);

/// One place. A removed connection stays until all changes before its end have been followed: what was read before it would bring
/// it back otherwise.
struct Entry {
    connection: ConnectionId,
    number: u64,
    revision: u64,
    region: Option<Region>,
    standing: Standing,
    personal_paths: Option<PiiPolicy>,
}

/// Texts that many connections have in common.
#[derive(Default)]
struct Texts {
    carriers: HashSet<CarrierId>,
    accounts: HashSet<AccountId>,
    regions: HashSet<Region>,
}

impl Book {
    pub(super) fn new(deployment: DeploymentId) -> Self {
        Self {
            deployment,
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: RandomState::default(),
            texts: Mutex::default(),
            followed: AtomicU64::new(0),
            ended: AtomicUsize::new(0),
            generation: AtomicU32::new(1),
        }
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Everybody looks again.
    pub(super) fn move_on(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn followed(&self) -> u64 {
        self.followed.load(Ordering::Acquire)
    }

    /// What is known at the place of `connection`.
    pub(super) fn at(&self, connection: &ConnectionId) -> Option<Listing> {
        let (hash, shard) = self.shard(connection)?;
        let table = shard.read();
        let entry = table.find(hash, |entry| entry.is_at(connection))?;
        (entry.standing != Standing::Removed).then(|| entry.listing())
    }

    /// Takes a record that was read or written. Gives the connection that was known here and has ended with it.
    pub(super) fn take(&self, record: &ConnectionRecord) -> Option<ConnectionId> {
        if *record.connection.deployment() != self.deployment {
            return None;
        }
        let (hash, shard) = self.shard(&record.connection)?;
        let entry = self.entry(record);
        let mut table = shard.write();
        let before = match table.find_mut(hash, |known| known.is_at(&record.connection)) {
            Some(known) if known.number >= record.number => return None,
            Some(known) => std::mem::replace(known, entry),
            // Whatever has happened up to here was seen, so what is not there was removed.
            None if record.number <= self.followed() => return None,
            None => {
                table.insert_unique(hash, entry, |entry| hash_of(&self.hasher, &entry.connection));
                if record.standing == Standing::Removed {
                    self.ended.fetch_add(1, Ordering::AcqRel);
                }
                return None;
            }
        };
        drop(table);
        if record.standing == Standing::Removed {
            self.ended.fetch_add(1, Ordering::AcqRel);
        }
        self.move_on();
        // Its place may have been given to another before its end was read.
        let has_ended = record.standing == Standing::Removed || before.connection != record.connection;
        (has_ended && before.standing != Standing::Removed).then_some(before.connection)
    }

    /// All changes up to `number` have been taken.
    pub(super) fn follow(&self, number: u64) {
        if self.followed.fetch_max(number, Ordering::AcqRel) >= number {
            return;
        }
        if self.ended.swap(0, Ordering::AcqRel) == 0 {
            return;
        }
        let mut left = 0;
        for shard in &self.shards {
            let ended = |entry: &Entry| entry.standing == Standing::Removed;
            if shard.read().iter().any(ended) {
                let mut table = shard.write();
                table.retain(|entry| !ended(entry) || entry.number > number);
                left += table.iter().filter(|entry| ended(entry)).count();
            }
        }
        self.ended.fetch_add(left, Ordering::AcqRel);
    }

    /// The connections that are being removed.
    pub(super) fn removing(&self) -> Vec<ConnectionId> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let table = shard.read();
            let removing = table.iter().filter(|entry| entry.standing == Standing::Removing);
            found.extend(removing.map(|entry| entry.connection.clone()));
        }
        found
    }

    /// The active connections whose revision `is_over`.
    pub(super) fn over(&self, is_over: impl Fn(&ConnectionId, u64) -> bool) -> Vec<(ConnectionId, u64)> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let table = shard.read();
            let over = table
                .iter()
                .filter(|entry| entry.standing == Standing::Active && is_over(&entry.connection, entry.revision));
            found.extend(over.map(|entry| (entry.connection.clone(), entry.revision)));
        }
        found
    }

    /// Suspends what is still as it was found, until a newer record comes; `true` where there is any.
    pub(super) fn suspend(&self, found: &[(ConnectionId, u64)]) -> bool {
        let mut any = false;
        for (connection, revision) in found {
            let Some((hash, shard)) = self.shard(connection) else {
                continue;
            };
            let mut table = shard.write();
            if let Some(entry) = table.find_mut(hash, |entry| entry.is_at(connection))
                && entry.connection == *connection
                && entry.revision == *revision
            {
                entry.standing = Standing::Suspended;
                any = true;
            }
        }
        if any {
            self.move_on();
        }
        any
    }

    /// How many connections are known.
    pub(super) fn len(&self) -> usize {
        let is_there = |entry: &&Entry| entry.standing != Standing::Removed;
        let each = self
            .shards
            .iter()
            .map(|shard| shard.read().iter().filter(is_there).count());
        each.sum()
    }

    fn shard(&self, connection: &ConnectionId) -> Option<(u64, &Shard)> {
        let hash = hash_of(&self.hasher, connection);
        // The table itself uses the low bits for the place and the topmost for its tags. The shards are a power of two.
        let shard = self.shards.get((hash >> 32) as usize & (SHARDS - 1))?;
        Some((hash, shard))
    }

    /// The record in little memory: texts that many have in common are there once.
    fn entry(&self, record: &ConnectionRecord) -> Entry {
        let of = &record.connection;
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        Entry {
            connection: ConnectionId::new(
                self.deployment.clone(),
                of.tenant().clone(),
                shared(&mut texts.carriers, of.carrier()),
                of.environment(),
                shared(&mut texts.accounts, of.account()),
            ),
            number: record.number,
            revision: record.revision,
            region: record.region.as_ref().map(|region| shared(&mut texts.regions, region)),
            standing: record.standing,
            personal_paths: record.settings.personal_paths,
        }
    }
}

fn shared<T: Clone + Eq + Hash>(known: &mut HashSet<T>, one: &T) -> T {
    if let Some(known) = known.get(one) {
        return known.clone();
    }
    if known.len() < MOST_SHARED {
        known.insert(one.clone());
    }
    one.clone()
}

fn hash_of(state: &RandomState, connection: &ConnectionId) -> u64 {
    let mut hasher = state.build_hasher();
    // Environments and accounts of one tenant are few; equality tells them apart.
    hasher.write(connection.tenant().id().as_str().as_bytes());
    hasher.write(connection.carrier().as_str().as_bytes());
    hasher.finish()
}

impl Shard {
    fn read(&self) -> RwLockReadGuard<'_, HashTable<Entry>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashTable<Entry>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is_at(&self, connection: &ConnectionId) -> bool {
        crate::directory::is_same_place(&self.connection, connection)
    }

    fn listing(&self) -> Listing {
        let mut listing = Listing::active(self.connection.tenant().clone());
        listing.standing = self.standing;
        listing.personal_paths = self.personal_paths;
        listing.region = self.region.clone();
        listing
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::act::Act;
    use crate::clock::Timestamp;
    use crate::directory::Settings;
    use crate::owner::{Environment, Tenant, TenantId};

    fn record(number: u64, standing: Standing) -> ConnectionRecord {
        let connection = ConnectionId::new(
            DeploymentId::default_deployment(),
            Tenant::new(TenantId::new("acme").unwrap(), Uuid::nil()),
            CarrierId::new("ups").unwrap(),
            Environment::Sandbox,
            AccountId::main(),
        );
        let act = Act::new("a", "b", "c").unwrap();
        let record = ConnectionRecord::new(connection, Settings::default(), None, Timestamp::UNIX_EPOCH, act);
        ConnectionRecord {
            number,
            standing,
            ..record
        }
    }

    #[test]
    fn what_was_read_before_a_change_and_comes_after_it_changes_nothing() {
        let book = Book::new(DeploymentId::default_deployment());
        let place = record(0, Standing::Active).connection;
        book.take(&record(5, Standing::Active));
        book.take(&record(6, Standing::Suspended));
        book.take(&record(5, Standing::Active));
        assert_eq!(book.at(&place).unwrap().standing, Standing::Suspended);
        // Removed, and forgotten when everything before is known to have been taken.
        assert_eq!(book.take(&record(8, Standing::Removed)), Some(place.clone()));
        book.take(&record(7, Standing::Active));
        assert_eq!(book.at(&place), None);
        book.follow(8);
        assert_eq!(book.len(), 0);
        book.take(&record(7, Standing::Active));
        assert_eq!(book.at(&place), None);
        book.take(&record(9, Standing::Active));
        assert!(book.at(&place).is_some());
    }

    #[test]
    fn only_changes_of_what_is_known_have_everybody_look_again() {
        let book = Book::new(DeploymentId::default_deployment());
        let before = book.generation();
        book.take(&record(1, Standing::Active));
        assert_eq!(book.generation(), before);
        book.take(&record(2, Standing::Suspended));
        assert_ne!(book.generation(), before);
    }
}
