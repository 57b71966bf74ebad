//! The records of keys.

use std::fmt;

use async_trait::async_trait;

use super::columns::{owner_key, owner_values};
use super::counters::next_number;
use super::database::{Database, Tx, again};
use super::error::SqlError;
use super::key_rows::{KEY, key_columns, living, state_of, stored_of};
use super::ledger::{Dead, Ledger, LedgerError};
use super::sealing::{is_moved, still_active};
use super::value::{Row, Value};
use crate::clock::Timestamp;
use crate::jose::Thumbprint;
use crate::keys::{Change, KeyError, KeyId, KeyRecord, KeyRecords, Moved, Purpose, StoredKey};
use crate::owner::Owner;

/// How many keys an owner may have that have not ended.
const MOST_OF_ONE: i64 = 64;

/// How often a key is read that changes again and again while it is looked whether it has ended.
const READS: usize = 4;

/// How many rows are given in one answer, at most.
pub(super) const MOST_ROWS: usize = 5_000;

/// [`KeyRecords`] in a [`Database`], of one deployment. Cheap to clone.
///
/// Every end of a key is written into the [`Ledger`] in the same transaction, and answered for once the anchor knows of it. A key
/// that has ended there is [`KeyError::RolledBack`] when its old row is put back. An owner has at most 64 keys that have not
/// ended.
#[derive(Clone)]
pub struct SqlKeyRecords {
    pub(super) database: Database,
    ledger: Ledger,
}

impl SqlKeyRecords {
    /// The records of the ledger's deployment in its database.
    pub fn new(database: &Database, ledger: &Ledger) -> Self {
        Self {
            database: database.clone(),
            ledger: ledger.clone(),
        }
    }

    pub(super) fn deployment(&self) -> Value {
        self.ledger.deployment().as_str().into()
    }

    /// Refuses what is sealed under a data key that is being replaced; sealed again it goes.
    async fn data_keys_in_use(
        &self,
        tx: &mut Tx,
        keys: impl IntoIterator<Item = &StoredKey> + Send,
    ) -> Result<(), SqlError> {
        let materials: Vec<&str> = keys
            .into_iter()
            .filter_map(|key| key.material.as_ref().map(|material| material.as_str()))
            .collect();
        for material in materials {
            if !still_active(tx, self.ledger.deployment(), material).await? {
                return Err(SqlError::Unavailable);
            }
        }
        Ok(())
    }

    /// The key that `sql` reads, in a row that begins with the head of the ledger; `None` where the key's columns are empty.
    async fn trusted(&self, sql: &'static str, values: &[Value]) -> Result<Option<StoredKey>, SqlError> {
        let mut dead = None;
        for _ in 0..READS {
            let rows = self.database.rows(sql, values).await?;
            let row = rows.first().ok_or_else(|| self.ledger.gone())?;
            self.ledger.look(row.u64(0)?, row.bytes(1)?).await?;
            if row.opt_text(KEY)?.is_none() {
                return Ok(None);
            }
            let (stored, buried) = stored_of(row)?;
            let record = &stored.record;
            if record.has_ended() {
                // Whoever is told of an end, perhaps after a call that came to no answer, may rely on it.
                self.ledger.anchor().await.map_err(LedgerError::into_sql)?;
            } else if self.is_dead(record, buried) {
                // It may have ended after it was read. Read once more it says so, or else an old row was put back.
                let read = Some((record.id, record.revision));
                if dead == read {
                    return Err(self.ledger.put_back());
                }
                dead = read;
                continue;
            }
            return Ok(Some(stored));
        }
        Err(SqlError::Unavailable)
    }

    /// Whether the key has ended, by its thumbprint, which may have been found `buried`, or by its name; or, in the epoch of a
    /// restored backup, was not made in it: all that were before have ended, and what was lost does not count.
    pub(super) fn is_dead(&self, record: &KeyRecord, buried: bool) -> bool {
        let (ledger, jkt) = (&self.ledger, record.jkt());
        buried
            || ledger.has_seen_end(&Dead::key(&jkt))
            || ledger.has_seen_end(&Dead::key_id(&record.owner, &record.id))
            || ledger
                .restored_epoch()
                .is_some_and(|epoch| !ledger.has_seen_end(&Dead::key_made(epoch, &jkt)))
    }

    /// Learns which keys there are, where that is in the ledger.
    pub(super) async fn follow_restored(&self) -> Result<(), SqlError> {
        if self.ledger.restored_epoch().is_some() {
            self.ledger.follow().await.map_err(LedgerError::into_sql)?;
        }
        Ok(())
    }

