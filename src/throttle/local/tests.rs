//! Of budgets at their bound, which only the room itself can see.

use futures_util::FutureExt;
use uuid::Uuid;

use super::*;
use crate::binding::Role;
use crate::clock::{ManualClock, Timestamp};
use crate::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, Tenant, TenantId};

const LIMITS: [Limit; 1] = [Limit::new(1, Duration::from_secs(60), CountedBy::Connection)];

fn connection(number: u32) -> ConnectionId {
    ConnectionId::new(
        DeploymentId::default_deployment(),
        Tenant::new(TenantId::new("acme").unwrap(), Uuid::from_u128(number.into())),
        CarrierId::new("fedex").unwrap(),
        Environment::Production,
        AccountId::main(),
    )
}

fn demand(connection: &ConnectionId) -> Demand<'_> {
    Demand::new(connection, Role::ResourceServer, &LIMITS, Duration::ZERO)
}

#[test]
fn a_hundred_thousand_connections_are_counted_and_idle_ones_give_way_to_more() {
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let budget = LocalBudget::new(clock.clone());
    let ask = |number| budget.place(&demand(&connection(number)));
    for number in 0..100_000 {
        assert_eq!(ask(number), Ok(Duration::ZERO));
    }
    let unavailable = Err(Spent::new(Duration::from_secs(1), Cause::Unavailable));
    let refused = (100_000..200_000).filter(|number| {
        let given = ask(*number);
        assert!(given == Ok(Duration::ZERO) || given == unavailable, "{given:?}");
        given.is_err()
    });
    assert!(refused.count() >= 200_000 - (1 << 17));
    assert!(budget.accounts.len() <= 1 << 17);
    // Those that are counted still are.
    assert_eq!(ask(0), Err(Spent::new(Duration::from_secs(60), Cause::Connection)));

    clock.advance(Duration::from_secs(60));
    for number in 300_000..400_000 {
        assert_eq!(ask(number), Ok(Duration::ZERO));
    }
    assert!(budget.accounts.len() <= 100_100, "{}", budget.accounts.len());
}

#[test]
fn what_is_not_limited_is_not_counted() {
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let budget = LocalBudget::new(clock.clone());
    let (free, shut) = (connection(1), connection(2));
    let unlimited = |connection| Demand::new(connection, Role::ResourceServer, &[], Duration::ZERO);
    assert_eq!(budget.place(&unlimited(&free)), Ok(Duration::ZERO));
    assert_eq!(budget.accounts.len(), 0);
    let demand = unlimited(&shut);
    let blocked = budget.blocked(&demand, CountedBy::Connection, Duration::from_secs(60));
    blocked.now_or_never().unwrap();
    assert_eq!(budget.place(&unlimited(&free)), Ok(Duration::ZERO));
    assert_eq!(budget.accounts.len(), 1);
}
