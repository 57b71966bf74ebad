//! Removing connections: with calls under way, issuers that do not answer, stores that stop, others that do the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use shipbound::chore::Chore;
use shipbound::credentials::CredentialStore;
use shipbound::directory::Standing;
use shipbound::grants::GrantStore;
use shipbound::jose::Algorithm;
use shipbound::journal::fingerprint::TenantSalts;
use shipbound::journal::{ConnectionChange, EventKind};
use shipbound::keys::{KeyError, KeyFilter, KeyId, KeyListing, KeyRecord, KeySpec, KeyStore, Purpose};
use shipbound::owner::{ConnectionId, Owner};
use shipbound::registry::{RegistryError, Removal, Remover, Step};
use shipbound::sandbox::{Answer, Canned, Endpoint, Gate};

use crate::stores::Flaky;
use crate::world::{Keys, World, act, new, tenant, world, world_on};

const STEP: Duration = Duration::from_millis(100);

/// What a finished removal leaves: nothing.
pub(crate) async fn assert_gone(world: &World, connection: &ConnectionId) {
    let filter = KeyFilter::default().of_owner(connection.clone());
    let keys = world.keys.list(&filter, None, 100).await;
    assert!(keys.unwrap().iter().all(|key| key.has_ended()));
    assert!(world.credentials.credential(connection).await.is_err());
    assert!(world.client.lease(connection.tenant()).is_none());
    let record = world.registry.record(connection).await.unwrap();
    assert_eq!(record.standing, Standing::Removed);
    assert_eq!(
        world.refused(connection.tenant().id().as_str()).await,
        "connection_unknown"
    );
}

fn count(removal: &Removal, step: Step) -> (u64, u64) {
    let step = removal.step(step).unwrap();
    (step.done, step.remained)
}

#[tokio::test]
async fn all_that_a_connection_has_goes() {
    let world = world().await;
    let connection = world.add("acme").await.connection;
    world.add("other").await;
    assert_eq!(world.ship("acme").await.unwrap(), 201);
    assert_eq!(world.ship("other").await.unwrap(), 201);
    let salt = world.salts.salt(connection.tenant());

    let removal = world.remover().remove(&connection, &act("left")).await.unwrap();
    assert!(removal.finished && !removal.has_remains(), "{removal:?}");
    for step in [
        Step::Tokens,
        Step::Keys,
        Step::Credential,
        Step::Memory,
        Step::Fingerprints,
        Step::Tombstone,
    ] {
        assert_eq!(count(&removal, step), (1, 0), "{step:?}");
    }
    // Nothing is sealed in memory.
    assert_eq!(count(&removal, Step::DataKey), (0, 0));
    // The other one's slot is left.
    assert_eq!(world.parts.tokens().len(), 1);
    let told = world.sandbox.requests_at(Endpoint::Revocation);
    assert_eq!((told.len(), told[0].status()), (1, Some(200)));
    assert_ne!(world.salts.salt(connection.tenant()), salt);
    let record = world.registry.record(&connection).await.unwrap();
    assert_eq!((record.standing, record.act.reason()), (Standing::Removed, "left"));
    assert_eq!(world.ship("other").await.unwrap(), 201);
    // A second time there is nothing to do.
    let again = world.remover().remove(&connection, &act("twice")).await.unwrap();
    assert!(again.finished && again.steps.is_empty());
    let never = ConnectionId::new(
        connection.deployment().clone(),
        tenant("ACME").into(),
        connection.carrier().clone(),
        connection.environment(),
        connection.account().clone(),
    );
    assert_eq!(
        world.remover().remove(&never, &act("who")).await,
        Err(RegistryError::Unknown)
    );
}

