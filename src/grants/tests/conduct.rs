//! What every call answers in every state of a grant, over any [`GrantStore`]. What stores must do by themselves is in
//! [`conformance`].

use std::sync::Arc;

use super::super::*;
use super::stepping::Stepping;
use super::{LATER, START, World, acme, grant, token};
use crate::clock::Clock;
use crate::conformance::{self, GrantStores, OpenGrants};

#[tokio::test]
async fn the_store_in_memory_conducts_itself() {
    every_call_in_every_state(&|| Arc::new(MemoryGrants::new())).await;
}

#[tokio::test]
async fn a_store_that_takes_its_time_conducts_itself() {
    every_call_in_every_state(&|| Arc::new(Stepping::new())).await;
    let store = Arc::new(Stepping::new());
    let stores = GrantStores::new(move || {
        let store = Arc::clone(&store);
        async { OpenGrants::new(store) }
    });
    let report = conformance::grant_store(&stores).await;
    assert!(report.has_passed(), "{report}");
}

const CALLS: [&str; 11] = [
    "claim, previous dies",
    "claim, previous stays",
    "consent",
    "put r9",
    "put r1 again",
    "remove",
    "settle r2",
    "settle the same",
    "release",
    "end",
    "abandon",
];

/// For each state what every call answers, in the order of [`CALLS`], and how the grant stands then. The last five are of a
/// holder that claimed before.
const TABLE: [(&str, [(&str, &str); 11]); 11] = [
    (
        "missing, a holder from before",
        [
            ("Missing", "missing"),
            ("Missing", "missing"),
            ("Missing", "missing"),
            ("ok", "ready r9"),
            ("ok", "ready r1"),
            ("nothing", "missing"),
            ("ClaimOver", "missing"),
            ("ClaimOver", "missing"),
            ("ClaimOver", "missing"),
            ("ClaimOver", "missing"),
            ("ClaimOver", "missing"),
        ],
    ),
    (
        "ready, a holder from before",
        [
            ("ok", "held r1 once"),
            ("ok", "held r1 once"),
            ("ok", "ready r1"),
            ("ok", "ready r9"),
            ("ok", "ready r1"),
            ("ok", "missing"),
            ("ClaimOver", "ready r1"),
            ("ClaimOver", "ready r1"),
            ("ClaimOver", "ready r1"),
            ("ClaimOver", "ready r1"),
            ("ClaimOver", "ready r1"),
        ],
    ),
    (
        "expired, a holder from before",
        [
            ("NeedsConsent", "ready r1"),
            ("NeedsConsent", "ready r1"),
            ("ok", "ready r1"),
            ("ok", "ready r9"),
            ("ok", "ready r1"),
            ("ok", "missing"),
            ("ClaimOver", "ready r1"),
            ("ClaimOver", "ready r1"),
            ("ClaimOver", "ready r1"),
            ("ClaimOver", "ready r1"),
            ("ClaimOver", "ready r1"),
        ],
    ),
    (
        "held",
        [
            ("Busy", "held r1 once"),
            ("Busy", "held r1 once"),
            ("ok", "held r1 once"),
            ("ok", "ready r9"),
            ("ok", "held r1 once"),
            ("ok", "missing"),
            ("ok", "ready r2"),
            ("ok", "ready r1"),
            ("ok", "ready r1"),
            ("ok", "ended"),
            ("ok", "uncertain r1 once"),
        ],
    ),
    (
        "held, by another after a new consent",
        [
            ("Busy", "held r1 once"),
            ("Busy", "held r1 once"),
            ("ok", "held r1 once"),
            ("ok", "ready r9"),
            ("ok", "held r1 once"),
            ("ok", "missing"),
            ("ClaimOver", "held r1 once"),
            ("ClaimOver", "held r1 once"),
            ("ClaimOver", "held r1 once"),
            ("ClaimOver", "held r1 once"),
            ("ClaimOver", "held r1 once"),
        ],
    ),
    (
        "uncertain, the holder comes late",
        [
            ("Uncertain", "uncertain r1 once"),
            ("ok", "held r1 twice"),
            ("ok", "uncertain r1 once"),
            ("ok", "ready r9"),
            ("ok", "uncertain r1 once"),
            ("ok", "missing"),
            ("ok", "ready r2"),
            ("ok", "ready r1"),
            ("ok", "ready r1"),
            ("ok", "ended"),
            ("ok", "uncertain r1 once"),
        ],
    ),
    (
        "held a second time, the first holder comes late",
        [
            ("Busy", "held r1 twice"),
            ("Busy", "held r1 twice"),
            ("ok", "held r1 twice"),
            ("ok", "ready r9"),
            ("ok", "held r1 twice"),
            ("ok", "missing"),
            ("ClaimOver", "held r1 twice"),
            ("ClaimOver", "held r1 twice"),
            ("ClaimOver", "held r1 twice"),
            ("ClaimOver", "held r1 twice"),
            ("ClaimOver", "held r1 twice"),
        ],
    ),
    (
        "held a second time",
        [
            ("Busy", "held r1 twice"),
            ("Busy", "held r1 twice"),
            ("ok", "held r1 twice"),
            ("ok", "ready r9"),
            ("ok", "held r1 twice"),
            ("ok", "missing"),
            ("ok", "ready r2"),
            ("ok", "ready r1"),
            // Not a third time, but the second once more.
            ("ok", "uncertain r1 once"),
            ("ok", "ended"),
            ("ok", "uncertain r1 twice"),
        ],
    ),
    (
        "second chance given back, the first holder comes late",
        [
            ("Uncertain", "uncertain r1 once"),
            ("ok", "held r1 twice"),
            ("ok", "uncertain r1 once"),
            ("ok", "ready r9"),
            ("ok", "uncertain r1 once"),
            ("ok", "missing"),
            ("ok", "ready r2"),
            ("ok", "ready r1"),
            ("ok", "ready r1"),
            ("ok", "ended"),
            ("ok", "uncertain r1 once"),
        ],
    ),
    (
        "uncertain for good, the first holder comes late",
        [
            ("Uncertain", "uncertain r1 twice"),
            ("Uncertain", "uncertain r1 twice"),
            ("ok", "uncertain r1 twice"),
            ("ok", "ready r9"),
            ("ok", "uncertain r1 twice"),
            ("ok", "missing"),
            ("ClaimOver", "uncertain r1 twice"),
            ("ClaimOver", "uncertain r1 twice"),
            ("ClaimOver", "uncertain r1 twice"),
            ("ClaimOver", "uncertain r1 twice"),
            ("ClaimOver", "uncertain r1 twice"),
        ],
    ),
    (
        "ended, a holder from before",
        [
            ("NeedsConsent", "ended"),
            ("NeedsConsent", "ended"),
            ("NeedsConsent", "ended"),
            ("ok", "ready r9"),
            ("ok", "ended"),
            ("ok", "missing"),
            ("ClaimOver", "ended"),
            ("ClaimOver", "ended"),
            ("ClaimOver", "ended"),
            ("ClaimOver", "ended"),
            ("ClaimOver", "ended"),
        ],
    ),
];

