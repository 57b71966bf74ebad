//! Connections, demands and seeded randomness for tests of budgets.
#![allow(
    dead_code,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "test support"
)]

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use shipbound::binding::Role;
use shipbound::clock::{ManualClock, Timestamp};
use shipbound::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, Tenant, TenantId};
use shipbound::throttle::{Budget, Cause, CountedBy, Demand, Limit, LocalBudget, Spent};

/// FedEx's, of its token endpoint.
pub(crate) const FEDEX: [Limit; 2] = [
    Limit::new(14, seconds(5), CountedBy::Address),
    Limit::new(119, seconds(120), CountedBy::Address),
];

pub(crate) const PATIENT: Duration = Duration::MAX;

/// xorshift64*: small, seeded, the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn chance(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

pub(crate) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn connection(tenant: &str, account: &str) -> ConnectionId {
    connection_of(Tenant::from(TenantId::new(tenant).unwrap()), "fedex", account)
}

pub(crate) fn connection_of(tenant: Tenant, carrier: &str, account: &str) -> ConnectionId {
    ConnectionId::new(
        DeploymentId::default_deployment(),
        tenant,
        CarrierId::new(carrier).unwrap(),
        Environment::Production,
        AccountId::new(account).unwrap(),
    )
}

pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_unix_seconds(1_800_000_000)))
}

/// A budget whose process has run for so long that its start does not matter any more.
pub(crate) fn settled() -> (Arc<ManualClock>, LocalBudget) {
    let clock = clock();
    let budget = LocalBudget::new(clock.clone());
    clock.advance(seconds(3600));
    (clock, budget)
}

pub(crate) fn take(budget: &dyn Budget, demand: &Demand<'_>) -> Result<Duration, Spent> {
    budget.take(demand).now_or_never().expect("memory does not wait")
}

/// Takes a token request of this connection.
pub(crate) fn token(
    budget: &dyn Budget,
    connection: &ConnectionId,
    limits: &[Limit],
    patience: Duration,
) -> Result<Duration, Spent> {
    take(
        budget,
        &Demand::new(connection, Role::AuthorizationServer, limits, patience),
    )
}

pub(crate) fn look(budget: &dyn Budget, demand: &Demand<'_>) -> Result<(), Spent> {
    budget.look(demand).now_or_never().expect("memory does not wait")
}

pub(crate) fn block(budget: &dyn Budget, demand: &Demand<'_>, counted_by: CountedBy, lasts: Duration) {
    budget
        .blocked(demand, counted_by, lasts)
        .now_or_never()
        .expect("memory does not wait");
}

pub(crate) fn blocked(after: Duration) -> Spent {
    Spent::new(after, Cause::Blocked)
}

/// The most of these instants that are in one span of this length.
pub(crate) fn most_within(instants: &[Duration], window: Duration) -> usize {
    let mut sorted = instants.to_vec();
    sorted.sort_unstable();
    let mut first = 0;
    let mut most = 0;
    for (last, at) in sorted.iter().enumerate() {
        while sorted[first] + window <= *at {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most
}
