//! Budgets of one process.
//!
//! Written here, since a limiter such as `governor` neither takes out of several limits all or nothing nor gives a waiting
//! request a place in all of them.

mod account;
mod addresses;
mod connections;
mod log;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::{Clock, Monotonic};

use super::{Budget, Cause, CountedBy, Demand, Limit, OpenBlock, Spent};

use self::account::Account;
use self::addresses::{Addresses, server};
use self::connections::Connections;
use self::log::{Log, Rate};

/// How many requests can wait for their places in one budget; a tenth of them for one tenant where tenants share it.
const MOST_WAITING: usize = 4096;

/// What keeps a request waiting. Of two that do so equally long the later one is named.
const CAUSES: [Cause; 3] = [Cause::Shared, Cause::Tenant, Cause::Connection];

/// Budgets in memory, for a process that is alone behind its address, or one of [a known number](Self::fleet_of).
///
/// - **Exact.** No span of a limit's window has more than the limit's requests. What counts are the instants that it names: a
///   request that leaves or arrives later than its instant comes closer to the next one, so give it limits a little below the
///   carrier's.
/// - **In order.** A place is the first instant that all limits leave free, and later demands keep away from it. One that is kept
///   back by fewer limits may be sent earlier, where that costs nobody his place. A place that is given up stays taken.
/// - **Shared fairly.** Of what is counted by address a [`Tenant`](crate::owner::Tenant), with all its connections, gets a tenth,
///   whatever its incarnation, rounded down but at least one: of 14 requests in 5 s and 119 in 120 s, 1 and 11. One that has used its share up costs others
///   nothing.
/// - **A block of the address is judged.** A carrier may give one tenant's bad request the answer that it gives to a blocked
///   address. Where this process has sent less than half of each limit of the address, in its window before that request, the answer
///   stands for that tenant alone, with all its connections. It stands for everybody as soon as a second tenant gets the same while
///   the first one is still kept away: so a block that others have caused is prolonged by one request. It stands for everybody at
///   once where half of a limit was sent, where no limit of the address is known, and in [a fleet](Self::fleet_of).
/// - **After a block** one request is sent, then others at the pace of the limit (its window divided by its requests), until a
///   window has passed since that first one.
/// - **After a start** it is not known what was sent before it. So of what is counted by address five requests are sent at once,
///   or half of a smaller limit, then others at half the pace, until a window has passed since the start. A process that
///   starts again every ten seconds then sends as much as one that lives. What it does not know is a burst just before its end.
///   What is counted by connection starts full. Blocks can be [handed over](Self::with_blocks): a process that does not know of one
///   prolongs it.
/// - **Bounded.** It counts for 100 000 connections with limits or blocks, at most 1000 of them one tenant's, with some 300 octets
///   for each and 16 for each request of its longest window. Those that are idle give way; beyond that it refuses with
///   [`Cause::Unavailable`], and does not keep blocks of connections that it does not count. What is counted by address has room
///   of its own, for 4096 servers, and a block of an address is kept in any case. In one budget 4096 requests can wait, 409 of one
///   tenant; beyond that it refuses as if their patience was over.
pub struct LocalBudget {
    clock: Arc<dyn Clock>,
    start: Monotonic,
    processes: NonZeroU32,
    addresses: Addresses,
    connections: Connections,
    /// When the last block ends, in nanoseconds from the clock's origin: until then accounts are looked at even where no limit
    /// is.
    shut_until: AtomicU64,
}