    async fn insert_once(&self, key: &StoredKey) -> Result<bool, SqlError> {
        const OF_OWNER: &str = "SELECT COUNT(*) FROM sb_keys WHERE deployment = $1 AND owner = $2 \
                                AND state NOT IN ('destroyed', 'compromised')";
        const INSERT: &str = "INSERT INTO sb_keys (deployment, owner, tenant, incarnation, carrier, environment, account, \
                              id, purpose, algorithm, state, revision, jkt, public, material, created_at, activated_at, \
                              drain_until, ended_at, moved) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
                              $14, $15, $16, $17, $18, $19, $20)";
        let record = &key.record;
        let mut tx = self.database.begin().await?;
        let moved = next_number(&mut tx, self.ledger.deployment(), "keys").await?;
        let of_owner = [self.deployment(), owner_key(&record.owner).into()];
        let rows = tx.rows(OF_OWNER, &of_owner).await?;
        if rows.first().ok_or(SqlError::Malformed)?.int(0)? >= MOST_OF_ONE {
            tx.rollback().await;
            return Ok(false);
        }
        self.data_keys_in_use(&mut tx, [key]).await?;
        let micros = |at: Option<Timestamp>| Value::from(at.map(|at| at.unix_micros()));
        let mut values = Vec::from(owner_values(&record.owner));
        values.extend([
            (*record.id.as_uuid()).into(),
            record.purpose.as_str().into(),
            record.public.algorithm().name().into(),
            record.state.as_str().into(),
            record.revision.into(),
            record.jkt().to_string().into(),
            record.public.to_json().into(),
            key.material.as_ref().map(|material| material.as_str()).into(),
            record.created_at.unix_micros().into(),
            micros(record.activated_at),
            micros(record.drain_until),
            micros(record.ended_at),
            moved.into(),
        ]);
        tx.run(INSERT, &values).await?;
        if let Some(epoch) = self.ledger.restored_epoch() {
            self.ledger.bury(&mut tx, &Dead::key_made(epoch, &record.jkt())).await?;
        }
        tx.commit().await?;
        // The anchor need not know of it before anybody is answered: a key that is forgotten does not count.
        self.follow_restored().await.map_err(|_error| SqlError::Unknown)?;
        Ok(true)
    }

    /// `None`: nothing was done. Else how many keys have ended.
    async fn change_once(&self, owner: &Owner, changes: &[Change]) -> Result<Option<usize>, SqlError> {
        const NOW: &str = "SELECT k.state, k.purpose, k.jkt, CASE WHEN EXISTS (SELECT 1 FROM sb_ledger l \
                           WHERE l.deployment = k.deployment AND l.kind = 'key' AND l.digest = k.jkt) THEN 1 ELSE 0 END, \
                           k.material \
                           FROM sb_keys k WHERE k.deployment = $1 AND k.owner = $2 AND k.id = $3 AND k.revision = $4";
        const CHANGE: &str = "UPDATE sb_keys SET state = $5, revision = $6, material = $7, activated_at = $8, \
                              drain_until = $9, ended_at = $10, moved = $11, \
                              exposed = CASE WHEN exposed = 1 THEN 1 ELSE $12 END \
                              WHERE deployment = $1 AND owner = $2 AND id = $3 AND revision = $4";
        let mut tx = self.database.begin().await?;
        let moved = next_number(&mut tx, self.ledger.deployment(), "keys").await?;
        self.data_keys_in_use(&mut tx, changes.iter().map(|change| &change.next))
            .await?;
        let mut ended = Vec::new();
        for change in changes {
            let next = &change.next.record;
            let mut values = vec![
                self.deployment(),
                owner_key(owner).into(),
                (*next.id.as_uuid()).into(),
                change.expected.into(),
            ];
            let rows = tx.rows(NOW, &values).await?;
            let Some(row) = rows.first() else {
                tx.rollback().await;
                return Ok(None);
            };
            let (state, jkt) = (state_of(row.text(0)?)?, next.jkt());
            let same = row.text(1)? == next.purpose.as_str() && row.text(2)? == jkt.to_string();
            if !same || next.owner != *owner || next.state < state || next.revision != change.expected.wrapping_add(1) {
                tx.rollback().await;
                return Ok(None);
            }
            let dead = Dead::key(&jkt);
            if living(state) && self.is_dead(next, row.int(3)? != 0) {
                return Err(self.ledger.put_back());
            }
            let micros = |at: Option<Timestamp>| Value::from(at.map(|at| at.unix_micros()));
            let material = change.next.material.as_ref().map(|material| material.as_str());
            values.extend([
                next.state.as_str().into(),
                next.revision.into(),
                material.into(),
                micros(next.activated_at),
                micros(next.drain_until),
                micros(next.ended_at),
                moved.into(),
                i64::from(is_moved(row.opt_text(4)?, material)).into(),
            ]);
            if tx.run(CHANGE, &values).await? != 1 {
                tx.rollback().await;
                return Ok(None);
            }
            if living(state) && next.has_ended() {
                ended.push(dead);
            }
        }
        for dead in &ended {
            self.ledger.bury(&mut tx, dead).await?;
        }
        tx.commit().await?;
        Ok(Some(ended.len()))
    }
}

