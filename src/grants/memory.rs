//! Grants in the memory of this process.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{GrantError, GrantState, GrantStore, Record, Revision};
use crate::owner::ConnectionId;

/// A [`GrantStore`] that forgets everything when the process ends: for tests, and for issuers that do not rotate, where the
/// application puts each grant again after a start.
///
/// A refresh token that has rotated since is lost with the process, and with it the shipper's consent. Holds 1 000 000 grants
/// by default.
pub struct MemoryGrants {
    records: Mutex<HashMap<ConnectionId, Record>>,
    limit: usize,
    generation: AtomicU64,
}

impl MemoryGrants {
    /// How many grants a store holds by default.
    pub const DEFAULT_LIMIT: usize = 1_000_000;

    /// An empty store.
    pub fn new() -> Self {
        Self {
            records: Mutex::default(),
            limit: Self::DEFAULT_LIMIT,
            generation: AtomicU64::new(0),
        }
    }

    /// Holds at most `grants`; a further connection's is refused, and none is dropped to make room.
    #[must_use]
    pub fn with_limit(mut self, grants: usize) -> Self {
        self.limit = grants;
        self
    }

    /// How many grants the store holds, ended ones too.
    pub fn len(&self) -> usize {
        self.records().len()
    }

    /// Whether the store holds no grant.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn records(&self) -> MutexGuard<'_, HashMap<ConnectionId, Record>> {
        // Nothing is half done between two statements that could panic.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl GrantStore for MemoryGrants {
    async fn load(&self, connection: &ConnectionId) -> Result<Option<Record>, GrantError> {
        Ok(self.records().get(connection).cloned())
    }

    async fn put(&self, connection: &ConnectionId, record: &Record) -> Result<(), GrantError> {
        let mut records = self.records();
        if records.len() >= self.limit && !records.contains_key(connection) {
            return Err(GrantError::Full { limit: self.limit });
        }
        records.insert(connection.clone(), record.clone());
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    async fn replace(
        &self,
        connection: &ConnectionId,
        expected: Revision,
        record: &Record,
    ) -> Result<bool, GrantError> {
        let mut records = self.records();
        let Some(kept) = records.get_mut(connection).filter(|kept| kept.revision == expected) else {
            return Ok(false);
        };
        *kept = record.clone();
        if let GrantState::Ended = record.state {
            self.generation.fetch_add(1, Ordering::Release);
        }
        Ok(true)
    }

    async fn remove(&self, connection: &ConnectionId) -> Result<bool, GrantError> {
        let removed = self.records().remove(connection).is_some();
        if removed {
            self.generation.fetch_add(1, Ordering::Release);
        }
        Ok(removed)
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

impl Default for MemoryGrants {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryGrants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryGrants")
            .field("grants", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;

    use super::*;
    use crate::clock::{ManualClock, Monotonic, Timestamp};
    use crate::grants::{Grant, Grants, Rotation};
    use crate::owner::{AccountId, CarrierId, DeploymentId, Environment, TenantId};

    #[test]
    fn an_end_is_a_change_and_a_refresh_is_none() {
        let now = Timestamp::from_unix_seconds(1_800_000_000);
        let connection = ConnectionId::new(
            DeploymentId::default_deployment(),
            TenantId::new("acme").unwrap().into(),
            CarrierId::new("c1").unwrap(),
            Environment::Sandbox,
            AccountId::main(),
        );
        let store = Arc::new(MemoryGrants::new());
        let grants = Grants::new(store.clone(), Arc::new(ManualClock::at(now)));
        let claim = || {
            let claim = grants.claim(&connection, Rotation::PreviousDies, Monotonic::ORIGIN);
            claim.now_or_never().unwrap().unwrap()
        };
        let put = grants.put(&connection, Grant::new("sEcReTmArKeR", now));
        put.now_or_never().unwrap().unwrap();
        let before = store.generation();
        claim().settle(None, None).now_or_never().unwrap().unwrap();
        assert_eq!(store.generation(), before);
        claim().end().now_or_never().unwrap().unwrap();
        assert!(store.generation() > before);
    }
}
