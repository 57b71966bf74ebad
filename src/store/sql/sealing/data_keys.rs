//! Making data keys, and unwrapping them.

use std::sync::Arc;

use super::error::{of_kek, unavailable};
use super::rows::{Holder, Written};
use super::{PROVIDER_LIMIT, Sealing};
use crate::clock::within;
use crate::owner::DeploymentId;
use crate::store::seal::{DataKey, DataKeyId, KekError, KekId, SealError, WrapContext, Wrapped, data_key_of};
use crate::store::sql::{Row, SqlError, Tx, Value, again};

/// How often a data key is made when KEKs are rotated meanwhile.
const TRIES: usize = 8;

/// Last, whether it has ended: then its row was put back.
const ACTIVE: &str = "SELECT d.tenant, d.incarnation, d.id, d.kek, d.wrapped, CASE WHEN EXISTS (SELECT 1 FROM sb_ledger l \
    WHERE l.deployment = d.deployment AND l.kind = 'data-key' AND l.digest = d.id) THEN 1 ELSE 0 END FROM sb_data_keys d \
    WHERE d.deployment = $1 AND d.tenant = $2 AND d.incarnation = $3 AND d.state = 'active'";

/// A KEK that was stolen opens what is being replaced because of that, and nothing else.
/// Last, whether it has ended.
const BY_ID: &str = "SELECT d.tenant, d.incarnation, d.id, d.kek, d.wrapped, CASE WHEN EXISTS (SELECT 1 FROM sb_ledger l \
    WHERE l.deployment = d.deployment AND l.kind = 'data-key' AND l.digest = d.id) THEN 1 ELSE 0 END FROM sb_data_keys d \
    JOIN sb_keks k ON k.deployment = d.deployment AND k.id = d.kek \
    WHERE d.deployment = $1 AND d.id = $2 \
    AND (k.state IN ('active', 'retiring') OR (k.state = 'compromised' AND d.state = 'tainted'))";

/// Locks the row, so that this transaction and one that changes the KEK's state come after each other.
pub(super) const USE_KEK: &str =
    "UPDATE sb_keks SET uses = uses + 1 WHERE deployment = $1 AND id = $2 AND state = 'active'";

const INSERT: &str = "INSERT INTO sb_data_keys (deployment, tenant, incarnation, id, kek, wrapped, state, created_at) \
    VALUES ($1, $2, $3, $4, $5, $6, 'active', $7) ON CONFLICT DO NOTHING";

/// Locks the row, so that this transaction and one that replaces the data key come after each other.
const USE_DATA_KEY: &str = "UPDATE sb_data_keys SET state = 'active' WHERE deployment = $1 AND id = $2 AND state = 'active' \
    AND NOT EXISTS (SELECT 1 FROM sb_ledger l WHERE l.deployment = $1 AND l.kind = 'data-key' AND l.digest = $2)";

/// Whether what is about to be written is sealed under a data key that is still in use; `true` for what was sealed by another
/// means. In the writing transaction: a data key is deleted only after nothing is sealed under it, and nothing may follow.
pub(crate) async fn still_active(tx: &mut Tx, deployment: &DeploymentId, sealed: &str) -> Result<bool, SqlError> {
    let Ok(id) = data_key_of(sealed) else { return Ok(true) };
    let used = tx
        .run(USE_DATA_KEY, &[deployment.as_str().into(), (*id.as_uuid()).into()])
        .await?;
    Ok(used == 1)
}

/// Whether a value came from under a data key to another one. A holder's data key is replaced only when a KEK was stolen, so
/// whoever has that may have read the value.
pub(crate) fn is_moved(before: Option<&str>, next: Option<&str>) -> bool {
    let id = |sealed: Option<&str>| sealed.and_then(|sealed| data_key_of(sealed).ok());
    matches!((id(before), id(next)), (Some(before), Some(next)) if before != next)
}

impl Sealing {
    /// The data key that the holder's values are sealed under, made where there is none.
    pub(super) async fn active(&self, holder: &Holder) -> Result<(DataKeyId, Arc<DataKey>), SealError> {
        let mut ended = None;
        for _ in 0..TRIES {
            if let Some(written) = self.read_active(holder).await? {
                if self.has_ended(written.id) {
                    // The same row again: it was not replaced while it was read.
                    if ended == Some(written.id) {
                        return Err(self.put_back());
                    }
                    ended = Some(written.id);
                    continue;
                }
                let key = self.unwrapped(&written).await?;
                return Ok((written.id, key));
            }
            self.flights.run(&(holder.clone(), None), self.make(holder)).await?;
        }
        Err(SealError::Unavailable)
    }

