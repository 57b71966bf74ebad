//! What is written down about keys: the seam between the life of a key and where its record is kept.
//!
//! `RecordedKeys` makes a [`KeyStore`](super::KeyStore) of two things: [`KeyRecords`], which keep the
//! records, and a [`KeyHolder`](super::KeyHolder), which has the private halves. All that a key's life means is in there; who
//! keeps records writes rows by compare-and-set and knows nothing of it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::{KeyError, KeyId, KeyState, Purpose};
use crate::clock::Timestamp;
use crate::jose::{PublicJwk, Thumbprint};
use crate::owner::{Environment, Owner, TenantId};

/// What is known of a key. No secret, and nothing by which anybody could sign.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeyRecord {
    /// Whose it is.
    pub owner: Owner,
    /// Its id.
    pub id: KeyId,
    /// What it is for.
    pub purpose: Purpose,
    /// The public half.
    pub public: PublicJwk,
    /// Where it is in its life.
    pub state: KeyState,
    /// How often the record was changed: 0 when the key is made.
    pub revision: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was promoted; `None` while it is pending, and for a key that ended so.
    pub activated_at: Option<Timestamp>,
    /// Until when it signs beside its successor. Set when it is replaced, and later where a refresh token is bound to it.
    pub drain_until: Option<Timestamp>,
    /// When it was destroyed or found compromised.
    pub ended_at: Option<Timestamp>,
}

impl KeyRecord {
    /// The record of a key that has just been made: pending.
    pub fn pending(owner: Owner, id: KeyId, purpose: Purpose, public: PublicJwk, created_at: Timestamp) -> Self {
        Self {
            owner,
            id,
            purpose,
            public,
            state: KeyState::Pending,
            revision: 0,
            created_at,
            activated_at: None,
            drain_until: None,
            ended_at: None,
        }
    }

    /// The RFC 7638 SHA-256 thumbprint of the public half.
    pub fn jkt(&self) -> Thumbprint {
        self.public.thumbprint()
    }

    /// What kind of system it is for. Keys of the deployment itself count as production.
    pub fn environment(&self) -> Environment {
        self.owner
            .connection()
            .map_or(Environment::Production, |connection| connection.environment())
    }

    /// Whether the key has ended.
    pub fn has_ended(&self) -> bool {
        self.state >= KeyState::Destroyed
    }
}

/// What a [`KeyHolder`](super::KeyHolder) needs to find the private half again: a sealed key, or the name of one that never
/// leaves its device. Opaque to whoever keeps it.
#[derive(Clone, PartialEq, Eq)]
pub struct Material(Arc<str>);

impl Material {
    /// This text.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text, to write it down.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Sealed, but nobody's to see all the same.
        write!(f, "Material({} octets)", self.0.len())
    }
}

/// A record with what its holder needs.
#[derive(Clone, Debug)]
pub struct StoredKey {
    /// What is known of the key.
    pub record: KeyRecord,
    /// What its holder needs. `None` once the private half is gone: a key that has ended and still has material is to be wiped
    /// by its holder.
    pub material: Option<Material>,
}

/// One record is to be replaced by its next version.
#[derive(Clone, Debug)]
pub struct Change {
    /// The revision that is to be replaced.
    pub expected: u64,
    /// What takes its place: the same owner, id, purpose and public half, with the revision after `expected`.
    pub next: StoredKey,
}

/// How a key's record was changed by anybody, so that handles in this process follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moved {
    /// Which key.
    pub id: KeyId,
    /// Where it is in its life now.
    pub state: KeyState,
    /// Until when it drains, where it does.
    pub drain_until: Option<Timestamp>,
}

impl Moved {
    /// The key with this id is in this state now.
    pub fn new(id: KeyId, state: KeyState, drain_until: Option<Timestamp>) -> Self {
        Self { id, state, drain_until }
    }
}

