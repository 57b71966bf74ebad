//! A key store behind which a process can be stopped at any step.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use shipbound::clock::Timestamp;
use shipbound::jose::Thumbprint;
use shipbound::keys::{KeyError, KeyHandle, KeyId, KeySpec, KeyStore, Purpose, Retired};
use shipbound::owner::Owner;
use tokio::sync::Notify;

/// What happens at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The process ends before it.
    Before,
    /// The process ends after it, before it hears so.
    After,
    /// The store says that it is not available, and nothing was done.
    Refused,
    /// The store did it, and the answer is lost.
    Unanswered,
    /// It panics.
    Panics,
}

/// Stops at one of the steps that change something.
#[derive(Debug)]
pub(crate) struct Stopping {
    pub(crate) keys: Arc<dyn KeyStore>,
    pub(crate) at: usize,
    pub(crate) stop: Stop,
    /// Of this owner alone.
    pub(crate) of: Option<Owner>,
    pub(crate) steps: AtomicUsize,
    pub(crate) stopped: Notify,
}

impl Stopping {
    pub(crate) fn new(keys: impl KeyStore + 'static, at: usize, stop: Stop) -> Self {
        Self {
            keys: Arc::new(keys),
            at,
            stop,
            of: None,
            steps: AtomicUsize::new(0),
            stopped: Notify::new(),
        }
    }

    async fn step<T>(&self, owner: &Owner, work: impl Future<Output = Result<T, KeyError>>) -> Result<T, KeyError> {
        // Others come in between.
        tokio::task::yield_now().await;
        let is_of = self.of.as_ref().is_none_or(|of| of == owner);
        if !is_of || self.steps.fetch_add(1, Ordering::SeqCst) != self.at {
            return work.await;
        }
        if matches!(self.stop, Stop::After | Stop::Unanswered) {
            let _done = work.await;
        }
        match self.stop {
            Stop::Refused | Stop::Unanswered => Err(KeyError::StoreUnavailable),
            Stop::Panics => panic!("on purpose"),
            Stop::Before | Stop::After => {
                self.stopped.notify_one();
                pending().await
            }
        }
    }
}

#[async_trait]
impl KeyStore for Stopping {
    async fn active(&self, owner: &Owner, purpose: Purpose) -> Result<Option<KeyHandle>, KeyError> {
        self.keys.active(owner, purpose).await
    }

    async fn get(&self, owner: &Owner, key: &KeyId) -> Result<Option<KeyHandle>, KeyError> {
        self.keys.get(owner, key).await
    }

    async fn with_thumbprint(
        &self,
        owner: &Owner,
        purpose: Purpose,
        jkt: &Thumbprint,
    ) -> Result<Option<KeyHandle>, KeyError> {
        self.keys.with_thumbprint(owner, purpose, jkt).await
    }

    async fn create(&self, owner: &Owner, spec: KeySpec) -> Result<KeyHandle, KeyError> {
        self.step(owner, self.keys.create(owner, spec)).await
    }

    async fn promote(
        &self,
        owner: &Owner,
        key: &KeyId,
        replaces: Option<&KeyId>,
        drain_until: Timestamp,
    ) -> Result<bool, KeyError> {
        self.step(owner, self.keys.promote(owner, key, replaces, drain_until))
            .await
    }

    async fn retire(&self, owner: &Owner, key: &KeyId, to: Retired) -> Result<bool, KeyError> {
        self.step(owner, self.keys.retire(owner, key, to)).await
    }
}
