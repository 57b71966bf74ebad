//! Records that stay in a region.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shipbound::binding::dpop::Dpop;
use shipbound::clock::{Clock, Timestamp};
use shipbound::credentials::{CredentialAdmin, CredentialError, CredentialStore, MemoryCredentials};
use shipbound::jose::Algorithm;
use shipbound::keys::{
    Authority, KeyError, KeyFilter, KeyId, KeyListing, KeyRecord, KeySpec, KeyState, KeyStore, LocalKeys,
    MemoryKeyRecords, Purpose,
};
use shipbound::owner::{DeploymentId, Owner, Region};
use shipbound::registry::Remover;
use shipbound::rotation::{Rotator, Selection, Why};
use shipbound::store::Regional;
use shipbound::{Client, Parts};

use crate::world::{Keys, act, new, world};

fn region(name: &str) -> Region {
    Region::new(name).unwrap()
}

const SPEC: KeySpec = KeySpec {
    purpose: Purpose::Proof,
    algorithm: Algorithm::Es256,
};

#[tokio::test]
async fn nothing_of_a_connection_is_in_another_region() {
    let world = world().await;
    let keys = || {
        let (records, holder) = (Arc::new(MemoryKeyRecords::new()), Arc::new(LocalKeys::new()));
        Arc::new(Keys::new(records, holder, world.clock.clone(), Authority::default()))
    };
    let (keys_eu, keys_us) = (keys(), keys());
    let (eu, us) = (Arc::new(MemoryCredentials::new()), Arc::new(MemoryCredentials::new()));
    let directory = world.registry.clone();
    let keys =
        Arc::new(Regional::new(directory.clone(), region("us"), keys_us.clone()).and(region("eu"), keys_eu.clone()));
    let credentials =
        Arc::new(Regional::new(directory.clone(), region("us"), us.clone()).and(region("eu"), eu.clone()));
    let parts = Parts::builder()
        .shared_keys(keys.clone())
        .shared_credentials(credentials.clone())
        .directory(directory)
        .transport(world.sandbox.transport().unwrap())
        .clock(world.clock.clone())
        .build()
        .unwrap();
    let client = Client::builder(world.profile.clone(), &parts)
        .binding(Dpop::es256())
        .build()
        .unwrap();
    let mut added = Vec::new();
    for (id, of) in [("muller", "eu"), ("miller", "us")] {
        let record = world
            .registry
            .add(&new(id).region(region(of)), &act("signed up"))
            .await
            .unwrap();
        assert_eq!(record.region, Some(region(of)));
        let credential = world
            .sandbox
            .credential_for(&world.profile, record.connection.tenant().id());
        credentials
            .put_credential(&record.connection, credential, &act("put"))
            .await
            .unwrap();
        let sent = client.tenant(id).unwrap().post("/v1/shipments").send().await.unwrap();
        assert_eq!(sent.status(), 201);
        added.push(record.connection);
    }
    let (in_eu, in_us) = (&added[0], &added[1]);
    let owners =
        |records: Vec<shipbound::keys::KeyRecord>| records.into_iter().map(|record| record.owner).collect::<Vec<_>>();
    let all = KeyFilter::default();
    assert_eq!(
        owners(keys_eu.list(&all, None, 10).await.unwrap()),
        [Owner::from(in_eu.clone())]
    );
    assert_eq!(
        owners(keys_us.list(&all, None, 10).await.unwrap()),
        [Owner::from(in_us.clone())]
    );
    assert_eq!(keys.list(&all, None, 10).await.unwrap().len(), 2);
    assert_eq!(keys.list(&all, None, 1).await.unwrap().len(), 1);
    assert!(eu.credential(in_eu).await.is_ok() && eu.credential(in_us).await.is_err());
    assert!(us.credential(in_us).await.is_ok() && us.credential(in_eu).await.is_err());

    // The deployment's own keys are where it was said.
    let own = Owner::Deployment(DeploymentId::default_deployment());
    keys.create(&own, SPEC).await.unwrap();
    assert_eq!(keys_us.list(&all, None, 10).await.unwrap().len(), 2);

    // Who has no region, one without a store, or is not there, is refused: no region is taken for granted.
    let nowhere = world.registry.add(&new("nowhere"), &act("a")).await.unwrap().connection;
    let far = world
        .registry
        .add(&new("far").region(region("apac")), &act("b"))
        .await
        .unwrap()
        .connection;
    for connection in [&nowhere, &far] {
        let owner = Owner::from(connection.clone());
        assert_eq!(keys.create(&owner, SPEC).await.unwrap_err(), KeyError::NoRegion);
        assert_eq!(
            credentials.credential(connection).await.unwrap_err(),
            CredentialError::NoRegion
        );
    }

    // What a code or a refresh token is bound to is found while it drains.
    let owner = Owner::from(in_us.clone());
    let old = keys.active(&owner, Purpose::Proof).await.unwrap().unwrap();
    let next = keys.create(&owner, SPEC).await.unwrap();
    let later = world.clock.now() + Duration::from_secs(3600);
    assert!(keys.promote(&owner, &next.id(), Some(&old.id()), later).await.unwrap());
    let found = keys.with_thumbprint(&owner, Purpose::Proof, &old.jkt()).await.unwrap();
    assert_eq!(found.unwrap().id(), old.id());
    let elsewhere = Owner::from(in_eu.clone());
    let found = keys.with_thumbprint(&elsewhere, Purpose::Proof, &old.jkt()).await;
    assert!(found.unwrap().is_none());

    // Removed in its region, and refused after that.
    let remover = Remover::new(world.registry.clone(), &parts, keys.clone(), credentials.clone()).client(&client);
    let removal = remover.remove(in_eu, &act("left")).await.unwrap();
    assert!(removal.finished, "{removal:?}");
    assert!(
        keys_eu
            .list(&all, None, 10)
            .await
            .unwrap()
            .iter()
            .all(|key| key.has_ended())
    );
    assert!(eu.credential(in_eu).await.is_err());
    let owner = Owner::from(in_eu.clone());
    let ended = keys_eu.list(&all, None, 1).await.unwrap()[0].id;
    let promoted = keys.promote(&owner, &ended, None, Timestamp::UNIX_EPOCH).await;
    assert_eq!(promoted.unwrap_err(), KeyError::NoRegion);
}

