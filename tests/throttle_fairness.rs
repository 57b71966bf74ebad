//! Budgets in memory: who waits, who does not, and what a block does.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod throttle_support;

use std::time::Duration;

use futures_util::FutureExt;
use shipbound::binding::Role;
use shipbound::clock::Clock;
use shipbound::owner::{Tenant, TenantId};
use shipbound::throttle::{Budget, Cause, CountedBy, Demand, Limit, LocalBudget, Spent};
use throttle_support::{
    FEDEX, PATIENT, Random, block, blocked, clock, connection, connection_of, look, millis, most_within, seconds,
    settled, take, token,
};
use uuid::Uuid;

const NOW: Result<Duration, Spent> = Ok(Duration::ZERO);

#[test]
fn one_bad_tenant_makes_none_of_two_hundred_good_ones_wait() {
    let (clock, budget) = settled();
    let bad = connection("bad", "main");
    let good: Vec<_> = (0..200)
        .map(|number| connection(&format!("good{number}"), "main"))
        .collect();
    let mut sent = Vec::new();
    let mut refused = 0;
    // Each good one asks once in 250 s, all of them 0.8 times a second; the bad one ten times a second, and would wait.
    for tick in 0..10_000_u64 {
        match token(&budget, &bad, &FEDEX, seconds(30)) {
            Ok(wait) => sent.push(clock.monotonic().since_origin() + wait),
            Err(spent) => {
                assert_eq!(spent.cause, Cause::Tenant);
                assert!(spent.after > seconds(30));
                refused += 1;
            }
        }
        if tick.is_multiple_of(12) {
            let one = &good[usize::try_from(tick / 12 % 200).unwrap()];
            assert_eq!(token(&budget, one, &FEDEX, Duration::ZERO), NOW, "tick {tick}");
        }
        clock.advance(millis(100));
    }
    assert_eq!(
        (most_within(&sent, seconds(5)), most_within(&sent, seconds(120))),
        (1, 11)
    );
    assert!(refused > 9000, "{refused}");
}

#[test]
fn in_a_rush_a_bad_tenant_takes_its_tenth_and_no_more() {
    let rush = |with_bad: bool| {
        let (clock, budget) = settled();
        let bad = connection("bad", "main");
        let mut sent = Vec::new();
        for number in 0..200 {
            if with_bad {
                for _ in 0..20 {
                    let _refused = token(&budget, &bad, &FEDEX, seconds(300));
                }
            }
            let good = connection(&format!("good{number}"), "main");
            let wait = token(&budget, &good, &FEDEX, seconds(300)).unwrap();
            sent.push(clock.monotonic().since_origin() + wait);
            clock.advance(millis(50));
        }
        sent
    };
    let (alone, beside) = (rush(false), rush(true));
    assert!(beside.is_sorted());
    // Of 119 in 120 s the others have 108: eleven of them come to wait for the next window, and the rest for a tenth of one.
    for (number, (alone, beside)) in alone.iter().zip(&beside).enumerate() {
        let later = beside.saturating_sub(*alone);
        assert!(
            (108..119).contains(&number) || later <= seconds(12),
            "{number}: {later:?}"
        );
    }
    assert_eq!(most_within(&beside, seconds(120)), 108);
}

#[test]
fn a_tenants_connections_and_accounts_share_one_share() {
    let (_, budget) = settled();
    let ask = |connection| token(&budget, &connection, &FEDEX, Duration::ZERO);
    assert_eq!(ask(connection("acme", "main")), NOW);
    assert_eq!(
        ask(connection("acme", "track")),
        Err(Spent::new(seconds(5), Cause::Tenant))
    );
    // Another holder of the id is no other tenant here: who leaves and comes again has no new share.
    let again = Tenant::new(TenantId::new("acme").unwrap(), Uuid::from_u128(1));
    assert_eq!(
        ask(connection_of(again, "fedex", "main")),
        Err(Spent::new(seconds(5), Cause::Tenant))
    );
    assert_eq!(ask(connection("globex", "main")), NOW);
}

#[test]
fn who_waits_is_not_overtaken() {
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let (clock, budget) = settled();
        let limits = [
            Limit::new(
                1 + u32::try_from(random.below(9)).unwrap(),
                millis(1 + random.below(5000)),
                CountedBy::Address,
            ),
            Limit::new(20, seconds(60), CountedBy::Address),
        ];
        let mut last = Duration::ZERO;
        for number in 0..100 {
            clock.advance(millis(random.below(1000)));
            let wait = token(&budget, &connection(&format!("t{number}"), "main"), &limits, PATIENT).unwrap();
            let at = clock.monotonic().since_origin() + wait;
            assert!(last <= at, "seed {seed}: {at:?} before {last:?}");
            last = at;
        }
    }
}

