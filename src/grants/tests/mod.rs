//! Grants: what every store must do, what no interleaving may do, and what a dropped future leaves behind.

mod cancelled;
mod conduct;
mod interleaved;
mod stepping;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use uuid::Uuid;

use super::*;
use crate::clock::{Clock, ManualClock, Monotonic};
use crate::jose::Thumbprint;
use crate::owner::{AccountId, CarrierId, DeploymentId, Environment, Tenant, TenantId};

use self::stepping::{Fault, Stepping};

const START: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

/// What all secrets here begin with.
const MARK: &str = "sEcReTmArKeR";

/// Long enough for every claim to be over.
const LATER: Duration = Duration::from_secs(61);

fn token(name: &str) -> RefreshToken {
    RefreshToken::new(format!("{MARK}-{name}"))
}

fn grant(name: &str) -> Grant {
    Grant::new(token(name), START)
}

fn connection(tenant: &str, incarnation: Uuid) -> ConnectionId {
    ConnectionId::new(
        DeploymentId::default_deployment(),
        Tenant::new(TenantId::new(tenant).unwrap(), incarnation),
        CarrierId::new("ups").unwrap(),
        Environment::Production,
        AccountId::main(),
    )
}

fn acme() -> ConnectionId {
    connection("acme", Uuid::nil())
}

/// A store, a clock that stands still, and grants over both.
struct World {
    store: Arc<dyn GrantStore>,
    clock: Arc<ManualClock>,
    grants: Grants,
}

impl World {
    fn over(store: Arc<dyn GrantStore>) -> Self {
        let clock = Arc::new(ManualClock::at(START));
        let grants = Grants::new(Arc::clone(&store), clock.clone());
        Self { store, clock, grants }
    }

    fn new() -> Self {
        Self::over(Arc::new(MemoryGrants::new()))
    }

    async fn put(&self, name: &str) {
        self.grants.put(&acme(), grant(name)).await.unwrap();
    }

    /// One look, without waiting.
    async fn claim(&self, rotation: Rotation) -> Result<Claim, GrantError> {
        self.grants.claim(&acme(), rotation, Monotonic::ORIGIN).await
    }

    /// How the grant stands, in words.
    async fn standing(&self) -> String {
        let name = |grant: &Grant| grant.refresh_token().expose().replace(&format!("{MARK}-"), "");
        match self.store.load(&acme()).await.unwrap().map(|record| record.state) {
            None => "missing".into(),
            Some(GrantState::Ready(grant)) => format!("ready {}", name(&grant)),
            Some(GrantState::Claimed {
                grant,
                until,
                second_chance,
            }) => {
                let held = if self.clock.now() < until { "held" } else { "uncertain" };
                let times = if second_chance { "twice" } else { "once" };
                format!("{held} {} {times}", name(&grant))
            }
            Some(GrantState::Ended) => "ended".into(),
        }
    }
}

#[tokio::test]
async fn the_refresh_token_is_given_out_in_the_first_half_of_a_claim_alone() {
    let half = Grants::DEFAULT_CLAIM / 2;
    let tick = Duration::from_micros(1);
    let claimed = || async {
        let world = World::new();
        world.put("r1").await;
        let claim = world.claim(Rotation::PreviousDies).await.unwrap();
        (world, claim)
    };

    let (world, claim) = claimed().await;
    world.clock.advance(half - tick);
    assert_eq!(claim.refresh_token().unwrap().expose(), token("r1").expose());
    world.clock.advance(tick);
    assert_eq!(claim.refresh_token().err(), Some(GrantError::ClaimOver));

    // A machine that was suspended: monotonic time stood still.
    let (world, claim) = claimed().await;
    world.clock.set_wall(START + half);
    assert_eq!(claim.refresh_token().err(), Some(GrantError::ClaimOver));

    // A wall clock that was set back gives no more time.
    let (world, claim) = claimed().await;
    world.clock.advance(half);
    world.clock.set_wall(START);
    assert_eq!(claim.refresh_token().err(), Some(GrantError::ClaimOver));
}

