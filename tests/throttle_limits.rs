//! Budgets in memory never give more than their limits, and never less than they could.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod throttle_support;

use std::collections::HashMap;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use shipbound::binding::Role;
use shipbound::clock::Clock;
use shipbound::owner::ConnectionId;
use shipbound::throttle::{Cause, CountedBy, Demand, Limit, LocalBudget, Spent};
use throttle_support::{
    FEDEX, PATIENT, Random, block, clock, connection, millis, most_within, seconds, settled, take, token,
};

/// Some limits, of either kind.
fn some_limits(random: &mut Random) -> Vec<Limit> {
    (0..=random.below(3))
        .map(|_| {
            let counted_by = if random.chance(2) {
                CountedBy::Address
            } else {
                CountedBy::Connection
            };
            let requests = u32::try_from(1 + random.below(40)).unwrap();
            Limit::new(requests, millis(1 + random.below(20_000)), counted_by)
        })
        .collect()
}

/// Four tenants with up to three connections each.
fn some_connections() -> Vec<ConnectionId> {
    (0..12)
        .map(|number| connection(&format!("t{}", number % 4), &format!("a{}", number / 4)))
        .collect()
}

/// When requests were or will be sent, as the budgets said.
#[derive(Default)]
struct Sent {
    all: Vec<Duration>,
    tenants: HashMap<String, Vec<Duration>>,
    connections: HashMap<ConnectionId, Vec<Duration>>,
}

impl Sent {
    fn add(&mut self, connection: &ConnectionId, at: Duration) {
        self.all.push(at);
        self.tenants.entry(tenant(connection)).or_default().push(at);
        self.connections.entry(connection.clone()).or_default().push(at);
    }

    fn keeps_to(&self, limits: &[Limit], processes: u32) -> bool {
        limits.iter().all(|limit| match limit.counted_by {
            CountedBy::Address => {
                let share = (limit.requests / 10).max(1);
                keeps_to(&self.all, limit.requests, limit.window, processes)
                    && self
                        .tenants
                        .values()
                        .all(|sent| keeps_to(sent, share, limit.window, processes))
            }
            _ => self
                .connections
                .values()
                .all(|sent| keeps_to(sent, limit.requests, limit.window, 1)),
        })
    }
}

fn keeps_to(sent: &[Duration], requests: u32, window: Duration, processes: u32) -> bool {
    match requests / processes {
        0 => most_within(sent, window * processes / requests) <= 1,
        part => most_within(sent, window) <= part as usize,
    }
}

fn tenant(connection: &ConnectionId) -> String {
    connection.tenant().id().to_string()
}

#[test]
fn no_span_has_more_than_its_limit_and_no_block_has_any() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let clock = clock();
        let processes = if random.chance(2) { 1 } else { 1 + random.below(6) };
        let processes = u32::try_from(processes).unwrap();
        let budget = LocalBudget::new(clock.clone()).fleet_of(processes);
        let limits = some_limits(&mut random);
        let connections = some_connections();
        let mut sent = Sent::default();
        let mut shut = Vec::new();
        let mut given = 0;
        for _ in 0..600 {
            if random.chance(3) {
                clock.advance(millis(random.below(3000)));
            }
            let now = clock.monotonic().since_origin();
            let connection = &connections[usize::try_from(random.below(12)).unwrap()];
            let patience = millis(random.below(30_000));
            let demand = Demand::new(connection, Role::AuthorizationServer, &limits, patience);
            if random.chance(100) {
                let lasts = millis(random.below(20_000));
                let counted_by = if random.chance(2) {
                    CountedBy::Address
                } else {
                    CountedBy::Connection
                };
                block(&budget, &demand, counted_by, lasts);
                // Of an address two tenants are told so, which settles it.
                let neighbour = connections
                    .iter()
                    .find(|one| one.tenant() != connection.tenant())
                    .unwrap();
                if counted_by == CountedBy::Address {
                    let demand = Demand::new(neighbour, Role::AuthorizationServer, &limits, patience);
                    block(&budget, &demand, counted_by, lasts);
                }
                shut.push((counted_by, connection.clone(), now, now + lasts));
            }
            let Ok(wait) = take(&budget, &demand) else { continue };
            let at = now + wait;
            assert!(wait <= patience, "seed {seed}: {wait:?} is more than {patience:?}");
            for (counted_by, blocked, from, until) in &shut {
                let counted = *counted_by == CountedBy::Address || blocked == connection;
                assert!(
                    !counted || now < *from || *until <= at,
                    "seed {seed}: {at:?} is within a block"
                );
            }
            sent.add(connection, at);
            given += 1;
        }
        assert!(sent.keeps_to(&limits, processes), "seed {seed}: {limits:?}");
        assert!(given > 0, "seed {seed}: nothing was given at all");
    }
}

