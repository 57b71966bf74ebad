//! A key store of two halves: records that are kept somewhere, and private halves that somebody has.

mod authority;
mod ending;
mod live;
mod look;
mod signer;

use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use futures_util::future::WeakShared;

use self::authority::Watch;
use self::live::{Live, follow};
use self::look::Looking;
use self::signer::Watched;
use super::{
    Change, KeyError, KeyFilter, KeyHandle, KeyHolder, KeyId, KeyListing, KeyRecord, KeyRecords, KeySpec, KeyState,
    KeyStore, LocalKey, Purpose, Retired, StoredKey,
};
use crate::clock::{Clock, EvenClock, Timestamp};
use crate::jose::{Algorithm, Thumbprint};
use crate::owner::Owner;

pub use self::authority::Authority;
pub use self::ending::KeyEnds;

/// How often a record is read again that others keep changing.
const ATTEMPTS: usize = 8;

/// How many keys of one owner and purpose are looked through for a thumbprint: one is active, and few drain.
const SIGNING: usize = 256;

/// A [`KeyStore`] whose records are in `R` and whose private halves are with `H`. Cheap to clone; clones are one store.
///
/// All handles of a key in this process share one gate, however often the key is read, and follow what other processes do to
/// it: [`RecordedKeys::sync`] asks the records what has moved. The upkeep does so every 5 s, where the store is one of its
/// [chores](crate::chore::Chore). Without it the first signature after [`Authority::look_every`] waits for a look. While
/// the store does not answer keys go on signing, until the last look is older than [`Authority::lasts`]; then signing is
/// [`KeyError::StoreUnavailable`]. Once the store shows an older state than before nothing signs
/// ([`KeyError::RolledBack`]), until a look finds all well.
///
/// What signs with a key is made when the key is first read, once for all who wait for it, and goes with the last handle.
///
/// ```
/// use std::sync::Arc;
///
/// use shipbound::clock::{SystemClock, Timestamp};
/// use shipbound::jose::Algorithm;
/// use shipbound::keys::{
///     Authority, KeySpec, KeyStore, LocalKeys, MemoryKeyRecords, Purpose, RecordedKeys,
/// };
/// use shipbound::owner::{DeploymentId, Owner};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), shipbound::keys::KeyError> {
/// let (records, holder) = (Arc::new(MemoryKeyRecords::new()), Arc::new(LocalKeys::new()));
/// let keys = RecordedKeys::new(records, holder, Arc::new(SystemClock::new()), Authority::default());
///
/// let owner = Owner::Deployment(DeploymentId::default_deployment());
/// let spec = KeySpec { purpose: Purpose::Proof, algorithm: Algorithm::Es256 };
/// let key = keys.create(&owner, spec).await?;
/// assert!(keys.promote(&owner, &key.id(), None, Timestamp::UNIX_EPOCH).await?);
/// assert!(key.sign(b"message").wait().await.is_ok());
/// # Ok(())
/// # }
/// ```
pub struct RecordedKeys<R: ?Sized, H: ?Sized>(Arc<Shared<R, H>>);

struct Shared<R: ?Sized, H: ?Sized> {
    records: Arc<R>,
    holder: Arc<H>,
    clock: Arc<dyn Clock>,
    /// What durable ends go by.
    even: EvenClock,
    watch: Watch,
    live: Live,
    /// The look that is under way.
    looking: Mutex<Option<WeakShared<Looking>>>,
    /// Where the next round of tidying goes on.
    tidied: Mutex<Option<KeyId>>,
    /// How many keys could not be wiped in rounds since all were tried.
    unwiped: AtomicUsize,
    /// Who is told of keys that are ended here.
    told: OnceLock<Arc<dyn KeyEnds>>,
}

impl<R: KeyRecords + ?Sized + 'static, H: KeyHolder + ?Sized + 'static> RecordedKeys<R, H> {
    /// The keys that `records` tell of and `holder` has.
    ///
    /// Both must be of one store for their whole life: records with another holder are keys that do not sign.
    pub fn new(records: Arc<R>, holder: Arc<H>, clock: Arc<dyn Clock>, authority: Authority) -> Self {
        Self(Arc::new(Shared {
            records,
            holder,
            watch: Watch::new(Arc::clone(&clock), authority),
            live: Live::new(Arc::clone(&clock)),
            even: EvenClock::new(Arc::clone(&clock)),
            clock,
            looking: Mutex::default(),
            tidied: Mutex::default(),
            unwiped: AtomicUsize::new(0),
            told: OnceLock::new(),
        }))
    }

