//! Benchmarks of `shipbound` side by side with other crates.
//!
//! ```text
//! cargo bench -p shipbound-benches-peers                       # all three, as tables
//! cargo bench -p shipbound-benches-peers --bench proof -- --json
//! cargo bench -p shipbound-benches-peers --bench request -- --quick tls13/64
//! ```
//!
//! Times on a shared machine drift by a third within minutes, ratios taken in the same round hardly at all. So all cases of a table take turns,
//! one batch each per round, and what is reported is the median over the rounds of each case's ratio to the table's floor.

pub mod harness;
pub mod inputs;
pub mod poll;
pub mod report;