#[tokio::test]
async fn calls_under_way_end_and_no_other_begins() {
    let world = world().await;
    let connection = world.add("acme").await.connection;
    assert_eq!(world.ship("acme").await.unwrap(), 201);
    let gate = Gate::new();
    world
        .sandbox
        .script(tenant("acme"), Endpoint::Api, [Answer::normal().held(&gate)]);
    let of_acme = world.client.tenant("acme").unwrap();
    let call = tokio::spawn(async move { of_acme.post("/v1/shipments").send().await });
    gate.reached(1).await;

    let remover = Arc::new(world.remover());
    let removing = {
        let (remover, connection) = (remover.clone(), connection.clone());
        tokio::spawn(async move { remover.remove(&connection, &act("left")).await })
    };
    while world.registry.record(&connection).await.unwrap().standing == Standing::Active {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.refused("acme").await, "connection_removing");
    assert_eq!(
        world.registry.add(&new("acme"), &act("early")).await,
        Err(RegistryError::Removing)
    );
    // The key still signs for whoever is under way, and nothing was taken away.
    assert!(world.sandbox.requests_at(Endpoint::Revocation).is_empty());
    assert!(world.credentials.credential(&connection).await.is_ok());
    gate.open();
    let removal = world.moving(STEP, removing).await.unwrap().unwrap();
    assert_eq!(call.await.unwrap().unwrap().status(), 201);
    assert_eq!(count(&removal, Step::Calls), (1, 0));
    assert!(removal.finished);
    assert_gone(&world, &connection).await;
}

#[tokio::test]
async fn calls_that_do_not_end_are_reported_and_their_token_is_revoked() {
    let world = world().await;
    let connection = world.add("acme").await.connection;
    assert_eq!(world.ship("acme").await.unwrap(), 201);
    let gate = Gate::new();
    world
        .sandbox
        .script(tenant("acme"), Endpoint::Api, [Answer::normal().held(&gate)]);
    let of_acme = world.client.tenant("acme").unwrap();
    let call = tokio::spawn(async move { of_acme.post("/v1/shipments").send().await });
    gate.reached(1).await;
    let remover = world.remover().drain(Duration::from_secs(5));
    let removal = world
        .moving(STEP, remover.remove(&connection, &act("left")))
        .await
        .unwrap();
    assert_eq!(removal.step(Step::Calls).unwrap().code, Some("under_way"));
    assert_eq!(count(&removal, Step::Calls), (0, 1));
    assert!(removal.finished);
    assert_eq!(world.sandbox.requests_at(Endpoint::Revocation).len(), 1);
    gate.open();
    let _ended = call.await.unwrap();
    assert_gone(&world, &connection).await;
}

/// A token that is being asked for while the connection is removed is waited for, and revoked.
#[tokio::test]
async fn a_token_request_under_way_leaves_no_token() {
    let world = world().await;
    let connection = world.add("acme").await.connection;
    let gate = Gate::new();
    world
        .sandbox
        .script(tenant("acme"), Endpoint::Token, [Answer::normal().held(&gate)]);
    let of_acme = world.client.tenant("acme").unwrap();
    let call = tokio::spawn(async move { of_acme.post("/v1/shipments").send().await });
    gate.reached(1).await;
    let remover = Arc::new(world.remover());
    let removing = {
        let (remover, connection) = (remover.clone(), connection.clone());
        tokio::spawn(async move { remover.remove(&connection, &act("left")).await })
    };
    while world.registry.record(&connection).await.unwrap().standing == Standing::Active {
        tokio::task::yield_now().await;
    }
    gate.open();
    let removal = world.moving(Duration::from_millis(1), removing).await.unwrap().unwrap();
    assert_eq!(call.await.unwrap().unwrap_err().code(), "connection_removing");
    assert_eq!(world.sandbox.api_requests(), 0);
    assert!(removal.finished);
    assert_eq!(world.sandbox.requests_at(Endpoint::Revocation).len(), 1);
    assert_gone(&world, &connection).await;
}

#[tokio::test]
async fn an_issuer_that_is_down_is_told_later() {
    let world = world().await;
    let connection = world.add("acme").await.connection;
    assert_eq!(world.ship("acme").await.unwrap(), 201);
    world
        .sandbox
        .always(tenant("acme"), Endpoint::Revocation, Answer::reply(Canned::empty(500)));
    let removal = world.remover().remove(&connection, &act("left")).await.unwrap();
    assert!(!removal.finished);
    let tokens = removal.step(Step::Tokens).unwrap();
    assert!(tokens.remained == 1 && tokens.code.is_some(), "{tokens:?}");
    assert_eq!(removal.step(Step::Keys), None);
    assert_eq!(world.refused("acme").await, "connection_removing");
    assert_eq!(
        world.events(|kind| matches!(kind, EventKind::RemovalUnfinished { step: "tokens", .. })),
        1
    );

    world.sandbox.normal_service();
    let removals = world.remover().resume().await;
    assert!(removals.len() == 1 && removals[0].finished, "{removals:?}");
    assert_gone(&world, &connection).await;
    assert!(world.remover().resume().await.is_empty());
}