impl LocalBudget {
    /// Budgets of a process that starts now.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            start: clock.monotonic(),
            clock,
            processes: NonZeroU32::MIN,
            addresses: Addresses::default(),
            connections: Connections::new(),
            shut_until: AtomicU64::new(0),
        }
    }

    /// Those of one of so many processes behind one address that do not know of each other: each gets its part of what is counted
    /// by address, rounded down. Where a budget that all share is out of reach, this keeps to the limits at the price of what
    /// other processes leave unused.
    ///
    /// With more processes than a limit has requests, each gets one in a window that is longer by as much. Then the limit is kept on average
    /// only: nothing keeps processes that do not know of each other from sending in the same instant. A tenant's share is
    /// divided in the same way.
    ///
    /// What is counted by connection is not divided. Default: one process; zero is taken as one.
    #[must_use]
    pub fn fleet_of(mut self, processes: u32) -> Self {
        self.processes = NonZeroU32::new(processes).unwrap_or(NonZeroU32::MIN);
        self
    }

    /// The blocks of addresses that are not over: what the next process should know if this one ends. Keep them after each
    /// [`EventKind::Blocked`](crate::journal::EventKind::Blocked). Blocks of connections are not among them, nor those that one
    /// tenant alone was told of.
    pub fn blocks(&self) -> Vec<OpenBlock> {
        let block = |((carrier, environment, role), account): (addresses::Server, Arc<Mutex<Account>>)| {
            let left = lock(&account).gate.shut_for(self.clock.monotonic())?;
            // Wall time has microseconds: rounded up, so that no end comes too early.
            let until = self.clock.now() + left.saturating_add(Duration::from_nanos(999));
            Some(OpenBlock::new(carrier, environment, role, until))
        };
        self.addresses.all().into_iter().filter_map(block).collect()
    }

    /// Begins with these blocks, those of [`blocks`](Self::blocks) of an earlier process: until they end nothing is sent to those
    /// servers. Their ends are wall time, so a wall clock that was set back meanwhile makes them last longer. Those that are over are
    /// passed by.
    #[must_use]
    pub fn with_blocks(self, blocks: impl IntoIterator<Item = OpenBlock>) -> Self {
        for block in blocks {
            let left = block.until.unix_micros().saturating_sub(self.clock.now().unix_micros());
            let Ok(left @ 1..) = u64::try_from(left) else { continue };
            let until = self.clock.monotonic() + Duration::from_micros(left);
            let account = self.addresses.of_block((block.carrier, block.environment, block.role));
            lock(&account).gate.shut(until);
            self.shut_until(until);
        }
        self
    }

    /// What [`Budget::take`] does, without the future.
    fn place(&self, demand: &Demand<'_>) -> Result<Duration, Spent> {
        if let Some(limit) = demand.limits.iter().find(|limit| limit.requests == 0) {
            let cause = match limit.counted_by {
                CountedBy::Address => Cause::Shared,
                CountedBy::Connection => Cause::Connection,
            };
            return Err(Spent::new(limit.window, cause));
        }
        let shared = self.account(demand, CountedBy::Address)?;
        let own = self.account(demand, CountedBy::Connection)?;
        if shared.is_none() && own.is_none() {
            return Ok(Duration::ZERO);
        }
        // Always in this order. The clock is read under the locks, so that no account sees time go back.
        let mut shared = shared.as_deref().map(lock);
        let mut own = own.as_deref().map(lock);
        let now = self.clock.monotonic();
        let tenant = demand.connection.tenant().id();
        let accounts = [&shared, &own].into_iter().flatten();
        if let Some(left) = accounts.filter_map(|account| account.shut_for(tenant, now)).max() {
            return Err(Spent::new(left, Cause::Blocked));
        }
        let rules = Rules {
            limits: demand.limits,
            processes: self.processes,
            start: self.start,
        };
        let held = Held {
            shared: shared.as_deref(),
            tenant: shared.as_deref().and_then(|account| account.tenant(tenant)),
            own: own.as_deref(),
        };
        let at = rules.earliest(&CAUSES, held, now);
        let wait = at.saturating_since(now);
        if let Some(cause) = rules.refuse(wait, demand.patience, held, now) {
            return Err(Spent::new(wait, cause));
        }
        if let (Some(account), Some(window)) = (&mut shared, rules.longest(Cause::Shared)) {
            account.add(at, window, now);
            account.add_of(tenant, at, rules.longest(Cause::Tenant).unwrap_or(window), now);
        }
        if let (Some(account), Some(window)) = (&mut own, rules.longest(Cause::Connection)) {
            account.add(at, window, now);
        }
        Ok(wait)
    }

    /// Where this demand is counted, if one of its limits is counted so or a block may be.
    fn account(&self, demand: &Demand<'_>, counted_by: CountedBy) -> Result<Option<Arc<Mutex<Account>>>, Spent> {
        if demand.limits.iter().any(|limit| limit.counted_by == counted_by) {
            let account = match counted_by {
                CountedBy::Address => self.addresses.find_or_make(server(demand), self.clock.monotonic()),
                CountedBy::Connection => self.connections.find_or_make(demand, &*self.clock),
            };
            return account.map(Some).ok_or(Spent::unavailable());
        }
        Ok(if self.may_be_shut() {
            self.find(demand, counted_by)
        } else {
            None
        })
    }

    fn find(&self, demand: &Demand<'_>, counted_by: CountedBy) -> Option<Arc<Mutex<Account>>> {
        match counted_by {
            CountedBy::Address => self.addresses.find(&server(demand)),
            CountedBy::Connection => self.connections.find(demand),
        }
    }

    /// Whether a block of the address can come from what was sent: by others than this process, of which it knows nothing, or
    /// by itself, if it came near one of the limits. The window that counts is the one before the request that was answered so.
    fn is_plausible(&self, demand: &Demand<'_>, account: &Account, now: Monotonic) -> bool {
        let mut limits = demand
            .limits
            .iter()
            .filter(|limit| limit.counted_by == CountedBy::Address)
            .peekable();
        if self.processes > NonZeroU32::MIN || limits.peek().is_none() {
            return true;
        }
        let own = account.tenant(demand.connection.tenant().id());
        let asked = own.and_then(|log| log.last_until(now)).unwrap_or(now);
        limits.any(|limit| {
            let sent = account.log.sent_since(asked, limit.window, now);
            sent.saturating_mul(2) >= limit.requests as usize
        })
    }

    fn shut_until(&self, until: Monotonic) {
        self.shut_until.fetch_max(nanos(until), Ordering::AcqRel);
    }

    fn may_be_shut(&self) -> bool {
        let until = self.shut_until.load(Ordering::Acquire);
        until != 0 && nanos(self.clock.monotonic()) < until
    }
}

