//! Budgets of one process.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Clock;

use super::{Budget, CountedBy, Demand, Spent};

/// Budgets in memory.
#[derive(Debug)]
pub struct LocalBudget {
    clock: Arc<dyn Clock>,
}

impl LocalBudget {
    /// Full budgets.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

#[async_trait]
impl Budget for LocalBudget {
    async fn take(&self, _demand: &Demand<'_>) -> Result<Duration, Spent> {
        let _now = self.clock.monotonic();
        Ok(Duration::ZERO)
    }

    async fn look(&self, _demand: &Demand<'_>) -> Result<(), Spent> {
        Ok(())
    }

    async fn blocked(&self, _demand: &Demand<'_>, _counted_by: CountedBy, _lasts: Duration) {}
}