    /// Tells `ends` of keys that [tidying](RecordedKeys::tidy) ends: a [`Journal`](crate::journal::Journal), say. Of keys that
    /// somebody retires he tells by himself. Said once; later ones are not told. Default: nobody.
    #[must_use]
    pub fn telling(self, ends: Arc<dyn KeyEnds>) -> Self {
        let _first_one_stays = self.0.told.set(ends);
        self
    }

    /// Takes over a key that was made elsewhere, as a pending key of `owner`. When this returns `Ok` the key is durable.
    ///
    /// # Errors
    /// [`KeyError::Duplicate`] if the store has or had the key; [`KeyError::Unsupported`] for a holder that takes none, and for
    /// an RS256 key that is not to sign client assertions; else as [`KeyStore::create`].
    pub async fn import(&self, owner: &Owner, purpose: Purpose, key: LocalKey) -> Result<KeyHandle, KeyError> {
        if key.algorithm() == Algorithm::Rs256 && purpose != Purpose::ClientAssertion {
            return Err(KeyError::Unsupported {
                algorithm: Algorithm::Rs256,
                hint: "it signs client assertions and nothing else",
            });
        }
        self.0.begin().await?;
        let now = self.0.clock.now();
        let taken = self.0.holder.take(owner, KeyId::random()?, purpose, key, now).await?;
        self.0.keep(taken).await
    }
}

impl<R: KeyRecords + ?Sized + 'static, H: KeyHolder + ?Sized + 'static> Shared<R, H> {
    /// A look before the first handle: what is changed after a handle's record was read is then found by the next one.
    async fn begin(self: &Arc<Self>) -> Result<(), KeyError> {
        match self.live.number() {
            Some(_) => Ok(()),
            None => self.look().await,
        }
    }

    async fn load(&self, owner: &Owner, id: &KeyId) -> Result<Option<StoredKey>, KeyError> {
        let stored = self.noting(self.records.load(owner, id).await)?;
        // A record of another key or owner than was asked for is nobody's.
        Ok(stored.filter(|stored| stored.record.owner == *owner && stored.record.id == *id))
    }

    async fn change(&self, owner: &Owner, changes: &[Change]) -> Result<bool, KeyError> {
        self.noting(self.records.change(owner, changes).await)
    }

    /// Whoever meets an older state stops all keys.
    fn noting<T>(&self, outcome: Result<T, KeyError>) -> Result<T, KeyError> {
        if let Err(KeyError::RolledBack) = outcome {
            self.watch.rolled_back();
        }
        outcome
    }

    /// The one handle of this key, where its record is. Made when there is none, for all who wait.
    async fn handle(self: &Arc<Self>, stored: &StoredKey) -> Result<KeyHandle, KeyError> {
        let record = &stored.record;
        let found = self.live.find_or_make(record.id, || {
            let (shared, stored) = (Arc::clone(self), stored.clone());
            Box::pin(async move {
                let signer = shared.holder.signer(&stored).await?;
                let record = stored.record;
                let watched = Arc::new(Watched {
                    shared: Arc::clone(&shared),
                    signer,
                });
                let key = KeyHandle::pending(record.owner, record.id, record.purpose, record.public, watched);
                shared.live.made(&key);
                Ok(key)
            })
        });
        let key = match found {
            Ok(key) => key,
            Err(making) => making.await?,
        };
        let is_same = *key.owner() == record.owner && key.purpose() == record.purpose && *key.public() == record.public;
        if !is_same {
            return Err(KeyError::Mismatch);
        }
        follow(&key, record.state, record.drain_until, &self.clock);
        Ok(key)
    }

