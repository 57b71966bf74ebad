//! Connections at run time: added, changed, suspended, resumed and removed without a restart, in every process of a fleet.
//!
//! A [`Registry`] knows which connections there are. Clients whose parts have it as their
//! [directory](crate::parts::PartsBuilder::directory) call for those and no others. Each act says who does it and why
//! ([`Act`]), is written down by compare-and-set, and is an event of the journal.
//!
//! ```
//! use std::sync::Arc;
//!
//! use shipbound::Parts;
//! use shipbound::act::Act;
//! use shipbound::credentials::{Credential, CredentialAdmin, MemoryCredentials};
//! use shipbound::directory::MemoryConnections;
//! use shipbound::keys::MemoryKeyStore;
//! use shipbound::owner::{CarrierId, Environment, TenantId};
//! use shipbound::registry::{NewConnection, Registry};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Arc::new(Registry::builder(MemoryConnections::new()).open().await?);
//! let credentials = Arc::new(MemoryCredentials::new());
//! let parts = Parts::builder()
//!     .keys(MemoryKeyStore::new())
//!     .shared_credentials(credentials.clone())
//!     .directory(registry.clone())
//!     .build()?;
//!
//! // A shipper signs up. The connection's id has the tenant's incarnation: credentials are put under it.
//! let act = Act::new("onboarding", "signed up", "SALES-17")?;
//! let new = NewConnection::new(TenantId::new("acme")?, &CarrierId::new("ups")?, Environment::Production);
//! let record = registry.add(&new, &act).await?;
//! credentials.put_credential(&record.connection, Credential::new("id", "s3cr3t"), &act).await?;
//!
//! // Something is wrong: its next call is refused, though there is a token for it.
//! let act = Act::new("maria@platform.example", "labels that nobody ordered", "INC-9")?;
//! let suspended = registry.suspend(&record.connection, &act).await?;
//! // Nothing was. Whoever else has suspended it meanwhile is not overruled.
//! registry.resume(&suspended, &act).await?;
//! # let _ = parts;
//! # Ok(())
//! # }
//! ```
//!
//! # Incarnations
//!
//! The first holder of a tenant's id has the nil incarnation. When all of a tenant's connections were removed, or are being, the
//! next one that is added under its id belongs to a new holder with a random incarnation; so does a connection that is added
//! where the same tenant's was removed. What was under the old incarnation is nobody's: no key, token, credential or grant of it
//! is found, and a call for it is [`NotAdmitted::Incarnation`](crate::directory::NotAdmitted::Incarnation).
//!
//! # Several processes
//!
//! Each process has a registry of its own over one store, and follows what others do: [`Registry`] is a
//! [`Chore`] for the [`Upkeep`](crate::upkeep::Upkeep), every 5 s. A connection that another process has
//! added is found at once, by asking the store. A connection that another process has suspended or removed is refused within
//! that time.
//!
//! When the store does not answer, the connections that are known go on. After 15 minutes (settable) without an answer none does,
//! since one of them may have been suspended: [`NotAdmitted::Unavailable`](crate::directory::NotAdmitted::Unavailable). Tokens
//! at hand are refused then as well where the chore runs; else when they end. So a process that is cut off from the store goes
//! on calling for that long with what it knows, also for a connection that was suspended or removed meanwhile: its keys and
//! tokens stop by their own rules, and a removal does not wait for it. Set [`RegistryBuilder::stale_after`] to what that may cost.
//!
//! # Rows that cannot be read
//!
//! A row that is malformed, or that a newer version has written, costs its connection alone:
//! [`NotAdmitted::Unreadable`](crate::directory::NotAdmitted::Unreadable). It is listed as [`Standing::Unreadable`], with an event
//! ([`EventKind::ConnectionUnreadable`]), and no act touches it.

mod acts;
mod book;
mod ended;
mod error;
mod follow;
mod removal;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use tokio::sync::Semaphore;

