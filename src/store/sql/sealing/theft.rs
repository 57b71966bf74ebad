//! When a KEK is in foreign hands: new data keys, and everything sealed anew.

use super::Sealing;
use super::error::SealingError;
use super::keks::KekState;
use super::rows::{self, Holder, Written};
use crate::act::Act;
use crate::owner::Owner;
use crate::store::seal::{KekError, KekId, SealError, data_key_of};
use crate::store::sql::ledger::Dead;
use crate::store::sql::{Ledger, SqlError, again};

/// How many data keys are read at a time.
const PAGE: i64 = 50;

/// How often a tenant's rows are looked through until none is left.
const TRIES: usize = 8;

const NEXT: &str = "SELECT tenant, incarnation, id, kek, wrapped FROM sb_data_keys \
    WHERE deployment = $1 AND state = 'tainted' AND id > $2 ORDER BY id LIMIT $3";

const LEFT: &str = "SELECT COUNT(*) FROM sb_data_keys WHERE deployment = $1 AND state = 'tainted'";

const DELETE: &str = "DELETE FROM sb_data_keys WHERE deployment = $1 AND id = $2 AND state = 'tainted'";

/// Those that have ended before, and whose rows were put back.
const DELETE_ENDED: &str = "DELETE FROM sb_data_keys WHERE deployment = $1 \
    AND id IN (SELECT digest FROM sb_ledger WHERE deployment = $1 AND kind = 'data-key')";

/// How far sealing anew has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resealed {
    /// How many data keys this call has replaced.
    pub done: u64,
    /// How many are left. 0 at the end.
    pub left: u64,
    /// How many values it has sealed anew.
    pub values: u64,
    /// How many values did not open or could not be read: their rows had been changed before. They are left as they are and never will open.
    pub refused: u64,
}

impl Sealing {
    /// The KEK `stolen` is in foreign hands. It is compromised from now on, the provider's current KEK takes its place where it
    /// was active, every data key is replaced, every value sealed anew under the new one, and the old data keys are deleted.
    ///
    /// The [`Ledger`] gets a new secret first. Whoever has the KEK and a copy of the database knows the one before, by which rows of the
    /// chain are authenticated, and together with the right to write to the database he could add some until now: connections that
    /// were made active again, or ends of what lives. So look through the connections.
    ///
    /// That keeps whoever has it from reading what is written from now on. What he has read before he knows: each row that is sealed
    /// anew is marked, and [`exposed`](Self::exposed) lists the keys, credentials and refresh tokens that are to be replaced.
    ///
    /// Take every right to write to the database from him first: who has that while this runs can hide rows of data keys from it.
    /// Give every process a new KEK as the current one, and leave the stolen one beside it until this has ended; then take it away,
    /// since whoever has it and may write to the database could use it as long as a process has it.
    ///
    /// May be dropped at any await, killed, repeated, and run by several processes at once, while tenants are served. `told` hears
    /// how far it has come, after each fifty tenants.
    ///
    /// First all data keys are marked, by pages of some hundred. A new value of a tenant is sealed under his new data key as soon as
    /// his page is marked; until all are, the stolen KEK is not yet [`Compromised`](KekState::Compromised).
    ///
    /// A data key that has ended stands in the [`Ledger`] from then on, and its row is refused when it is put back: everybody who is
    /// served from it is refused until it is gone. This deletes such rows, too.
    ///
    /// # Errors
    /// [`SealingError::NoLedger`], [`SealingError::UnknownKek`], [`SealingError::NotNew`] when the provider's current KEK is the
    /// stolen one or was in use before, [`SealingError::Broken`], [`SealingError::Kek`], [`SealingError::Ledger`],
    /// [`SealingError::Database`].
    pub async fn kek_stolen(
        &self,
        stolen: &KekId,
        act: &Act,
        told: &mut (dyn FnMut(Resealed) + Send),
    ) -> Result<Resealed, SealingError> {
        let ledger = self.ledger().ok_or(SealingError::NoLedger)?;
        ledger.follow().await?;
        match self.kek_state(stolen).await? {
            None => return Err(SealingError::UnknownKek),
            Some(KekState::Compromised) => {}
            Some(state) => self.mark(stolen, state, act).await?,
        }
        let put_back = self
            .database
            .run(DELETE_ENDED, &[self.deployment.as_str().into()])
            .await?;
        if put_back > 0 {
            let _told = self.put_back();
        }
        self.renew_chain(&ledger).await?;
        let (mut so_far, mut broken, mut after) = (Resealed::default(), None, String::new());
        loop {
            let values = [self.deployment.as_str().into(), after.as_str().into(), PAGE.into()];
            let rows = self.database.rows(NEXT, &values).await?;
            let (page, malformed, next) = rows::page(&rows)?;
            broken = broken.or(malformed);
            for written in &page {
                match self.replace(&ledger, written, &mut so_far).await {
                    Ok(replaced) => so_far.done += u64::from(replaced),
                    Err(SealingError::Kek(KekError::Refused)) => broken = Some(written.id),
                    Err(error) => return Err(error),
                }
            }
            ledger.settle().await?;
            so_far.left = self.tainted().await?;
            told(so_far);
            let Some(next) = next else { break };
            after = next;
        }
        match broken {
            Some(id) => Err(SealingError::Broken(id)),
            None => Ok(so_far),
        }
    }

