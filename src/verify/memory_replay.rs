//! The replay log of a service that is one process.
//!
//! Entries are 16-byte keyed hashes in hash sets, one set per key shard and half a minute of expiry: nothing is dropped one
//! by one, a whole set goes when its half minute has passed. What is alive is never dropped to make room.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::{InvalidSetup, ReplayEntry, ReplayLog, ReplayRefusal};
use crate::clock::Timestamp;
use crate::crypto::{random, sha256};

const SHARDS: usize = 64;

/// How much expiry time one set covers.
const BUCKET_SECONDS: i64 = 30;

/// A [`ReplayLog`] in memory, for a service that is one process.
///
/// Bounded: 1 000 000 live proofs, 100 000 of them for one key and 250 000 for one client by default, some 40 bytes each.
/// Beyond a bound it refuses new proofs instead of forgetting old ones, so one client that floods it hurts itself. Proofs
/// whose client is unknown share half of the capacity: at a token endpoint authenticate the client first and name it.
///
/// It is empty after a restart, so it refuses proofs whose `iat` is before its start, floored to the second. It keeps the
/// greatest time that it has seen, and refuses proofs whose entry would have expired by then: setting the clock back does
/// not bring a used proof to life.
///
/// What remains is a proof that was dated ahead, by at most the verifier's `max_future`, and used before a restart: it counts
/// once more until the clock has passed its `iat`. Where that matters, demand nonces of a key that is made at the start.
pub struct MemoryReplayLog {
    secret: Zeroizing<[u8; 32]>,
    limits: Limits,
    start: Timestamp,
    /// The greatest time seen, in microseconds.
    high_water: AtomicI64,
    /// The last [`bucket_of`] for which all shards were swept because the log was full.
    swept: AtomicI64,
    live: AtomicUsize,
    proofs: Vec<Mutex<Proofs>>,
    clients: Vec<Mutex<Counts>>,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    capacity: usize,
    per_key: usize,
    per_client: usize,
}

impl MemoryReplayLog {
    /// Room for live proofs by default.
    pub const DEFAULT_CAPACITY: usize = 1_000_000;

    /// An empty log that starts at `start`, usually the clock's now.
    ///
    /// # Errors
    /// [`InvalidSetup::NoRandomness`].
    pub fn starting(start: Timestamp) -> Result<Self, InvalidSetup> {
        Self::with_capacity(start, Self::DEFAULT_CAPACITY)
    }

    /// As [`starting`](Self::starting), with room for `capacity` live proofs, a tenth of them for one key and a quarter
    /// for one client.
    ///
    /// # Errors
    /// [`InvalidSetup::Capacity`] for no room at all; [`InvalidSetup::NoRandomness`].
    pub fn with_capacity(start: Timestamp, capacity: usize) -> Result<Self, InvalidSetup> {
        let share = |part: usize| (capacity / part).max(1);
        Self::with_quotas(start, capacity, share(10), share(4))
    }

    /// As [`starting`](Self::starting), with room for `capacity` live proofs, `per_key` of them for one key and
    /// `per_client` for one client.
    ///
    /// # Errors
    /// [`InvalidSetup::Capacity`] for a zero, or a quota above the capacity; [`InvalidSetup::NoRandomness`].
    pub fn with_quotas(
        start: Timestamp,
        capacity: usize,
        per_key: usize,
        per_client: usize,
    ) -> Result<Self, InvalidSetup> {
        if capacity == 0 || !(1..=capacity).contains(&per_key) || !(1..=capacity).contains(&per_client) {
            return Err(InvalidSetup::Capacity);
        }
        let mut secret = Zeroizing::new([0; 32]);
        random(secret.as_mut_slice()).map_err(|_| InvalidSetup::NoRandomness)?;
        let start = Timestamp::from_unix_seconds(start.unix_seconds());
        Ok(Self {
            secret,
            limits: Limits {
                capacity,
                per_key,
                per_client,
            },
            start,
            high_water: AtomicI64::new(start.unix_micros()),
            swept: AtomicI64::new(i64::MIN),
            live: AtomicUsize::new(0),
            proofs: (0..SHARDS).map(|_| Mutex::default()).collect(),
            clients: (0..SHARDS).map(|_| Mutex::default()).collect(),
        })
    }