#[cfg(doc)]
use crate::act::Act;
use crate::clock::{Clock, SystemClock, within};
use crate::crypto;
use crate::directory::{ConnectionRecord, ConnectionStore, ConnectionStoreError, Standing};
use crate::journal::{ConnectionChange, EventKind, Journal};
use crate::owner::{ConnectionId, DeploymentId, TenantId};

use self::book::Book;
use self::ended::{Announced, Ended};
use self::follow::{Asked, Freshness};

pub use self::acts::NewConnection;
pub use self::error::RegistryError;
pub use self::removal::{Removal, Remover, Step, StepReport};

#[cfg(doc)]
use crate::chore::Chore;

/// How long one request to the store may take.
const STORE: Duration = Duration::from_secs(5);

/// How many unknown connections are asked for at a time.
const ASKED_AT_ONCE: usize = 16;

/// The connections of a deployment, as one process knows them. See the [module](self).
pub struct Registry {
    deployment: DeploymentId,
    store: Arc<dyn ConnectionStore>,
    clock: Arc<dyn Clock>,
    journal: Journal,
    follow_every: Duration,
    stale_after: Duration,
    book: Book,
    freshness: Freshness,
    /// Whether the journal was told that the store does not answer.
    is_told: AtomicBool,
    /// What the store's ends were when they were compared with the book.
    ends: AtomicU64,
    /// One follows at a time.
    following: tokio::sync::Mutex<()>,
    asking: Semaphore,
    asked: Asked,
    ended: Ended,
    announced: Announced,
    /// What this process is called in records: a number that no other has.
    process: u64,
}

/// Builds a [`Registry`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is opened"]
pub struct RegistryBuilder {
    store: Arc<dyn ConnectionStore>,
    deployment: DeploymentId,
    clock: Arc<dyn Clock>,
    journal: Option<Journal>,
    follow_every: Duration,
    stale_after: Duration,
}

impl Registry {
    /// Starts a registry over `store`.
    pub fn builder(store: impl ConnectionStore + 'static) -> RegistryBuilder {
        RegistryBuilder {
            store: Arc::new(store),
            deployment: DeploymentId::default_deployment(),
            clock: Arc::new(SystemClock::new()),
            journal: None,
            follow_every: Duration::from_secs(5),
            stale_after: Duration::from_secs(15 * 60),
        }
    }

    /// How many connections this process knows.
    pub fn len(&self) -> usize {
        self.book.len()
    }

    /// Whether this process knows no connection.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The record of this connection, read from the store, also where it was removed.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`], [`RegistryError::Store`].
    pub async fn record(&self, connection: &ConnectionId) -> Result<ConnectionRecord, RegistryError> {
        let records = self.of_tenant(connection.tenant().id()).await?;
        let record = records.into_iter().find(|record| record.connection == *connection);
        record.ok_or(RegistryError::Unknown)
    }

    /// All records of this tenant's id, read from the store, those of former holders and removed connections among them.
    ///
    /// # Errors
    /// [`RegistryError::Store`].
    pub async fn of_tenant(&self, tenant: &TenantId) -> Result<Vec<ConnectionRecord>, RegistryError> {
        Ok(self.in_time(self.store.of_tenant(&self.deployment, tenant)).await?)
    }

    /// At most `most` records of the deployment, removed connections among them, in the order in which they were last changed,
    /// beginning after the one with the number `after`. With 0 from the first on.
    ///
    /// # Errors
    /// [`RegistryError::Store`].
    pub async fn list(&self, after: u64, most: usize) -> Result<Vec<ConnectionRecord>, RegistryError> {
        Ok(self.in_time(self.store.changes(&self.deployment, after, most)).await?)
    }

    async fn in_time<T>(
        &self,
        asked: impl Future<Output = Result<T, ConnectionStoreError>>,
    ) -> Result<T, ConnectionStoreError> {
        let deadline = self.clock.monotonic() + STORE;
        let late = Err(ConnectionStoreError::Unavailable);
        within(&*self.clock, deadline, asked).await.unwrap_or(late)
    }

