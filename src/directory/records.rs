//! What is written down about connections: the seam between [`Registry`](crate::registry::Registry) and where it keeps them.

use std::fmt;

use async_trait::async_trait;

use super::PiiPolicy;
use super::Standing;
use crate::act::Act;
use crate::clock::Timestamp;
use crate::owner::{ConnectionId, DeploymentId, Region, TenantId};

/// What can be changed of a connection while it is used.
///
/// ```
/// use shipbound::directory::PiiPolicy;
/// use shipbound::directory::Settings;
///
/// let settings = Settings::default().personal_paths(PiiPolicy::Refuse);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// What becomes of personal paths in its proofs; `None` where the client's own choice holds.
    pub personal_paths: Option<PiiPolicy>,
}

impl Settings {
    /// With an exception from what the client does with personal paths.
    #[must_use]
    pub fn personal_paths(mut self, policy: PiiPolicy) -> Self {
        self.personal_paths = Some(policy);
        self
    }
}

/// What the issuers have not heard of while a connection is removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Untold {
    /// Processes, as random numbers, that have tokens of it and still tell. At most 256; others are not waited for.
    pub telling: Vec<u64>,
    /// How many tokens no issuer was told of, nor will be.
    pub lost: u64,
}

/// What is known of a connection. No secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionRecord {
    /// Which connection, with its incarnation. A record of another incarnation is of another connection.
    pub connection: ConnectionId,
    /// How it stands.
    pub standing: Standing,
    /// What was set.
    pub settings: Settings,
    /// Where its keys, credentials and grants stay; never changed. `None` where it was not said.
    pub region: Option<Region>,
    /// How often the record was changed: 0 when the connection is added.
    pub revision: u64,
    /// The store's number of its last change: larger than those of all changes before, of any connection. 0 until it is
    /// written.
    pub number: u64,
    /// When somebody last changed it.
    pub changed_at: Timestamp,
    /// Who changed it last, and why.
    pub act: Act,
    /// Of a connection that is removed: what the issuers have not heard of.
    pub untold: Untold,
}

impl ConnectionRecord {
    /// The record of a connection that is to be added: active.
    pub fn new(connection: ConnectionId, settings: Settings, region: Option<Region>, at: Timestamp, act: Act) -> Self {
        Self {
            connection,
            standing: Standing::Active,
            settings,
            region,
            revision: 0,
            number: 0,
            changed_at: at,
            act,
            untold: Untold::default(),
        }
    }

    /// What a store gives for a row that it cannot read, of which it knows no more: malformed, or written by a newer version.
    /// The connection is [`Standing::Unreadable`].
    pub fn unreadable(connection: ConnectionId, number: u64) -> Self {
        let record = Self::new(
            connection,
            Settings::default(),
            None,
            Timestamp::UNIX_EPOCH,
            Act::unreadable(),
        );
        Self {
            standing: Standing::Unreadable,
            number,
            ..record
        }
    }

    /// The next version of this record.
    #[must_use]
    pub fn next(&self, at: Timestamp, act: &Act) -> Self {
        Self {
            revision: self.revision.saturating_add(1),
            changed_at: at,
            act: act.clone(),
            ..self.clone()
        }
    }

    /// Whether both are of one place: the same tenant's id, carrier, environment and account, whatever the incarnation.
    pub fn is_at(&self, connection: &ConnectionId) -> bool {
        is_same_place(&self.connection, connection)
    }
}

/// Whether these are equal but for the incarnation.
pub(crate) fn is_same_place(one: &ConnectionId, other: &ConnectionId) -> bool {
    one.tenant().id() == other.tenant().id()
        && one.carrier() == other.carrier()
        && one.account() == other.account()
        && one.environment() == other.environment()
        && one.deployment() == other.deployment()
}

