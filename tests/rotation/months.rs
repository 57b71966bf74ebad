//! More than a year, round by round.

use std::collections::HashMap;

use shipbound::clock::Clock;
use shipbound::journal::KeyChange;
use shipbound::keys::{KeyFilter, KeyId, KeyState, Purpose};
use shipbound::owner::{DeploymentId, Environment, Owner};

use crate::world::{DAY, HOUR, LATE, connection, production, round, world};

#[tokio::test]
async fn keys_never_get_too_old_and_outlive_their_tokens() {
    let world = world();
    let rotator = world.rotator();
    let development: Owner = connection("acme", Environment::Sandbox).into();
    let deployment = Owner::Deployment(DeploymentId::default_deployment());
    let owners = [
        (production("acme"), Purpose::Proof, 90),
        (production("bolt"), Purpose::ClientAssertion, 90),
        (development, Purpose::Proof, 7),
        (deployment, Purpose::ClientAssertion, 90),
    ];
    for (owner, purpose, _) in &owners {
        world.key(owner, *purpose).await;
    }
    let mut actives: HashMap<(Owner, KeyId), i64> = HashMap::new();
    let mut signed_until: HashMap<KeyId, i64> = HashMap::new();
    for _ in 0..400 * 4 {
        world.clock.advance(6 * HOUR);
        round(&rotator).await;
        let now = world.clock.now();
        for (owner, _, days) in &owners {
            let active = world.active(owner).await;
            let age = now.seconds_since(active.activated_at.unwrap());
            assert!(age < days * 86_400, "{owner:?} {age}");
            actives.insert((owner.clone(), active.id), age);
            for draining in world.of(owner, KeyState::Draining).await {
                signed_until.insert(draining.id, draining.drain_until.unwrap().unix_seconds());
            }
            assert!(world.of(owner, KeyState::Pending).await.len() <= 1);
        }
    }
    let lives = |wanted: &Owner| actives.keys().filter(|(owner, _)| owner == wanted).count();
    for (owner, _, days) in &owners {
        let expected = 400.0 / f64::from(u32::try_from(*days).unwrap());
        let lives = f64::from(u32::try_from(lives(owner)).unwrap());
        assert!((expected..expected * 1.25 + 1.5).contains(&lives), "{owner:?}: {lives}");
    }
    // Each old key signed for a day after its successor came, and is gone.
    let ended = world.all(KeyFilter::default().in_state(KeyState::Destroyed)).await;
    assert!(ended.len() > 60, "{}", ended.len());
    for key in ended {
        let lasted = key.ended_at.unwrap().unix_seconds() - signed_until[&key.id];
        assert!((0..2 * 6 * 3_600).contains(&lasted), "{lasted}");
    }
    for promoted in world.events() {
        if let KeyChange::Promoted { drain_until, .. } = promoted.change {
            assert!(drain_until.unix_seconds() > 0);
        }
    }
    assert_eq!(world.count(|change| matches!(change, KeyChange::Overdue { .. })), 0);
    assert_eq!(
        world.count(|change| matches!(change, KeyChange::RotationFailed { .. })),
        0
    );
}

#[tokio::test]
async fn the_old_key_signs_for_a_day_and_a_little_and_then_never() {
    let world = world();
    let rotator = world.rotator();
    let acme = production("acme");
    let old = world.key(&acme, Purpose::Proof).await;
    world.clock.advance(LATE);
    round(&rotator).await;
    assert_ne!(world.active(&acme).await.id, old.id());
    let [draining] = &world.of(&acme, KeyState::Draining).await[..] else {
        panic!("one drains")
    };
    let drains = draining.drain_until.unwrap().seconds_since(world.clock.now());
    assert_eq!(drains, 24 * 3_600 + 300);
    world.clock.advance(DAY);
    round(&rotator).await;
    assert_eq!(world.of(&acme, KeyState::Draining).await.len(), 1);
    world.clock.advance(HOUR);
    round(&rotator).await;
    assert!(world.of(&acme, KeyState::Draining).await.is_empty());
    assert_eq!(world.count(|change| *change == KeyChange::Destroyed), 1);
}
