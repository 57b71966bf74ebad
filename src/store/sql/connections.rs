//! Connections in a database.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::connection_rows::{CHANGES, NUMBER, OF_TENANT, is_sound, reads, record_of, row_of};
use super::database::{Database, Tx, again};
use super::error::SqlError;
use super::ledger::{Dead, Digested, Ledger, LedgerError};
use super::value::{Row, Value};
use super::{next_number, owner_key, owner_values, write_act};
use crate::directory::{ConnectionRecord, ConnectionStore, ConnectionStoreError, Standing};
use crate::owner::{ConnectionId, DeploymentId, Owner, TenantId};

/// How often what was read is read again because somebody changed it meanwhile.
const READS: usize = 4;

/// A [`ConnectionStore`] in a [`Database`], for the deployment of a [`Ledger`].
///
/// Each act is written down in the transaction of what it did. How a record reads is written into the ledger, and so is each
/// revision that was replaced: a row that somebody writes by hand, or an old one that is put back, of a connection before it was
/// suspended or removed, is [`ConnectionStoreError::RolledBack`], and so is one that is deleted and added anew. A row that cannot be
/// read costs its connection alone, whoever wrote it; what only a newer version knows of a row stays when it is written anew.
///
/// ```no_run
/// use shipbound::registry::Registry;
/// use shipbound::store::sql::{Database, Ledger, SqlConnections};
///
/// # async fn open(database: Database, ledger: Ledger) -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Registry::builder(SqlConnections::new(&database, &ledger)).open().await?;
/// # let _ = registry;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SqlConnections {
    database: Database,
    ledger: Ledger,
    /// Rows of nobody known that were told of.
    told: Arc<Mutex<HashSet<u64>>>,
}

/// What was read.
struct Found {
    records: Vec<ConnectionRecord>,
    /// The numbers of rows of which not even the connection can be read; 0 where the number cannot either.
    of_nobody: Vec<u64>,
}

/// How many such rows are remembered. Beyond that they are told of anew.
const MOST_TOLD: usize = 1_024;

impl SqlConnections {
    /// The connections of the ledger's deployment in `database`, which has been migrated.
    pub fn new(database: &Database, ledger: &Ledger) -> Self {
        Self {
            database: database.clone(),
            ledger: ledger.clone(),
            told: Arc::default(),
        }
    }

    fn serves(&self, deployment: &DeploymentId) -> Result<(), SqlError> {
        match deployment == self.ledger.deployment() {
            true => Ok(()),
            false => Err(SqlError::Unavailable),
        }
    }

    /// Reads records, none of which has been buried.
    async fn read(&self, sql: &'static str, values: &[Value]) -> Result<Found, SqlError> {
        let mut unsound = None;
        for _ in 0..READS {
            let rows = self.database.rows(sql, values).await?;
            // Whatever was buried with these rows or before is known then, so a row that was put back is seen to be dead.
            self.followed().await?;
            match self.sound(&rows)? {
                Ok(read) => return Ok(read),
                Err(row) if unsound == Some(row) => return Err(self.ledger.put_back()),
                // Or it was replaced after it was read.
                Err(row) => unsound = Some(row),
            }
        }
        Err(SqlError::Unavailable)
    }

    /// The records of rows; or number and revision of the first one that the chain does not have as it reads.
    fn sound(&self, rows: &[Row]) -> Result<Result<Found, (u64, u64)>, SqlError> {
        let seen = self.ledger.seen();
        let mut found = Found {
            records: Vec::with_capacity(rows.len()),
            of_nobody: Vec::new(),
        };
        for row in rows {
            let Ok(record) = record_of(self.ledger.deployment(), row) else {
                found.of_nobody.push(row.u64(NUMBER).unwrap_or(0));
                continue;
            };
            // One that is not let through needs no proof.
            if record.standing != Standing::Unreadable && !is_sound(&record, row, &seen)? {
                return Ok(Err((record.number, record.revision)));
            }
            found.records.push(record);
        }
        Ok(Ok(found))
    }

