//! One place of the token cache: a lease, and the flight that fetches the next one.
//!
//! A flight belongs to its slot, not to the caller that began it: whoever waits drives it, so a caller that is cancelled
//! takes nothing with it. At most one is in the air. A failure cools down, and heals by itself; a failed early renewal
//! leaves the good token where it is.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

use crate::clock::{Clock, Monotonic};
use crate::error::{Error, ErrorKind};
use crate::exchange::connection::Connection;
use crate::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, Tenant};

use super::lease::Lease;

/// The first pause after a failure; it doubles up to [`LONGEST_COOL_DOWN`].
const FIRST_COOL_DOWN: Duration = Duration::from_secs(1);
const LONGEST_COOL_DOWN: Duration = Duration::from_secs(60);

/// What all slots of one client have in common.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) deployment: DeploymentId,
    pub(crate) carrier: CarrierId,
    pub(crate) environment: Environment,
    pub(crate) account: AccountId,
    /// Of issuer, client authentication, grant, scopes, resources, parameters and minimum binding.
    pub(crate) request: [u8; 32],
}

impl Scope {
    /// The connection of a tenant in this scope.
    pub(crate) fn connection(&self, tenant: &Tenant) -> ConnectionId {
        ConnectionId::new(
            self.deployment.clone(),
            tenant.clone(),
            self.carrier.clone(),
            self.environment,
            self.account.clone(),
        )
    }

    #[inline]
    pub(crate) fn hash(&self, tenant: &Tenant, state: &foldhash::fast::RandomState) -> u64 {
        let mut hasher = state.build_hasher();
        // The request's digest is uniform, so eight of its octets stand for the whole scope; equality decides.
        let [a, b, c, d, e, f, g, h, ..] = self.request;
        hasher.write_u64(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
        hasher.write(tenant.id().as_str().as_bytes());
        hasher.write_u128(tenant.incarnation().as_u128());
        hasher.finish()
    }
}

/// What a flight brings.
pub(crate) struct Landed {
    pub(crate) lease: Arc<Lease>,
    /// Whether the token may serve further calls; a token with no lifetime is good for those who waited for it.
    pub(crate) keep: bool,
}

pub(crate) type Flight = Shared<BoxFuture<'static, Result<Arc<Landed>, Error>>>;

pub(crate) struct Slot {
    pub(crate) connection: Arc<Connection>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lease: Option<Arc<Lease>>,
    flight: Option<InTheAir>,
    flights: u64,
    failures: u32,
    cooling: Option<(Monotonic, Error)>,
}

struct InTheAir {
    number: u64,
    flight: Flight,
    /// By when it would have ended if anyone had driven it.
    overdue: Monotonic,
}

/// How a slot can be filled.
pub(crate) trait Fetch {
    /// Begins to fetch a token for `connection`.
    fn fetch(&self, connection: &Arc<Connection>) -> BoxFuture<'static, Result<Landed, Error>>;
    fn clock(&self) -> &dyn Clock;
    /// How long a flight may take.
    fn limit(&self) -> Duration;
    /// Told of every failure, with the pause that follows.
    fn failed(&self, connection: &Connection, error: &Error, pause: Duration);
}

impl Slot {
    pub(crate) fn new(connection: ConnectionId) -> Self {
        Self {
            connection: Arc::new(Connection::new(connection)),
            state: Mutex::default(),
        }
    }

    /// The lease, if it is fresh: no renewal is due.
    pub(crate) fn fresh(&self, now: Monotonic) -> Option<Arc<Lease>> {
        self.held().filter(|lease| lease.is_fresh(now))
    }

    /// When the lease ends; the origin of time where there is none.
    pub(crate) fn ends(&self) -> Monotonic {
        let state = self.lock();
        let ends = state.lease.as_ref().map(|lease| lease.usable_until);
        ends.unwrap_or(Monotonic::ORIGIN)
    }

    /// Whether there is a flight in the air.
    fn is_busy(&self) -> bool {
        self.lock().flight.is_some()
    }

    /// Whether somebody waits for a flight. One that all callers have left does not keep its slot in the cache.
    pub(crate) fn is_awaited(&self) -> bool {
        let state = self.lock();
        let waiting = |flying: &InTheAir| flying.flight.strong_count().is_some_and(|holders| holders > 1);
        state.flight.as_ref().is_some_and(waiting)
    }

    /// Begins anew: the lease is dropped, what a flight in the air brings is for those who wait for it alone, and past
    /// failures do not count.
    pub(crate) fn clear(&self) {
        let dropped = {
            let mut state = self.lock();
            state.flight = None;
            state.failures = 0;
            state.cooling = None;
            state.lease.take()
        };
        dropped.iter().for_each(|lease| lease.evict());
    }

    /// The lease, whatever its state.
    pub(crate) fn held(&self) -> Option<Arc<Lease>> {
        self.lock().lease.clone()
    }

    /// Drops `lease` if it is still the one in the slot. It is not fresh any more, wherever else it is held.
    pub(crate) fn evict(&self, lease: &Arc<Lease>) {
        lease.evict();
        let dropped = self.lock().lease.take_if(|held| Arc::ptr_eq(held, lease));
        drop(dropped);
    }

