//! An id that is used again: nothing of its former holder is found.

use shipbound::ErrorKind;
use shipbound::credentials::CredentialStore;
use shipbound::directory::{NotAdmitted, Standing};
use shipbound::keys::{KeyFilter, KeyListing, KeyStore, Purpose};
use shipbound::owner::{CarrierId, Environment, Owner};
use shipbound::registry::{NewConnection, RegistryError};
use shipbound::sandbox::Endpoint;

use crate::world::{act, new, tenant, world};

#[tokio::test]
async fn a_new_holder_of_an_id_has_nothing_of_the_old_one() {
    let world = world().await;
    let old = world.add("acme").await.connection;
    assert_eq!(world.ship("acme").await.unwrap(), 201);
    let held = world.client.tenant("acme").unwrap();
    let old_key = world.client.lease(old.tenant()).unwrap().confirmations().to_vec();
    world
        .remover()
        .remove_tenant(&tenant("acme"), &act("left"))
        .await
        .unwrap();
    assert_eq!(world.refused("acme").await, "connection_unknown");

    let new = world
        .registry
        .add(&new("acme"), &act("another"))
        .await
        .unwrap()
        .connection;
    assert_ne!(new.tenant().incarnation(), old.tenant().incarnation());
    assert!(world.client.lease(new.tenant()).is_none());
    assert!(
        world
            .keys
            .active(&Owner::from(new.clone()), Purpose::Proof)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(world.refused("acme").await, "credential");
    // Who still means the old one is refused, also once the new one calls.
    world.give(&new).await;
    world.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(world.ship("acme").await.unwrap(), 201);
    let refused = held.post("/v1/shipments").send().await.unwrap_err();
    assert!(
        matches!(refused.kind(), ErrorKind::Connection(NotAdmitted::Incarnation)),
        "{refused}"
    );
    assert_eq!(
        world.ship_for(old.tenant()).await.unwrap_err().code(),
        "connection_incarnation"
    );
    assert_ne!(world.client.lease(new.tenant()).unwrap().confirmations(), old_key);
    assert_eq!(world.sandbox.requests_at(Endpoint::Token).len(), 2);
    assert!(world.credentials.credential(&old).await.is_err());
    let keys = world
        .keys
        .list(&KeyFilter::default().of_owner(old), None, 10)
        .await
        .unwrap();
    assert!(!keys.is_empty() && keys.iter().all(|key| key.has_ended()));
}

#[tokio::test]
async fn connections_of_one_holder_share_its_incarnation_and_one_that_returns_does_not() {
    let world = world().await;
    let ups = |id: &str| NewConnection::new(tenant(id), &CarrierId::new("ups").unwrap(), Environment::Production);
    let freight = world.registry.add(&new("acme"), &act("a")).await.unwrap().connection;
    world
        .remover()
        .remove_tenant(&tenant("acme"), &act("left"))
        .await
        .unwrap();
    let freight_again = world.registry.add(&new("acme"), &act("b")).await.unwrap().connection;
    let with_ups = world.registry.add(&ups("acme"), &act("c")).await.unwrap().connection;
    assert_ne!(freight_again.tenant(), freight.tenant());
    assert_eq!(with_ups.tenant(), freight_again.tenant());
    // The same customer, and yet no removed connection ever returns.
    world.remover().remove(&freight_again, &act("pause")).await.unwrap();
    let third = world.registry.add(&new("acme"), &act("d")).await.unwrap().connection;
    assert!(third.tenant() != freight_again.tenant() && third.tenant() != freight.tenant());
    let records = world.registry.of_tenant(&tenant("acme")).await.unwrap();
    let removed = records.iter().filter(|record| record.standing == Standing::Removed);
    assert_eq!(removed.count(), 2);
    assert_eq!(
        world.registry.suspend(&freight, &act("late")).await,
        Err(RegistryError::Unknown)
    );
}