    fn tell(&self, of_nobody: &[u64]) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for number in of_nobody {
            if told.len() >= MOST_TOLD {
                told.clear();
            }
            if told.insert(*number) {
                self.ledger.unreadable(*number);
            }
        }
    }

    async fn followed(&self) -> Result<(), SqlError> {
        self.ledger.follow().await.map_err(LedgerError::into_sql)
    }

    async fn inserted(&self, record: &ConnectionRecord, seen: u64) -> Result<Option<u64>, SqlError> {
        let owner = Owner::Connection(record.connection.clone());
        if self.ledger.is_dead(&Dead::connection(&owner, record.revision)).await? {
            // Its row was deleted: a removed connection leaves one.
            return Err(SqlError::RolledBack);
        }
        let mut tx = self.database.begin().await?;
        let deployment = record.connection.deployment();
        // First: whoever holds it is alone.
        let number = next_number(&mut tx, deployment, COUNTER).await?;
        let of_tenant = [
            deployment.as_str().into(),
            record.connection.tenant().id().as_str().into(),
        ];
        let rows = tx.rows(OF_TENANT, &of_tenant).await?;
        // Where one cannot be told from the new one, nothing is added.
        let known: Vec<_> = rows
            .iter()
            .map(|row| record_of(deployment, row))
            .collect::<Result<_, _>>()?;
        let newest = known.iter().map(|known| known.number).max().unwrap_or(0);
        let taken = known.iter().any(|known| {
            known.connection == record.connection
                || (known.standing != Standing::Removed && known.is_at(&record.connection))
        });
        if newest != seen || taken {
            tx.rollback().await;
            return Ok(None);
        }
        let row = row_of(record, number, None)?;
        let mut values = owner_values(&owner).to_vec();
        values.extend(row.clone());
        tx.run(INSERT, &values).await?;
        self.note(&mut tx, record, "connection.added").await?;
        let reads = Dead::connection_reads(&reads(&owner, &Row(row.to_vec()), 0)?);
        self.ledger.bury(&mut tx, &reads).await?;
        tx.commit().await?;
        self.ledger.settle().await.map_err(|_error| SqlError::Unknown)?;
        Ok(Some(number))
    }

    async fn replaced(&self, expected: u64, next: &ConnectionRecord) -> Result<Option<u64>, SqlError> {
        let owner = Owner::Connection(next.connection.clone());
        let dead = Dead::connection(&owner, expected);
        if self.ledger.has_seen_end(&dead) {
            return Ok(None);
        }
        let mut tx = self.database.begin().await?;
        let deployment = next.connection.deployment();
        let number = next_number(&mut tx, deployment, COUNTER).await?;
        let mut values = vec![deployment.as_str().into(), owner_key(&owner).into(), expected.into()];
        if self.ledger.is_buried(&mut tx, &dead).await? {
            // Replaced by others, or a row that was put back: the next read says which.
            tx.rollback().await;
            return Ok(None);
        }
        let before = tx.rows(BEFORE, &values).await?;
        let Some(before) = before.first() else {
            tx.rollback().await;
            return Ok(None);
        };
        // What a newer version knows is taken along, and vouched for: only from a row that is as the chain has it.
        let as_it_reads = Dead::connection_reads(&reads(&owner, before, 0)?);
        if !self.ledger.is_buried(&mut tx, &as_it_reads).await? {
            tx.rollback().await;
            return Ok(None);
        }
        let row = row_of(next, number, Some(before.text(2)?))?;
        values.extend(row.clone());
        if tx.run(REPLACE, &values).await? == 0 {
            tx.rollback().await;
            return Ok(None);
        }
        let what = match next.standing {
            Standing::Active => "connection.active",
            Standing::Suspended => "connection.suspended",
            Standing::Removing => "connection.removing",
            Standing::Removed => "connection.removed",
            Standing::Unreadable => return Err(SqlError::Malformed),
        };
        // What a process writes down of its tokens is nobody's act.
        let is_act = before.int(4)? != next.changed_at.unix_micros() || before.text(0)? != next.standing.as_str();
        if is_act {
            self.note(&mut tx, next, what).await?;
        }
        self.ledger.bury(&mut tx, &dead).await?;
        let reads = Dead::connection_reads(&reads(&owner, &Row(row.to_vec()), 0)?);
        self.ledger.bury(&mut tx, &reads).await?;
        tx.commit().await?;
        // Written, and not answered for before the anchor knows.
        self.ledger.settle().await.map_err(|_error| SqlError::Unknown)?;
        Ok(Some(number))
    }

    async fn note(&self, tx: &mut Tx, record: &ConnectionRecord, what: &'static str) -> Result<(), SqlError> {
        let owner = Owner::Connection(record.connection.clone());
        let deployment = record.connection.deployment();
        write_act(tx, deployment, what, Some(&owner), &record.act, record.changed_at).await
    }
}

