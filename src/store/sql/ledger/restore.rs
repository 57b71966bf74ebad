//! When the database really is an older one, or its anchor is lost: what somebody has to say aloud.

use super::super::acts::write_act;
use super::super::columns::owner_of;
use super::super::counters::next_number;
use super::super::database::again;
use super::super::error::{DatabaseError, SqlError};
use super::super::lives::Step;
use super::super::value::Row;
use super::chain::Dead;
use super::{Ledger, LedgerError, LedgerSetup};
use crate::act::Act;
use crate::crypto;
use crate::jose::Thumbprint;
use crate::journal::EventKind;

/// How often a new epoch is begun while others write.
const TRIES: usize = 8;

/// How many rows end in one transaction.
const BATCH: i64 = 100;

/// What accepting a restored backup has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// Keys, in this run. Their holders wipe the private halves; new keys are made when they are needed.
    pub keys: u64,
    /// Shippers' consents, in this run. They have to be asked again.
    pub grants: u64,
    /// The epoch that has begun.
    pub epoch: u64,
}

impl LedgerSetup {
    /// Takes the state of the database as it is, where the anchor is lost. Every row of the chain is checked; that no row is
    /// missing at its end is what `act` answers for, by name. Where there is an anchor this is [`open`](Self::open).
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn adopt(&self, act: &Act) -> Result<Ledger, LedgerError> {
        self.database.require_schema().await?;
        let head = self.head().await?;
        let Some(head) = head.filter(|head| head.rows > 0) else {
            return self.open().await;
        };
        if self.anchor.read().await?.is_some() {
            return self.open().await;
        }
        let known = self.secret(&head).await?;
        let (followed, _) = self.read(&known, &head, None).await?;
        again(|| async {
            let mut tx = self.database.begin().await?;
            let now = self.database.clock().now();
            write_act(&mut tx, &self.deployment, "adopt-anchor", None, act, now).await?;
            tx.commit().await
        })
        .await?;
        self.anchor.raise(&followed.place.at).await?;
        self.journal.record_at_large(EventKind::AnchorAdopted {
            deployment: self.deployment.clone(),
            act: act.clone(),
        });
        Ok(self.ledger(known, followed, false))
    }

    /// Accepts that a backup was restored. What ended after the backup was made nobody knows, so everything that could have ended
    /// does: every key (new ones are made when they are needed) and every consent (shippers are asked again). Credentials stay:
    /// what carriers do not take any more they refuse. Then a new epoch begins, which the anchor vouches for. What was written after
    /// the backup, and is lost, does not count in it, also where somebody puts it back; to that end the ledger has a row for every
    /// key that is made from then on.
    ///
    /// Stop all other processes of the deployment first. May be killed and called again: it goes on where it was, and begins
    /// another epoch where it had begun one.
    ///
    /// # Errors
    /// [`LedgerError::RolledBack`] with [`Rollback::Changed`](super::Rollback::Changed) when the chain in the database is not
    /// whole, since nobody knows then what that database is: restore another backup. Else [`LedgerError`]: call it again.
    pub async fn accept_restore(&self, act: &Act) -> Result<Restored, LedgerError> {
        self.database.require_schema().await?;
        let anchored = self.anchor.read().await?.map_or(0, |anchor| anchor.epoch);
        let head = match self.head().await? {
            Some(head) => head,
            None => self.begin().await?,
        };
        let known = self.secret(&head).await?;
        let (followed, _) = self.read(&known, &head, None).await?;
        let ledger = self.ledger(known, followed, true);
        let mut restored = Restored {
            keys: 0,
            grants: 0,
            epoch: ledger.at().epoch,
        };
        while ledger.at().epoch == restored.epoch
            && let ended @ 1.. = again(|| self.end_keys(&ledger)).await?
        {
            restored.keys += ended;
            ledger.follow().await?;
        }
        while ledger.at().epoch == restored.epoch
            && let ended @ 1.. = again(|| self.end_grants(&ledger)).await?
        {
            restored.grants += ended;
            ledger.follow().await?;
        }
        for _ in 0..TRIES {
            ledger.follow().await?;
            if ledger.at().epoch > restored.epoch {
                // Somebody else has accepted it meanwhile.
                restored.epoch = ledger.at().epoch;
                self.anchor.raise(&ledger.at()).await.map_err(LedgerError::of_anchor)?;
                return Ok(restored);
            }
            let epoch = next_epoch(restored.epoch, anchored)?;
            match self.begin_epoch(&ledger, epoch, act).await {
                // Others write, or have written since.
                Err(SqlError::Contended) => continue,
                other => other?,
            }
            ledger.settle().await?;
            self.journal.record_at_large(EventKind::RestoreAccepted {
                deployment: self.deployment.clone(),
                act: act.clone(),
            });
            return Ok(Restored { epoch, ..restored });
        }
        Err(DatabaseError::Unavailable.into())
    }

