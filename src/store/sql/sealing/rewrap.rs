//! Wrapping data keys under the active KEK that are wrapped under one before it.

use super::Sealing;
use super::error::SealingError;
use super::rows::{self, Written};
use crate::act::Act;
use crate::store::seal::{DataKeyId, KekError, KekId};
use crate::store::sql::acts::write_act;
use crate::store::sql::{SqlError, Value, again};

/// How many data keys are read at a time.
const PAGE: i64 = 100;

/// How often the active KEK may change while data keys are wrapped anew.
const TRIES: usize = 8;

const RETIRING: &str = "SELECT id FROM sb_keks WHERE deployment = $1 AND state = 'retiring' ORDER BY id";

const LEFT: &str = "SELECT COUNT(*) FROM sb_data_keys d \
    JOIN sb_keks k ON k.deployment = d.deployment AND k.id = d.kek \
    WHERE d.deployment = $1 AND k.state = 'retiring'";

const NEXT: &str = "SELECT tenant, incarnation, id, kek, wrapped FROM sb_data_keys \
    WHERE deployment = $1 AND kek = $2 AND id > $3 ORDER BY id LIMIT $4";

const REWRAP: &str = "UPDATE sb_data_keys SET kek = $4, wrapped = $5 \
    WHERE deployment = $1 AND id = $2 AND kek = $3 AND wrapped = $6";

/// Only when nothing is wrapped under it: counted by the same statement, after nothing more can be wrapped under it.
const RETIRED: &str = "UPDATE sb_keks SET state = 'retired', revision = revision + 1, changed_at = $3 \
    WHERE deployment = $1 AND id = $2 AND state = 'retiring' \
    AND NOT EXISTS (SELECT 1 FROM sb_data_keys d WHERE d.deployment = $1 AND d.kek = $2)";

/// How far wrapping anew has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rewrapped {
    /// How many data keys this call has wrapped anew.
    pub done: u64,
    /// How many are left under KEKs that are retiring. 0 at the end.
    pub left: u64,
}

impl Sealing {
    /// Wraps every data key anew that is wrapped under a retiring KEK, and ends each such KEK when nothing is left under it.
    /// `told` hears how far it has come, after each hundred.
    ///
    /// May be dropped at any await, killed, repeated, and run by several processes at once, beside tenants that are made
    /// meanwhile: each data key is one transaction. Data keys themselves stay what they are, so nothing is sealed anew and no
    /// other process notices.
    ///
    /// # Errors
    /// [`SealingError::Broken`] when wrapped keys do not open, after all others are done: their KEK does not end.
    /// [`SealingError::Kek`], [`SealingError::Database`].
    pub async fn rewrap(&self, act: &Act, told: &mut (dyn FnMut(Rewrapped) + Send)) -> Result<Rewrapped, SealingError> {
        let (mut so_far, mut broken) = (Rewrapped::default(), None);
        for kek in self.retiring().await? {
            let mut after = String::new();
            loop {
                let (page, malformed, next) = self.page(&kek, &after).await?;
                broken = broken.or(malformed);
                for written in &page {
                    match self.rewrap_one(written).await {
                        Ok(done) => so_far.done += u64::from(done),
                        Err(SealingError::Kek(KekError::Refused)) => broken = Some(written.id),
                        Err(error) => return Err(error),
                    }
                }
                so_far.left = self.left().await?;
                told(so_far);
                let Some(next) = next else { break };
                after = next;
            }
            self.end_retiring(&kek, act).await?;
        }
        so_far.left = self.left().await?;
        match broken {
            Some(id) => Err(SealingError::Broken(id)),
            None => Ok(so_far),
        }
    }

    async fn page(
        &self,
        kek: &KekId,
        after: &str,
    ) -> Result<(Vec<Written>, Option<DataKeyId>, Option<String>), SqlError> {
        let values = [
            self.deployment.as_str().into(),
            kek.as_str().into(),
            after.into(),
            PAGE.into(),
        ];
        let rows = self.database.rows(NEXT, &values).await?;
        rows::page(&rows)
    }

    async fn retiring(&self) -> Result<Vec<KekId>, SqlError> {
        let rows = self.database.rows(RETIRING, &[self.deployment.as_str().into()]).await?;
        rows.iter().map(|row| rows::kek(row, 0)).collect()
    }

    async fn left(&self) -> Result<u64, SqlError> {
        let rows = self.database.rows(LEFT, &[self.deployment.as_str().into()]).await?;
        rows.first().ok_or(SqlError::Malformed)?.u64(0)
    }

    /// `Ok(false)`: another process has done it.
    async fn rewrap_one(&self, written: &Written) -> Result<bool, SealingError> {
        let key = self.unwrap(written).await?;
        for _ in 0..TRIES {
            let next = self.active_kek_or_first().await?;
            let wrapped = self.wrap(&written.holder, written.id, &next, &key).await?;
            let old = &written.wrapped;
            let values = [
                self.deployment.as_str().into(),
                (*written.id.as_uuid()).into(),
                old.kek.as_str().into(),
                wrapped.kek.as_str().into(),
                wrapped.text.as_str().into(),
                old.text.as_str().into(),
            ];
            if let Some(changed) = again(|| self.write_rewrapped(&next, &values)).await? {
                return Ok(changed);
            }
        }
        Err(SealingError::Kek(KekError::Unavailable))
    }

    /// `None`: the KEK is not the active one any more.
    async fn write_rewrapped(&self, next: &KekId, values: &[Value]) -> Result<Option<bool>, SqlError> {
        let mut tx = self.database.begin().await?;
        if !self.still_active_kek(&mut tx, next).await? {
            tx.rollback().await;
            return Ok(None);
        }
        let changed = tx.run(REWRAP, values).await?;
        tx.commit().await?;
        Ok(Some(changed == 1))
    }

    /// Ends the KEK, unless something is wrapped under it still.
    async fn end_retiring(&self, kek: &KekId, act: &Act) -> Result<(), SealingError> {
        let now = self.clock.now();
        let ended = again(|| async {
            let mut tx = self.database.begin().await?;
            let [deployment, id] = self.kek_values(kek);
            let ended = tx.run(RETIRED, &[deployment, id, now.unix_micros().into()]).await? == 1;
            if ended {
                write_act(&mut tx, &self.deployment, "retire-kek", None, act, now).await?;
            }
            tx.commit().await?;
            Ok(ended)
        })
        .await?;
        if ended {
            self.tell(None, "retire-kek", act);
        }
        Ok(())
    }
}