#[async_trait]
impl Budget for LocalBudget {
    async fn take(&self, demand: &Demand<'_>) -> Result<Duration, Spent> {
        self.place(demand)
    }

    async fn look(&self, demand: &Demand<'_>) -> Result<(), Spent> {
        if !self.may_be_shut() {
            return Ok(());
        }
        let now = self.clock.monotonic();
        let tenant = demand.connection.tenant().id();
        let shut_for = |counted_by| lock(&*self.find(demand, counted_by)?).shut_for(tenant, now);
        match shut_for(CountedBy::Address).max(shut_for(CountedBy::Connection)) {
            Some(left) => Err(Spent::new(left, Cause::Blocked)),
            None => Ok(()),
        }
    }

    async fn blocked(&self, demand: &Demand<'_>, counted_by: CountedBy, lasts: Duration) {
        let account = match counted_by {
            CountedBy::Address => Some(self.addresses.of_block(server(demand))),
            CountedBy::Connection => self.connections.find_or_make(demand, &*self.clock),
        };
        let Some(account) = account else { return };
        let mut account = lock(&*account);
        let now = self.clock.monotonic();
        let until = now + lasts;
        let believed = counted_by == CountedBy::Connection || self.is_plausible(demand, &account, now);
        account.told(demand.connection.tenant().id(), believed, now, until);
        self.shut_until(until);
    }
}

impl fmt::Debug for LocalBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalBudget")
            .field("addresses", &self.addresses.len())
            .field("connections", &self.connections.len())
            .field("processes", &self.processes)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn nanos(at: Monotonic) -> u64 {
    u64::try_from(at.since_origin().as_nanos()).unwrap_or(u64::MAX)
}

/// What has been sent of what a demand is counted with.
#[derive(Clone, Copy)]
struct Held<'a> {
    shared: Option<&'a Account>,
    tenant: Option<&'a Log>,
    own: Option<&'a Account>,
}

/// What a demand is to be kept to.
struct Rules<'a> {
    limits: &'a [Limit],
    processes: NonZeroU32,
    start: Monotonic,
}

impl Rules<'_> {
    /// What each limit means for those who are counted together so.
    fn rates(&self, cause: Cause) -> impl Iterator<Item = Rate> {
        self.limits
            .iter()
            .filter_map(move |limit| match (limit.counted_by, cause) {
                (CountedBy::Address, Cause::Shared) => Some(Rate::of(limit).part(self.processes)),
                (CountedBy::Address, Cause::Tenant) => Some(Rate::of(limit).share().part(self.processes)),
                (CountedBy::Connection, Cause::Connection) => Some(Rate::of(limit)),
                _ => None,
            })
    }

    fn longest(&self, cause: Cause) -> Option<Duration> {
        self.rates(cause).map(|rate| rate.window).max()
    }

    /// The first instant from `now` that keeps to all rates of these causes. Each step is to the end of a run of requests that
    /// are known, so there are few.
    fn earliest(&self, causes: &[Cause], held: Held<'_>, now: Monotonic) -> Monotonic {
        let mut at = now;
        loop {
            let next = causes.iter().fold(at, |at, cause| self.step(*cause, held, at));
            if next == at {
                return at;
            }
            at = next;
        }
    }

    fn step(&self, cause: Cause, held: Held<'_>, at: Monotonic) -> Monotonic {
        self.rates(cause).fold(at, |at, rate| match (cause, held) {
            (
                Cause::Shared,
                Held {
                    shared: Some(account), ..
                },
            ) => {
                let at = account.earliest(at, rate);
                account.earliest_after_start(at, rate, self.start)
            }
            (Cause::Tenant, Held { tenant: Some(log), .. }) => log.earliest(at, rate),
            (Cause::Connection, Held { own: Some(account), .. }) => account.earliest(at, rate),
            _ => at,
        })
    }

    /// What is against a place after this wait.
    fn refuse(&self, wait: Duration, patience: Duration, held: Held<'_>, now: Monotonic) -> Option<Cause> {
        if wait.is_zero() {
            return None;
        }
        if wait > patience {
            // Of equal ones the last, which is the narrowest.
            return CAUSES
                .into_iter()
                .max_by_key(|cause| self.earliest(&[*cause], held, now));
        }
        let full = |cause: &Cause| {
            let (log, most) = match cause {
                Cause::Shared => (held.shared.map(|account| &account.log), MOST_WAITING),
                Cause::Tenant => (held.tenant, MOST_WAITING / 10),
                _ => (held.own.map(|account| &account.log), MOST_WAITING),
            };
            log.is_some_and(|log| log.waiting(now) >= most)
        };
        CAUSES.into_iter().rev().find(full)
    }
}

#[cfg(test)]
mod tests;
