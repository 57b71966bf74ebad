//! Budgets in memory: when a carrier's word that it blocks stops everybody, and when only the one who was told so.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod throttle_support;

use std::sync::Arc;
use std::time::Duration;

use shipbound::binding::Role;
use shipbound::clock::{Clock, ManualClock};
use shipbound::owner::{ConnectionId, Tenant, TenantId};
use shipbound::throttle::{Budget, CountedBy, Demand, LocalBudget, OpenBlock, Spent};
use throttle_support::{
    FEDEX, PATIENT, block, blocked, clock, connection, connection_of, look, millis, seconds, settled, token,
};
use uuid::Uuid;

const NOW: Result<Duration, Spent> = Ok(Duration::ZERO);

/// FedEx's block of an address.
const LENGTH: Duration = seconds(600);

fn demand(connection: &ConnectionId) -> Demand<'_> {
    Demand::new(connection, Role::AuthorizationServer, &FEDEX, PATIENT)
}

/// This connection was told that the address is blocked.
fn told(budget: &dyn Budget, connection: &ConnectionId) {
    block(budget, &demand(connection), CountedBy::Address, LENGTH);
}

fn ask(budget: &dyn Budget, connection: &ConnectionId) -> Result<Duration, Spent> {
    token(budget, connection, &FEDEX, Duration::ZERO)
}

#[test]
fn one_tenant_that_is_told_so_again_and_again_does_not_stop_forty_others() {
    let (clock, budget) = settled();
    let bad = connection("bad", "main");
    let good: Vec<_> = (0..40)
        .map(|number| connection(&format!("good{number}"), "main"))
        .collect();
    // As often as it can, and for some hours; the others ask once in three seconds, each in two minutes.
    for second in 0..10_000_u64 {
        if ask(&budget, &bad) == NOW {
            assert_eq!(second % 600, 0, "within a block");
            told(&budget, &bad);
        } else {
            assert_eq!(ask(&budget, &bad), Err(blocked(seconds(600 - second % 600))));
        }
        if second % 3 == 1 {
            let one = &good[usize::try_from(second / 3 % 40).unwrap()];
            assert_eq!(ask(&budget, one), NOW, "second {second}");
            assert_eq!(look(&budget, &demand(one)), Ok(()));
        }
        clock.advance(seconds(1));
    }
}

#[test]
fn the_tenant_that_was_told_so_is_kept_away_with_all_its_connections() {
    let (clock, budget) = settled();
    let acme = connection("acme", "main");
    assert_eq!(ask(&budget, &acme), NOW);
    assert_eq!(token(&budget, &acme, &FEDEX, PATIENT), Ok(seconds(5)));
    told(&budget, &acme);
    let again = connection_of(
        Tenant::new(TenantId::new("acme").unwrap(), Uuid::from_u128(1)),
        "fedex",
        "main",
    );
    for of_acme in [&acme, &connection("acme", "track"), &again] {
        assert_eq!(token(&budget, of_acme, &FEDEX, PATIENT), Err(blocked(LENGTH)));
        assert_eq!(look(&budget, &demand(of_acme)), Err(blocked(LENGTH)));
        // Nor does its own word a second time make it more than that.
        told(&budget, of_acme);
    }
    assert_eq!(ask(&budget, &connection("globex", "main")), NOW);
    clock.advance(LENGTH - Duration::from_nanos(1));
    assert_eq!(ask(&budget, &acme), Err(blocked(Duration::from_nanos(1))));
    clock.advance(Duration::from_nanos(1));
    assert_eq!(look(&budget, &demand(&acme)), Ok(()));
    assert_eq!(ask(&budget, &acme), NOW);
}

#[test]
fn a_second_tenant_within_the_blocks_length_stops_everybody() {
    let (acme, globex, other) = (
        connection("acme", "main"),
        connection("globex", "main"),
        connection("other", "main"),
    );
    let both = |between: Duration| {
        let (clock, budget) = settled();
        assert_eq!(ask(&budget, &acme), NOW);
        told(&budget, &acme);
        clock.advance(between);
        assert_eq!(ask(&budget, &globex), NOW);
        told(&budget, &globex);
        (clock, budget)
    };
    let (clock, budget) = both(LENGTH - Duration::from_nanos(1));
    for one in [&acme, &globex, &other] {
        assert_eq!(token(&budget, one, &FEDEX, PATIENT), Err(blocked(LENGTH)));
        assert_eq!(look(&budget, &demand(one)), Err(blocked(LENGTH)));
    }
    clock.advance(LENGTH);
    assert_eq!(ask(&budget, &other), NOW);
    assert!(ask(&budget, &acme).is_err(), "one goes first");

    let (_, budget) = both(LENGTH);
    assert_eq!(ask(&budget, &globex), Err(blocked(LENGTH)));
    assert_eq!(ask(&budget, &other), NOW);
}

