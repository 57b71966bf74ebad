//! What every [`GrantStore`] must do. Nothing here knows which store it is.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use uuid::Uuid;

use super::super::*;
use super::stepping::Stepping;
use super::{LATER, MARK, START, World, acme, connection, grant, token};
use crate::clock::Clock;
use crate::jose::Thumbprint;

/// All checks, each with an empty store of its own.
async fn check(empty: impl Fn() -> Arc<dyn GrantStore>) {
    every_call_in_every_state(&empty).await;
    records_come_back_as_they_were(&*empty()).await;
    replacing_compares(&*empty()).await;
    one_of_many_replaces(&*empty()).await;
    connections_are_apart(&*empty()).await;
}

#[tokio::test]
async fn the_store_in_memory_conducts_itself() {
    check(|| Arc::new(MemoryGrants::new())).await;
}

#[tokio::test]
async fn a_store_that_takes_its_time_conducts_itself() {
    check(|| Arc::new(Stepping::new())).await;
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

fn record(revision: u64, state: GrantState) -> Record {
    Record {
        revision: Revision::from_u64(revision),
        consent: Revision::from_u64(u64::MAX),
        state,
    }
}

/// All that is in a record, the refresh token too.
fn content(record: &Record) -> String {
    let token = match &record.state {
        GrantState::Ready(grant) | GrantState::Claimed { grant, .. } => grant.refresh_token().expose(),
        GrantState::Ended => "",
    };
    format!("{record:?} {token}")
}

async fn records_come_back_as_they_were(store: &dyn GrantStore) {
    let jkt = Confirmation::Jkt(Thumbprint::from_bytes([255; 32]));
    let x5t = Confirmation::X5t(Thumbprint::from_bytes([0; 32]));
    let full = Grant::new(format!("{MARK} ~!'\"\\%"), Timestamp::from_unix_micros(-1))
        .with_scope("a b")
        .with_confirmations([jkt, x5t])
        .with_expiry(Timestamp::from_unix_micros(i64::MAX));
    let claimed = |grant, second_chance| GrantState::Claimed {
        grant,
        until: Timestamp::from_unix_micros(1_234_567),
        second_chance,
    };
    let states = [
        GrantState::Ready(full.clone()),
        GrantState::Ready(grant(&"long".repeat(2000))),
        GrantState::Ready(grant("empty scope").with_scope("")),
        claimed(full.clone(), false),
        claimed(full.with_confirmations([x5t]), true),
        GrantState::Ended,
    ];
    let mut last = Revision::from_u64(0);
    for (state, revision) in states.into_iter().zip([1, 0, u64::MAX, 1 << 63, 7, 8]) {
        let record = record(revision, state);
        store.put(&acme(), &record).await.unwrap();
        let kept = store.load(&acme()).await.unwrap().unwrap();
        assert_eq!(content(&kept), content(&record));
        // The same by compare-and-set.
        store.put(&acme(), &self::record(99, GrantState::Ended)).await.unwrap();
        assert!(store.replace(&acme(), Revision::from_u64(99), &record).await.unwrap());
        let kept = store.load(&acme()).await.unwrap().unwrap();
        assert_eq!(content(&kept), content(&record));
        assert_ne!(std::mem::replace(&mut last, kept.revision), kept.revision);
    }
}

async fn replacing_compares(store: &dyn GrantStore) {
    let [one, two, three] = [1, 2, 3].map(|number| record(number, GrantState::Ready(grant(&number.to_string()))));
    // There is nothing to replace, and nothing is made.
    assert!(!store.replace(&acme(), one.revision, &two).await.unwrap());
    assert!(store.load(&acme()).await.unwrap().is_none());

    store.put(&acme(), &one).await.unwrap();
    assert!(!store.replace(&acme(), two.revision, &three).await.unwrap());
    assert!(store.replace(&acme(), one.revision, &two).await.unwrap());
    // A repeat finds it done.
    assert!(!store.replace(&acme(), one.revision, &two).await.unwrap());
    assert_eq!(store.load(&acme()).await.unwrap().unwrap().revision, two.revision);
    // A revision may return, as released claims do.
    assert!(store.replace(&acme(), two.revision, &one).await.unwrap());
    assert_eq!(content(&store.load(&acme()).await.unwrap().unwrap()), content(&one));

    assert!(store.remove(&acme()).await.unwrap());
    assert!(!store.remove(&acme()).await.unwrap());
    assert!(!store.replace(&acme(), one.revision, &two).await.unwrap());
    assert!(store.load(&acme()).await.unwrap().is_none());
}

async fn one_of_many_replaces(store: &dyn GrantStore) {
    let first = record(0, GrantState::Ended);
    store.put(&acme(), &first).await.unwrap();
    let rivals: Vec<_> = (1..=16).map(|number| record(number, GrantState::Ended)).collect();
    let connection = acme();
    let done = join_all(
        rivals
            .iter()
            .map(|rival| store.replace(&connection, first.revision, rival)),
    )
    .await;
    let winners: Vec<_> = rivals
        .iter()
        .zip(done)
        .filter(|(_, done)| *done.as_ref().unwrap())
        .collect();
    let kept = store.load(&acme()).await.unwrap().unwrap();
    assert_eq!(winners.len(), 1);
    assert_eq!(kept.revision, winners[0].0.revision);
}

async fn connections_are_apart(store: &dyn GrantStore) {
    use crate::owner::{AccountId, CarrierId, DeploymentId, Environment, Tenant, TenantId};

    let id = |deployment: &str, tenant: &str, incarnation, carrier: &str, environment, account: &str| {
        ConnectionId::new(
            DeploymentId::new(deployment).unwrap(),
            Tenant::new(TenantId::new(tenant).unwrap(), incarnation),
            CarrierId::new(carrier).unwrap(),
            environment,
            AccountId::new(account).unwrap(),
        )
    };
    let (old, live, test) = (Uuid::nil(), Environment::Production, Environment::Sandbox);
    let all = [
        connection("acme", old),
        id("default", "acme", Uuid::max(), "ups", live, "main"),
        id("default", "Acme", old, "ups", live, "main"),
        id("default", "acme.", old, "ups", live, "main"),
        id("default", "acme-ups", old, "production", live, "main"),
        id("default", "acme", old, "ups-production", live, "main"),
        id("default", "acme", old, "UPS", live, "main"),
        id("default", "acme", old, "usps", live, "main"),
        id("default", "acme", old, "ups", test, "main"),
        id("default", "acme", old, "ups", live, "Main"),
        id("default", "acme", old, "ups", live, "track"),
        id("default2", "acme", old, "ups", live, "main"),
    ];
    for (number, connection) in (0..).zip(&all) {
        // What the others have stored is not there for this one.
        assert!(store.load(connection).await.unwrap().is_none(), "{connection:?}");
        assert!(!store.remove(connection).await.unwrap());
        let taken = record(0, GrantState::Ended);
        assert!(!store.replace(connection, Revision::from_u64(1), &taken).await.unwrap());
        let record = record(number, GrantState::Ready(grant(&number.to_string())));
        store.put(connection, &record).await.unwrap();
    }
    let mut seen = BTreeSet::new();
    for connection in &all {
        seen.insert(content(&store.load(connection).await.unwrap().unwrap()));
    }
    assert_eq!(seen.len(), all.len());
    // What one loses the others keep.
    assert!(store.remove(&all[0]).await.unwrap());
    for connection in &all[1..] {
        assert!(store.load(connection).await.unwrap().is_some(), "{connection:?}");
    }
}