#[test]
fn a_place_that_is_given_up_stays_taken() {
    let (clock, budget) = settled();
    let limits = [Limit::new(1, seconds(5), CountedBy::Connection)];
    let connection = connection("acme", "main");
    let demand = Demand::new(&connection, Role::ResourceServer, &limits, PATIENT);
    // A demand that nobody has looked at has taken nothing.
    drop(budget.take(&demand));
    assert_eq!(budget.take(&demand).now_or_never().unwrap(), NOW);
    // This one waits for a place and goes away: the next one does not come earlier for it.
    assert_eq!(take(&budget, &demand), Ok(seconds(5)));
    clock.advance(seconds(6));
    assert_eq!(take(&budget, &demand), Ok(seconds(4)));
}

#[test]
fn no_more_than_a_documented_number_wait() {
    let (_, budget) = settled();
    let ask = |tenant: &str, limit: Limit| token(&budget, &connection(tenant, "main"), &[limit], PATIENT);

    let own = Limit::new(1, seconds(1), CountedBy::Connection);
    for number in 0..=4096 {
        assert_eq!(ask("acme", own), Ok(seconds(number)));
    }
    assert_eq!(ask("acme", own), Err(Spent::new(seconds(4097), Cause::Connection)));

    let shared = Limit::new(10, seconds(1), CountedBy::Address);
    for tenant in 0..10 {
        let tenant = format!("t{tenant}");
        for number in 0..=409 {
            assert_eq!(ask(&tenant, shared), Ok(seconds(number)));
        }
        assert_eq!(ask(&tenant, shared), Err(Spent::new(seconds(410), Cause::Tenant)));
    }
    // 4090 wait, and six more can.
    for tenant in 10..16 {
        assert_eq!(ask(&format!("t{tenant}"), shared), Ok(seconds(410)));
    }
    assert_eq!(ask("late", shared), Err(Spent::new(seconds(410), Cause::Shared)));
}

#[test]
fn while_a_carrier_blocks_nobody_is_let_through_and_after_it_one() {
    let (clock, budget) = settled();
    let names: Vec<_> = (0..200)
        .map(|number| connection(&format!("t{number}"), "main"))
        .collect();
    let mut next = names.iter();
    let mut ask = |patience| token(&budget, next.next().unwrap(), &FEDEX, patience);
    for _ in 0..14 {
        assert_eq!(ask(Duration::ZERO), NOW, "a burst, before any block");
    }
    let demand = Demand::new(&names[0], Role::AuthorizationServer, &FEDEX, PATIENT);
    block(&budget, &demand, CountedBy::Address, seconds(600));
    // Neither patience nor an earlier block's end opens it.
    block(&budget, &demand, CountedBy::Address, seconds(10));
    assert_eq!(ask(PATIENT), Err(blocked(seconds(600))));
    clock.advance(seconds(600) - Duration::from_nanos(1));
    assert_eq!(ask(PATIENT), Err(blocked(Duration::from_nanos(1))));

    // Nobody asks at once when it ends: the first one is alone even so.
    clock.advance(seconds(100));
    assert_eq!(ask(Duration::ZERO), NOW);
    let spent = ask(Duration::ZERO).unwrap_err();
    assert_eq!(
        (spent.cause, spent.after.as_millis()),
        (Cause::Shared, 1008),
        "119 in 120 s"
    );
    assert_eq!(ask(PATIENT), Ok(spent.after));
    assert_eq!(ask(PATIENT), Ok(spent.after * 2));
    // A second block, while places are out: two are told so.
    block(&budget, &demand, CountedBy::Address, seconds(300));
    let second = Demand::new(&names[1], Role::AuthorizationServer, &FEDEX, PATIENT);
    block(&budget, &second, CountedBy::Address, seconds(300));
    assert_eq!(ask(PATIENT), Err(blocked(seconds(300))));
    clock.advance(seconds(300));
    assert_eq!(ask(Duration::ZERO), NOW);
    assert!(ask(Duration::ZERO).is_err());

    // A window after the first one, bursts are back.
    clock.advance(seconds(120));
    for _ in 0..14 {
        assert_eq!(ask(Duration::ZERO), NOW);
    }
    assert_eq!(ask(Duration::ZERO), Err(Spent::new(seconds(5), Cause::Shared)));
}

