//! Numbers that only grow, by which processes learn of each other's changes.

use super::database::{Database, Tx};
use super::error::SqlError;
use crate::owner::DeploymentId;

/// The next number of this name, for a change in the same transaction. The row stays locked until the commit, so numbers are
/// committed in their order: who has seen one has seen all before it. Take it first in a transaction.
pub(crate) async fn next_number(tx: &mut Tx, deployment: &DeploymentId, name: &'static str) -> Result<u64, SqlError> {
    const NEXT: &str = "INSERT INTO sb_counters (deployment, name, value) VALUES ($1, $2, 1) \
                        ON CONFLICT (deployment, name) DO UPDATE SET value = sb_counters.value + 1 RETURNING value";
    let rows = tx.rows(NEXT, &[deployment.as_str().into(), name.into()]).await?;
    rows.first().ok_or(SqlError::Malformed)?.u64(0)
}

/// The newest number of this name; 0 where nothing has changed yet.
pub(crate) async fn newest_number(
    database: &Database,
    deployment: &DeploymentId,
    name: &'static str,
) -> Result<u64, SqlError> {
    const NEWEST: &str = "SELECT value FROM sb_counters WHERE deployment = $1 AND name = $2";
    let rows = database
        .rows(NEWEST, &[deployment.as_str().into(), name.into()])
        .await?;
    rows.first().map_or(Ok(0), |row| row.u64(0))
}
