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

use crate::binding::Role;
use crate::clock::{Clock, Monotonic};
use crate::crypto::Digest;
use crate::error::{Awaited, Error, ErrorKind};
use crate::exchange::connection::Connection;
use crate::exchange::within;
use crate::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, Tenant};
use crate::pause::doubled;

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
    /// Of issuer, client authentication, grant, scopes, resources, parameters, binding and what is made sure of.
    pub(crate) request: [u8; 32],
    /// Tells clients apart whose tokens depend on something that was handed in and has no name: certificates, or tokens of
    /// another client. 0 for all others.
    pub(crate) build: u64,
}

impl Scope {
    /// What tells this scope from others, for what is kept outside this process.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut digest = Digest::default();
        digest.text(self.deployment.as_str());
        digest.text(self.carrier.as_str());
        digest.text(self.environment.as_str());
        digest.text(self.account.as_str());
        digest.bytes(&self.request);
        digest.finish()
    }

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
        // Incarnations of one id are few; equality tells them apart.
        hasher.write(tenant.id().as_str().as_bytes());
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
    /// From when on a flight that nobody drives is given up: what is left of its time would be too short for another caller.
    stale: Monotonic,
    /// By when it would have ended if anyone had driven it.
    overdue: Monotonic,
}

impl InTheAir {
    /// Whether somebody waits for it. One that all callers have left goes on when the next one comes.
    fn is_driven(&self) -> bool {
        self.flight.strong_count().is_some_and(|holders| holders > 1)
    }

    /// Whether it is to be waited for.
    fn is_good(&self, now: Monotonic) -> bool {
        now <= self.overdue && (now <= self.stale || self.is_driven())
    }
}

/// How a slot can be filled.
pub(crate) trait Fetch {
    /// Begins to fetch a token for `connection`; `early` where calls can go on with the one that there is.
    fn fetch(&self, connection: &Arc<Connection>, early: bool) -> BoxFuture<'static, Result<Landed, Error>>;
    fn clock(&self) -> &dyn Clock;
    /// How long a flight may take.
    fn limit(&self) -> Duration;
    /// Told of a slot whose flight was left by a caller that waits no longer.
    fn left(&self, slot: &Arc<Slot>);
    /// Told of every failure, with the pause that follows.
    fn failed(&self, connection: &Connection, error: &Error, pause: Duration);
}

impl Slot {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self {
            connection,
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

    /// Whether there is a flight in the air that is to be waited for.
    fn is_busy(&self, now: Monotonic) -> bool {
        self.lock().flight.as_ref().is_some_and(|flight| flight.is_good(now))
    }

    /// Whether somebody waits for a flight. One that all callers have left does not keep its slot in the cache.
    pub(crate) fn is_awaited(&self) -> bool {
        self.lock().flight.as_ref().is_some_and(InTheAir::is_driven)
    }

    /// Begins anew: the lease is dropped, what a flight in the air brings is for those who wait for it alone, and past
    /// failures do not count. Gives what was dropped.
    pub(crate) fn clear(&self) -> Option<Arc<Lease>> {
        self.reset(None)
    }

    /// As [`Slot::clear`], with `lease` in the dropped one's place: no caller finds the slot empty between the two.
    fn reset(&self, lease: Option<Arc<Lease>>) -> Option<Arc<Lease>> {
        let dropped = {
            let mut state = self.lock();
            state.flight = None;
            state.failures = 0;
            state.cooling = None;
            std::mem::replace(&mut state.lease, lease)
        };
        dropped.iter().for_each(|lease| lease.evict());
        dropped
    }

    /// Takes a lease that came by another way than a flight.
    pub(crate) fn put(&self, landed: &Landed) {
        let dropped = self.reset(landed.keep.then(|| Arc::clone(&landed.lease)));
        drop(dropped);
    }

