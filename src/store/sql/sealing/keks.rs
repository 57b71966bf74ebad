//! KEKs: which one is active, and that one takes another's place.

use super::Sealing;
use super::data_keys::USE_KEK;
use super::error::{SealingError, of_kek};
use super::rows;
use crate::act::Act;
use crate::store::seal::{DataKey, DataKeyId, KekError, KekId, SealError, WrapContext};
use crate::store::sql::acts::write_act;
use crate::store::sql::{SqlError, Tx, Value, again};

/// Where a KEK is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KekState {
    /// New data keys are wrapped under it: exactly one is.
    Active,
    /// Replaced; data keys that are wrapped under it are wrapped anew by [`Sealing::rewrap`].
    Retiring,
    /// Nothing is wrapped under it, and nothing will be.
    Retired,
    /// In foreign hands: what was wrapped under it is being replaced, or was.
    Compromised,
}

impl KekState {
    fn read(text: &str) -> Result<Self, SqlError> {
        match text {
            "active" => Ok(Self::Active),
            "retiring" => Ok(Self::Retiring),
            "retired" => Ok(Self::Retired),
            "compromised" => Ok(Self::Compromised),
            _ => Err(SqlError::Malformed),
        }
    }
}

const ACTIVE: &str = "SELECT id FROM sb_keks WHERE deployment = $1 AND state = 'active'";

const INSERT: &str = "INSERT INTO sb_keks (deployment, id, state, revision, uses, changed_at) \
    VALUES ($1, $2, 'active', 0, 0, $3) ON CONFLICT DO NOTHING";

const RETIRE: &str = "UPDATE sb_keks SET state = 'retiring', revision = revision + 1, changed_at = $3 \
    WHERE deployment = $1 AND id = $2 AND state = 'active'";

const STATE: &str = "SELECT state, changed_at FROM sb_keks WHERE deployment = $1 AND id = $2";

impl Sealing {
    /// Makes the provider's current KEK the active one, and the one that was active until now retiring. Where it is active
    /// already nothing is done, and `Ok(false)` is given: may be repeated.
    ///
    /// Give every process the new KEK beforehand; data keys that are wrapped under it cannot be opened without it. The KEK is
    /// tried by wrapping and unwrapping something first.
    ///
    /// # Errors
    /// [`SealingError::NotNew`] when that KEK was in use before, [`SealingError::Kek`], [`SealingError::Database`].
    pub async fn rotate_kek(&self, act: &Act) -> Result<bool, SealingError> {
        let next = self.tried_current().await?;
        let old = self.active_kek_or_first().await?;
        if old == next {
            return Ok(false);
        }
        let done = again(|| self.replace_active(&old, &next, act)).await?;
        if let Some(state) = done {
            return match state {
                // Another process was first.
                KekState::Active => Ok(false),
                other => Err(SealingError::NotNew(other)),
            };
        }
        self.tell(None, "rotate-kek", act);
        Ok(true)
    }

    /// The state of the KEK with this id; `None` when the database does not know it.
    ///
    /// # Errors
    /// [`SealingError::Database`].
    pub async fn kek_state(&self, kek: &KekId) -> Result<Option<KekState>, SealingError> {
        let rows = self.database.rows(STATE, &self.kek_values(kek)).await?;
        Ok(rows.first().map(|row| KekState::read(row.text(0)?)).transpose()?)
    }

    /// The state of the next one where it is known already, and nothing was done; else `None`.
    pub(super) async fn replace_active(
        &self,
        old: &KekId,
        next: &KekId,
        act: &Act,
    ) -> Result<Option<KekState>, SqlError> {
        let now = self.clock.now();
        let mut tx = self.database.begin().await?;
        let [deployment, id] = self.kek_values(old);
        let retired = tx.run(RETIRE, &[deployment, id, now.unix_micros().into()]).await?;
        let known = self.state_in(&mut tx, next).await?;
        if let Some((state, _)) = known {
            tx.rollback().await;
            return Ok(Some(state));
        }
        if retired != 1 {
            tx.rollback().await;
            return Err(SqlError::Contended);
        }
        self.insert_active(&mut tx, next).await?;
        write_act(&mut tx, &self.deployment, "rotate-kek", None, act, now).await?;
        tx.commit().await?;
        Ok(None)
    }

    pub(super) async fn state_in(&self, tx: &mut Tx, kek: &KekId) -> Result<Option<(KekState, i64)>, SqlError> {
        let rows = tx.rows(STATE, &self.kek_values(kek)).await?;
        let read = |row: &super::super::Row| Ok((KekState::read(row.text(0)?)?, row.int(1)?));
        rows.first().map(read).transpose()
    }

    pub(super) async fn insert_active(&self, tx: &mut Tx, kek: &KekId) -> Result<(), SqlError> {
        let [deployment, id] = self.kek_values(kek);
        let values = [deployment, id, self.clock.now().unix_micros().into()];
        match tx.run(INSERT, &values).await? {
            1 => Ok(()),
            _ => Err(SqlError::Contended),
        }
    }

    /// The KEK that data keys are wrapped under; in a new database the provider's current one becomes it.
    pub(super) async fn active_kek(&self) -> Result<KekId, SealError> {
        match self.active_kek_or_first().await {
            Ok(kek) => Ok(kek),
            Err(SealingError::Kek(error)) => Err(of_kek(&error)),
            Err(_) => Err(SealError::Unavailable),
        }
    }

    pub(super) async fn active_kek_or_first(&self) -> Result<KekId, SealingError> {
        if let Some(kek) = self.read_active_kek().await? {
            return Ok(kek);
        }
        let first = self.tried_current().await?;
        let [deployment, id] = self.kek_values(&first);
        // Of two that are first one is, by the index on the active one.
        self.database
            .run(INSERT, &[deployment, id, self.clock.now().unix_micros().into()])
            .await?;
        self.read_active_kek().await?.ok_or(SealingError::UnknownKek)
    }

    async fn read_active_kek(&self) -> Result<Option<KekId>, SqlError> {
        let rows = self.database.rows(ACTIVE, &[self.deployment.as_str().into()]).await?;
        rows.first().map(|row| rows::kek(row, 0)).transpose()
    }

    /// The provider's current KEK, after it has wrapped and unwrapped something.
    pub(super) async fn tried_current(&self) -> Result<KekId, KekError> {
        let kek = self.provider_in_time(self.provider.current()).await?;
        let (id, key): (DataKeyId, DataKey) = DataKey::random()?;
        let context = WrapContext::new(&self.deployment, None, id);
        let wrapped = self.provider_in_time(self.provider.wrap(&kek, &key, &context)).await?;
        let unwrapped = self.provider_in_time(self.provider.unwrap(&wrapped, &context)).await?;
        let same = crate::crypto::constant_time_eq(unwrapped.expose(), key.expose());
        if same && wrapped.kek == kek {
            Ok(kek)
        } else {
            Err(KekError::Refused)
        }
    }

    /// Whether the KEK is active still, in a transaction that wraps something under it.
    pub(super) async fn still_active_kek(&self, tx: &mut Tx, kek: &KekId) -> Result<bool, SqlError> {
        Ok(tx.run(USE_KEK, &self.kek_values(kek)).await? == 1)
    }

    pub(super) fn kek_values(&self, kek: &KekId) -> [Value; 2] {
        [self.deployment.as_str().into(), kek.as_str().into()]
    }
}