/// Whether one more at `at` keeps to `requests` in any `window`.
fn fits(sent: Option<&Vec<Duration>>, at: Duration, requests: u32, window: Duration) -> bool {
    // Nothing else shares a window with it.
    let near = sent.into_iter().flatten().filter(|sent| sent.abs_diff(at) < window);
    let mut with: Vec<_> = near.copied().collect();
    with.push(at);
    most_within(&with, window) <= requests as usize
}

/// The first instant that all limits leave free, by trying all that could be.
fn first_free(sent: &Sent, connection: &ConnectionId, limits: &[Limit], now: Duration) -> Duration {
    let ends = limits
        .iter()
        .flat_map(|limit| sent.all.iter().map(|at| *at + limit.window));
    let mut instants: Vec<_> = ends.filter(|at| *at > now).chain([now]).collect();
    instants.sort_unstable();
    let free = |at: &Duration| {
        limits.iter().all(|limit| match limit.counted_by {
            CountedBy::Address => {
                fits(Some(&sent.all), *at, limit.requests, limit.window)
                    && fits(
                        sent.tenants.get(&tenant(connection)),
                        *at,
                        (limit.requests / 10).max(1),
                        limit.window,
                    )
            }
            _ => fits(sent.connections.get(connection), *at, limit.requests, limit.window),
        })
    };
    instants.into_iter().find(free).unwrap()
}

#[test]
fn a_place_is_the_first_instant_that_all_limits_leave_free() {
    for seed in 0..150 {
        let mut random = Random::new(seed);
        let (clock, budget) = settled();
        let limits = some_limits(&mut random);
        let connections = some_connections();
        let mut sent = Sent::default();
        for _ in 0..80 {
            clock.advance(millis(random.below(1500)));
            let now = clock.monotonic().since_origin();
            let connection = &connections[usize::try_from(random.below(12)).unwrap()];
            let patience = millis(random.below(30_000));
            let first = first_free(&sent, connection, &limits, now);
            match token(&budget, connection, &limits, patience) {
                Ok(wait) => {
                    assert_eq!(now + wait, first, "seed {seed}");
                    sent.add(connection, first);
                }
                Err(spent) => {
                    assert_eq!(now + spent.after, first, "seed {seed}");
                    assert!(spent.after > patience, "seed {seed}: {spent:?}");
                }
            }
        }
    }
}

#[test]
fn a_refused_demand_has_taken_nothing() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let (clock, budget) = settled();
        let other = LocalBudget::new(clock.clone());
        clock.advance(seconds(3600));
        let limits = some_limits(&mut random);
        let connections = some_connections();
        for _ in 0..200 {
            clock.advance(millis(random.below(500)));
            let connection = &connections[usize::try_from(random.below(12)).unwrap()];
            let patience = millis(random.below(2000));
            // The other one is asked for those alone that were granted.
            let Ok(wait) = token(&budget, connection, &limits, patience) else {
                continue;
            };
            assert_eq!(token(&other, connection, &limits, patience), Ok(wait), "seed {seed}");
        }
    }
}

#[test]
fn a_limit_holds_until_the_very_instant_that_is_a_window_later() {
    let limits = [Limit::new(2, seconds(5), CountedBy::Connection)];
    let (clock, budget) = settled();
    let connection = connection("acme", "main");
    let ask = |patience| token(&budget, &connection, &limits, patience);
    assert_eq!(ask(Duration::ZERO), Ok(Duration::ZERO));
    clock.advance(seconds(1));
    assert_eq!(ask(Duration::ZERO), Ok(Duration::ZERO));
    clock.advance(seconds(4) - Duration::from_nanos(1));
    let spent = Spent::new(Duration::from_nanos(1), Cause::Connection);
    assert_eq!(ask(Duration::ZERO), Err(spent));
    clock.advance(Duration::from_nanos(1));
    assert_eq!(ask(Duration::ZERO), Ok(Duration::ZERO));
    // A wait of just the patience is one that can be waited.
    assert_eq!(ask(seconds(1)), Ok(seconds(1)));
    assert_eq!(
        ask(seconds(5) - Duration::from_nanos(1)),
        Err(Spent::new(seconds(5), Cause::Connection))
    );
}

#[test]
fn a_limit_of_no_requests_lets_none_through() {
    let (_, budget) = settled();
    let limits = [Limit::new(0, seconds(60), CountedBy::Connection)];
    let spent = Spent::new(seconds(60), Cause::Connection);
    assert_eq!(
        token(&budget, &connection("acme", "main"), &limits, PATIENT),
        Err(spent)
    );
}