    /// How many proofs are kept. Some may have expired and not been cleared away yet.
    pub fn len(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Whether no proof is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// SHA-256 over the log's secret and the parts, halved. The secret keeps a peer from choosing what falls together;
    /// no digest ever leaves the process, so nothing more than that is asked of it.
    fn digest(&self, kind: u8, parts: &[&[u8]]) -> Key {
        // Never grows, so that no copy of the secret is left behind.
        let length = self.secret.len() + 1 + parts.iter().map(|part| part.len()).sum::<usize>();
        let mut message = Zeroizing::new(Vec::with_capacity(length));
        message.extend_from_slice(self.secret.as_slice());
        message.push(kind);
        for part in parts {
            message.extend_from_slice(part);
        }
        Key(sha256(&message)
            .iter()
            .take(16)
            .fold(0, |key, octet| key << 8 | u128::from(*octet)))
    }

    /// Takes the entry, or says why not. What [`ReplayLog::check_and_insert`] does, without the future.
    fn insert(&self, entry: &ReplayEntry<'_>, now: Timestamp, expires_at: Timestamp) -> Result<(), ReplayRefusal> {
        if entry.issued_at < self.start {
            return Err(ReplayRefusal::BeforeStart);
        }
        self.high_water.fetch_max(now.unix_micros(), Ordering::AcqRel);
        let owner = self.digest(b'k', &[entry.jkt.as_bytes()]);
        let proof = self.digest(b'p', &[entry.jkt.as_bytes(), entry.jti.as_bytes()]);
        let (client, client_limit) = match entry.client {
            Some(id) => (self.digest(b'c', &[id.as_bytes()]), self.limits.per_client),
            None => (self.digest(b'u', &[]), (self.limits.capacity / 2).max(1)),
        };
        if self.live.load(Ordering::Relaxed) >= self.limits.capacity {
            self.sweep();
        }

        let bucket = bucket_of(expires_at);
        // One shard holds all proofs of a key, so this lock makes check and insert one step.
        let mut proofs = lock(&self.proofs, owner).ok_or(ReplayRefusal::Unavailable)?;
        // Read under the lock: whoever dropped a set of this shard did so under it, at a time no later than this.
        let seen = self.high_water.load(Ordering::Acquire);
        if expires_at.unix_micros() < seen {
            return Err(ReplayRefusal::ClockMovedBack);
        }
        self.forget(proofs.expire(seen));
        if proofs.contains(proof) {
            return Err(ReplayRefusal::Replayed);
        }
        if proofs.counts.of(owner) >= self.limits.per_key {
            return Err(ReplayRefusal::Quota);
        }
        let mut clients = lock(&self.clients, client).ok_or(ReplayRefusal::Unavailable)?;
        clients.expire(seen);
        if clients.of(client) >= client_limit || !self.reserve() {
            return Err(ReplayRefusal::Quota);
        }
        clients.add(bucket, client);
        proofs.add(bucket, owner, proof);
        Ok(())
    }

    /// Counts one more live proof, unless the log is full.
    fn reserve(&self) -> bool {
        let more = |live: usize| (live < self.limits.capacity).then_some(live + 1);
        self.live
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, more)
            .is_ok()
    }

    fn forget(&self, gone: usize) {
        if gone > 0 {
            self.live.fetch_sub(gone, Ordering::AcqRel);
        }
    }

    /// Clears what has expired in shards that nobody asked, once for each half minute: a full log costs no more than an
    /// empty one.
    fn sweep(&self) {
        let seen = self.high_water.load(Ordering::Acquire);
        let current = bucket_of(Timestamp::from_unix_micros(seen));
        if self.swept.fetch_max(current, Ordering::AcqRel) >= current {
            return;
        }
        for shard in &self.proofs {
            let gone = shard.lock().unwrap_or_else(PoisonError::into_inner).expire(seen);
            self.forget(gone);
        }
        for shard in &self.clients {
            shard.lock().unwrap_or_else(PoisonError::into_inner).expire(seen);
        }
    }
}