#[tokio::test]
async fn an_issuer_that_stays_down_does_not_keep_the_rest() {
    let world = world().await;
    let connection = world.add("acme").await.connection;
    assert_eq!(world.ship("acme").await.unwrap(), 201);
    world
        .sandbox
        .always(tenant("acme"), Endpoint::Revocation, Answer::reply(Canned::empty(500)));
    assert!(
        !world
            .remover()
            .remove(&connection, &act("left"))
            .await
            .unwrap()
            .finished
    );
    world.clock.advance(Duration::from_secs(601));
    let removals = world.remover().resume().await;
    assert!(removals[0].finished && removals[0].has_remains(), "{removals:?}");
    assert_eq!(count(&removals[0], Step::Tokens).1, 1);
    assert_eq!(count(&removals[0], Step::Keys), (1, 0));
    assert_gone(&world, &connection).await;
}

#[tokio::test]
async fn a_slow_issuer_costs_its_time_limit_and_no_more() {
    let world = world().await;
    let connection = world.add("acme").await.connection;
    assert_eq!(world.ship("acme").await.unwrap(), 201);
    let gate = Gate::new();
    world
        .sandbox
        .always(tenant("acme"), Endpoint::Revocation, Answer::normal().held(&gate));
    let remover = world.remover();
    let removal = world
        .moving(STEP, remover.remove(&connection, &act("left")))
        .await
        .unwrap();
    assert!(!removal.finished);
    assert_eq!(count(&removal, Step::Tokens).1, 1);
    gate.open();
    assert!(world.moving(STEP, remover.resume()).await[0].finished);
    assert_gone(&world, &connection).await;
}

/// The refresh token is revoked at the issuer, and forgotten here.
#[tokio::test]
async fn what_the_shipper_consented_to_ends() {
    let world = world().await;
    let connection = world.add("acme").await.connection;
    let client = world.by_consent(&connection).await;
    let shipped = client
        .tenant("acme")
        .unwrap()
        .post("/v1/shipments")
        .send()
        .await
        .unwrap();
    assert_eq!(shipped.status(), 201);
    let (keys, credentials) = (world.keys.clone(), world.credentials.clone());
    let remover = Remover::new(world.registry.clone(), &world.parts, keys, credentials).client(&client);
    let removal = remover.remove(&connection, &act("left")).await.unwrap();
    assert!(removal.finished && !removal.has_remains(), "{removal:?}");
    assert_eq!(count(&removal, Step::Grant), (1, 0));
    assert!(world.grants.load(&connection).await.unwrap().is_none());
    let told = world.sandbox.requests_at(Endpoint::Revocation);
    let hints: Vec<_> = told.iter().filter_map(|told| told.form("token_type_hint")).collect();
    assert!(
        hints.contains(&"refresh_token".to_owned()) && hints.contains(&"access_token".to_owned()),
        "{hints:?}"
    );
    assert!(told.iter().all(|told| told.status() == Some(200)));
    assert_gone(&world, &connection).await;
}

