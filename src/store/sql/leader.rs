//! Who leads, by one row for each task.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::database::Database;
use crate::clock::Timestamp;
use crate::leader::{LeadUnknown, Leadership};
use crate::owner::DeploymentId;

/// [`Leadership`] in a [`Database`], of one deployment.
///
/// Times are those of the processes: a lead lasts longer, or less long, by what their clocks differ. One that ends later than
/// twice its time from now was taken by a clock that was wrong, and counts for nothing.
#[derive(Clone, Debug)]
pub struct SqlLeadership {
    database: Database,
    deployment: DeploymentId,
}

impl SqlLeadership {
    /// Leads of this deployment.
    pub fn new(database: &Database, deployment: &DeploymentId) -> Self {
        Self {
            database: database.clone(),
            deployment: deployment.clone(),
        }
    }
}

#[async_trait]
impl Leadership for SqlLeadership {
    async fn lead(&self, task: &str, process: Uuid, now: Timestamp, lasts: Duration) -> Result<bool, LeadUnknown> {
        const LEAD: &str = "INSERT INTO sb_leads (deployment, task, process, ends_at) VALUES ($1, $2, $3, $4) \
                            ON CONFLICT (deployment, task) DO UPDATE SET process = excluded.process, \
                            ends_at = excluded.ends_at WHERE sb_leads.process = excluded.process OR sb_leads.ends_at <= $5 \
                            OR sb_leads.ends_at > $6";
        let values = [
            self.deployment.as_str().into(),
            task.into(),
            process.into(),
            (now + lasts).unix_micros().into(),
            now.unix_micros().into(),
            (now + lasts + lasts).unix_micros().into(),
        ];
        let taken = self.database.run(LEAD, &values).await;
        Ok(taken.map_err(|_unknown| LeadUnknown)? == 1)
    }

    async fn resign(&self, task: &str, process: Uuid) -> Result<bool, LeadUnknown> {
        const RESIGN: &str = "DELETE FROM sb_leads WHERE deployment = $1 AND task = $2 AND process = $3";
        let values = [self.deployment.as_str().into(), task.into(), process.into()];
        let gone = self.database.run(RESIGN, &values).await;
        Ok(gone.map_err(|_unknown| LeadUnknown)? == 1)
    }
}