    /// The handle of a key whose record was read after [`Live::stirred`] gave `seen`; `None` when the key has ended.
    async fn adopt(self: &Arc<Self>, mut stored: StoredKey, seen: u64) -> Result<Option<KeyHandle>, KeyError> {
        let mut record = stored.record.clone();
        if let Some(to) = self.live.untold(&record.owner, record.id) {
            self.end(&record.owner, &record.id, to).await?;
            self.live.told(&record.owner, record.id, to);
            return Ok(None);
        }
        if record.has_ended() || self.is_drained(&record) {
            return Ok(None);
        }
        let mut made = self.handle(&stored).await;
        if let Err(KeyError::Missing | KeyError::Mismatch) = made {
            // Ended while its signer was made, so that the private half is gone; or sealed anew, so that what was read does not
            // open any more; or else that is the trouble.
            match self.load(&record.owner, &record.id).await? {
                Some(now) if !now.record.has_ended() => {
                    if now.material != stored.material {
                        stored = now;
                        made = self.handle(&stored).await;
                    }
                }
                _ => return Ok(None),
            }
        }
        let key = made?;
        let mut untold = None;
        if self.live.stirred() != seen {
            // Something happened to some key while this one was made. From here on looks find the handle.
            match self.load(&record.owner, &record.id).await? {
                Some(stored) => record = stored.record,
                None => return Ok(None),
            }
            untold = self.live.untold(&record.owner, record.id);
            if let Some(to) = untold {
                key.close(to);
            }
            follow(&key, record.state, record.drain_until, &self.clock);
        }
        let end = match key.state() {
            KeyState::Destroyed => Retired::Destroyed,
            KeyState::Compromised => Retired::Compromised,
            _ => return Ok(Some(key)),
        };
        // Closed by its handle, or when the store could not be told.
        if untold.is_some() || matches!(record.state, KeyState::Pending | KeyState::Active) {
            self.end(&record.owner, &record.id, end).await?;
            self.live.told(&record.owner, record.id, end);
        }
        Ok(None)
    }

    fn is_drained(&self, record: &KeyRecord) -> bool {
        record.state == KeyState::Draining && record.drain_until.is_none_or(|until| until <= self.clock.now())
    }

    /// Writes the record of a new key, whose private half goes again when that was certainly not done. Where nobody knows it
    /// stays: a record without its private half would be a pending key that is chosen and never signs.
    async fn keep(self: &Arc<Self>, stored: StoredKey) -> Result<KeyHandle, KeyError> {
        let key = self.handle(&stored).await;
        let kept = match key {
            // Nobody has the handle if this fails, also if the record was written: then the key stays pending and is tidied.
            Ok(key) => match self.noting(self.records.insert(&stored).await) {
                Ok(()) => return Ok(key),
                Err(error) => Err(error),
            },
            Err(error) => {
                let _tried = self.holder.destroy(&stored.record).await;
                return Err(error);
            }
        };
        if let Err(KeyError::Duplicate | KeyError::Full { .. } | KeyError::NotPersisted) = kept {
            let _tried = self.holder.destroy(&stored.record).await;
        }
        kept
    }

    /// Makes `key` the active one in the place of `old`, in one step.
    async fn replace(
        self: &Arc<Self>,
        key: StoredKey,
        old: Option<StoredKey>,
        until: Timestamp,
    ) -> Result<bool, KeyError> {
        // A key that cannot sign replaces none.
        let seen = self.live.stirred();
        if self.adopt(key.clone(), seen).await?.is_none() {
            return Ok(false);
        }
        let mut changes = Vec::with_capacity(2);
        let owner = key.record.owner.clone();
        if let Some(old) = old {
            let next = KeyRecord {
                state: KeyState::Draining,
                drain_until: Some(until),
                ..next_of(&old.record)
            };
            changes.push(self.carry(&old, next).await?);
        }
        let next = KeyRecord {
            state: KeyState::Active,
            activated_at: Some(self.clock.now()),
            ..next_of(&key.record)
        };
        changes.push(self.carry(&key, next).await?);
        if !self.change(&owner, &changes).await? {
            return Ok(false);
        }
        for change in &changes {
            self.live.follow(&change.next.record);
        }
        Ok(true)
    }

    async fn carry(&self, stored: &StoredKey, next: KeyRecord) -> Result<Change, KeyError> {
        Ok(Change {
            expected: stored.record.revision,
            next: StoredKey {
                material: self.holder.carry(stored, &next).await?,
                record: next,
            },
        })
    }
}

/// The next version of a record, not changed yet.
fn next_of(record: &KeyRecord) -> KeyRecord {
    KeyRecord {
        revision: record.revision.saturating_add(1),
        ..record.clone()
    }
}

#[async_trait]
impl<R: KeyRecords + ?Sized + 'static, H: KeyHolder + ?Sized + 'static> KeyStore for RecordedKeys<R, H> {
    async fn active(&self, owner: &Owner, purpose: Purpose) -> Result<Option<KeyHandle>, KeyError> {
        self.0.begin().await?;
        for _attempt in 0..ATTEMPTS {
            let seen = self.0.live.stirred();
            let stored = self.0.noting(self.0.records.active(owner, purpose).await)?;
            let is_asked = |stored: &StoredKey| {
                let record = &stored.record;
                record.owner == *owner && record.purpose == purpose && record.state == KeyState::Active
            };
            let Some(stored) = stored.filter(is_asked) else {
                return Ok(None);
            };
            // What has been replaced or ended meanwhile is not the active one.
            match self.0.adopt(stored, seen).await? {
                Some(key) if key.state() == KeyState::Active => return Ok(Some(key)),
                _ => {}
            }
        }
        Err(KeyError::StoreUnavailable)
    }

