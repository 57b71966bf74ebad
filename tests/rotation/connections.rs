//! Keys of connections that are suspended, being removed, removed, or not known.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use shipbound::Parts;
use shipbound::credentials::MemoryCredentials;
use shipbound::directory::{Directory, Listing, MemoryConnections, NotAdmitted};
use shipbound::journal::KeyChange;
use shipbound::keys::{KeyError, KeyId, KeyState, KeyStore, Purpose};
use shipbound::owner::{CarrierId, ConnectionId, DeploymentId, Environment, Owner, Tenant, TenantId};
use shipbound::registry::{NewConnection, Registry, Remover};
use shipbound::rotation::{Outcome, Rotator, Selection, Step, Why};
use tokio::sync::Mutex;

use crate::steps::{KeyStep, key_store_by_steps};
use crate::world::{Keys, LATE, World, act, connection, production, published, round, world};

async fn registry(world: &World) -> Arc<Registry> {
    let registry = Registry::builder(MemoryConnections::new()).clock(world.shared_clock());
    Arc::new(registry.open().await.unwrap())
}

async fn add(registry: &Registry, id: &str) -> ConnectionId {
    let carrier = CarrierId::new("acme-freight").unwrap();
    let new = NewConnection::new(TenantId::new(id).unwrap(), &carrier, Environment::Production);
    registry.add(&new, &act()).await.unwrap().connection
}

fn parts(world: &World, keys: Arc<dyn KeyStore>, directory: Arc<dyn Directory>) -> Parts {
    Parts::builder()
        .shared_keys(keys)
        .credentials(MemoryCredentials::new())
        .shared_sink(world.sink.clone())
        .clock(world.shared_clock())
        .directory(directory)
        .build()
        .unwrap()
}

fn rotator(world: &World, keys: Arc<dyn KeyStore>, directory: Arc<dyn Directory>) -> Rotator {
    Rotator::builder(&parts(world, keys, directory), Arc::new(world.keys()))
        .policy(published())
        .build()
        .unwrap()
}

/// Begins a removal that does not come to its end: nobody can list the keys.
async fn begin_removal(world: &World, registry: &Arc<Registry>, connection: &ConnectionId) {
    #[derive(Debug)]
    struct Unlisted;
    #[async_trait]
    impl shipbound::keys::KeyListing for Unlisted {
        async fn list(
            &self,
            _: &shipbound::keys::KeyFilter,
            _: Option<KeyId>,
            _: usize,
        ) -> Result<Vec<shipbound::keys::KeyRecord>, KeyError> {
            Err(KeyError::StoreUnavailable)
        }
    }
    let parts = parts(world, Arc::new(world.keys()), registry.clone());
    let credentials = Arc::new(MemoryCredentials::new());
    let remover = Remover::new(registry.clone(), &parts, Arc::new(Unlisted), credentials);
    let removal = remover.remove(connection, &act()).await.unwrap();
    assert!(!removal.finished);
}

#[tokio::test]
async fn only_connections_that_are_there_get_new_keys() {
    for purpose in [Purpose::Proof, Purpose::ClientAssertion] {
        let world = world();
        let registry = registry(&world).await;
        let going = add(&registry, "going").await;
        let suspended = add(&registry, "suspended").await;
        add(&registry, "active").await;
        add(&registry, "reborn").await;
        let of_before = Tenant::new(TenantId::new("reborn").unwrap(), uuid::Uuid::max());
        let of_before: Owner = ConnectionId::new(
            DeploymentId::default_deployment(),
            of_before,
            going.carrier().clone(),
            Environment::Production,
            going.account().clone(),
        )
        .into();
        let deployment = Owner::Deployment(DeploymentId::default_deployment());
        let stay = [production("going"), production("unknown"), of_before];
        let go_on = [production("active"), production("suspended"), deployment];
        for owner in stay.iter().chain(&go_on) {
            world.key(owner, purpose).await;
        }
        registry.suspend(&suspended, &act()).await.unwrap();
        begin_removal(&world, &registry, &going).await;
        world.clock.advance(LATE);

        let rotator = rotator(&world, Arc::new(world.keys()), registry.clone());
        for _ in 0..2 {
            round(&rotator).await;
            world.clock.advance(crate::world::DAY);
        }
        for owner in &go_on {
            assert_eq!(world.of(owner, KeyState::Draining).await.len(), 1, "{owner:?}");
        }
        let run = rotator.rotate(Selection::All, Why::Routine, &act()).finish().await;
        assert_eq!((run.removed, run.failed), (3, 0));
        for owner in &stay {
            assert_eq!(world.of(owner, KeyState::Active).await.len(), 1, "{owner:?}");
            assert!(world.of(owner, KeyState::Pending).await.is_empty(), "{owner:?}");
        }
        let of_going = Owner::from(going);
        let by_hand = world.of(&of_going, KeyState::Active).await.remove(0);
        let promoted = rotator.promote(&of_going, by_hand.id, &act()).await;
        assert_eq!(promoted, Outcome::Removed);

        // What is in foreign hands ends all the same, and nothing is left to do for a run that is resumed.
        let began = shipbound::clock::Clock::now(&*world.clock);
        for _ in 0..2 {
            let run = rotator
                .resume(Selection::All, Why::Compromised, &act(), began)
                .finish()
                .await;
            assert_eq!(run.failed, 0);
            for owner in &stay {
                assert!(world.of(owner, KeyState::Active).await.is_empty(), "{owner:?}");
                assert!(world.of(owner, KeyState::Pending).await.is_empty(), "{owner:?}");
            }
            world.clock.advance(crate::world::HOUR);
        }
        for owner in &go_on {
            world.active(owner).await;
        }
    }
}

