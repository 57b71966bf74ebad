//! Stores of connections that fail or stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use shipbound::directory::{ConnectionRecord, ConnectionStore, ConnectionStoreError, MemoryConnections};
use shipbound::owner::{DeploymentId, TenantId};

/// A store that can be down, that says no from the nth write on, and that may be shared with other processes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flaky {
    pub(crate) inner: MemoryConnections,
    pub(crate) down: Arc<AtomicBool>,
    pub(crate) shared: bool,
    pub(crate) asked: Arc<AtomicUsize>,
    /// How often was looked what has changed.
    pub(crate) looked: Arc<AtomicUsize>,
}

impl Flaky {
    fn up(&self) -> Result<(), ConnectionStoreError> {
        match self.down.load(Ordering::SeqCst) {
            true => Err(ConnectionStoreError::Unavailable),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl ConnectionStore for Flaky {
    async fn insert(&self, record: &ConnectionRecord, seen: u64) -> Result<Option<u64>, ConnectionStoreError> {
        self.up()?;
        self.inner.insert(record, seen).await
    }

    async fn replace(&self, expected: u64, next: &ConnectionRecord) -> Result<Option<u64>, ConnectionStoreError> {
        self.up()?;
        self.inner.replace(expected, next).await
    }

    async fn of_tenant(
        &self,
        deployment: &DeploymentId,
        tenant: &TenantId,
    ) -> Result<Vec<ConnectionRecord>, ConnectionStoreError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.up()?;
        self.inner.of_tenant(deployment, tenant).await
    }

    async fn changes(
        &self,
        deployment: &DeploymentId,
        since: u64,
        most: usize,
    ) -> Result<Vec<ConnectionRecord>, ConnectionStoreError> {
        self.looked.fetch_add(1, Ordering::SeqCst);
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        self.up()?;
        self.inner.changes(deployment, since, most).await
    }

    fn is_shared(&self) -> bool {
        self.shared
    }
}
