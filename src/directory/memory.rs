//! Connections in the memory of this process.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::Standing;
use super::records::{ConnectionRecord, ConnectionStore, ConnectionStoreError};
use crate::owner::{DeploymentId, TenantId};

/// How many records a store holds unless told otherwise.
const MOST: usize = 1_000_000;

/// A [`ConnectionStore`] that forgets everything when the process ends: for one process, and for tests. Cheap to clone; clones
/// share what they hold. Holds at most 1 000 000 records, settable, removed ones among them.
#[derive(Clone)]
pub struct MemoryConnections(Arc<Shared>);

struct Shared {
    most: usize,
    kept: Mutex<Kept>,
}

type Key = (DeploymentId, TenantId);

#[derive(Default)]
struct Kept {
    of: HashMap<Key, Vec<ConnectionRecord>>,
    /// Whose records have these numbers.
    numbers: BTreeMap<u64, Key>,
    last: u64,
}

impl MemoryConnections {
    /// An empty store.
    pub fn new() -> Self {
        Self::with_limit(MOST)
    }

    /// An empty store for at most `records`.
    pub fn with_limit(records: usize) -> Self {
        Self(Arc::new(Shared {
            most: records,
            kept: Mutex::default(),
        }))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing is half done between two statements that could panic.
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(record: &ConnectionRecord) -> Key {
    let connection = &record.connection;
    (connection.deployment().clone(), connection.tenant().id().clone())
}

impl Kept {
    fn number(&mut self, key: Key) -> u64 {
        self.last += 1;
        self.numbers.insert(self.last, key);
        self.last
    }
}

#[async_trait]
impl ConnectionStore for MemoryConnections {
    async fn insert(&self, record: &ConnectionRecord, seen: u64) -> Result<Option<u64>, ConnectionStoreError> {
        let mut kept = self.kept();
        if kept.numbers.len() >= self.0.most {
            return Err(ConnectionStoreError::Full { limit: self.0.most });
        }
        let key = key(record);
        let of = kept.of.get(&key).map_or(&[][..], Vec::as_slice);
        let newest = of.iter().map(|known| known.number).max().unwrap_or(0);
        let taken = of.iter().any(|known| {
            known.connection == record.connection
                || (known.standing != Standing::Removed && known.is_at(&record.connection))
        });
        if newest != seen || taken {
            return Ok(None);
        }
        let number = kept.number(key.clone());
        let record = ConnectionRecord {
            number,
            ..record.clone()
        };
        kept.of.entry(key).or_default().push(record);
        Ok(Some(number))
    }

    async fn replace(&self, expected: u64, next: &ConnectionRecord) -> Result<Option<u64>, ConnectionStoreError> {
        let mut kept = self.kept();
        let key = key(next);
        let expects = |known: &ConnectionRecord| {
            known.connection == next.connection && known.revision == expected && known.standing != Standing::Removed
        };
        if !kept.of.get(&key).is_some_and(|of| of.iter().any(expects)) {
            return Ok(None);
        }
        let number = kept.number(key.clone());
        let place = kept.of.get_mut(&key).into_iter().flatten().find(|known| expects(known));
        let before = place.map(|place| {
            let next = ConnectionRecord { number, ..next.clone() };
            std::mem::replace(place, next).number
        });
        if let Some(before) = before {
            kept.numbers.remove(&before);
        }
        Ok(Some(number))
    }

    async fn of_tenant(
        &self,
        deployment: &DeploymentId,
        tenant: &TenantId,
    ) -> Result<Vec<ConnectionRecord>, ConnectionStoreError> {
        let of = self.kept().of.get(&(deployment.clone(), tenant.clone())).cloned();
        Ok(of.unwrap_or_default())
    }

    async fn changes(
        &self,
        deployment: &DeploymentId,
        since: u64,
        most: usize,
    ) -> Result<Vec<ConnectionRecord>, ConnectionStoreError> {
        let kept = self.kept();
        let changed = kept.numbers.range(since.saturating_add(1)..);
        let of_deployment = changed.filter(|(_, (of, _))| of == deployment);
        let records = of_deployment.filter_map(|(number, key)| {
            let of = kept.of.get(key)?;
            of.iter().find(|record| record.number == *number).cloned()
        });
        Ok(records.take(most).collect())
    }

    fn is_shared(&self) -> bool {
        false
    }
}

impl Default for MemoryConnections {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryConnections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryConnections")
            .field("records", &self.kept().numbers.len())
            .finish_non_exhaustive()
    }
}
