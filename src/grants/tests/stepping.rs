//! A store that pauses before and after all that it does, and fails as it is told.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::Mutex;
use std::task::Poll;

use super::super::*;

/// How one operation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Not done.
    Refused,
    /// Done, and the answer lost.
    Lost,
}

pub(super) struct Stepping {
    pub(super) kept: MemoryGrants,
    faults: Mutex<VecDeque<Fault>>,
}

impl Stepping {
    pub(super) fn new() -> Self {
        Self {
            kept: MemoryGrants::new(),
            faults: Mutex::default(),
        }
    }

    /// How the next operations go; those after them go well.
    pub(super) fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        *self.faults.lock().unwrap() = faults.into_iter().collect();
    }

    /// How many faults have not been met yet.
    pub(super) fn left(&self) -> usize {
        self.faults.lock().unwrap().len()
    }

    async fn go<T>(&self, operation: impl Future<Output = Result<T, GrantError>>) -> Result<T, GrantError> {
        let fault = self.faults.lock().unwrap().pop_front().unwrap_or(Fault::None);
        step().await;
        if fault == Fault::Refused {
            return Err(GrantError::Unavailable);
        }
        let outcome = operation.await;
        step().await;
        if fault == Fault::Lost {
            return Err(GrantError::Unavailable);
        }
        outcome
    }
}

/// Pending once.
pub(super) async fn step() {
    let mut polled = false;
    poll_fn(|context| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[async_trait]
impl GrantStore for Stepping {
    async fn load(&self, connection: &ConnectionId) -> Result<Option<Record>, GrantError> {
        self.go(self.kept.load(connection)).await
    }

    async fn put(&self, connection: &ConnectionId, record: &Record) -> Result<(), GrantError> {
        self.go(self.kept.put(connection, record)).await
    }

    async fn replace(
        &self,
        connection: &ConnectionId,
        expected: Revision,
        record: &Record,
    ) -> Result<bool, GrantError> {
        self.go(self.kept.replace(connection, expected, record)).await
    }

    async fn remove(&self, connection: &ConnectionId) -> Result<bool, GrantError> {
        self.go(self.kept.remove(connection)).await
    }

    fn generation(&self) -> u64 {
        self.kept.generation()
    }
}

impl fmt::Debug for Stepping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stepping").finish_non_exhaustive()
    }
}
