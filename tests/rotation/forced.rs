//! Rotation on demand.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use futures_util::StreamExt;
use shipbound::journal::{EventKind, KeyChange};
use shipbound::keys::{KeyFilter, KeyState, KeyStore, Purpose};
use shipbound::owner::{DeploymentId, Environment, Owner, TenantId};
use shipbound::rotation::{Finished, Outcome, Selection, Step, Why};
use tokio::sync::Notify;

use crate::stops::{Stop, Stopping};
use crate::world::{DAY, HOUR, World, act, connection, production, world};

/// Three tenants' connections and the deployment: nine keys.
async fn nine(world: &World) -> Vec<Owner> {
    let mut owners = Vec::new();
    for tenant in ["acme", "bolt", "coil"] {
        owners.push(production(tenant));
        owners.push(connection(tenant, Environment::Sandbox).into());
    }
    for owner in &owners {
        world.key(owner, Purpose::Proof).await;
    }
    owners.push(Owner::Deployment(DeploymentId::default_deployment()));
    world.key(&owners[6], Purpose::ClientAssertion).await;
    world.key(&owners[0], Purpose::ClientAssertion).await;
    world.key(&owners[0], Purpose::Tls).await;
    world.clock.advance(DAY);
    owners
}

fn finished(rotated: u64) -> Finished {
    let mut finished = Finished::default();
    finished.rotated = rotated;
    finished
}

#[tokio::test]
async fn what_is_selected_is_rotated_and_nothing_else() {
    let acme = connection("acme", Environment::Production);
    for (selection, why, rotated, published) in [
        (Selection::Connection(acme.clone()), Why::Routine, 1, 1),
        (Selection::Connection(acme.clone()), Why::Compromised, 3, 0),
        (Selection::Tenant(TenantId::new("acme").unwrap()), Why::Routine, 2, 1),
        (Selection::Purpose(Purpose::Proof), Why::Routine, 6, 0),
        (Selection::Purpose(Purpose::ClientAssertion), Why::Compromised, 2, 0),
        (Selection::All, Why::Routine, 6, 2),
        (Selection::All, Why::Compromised, 9, 0),
    ] {
        let world = world();
        let owners = nine(&world).await;
        let before: HashSet<_> = world.all(KeyFilter::default()).await.iter().map(|key| key.id).collect();
        let run = world.rotator().rotate(selection.clone(), why, &act()).finish().await;
        assert_eq!(
            (run.rotated, run.published, run.failed),
            (rotated, published, 0),
            "{selection:?} {why:?}"
        );
        let ended = world.all(KeyFilter::default().in_state(KeyState::Compromised)).await;
        assert_eq!(ended.len() as u64, if why == Why::Compromised { rotated } else { 0 });
        assert!(ended.iter().all(|key| before.contains(&key.id)));
        for owner in &owners {
            let active = world.of(owner, KeyState::Active).await;
            assert!(!active.is_empty());
        }
        // Each event names who wanted it.
        for event in world.events() {
            assert_eq!(event.act.as_ref().map(|act| act.ticket()), Some("SEC-12"));
        }
        let told = |event: shipbound::journal::Event| match event.kind {
            EventKind::RotationRun(run) => Some((run.rotated, run.failed, run.act.unwrap().actor().to_owned())),
            _ => None,
        };
        let told: Vec<_> = world.sink.events().into_iter().filter_map(told).collect();
        assert_eq!(told, [(rotated, 0, "maria".to_owned())]);
    }
}

#[tokio::test]
async fn one_key_is_rotated_by_its_id() {
    let world = world();
    let acme = production("acme");
    let key = world.key(&acme, Purpose::Proof).await;
    world.clock.advance(HOUR);
    let run = world.rotator().rotate(Selection::Key(key.id()), Why::Routine, &act());
    assert_eq!(run.finish().await, finished(1));
    assert_ne!(world.active(&acme).await.id, key.id());
    // It drains, so there is nothing to replace; but it can still be in foreign hands.
    let run = world.rotator().rotate(Selection::Key(key.id()), Why::Routine, &act());
    assert_eq!(run.finish().await, finished(0));
    let run = world
        .rotator()
        .rotate(Selection::Key(key.id()), Why::Compromised, &act());
    assert_eq!(run.finish().await, finished(1));
    assert_eq!(world.of(&acme, KeyState::Compromised).await.len(), 1);
    world.active(&acme).await;
}