/// Why a store of connections cannot do what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionStoreError {
    /// The store does not answer, or not as it should. What was to be written may be written. User action: mend the store.
    #[error("the store of connections is not available")]
    Unavailable,
    /// One of the tenant's rows cannot be read so far that it is known whose it is: malformed, or written by a newer version.
    /// Nothing was written. User action: mend the row, or let processes of the newer version do it.
    #[error("a row of the tenant's cannot be read")]
    Unreadable,
    /// The store shows an older state than it has shown before: a row or a dump was put back. User action: if nobody restored a
    /// backup, treat it as an attack on the database.
    #[error("the state of the store of connections was rolled back")]
    RolledBack,
    /// The store holds as many records as it may. User action: give it a higher limit.
    #[error("the store of connections is full: its limit is {limit} records")]
    Full {
        /// The limit that was reached.
        limit: usize,
    },
}

/// Where the records of connections are kept. A store knows nothing of what a record means: it reads, and it writes by
/// compare-and-set.
///
/// # Writing one
///
/// - **Durable** before `Ok`, as durable as the store gets.
/// - **Current**: reads see what was last written, never a replica that lags behind.
/// - **Apart**: the whole connection is the key, with deployment and incarnation, compared by octets. Collations that fold case
///   do not do.
/// - **Numbered**: each write gives its record a number, larger than any before. A number must not be seen before all smaller
///   ones can be seen: hand them out under a lock that is held until the write is committed.
/// - **One at a place**: at most one record that is not [`Standing::Removed`] for a deployment, tenant's id, carrier,
///   environment and account.
/// - **Final**: a removed record is never replaced.
/// - **One by one**: a row that cannot be read costs its connection alone. It is [`ConnectionRecord::unreadable`], counts as one that
///   was not removed, and is never written over. Where not even its connection is known, [`changes`](Self::changes) leaves it
///   out, and what is asked about its tenant is [`ConnectionStoreError::Unreadable`].
#[async_trait]
pub trait ConnectionStore: fmt::Debug + Send + Sync {
    /// Writes a new record, if `seen` is still the largest number among the records of its tenant's id (0: there are none).
    /// Gives the record's number; `Ok(None)`: nothing was written, because something of the tenant has changed, the connection
    /// is known, or another one is at its place.
    ///
    /// # Errors
    /// [`ConnectionStoreError`].
    async fn insert(&self, record: &ConnectionRecord, seen: u64) -> Result<Option<u64>, ConnectionStoreError>;

    /// Puts `next` in the place of the record of the same connection that has the revision `expected`. Gives its number;
    /// `Ok(None)`: nothing was written, because there is another revision, or none.
    ///
    /// # Errors
    /// [`ConnectionStoreError`].
    async fn replace(&self, expected: u64, next: &ConnectionRecord) -> Result<Option<u64>, ConnectionStoreError>;

    /// All records of a tenant's id, removed ones among them.
    ///
    /// # Errors
    /// [`ConnectionStoreError`].
    async fn of_tenant(
        &self,
        deployment: &DeploymentId,
        tenant: &TenantId,
    ) -> Result<Vec<ConnectionRecord>, ConnectionStoreError>;

    /// At most `most` records of the deployment whose number is larger than `since`, in the order of their numbers, removed ones
    /// among them. From 0 on: all there are, in pages. An empty answer says that there are no more.
    ///
    /// # Errors
    /// [`ConnectionStoreError`].
    async fn changes(
        &self,
        deployment: &DeploymentId,
        since: u64,
        most: usize,
    ) -> Result<Vec<ConnectionRecord>, ConnectionStoreError>;

    /// A number that grows when [`has_seen_end`](Self::has_seen_end) may answer more often than before. Default: 0, for stores of
    /// which no row can be put back.
    fn ends(&self) -> u64 {
        0
    }

    /// Whether this revision of the connection was replaced, as far as [`changes`](Self::changes) has seen, without asking
    /// anybody. Where no newer one can be read, the older state was put back. Default: no.
    fn has_seen_end(&self, _connection: &ConnectionId, _revision: u64) -> bool {
        false
    }

    /// Whether other processes use the store too. Who removes a connection then waits until they know of it. Default: yes.
    fn is_shared(&self) -> bool {
        true
    }
}