/// Under which name the changes of connections are numbered.
const COUNTER: &str = "connections";

const INSERT: &str = "INSERT INTO sb_connections (deployment, owner, tenant, incarnation, carrier, environment, account, \
                      state, revision, settings, changed, changed_at) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";

const REPLACE: &str = "UPDATE sb_connections SET state = $4, revision = $5, settings = $6, changed = $7, changed_at = $8 \
                       WHERE deployment = $1 AND owner = $2 AND revision = $3 AND state <> 'removed'";

const BEFORE: &str = "SELECT state, revision, settings, changed, changed_at FROM sb_connections \
                      WHERE deployment = $1 AND owner = $2 AND revision = $3";

impl From<SqlError> for ConnectionStoreError {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::RolledBack => Self::RolledBack,
            SqlError::Malformed => Self::Unreadable,
            _ => Self::Unavailable,
        }
    }
}

#[async_trait]
impl ConnectionStore for SqlConnections {
    async fn insert(&self, record: &ConnectionRecord, seen: u64) -> Result<Option<u64>, ConnectionStoreError> {
        self.serves(record.connection.deployment())?;
        match again(|| self.inserted(record, seen)).await {
            // Another process was first.
            Err(SqlError::Conflict) => Ok(None),
            other => Ok(other?),
        }
    }

    async fn replace(&self, expected: u64, next: &ConnectionRecord) -> Result<Option<u64>, ConnectionStoreError> {
        self.serves(next.connection.deployment())?;
        Ok(again(|| self.replaced(expected, next)).await?)
    }

    async fn of_tenant(
        &self,
        deployment: &DeploymentId,
        tenant: &TenantId,
    ) -> Result<Vec<ConnectionRecord>, ConnectionStoreError> {
        self.serves(deployment)?;
        let values = [deployment.as_str().into(), tenant.as_str().into()];
        let Found { records, of_nobody } = self.read(OF_TENANT, &values).await?;
        match of_nobody.is_empty() {
            true => Ok(records),
            false => Err(ConnectionStoreError::Unreadable),
        }
    }

    async fn changes(
        &self,
        deployment: &DeploymentId,
        since: u64,
        most: usize,
    ) -> Result<Vec<ConnectionRecord>, ConnectionStoreError> {
        self.serves(deployment)?;
        let (full, most) = (most, i64::try_from(most).unwrap_or(i64::MAX));
        let mut since = since;
        loop {
            let values = [deployment.as_str().into(), since.into(), most.into()];
            let Found { records, of_nobody } = self.read(CHANGES, &values).await?;
            self.tell(&of_nobody);
            // A page of nothing that can be read is not the end, where it is full.
            match of_nobody.last() {
                Some(last) if records.is_empty() && *last > since => since = *last,
                Some(_) if records.is_empty() && of_nobody.len() >= full => {
                    return Err(ConnectionStoreError::Unreadable);
                }
                _ => return Ok(records),
            }
        }
    }

    fn ends(&self) -> u64 {
        self.ledger.at().rows
    }

    fn has_seen_end(&self, connection: &ConnectionId, revision: u64) -> bool {
        let owner = Owner::Connection(connection.clone());
        self.ledger.seen().has(&Digested::connection(&owner, revision))
    }
}

impl fmt::Debug for SqlConnections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlConnections")
            .field("ledger", &self.ledger)
            .finish_non_exhaustive()
    }
}
