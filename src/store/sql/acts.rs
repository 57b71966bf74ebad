//! Acts, written beside what they changed.

use uuid::Uuid;

use super::columns::owner_key;
use super::database::Tx;
use super::error::SqlError;
use crate::act::Act;
use crate::clock::Timestamp;
use crate::crypto;
use crate::owner::{DeploymentId, Owner};

/// Writes down who did `what` to `owner`, or to the deployment where there is none, in the transaction that does it.
pub(crate) async fn write_act(
    tx: &mut Tx,
    deployment: &DeploymentId,
    what: &'static str,
    owner: Option<&Owner>,
    act: &Act,
    at: Timestamp,
) -> Result<(), SqlError> {
    let mut id = [0; 16];
    crypto::random(&mut id).map_err(|_failed| SqlError::Unavailable)?;
    let values = [
        deployment.as_str().into(),
        Uuid::from_bytes(id).into(),
        what.into(),
        owner.map(owner_key).unwrap_or_default().into(),
        act.actor().into(),
        act.reason().into(),
        act.ticket().into(),
        at.unix_micros().into(),
    ];
    let insert = "INSERT INTO sb_acts (deployment, id, what, owner, actor, reason, ticket, at) \
                  VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    tx.run(insert, &values).await?;
    Ok(())
}
