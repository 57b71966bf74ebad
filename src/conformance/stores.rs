//! How a suite opens a store, for one process and for another.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::Doing;

/// How a store is opened: [`CredentialStores`](super::CredentialStores), [`GrantStores`](super::GrantStores).
pub struct Stores<O> {
    open: Box<dyn Fn() -> BoxFuture<'static, O> + Send + Sync>,
    pub(super) is_shared: bool,
    pub(super) has_deployments: bool,
    pub(super) moves: bool,
    pub(super) outage: Option<Doing<bool>>,
}

impl<O: Clone> Stores<O> {
    /// A store that `open` opens as a process does that has just begun: each time the same store.
    pub fn new<F, Fut>(open: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = O> + Send + 'static,
    {
        Self {
            open: Box::new(move || Box::pin(open())),
            is_shared: true,
            has_deployments: true,
            moves: true,
            outage: None,
        }
    }

    /// The store forgets with its process: opened again it is another one.
    #[must_use]
    pub fn within_one_process(mut self) -> Self {
        self.is_shared = false;
        self
    }

    /// The store serves one deployment.
    #[must_use]
    pub fn of_one_deployment(mut self) -> Self {
        self.has_deployments = false;
        self
    }

    /// The store's generation is always 0.
    #[must_use]
    pub fn without_generation(mut self) -> Self {
        self.moves = false;
        self
    }

    /// `outage(true)` makes the store unreachable for all who have opened it, `outage(false)` reachable again.
    #[must_use]
    pub fn with_outage(mut self, outage: impl Fn(bool) -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        self.outage = Some(Arc::new(outage));
        self
    }

    /// A process that has just begun.
    pub(super) async fn open(&self) -> O {
        (self.open)().await
    }

    /// Two processes that use one store; the same one twice where it is not shared.
    pub(super) async fn two(&self) -> (O, O) {
        let one = self.open().await;
        let other = if self.is_shared { self.open().await } else { one.clone() };
        (one, other)
    }
}

impl<O> fmt::Debug for Stores<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores")
            .field("is_shared", &self.is_shared)
            .field("has_deployments", &self.has_deployments)
            .finish_non_exhaustive()
    }
}