/// Whose client was not handed in has tokens that nobody revokes: the report says so.
#[tokio::test]
async fn without_a_client_nobody_is_told() {
    let world = world().await;
    let connection = world.add("acme").await.connection;
    let (keys, credentials) = (world.keys.clone(), world.credentials.clone());
    let remover = Remover::new(world.registry.clone(), &world.parts, keys, credentials);
    let removal = remover.remove(&connection, &act("left")).await.unwrap();
    assert!(removal.finished && removal.has_remains());
    assert_eq!(removal.step(Step::Tokens).unwrap().code, Some("no_client"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_remove_and_add_at_once() {
    let world = Arc::new(world().await);
    for round in 0..10 {
        let connection = world.add("acme").await.connection;
        assert_eq!(world.ship("acme").await.unwrap(), 201);
        let tasks: Vec<_> = (0..6)
            .map(|number| {
                let (world, connection) = (world.clone(), connection.clone());
                tokio::spawn(async move {
                    if number < 4 {
                        let removal = world.remover().remove(&connection, &act("left")).await;
                        return removal.is_ok_and(|removal| removal.finished);
                    }
                    world.registry.add(&new("acme"), &act("new")).await.is_ok()
                })
            })
            .collect();
        for (number, task) in tasks.into_iter().enumerate() {
            let done = task.await.unwrap();
            assert!(done || number >= 4, "{round}");
        }
        let records = world.registry.of_tenant(&tenant("acme")).await.unwrap();
        let ended = records.iter().find(|record| record.connection == connection).unwrap();
        assert_eq!(ended.standing, Standing::Removed);
        let present: Vec<_> = records
            .iter()
            .filter(|record| record.standing != Standing::Removed)
            .collect();
        assert!(present.len() <= 1);
        // Whoever is there now is another one.
        for record in present {
            assert_ne!(record.connection.tenant(), connection.tenant());
            world
                .remover()
                .remove(&record.connection.clone(), &act("next"))
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn a_fleet_learns_of_a_removal_before_anything_is_taken_away() {
    let store = Flaky {
        shared: true,
        ..Flaky::default()
    };
    let one = world_on(store.clone()).await;
    let two = one.another(store.clone()).await;
    let connection = one.add("acme").await.connection;
    assert_eq!(one.ship("acme").await.unwrap(), 201);
    assert_eq!(two.ship("acme").await.unwrap(), 201);
    let remover = Arc::new(one.remover());
    let removing = {
        let connection = connection.clone();
        tokio::spawn(async move { remover.remove(&connection, &act("left")).await })
    };
    while one.registry.record(&connection).await.unwrap().standing == Standing::Active {
        tokio::task::yield_now().await;
    }
    // The other process takes a round to know of it, and another one to revoke the token that it has.
    assert!(one.credentials.credential(&connection).await.is_ok());
    two.registry.round(&|| true).await;
    assert_eq!(two.refused("acme").await, "connection_removing");
    let other = two.remover();
    let (first, _) = one
        .moving(STEP, async {
            futures_util::future::join(removing, other.resume()).await
        })
        .await;
    assert!(first.unwrap().unwrap().finished);
    let revoked = one.sandbox.requests_at(Endpoint::Revocation);
    assert_eq!(revoked.len(), 2);
    assert!(revoked.iter().all(|told| told.status() == Some(200)));
    two.registry.round(&|| true).await;
    assert_gone(&one, &connection).await;
    assert_gone(&two, &connection).await;
    let ended = |kind: &EventKind| {
        matches!(
            kind,
            EventKind::ConnectionChanged {
                change: ConnectionChange::Removed,
                ..
            }
        )
    };
    assert_eq!(one.events(ended) + two.events(ended), 1);
}

/// Makes a key whenever a listing has come to its end, so often.
#[derive(Debug)]
struct StillMade {
    keys: Arc<Keys>,
    of: Owner,
    left: AtomicUsize,
}

#[async_trait]
impl KeyListing for StillMade {
    async fn list(&self, filter: &KeyFilter, after: Option<KeyId>, most: usize) -> Result<Vec<KeyRecord>, KeyError> {
        let page = self.keys.list(filter, after, most).await?;
        let more = |left: usize| left.checked_sub(1);
        if page.is_empty() && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok() {
            let (purpose, algorithm) = (Purpose::Proof, Algorithm::Es256);
            self.keys.create(&self.of, KeySpec { purpose, algorithm }).await?;
        }
        Ok(page)
    }
}

/// A rotation that did not know of the removal yet may make a key after the keys were listed.
#[tokio::test]
async fn a_key_that_is_made_while_keys_are_destroyed_does_not_stay() {
    for (made, finished, done) in [(3, true, 4), (100, false, 8)] {
        let world = world().await;
        let connection = world.add("acme").await.connection;
        assert_eq!(world.ship("acme").await.unwrap(), 201);
        let listing = Arc::new(StillMade {
            keys: world.keys.clone(),
            of: connection.clone().into(),
            left: AtomicUsize::new(made),
        });
        let remover = Remover::new(world.registry.clone(), &world.parts, listing, world.credentials.clone())
            .client(&world.client);
        let removal = remover.remove(&connection, &act("left")).await.unwrap();
        assert_eq!(removal.finished, finished);
        assert_eq!(count(&removal, Step::Keys), (done, u64::from(!finished)));
        if finished {
            assert_gone(&world, &connection).await;
        } else {
            // Whoever goes on making keys is not waited for: the removal is not over, and says why.
            assert_eq!(removal.step(Step::Keys).unwrap().code, Some("keys_are_made"));
        }
    }
}