    /// Whether there is neither a lease nor a flight.
    pub(crate) fn is_empty(&self) -> bool {
        let state = self.lock();
        state.lease.is_none() && state.flight.is_none()
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

    /// A lease that can be used now, from the slot or from a flight. `deadline` is when the caller's own time ends.
    pub(crate) async fn lease(self: &Arc<Self>, fetch: &impl Fetch, deadline: Monotonic) -> Result<Arc<Lease>, Error> {
        let now = fetch.clock().monotonic();
        let held = self.held().filter(|lease| now < lease.usable_until);
        let Some(held) = held else {
            return self.fly(fetch).await;
        };
        if now < held.renew_from || !self.may_renew_early(now) {
            return Ok(held);
        }
        // Nobody else renews: this caller does, with a part of its time, and keeps what there is if that fails.
        let patience = now + deadline.saturating_since(now) / 4;
        match within(fetch.clock(), patience, self.fly(fetch)).await {
            Some(Ok(lease)) => Ok(lease),
            // Who has no credential any more has no token.
            Some(Err(error)) if error.is_for_good() => {
                self.evict(&held);
                Err(error)
            }
            Some(Err(error)) if fetch.clock().monotonic() >= held.usable_until => Err(error),
            Some(Err(_journaled)) => Ok(held),
            None => {
                let late = Error::before(ErrorKind::Deadline(Awaited::Token)).of(Role::AuthorizationServer);
                self.cool_down(&late, fetch);
                Ok(held)
            }
        }
    }

    /// The lease that another caller has fetched by now in the place of `refused`.
    pub(crate) fn other_than(&self, refused: &Arc<Lease>, now: Monotonic) -> Option<Arc<Lease>> {
        self.held()
            .filter(|held| !Arc::ptr_eq(held, refused) && now < held.usable_until)
    }

    /// A lease in the place of `refused`: the one that is there by now, or a new one if a 401 may cause that again. `None` when
    /// it may not. What asks nobody for a token is not counted.
    pub(crate) async fn replace(
        self: &Arc<Self>,
        refused: &Arc<Lease>,
        counts: bool,
        fetch: &impl Fetch,
    ) -> Result<Option<Arc<Lease>>, Error> {
        let now = fetch.clock().monotonic();
        if let Some(held) = self.other_than(refused, now) {
            return Ok(Some(held));
        }
        if counts && !self.is_busy(now) && !self.connection.claim_renewal(now) {
            return Ok(None);
        }
        self.evict(refused);
        self.fly(fetch).await.map(Some)
    }

    /// A server refused `lease` without saying why. Once a minute that makes the next call ask for a new token.
    pub(crate) fn doubt(&self, lease: &Arc<Lease>, now: Monotonic) {
        if self.connection.claim_renewal(now) {
            self.evict(lease);
        }
    }

    fn may_renew_early(&self, now: Monotonic) -> bool {
        let state = self.lock();
        let flying = state.flight.as_ref().is_some_and(|flight| flight.is_good(now));
        let cooling = state.cooling.as_ref().is_some_and(|(until, _)| now < *until);
        !flying && !cooling
    }

    /// Fetches the next token, if it is time for one and nobody has tried in vain a moment ago. Nobody waits for it.
    pub(crate) async fn renew(self: &Arc<Self>, fetch: &impl Fetch) {
        let now = fetch.clock().monotonic();
        let due = self
            .held()
            .is_some_and(|lease| lease.renew_from <= now && now < lease.usable_until);
        if due && self.may_renew_early(now) {
            // A failure has cooled the slot down and is in the journal; the good token stays.
            let _journaled = self.fly(fetch).await;
        }
    }

    /// Drives a flight that its callers have left to its end: what was sent is not lost then.
    pub(crate) async fn bring_home(self: &Arc<Self>, fetch: &impl Fetch) {
        let now = fetch.clock().monotonic();
        let flying = {
            let state = self.lock();
            let good = state.flight.as_ref().filter(|flight| flight.is_good(now));
            good.map(|flight| (flight.number, flight.flight.clone()))
        };
        if let Some((number, flight)) = flying {
            let outcome = flight.await;
            self.land(number, &outcome, fetch);
        }
    }

    /// Joins the flight in the air, or begins one.
    async fn fly(self: &Arc<Self>, fetch: &impl Fetch) -> Result<Arc<Lease>, Error> {
        let (number, flight) = self.board(fetch)?;
        let mut passenger = Passenger {
            slot: self,
            fetch,
            arrived: false,
        };
        let outcome = flight.await;
        passenger.arrived = true;
        self.land(number, &outcome, fetch);
        outcome.map(|landed| Arc::clone(&landed.lease))
    }

    fn board(&self, fetch: &impl Fetch) -> Result<(u64, Flight), Error> {
        let now = fetch.clock().monotonic();
        let mut state = self.lock();
        if let Some(flying) = state.flight.as_ref().filter(|flight| flight.is_good(now)) {
            return Ok((flying.number, flying.flight.clone()));
        }
        if let Some((until, error)) = state.cooling.as_ref().filter(|(until, _)| now < *until) {
            let at = fetch.clock().now() + until.saturating_since(now);
            return Err(cooling_down(error, at));
        }
        let early = state.lease.as_ref().is_some_and(|lease| now < lease.usable_until);
        let flight = fetch
            .fetch(&self.connection, early)
            .map(|landed| landed.map(Arc::new))
            .boxed()
            .shared();
        state.flights += 1;
        let number = state.flights;
        state.flight = Some(InTheAir {
            number,
            flight: flight.clone(),
            stale: now + fetch.limit() / 2,
            // A second beyond the limit, within which a driven flight has ended by itself.
            overdue: now + fetch.limit() + Duration::from_secs(1),
        });
        Ok((number, flight))
    }

    /// Takes the outcome over, once per flight: by the first of those who waited.
    fn land(&self, number: u64, outcome: &Result<Arc<Landed>, Error>, fetch: &impl Fetch) {
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
                drop(state);
                self.cool_down(error, fetch);
            }
        }
    }