    async fn get(&self, owner: &Owner, key: &KeyId) -> Result<Option<KeyHandle>, KeyError> {
        self.0.begin().await?;
        let seen = self.0.live.stirred();
        match self.0.load(owner, key).await? {
            Some(stored) => self.0.adopt(stored, seen).await,
            None => Ok(None),
        }
    }

    async fn with_thumbprint(
        &self,
        owner: &Owner,
        purpose: Purpose,
        jkt: &Thumbprint,
    ) -> Result<Option<KeyHandle>, KeyError> {
        let signing = KeyFilter::default()
            .of_owner(owner.clone())
            .for_purpose(purpose)
            .in_state(KeyState::Active)
            .in_state(KeyState::Draining);
        let records = self.list(&signing, None, SIGNING).await?;
        let Some(record) = records.into_iter().find(|record| record.jkt() == *jkt) else {
            return Ok(None);
        };
        let key = self.get(owner, &record.id).await?;
        Ok(key.filter(|key| key.purpose() == purpose && key.jkt() == *jkt))
    }

    async fn create(&self, owner: &Owner, spec: KeySpec) -> Result<KeyHandle, KeyError> {
        self.0.begin().await?;
        let now = self.0.clock.now();
        let made = self.0.holder.make(owner, KeyId::random()?, spec, now).await?;
        self.0.keep(made).await
    }

    async fn promote(
        &self,
        owner: &Owner,
        key: &KeyId,
        replaces: Option<&KeyId>,
        drain_until: Timestamp,
    ) -> Result<bool, KeyError> {
        self.0.begin().await?;
        let stored = self.0.load(owner, key).await?;
        let next = stored.filter(|stored| !stored.record.has_ended() && !self.0.is_drained(&stored.record));
        let next = next.ok_or(KeyError::Missing)?;
        if next.record.state != KeyState::Pending {
            return Ok(false);
        }
        let old = match replaces {
            Some(id) => {
                let of_purpose =
                    |old: &StoredKey| old.record.state == KeyState::Active && old.record.purpose == next.record.purpose;
                match self.0.load(owner, id).await?.filter(of_purpose) {
                    Some(old) => Some(old),
                    None => return Ok(false),
                }
            }
            None => None,
        };
        self.0.replace(next, old, drain_until).await
    }

    async fn prolong(&self, owner: &Owner, key: &KeyId, drain_until: Timestamp) -> Result<bool, KeyError> {
        self.0.begin().await?;
        for _attempt in 0..ATTEMPTS {
            let stored = self.0.load(owner, key).await?;
            let drains = |stored: &StoredKey| stored.record.state == KeyState::Draining;
            let Some(stored) = stored.filter(|stored| drains(stored) && !self.0.is_drained(&stored.record)) else {
                return Ok(false);
            };
            if stored.record.drain_until >= Some(drain_until) {
                return Ok(true);
            }
            let next = KeyRecord {
                drain_until: Some(drain_until),
                ..next_of(&stored.record)
            };
            let change = self.0.carry(&stored, next).await?;
            if self.0.change(owner, std::slice::from_ref(&change)).await? {
                self.0.live.follow(&change.next.record);
                return Ok(true);
            }
        }
        Err(KeyError::StoreUnavailable)
    }

    async fn retire(&self, owner: &Owner, key: &KeyId, to: Retired) -> Result<bool, KeyError> {
        // Whatever the store says, nothing signs here any more.
        self.0.live.close(owner, *key, to);
        let changed = self.0.end(owner, key, to).await?;
        self.0.live.told(owner, *key, to);
        Ok(changed)
    }
}

#[async_trait]
impl<R: KeyRecords + ?Sized + 'static, H: KeyHolder + ?Sized + 'static> KeyListing for RecordedKeys<R, H> {
    async fn list(&self, filter: &KeyFilter, after: Option<KeyId>, most: usize) -> Result<Vec<KeyRecord>, KeyError> {
        self.0.noting(self.0.records.list(filter, after, most).await)
    }
}

impl<R: ?Sized, H: ?Sized> Clone for RecordedKeys<R, H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R: fmt::Debug + ?Sized, H: fmt::Debug + ?Sized> fmt::Debug for RecordedKeys<R, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedKeys")
            .field("records", &self.0.records)
            .field("holder", &self.0.holder)
            .finish_non_exhaustive()
    }
}