#[tokio::test]
async fn whoever_waits_claims_when_the_holder_is_done() {
    let world = World::new();
    world.put("r1").await;
    let held = world.claim(Rotation::PreviousDies).await.unwrap();
    let deadline = Monotonic::from_origin(Duration::from_secs(10));
    let connection = acme();

    let mut waiting = std::pin::pin!(world.grants.claim(&connection, Rotation::PreviousDies, deadline));
    assert!(waiting.as_mut().now_or_never().is_none());
    held.settle(Some(token("r2")), None).await.unwrap();
    assert_eq!(world.clock.sleepers(), 1);
    world.clock.advance(Duration::from_millis(50));
    let claim = waiting.await.unwrap();
    assert_eq!(claim.refresh_token().unwrap().expose(), token("r2").expose());

    // And gives up at its deadline.
    let mut waiting = std::pin::pin!(world.grants.claim(&connection, Rotation::PreviousDies, deadline));
    let mut looks = 0;
    let error = loop {
        if let Some(outcome) = waiting.as_mut().now_or_never() {
            break outcome.unwrap_err();
        }
        looks += 1;
        world.clock.advance(Duration::from_millis(50));
    };
    assert!(looks > 1);
    assert_eq!(world.clock.monotonic(), deadline);
    let until = START + Duration::from_millis(50) + Grants::DEFAULT_CLAIM;
    assert_eq!(error, GrantError::Busy { until });
}

#[tokio::test]
async fn a_refresh_keeps_the_scope_the_keys_and_the_consent() {
    let world = World::new();
    let end = START.offset_seconds(1000);
    let keys = [
        Confirmation::Jkt(Thumbprint::from_bytes([1; 32])),
        Confirmation::X5t(Thumbprint::from_bytes([2; 32])),
    ];
    let first = grant("r1")
        .with_scope("ship track")
        .with_confirmations(keys)
        .with_expiry(end);
    world.grants.put(&acme(), first).await.unwrap();
    let consent = world.grants.consent(&acme()).await.unwrap();

    // (next token, its end) and what the end is then.
    let later = end.offset_seconds(1);
    for (next, expires_at, expected) in [
        (None, None, Some(end)),
        (None, Some(later), Some(later)),
        (Some("r2"), None, None),
        (Some("r3"), Some(later), Some(later)),
    ] {
        let claim = world.claim(Rotation::PreviousDies).await.unwrap();
        assert_eq!((claim.scope(), claim.confirmations()), (Some("ship track"), &keys[..]));
        assert_eq!((claim.consent(), claim.is_second_chance()), (consent, false));
        claim.settle(next.map(token), expires_at).await.unwrap();
        let record = world.store.load(&acme()).await.unwrap().unwrap();
        let GrantState::Ready(grant) = record.state else {
            panic!("{record:?}")
        };
        assert_eq!(grant.expires_at(), expected, "{next:?}");
        assert_eq!((grant.consented_at(), record.consent), (START, consent));
    }
    assert_eq!(world.standing().await, "ready r3");
    assert_eq!(world.grants.consent(&acme()).await, Ok(consent));

    // The same token of a later consent is another consent.
    let again = Grant::new(token("r1"), START.offset_seconds(1));
    world.grants.put(&acme(), again).await.unwrap();
    assert_ne!(world.grants.consent(&acme()).await, Ok(consent));
}

#[tokio::test]
async fn a_new_token_is_stored_though_the_store_is_away_for_a_while() {
    let store = Arc::new(Stepping::new());
    let world = World::over(store.clone());
    world.put("r1").await;
    let claim = world.claim(Rotation::PreviousDies).await.unwrap();
    // Refused, done without an answer, and then unavailable for the look at what is there.
    store.fail([Fault::Refused, Fault::Lost, Fault::None, Fault::Refused]);
    let mut settling = std::pin::pin!(claim.settle(Some(token("r2")), None));
    let outcome = loop {
        match settling.as_mut().now_or_never() {
            Some(outcome) => break outcome,
            None => world.clock.advance(Duration::from_millis(10)),
        }
    };
    assert_eq!(outcome, Ok(()));
    assert_eq!(world.standing().await, "ready r2");
    assert_eq!(store.left(), 0);
}

#[tokio::test]
async fn a_store_that_stays_away_makes_the_grant_uncertain() {
    let store = Arc::new(Stepping::new());
    let world = World::over(store.clone());
    world.put("r1").await;
    let claim = world.claim(Rotation::PreviousDies).await.unwrap();
    store.fail([Fault::Refused; 1000]);
    let mut settling = std::pin::pin!(claim.settle(Some(token("r2")), None));
    let outcome = loop {
        match settling.as_mut().now_or_never() {
            Some(outcome) => break outcome,
            None => world.clock.advance(Duration::from_millis(100)),
        }
    };
    assert_eq!(outcome, Err(GrantError::Unavailable));
    assert!(world.clock.now() >= START + Grants::DEFAULT_CLAIM);
    store.fail([]);
    assert_eq!(
        world.claim(Rotation::PreviousDies).await.err(),
        Some(GrantError::Uncertain)
    );
}

