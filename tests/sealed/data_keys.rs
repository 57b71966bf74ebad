//! Data keys: one for a tenant, made and unwrapped once, dropped when nobody uses them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use shipbound::chore::Chore;
use shipbound::owner::{DeploymentId, Owner};
use shipbound::store::seal::{KekError, SealContext, SealError, Sealer, Table, data_key_of};

use crate::owners;
use crate::provider::Provider;
use crate::scene::Scene;
use crate::world::owner;

on_both!(a_tenant_has_one_data_key_whoever_asks_and_however_many);
async fn a_tenant_has_one_data_key_whoever_asks_and_however_many(scene: Scene) {
    // The deployment has a KEK already.
    let first = scene.sealing(&["k1"]);
    let other = owner("other");
    first
        .seal(&SealContext::new(&other, Table::Grants, 1), b"v")
        .await
        .unwrap();
    let processes: Vec<_> = (0..3)
        .map(|_| {
            let provider = Arc::new(Provider::new(&["k1"]));
            let seen = provider.seen.clone();
            (Arc::new(scene.sealing_of(&scene.world.database(), provider)), seen)
        })
        .collect();
    let tenants: Vec<Owner> = (0..5).map(|number| owner(&format!("t{number}"))).collect();
    let seals = (0..150).map(|number| {
        let sealing = &processes[number % 3].0;
        let owner = &tenants[number % 5];
        async move {
            sealing
                .seal(&SealContext::new(owner, Table::Grants, 1), b"v")
                .await
                .unwrap()
        }
    });
    let sealed = join_all(seals).await;
    for (number, text) in sealed.iter().enumerate() {
        assert_eq!(data_key_of(text), data_key_of(&sealed[number % 5]));
    }
    assert_eq!(scene.world.number("SELECT COUNT(*) FROM sb_data_keys").await, 6);
    assert_eq!(
        scene
            .world
            .number("SELECT COUNT(*) FROM sb_keks WHERE state = 'active'")
            .await,
        1
    );
    for (_, seen) in &processes {
        // One for each tenant at most, also where another process was first.
        assert!(seen.wraps.load(Ordering::SeqCst) <= 5, "{:?}", seen.wraps);
        assert!(seen.unwraps.load(Ordering::SeqCst) <= 5, "{:?}", seen.unwraps);
    }
    // A later process unwraps each once, and opens what all have sealed.
    let provider = Arc::new(Provider::new(&["k1"]));
    let (seen, sealing) = (
        provider.seen.clone(),
        scene.sealing_of(&scene.world.database(), provider),
    );
    let opens = sealed.iter().enumerate().map(|(number, text)| {
        let (sealing, owner) = (&sealing, &tenants[number % 5]);
        async move {
            sealing
                .open(&SealContext::new(owner, Table::Grants, 1), text)
                .await
                .unwrap()
        }
    });
    assert_eq!(join_all(opens).await.len(), 150);
    assert_eq!(seen.unwraps.load(Ordering::SeqCst), 5);
    assert_eq!(sealing.held(), 5);
}

on_both!(incarnations_and_the_deployment_have_their_own);
async fn incarnations_and_the_deployment_have_their_own(scene: Scene) {
    let sealing = scene.sealing(&["k1"]);
    let default = |incarnation| Owner::Connection(owners::connection("default", "t", incarnation, "c", "main"));
    let all = [
        default(0),
        default(1),
        Owner::Deployment(DeploymentId::default_deployment()),
    ];
    let mut sealed = Vec::new();
    for owner in &all {
        sealed.push(
            sealing
                .seal(&SealContext::new(owner, Table::Grants, 1), b"v")
                .await
                .unwrap(),
        );
    }
    for (at, owner) in all.iter().enumerate() {
        for (of, text) in sealed.iter().enumerate() {
            let opened = sealing.open(&SealContext::new(owner, Table::Grants, 1), text).await;
            assert_eq!(opened.is_ok(), at == of);
        }
    }
    // Another deployment is nobody here.
    let other = Owner::Connection(owners::connection("other", "t", 0, "c", "main"));
    let context = SealContext::new(&other, Table::Grants, 1);
    assert_eq!(sealing.seal(&context, b"v").await.unwrap_err(), SealError::Refused);
    assert_eq!(
        sealing.open(&context, &sealed[0]).await.unwrap_err(),
        SealError::Refused
    );
}