#[test]
fn near_a_limit_one_tenant_is_enough() {
    let other = connection("other", "main");
    let after = |requests: u64, apart: Duration, answered: Duration| {
        let (clock, budget) = settled();
        let mut last = None;
        for number in 0..requests {
            clock.advance(apart);
            let one = connection(&format!("t{number}"), "main");
            assert_eq!(ask(&budget, &one), NOW);
            last = Some(one);
        }
        clock.advance(answered);
        told(&budget, &last.unwrap());
        ask(&budget, &other)
    };
    // Half of 14 in 5 s.
    assert_eq!(after(6, Duration::ZERO, Duration::ZERO), NOW);
    assert_eq!(after(7, Duration::ZERO, Duration::ZERO), Err(blocked(LENGTH)));
    assert_eq!(after(7, millis(833), Duration::ZERO), Err(blocked(LENGTH)));
    assert_eq!(after(7, millis(834), Duration::ZERO), NOW, "the first is 5 s ago");
    // It is the time when it was asked that counts, not that of the answer.
    assert_eq!(after(7, Duration::ZERO, seconds(30)), Err(blocked(LENGTH)));
    // Half of 119 in 120 s.
    assert_eq!(after(59, seconds(2), Duration::ZERO), NOW);
    assert_eq!(after(60, seconds(2), Duration::ZERO), Err(blocked(LENGTH)));
}

#[test]
fn where_others_send_from_the_same_address_one_tenant_is_enough() {
    let clock = clock();
    let budget = LocalBudget::new(clock.clone()).fleet_of(2);
    clock.advance(seconds(3600));
    told(&budget, &connection("acme", "main"));
    assert_eq!(ask(&budget, &connection("other", "main")), Err(blocked(LENGTH)));
}

#[test]
fn a_request_that_was_on_its_way_prolongs_a_block_that_stands() {
    let (clock, budget) = settled();
    let (acme, globex, other) = (
        connection("acme", "main"),
        connection("globex", "main"),
        connection("other", "main"),
    );
    told(&budget, &acme);
    told(&budget, &globex);
    clock.advance(seconds(20));
    told(&budget, &acme);
    assert_eq!(ask(&budget, &other), Err(blocked(LENGTH)));
    assert!(clock.monotonic().since_origin() > LENGTH);
}

#[test]
fn a_block_is_handed_from_one_process_to_the_next() {
    let (acme, globex) = (connection("acme", "main"), connection("globex", "main"));
    let (clock, budget) = settled();
    told(&budget, &acme);
    assert_eq!(budget.blocks(), [], "one tenant's word");
    clock.advance(Duration::from_nanos(1));
    told(&budget, &globex);
    let on_ups = connection_of(acme.tenant().clone(), "ups", "main");
    let api = Demand::new(&on_ups, Role::ResourceServer, &[], PATIENT);
    block(&budget, &api, CountedBy::Connection, LENGTH);
    let blocks = budget.blocks();
    let until = clock.now() + LENGTH;
    assert_eq!(
        blocks,
        [OpenBlock::new(
            acme.carrier().clone(),
            acme.environment(),
            Role::AuthorizationServer,
            until
        )]
    );

    // The next one starts two minutes later, with a monotonic axis of its own.
    let clock = Arc::new(ManualClock::at(until.offset_seconds(-480)));
    let next = LocalBudget::new(clock.clone()).with_blocks(blocks.clone());
    assert_eq!(next.blocks(), blocks);
    assert_eq!(token(&next, &globex, &FEDEX, PATIENT), Err(blocked(seconds(480))));
    assert_eq!(look(&next, &demand(&acme)), Err(blocked(seconds(480))));
    assert_eq!(ask(&next, &on_ups), NOW);
    clock.advance(seconds(480));
    assert_eq!(next.blocks(), []);
    assert_eq!(ask(&next, &globex), NOW);
    assert!(ask(&next, &acme).is_err(), "one goes first");

    // And one that starts when it is over does not know of it.
    let clock = Arc::new(ManualClock::at(until));
    let late = LocalBudget::new(clock).with_blocks(blocks);
    assert_eq!(ask(&late, &acme), NOW);
    assert_eq!(ask(&late, &globex), NOW);
}

#[test]
fn a_block_that_was_handed_over_ends_no_moment_early() {
    let (clock, budget) = settled();
    // Wall time has microseconds, blocks end between them.
    for tenant in ["acme", "globex"] {
        let connection = connection(tenant, "main");
        let lasts = LENGTH + Duration::from_nanos(1);
        block(&budget, &demand(&connection), CountedBy::Address, lasts);
    }
    let until = budget.blocks()[0].until;
    assert_eq!(until, clock.now() + LENGTH + Duration::from_micros(1));
}
