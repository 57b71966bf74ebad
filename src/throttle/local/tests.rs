//! Of budgets at their bound, which only the room itself can see.

use futures_util::FutureExt;
use uuid::Uuid;

use super::*;
use crate::binding::Role;
use crate::clock::{ManualClock, Timestamp};
use crate::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, Tenant, TenantId};

const LIMITS: [Limit; 1] = [Limit::new(1, Duration::from_secs(60), CountedBy::Connection)];

/// Each of a thousand tenants has a hundred of a hundred thousand.
fn connection(number: u32) -> ConnectionId {
    connection_of(&format!("t{}", number % 1000), number)
}

/// One of a tenant that is deleted and made anew for each.
fn connection_of(tenant: &str, number: u32) -> ConnectionId {
    ConnectionId::new(
        DeploymentId::default_deployment(),
        Tenant::new(TenantId::new(tenant).unwrap(), Uuid::from_u128(number.into())),
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
    assert!(budget.connections.len() <= 1 << 17);
    // Those that are counted still are.
    assert_eq!(ask(0), Err(Spent::new(Duration::from_secs(60), Cause::Connection)));

    clock.advance(Duration::from_secs(60));
    for number in 300_000..400_000 {
        assert_eq!(ask(number), Ok(Duration::ZERO));
    }
    assert!(budget.connections.len() <= 100_100, "{}", budget.connections.len());
}

#[test]
fn what_is_not_limited_is_not_counted() {
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let budget = LocalBudget::new(clock.clone());
    let (free, shut) = (connection(1), connection(2));
    let unlimited = |connection| Demand::new(connection, Role::ResourceServer, &[], Duration::ZERO);
    assert_eq!(budget.place(&unlimited(&free)), Ok(Duration::ZERO));
    assert_eq!(budget.connections.len(), 0);
    let demand = unlimited(&shut);
    let blocked = budget.blocked(&demand, CountedBy::Connection, Duration::from_secs(60));
    blocked.now_or_never().unwrap();
    assert_eq!(budget.place(&unlimited(&free)), Ok(Duration::ZERO));
    assert_eq!(budget.connections.len(), 1);
}

#[test]
fn one_tenant_takes_no_more_than_its_part_of_the_room_and_its_idle_accounts_give_way() {
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let budget = LocalBudget::new(clock.clone());
    let ask = |connection: ConnectionId| budget.place(&demand(&connection));
    clock.advance(Duration::from_secs(60));
    for number in 0..1000 {
        assert_eq!(ask(connection_of("greedy", number)), Ok(Duration::ZERO));
    }
    for number in 1000..20_000 {
        assert_eq!(ask(connection_of("greedy", number)), Err(Spent::unavailable()));
    }
    assert_eq!(budget.connections.len(), 1000);
    for number in 0..2000 {
        assert_eq!(ask(connection(number)), Ok(Duration::ZERO), "others have their room");
    }
    clock.advance(Duration::from_secs(60));
    for number in 20_000..21_000 {
        assert_eq!(ask(connection_of("greedy", number)), Ok(Duration::ZERO));
    }
    assert_eq!(ask(connection_of("greedy", 21_000)), Err(Spent::unavailable()));
}

#[test]
fn no_number_of_connections_takes_the_room_of_an_address_or_of_its_block() {
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let budget = LocalBudget::new(clock.clone());
    // Until a shard is full, and far beyond.
    for number in 0..200_000 {
        let _full = budget.place(&demand(&connection(number)));
    }
    let limits = [Limit::new(100, Duration::from_secs(1), CountedBy::Address)];
    for number in 0..40 {
        let connection = connection(number);
        let token = Demand::new(&connection, Role::AuthorizationServer, &limits, Duration::from_secs(60));
        budget.place(&token).unwrap();
    }
    let connection = connection(0);
    let token = Demand::new(&connection, Role::AuthorizationServer, &[], Duration::ZERO);
    let minute = Duration::from_secs(60);
    budget
        .blocked(&token, CountedBy::Address, minute)
        .now_or_never()
        .unwrap();
    assert_eq!(budget.place(&token), Err(Spent::new(minute, Cause::Blocked)));
}

#[test]
fn addresses_are_bounded_and_a_block_is_kept_even_beyond_that() {
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let budget = LocalBudget::new(clock.clone());
    let limits = [Limit::new(1, Duration::from_secs(60), CountedBy::Address)];
    let at = |number: u32| {
        ConnectionId::new(
            DeploymentId::default_deployment(),
            TenantId::new("acme").unwrap().into(),
            CarrierId::new(&format!("c{number}")).unwrap(),
            Environment::Production,
            AccountId::main(),
        )
    };
    let ask = |connection: &ConnectionId| {
        budget.place(&Demand::new(
            connection,
            Role::AuthorizationServer,
            &limits,
            Duration::ZERO,
        ))
    };
    for number in 0..4096 {
        assert_eq!(ask(&at(number)), Ok(Duration::ZERO));
    }
    let late = at(4096);
    assert_eq!(ask(&late), Err(Spent::unavailable()));
    let demand = Demand::new(&late, Role::AuthorizationServer, &[], Duration::ZERO);
    let hour = Duration::from_secs(3600);
    budget
        .blocked(&demand, CountedBy::Address, hour)
        .now_or_never()
        .unwrap();
    assert_eq!(ask(&late), Err(Spent::new(hour, Cause::Blocked)));
    clock.advance(Duration::from_secs(60));
    assert_eq!(ask(&at(4097)), Ok(Duration::ZERO), "idle ones have given way");
    assert_eq!(budget.addresses.len(), 2);
}