/// A region whose database does not answer.
#[derive(Debug)]
struct Down;

#[async_trait]
impl KeyListing for Down {
    async fn list(&self, _: &KeyFilter, _: Option<KeyId>, _: usize) -> Result<Vec<KeyRecord>, KeyError> {
        Err(KeyError::StoreUnavailable)
    }
}

#[tokio::test]
async fn a_region_that_is_down_keeps_no_other_from_ending_what_was_found_compromised() {
    let world = world().await;
    let (records, holder) = (Arc::new(MemoryKeyRecords::new()), Arc::new(LocalKeys::new()));
    let up = Arc::new(Keys::new(records, holder, world.clock.clone(), Authority::default()));
    let directory = world.registry.clone();
    let parts = Parts::builder()
        .keys(Regional::new(directory, region("us"), up.clone()))
        .credentials(MemoryCredentials::new())
        .clock(world.clock.clone())
        .build()
        .unwrap();
    let record = world
        .registry
        .add(&new("miller").region(region("us")), &act("signed up"))
        .await
        .unwrap();
    let owner = Owner::from(record.connection);
    let key = up.create(&owner, SPEC).await.unwrap();
    assert!(
        up.promote(&owner, &key.id(), None, Timestamp::UNIX_EPOCH)
            .await
            .unwrap()
    );
    world.clock.advance(Duration::from_secs(1));

    let listings: [Arc<dyn KeyListing>; 2] = [Arc::new(Down), up.clone()];
    let both = Regional::new(world.registry.clone(), region("eu"), listings[0].clone()).and(region("us"), up.clone());
    let listed = both.list(&KeyFilter::default(), None, 10).await;
    assert_eq!(listed.unwrap_err(), KeyError::StoreUnavailable, "never half a page");
    let mut finished = Vec::new();
    for listing in listings {
        let rotator = Rotator::builder(&parts, listing).build().unwrap();
        let run = rotator.rotate(Selection::Purpose(Purpose::Proof), Why::Compromised, &act("leaked"));
        let finish = run.finish().await;
        finished.push((finish.rotated, finish.failed));
    }
    assert_eq!(finished, [(0, 1), (1, 0)]);
    assert_eq!(key.state(), KeyState::Compromised);
    let active = up.active(&owner, Purpose::Proof).await.unwrap().unwrap();
    assert_ne!(active.id(), key.id());
}