#[tokio::test]
async fn a_claim_that_may_not_be_written_is_undone() {
    for (faults, standing) in [
        (vec![Fault::None, Fault::Refused], "ready r1"),
        (vec![Fault::None, Fault::Lost], "ready r1"),
        (vec![Fault::None, Fault::Lost, Fault::Lost], "ready r1"),
        (vec![Fault::None, Fault::Lost, Fault::Refused], "held r1 once"),
        (vec![Fault::Refused], "ready r1"),
    ] {
        let store = Arc::new(Stepping::new());
        let world = World::over(store.clone());
        world.put("r1").await;
        store.fail(faults.clone());
        let outcome = world.claim(Rotation::PreviousDies).await;
        assert_eq!(outcome.err(), Some(GrantError::Unavailable), "{faults:?}");
        assert_eq!(world.standing().await, standing, "{faults:?}");
    }
}

#[tokio::test]
async fn a_repeated_put_does_not_bring_a_spent_token_back() {
    let store = Arc::new(Stepping::new());
    let world = World::over(store.clone());
    store.fail([Fault::None, Fault::Lost]);
    let put = world.grants.put(&acme(), grant("r1")).await;
    assert_eq!(put, Err(GrantError::Unavailable));
    // It was stored all the same, and used by another process.
    let claim = world.claim(Rotation::PreviousDies).await.unwrap();
    claim.settle(Some(token("r2")), None).await.unwrap();
    world.put("r1").await;
    assert_eq!(world.standing().await, "ready r2");
}

#[tokio::test]
async fn a_store_in_memory_has_a_limit_and_drops_nothing() {
    let world = World::over(Arc::new(MemoryGrants::new().with_limit(2)));
    let [one, two, three] = ["a", "b", "c"].map(|tenant| connection(tenant, Uuid::nil()));
    world.grants.put(&one, grant("r1")).await.unwrap();
    world.grants.put(&two, grant("r1")).await.unwrap();
    let full = Err(GrantError::Full { limit: 2 });
    assert_eq!(world.grants.put(&three, grant("r1")).await, full);
    // What is there can be replaced, and makes room when it goes.
    world.grants.put(&one, grant("r2")).await.unwrap();
    assert_eq!(world.grants.remove(&two).await, Ok(true));
    world.grants.put(&three, grant("r1")).await.unwrap();
    assert_eq!(world.grants.put(&two, grant("r1")).await, full);
}

#[tokio::test]
async fn consents_that_come_and_go_move_the_generation_of_a_store_in_memory() {
    let world = World::new();
    let mut last = world.grants.generation();
    let mut moved = || std::mem::replace(&mut last, world.grants.generation()) < world.grants.generation();
    world.put("r1").await;
    assert!(moved());
    world.put("r1").await;
    assert!(!moved(), "the same consent");
    let claim = world.claim(Rotation::PreviousDies).await.unwrap();
    claim.settle(Some(token("r2")), None).await.unwrap();
    assert!(!moved(), "a refresh");
    let claim = world.claim(Rotation::PreviousDies).await.unwrap();
    claim.end().await.unwrap();
    assert!(moved(), "its end is a change");
    world.put("r3").await;
    assert!(moved());
    assert_eq!(world.grants.remove(&acme()).await, Ok(true));
    assert!(moved());
    assert_eq!(world.grants.remove(&acme()).await, Ok(false));
    assert!(!moved(), "nothing was there");
}

#[tokio::test]
async fn nothing_shows_a_refresh_token() {
    let memory = Arc::new(MemoryGrants::new());
    let world = World::over(memory.clone());
    world.put("r1").await;
    let ready = world.store.load(&acme()).await.unwrap().unwrap();
    let claim = world.claim(Rotation::PreviousDies).await.unwrap();
    let claimed = world.store.load(&acme()).await.unwrap().unwrap();
    let mut shown = String::new();
    let values: [&dyn fmt::Debug; 8] = [
        &grant("r1"),
        &ready,
        &ready.state,
        &claimed,
        &claim,
        &*memory,
        &world.grants,
        &claim.refresh_token(),
    ];
    for value in values {
        let text = format!("{value:?}\n{value:#?}\n");
        assert!(text.len() > 10, "{text}");
        shown.push_str(&text);
    }
    let until = START;
    for error in [
        GrantError::Missing,
        GrantError::NeedsConsent,
        GrantError::Uncertain,
        GrantError::Busy { until },
        GrantError::ClaimOver,
        GrantError::Full { limit: 1 },
        GrantError::Unavailable,
        GrantError::Randomness,
    ] {
        shown.push_str(&format!("{error}\n{error:?}\n"));
    }
    assert!(!shown.contains(MARK), "{shown}");
    claim.release().await.unwrap();
}