#[test]
fn a_block_concerns_those_who_are_counted_together() {
    let (clock, budget) = settled();
    let (acme, globex) = (connection("acme", "main"), connection("globex", "main"));
    let track = connection("acme", "track");
    let other = connection_of(acme.tenant().clone(), "ups", "main");
    let ask = |connection, role| take(&budget, &Demand::new(connection, role, &[], PATIENT));
    let shut = |connection, role, counted_by| {
        block(
            &budget,
            &Demand::new(connection, role, &[], PATIENT),
            counted_by,
            seconds(30),
        );
    };
    // Where there is no limit at all, too.
    shut(&acme, Role::ResourceServer, CountedBy::Connection);
    assert_eq!(ask(&acme, Role::ResourceServer), Err(blocked(seconds(30))));
    assert_eq!(ask(&acme, Role::AuthorizationServer), NOW);
    assert_eq!(ask(&track, Role::ResourceServer), NOW);
    assert_eq!(ask(&globex, Role::ResourceServer), NOW);

    clock.advance(seconds(10));
    shut(&acme, Role::ResourceServer, CountedBy::Address);
    assert_eq!(ask(&acme, Role::ResourceServer), Err(blocked(seconds(30))));
    assert_eq!(ask(&globex, Role::ResourceServer), Err(blocked(seconds(30))));
    assert_eq!(ask(&globex, Role::AuthorizationServer), NOW);
    assert_eq!(ask(&other, Role::ResourceServer), NOW);
    clock.advance(seconds(30));
    assert_eq!(ask(&acme, Role::ResourceServer), NOW);
    assert_eq!(ask(&acme, Role::ResourceServer), NOW, "no limit, no pace");
}

#[test]
fn after_a_pause_a_connection_goes_on_evenly_and_its_neighbour_as_before() {
    let (clock, budget) = settled();
    let limits = [Limit::new(10, seconds(10), CountedBy::Connection)];
    let (acme, globex) = (connection("acme", "main"), connection("globex", "main"));
    let demand = |connection| Demand::new(connection, Role::ResourceServer, &limits, PATIENT);
    block(&budget, &demand(&acme), CountedBy::Connection, seconds(2));
    clock.advance(seconds(2));
    assert_eq!(take(&budget, &demand(&acme)), NOW);
    assert_eq!(take(&budget, &demand(&acme)).unwrap().as_millis(), 1000);
    assert_eq!(take(&budget, &demand(&globex)), NOW);
    assert_eq!(take(&budget, &demand(&globex)), NOW);
}

#[test]
fn who_has_waited_sees_a_block_that_has_begun_meanwhile() {
    let (clock, budget) = settled();
    let [acme, globex, initech] = ["acme", "globex", "initech"].map(|tenant| connection(tenant, "main"));
    let demand = |connection| Demand::new(connection, Role::AuthorizationServer, &FEDEX, seconds(10));
    assert_eq!(take(&budget, &demand(&acme)), NOW);
    assert_eq!(take(&budget, &demand(&acme)), Ok(seconds(5)));
    clock.advance(seconds(4));
    assert_eq!(look(&budget, &demand(&acme)), Ok(()));
    block(&budget, &demand(&globex), CountedBy::Address, seconds(600));
    assert_eq!(look(&budget, &demand(&acme)), Ok(()), "one tenant's word");
    block(&budget, &demand(&initech), CountedBy::Address, seconds(600));
    clock.advance(seconds(1));
    assert_eq!(look(&budget, &demand(&acme)), Err(blocked(seconds(599))));
    clock.advance(seconds(599));
    assert_eq!(look(&budget, &demand(&acme)), Ok(()));
    // To look takes nothing.
    assert_eq!(take(&budget, &demand(&acme)), NOW);
}

#[test]
fn a_block_for_ever_is_one() {
    let clock = clock();
    let budget = LocalBudget::new(clock.clone());
    let acme = connection("acme", "main");
    let demand = Demand::new(&acme, Role::AuthorizationServer, &FEDEX, PATIENT);
    block(&budget, &demand, CountedBy::Address, Duration::MAX);
    clock.advance(seconds(100 * 365 * 86_400));
    assert_eq!(take(&budget, &demand).unwrap_err().cause, Cause::Blocked);
    assert!(look(&budget, &demand).is_err());
    // For ever is as well how long another tenant can confirm it.
    let globex = connection("globex", "main");
    let demand = Demand::new(&globex, Role::AuthorizationServer, &FEDEX, PATIENT);
    block(&budget, &demand, CountedBy::Address, Duration::MAX);
    assert_eq!(
        token(&budget, &connection("other", "main"), &FEDEX, PATIENT)
            .unwrap_err()
            .cause,
        Cause::Blocked
    );
}
