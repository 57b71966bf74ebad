//! What a cached connection takes in memory beside its token's bytes.

use std::process::Command;

use shipbound_benches_peers::harness::Options;
use shipbound_benches_peers::inputs::access_token;
use shipbound_benches_peers::report::Report;
use stats_alloc::Region;

use crate::peers::{self, Connection};
use crate::shipbound::{self, Kind};
use crate::{ALLOCATOR, BEARER, CONNECTIONS, DPOP, PEERS};

const CHILD: &str = "memory-of";

/// Fills one structure and reports, when this process was started by [`print`] to do so: each has a fresh heap.
pub(crate) fn answer_child() -> bool {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(CHILD) {
        return false;
    }
    let connections: Vec<Connection> = (0..CONNECTIONS).map(Connection::numbered).collect();
    let id = arguments.next().unwrap_or_default();
    let (allocated, resident) = match id.as_str() {
        BEARER => grown(|| shipbound::filled(Kind::Bearer, &connections)),
        DPOP => grown(|| shipbound::filled(Kind::Dpop, &connections)),
        "peer/dashmap" => grown(|| peers::filled::<peers::Dashmap>(&connections)),
        "peer/papaya" => grown(|| peers::filled::<peers::Papaya>(&connections)),
        "peer/moka" => grown(|| peers::filled::<peers::Moka>(&connections)),
        other => panic!("nothing is called {other}"),
    };
    println!("{allocated} {resident}");
    true
}

/// Bytes asked of the allocator and still held, and growth of the resident set, while `build` runs.
fn grown<T>(build: impl FnOnce() -> T) -> (usize, usize) {
    let (region, resident) = (Region::new(ALLOCATOR), resident());
    let built = build();
    let change = region.change();
    let grown = self::resident().saturating_sub(resident);
    drop(built);
    // Growth by reallocation is counted as allocated, too.
    (change.bytes_allocated.saturating_sub(change.bytes_deallocated), grown)
}

/// The resident set in bytes; 0 where the system does not say.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap_or(0) * 1024
}

/// Prints the bytes per connection of each structure, less the bytes of the access token.
pub(crate) fn print(options: &Options) {
    let report = Report::new("lease", options);
    let token = access_token().len();
    if !options.json {
        println!("\nlease memory ({CONNECTIONS} connections, bytes each beside the token's {token})");
        println!("{:<28} {:>12} {:>12}", "", "allocated", "resident");
    }
    for id in [BEARER, DPOP].into_iter().chain(PEERS) {
        let Some((allocated, resident)) = of(id) else {
            eprintln!("{id}: not measured, the process could not be started again");
            continue;
        };
        let [allocated, resident] = [allocated, resident].map(|bytes| (bytes / CONNECTIONS).saturating_sub(token));
        if options.json {
            let line = serde_json::json!({
                "bench": "lease", "table": "memory", "id": id, "allocated_bytes": allocated, "resident_bytes": resident,
            });
            println!("{line}");
        } else {
            println!("{id:<28} {allocated:>12} {resident:>12}");
        }
        if [BEARER, DPOP].contains(&id) {
            let bytes = allocated.max(resident) as f64;
            report.at_most(
                &format!("{id}: bytes per cached connection beside the token's"),
                bytes,
                1024.0,
            );
        }
    }
}

fn of(id: &str) -> Option<(usize, usize)> {
    let output = Command::new(std::env::current_exe().ok()?)
        .args([CHILD, id])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (allocated, resident) = text.trim().split_once(' ')?;
    Some((allocated.parse().ok()?, resident.parse().ok()?))
}
