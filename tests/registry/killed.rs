//! Removals whose process is killed, at any step.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use shipbound::act::Act;
use shipbound::credentials::{Credential, CredentialAdmin, CredentialError};
use shipbound::directory::{ConnectionRecord, ConnectionStore, ConnectionStoreError, MemoryConnections, Standing};
use shipbound::keys::{KeyError, KeyFilter, KeyId, KeyListing, KeyRecord};
use shipbound::owner::{ConnectionId, DeploymentId, TenantId};
use shipbound::registry::Remover;

use crate::removal::assert_gone;
use crate::world::{act, world_on};

/// Counts what stores are asked for, and stops for good at a certain number: the process was killed there.
#[derive(Debug)]
struct Fuse(AtomicUsize);

impl Fuse {
    fn burns(&self) -> bool {
        let left = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.is_err()
    }
}

#[derive(Debug)]
struct Killed<S>(Arc<Fuse>, S);

#[async_trait]
impl CredentialAdmin for Killed<Arc<dyn CredentialAdmin>> {
    async fn put_credential(&self, to: &ConnectionId, what: Credential, act: &Act) -> Result<(), CredentialError> {
        self.1.put_credential(to, what, act).await
    }

    async fn remove_credential(&self, connection: &ConnectionId, act: &Act) -> Result<bool, CredentialError> {
        if self.0.burns() {
            return Err(CredentialError::Unavailable);
        }
        self.1.remove_credential(connection, act).await
    }

    async fn erase_data_key(&self, connection: &ConnectionId, act: &Act) -> Result<bool, CredentialError> {
        if self.0.burns() {
            return Err(CredentialError::Unavailable);
        }
        self.1.erase_data_key(connection, act).await
    }
}

#[async_trait]
impl KeyListing for Killed<Arc<dyn KeyListing>> {
    async fn list(&self, filter: &KeyFilter, after: Option<KeyId>, most: usize) -> Result<Vec<KeyRecord>, KeyError> {
        if self.0.burns() {
            return Err(KeyError::StoreUnavailable);
        }
        self.1.list(filter, after, most).await
    }
}

#[async_trait]
impl ConnectionStore for Killed<MemoryConnections> {
    async fn insert(&self, record: &ConnectionRecord, seen: u64) -> Result<Option<u64>, ConnectionStoreError> {
        self.1.insert(record, seen).await
    }

    async fn replace(&self, expected: u64, next: &ConnectionRecord) -> Result<Option<u64>, ConnectionStoreError> {
        if self.0.burns() {
            return Err(ConnectionStoreError::Unavailable);
        }
        // Written, and the answer is lost.
        let written = self.1.replace(expected, next).await;
        match self.0.burns() {
            true => Err(ConnectionStoreError::Unavailable),
            false => written,
        }
    }

    async fn of_tenant(
        &self,
        of: &DeploymentId,
        tenant: &TenantId,
    ) -> Result<Vec<ConnectionRecord>, ConnectionStoreError> {
        if self.0.burns() {
            return Err(ConnectionStoreError::Unavailable);
        }
        self.1.of_tenant(of, tenant).await
    }

    async fn changes(
        &self,
        of: &DeploymentId,
        since: u64,
        most: usize,
    ) -> Result<Vec<ConnectionRecord>, ConnectionStoreError> {
        self.1.changes(of, since, most).await
    }

    fn is_shared(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn killed_at_any_step_the_next_process_ends_it() {
    let mut steps = 0;
    loop {
        let store = MemoryConnections::new();
        let fuse = Arc::new(Fuse(AtomicUsize::new(usize::MAX)));
        let world = world_on(Killed(fuse.clone(), store.clone())).await;
        let connection = world.add("acme").await.connection;
        assert_eq!(world.ship("acme").await.unwrap(), 201);
        fuse.0.store(steps, Ordering::SeqCst);
        let keys: Arc<dyn KeyListing> = world.keys.clone();
        let credentials: Arc<dyn CredentialAdmin> = world.credentials.clone();
        let remover = Remover::new(
            world.registry.clone(),
            &world.parts,
            Arc::new(Killed(fuse.clone(), keys)),
            Arc::new(Killed(fuse.clone(), credentials)),
        );
        let removal = remover.client(&world.client).remove(&connection, &act("left")).await;
        let finished = removal.as_ref().is_ok_and(|removal| removal.finished);

        let next = world.another(store).await;
        let begun = next.registry.record(&connection).await.unwrap().standing;
        match begun {
            // It was not written down that it is to be removed, and whoever asked for it was told.
            Standing::Active => assert!(removal.is_err() && steps < 3, "{steps} {removal:?}"),
            Standing::Removing => assert!(next.remover().resume().await.iter().all(|removal| removal.finished)),
            standing => assert_eq!(standing, Standing::Removed),
        }
        if begun != Standing::Active {
            assert_gone(&next, &connection).await;
        }
        if finished {
            break;
        }
        steps += 1;
    }
    assert!(steps >= 7, "{steps}");
}