    async fn begin_epoch(&self, ledger: &Ledger, epoch: u64, act: &Act) -> Result<(), SqlError> {
        let mut tx = self.database.begin().await?;
        let now = self.database.clock().now();
        write_act(&mut tx, &self.deployment, "accept-restore", None, act, now).await?;
        ledger.bury(&mut tx, &Dead::epoch(epoch)).await?;
        tx.commit().await
    }

    async fn end_keys(&self, ledger: &Ledger) -> Result<u64, SqlError> {
        const LIVING: &str = "SELECT id, jkt FROM sb_keys WHERE deployment = $1 \
                              AND state NOT IN ('destroyed', 'compromised') ORDER BY id LIMIT $2";
        const END: &str = "UPDATE sb_keys SET state = 'destroyed', revision = revision + 1, ended_at = $3, moved = $4 \
                           WHERE deployment = $1 AND id = $2";
        let deployment = self.deployment.as_str();
        let mut tx = self.database.begin().await?;
        let moved = next_number(&mut tx, &self.deployment, "keys").await?;
        let rows = tx.rows(LIVING, &[deployment.into(), BATCH.into()]).await?;
        let now = self.database.clock().now().unix_micros();
        for row in &rows {
            let end = [deployment.into(), row.text(0)?.into(), now.into(), moved.into()];
            tx.run(END, &end).await?;
            // Where it cannot be read the row counts no more either: the epoch that begins has not made its key.
            if let Some(jkt) = row.text(1).ok().and_then(Thumbprint::from_base64url) {
                ledger.bury(&mut tx, &Dead::key(&jkt)).await?;
            }
        }
        tx.commit().await?;
        Ok(count(&rows))
    }

    async fn end_grants(&self, ledger: &Ledger) -> Result<u64, SqlError> {
        const LIVING: &str = "SELECT deployment, owner, tenant, incarnation, carrier, environment, account \
                              FROM sb_grants WHERE deployment = $1 AND stage <> 'ended' ORDER BY owner LIMIT $2";
        const END: &str = "UPDATE sb_grants SET stage = 'ended', sealed = NULL, until = NULL, second_chance = 0, \
                           revision = $3, changed_at = $4 WHERE deployment = $1 AND owner = $2";
        let deployment = self.deployment.as_str();
        let mut tx = self.database.begin().await?;
        next_number(&mut tx, &self.deployment, "grants").await?;
        let rows = tx.rows(LIVING, &[deployment.into(), BATCH.into()]).await?;
        let now = self.database.clock().now().unix_micros();
        for row in &rows {
            let mut revision = [0; 8];
            crypto::random(&mut revision).map_err(|_failed| SqlError::Unavailable)?;
            let key = row.text(1)?.into();
            let end = [deployment.into(), key, u64::from_be_bytes(revision).into(), now.into()];
            tx.run(END, &end).await?;
            let Ok(owner) = owner_of(row, 0) else { continue };
            let dead = |number| Dead::consent(&owner, number);
            let step = Step::end(ledger, dead);
            step.bury(ledger, &mut tx, dead).await?;
        }
        tx.commit().await?;
        Ok(count(&rows))
    }
}

/// How many epochs are skipped, at most.
const SKIPPED: u32 = 1 << 24;

/// After the chain's and the anchor's. How many there were nobody knows where both come back from copies, and none may be there
/// twice: so it is drawn.
fn next_epoch(now: u64, anchored: u64) -> Result<u64, LedgerError> {
    let mut skipped = [0; 4];
    crypto::random(&mut skipped).map_err(|_failed| LedgerError::Randomness)?;
    let skipped = u32::from_be_bytes(skipped) % SKIPPED;
    Ok(now.max(anchored).saturating_add(u64::from(skipped)).saturating_add(1))
}

fn count(rows: &[Row]) -> u64 {
    u64::try_from(rows.len()).unwrap_or(u64::MAX)
}
