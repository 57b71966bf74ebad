//! A hit in the token cache: `shipbound` and concurrent maps, each with 100 000 connections and the same freshness check.
//!
//! The floor is a caller who kept the lease: clock, check and clone, no look-up.

mod memory;
mod peers;
mod shipbound;

use std::alloc::System;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use self::peers::{Connection, Lease, Map};
use self::shipbound::{Caller, Kind};
use shipbound_benches_peers::harness::{Case, Options, interleave};
use shipbound_benches_peers::report::Report;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

/// Counts what the maps allocate. A hit allocates nothing, so the timings do not see it.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How many connections are cached.
const CONNECTIONS: usize = 100_000;

/// How many of them a hot table asks for.
const HOT: usize = 64;

const BEARER: &str = "shipbound/bearer";
const DPOP: &str = "shipbound/dpop";
const PEERS: [&str; 3] = ["peer/dashmap", "peer/papaya", "peer/moka"];

fn main() {
    if memory::answer_child() {
        return;
    }
    let options = Options::from_args();
    let tables = ["hot/1", "hot/2", "all/1", "all/2"];
    if tables.iter().any(|table| options.wants(table)) {
        time(&options);
    }
    if options.wants("memory") {
        memory::print(&options);
    }
}

fn time(options: &Options) {
    let report = Report::new("lease", options);
    let setup = Setup::new();
    for (reach, order) in [("hot", setup.order(HOT)), ("all", setup.order(CONNECTIONS))] {
        for threads in [1, 2] {
            let table = format!("{reach}/{threads}");
            if !options.wants(&table) {
                continue;
            }
            let measured = interleave(options, setup.cases(&order, threads));
            let rows: Vec<(&str, &str)> = measured.ids().map(|id| (id, id)).collect();
            report.table(&table, &measured, &rows);
            for own in [BEARER, DPOP] {
                let slowdown = PEERS.iter().map(|peer| measured.ratio(own, peer)).fold(0.0, f64::max);
                report.at_most(&format!("{table}: {own} / the fastest map"), slowdown, 1.0);
            }
        }
    }
}

/// Every map, filled with the same connections.
struct Setup {
    origin: Instant,
    connections: Vec<Connection>,
    kept: Vec<Arc<Lease>>,
    bearer: Vec<Caller>,
    dpop: Vec<Caller>,
    dashmap: peers::Dashmap,
    papaya: peers::Papaya,
    moka: peers::Moka,
}

impl Setup {
    fn new() -> Self {
        let connections: Vec<Connection> = (0..CONNECTIONS).map(Connection::numbered).collect();
        Self {
            bearer: Caller::all(&self::shipbound::filled(Kind::Bearer, &connections), &connections),
            dpop: Caller::all(&self::shipbound::filled(Kind::Dpop, &connections), &connections),
            origin: Instant::now(),
            kept: connections.iter().map(|_| Lease::fresh()).collect(),
            dashmap: peers::filled(&connections),
            papaya: peers::filled(&connections),
            moka: peers::filled(&connections),
            connections,
        }
    }

    /// Which connections are asked for, in a random order that repeats: `reach` of them, spread over all.
    fn order(&self, reach: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..reach).map(|index| (index * (CONNECTIONS / reach)) as u32).collect();
        // Several orders of a few connections, so that no predictor learns the one.
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut shuffled = Vec::new();
        while shuffled.len() < 4096 {
            for last in (1..order.len()).rev() {
                order.swap(last, random.below(last + 1));
            }
            shuffled.extend_from_slice(&order);
        }
        shuffled
    }

    fn cases<'a>(&'a self, order: &'a [u32], threads: usize) -> Vec<Case<'a>> {
        vec![
            case("floor", order, threads, |index| {
                peers::fresh(&self.kept[index], self.now()).cloned()
            }),
            case(BEARER, order, threads, |index| self.bearer[index].hit()),
            case(DPOP, order, threads, |index| self.dpop[index].hit()),
            self.hits("peer/dashmap", &self.dashmap, order, threads),
            self.hits("peer/papaya", &self.papaya, order, threads),
            self.hits("peer/moka", &self.moka, order, threads),
        ]
    }

    fn hits<'a, M: Map>(&'a self, id: &str, map: &'a M, order: &'a [u32], threads: usize) -> Case<'a> {
        case(id, order, threads, |index| {
            map.hit(&self.connections[index], self.now())
        })
    }

    /// One read of the monotonic clock.
    fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }
}

/// A case in which each of `threads` threads walks `order` from a place of its own, on from where the last batch ended; its figure is that
/// of the slowest thread.
fn case<'a, T>(id: &str, order: &'a [u32], threads: usize, hit: impl Fn(usize) -> Option<T> + Sync + 'a) -> Case<'a> {
    let places: Vec<AtomicUsize> = (0..threads)
        .map(|thread| AtomicUsize::new(thread * order.len() / threads))
        .collect();
    let walk = move |thread: usize, iterations: u64| {
        let mut place = places[thread].load(Ordering::Relaxed);
        let started = Instant::now();
        for _ in 0..iterations {
            place = if place + 1 < order.len() { place + 1 } else { 0 };
            assert!(
                std::hint::black_box(hit(order[place] as usize)).is_some(),
                "every connection is cached and fresh"
            );
        }
        let took = started.elapsed();
        places[thread].store(place, Ordering::Relaxed);
        took.as_nanos() as f64 / iterations as f64
    };
    let run = move |iterations| {
        if threads == 1 {
            return walk(0, iterations);
        }
        let (barrier, walk) = (&Barrier::new(threads), &walk);
        std::thread::scope(|scope| {
            let started = |thread| move || (barrier.wait(), walk(thread, iterations)).1;
            let running: Vec<_> = (0..threads).map(|thread| scope.spawn(started(thread))).collect();
            running
                .into_iter()
                .map(|thread| thread.join().expect("a thread that measures"))
                .fold(0.0, f64::max)
        })
    };
    Case::batched(id, run).batch(Duration::from_millis(25))
}

/// Xorshift: the same order in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}