    /// Seals anew all that is sealed under this data key, and ends it when nothing is left under it. `Ok(false)`: it had ended.
    async fn replace(&self, ledger: &Ledger, written: &Written, so_far: &mut Resealed) -> Result<bool, SealingError> {
        let dead = Dead::data_key(written.id);
        // What is under it by now was sealed by whoever knows it, and is not to become sound.
        if ledger.is_dead(&dead).await? {
            if again(|| self.end(ledger, written, &dead)).await? {
                let _told = self.put_back();
            }
            return Ok(false);
        }
        if written.holder.tenant().is_none() {
            self.renew_chain(ledger).await?;
        }
        let old = self.unwrapped(written).await?;
        for _ in 0..TRIES {
            let found = self.reseal(written, &old).await?;
            so_far.values += found.opened;
            // What does not open now never will.
            if found.opened == 0 {
                so_far.refused += found.refused;
                let ended = again(|| self.end(ledger, written, &dead)).await?;
                self.held.forget(written.id);
                return Ok(ended);
            }
        }
        Err(SealError::Unavailable.into())
    }

    /// Draws a new secret for the chain, unless that was done since the data key was marked under which the one before is sealed.
    async fn renew_chain(&self, ledger: &Ledger) -> Result<(), SealingError> {
        // What is sealed by another means is not opened by the stolen KEK.
        let Ok(id) = data_key_of(&ledger.sealed_secret().await?) else {
            return Ok(());
        };
        let own = Holder::of(&Owner::Deployment(self.deployment.clone()));
        if self.read_active(&own).await?.is_none_or(|active| active.id != id) {
            ledger.renew_secret().await?;
        }
        Ok(())
    }

    /// Deletes a data key, and writes down that it has ended, also where somebody has taken its row away meanwhile. `Ok(false)`:
    /// there was no row.
    async fn end(&self, ledger: &Ledger, written: &Written, dead: &Dead) -> Result<bool, SqlError> {
        let values = [self.deployment.as_str().into(), (*written.id.as_uuid()).into()];
        let mut tx = self.database.begin().await?;
        let deleted = tx.run(DELETE, &values).await? == 1;
        if !ledger.is_buried(&mut tx, dead).await? {
            ledger.bury(&mut tx, dead).await?;
        }
        tx.commit().await?;
        Ok(deleted)
    }

    async fn tainted(&self) -> Result<u64, SqlError> {
        let rows = self.database.rows(LEFT, &[self.deployment.as_str().into()]).await?;
        rows.first().ok_or(SqlError::Malformed)?.u64(0)
    }
}