async fn every_call_in_every_state(empty: &impl Fn() -> Arc<dyn GrantStore>) {
    for (state, row) in TABLE {
        for (call, (answer, after)) in CALLS.into_iter().zip(row) {
            let world = World::over(empty());
            let holder = arrange(&world, state).await;
            let got = answer_of(&world, call, holder).await;
            assert_eq!(
                (got.as_str(), world.standing().await.as_str()),
                (answer, after),
                "{state}: {call}"
            );
        }
    }
}

/// Brings the grant into a state, and gives the claim of the holder that the state is named after.
async fn arrange(world: &World, state: &str) -> Claim {
    let (dies, stays) = (Rotation::PreviousDies, Rotation::PreviousStays);
    let before = state.contains("from before") || state.contains("new consent");
    world.put(if before { "r0" } else { "r1" }).await;
    let first = world.claim(dies).await.unwrap();
    if before {
        let end = START.offset_seconds(10);
        let expiring = grant("r1").with_expiry(end);
        let next = if state.starts_with("expired") {
            expiring
        } else {
            grant("r1")
        };
        world.grants.put(&acme(), next).await.unwrap();
    }
    match state {
        "missing, a holder from before" => assert!(world.grants.remove(&acme()).await.unwrap()),
        "expired, a holder from before" => world.clock.advance(std::time::Duration::from_secs(10)),
        "held, by another after a new consent" => drop(world.claim(dies).await.unwrap()),
        "ended, a holder from before" => world.claim(dies).await.unwrap().end().await.unwrap(),
        "ready, a holder from before" | "held" => {}
        _ => {
            world.clock.advance(LATER);
            if state == "uncertain, the holder comes late" {
                return first;
            }
            let second = world.claim(stays).await.unwrap();
            assert!(second.is_second_chance());
            match state {
                "held a second time" => return second,
                "held a second time, the first holder comes late" => {}
                "second chance given back, the first holder comes late" => second.release().await.unwrap(),
                "uncertain for good, the first holder comes late" => second.abandon().await.unwrap(),
                other => panic!("{other}"),
            }
        }
    }
    first
}

async fn answer_of(world: &World, call: &str, holder: Claim) -> String {
    let said = |outcome: Result<(), GrantError>| match outcome {
        Ok(()) => "ok".to_owned(),
        Err(GrantError::Busy { until }) => {
            assert!(until > world.clock.now());
            "Busy".to_owned()
        }
        Err(error) => format!("{error:?}"),
    };
    match call {
        "claim, previous dies" => said(world.claim(Rotation::PreviousDies).await.map(drop)),
        "claim, previous stays" => said(world.claim(Rotation::PreviousStays).await.map(drop)),
        "consent" => said(world.grants.consent(&acme()).await.map(drop)),
        "put r9" => said(world.grants.put(&acme(), grant("r9")).await.map(drop)),
        "put r1 again" => said(world.grants.put(&acme(), grant("r1")).await.map(drop)),
        "remove" => match world.grants.remove(&acme()).await {
            Ok(false) => "nothing".to_owned(),
            outcome => said(outcome.map(drop)),
        },
        "settle r2" => said(holder.settle(Some(token("r2")), None).await),
        "settle the same" => said(holder.settle(None, None).await),
        "release" => said(holder.release().await),
        "end" => said(holder.end().await),
        "abandon" => said(holder.abandon().await),
        other => panic!("{other}"),
    }
}
