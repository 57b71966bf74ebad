//! Early renewals, and token requests whose callers went away.

use std::time::Duration;

use shipbound::binding::bearer::Bearer;
use shipbound::binding::dpop::Dpop;
use shipbound::grants::{Grant, Grants};
use shipbound::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment};
use shipbound::sandbox::{Answer, Endpoint, Gate, Sandbox};

use crate::world::{NOW, acme, bound, run, world};

#[tokio::test]
async fn a_token_that_is_used_is_renewed_before_a_call_needs_it() {
    let world = world(Sandbox::builder(), bound(Dpop::es256()), |profile| profile).await;
    assert_eq!(world.ship().await.unwrap(), 201);
    let upkeep = run(world.upkeep());
    world.sleeping(1).await;
    world.clock.advance(Duration::from_secs(2_500));
    assert_eq!(world.sandbox.token_requests(), 1);

    // 80 % of an hour, give or take 5.
    world.move_until(|world| world.sandbox.token_requests() == 2).await;
    let passed = world.clock_seconds();
    assert!((2_700..3_200).contains(&passed), "{passed}");
    world
        .move_until(|world| world.client.lease(&acme().into()).is_some())
        .await;
    let before = world.sandbox.token_requests();
    assert_eq!(world.ship().await.unwrap(), 201);
    assert_eq!(world.sandbox.token_requests(), before);
    upkeep.end().await;
}

#[tokio::test]
async fn a_token_that_nobody_uses_is_left_alone() {
    let world = world(Sandbox::builder(), bound(Dpop::es256()), |profile| profile).await;
    // Asked for, and not used by a call.
    world.client.introspect(&acme().into()).await.unwrap();
    let upkeep = run(world.upkeep());
    world.sleeping(1).await;
    for _ in 0..400 {
        world.clock.advance(Duration::from_secs(10));
        tokio::task::yield_now().await;
    }
    upkeep.end().await;
    assert_eq!(world.sandbox.token_requests(), 1);
}

/// A caller goes away while the issuer rotates the refresh token: its successor is not lost.
#[tokio::test]
async fn a_refresh_that_was_left_is_brought_home() {
    let sandbox = Sandbox::builder().rotate_refresh_tokens(true);
    let world = world(sandbox, bound(Bearer), |profile| profile.by_consent()).await;
    let connection = ConnectionId::new(
        DeploymentId::default_deployment(),
        acme().into(),
        CarrierId::new("acme-freight").unwrap(),
        Environment::Sandbox,
        AccountId::main(),
    );
    let grants = Grants::new(world.grants.clone(), world.clock.clone());
    let grant = Grant::new(world.sandbox.refresh_token(&acme()), NOW);
    grants.put(&connection, grant).await.unwrap();
    let mut upkeep = run(world.upkeep());
    world.sleeping(1).await;

    let gate = Gate::new();
    world
        .sandbox
        .script(acme(), Endpoint::Token, [Answer::normal().held(&gate)]);
    tokio::select! {
        outcome = world.ship() => panic!("answered: {outcome:?}"),
        () = gate.reached(1) => {}
    }
    // Told to end, it still waits for what is under way.
    upkeep.tell();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!upkeep.has_ended());
    gate.open();
    upkeep.end().await;

    // The token that came is at hand, and its refresh token is the one that is good.
    assert_eq!(world.ship().await.unwrap(), 201);
    assert_eq!(world.sandbox.token_requests(), 1);
    world.clock.advance(Duration::from_secs(3_601));
    assert_eq!(world.ship().await.unwrap(), 201);
    assert_eq!(world.sandbox.token_requests(), 2);
}
