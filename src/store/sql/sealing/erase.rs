//! The data key of a holder of whom nothing is left.

use super::Sealing;
use super::rows::Holder;
use crate::act::Act;
use crate::owner::Owner;
use crate::store::seal::DataKeyId;
use crate::store::sql::acts::write_act;
use crate::store::sql::ledger::Dead;
use crate::store::sql::{Ledger, SqlError, again};

/// Locks the rows, so that this transaction and one that writes a sealed value come after each other.
const LOCK: &str = "UPDATE sb_data_keys SET state = state WHERE deployment = $1 AND tenant = $2 AND incarnation = $3 \
    RETURNING id";

/// Whether a value is left. The private half of a key that has ended is none: it never is opened again.
const LEFT: &str = "SELECT CASE WHEN \
    EXISTS (SELECT 1 FROM sb_keys WHERE deployment = $1 AND tenant = $2 AND incarnation = $3 \
    AND material IS NOT NULL AND state NOT IN ('destroyed', 'compromised')) \
    OR EXISTS (SELECT 1 FROM sb_credentials WHERE deployment = $1 AND tenant = $2 AND incarnation = $3 AND sealed IS NOT NULL) \
    OR EXISTS (SELECT 1 FROM sb_grants WHERE deployment = $1 AND tenant = $2 AND incarnation = $3 AND sealed IS NOT NULL) \
    THEN 1 ELSE 0 END";

const DELETE: &str = "DELETE FROM sb_data_keys WHERE deployment = $1 AND tenant = $2 AND incarnation = $3 AND id = $4";

impl Sealing {
    /// Ends the data keys of this connection's tenant, unless a value of his is left: of any of his connections. `Ok(false)`: one is,
    /// or there is no data key. Who seals something meanwhile does so again, under a new one. The caller settles.
    pub(in super::super) async fn erase(&self, ledger: &Ledger, owner: &Owner, act: &Act) -> Result<bool, SqlError> {
        let holder = Holder::of(owner);
        // The deployment's own is never without a value: the ledger's secret.
        if holder.tenant().is_none() || *owner.deployment() != self.deployment {
            return Ok(false);
        }
        let ended = again(|| self.try_erase(ledger, &holder, owner, act)).await?;
        ended.iter().for_each(|id| self.held.forget(*id));
        Ok(!ended.is_empty())
    }

    async fn try_erase(
        &self,
        ledger: &Ledger,
        holder: &Holder,
        owner: &Owner,
        act: &Act,
    ) -> Result<Vec<DataKeyId>, SqlError> {
        let [tenant, incarnation] = holder.values();
        let values = vec![self.deployment.as_str().into(), tenant, incarnation];
        let mut tx = self.database.begin().await?;
        let rows = tx.rows(LOCK, &values).await?;
        let left = tx.rows(LEFT, &values).await?;
        if rows.is_empty() || left.first().ok_or(SqlError::Malformed)?.int(0)? != 0 {
            tx.rollback().await;
            return Ok(Vec::new());
        }
        let ids = rows.iter().map(|row| Ok(DataKeyId::from_uuid(row.uuid(0)?)));
        let ids = ids.collect::<Result<Vec<_>, SqlError>>()?;
        // Those alone that are locked: another may have been made since, and something sealed under it.
        for id in &ids {
            let mut values = values.clone();
            values.push((*id.as_uuid()).into());
            tx.run(DELETE, &values).await?;
        }
        let now = self.clock.now();
        write_act(&mut tx, &self.deployment, "erase-data-key", Some(owner), act, now).await?;
        for id in &ids {
            let dead = Dead::data_key(*id);
            if !ledger.is_buried(&mut tx, &dead).await? {
                ledger.bury(&mut tx, &dead).await?;
            }
        }
        tx.commit().await?;
        Ok(ids)
    }
}
