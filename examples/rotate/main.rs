//! Ten thousand keys get successors while shippers go on buying labels.
//!
//! `cargo run --example rotate` (`--keys N`, `--json` for one JSON object a line). The carrier is a sandbox on this machine that
//! checks every proof. It ends with 0 if every key was rotated and no call failed. `--break-store` makes the key store fail now
//! and then, so that it does not.

mod broken;
mod calls;
mod keys;
mod output;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use futures_util::StreamExt;
use lexopt::prelude::*;
use shipbound::act::Act;
use shipbound::clock::{Clock, SystemClock, Timestamp};
use shipbound::keys::{KeyFilter, KeyListing, KeyState};
use shipbound::rotation::{Rotator, Selection, Why};

use calls::Shippers;
use output::{Output, Summary};

/// How many shippers have calls under way; all others have keys alone.
const SHIPPERS: usize = 40;

/// What was asked for on the command line.
struct Arguments {
    keys: usize,
    json: bool,
    break_store: bool,
    store: String,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!(
                "rotate: {error}\nusage: rotate [--keys N] [--store {}] [--json] [--break-store]",
                keys::STORES
            );
            return ExitCode::from(2);
        }
    };
    match run(&arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("rotate: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut out = Output::new(arguments.json);
    let store = keys::open(&arguments.store, &clock).await?;
    let used = match arguments.break_store {
        true => Arc::new(broken::Broken::new(Arc::clone(&store.keys))),
        false => Arc::clone(&store.keys),
    };
    let shippers = Shippers::open(used, &clock, SHIPPERS.min(arguments.keys)).await?;
    keys::make(&store, shippers.count(), arguments.keys).await?;
    out.made(arguments.keys, &arguments.store);

    // What calls take when nothing rotates, and then while everything does.
    shippers.call_for(std::time::Duration::from_secs(3)).await;
    let before = shippers.take();
    let calling = shippers.keep_calling();
    let rotator = Rotator::builder(shippers.parts(), Arc::clone(&store.listing)).build()?;
    let act = Act::new("rotate", "an example", "EXAMPLE-1")?;
    let mut run = rotator.rotate(Selection::All, Why::Routine, &act);
    let began = run.began();
    let mut rotated = 0;
    while let Some(progress) = run.next().await {
        rotated = progress.done;
        out.progress(&progress);
    }
    let during = calling.end().await;

    let left = count(&*store.listing, KeyState::Active, Some(began)).await?;
    let active = count(&*store.listing, KeyState::Active, None).await?;
    let draining = count(&*store.listing, KeyState::Draining, None).await?;
    let pending = count(&*store.listing, KeyState::Pending, None).await?;
    let all = arguments.keys;
    let checks = [
        (rotated == all as u64, "every key was rotated"),
        (left == 0, "no key is older than the run"),
        (
            active == all && draining == all && pending == 0,
            "each key has one successor, and drains",
        ),
        (before.failed == 0 && before.made > 0, "no call failed before"),
        (during.failed == 0 && during.made > 0, "no call failed meanwhile"),
    ];
    for (holds, what) in checks {
        out.check(holds, what);
    }
    let ok = checks.iter().all(|(holds, _)| *holds);
    out.summary(&Summary {
        keys: all,
        rotated,
        failed: (all as u64).saturating_sub(rotated),
        p99_us_before: before.p99_us(),
        p99_us_during: during.p99_us(),
        ok,
    });
    shippers.close().await;
    Ok(ok)
}

/// How many keys are in this state, and were promoted before `before`.
async fn count(listing: &dyn KeyListing, state: KeyState, before: Option<Timestamp>) -> Result<usize, Box<dyn Error>> {
    let mut filter = KeyFilter::default().in_state(state);
    if let Some(before) = before {
        filter = filter.activated_before(before);
    }
    let (mut count, mut after) = (0, None);
    loop {
        let page = listing.list(&filter, after, 1_000).await?;
        count += page.len();
        after = page.last().map(|last| last.id);
        if page.is_empty() {
            return Ok(count);
        }
    }
}

fn arguments() -> Result<Arguments, lexopt::Error> {
    let mut arguments = Arguments {
        keys: 10_000,
        json: false,
        break_store: false,
        store: keys::DEFAULT.to_owned(),
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("keys") => {
                arguments.keys = parser.value()?.parse()?;
                if !(1..=100_000).contains(&arguments.keys) {
                    return Err("--keys takes 1 to 100000".into());
                }
            }
            Long("store") => arguments.store = parser.value()?.string()?,
            Long("json") => arguments.json = true,
            Long("break-store") => arguments.break_store = true,
            other => return Err(other.unexpected()),
        }
    }
    Ok(arguments)
}