#[async_trait]
impl ReplayLog for MemoryReplayLog {
    async fn check_and_insert(
        &self,
        entry: &ReplayEntry<'_>,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), ReplayRefusal> {
        self.insert(entry, now, expires_at)
    }
}

impl fmt::Debug for MemoryReplayLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryReplayLog")
            .field("live", &self.len())
            .field("limits", &self.limits)
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

/// The number of the set that an entry with this expiry belongs to.
fn bucket_of(expires_at: Timestamp) -> i64 {
    expires_at.unix_seconds().div_euclid(BUCKET_SECONDS)
}

/// Whether everything in this set has expired at `seen`: even its last microsecond is before.
fn has_passed(bucket: i64, seen: i64) -> bool {
    Timestamp::from_unix_seconds((bucket + 1) * BUCKET_SECONDS).unix_micros() <= seen
}

/// A keyed hash: uniform already, so it is its own hash.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key(u128);

impl std::hash::Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.0);
    }
}

#[derive(Default)]
struct Itself(u64);

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the lower half of a uniform value is uniform"
    )]
    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

type Uniform = BuildHasherDefault<Itself>;

/// The shard of a key: by its upper half, since the sets use the lower one.
fn lock<T>(shards: &[Mutex<T>], key: Key) -> Option<MutexGuard<'_, T>> {
    let index = usize::try_from(key.0 >> 122).ok()?;
    Some(shards.get(index)?.lock().unwrap_or_else(PoisonError::into_inner))
}

/// How many live entries each owner has, by expiry.
#[derive(Default)]
struct Counts {
    buckets: VecDeque<(i64, HashMap<Key, usize, Uniform>)>,
}

impl Counts {
    fn of(&self, owner: Key) -> usize {
        self.buckets.iter().filter_map(|(_, counts)| counts.get(&owner)).sum()
    }

    fn add(&mut self, bucket: i64, owner: Key) {
        *slot(&mut self.buckets, bucket).entry(owner).or_default() += 1;
    }

    fn expire(&mut self, seen: i64) {
        while self
            .buckets
            .front()
            .is_some_and(|(bucket, _)| has_passed(*bucket, seen))
        {
            self.buckets.pop_front();
        }
    }
}

/// The live proofs of one shard, by expiry, the earliest first.
#[derive(Default)]
struct Proofs {
    buckets: VecDeque<(i64, HashSet<Key, Uniform>)>,
    counts: Counts,
}

impl Proofs {
    fn contains(&self, proof: Key) -> bool {
        self.buckets.iter().any(|(_, proofs)| proofs.contains(&proof))
    }

    fn add(&mut self, bucket: i64, owner: Key, proof: Key) {
        slot(&mut self.buckets, bucket).insert(proof);
        self.counts.add(bucket, owner);
    }

    /// Drops what has expired and says how many entries that were.
    fn expire(&mut self, seen: i64) -> usize {
        self.counts.expire(seen);
        let mut gone = 0;
        while self
            .buckets
            .front()
            .is_some_and(|(bucket, _)| has_passed(*bucket, seen))
        {
            gone += self.buckets.pop_front().map_or(0, |(_, proofs)| proofs.len());
        }
        gone
    }
}

/// The set of this bucket, made if there is none, in order. There are few: the window by half minutes.
fn slot<T: Default>(buckets: &mut VecDeque<(i64, T)>, bucket: i64) -> &mut T {
    let at = buckets.partition_point(|(other, _)| *other < bucket);
    if buckets.get(at).is_none_or(|(other, _)| *other != bucket) {
        buckets.insert(at, (bucket, T::default()));
    }
    // The lines above put it there.
    &mut buckets[at].1
}
