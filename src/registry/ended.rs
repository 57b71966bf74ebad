//! Connections that were known here and have ended: what this process still has of them goes.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::owner::ConnectionId;

/// How many wait for the remover. Beyond that the oldest is left to itself: its calls are refused, and its token ends.
const MOST: usize = 16_384;

/// The connections whose end this process has learned of, and whose tokens it may still have.
#[derive(Debug, Default)]
pub(super) struct Ended(Mutex<VecDeque<ConnectionId>>);

impl Ended {
    pub(super) fn add(&self, connection: ConnectionId) {
        let mut ended = self.lock();
        if ended.len() >= MOST {
            ended.pop_front();
        }
        ended.push_back(connection);
    }

    pub(super) fn all(&self) -> Vec<ConnectionId> {
        self.lock().iter().cloned().collect()
    }

    /// Nothing is left of it here; whether it waited for that.
    pub(super) fn done(&self, connection: &ConnectionId) -> bool {
        let mut ended = self.lock();
        let before = ended.len();
        ended.retain(|waiting| waiting != connection);
        ended.len() < before
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<ConnectionId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The removals into whose records this process has written that it has tokens. No more than go on.
#[derive(Debug, Default)]
pub(super) struct Announced(Mutex<HashSet<ConnectionId>>);

impl Announced {
    pub(super) fn has(&self, connection: &ConnectionId) -> bool {
        self.lock().contains(connection)
    }

    pub(super) fn set(&self, connection: &ConnectionId, is_announced: bool) {
        let mut announced = self.lock();
        if is_announced {
            announced.insert(connection.clone());
        } else {
            announced.remove(connection);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<ConnectionId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owner::{AccountId, CarrierId, DeploymentId, Environment, TenantId};

    #[test]
    fn where_no_remover_runs_they_take_bounded_memory() {
        let ended = Ended::default();
        let connection = |number: usize| {
            ConnectionId::new(
                DeploymentId::default_deployment(),
                TenantId::new(&format!("t{number}")).unwrap().into(),
                CarrierId::new("ups").unwrap(),
                Environment::Sandbox,
                AccountId::main(),
            )
        };
        for number in 0..=MOST {
            ended.add(connection(number));
        }
        assert_eq!(ended.all().len(), MOST);
        assert!(!ended.done(&connection(0)) && ended.done(&connection(MOST)));
        assert_eq!(ended.all().len(), MOST - 1);
    }
}
