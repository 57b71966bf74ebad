//! A theft is written down: no data key that there was is used for anything new.

use super::Sealing;
use super::error::SealingError;
use super::keks::KekState;
use crate::act::Act;
use crate::store::seal::KekId;
use crate::store::sql::acts::write_act;
use crate::store::sql::{SqlError, again};

/// How many data keys are marked in one transaction.
const PAGE: i64 = 500;

/// Locks the row, so that the last step and a page come after each other.
const MARKING: &str = "UPDATE sb_keks SET uses = uses + 1 WHERE deployment = $1 AND id = $2 AND state <> 'compromised'";

const NEXT: &str = "SELECT id FROM sb_data_keys WHERE deployment = $1 AND id > $2 ORDER BY id LIMIT $3";

/// All that there are, whatever their rows say: a data key stays what it is when it is wrapped anew, so each may have been wrapped
/// under the stolen KEK.
const TAINT: &str = "UPDATE sb_data_keys SET state = 'tainted' \
    WHERE deployment = $1 AND id > $2 AND id <= $3 AND state <> 'tainted'";

const COMPROMISED: &str = "UPDATE sb_keks SET state = 'compromised', revision = revision + 1, changed_at = $3 \
    WHERE deployment = $1 AND id = $2 AND state <> 'compromised'";

impl Sealing {
    /// In three steps, the last of which says that the others are done. Who is killed before it begins anew:
    ///
    /// 1. The provider's current KEK takes the stolen one's place where that is active: what is made from then on the thief does not
    ///    know. Where it stands behind the page that is marked it is marked as well, and replaced once more.
    /// 2. All data keys are marked, by pages. The stolen KEK still opens those that are not marked yet.
    /// 3. The KEK is compromised: it opens nothing but what is marked.
    pub(super) async fn mark(&self, stolen: &KekId, state: KekState, act: &Act) -> Result<(), SealingError> {
        let next = self.tried_current().await?;
        if next == *stolen {
            return Err(SealingError::NotNew(KekState::Compromised));
        }
        if state == KekState::Active {
            match again(|| self.replace_active(stolen, &next, act)).await? {
                None => self.tell(None, "rotate-kek", act),
                // Another process was first.
                Some(KekState::Active) => {}
                Some(other) => return Err(SealingError::NotNew(other)),
            }
        }
        let mut after = String::new();
        while let Some(last) = again(|| self.mark_page(stolen, &after)).await? {
            after = last;
        }
        if again(|| self.compromise(stolen, act)).await? {
            self.tell(None, "kek-stolen", act);
        }
        Ok(())
    }

    /// The last one of the page; `None` when there is none left, or another process has marked them all.
    async fn mark_page(&self, stolen: &KekId, after: &str) -> Result<Option<String>, SqlError> {
        let deployment = || self.deployment.as_str().into();
        let mut tx = self.database.begin().await?;
        if tx.run(MARKING, &self.kek_values(stolen)).await? != 1 {
            tx.rollback().await;
            return Ok(None);
        }
        let rows = tx.rows(NEXT, &[deployment(), after.into(), PAGE.into()]).await?;
        let last = rows.last().map(|row| row.text(0).map(str::to_owned)).transpose()?;
        if let Some(last) = &last {
            tx.run(TAINT, &[deployment(), after.into(), last.as_str().into()])
                .await?;
        }
        tx.commit().await?;
        Ok(last)
    }

    /// `Ok(false)`: another process was first.
    async fn compromise(&self, stolen: &KekId, act: &Act) -> Result<bool, SqlError> {
        let now = self.clock.now();
        let mut tx = self.database.begin().await?;
        let [deployment, id] = self.kek_values(stolen);
        let done = tx.run(COMPROMISED, &[deployment, id, now.unix_micros().into()]).await? == 1;
        if done {
            write_act(&mut tx, &self.deployment, "kek-stolen", None, act, now).await?;
        }
        tx.commit().await?;
        Ok(done)
    }
}
