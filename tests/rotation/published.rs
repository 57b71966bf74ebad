//! Client-assertion keys: what issuers can fetch, and when.

use std::sync::Arc;

use serde_json::Value;
use shipbound::jose::Algorithm;
use shipbound::journal::KeyChange;
use shipbound::keys::{Jwks, KeyId, KeySpec, KeyState, KeyStore, Purpose};
use shipbound::owner::Owner;
use shipbound::rotation::{Outcome, RotationPolicy, Selection, Why};

use crate::world::{DAY, HOUR, World, act, production, round, world};

async fn published(world: &World, owner: &Owner) -> Vec<String> {
    let jwks = Jwks::of(&world.keys(), owner).await.unwrap();
    let set: Value = serde_json::from_str(&jwks.to_json()).unwrap();
    let keys = set["keys"].as_array().unwrap();
    assert_eq!(set.as_object().unwrap().len(), 1);
    for key in keys {
        let mut members: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        let wanted = match key["kty"].as_str().unwrap() {
            "EC" => vec!["alg", "crv", "kid", "kty", "use", "x", "y"],
            _ => vec!["alg", "crv", "kid", "kty", "use", "x"],
        };
        assert_eq!(members, wanted, "public members and nothing else");
        assert_eq!(key["use"], "sig");
    }
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_successor_is_published_a_day_before_it_signs_and_the_old_key_until_it_is_destroyed() {
    let world = world();
    let acme = production("acme");
    let rotator = world.rotator();
    let old = world.key(&acme, Purpose::ClientAssertion).await;
    // Proof keys are nobody's to fetch.
    world.key(&acme, Purpose::Proof).await;
    assert_eq!(published(&world, &acme).await, [old.jkt().to_string()]);
    let assertions = || async {
        let keys = world.keys();
        keys.active(&acme, Purpose::ClientAssertion)
            .await
            .unwrap()
            .unwrap()
            .id()
    };

    let mut published_for = 0;
    let mut hours = 0;
    while assertions().await == old.id() {
        world.clock.advance(HOUR);
        hours += 1;
        round(&rotator).await;
        let set = published(&world, &acme).await;
        assert_eq!(set[0], old.jkt().to_string());
        if assertions().await == old.id() && set.len() == 2 {
            published_for += 1;
        }
        assert!(hours < 90 * 24);
    }
    assert!((24..=25).contains(&published_for), "{published_for}");
    assert!(hours >= 81 * 24);
    let new = world.keys().get(&acme, &assertions().await).await.unwrap().unwrap();
    assert_eq!(
        published(&world, &acme).await,
        [old.jkt().to_string(), new.jkt().to_string()]
    );
    world.clock.advance(DAY + HOUR);
    round(&rotator).await;
    assert_eq!(published(&world, &acme).await, [new.jkt().to_string()]);
}

#[tokio::test]
async fn a_key_in_foreign_hands_is_not_published_any_more_and_its_successor_signs_at_once() {
    let world = world();
    let acme = production("acme");
    let old = world.key(&acme, Purpose::ClientAssertion).await;
    world.clock.advance(HOUR);
    let run = world
        .rotator()
        .rotate(Selection::All, Why::Compromised, &act())
        .finish()
        .await;
    assert_eq!((run.rotated, run.failed), (1, 0));
    let [active] = &world.of(&acme, KeyState::Active).await[..] else {
        panic!("one signs")
    };
    assert_ne!(active.id, old.id());
    assert_eq!(published(&world, &acme).await, [active.jkt().to_string()]);
}

#[tokio::test]
async fn a_key_that_is_registered_by_hand_is_promoted_by_a_call_and_by_nothing_else() {
    let world = world();
    let acme = production("acme");
    let keys: Arc<dyn KeyStore> = Arc::new(world.keys());
    let first = world.key(&acme, Purpose::ClientAssertion).await;
    let rotator = world
        .rotator_of(Arc::clone(&keys))
        .policy(RotationPolicy::default())
        .build()
        .unwrap();
    // Made, and on its way to the carrier while the first one gets too old.
    let spec = KeySpec {
        purpose: Purpose::ClientAssertion,
        algorithm: Algorithm::Ed25519,
    };
    let by_hand: KeyId = keys.create(&acme, spec).await.unwrap().id();
    for _ in 0..91 * 4 {
        world.clock.advance(6 * HOUR);
        round(&rotator).await;
    }
    assert_eq!(world.active(&acme).await.id, first.id());
    assert_eq!(world.of(&acme, KeyState::Pending).await.len(), 1, "nothing was made");
    assert_eq!(world.count(|change| matches!(change, KeyChange::DueSoon { .. })), 3);
    assert!(world.count(|change| matches!(change, KeyChange::Overdue { .. })) > 0);
    let run = rotator.rotate(Selection::All, Why::Routine, &act()).finish().await;
    assert_eq!((run.by_hand, run.rotated), (1, 0));
    assert_eq!(world.active(&acme).await.id, first.id());

    for _ in 0..2 {
        let promoted = rotator.promote(&acme, by_hand, &act()).await;
        assert_eq!(promoted, Outcome::Rotated { successor: by_hand });
        assert_eq!(world.active(&acme).await.id, by_hand);
    }
    assert_eq!(world.of(&acme, KeyState::Draining).await.len(), 1);
    assert_eq!(world.count(|change| matches!(change, KeyChange::Promoted { .. })), 1);
}
