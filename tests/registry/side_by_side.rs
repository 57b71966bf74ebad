//! Removals beside others, and beside what the upkeep does.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use shipbound::Client;
use shipbound::binding::dpop::Dpop;
use shipbound::carriers::CarrierProfile;
use shipbound::chore::Chore;
use shipbound::credentials::CredentialAdmin;
use shipbound::directory::{ConnectionStore, MemoryConnections, Standing};
use shipbound::owner::{CarrierId, ConnectionId, Environment};
use shipbound::registry::{NewConnection, Remover, Step};
use shipbound::sandbox::{Answer, Endpoint, Gate};
use shipbound::token::TokenAt;
use shipbound::upkeep::Upkeep;
use tokio::sync::oneshot;

use crate::removal::assert_gone;
use crate::world::{NOW, World, act, tenant, world, world_on};

const HANGING: usize = 40;

/// Writes down that the connection is being removed, as a process does that is killed right after.
async fn mark(world: &World, store: &MemoryConnections, connection: &ConnectionId) {
    let record = world.registry.record(connection).await.unwrap();
    let mut next = record.next(NOW, &act("left"));
    next.standing = Standing::Removing;
    assert!(store.replace(record.revision, &next).await.unwrap().is_some());
    world.registry.round(&|| true).await;
}

/// Connections whose removal has begun, and whose issuer does not answer.
async fn hanging(world: &World, store: &MemoryConnections) -> Gate {
    let gate = Gate::new();
    for number in 0..HANGING {
        let id = format!("h{number}");
        let connection = world.add(&id).await.connection;
        assert_eq!(world.ship(&id).await.unwrap(), 201);
        let held = Answer::normal().held(&gate);
        world.sandbox.always(tenant(&id), Endpoint::Revocation, held);
        mark(world, store, &connection).await;
    }
    gate
}

/// Runs until this one is removed. The clock does not move, so nothing is given up meanwhile.
async fn until_removed(world: &World, remover: &Remover, connection: &ConnectionId) {
    let removed = async {
        for _ in 0..1_000_000 {
            if world.registry.record(connection).await.unwrap().standing == Standing::Removed {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("it was starved");
    };
    let ended = select(Box::pin(removed), Box::pin(remover.resume())).await;
    assert!(matches!(ended, Either::Left(_)), "the others hang");
}

#[tokio::test]
async fn an_issuer_that_hangs_keeps_no_removals_of_another_carrier() {
    let store = MemoryConnections::new();
    let world = world_on(store.clone()).await;
    let carrier = CarrierId::new("other-freight").unwrap();
    let issuer = TokenAt::Issuer("https://auth.carrier.example".into());
    let custom = CarrierProfile::custom(
        carrier.clone(),
        Environment::Sandbox,
        "https://api.carrier.example",
        issuer,
    );
    let profile = world.sandbox.profile(custom);
    let other = Client::builder(profile.clone(), &world.parts)
        .binding(Dpop::es256())
        .build()
        .unwrap();
    let new = NewConnection::new(tenant("well"), &carrier, Environment::Sandbox);
    let connection = world.registry.add(&new, &act("signed up")).await.unwrap().connection;
    let credential = world.sandbox.credential_for(&profile, &tenant("well"));
    let act = act("signed up");
    world
        .credentials
        .put_credential(&connection, credential, &act)
        .await
        .unwrap();
    let shipped = other.tenant("well").unwrap().post("/v1/shipments").send().await;
    assert_eq!(shipped.unwrap().status(), 201);
    let gate = hanging(&world, &store).await;
    mark(&world, &store, &connection).await;
    let remover = world.remover().client(&other);
    until_removed(&world, &remover, &connection).await;
    assert!(gate.waiting() <= 8, "no more than eight of a carrier at a time");
    gate.open();
}

#[tokio::test]
async fn those_that_hang_do_not_come_first_again_and_again() {
    let store = MemoryConnections::new();
    let world = world_on(store.clone()).await;
    let gate = hanging(&world, &store).await;
    let connection = world.add("well").await.connection;
    assert_eq!(world.ship("well").await.unwrap(), 201);
    mark(&world, &store, &connection).await;
    let remover = world.remover();
    // Rounds that the upkeep gives up.
    for _ in 0..HANGING / 8 {
        drop(select(Box::pin(remover.resume()), Box::pin(gate.reached(8))).await);
        while gate.waiting() > 0 {
            tokio::task::yield_now().await;
        }
    }
    until_removed(&world, &remover, &connection).await;
    gate.open();
}

/// A token request that its caller has left, and that the upkeep brings home, is waited for: its token is revoked.
#[tokio::test]
async fn a_token_request_that_was_left_leaves_no_token() {
    let world = Arc::new(world().await);
    let connection = world.add("acme").await.connection;
    let gate = Gate::new();
    let held = Answer::normal().held(&gate);
    world.sandbox.script(tenant("acme"), Endpoint::Token, [held]);
    let (stop, stopped) = oneshot::channel::<()>();
    let upkeep = Upkeep::new(&world.parts).client(&world.client);
    let running = tokio::spawn(upkeep.run(async move {
        let _stopped = stopped.await;
    }));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let of_acme = world.client.tenant("acme").unwrap();
    let call = tokio::spawn(async move { of_acme.post("/v1/shipments").send().await });
    gate.reached(1).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());

    let removing = world.begin(&connection).await;
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(!removing.is_finished());
    gate.open();
    let removal = world.moving(Duration::from_millis(1), removing).await.unwrap().unwrap();
    assert!(removal.finished, "{removal:?}");
    assert_eq!(removal.step(Step::Tokens).unwrap().done, 1, "{removal:?}");
    let told = world.sandbox.requests_at(Endpoint::Revocation);
    assert_eq!((told.len(), told[0].status()), (1, Some(200)));
    assert_gone(&world, &connection).await;
    let _stopping = stop.send(());
    world.moving(Duration::from_millis(100), running).await.unwrap();
}