    /// Leaves the issuer alone for a while, longer with every failure.
    fn cool_down(&self, error: &Error, fetch: &impl Fetch) {
        let mut state = self.lock();
        let pause = doubled(FIRST_COOL_DOWN, state.failures, LONGEST_COOL_DOWN);
        let asked = error.retry_at().map_or(Duration::ZERO, |at| {
            Duration::from_secs(u64::try_from(at.seconds_since(fetch.clock().now())).unwrap_or(0))
        });
        // A turn that came too late is no failure of the issuer's, which was not asked.
        let pause = match error.kind() {
            ErrorKind::OverBudget(_) => asked,
            _ => {
                state.failures = state.failures.saturating_add(1);
                pause.max(asked)
            }
        };
        state.cooling = Some((fetch.clock().monotonic() + pause, error.clone()));
        drop(state);
        fetch.failed(&self.connection, error, pause);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever waits for a flight. One that waits no longer says so, since a flight that nobody drives goes nowhere.
struct Passenger<'a, F: Fetch> {
    slot: &'a Arc<Slot>,
    fetch: &'a F,
    arrived: bool,
}

impl<F: Fetch> Drop for Passenger<'_, F> {
    fn drop(&mut self) {
        if !self.arrived {
            self.fetch.left(self.slot);
        }
    }
}

fn cooling_down(last: &Error, at: crate::clock::Timestamp) -> Error {
    let kind = match last.kind() {
        known @ (ErrorKind::RateLimited | ErrorKind::Blocked | ErrorKind::OverBudget(_)) => known.clone(),
        other => ErrorKind::CoolingDown {
            code: other.code(),
            culprit: last.culprit(),
        },
    };
    Error::before(kind).of(Role::AuthorizationServer).retry_at_opt(Some(at))
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("connection", &self.connection.id)
            .finish_non_exhaustive()
    }
}