    /// The connections that are known to be removed at the moment, and those whose end was learned of since.
    fn removing(&self) -> Vec<ConnectionId> {
        let mut removing = self.book.removing();
        removing.extend(self.ended.all());
        removing
    }

    /// Nothing is left of a removed connection in this process; whether it waited for that.
    fn left(&self, connection: &ConnectionId) -> bool {
        self.announced.set(connection, false);
        self.ended.done(connection)
    }

    /// Something is left of it.
    fn take_up(&self, connection: ConnectionId) {
        self.ended.add(connection);
    }

    /// Whether this process has written into the record of a removal that it has tokens.
    fn has_announced(&self, connection: &ConnectionId) -> bool {
        self.announced.has(connection)
    }

    /// It has, or has taken it out again.
    fn announced(&self, connection: &ConnectionId, is_announced: bool) {
        self.announced.set(connection, is_announced);
    }

    /// Whether other processes change the store too, and how long they take to see a change.
    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    fn others_follow_within(&self) -> Duration {
        // A round to learn of it, and one to do away with what is in memory.
        self.follow_every.saturating_mul(2)
    }

    /// Whether the tenant, in this incarnation, has no other connection.
    async fn is_last(&self, connection: &ConnectionId) -> Result<bool, RegistryError> {
        let records = self.of_tenant(connection.tenant().id()).await?;
        let is_other = |record: &ConnectionRecord| {
            record.connection != *connection
                && record.connection.tenant() == connection.tenant()
                // Of several that end together none has anything left to keep it for.
                && !matches!(record.standing, Standing::Removing | Standing::Removed)
        };
        Ok(!records.iter().any(is_other))
    }

    fn note(&self, change: ConnectionChange, record: &ConnectionRecord) {
        self.journal
            .record(&record.connection, || EventKind::ConnectionChanged {
                change,
                revision: record.revision,
                act: record.act.clone(),
            });
    }
}

impl RegistryBuilder {
    /// The deployment whose connections they are: that of the parts. Default `default`.
    pub fn deployment(mut self, deployment: DeploymentId) -> Self {
        self.deployment = deployment;
        self
    }

    /// The clock: that of the parts. Default [`SystemClock`].
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Who hears of acts. Default: nobody.
    pub fn journal(mut self, journal: Journal) -> Self {
        self.journal = Some(journal);
        self
    }

    /// How often other processes' changes are looked for. Default: every 5 s.
    pub fn follow_every(mut self, interval: Duration) -> Self {
        self.follow_every = interval;
        self
    }

    /// For how long known connections go on while the store does not answer. Default: 15 minutes.
    pub fn stale_after(mut self, span: Duration) -> Self {
        self.stale_after = span;
        self
    }

    /// The registry, with all connections that there are.
    ///
    /// # Errors
    /// [`RegistryError::Store`]: nothing is known then. Try again when the store answers. [`RegistryError::Randomness`].
    pub async fn open(self) -> Result<Registry, RegistryError> {
        let Self {
            store,
            deployment,
            clock,
            journal,
            follow_every,
            stale_after,
        } = self;
        let mut process = [0; 8];
        crypto::random(&mut process).map_err(|_failed| RegistryError::Randomness)?;
        let registry = Registry {
            book: Book::new(deployment.clone()),
            deployment,
            store,
            journal: journal.unwrap_or_else(|| Journal::new(Arc::clone(&clock), [])),
            clock,
            follow_every,
            stale_after,
            freshness: Freshness::default(),
            is_told: AtomicBool::new(false),
            ends: AtomicU64::new(0),
            following: tokio::sync::Mutex::default(),
            asking: Semaphore::new(ASKED_AT_ONCE),
            asked: Asked::default(),
            ended: Ended::default(),
            announced: Announced::default(),
            process: u64::from_be_bytes(process),
        };
        registry.follow().await?;
        Ok(registry)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("deployment", &self.deployment)
            .field("connections", &self.len())
            .finish_non_exhaustive()
    }
}