#[tokio::test]
async fn progress_counts_every_key_and_a_failure_stops_no_other() {
    let world = world();
    nine(&world).await;
    let stopping = Stopping {
        keys: Arc::new(world.keys()),
        at: 0,
        stop: Stop::Refused,
        of: Some(production("bolt")),
        steps: AtomicUsize::new(0),
        stopped: Notify::new(),
    };
    let rotator = world.rotator_of(Arc::new(stopping)).at_once(3).build().unwrap();
    let mut run = rotator.rotate(Selection::All, Why::Routine, &act());
    let began = run.began();
    world.clock.advance(HOUR);
    let (mut seen, mut failures) = (Vec::new(), Vec::new());
    while let Some(progress) = run.next().await {
        seen.push((progress.done + progress.failed, progress.left));
        if let Outcome::Failed { step, code } = progress.outcome {
            let (owner, _) = progress.key.clone().unwrap();
            failures.push((owner, step, code));
        }
    }
    assert_eq!(seen, (1..=8).map(|done| (done, 8 - done)).collect::<Vec<_>>());
    assert_eq!(failures, [(production("bolt"), Step::Create, "store_unavailable")]);

    // What is left is done by another process, and nothing twice.
    world.clock.advance(HOUR);
    let again = world
        .rotator()
        .resume(Selection::All, Why::Routine, &act(), began)
        .finish()
        .await;
    assert_eq!((again.rotated, again.published), (1, 2));
    let drained = world.all(KeyFilter::default().in_state(KeyState::Draining)).await;
    assert_eq!(drained.len(), 6);
}

#[tokio::test]
async fn a_run_that_is_dropped_can_be_resumed_and_rotates_nothing_twice() {
    let world = world();
    for number in 0..600 {
        world.key(&production(&format!("t{number}")), Purpose::Proof).await;
    }
    world.clock.advance(DAY);
    let rotator = world.rotator();
    let mut run = rotator.rotate(Selection::All, Why::Routine, &act());
    let began = run.began();
    world.clock.advance(HOUR);
    for _ in 0..100 {
        run.next().await.unwrap();
    }
    drop(run);
    world.clock.advance(HOUR);
    let draining = KeyFilter::default().in_state(KeyState::Draining);
    let before = world.all(draining.clone()).await.len();
    assert!((100..120).contains(&before), "{before}");
    let rest = rotator
        .resume(Selection::All, Why::Routine, &act(), began)
        .finish()
        .await;
    assert_eq!(rest.rotated as usize, 600 - before);
    assert_eq!(world.all(draining).await.len(), 600);
    let living = KeyFilter::default()
        .in_state(KeyState::Pending)
        .in_state(KeyState::Active);
    assert_eq!(world.all(living).await.len(), 600);
}

#[tokio::test]
async fn a_compromised_key_signs_no_more_though_it_can_have_no_successor() {
    let world = world();
    let acme = production("acme");
    let keys = world.keys();
    let old = world.key(&acme, Purpose::Proof).await;
    let old = keys.get(&acme, &old.id()).await.unwrap().unwrap();
    world.clock.advance(HOUR);
    let stopping = Stopping::new(keys, 0, Stop::Refused);
    let rotator = world.rotator_of(Arc::new(stopping)).build().unwrap();
    let run = rotator.rotate(Selection::All, Why::Compromised, &act()).finish().await;
    assert_eq!((run.rotated, run.failed), (0, 1));
    assert!(!old.is_usable(), "handles are closed");
    assert!(world.of(&acme, KeyState::Active).await.is_empty());
    assert_eq!(world.count(|change| *change == KeyChange::Compromised), 1);
}
