//! Grants in the memory of this process.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{GrantError, GrantStore, Record, Revision};
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