#[test]
fn eight_threads_together_get_no_more_than_the_limits() {
    const THREADS: u64 = 8;
    let limits = [
        Limit::new(100, seconds(5), CountedBy::Address),
        Limit::new(300, seconds(60), CountedBy::Address),
        Limit::new(5, seconds(10), CountedBy::Connection),
    ];
    for seed in 0..10 {
        let (clock, budget) = settled();
        let connections = some_connections();
        let mut sent = Sent::default();
        for round in 0..10 {
            let now = clock.monotonic().since_origin();
            let barrier = Barrier::new(THREADS as usize);
            let ask = |thread: u64| {
                let mut random = Random::new((seed * 100 + round) * THREADS + thread);
                barrier.wait();
                let mut given = Vec::new();
                for _ in 0..50 {
                    let connection = &connections[usize::try_from(random.below(12)).unwrap()];
                    let wait = token(&budget, connection, &limits, seconds(20));
                    given.extend(wait.map(|wait| (connection.clone(), now + wait)));
                }
                given
            };
            let given: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || ask(thread))).collect();
                threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
            });
            for (connection, at) in given {
                sent.add(&connection, at);
            }
            clock.advance(millis(1700));
        }
        assert!(sent.keeps_to(&limits, 1), "seed {seed}");
        assert!(sent.all.len() > 100, "seed {seed}: {}", sent.all.len());
    }
}

/// Asks for one tenant after the other as soon as one more can be sent, and gives when requests were sent: in a process that
/// starts at `from` and lives so long.
fn greedy(lasts: Duration, from: Duration, processes: u32) -> Vec<Duration> {
    let clock = clock();
    let budget = LocalBudget::new(clock.clone()).fleet_of(processes);
    let mut sent = Vec::new();
    while clock.monotonic().since_origin() < lasts {
        match token(
            &budget,
            &connection(&format!("t{}", sent.len()), "main"),
            &FEDEX,
            Duration::ZERO,
        ) {
            Ok(_) => {
                sent.push(from + clock.monotonic().since_origin());
                assert!(sent.len() < 10_000, "nothing limits it");
            }
            Err(spent) => clock.advance(spent.after),
        }
    }
    sent
}

#[test]
fn a_start_lets_a_handful_through_and_then_half_the_pace_for_a_window() {
    let sent = greedy(seconds(200), Duration::ZERO, 1);
    let before = |second| sent.iter().filter(|at| **at < seconds(second)).count();
    assert_eq!(before(1), 5);
    // One every 2.02 s, of 119 in 120 s one every 1.01 s.
    assert_eq!(before(120), 5 + 59);
    // What is left of 119 comes then, 14 in 5 s.
    assert_eq!(before(125), 5 + 59 + 14);
    assert_eq!(most_within(&sent, seconds(120)), 119);
}

#[test]
fn a_process_that_starts_again_and_again_is_not_blocked() {
    // Lives of up to two minutes at first, and of little more than ten seconds at last.
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let mut sent = Vec::new();
        let mut start = Duration::ZERO;
        while start < seconds(1200) {
            let life = seconds(10) + millis(random.below(110_000 / (1 + seed)));
            sent.extend(greedy(life, start, 1));
            start += life;
        }
        // FedEx blocks at more than one a second in two minutes, or three in five seconds.
        let most = (most_within(&sent, seconds(5)), most_within(&sent, seconds(120)));
        assert!(most.0 <= 15 && most.1 <= 120, "seed {seed}: {most:?}");
        assert!(sent.len() > 500, "seed {seed}: {}", sent.len());
    }
}

#[test]
fn a_fleet_of_eight_keeps_to_the_limits_of_its_address() {
    let sent: Vec<_> = (0..8).flat_map(|_| greedy(seconds(600), Duration::ZERO, 8)).collect();
    let most = (most_within(&sent, seconds(5)), most_within(&sent, seconds(120)));
    assert_eq!(most, (8, 112), "eight times one in 5 s and 14 in 120 s");
}

#[test]
fn a_fleet_larger_than_a_limit_keeps_to_it_on_average() {
    // One in 14.3 s and two in 120 s each, at different times.
    let sent: Vec<_> = (0..40)
        .flat_map(|number| greedy(seconds(1200), millis(number * 3000), 40))
        .collect();
    assert!(most_within(&sent, seconds(120)) <= 119);
    assert!(sent.len() > 600, "{}", sent.len());

    // A limit of 14 in 5 s alone: each waits for 14.3 s.
    let limits = &FEDEX[..1];
    let clock = clock();
    let budget = Arc::new(LocalBudget::new(clock).fleet_of(40));
    let ask = |tenant| token(&*budget, &connection(tenant, "main"), limits, PATIENT).unwrap();
    assert_eq!(ask("a"), Duration::ZERO);
    assert_eq!(ask("b").as_millis(), 14_285);
    // A tenant's share of one in 5 s is one in 200 s of each.
    assert_eq!(ask("a"), seconds(200));
}
