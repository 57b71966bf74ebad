//! Making an ES256 proof: `shipbound` and other crates, in multiples of the signature alone.

mod peers;
mod shipbound;

use std::alloc::System;

use shipbound_benches_peers::harness::{Case, Options, interleave};
use shipbound_benches_peers::inputs::Key;
use shipbound_benches_peers::report::Report;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

/// Counts the allocations of a proof: two additions each, for every crate alike.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let options = Options::from_args();
    if !options.wants("es256") {
        return;
    }
    let key = Key::generate();
    let signing_input = key.signing_input();
    let mut cases = vec![Case::new("floor", || key.sign(&signing_input))];
    cases.extend(self::shipbound::all(&key));
    cases.extend(peers::all(&key));

    let measured = interleave(&options, cases);
    let rows: Vec<(&str, &str)> = measured.ids().map(|id| (id, id)).collect();
    let report = Report::new("proof", &options);
    report.table("es256", &measured, &rows);
    report.at_most(
        "proof / signature",
        measured.ratio(self::shipbound::PROOF, "floor"),
        1.06,
    );
    report.at_most(
        "everything but the signature / signature",
        measured.ratio(self::shipbound::UNSIGNED, "floor"),
        0.05,
    );
    let prover = self::shipbound::Prover::unsigned(&key);
    report.at_most(
        "allocations of a proof beside its signature",
        allocations(|| drop(prover.prove())),
        2.0,
    );
}

/// How often the allocator is asked by one operation.
fn allocations(mut operation: impl FnMut()) -> f64 {
    const TIMES: usize = 100;
    operation();
    let region = Region::new(ALLOCATOR);
    (0..TIMES).for_each(|_| operation());
    let change = region.change();
    (change.allocations + change.reallocations) as f64 / TIMES as f64
}
