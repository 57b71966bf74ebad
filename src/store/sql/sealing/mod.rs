//! Data keys of tenants in the database, wrapped under a KEK that is somewhere else.

mod data_keys;
mod ended;
mod erase;
mod error;
mod exposed;
mod flights;
mod held;
mod keks;
mod mark;
mod reseal;
mod rewrap;
mod rows;
mod theft;

use std::fmt;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use zeroize::Zeroizing;

use self::flights::Flights;
use self::held::Held;
use self::rows::Holder;
use super::Database;
use super::ledger::WeakLedger;
use crate::act::Act;
use crate::chore::Chore;
use crate::clock::{Clock, SystemClock};
use crate::journal::{EventKind, Journal};
use crate::owner::{DeploymentId, Owner};
use crate::store::seal::{self, DataKeyId, KekProvider, SealContext, SealError, Sealer};

pub(crate) use self::data_keys::{is_moved, still_active};
pub use self::error::SealingError;
pub use self::exposed::Exposed;
pub use self::keks::KekState;
pub use self::rewrap::Rewrapped;
pub use self::theft::Resealed;

/// How long a provider of KEKs is waited for.
const PROVIDER_LIMIT: Duration = Duration::from_secs(10);

/// A [`Sealer`] whose data keys are in the database: one for each tenant in each of its incarnations, one for the deployment
/// itself, made with the first value.
///
/// A data key is unwrapped once in a process and then held: at most 100 000 of them, each until it was not used for an hour
/// (both settable). One takes some 300 octets. However many ask at once, a tenant's data key is made and unwrapped once; whoever
/// waited shares a failure. The provider is waited for at most 10 s.
///
/// As a [`Chore`] of the upkeep it drops data keys that nobody uses, and those that have ended; without one they go when there is no
/// room.
///
/// A data key that was deleted stands in the chain of a [`Ledger`](super::Ledger), so that its row is refused when somebody puts it
/// back: nothing is sealed under it, and nothing opens that is. The stores bind their ledger, see [`bind`](Sealing::bind).
///
/// # When a KEK is to be replaced
///
/// 1. Give every process the new KEK as its provider's current one, beside the old one. Nothing changes by that.
/// 2. Call [`rotate_kek`](Sealing::rotate_kek) in one process, once: from then on data keys are wrapped under the new one.
/// 3. Call [`rewrap`](Sealing::rewrap) until it has ended. When it has, nothing is wrapped under the old KEK, and nothing will
///    be: take it away from the processes.
///
/// When a KEK is in foreign hands that is not enough, since whoever has it and a copy of the database has the data keys: see
/// [`kek_stolen`](Sealing::kek_stolen).
///
/// ```
/// use std::sync::Arc;
///
/// use shipbound::owner::DeploymentId;
/// use shipbound::store::seal::{KekId, KekSecret, LocalKek};
/// use shipbound::store::sql::{Database, Sealing};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let hexadecimal = "71".repeat(31) + "00";
/// let database = Database::sqlite("/var/lib/platform/shipbound.db").build()?;
/// let keks = LocalKek::new(KekId::new("2026-11")?, KekSecret::parse(&hexadecimal)?);
/// let sealing = Arc::new(Sealing::new(database, DeploymentId::default_deployment(), Arc::new(keks)));
/// # Ok(())
/// # }
/// ```
pub struct Sealing {
    database: Database,
    deployment: DeploymentId,
    provider: Arc<dyn KekProvider>,
    clock: Arc<dyn Clock>,
    journal: Option<Journal>,
    held: Held,
    /// Where it stands which data keys have ended.
    ledger: RwLock<WeakLedger>,
    /// Making a holder's data key, and unwrapping one of his: what failed for one of them says nothing of another.
    flights: Flights<(Holder, Option<DataKeyId>)>,
}

impl Sealing {
    /// How many data keys are held by default.
    pub const DEFAULT_LIMIT: usize = 100_000;

    /// How long a data key is held by default while nobody uses it.
    pub const DEFAULT_IDLE: Duration = Duration::from_secs(3600);

    /// Seals values of this deployment. Opens nothing yet.
    pub fn new(database: Database, deployment: DeploymentId, provider: Arc<dyn KekProvider>) -> Self {
        Self {
            database,
            deployment,
            provider,
            clock: Arc::new(SystemClock::new()),
            journal: None,
            held: Held::new(Self::DEFAULT_LIMIT, Self::DEFAULT_IDLE),
            ledger: RwLock::default(),
            flights: Flights::default(),
        }
    }

    /// Takes the time from `clock`. Default: the system's.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Tells `journal` what is done to KEKs. Default: nobody.
    #[must_use]
    pub fn with_journal(mut self, journal: Journal) -> Self {
        self.journal = Some(journal);
        self
    }

    /// Holds at most `keys` data keys (one at least), each until it was not used for `idle`.
    #[must_use]
    pub fn with_limits(mut self, keys: usize, idle: Duration) -> Self {
        self.held = Held::new(keys, idle);
        self
    }

    /// How many data keys this process holds.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    pub(super) fn deployment(&self) -> &DeploymentId {
        &self.deployment
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Tells the journal of an act, after it was committed.
    pub(super) fn tell(&self, of: Option<&Owner>, what: &'static str, act: &Act) {
        let Some(journal) = &self.journal else { return };
        let kind = EventKind::Acted { what, act: act.clone() };
        match of.and_then(Owner::connection) {
            Some(connection) => journal.record(connection, || kind),
            None => journal.record_at_large(kind),
        }
    }

    /// Whose data key it is, if he is of this deployment.
    fn holder(&self, owner: &Owner) -> Result<Holder, SealError> {
        if *owner.deployment() == self.deployment {
            Ok(Holder::of(owner))
        } else {
            Err(SealError::Refused)
        }
    }
}

#[async_trait]
impl Sealer for Sealing {
    async fn seal(&self, context: &SealContext<'_>, value: &[u8]) -> Result<String, SealError> {
        let (id, key) = self.active(&self.holder(context.owner)?).await?;
        seal::seal(id, &key, context, value)
    }

    async fn open(&self, context: &SealContext<'_>, sealed: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let id: DataKeyId = seal::data_key_of(sealed)?;
        let key = self.known(&self.holder(context.owner)?, id).await?;
        seal::open(id, &key, context, sealed)
    }
}

#[async_trait]
impl Chore for Sealing {
    fn every(&self) -> Duration {
        Duration::from_secs(60)
    }

    async fn round(&self, _goes_on: &(dyn Fn() -> bool + Send + Sync)) {
        self.held.drop_idle(self.clock.monotonic());
        self.drop_ended();
    }
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealing")
            .field("database", &self.database)
            .field("deployment", &self.deployment)
            .field("provider", &self.provider)
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}
