//! What a store says when something has changed, also by another process.

use std::sync::atomic::{AtomicU64, Ordering};

use super::counters::newest_number;
use super::database::Database;
use super::error::SqlError;
use crate::owner::DeploymentId;

/// Grows with every change that this process has made or learnt of.
#[derive(Debug)]
pub(super) struct Generation {
    name: &'static str,
    number: AtomicU64,
    /// The newest number of changes that was seen in the database.
    seen: AtomicU64,
}

impl Generation {
    /// Of the changes that are counted under `name`.
    pub(super) fn of(name: &'static str) -> Self {
        Self {
            name,
            number: AtomicU64::new(0),
            seen: AtomicU64::new(0),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn get(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// Something was changed here, or perhaps.
    pub(super) fn grow(&self) {
        self.number.fetch_add(1, Ordering::AcqRel);
    }

    /// Grows when others have changed something. A number that has gone back counts as well: a backup was restored.
    pub(super) async fn look(&self, database: &Database, deployment: &DeploymentId) -> Result<(), SqlError> {
        let newest = newest_number(database, deployment, self.name).await?;
        if self.seen.swap(newest, Ordering::AcqRel) != newest {
            self.grow();
        }
        Ok(())
    }
}
