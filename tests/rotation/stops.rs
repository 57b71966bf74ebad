//! A key store behind which a process can be stopped at any step.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shipbound::keys::{KeyError, KeyStore};
use shipbound::owner::Owner;
use tokio::sync::Notify;

use crate::steps::{KeyStep, key_store_by_steps};

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

    async fn step<T>(
        &self,
        _: KeyStep,
        owner: &Owner,
        work: impl Future<Output = Result<T, KeyError>>,
    ) -> Result<T, KeyError> {
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

key_store_by_steps!(Stopping);