macro_rules! with_head {
    ($on:literal) => {
        concat!(
            "SELECT h.n, h.mac, ",
            key_columns!(),
            " FROM sb_ledger_heads h LEFT JOIN sb_keys k ON k.deployment = h.deployment AND ",
            $on
        )
    };
}

#[async_trait]
impl KeyRecords for SqlKeyRecords {
    async fn insert(&self, key: &StoredKey) -> Result<(), KeyError> {
        if key.record.owner.deployment() != self.ledger.deployment() {
            return Err(KeyError::WrongOwner);
        }
        let dead = self.ledger.is_dead(&Dead::key(&key.record.jkt())).await;
        if dead.map_err(unavailable)? {
            return Err(KeyError::Duplicate);
        }
        match again(|| self.insert_once(key)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(KeyError::Full {
                limit: usize::try_from(MOST_OF_ONE).unwrap_or(usize::MAX),
            }),
            Err(SqlError::Conflict) => Err(KeyError::Duplicate),
            Err(SqlError::Unknown) => Err(KeyError::StoreUnavailable),
            Err(SqlError::RolledBack) => Err(KeyError::RolledBack),
            Err(_) => Err(KeyError::NotPersisted),
        }
    }

    async fn load(&self, owner: &Owner, id: &KeyId) -> Result<Option<StoredKey>, KeyError> {
        const LOAD: &str = with_head!("k.id = $2 AND k.owner = $3 WHERE h.deployment = $1");
        let values = [self.deployment(), (*id.as_uuid()).into(), owner_key(owner).into()];
        self.trusted(LOAD, &values).await.map_err(unavailable)
    }

    async fn active(&self, owner: &Owner, purpose: Purpose) -> Result<Option<StoredKey>, KeyError> {
        const ACTIVE: &str =
            with_head!("k.state = 'active' AND k.owner = $2 AND k.purpose = $3 WHERE h.deployment = $1");
        let values = [self.deployment(), owner_key(owner).into(), purpose.as_str().into()];
        self.trusted(ACTIVE, &values).await.map_err(unavailable)
    }