    /// The holder's data key with this id.
    pub(super) async fn known(&self, holder: &Holder, id: DataKeyId) -> Result<Arc<DataKey>, SealError> {
        // Everything under it was sealed anew before it ended. What is under it still was not written by this library.
        if self.has_ended(id) {
            return Err(SealError::Refused);
        }
        if let Some(key) = self.held.get(holder, id, self.clock.monotonic()) {
            return Ok(key);
        }
        let read = async {
            if let Some(key) = self.held.get(holder, id, self.clock.monotonic()) {
                return Ok(key);
            }
            let values = [self.deployment.as_str().into(), (*id.as_uuid()).into()];
            let rows = self.database.rows(BY_ID, &values).await.map_err(unavailable)?;
            match self.written(&rows)? {
                Some(written) if written.holder == *holder => self.unwrap_and_hold(&written).await,
                _ => Err(SealError::Refused),
            }
        };
        self.flights.run(&(holder.clone(), Some(id)), read).await
    }

    pub(super) async fn read_active(&self, holder: &Holder) -> Result<Option<Written>, SealError> {
        let [tenant, incarnation] = holder.values();
        let values = [self.deployment.as_str().into(), tenant, incarnation];
        let rows = self.database.rows(ACTIVE, &values).await.map_err(unavailable)?;
        self.written(&rows)
    }

    /// The one data key that was looked for, unless it has ended.
    fn written(&self, rows: &[Row]) -> Result<Option<Written>, SealError> {
        let Some(row) = rows.first() else { return Ok(None) };
        let written = Written::read(row).map_err(|_| SealError::Refused)?;
        match row.int(5) {
            Ok(0) => Ok(Some(written)),
            _ => Err(self.put_back()),
        }
    }

    /// Unwraps a data key, once for all who ask at a time.
    pub(super) async fn unwrapped(&self, written: &Written) -> Result<Arc<DataKey>, SealError> {
        let (holder, id) = (&written.holder, written.id);
        if let Some(key) = self.held.get(holder, id, self.clock.monotonic()) {
            return Ok(key);
        }
        let unwrap = async {
            if let Some(key) = self.held.get(holder, id, self.clock.monotonic()) {
                return Ok(key);
            }
            self.unwrap_and_hold(written).await
        };
        self.flights.run(&(holder.clone(), Some(id)), unwrap).await
    }

    async fn unwrap_and_hold(&self, written: &Written) -> Result<Arc<DataKey>, SealError> {
        let key = self.unwrap(written).await.map_err(|error| of_kek(&error))?;
        let key = Arc::new(key);
        self.held
            .put(&written.holder, written.id, Arc::clone(&key), self.clock.monotonic());
        Ok(key)
    }

    /// Makes the holder's data key, unless another process is first or the KEK is rotated meanwhile.
    async fn make(&self, holder: &Holder) -> Result<(), SealError> {
        if self.read_active(holder).await?.is_some() {
            return Ok(());
        }
        let kek = self.active_kek().await?;
        let (id, key) = DataKey::random().map_err(|error| of_kek(&error))?;
        let wrapped = self
            .wrap(holder, id, &kek, &key)
            .await
            .map_err(|error| of_kek(&error))?;
        let inserted = again(|| self.insert(holder, id, &wrapped)).await;
        match inserted {
            Ok(true) => self.held.put(holder, id, Arc::new(key), self.clock.monotonic()),
            // The next look tells.
            Ok(false) | Err(SqlError::Unknown) => {}
            Err(error) => return Err(unavailable(error)),
        }
        Ok(())
    }

    async fn insert(&self, holder: &Holder, id: DataKeyId, wrapped: &Wrapped) -> Result<bool, SqlError> {
        let mut tx = self.database.begin().await?;
        let deployment = || Value::from(self.deployment.as_str());
        if tx.run(USE_KEK, &[deployment(), wrapped.kek.as_str().into()]).await? != 1 {
            tx.rollback().await;
            return Ok(false);
        }
        let [tenant, incarnation] = holder.values();
        let values = [
            deployment(),
            tenant,
            incarnation,
            (*id.as_uuid()).into(),
            wrapped.kek.as_str().into(),
            wrapped.text.as_str().into(),
            self.clock.now().unix_micros().into(),
        ];
        if tx.run(INSERT, &values).await? != 1 {
            tx.rollback().await;
            return Ok(false);
        }
        tx.commit().await?;
        Ok(true)
    }

    pub(super) async fn wrap(
        &self,
        holder: &Holder,
        id: DataKeyId,
        kek: &KekId,
        key: &DataKey,
    ) -> Result<Wrapped, KekError> {
        let context = WrapContext::new(&self.deployment, holder.tenant(), id);
        let wrapped = self.provider_in_time(self.provider.wrap(kek, key, &context)).await?;
        // What names another KEK could not be counted.
        if wrapped.kek == *kek {
            Ok(wrapped)
        } else {
            Err(KekError::Unavailable)
        }
    }

    pub(super) async fn unwrap(&self, written: &Written) -> Result<DataKey, KekError> {
        let context = WrapContext::new(&self.deployment, written.holder.tenant(), written.id);
        self.provider_in_time(self.provider.unwrap(&written.wrapped, &context))
            .await
    }

    pub(super) async fn provider_in_time<T>(
        &self,
        asked: impl Future<Output = Result<T, KekError>>,
    ) -> Result<T, KekError> {
        let deadline = self.clock.monotonic() + PROVIDER_LIMIT;
        within(&*self.clock, deadline, asked)
            .await
            .unwrap_or(Err(KekError::Unavailable))
    }
}