/// Which keys are meant. The default means all.
///
/// ```
/// use shipbound::keys::{KeyFilter, KeyState, Purpose};
/// use shipbound::owner::TenantId;
///
/// let of_acme = KeyFilter::default().of_tenant(TenantId::new("acme")?).in_state(KeyState::Active);
/// # Ok::<(), shipbound::owner::InvalidId>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct KeyFilter {
    /// Of this tenant, in all its incarnations.
    pub tenant: Option<TenantId>,
    /// Of this owner.
    pub owner: Option<Owner>,
    /// With this id.
    pub key: Option<KeyId>,
    /// Made for this.
    pub purpose: Option<Purpose>,
    /// In one of these states; empty means in any.
    pub states: Vec<KeyState>,
    /// Of connections to this kind of system; keys of the deployment itself count as production.
    pub environment: Option<Environment>,
    /// Promoted at this instant or later.
    pub activated_since: Option<Timestamp>,
    /// Promoted before this.
    pub activated_before: Option<Timestamp>,
    /// Draining until an instant before this.
    pub drained_before: Option<Timestamp>,
}

impl KeyFilter {
    /// Those of this tenant.
    #[must_use]
    pub fn of_tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// Those of this owner.
    #[must_use]
    pub fn of_owner(mut self, owner: impl Into<Owner>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// The one with this id.
    #[must_use]
    pub fn with_id(mut self, key: KeyId) -> Self {
        self.key = Some(key);
        self
    }

    /// Those that were made for this.
    #[must_use]
    pub fn for_purpose(mut self, purpose: Purpose) -> Self {
        self.purpose = Some(purpose);
        self
    }

    /// Those in this state; said again, in one of these states.
    #[must_use]
    pub fn in_state(mut self, state: KeyState) -> Self {
        self.states.push(state);
        self
    }

    /// Those that were promoted before `instant`.
    #[must_use]
    pub fn activated_before(mut self, instant: Timestamp) -> Self {
        self.activated_before = Some(instant);
        self
    }

    /// Those of connections to this kind of system; keys of the deployment itself count as production.
    #[must_use]
    pub fn in_environment(mut self, environment: Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// Those that were promoted at `instant` or later.
    #[must_use]
    pub fn activated_since(mut self, instant: Timestamp) -> Self {
        self.activated_since = Some(instant);
        self
    }

    /// Those whose drain ends before `instant`.
    #[must_use]
    pub fn drained_before(mut self, instant: Timestamp) -> Self {
        self.drained_before = Some(instant);
        self
    }

    /// Whether `record` is among those that are meant.
    pub fn takes(&self, record: &KeyRecord) -> bool {
        let of_tenant = |tenant: &TenantId| match &record.owner {
            Owner::Connection(connection) => connection.tenant().id() == tenant,
            Owner::Deployment(_) => false,
        };
        self.tenant.as_ref().is_none_or(of_tenant)
            && self.owner.as_ref().is_none_or(|owner| *owner == record.owner)
            && self.key.is_none_or(|key| key == record.id)
            && self.purpose.is_none_or(|purpose| purpose == record.purpose)
            && (self.states.is_empty() || self.states.contains(&record.state))
            && self
                .environment
                .is_none_or(|environment| environment == record.environment())
            && self
                .activated_since
                .is_none_or(|instant| record.activated_at.is_some_and(|at| at >= instant))
            && self
                .activated_before
                .is_none_or(|instant| record.activated_at.is_some_and(|at| at < instant))
            && self
                .drained_before
                .is_none_or(|instant| record.drain_until.is_some_and(|until| until < instant))
    }
}

/// Tells which keys a store has: what rotation and inventory read. A store that cannot be listed can be used, not rotated.
#[async_trait]
pub trait KeyListing: fmt::Debug + Send + Sync {
    /// At most `most` records that `filter` takes, all parts of it, in the order of their ids, beginning after `after`. It may be
    /// fewer though there are more, and none only where there are none. Ended keys are among them as long as the store
    /// remembers them.
    ///
    /// # Errors
    /// [`KeyError::StoreUnavailable`].
    async fn list(&self, filter: &KeyFilter, after: Option<KeyId>, most: usize) -> Result<Vec<KeyRecord>, KeyError>;
}

/// Where the records of keys are kept. Rows and compare-and-set: what a change means is
/// `RecordedKeys`' to know.
///
/// # Writing one
///
/// - **Durable** before `Ok`, as durable as the store gets.
/// - **Limited**: every wait for a server has an end of its own.
/// - **Current**: reads see what was last written, never a replica that lags behind.
/// - **Apart**: the owner is the key, all parts of it, compared by octets.
/// - **One active key** for an owner and purpose: a change that would make a second one is `Ok(false)`.
/// - **Dead thumbprints** stay dead: a key whose thumbprint has ended is never given out and never inserted again, whatever a
///   restored row says.
#[async_trait]
pub trait KeyRecords: KeyListing {
    /// Writes a new record.
    ///
    /// # Errors
    /// [`KeyError::Duplicate`] when the id or the thumbprint is known, dead ones among them; [`KeyError::Full`];
    /// [`KeyError::NotPersisted`]: certainly not written; [`KeyError::StoreUnavailable`]: written or not.
    async fn insert(&self, key: &StoredKey) -> Result<(), KeyError>;

    /// The owner's key with this id, also one that has ended.
    ///
    /// # Errors
    /// [`KeyError::StoreUnavailable`]; [`KeyError::RolledBack`] when the store shows an older state than it has shown before.
    async fn load(&self, owner: &Owner, id: &KeyId) -> Result<Option<StoredKey>, KeyError>;

    /// The owner's active key for `purpose`.
    ///
    /// # Errors
    /// As [`KeyRecords::load`].
    async fn active(&self, owner: &Owner, purpose: Purpose) -> Result<Option<StoredKey>, KeyError>;

    /// Makes all of these changes, or none and gives `Ok(false)`: when a record has another revision than is expected, or is
    /// not there, or there would be two active keys. May be repeated: a second time does nothing. A key that makes room for
    /// another stands before it, so changes may be written one after the other.
    ///
    /// # Errors
    /// [`KeyError::StoreUnavailable`]: changed or not.
    async fn change(&self, owner: &Owner, changes: &[Change]) -> Result<bool, KeyError>;

    /// What was changed after the number `since`, and the number to ask with the next time. With `None`: the number alone,
    /// since nobody has a handle yet that could be out of date. A change has its number when it can be read, and numbers of
    /// later ones are greater: what is committed late must not be passed over.
    ///
    /// # Errors
    /// [`KeyError::StoreUnavailable`], [`KeyError::RolledBack`].
    async fn moved(&self, since: Option<u64>) -> Result<(u64, Vec<Moved>), KeyError>;

    /// At most `most` keys that have ended and still have material: their holder is to wipe them. None whose row alone says that
    /// it has ended, where ends are also written down elsewhere: what is wiped does not come back.
    ///
    /// # Errors
    /// [`KeyError::StoreUnavailable`].
    async fn to_be_wiped(&self, most: usize) -> Result<Vec<StoredKey>, KeyError>;

    /// Whether the key with this thumbprint has ended, as far as the last [`moved`](KeyRecords::moved) or read has told, without
    /// asking anybody: after each look handles of such keys are closed, whatever their rows say by now. Asked for every key that
    /// lives in this process. Default: no, for records of which no row can be put back.
    fn has_seen_end(&self, _jkt: &Thumbprint) -> bool {
        false
    }

    /// Writes down that this key has ended, of which there is no record: should one turn up later, it is
    /// [`KeyError::RolledBack`]. May be repeated. Default: nothing, for records of which no row can be put back.
    ///
    /// # Errors
    /// [`KeyError::StoreUnavailable`]: written or not; [`KeyError::RolledBack`].
    async fn bury(&self, _owner: &Owner, _id: &KeyId) -> Result<(), KeyError> {
        Ok(())
    }

    /// Deletes at most `most` records of keys that ended before this and have been wiped, and gives how many. That they have
    /// ended stays known. Default: none.
    ///
    /// # Errors
    /// [`KeyError::StoreUnavailable`].
    async fn forget(&self, _ended_before: Timestamp, _most: usize) -> Result<usize, KeyError> {
        Ok(0)
    }
}