    async fn change(&self, owner: &Owner, changes: &[Change]) -> Result<bool, KeyError> {
        self.ledger.follow().await.map_err(unsettled)?;
        match again(|| self.change_once(owner, changes)).await {
            Ok(Some(0)) => Ok(true),
            Ok(Some(_)) => {
                self.ledger.settle().await.map_err(unsettled)?;
                Ok(true)
            }
            // There would be two active keys.
            Ok(None) | Err(SqlError::Conflict) => Ok(false),
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn moved(&self, since: Option<u64>) -> Result<(u64, Vec<Moved>), KeyError> {
        self.moved_since(since).await.map_err(unavailable)
    }

    async fn to_be_wiped(&self, most: usize) -> Result<Vec<StoredKey>, KeyError> {
        const ENDED: &str = with_head!(
            "k.state IN ('destroyed', 'compromised') AND k.material IS NOT NULL WHERE h.deployment = $1 \
             AND EXISTS (SELECT 1 FROM sb_ledger e WHERE e.deployment = k.deployment AND e.kind = 'key' \
             AND e.digest = k.jkt) ORDER BY k.id LIMIT $2"
        );
        let most = i64::try_from(most.min(MOST_ROWS)).unwrap_or(i64::MAX);
        let values = [self.deployment(), most.into()];
        let rows = self.database.rows(ENDED, &values).await.map_err(unavailable)?;
        let wiped = async {
            if let Some(row) = rows.first() {
                self.ledger.look(row.u64(0)?, row.bytes(1)?).await?;
            }
            let mut stored = rows
                .iter()
                .map(|row| Ok(stored_of(row)?.0))
                .collect::<Result<Vec<_>, _>>()?;
            // A row that says so alone is no end: what is wiped does not come back.
            stored.retain(|stored| self.has_seen_end(&stored.record.jkt()));
            Ok(stored)
        };
        wiped.await.map_err(unavailable)
    }

    fn has_seen_end(&self, jkt: &Thumbprint) -> bool {
        self.ledger.has_seen_end(&Dead::key(jkt))
    }

    async fn bury(&self, owner: &Owner, id: &KeyId) -> Result<(), KeyError> {
        if owner.deployment() != self.ledger.deployment() {
            return Err(KeyError::WrongOwner);
        }
        let dead = Dead::key_id(owner, id);
        self.ledger.follow().await.map_err(unsettled)?;
        if !self.ledger.has_seen_end(&dead) {
            let buried = again(|| async {
                let mut tx = self.database.begin().await?;
                self.ledger.bury(&mut tx, &dead).await?;
                tx.commit().await
            });
            buried.await.map_err(unavailable)?;
        }
        self.ledger.settle().await.map_err(unsettled)
    }

    async fn forget(&self, ended_before: Timestamp, most: usize) -> Result<usize, KeyError> {
        // Only what the ledger remembers.
        const FORGET: &str = "DELETE FROM sb_keys WHERE deployment = $1 AND id IN (SELECT k.id FROM sb_keys k \
                              WHERE k.deployment = $1 AND k.state IN ('destroyed', 'compromised') AND k.material IS NULL \
                              AND k.ended_at < $2 AND EXISTS (SELECT 1 FROM sb_ledger e WHERE e.deployment = k.deployment \
                              AND e.kind = 'key' AND e.digest = k.jkt) ORDER BY k.ended_at LIMIT $3)";
        let most = i64::try_from(most.min(MOST_ROWS)).unwrap_or(i64::MAX);
        let values = [self.deployment(), ended_before.unix_micros().into(), most.into()];
        let forgotten = self.database.run(FORGET, &values).await.map_err(unavailable)?;
        Ok(usize::try_from(forgotten).unwrap_or(usize::MAX))
    }
}

impl SqlKeyRecords {
    async fn moved_since(&self, since: Option<u64>) -> Result<(u64, Vec<Moved>), SqlError> {
        const NUMBER: &str = "SELECT h.n, h.mac, COALESCE((SELECT c.value FROM sb_counters c \
                              WHERE c.deployment = h.deployment AND c.name = 'keys'), 0) \
                              FROM sb_ledger_heads h WHERE h.deployment = $1";
        const MOVED: &str = "SELECT id, state, drain_until, moved FROM sb_keys \
                             WHERE deployment = $1 AND moved > $2 ORDER BY moved LIMIT $3";
        let rows = self.database.rows(NUMBER, &[self.deployment()]).await?;
        let row = rows.first().ok_or_else(|| self.ledger.gone())?;
        self.ledger.look(row.u64(0)?, row.bytes(1)?).await?;
        let mut number = row.u64(2)?;
        let Some(since) = since.filter(|since| *since < number) else {
            return Ok((number, Vec::new()));
        };
        let most = i64::try_from(MOST_ROWS).unwrap_or(i64::MAX);
        let mut rows = self
            .database
            .rows(MOVED, &[self.deployment(), since.into(), most.into()])
            .await?;
        if rows.len() == MOST_ROWS {
            // The last number may have more rows than fit; all of them come with the next look.
            let last = rows.last().ok_or(SqlError::Malformed)?.u64(3)?;
            rows.retain(|row| row.u64(3).is_ok_and(|number| number < last));
            number = last.saturating_sub(1);
        }
        let moved = |row: &Row| {
            let drain_until = row.opt_int(2)?.map(Timestamp::from_unix_micros);
            Ok(Moved::new(
                KeyId::from_uuid(row.uuid(0)?),
                state_of(row.text(1)?)?,
                drain_until,
            ))
        };
        Ok((number, rows.iter().map(moved).collect::<Result<_, SqlError>>()?))
    }
}

pub(super) fn unavailable(error: SqlError) -> KeyError {
    match error {
        SqlError::RolledBack => KeyError::RolledBack,
        _ => KeyError::StoreUnavailable,
    }
}

fn unsettled(error: LedgerError) -> KeyError {
    match error {
        LedgerError::RolledBack(_) => KeyError::RolledBack,
        _ => KeyError::StoreUnavailable,
    }
}

impl fmt::Debug for SqlKeyRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlKeyRecords")
            .field("ledger", &self.ledger)
            .finish_non_exhaustive()
    }
}