    /// A lease that can be used now, from the slot or from a flight.
    pub(crate) async fn lease(&self, fetch: &impl Fetch) -> Result<Arc<Lease>, Error> {
        let now = fetch.clock().monotonic();
        let held = self.held().filter(|lease| now < lease.usable_until);
        let Some(held) = held else {
            return self.fly(fetch).await;
        };
        if now < held.renew_from || !self.may_renew_early(now) {
            return Ok(held);
        }
        // Nobody else renews: this caller does, and keeps what there is if that fails.
        match self.fly(fetch).await {
            Ok(lease) => Ok(lease),
            Err(error) if fetch.clock().monotonic() < held.usable_until => {
                drop(error);
                Ok(held)
            }
            Err(error) => Err(error),
        }
    }

    /// A lease in the place of `refused`: the one that another caller has fetched by now, or a new one if a 401 may cause
    /// that again. `None` when it may not.
    pub(crate) async fn replace(&self, refused: &Arc<Lease>, fetch: &impl Fetch) -> Result<Option<Arc<Lease>>, Error> {
        let now = fetch.clock().monotonic();
        let held = self
            .held()
            .filter(|held| !Arc::ptr_eq(held, refused) && now < held.usable_until);
        if held.is_some() {
            return Ok(held);
        }
        if !self.is_busy() && !self.connection.claim_renewal(now) {
            return Ok(None);
        }
        self.evict(refused);
        self.fly(fetch).await.map(Some)
    }

    /// A renewed token was called invalid as well: it is dropped, and the issuer is left alone until another 401 may ask for one.
    pub(crate) fn refused_again(&self, lease: &Arc<Lease>, error: Error, fetch: &impl Fetch) {
        let now = fetch.clock().monotonic();
        self.evict(lease);
        self.lock().cooling = Some((now + self.connection.renewal_wait(now), error));
    }

    fn may_renew_early(&self, now: Monotonic) -> bool {
        let state = self.lock();
        let flying = state.flight.as_ref().is_some_and(|flight| now <= flight.overdue);
        let cooling = state.cooling.as_ref().is_some_and(|(until, _)| now < *until);
        !flying && !cooling
    }

    /// Joins the flight in the air, or begins one.
    async fn fly(&self, fetch: &impl Fetch) -> Result<Arc<Lease>, Error> {
        let (number, flight) = self.board(fetch)?;
        let outcome = flight.await;
        self.land(number, &outcome, fetch);
        outcome.map(|landed| Arc::clone(&landed.lease))
    }

    fn board(&self, fetch: &impl Fetch) -> Result<(u64, Flight), Error> {
        let now = fetch.clock().monotonic();
        let mut state = self.lock();
        // A flight that nobody drove past its time is given up: its answer, if any, is too old to trust its lifetime.
        if let Some(flying) = state.flight.as_ref().filter(|flight| now <= flight.overdue) {
            return Ok((flying.number, flying.flight.clone()));
        }
        if let Some((until, error)) = state.cooling.as_ref().filter(|(until, _)| now < *until) {
            let at = fetch.clock().now() + until.saturating_since(now);
            return Err(cooling_down(error, at));
        }
        let flight = fetch
            .fetch(&self.connection)
            .map(|landed| landed.map(Arc::new))
            .boxed()
            .shared();
        state.flights += 1;
        let number = state.flights;
        // A second beyond the limit, within which a driven flight has ended by itself.
        let overdue = now + fetch.limit() + Duration::from_secs(1);
        state.flight = Some(InTheAir {
            number,
            flight: flight.clone(),
            overdue,
        });
        Ok((number, flight))
    }

    /// Takes the outcome over, once per flight: by the first of those who waited.
    fn land(&self, number: u64, outcome: &Result<Arc<Landed>, Error>, fetch: &impl Fetch) {
        let now = fetch.clock().monotonic();
        let mut state = self.lock();
        if state.flight.as_ref().is_none_or(|flight| flight.number != number) {
            return;
        }
        state.flight = None;
        match outcome {
            Ok(landed) => {
                state.failures = 0;
                state.cooling = None;
                if landed.keep {
                    state.lease = Some(Arc::clone(&landed.lease));
                }
            }
            Err(error) => {
                let pause = FIRST_COOL_DOWN
                    .saturating_mul(1 << state.failures.min(16))
                    .min(LONGEST_COOL_DOWN);
                let asked = error.retry_at().map_or(Duration::ZERO, |at| {
                    Duration::from_secs(u64::try_from(at.seconds_since(fetch.clock().now())).unwrap_or(0))
                });
                let pause = pause.max(asked);
                state.failures += 1;
                state.cooling = Some((now + pause, error.clone()));
                drop(state);
                fetch.failed(&self.connection, error, pause);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cooling_down(last: &Error, at: crate::clock::Timestamp) -> Error {
    let kind = match last.kind() {
        ErrorKind::RateLimited => ErrorKind::RateLimited,
        other => ErrorKind::CoolingDown { code: other.code() },
    };
    Error::before(kind)
        .of(crate::binding::Role::AuthorizationServer)
        .retry_at_opt(Some(at))
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("connection", &self.connection.id)
            .finish_non_exhaustive()
    }
}