/// Removes the connection, to the end, before it makes a key for it.
#[derive(Debug)]
struct Late {
    keys: Keys,
    remover: Mutex<Option<(Remover, ConnectionId)>>,
}

impl Late {
    async fn step<T>(&self, step: KeyStep, _: &Owner, work: impl Future<Output = T>) -> T {
        if step == KeyStep::Create
            && let Some((remover, connection)) = self.remover.lock().await.take()
        {
            assert!(remover.remove(&connection, &act()).await.unwrap().finished);
        }
        work.await
    }
}

key_store_by_steps!(Late);

#[tokio::test]
async fn a_key_that_is_made_while_its_connection_is_removed_ends_at_once() {
    for why in [Why::Routine, Why::Compromised] {
        let world = world();
        let registry = registry(&world).await;
        let acme = add(&registry, "acme").await;
        let owner = Owner::from(acme.clone());
        world.key(&owner, Purpose::Proof).await;
        world.clock.advance(LATE);
        let parts = parts(&world, Arc::new(world.keys()), registry.clone());
        let remover = Remover::new(
            registry.clone(),
            &parts,
            Arc::new(world.keys()),
            Arc::new(MemoryCredentials::new()),
        );
        let late = Late {
            keys: world.keys(),
            remover: Mutex::new(Some((remover, acme))),
        };
        let rotator = rotator(&world, Arc::new(late), registry);
        let run = rotator.rotate(Selection::All, why, &act()).finish().await;
        assert_eq!(run.failed, 0, "{why:?}");
        for state in [KeyState::Pending, KeyState::Active, KeyState::Draining] {
            assert!(world.of(&owner, state).await.is_empty(), "{why:?} {state:?}");
        }
        let told = |wanted: KeyChange| world.count(|change| *change == wanted);
        assert_eq!((told(KeyChange::Made), told(KeyChange::Destroyed)), (1, 1), "{why:?}");
    }
}

/// Cannot tell.
#[derive(Debug)]
struct Silent;

#[async_trait]
impl Directory for Silent {
    fn known(&self, _connection: &ConnectionId) -> Option<Listing> {
        None
    }
    async fn find(&self, _connection: &ConnectionId) -> Result<Listing, NotAdmitted> {
        Err(NotAdmitted::Unavailable)
    }
    fn generation(&self) -> u32 {
        1
    }
}

#[tokio::test]
async fn nothing_is_made_while_it_cannot_be_told_whether_the_connection_is_there() {
    let world = world();
    let acme: Owner = connection("acme", Environment::Production).into();
    let old = world.key(&acme, Purpose::Proof).await;
    world.clock.advance(LATE);
    let blind = rotator(&world, Arc::new(world.keys()), Arc::new(Silent));
    round(&blind).await;
    let (step, code) = (Step::Connection, "connection_unavailable");
    let told = KeyChange::RotationFailed {
        step: step.as_str(),
        code,
    };
    assert_eq!(world.count(|change| *change == told), 1);
    assert_eq!(world.active(&acme).await.id, old.id());
    assert!(world.of(&acme, KeyState::Pending).await.is_empty());

    // What is in foreign hands ends, and gets its successor once that can be told.
    let mut run = blind.rotate(Selection::All, Why::Compromised, &act());
    let began = run.began();
    assert_eq!(run.next().await.unwrap().outcome, Outcome::Failed { step, code });
    assert!(world.of(&acme, KeyState::Active).await.is_empty());
    let registry = registry(&world).await;
    add(&registry, "acme").await;
    let sighted = rotator(&world, Arc::new(world.keys()), registry);
    let run = sighted
        .resume(Selection::All, Why::Compromised, &act(), began)
        .finish()
        .await;
    assert_eq!((run.rotated, run.failed), (1, 0));
    world.active(&acme).await;
}