on_both!(what_is_held_is_bounded_and_dropped_when_idle);
async fn what_is_held_is_bounded_and_dropped_when_idle(scene: Scene) {
    let sealing = scene.sealing(&["k1"]).with_limits(20, Duration::from_secs(60));
    for number in 0..50 {
        let owner = owner(&format!("t{number}"));
        sealing
            .seal(&SealContext::new(&owner, Table::Grants, 1), b"v")
            .await
            .unwrap();
        assert!(sealing.held() <= 20, "{}", sealing.held());
        scene.world.clock.advance(Duration::from_millis(1));
    }
    assert!(sealing.held() >= 15);
    let context_of = |number: usize| owner(&format!("t{number}"));
    scene.world.clock.advance(Duration::from_secs(59));
    let used = context_of(49);
    sealing
        .seal(&SealContext::new(&used, Table::Grants, 1), b"v")
        .await
        .unwrap();
    scene.world.clock.advance(Duration::from_secs(1));
    sealing.round(&|| true).await;
    assert_eq!(sealing.held(), 1);
}

on_both!(a_failure_is_shared_and_heals);
async fn a_failure_is_shared_and_heals(scene: Scene) {
    let provider = Arc::new(Provider::new(&["k1"]));
    let seen = provider.seen.clone();
    let sealing = scene.sealing_of(&scene.world.database(), provider);
    let owner = owner("acme");
    let context = SealContext::new(&owner, Table::Grants, 1);
    let sealed = sealing.seal(&context, b"v").await.unwrap();

    let provider = Arc::new(Provider::new(&["k1"]));
    let seen_again = provider.seen.clone();
    let cold = scene.sealing_of(&scene.world.database(), provider);
    *seen_again.fails.lock().unwrap() = Some(KekError::Unavailable);
    let opens = join_all((0..50).map(|_| cold.open(&context, &sealed))).await;
    assert!(opens.iter().all(|opened| matches!(opened, Err(SealError::Unavailable))));
    let asked = seen_again.unwraps.load(Ordering::SeqCst);
    assert!(asked < 3, "50 waited, and the provider was asked {asked} times");
    *seen_again.fails.lock().unwrap() = None;
    assert!(cold.open(&context, &sealed).await.is_ok());
    // The other process held it all the time.
    *seen.fails.lock().unwrap() = Some(KekError::Unavailable);
    assert!(sealing.open(&context, &sealed).await.is_ok());
}

on_both!(a_moved_data_key_does_not_open);
async fn a_moved_data_key_does_not_open(scene: Scene) {
    let sealing = scene.sealing(&["k1"]);
    let (one, two) = (owner("one"), owner("two"));
    let sealed = sealing
        .seal(&SealContext::new(&one, Table::Grants, 1), b"v")
        .await
        .unwrap();
    sealing
        .seal(&SealContext::new(&two, Table::Grants, 1), b"v")
        .await
        .unwrap();
    scene
        .world
        .raw("UPDATE sb_data_keys SET tenant = 'x' WHERE tenant = 'two'")
        .await;
    scene
        .world
        .raw("UPDATE sb_data_keys SET tenant = 'two' WHERE tenant = 'one'")
        .await;
    let cold = scene.sealing(&["k1"]);
    let as_one = cold.open(&SealContext::new(&one, Table::Grants, 1), &sealed).await;
    let as_two = cold.open(&SealContext::new(&two, Table::Grants, 1), &sealed).await;
    assert_eq!(as_one.unwrap_err(), SealError::Refused);
    assert_eq!(as_two.unwrap_err(), SealError::Refused);
    assert_eq!(
        cold.seal(&SealContext::new(&two, Table::Grants, 1), b"v")
            .await
            .unwrap_err(),
        SealError::Refused
    );
}

on_both!(a_data_key_that_is_gone_says_nothing_of_another);
async fn a_data_key_that_is_gone_says_nothing_of_another(scene: Scene) {
    let (first, acme) = (scene.sealing(&["k1"]), owner("acme"));
    let context = SealContext::new(&acme, Table::Grants, 1);
    let old = first.seal(&context, b"v").await.unwrap();
    scene.world.raw("DELETE FROM sb_data_keys").await;
    let new = first.seal(&context, b"v").await.unwrap();
    let cold = scene.sealing(&["k1"]);
    let opened = join_all([cold.open(&context, &old), cold.open(&context, &new)]).await;
    assert!(matches!(opened[0], Err(SealError::Refused)));
    assert!(opened[1].is_ok());
}
