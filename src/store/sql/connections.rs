//! Connections in a database.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::database::{Database, Tx, again};
use super::error::SqlError;
use super::ledger::{Dead, Ledger, LedgerError};
use super::value::{Row, Value};
use super::{next_number, owner_key, owner_of, owner_values, write_act};
use crate::act::Act;
use crate::clock::Timestamp;
use crate::directory::PiiPolicy;
use crate::directory::{ConnectionRecord, ConnectionStore, ConnectionStoreError, Settings, Standing};
use crate::owner::{ConnectionId, DeploymentId, Owner, Region, TenantId};

/// How often what was read is read again because somebody changed it meanwhile.
const READS: usize = 4;

/// A [`ConnectionStore`] in a [`Database`], for the deployment of a [`Ledger`].
///
/// Each act is written down in the transaction of what it did. How a record reads is written into the ledger, and so is each
/// revision that was replaced: a row that somebody writes by hand, or an old one that is put back, of a connection before it was
/// suspended or removed, is [`ConnectionStoreError::RolledBack`], and so is one that is deleted and added anew.
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
}

/// What stands in the column `settings`, as JSON.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    personal_paths: Option<&'a str>,
    // What people wrote may need escapes, so it is not borrowed.
    actor: String,
    reason: String,
    ticket: String,
}

impl SqlConnections {
    /// The connections of the ledger's deployment in `database`, which has been migrated.
    pub fn new(database: &Database, ledger: &Ledger) -> Self {
        Self {
            database: database.clone(),
            ledger: ledger.clone(),
        }
    }

    fn serves(&self, deployment: &DeploymentId) -> Result<(), SqlError> {
        match deployment == self.ledger.deployment() {
            true => Ok(()),
            false => Err(SqlError::Unavailable),
        }
    }

    /// Reads records, none of which has been buried.
    async fn read(&self, sql: &'static str, values: &[Value]) -> Result<Vec<ConnectionRecord>, SqlError> {
        for _ in 0..READS {
            // Whatever was buried before is known now, so a row that was put back is seen to be dead.
            self.followed().await?;
            let rows = self.database.rows(sql, values).await?;
            let records: Vec<_> = rows.iter().map(record_of).collect::<Result<_, _>>()?;
            let is_sound = |(record, row): (&ConnectionRecord, &Row)| {
                let owner = Owner::Connection(record.connection.clone());
                Ok::<_, SqlError>(
                    self.ledger.has_seen_end(&reads(&owner, row, 7)?)
                        && !self.ledger.has_seen_end(&Dead::connection(&owner, record.revision)),
                )
            };
            let mut sound = true;
            for read in records.iter().zip(&rows) {
                sound = sound && is_sound(read)?;
            }
            if sound {
                return Ok(records);
            }
            // Or it was replaced, or written, after the chain was followed.
        }
        Err(self.ledger.put_back())
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
        let known: Vec<_> = rows.iter().map(record_of).collect::<Result<_, _>>()?;
        let newest = known.iter().map(|known| known.number).max().unwrap_or(0);
        let taken = known.iter().any(|known| {
            known.connection == record.connection
                || (known.standing != Standing::Removed && known.is_at(&record.connection))
        });
        if newest != seen || taken {
            tx.rollback().await;
            return Ok(None);
        }
        let row = row_of(record, number)?;
        let mut values = owner_values(&owner).to_vec();
        values.extend(row.clone());
        tx.run(INSERT, &values).await?;
        self.note(&mut tx, record, "connection.added").await?;
        let reads = reads(&owner, &Row(row.to_vec()), 0)?;
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
        let row = row_of(next, number)?;
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
        };
        self.note(&mut tx, next, what).await?;
        self.ledger.bury(&mut tx, &dead).await?;
        let reads = reads(&owner, &Row(row.to_vec()), 0)?;
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

const OF_TENANT: &str = "SELECT deployment, owner, tenant, incarnation, carrier, environment, account, state, revision, \
                         settings, changed, changed_at FROM sb_connections WHERE deployment = $1 AND tenant = $2";

const CHANGES: &str = "SELECT deployment, owner, tenant, incarnation, carrier, environment, account, state, revision, \
                       settings, changed, changed_at FROM sb_connections WHERE deployment = $1 AND changed > $2 \
                       ORDER BY changed LIMIT $3";

/// `state, revision, settings, changed, changed_at`.
fn row_of(record: &ConnectionRecord, number: u64) -> Result<[Value; 5], SqlError> {
    let written = Written {
        region: record.region.as_ref().map(Region::as_str),
        personal_paths: record.settings.personal_paths.map(policy_name),
        actor: record.act.actor().to_owned(),
        reason: record.act.reason().to_owned(),
        ticket: record.act.ticket().to_owned(),
    };
    let settings = serde_json::to_string(&written).map_err(|_error| SqlError::Malformed)?;
    Ok([
        record.standing.as_str().into(),
        record.revision.into(),
        settings.into(),
        number.into(),
        record.changed_at.unix_micros().into(),
    ])
}

/// That the columns `state, revision, settings, changed, changed_at`, which begin at `from`, read so.
fn reads(owner: &Owner, row: &Row, from: usize) -> Result<Dead, SqlError> {
    let numbers = [row.u64(from + 1)?, row.u64(from + 3)?, row.u64(from + 4)?];
    Ok(Dead::connection_reads(
        owner,
        &[row.text(from)?, row.text(from + 2)?],
        &numbers,
    ))
}

fn record_of(row: &Row) -> Result<ConnectionRecord, SqlError> {
    let connection = connection_of(row)?;
    let written: Written<'_> = serde_json::from_str(row.text(9)?).map_err(|_error| SqlError::Malformed)?;
    let act = Act::new(&written.actor, &written.reason, &written.ticket).map_err(|_error| SqlError::Malformed)?;
    let region = written.region.map(Region::new).transpose();
    let settings = Settings {
        personal_paths: written.personal_paths.map(policy).transpose()?,
    };
    let at = Timestamp::from_unix_micros(row.int(11)?);
    let mut record = ConnectionRecord::new(
        connection,
        settings,
        region.map_err(|_error| SqlError::Malformed)?,
        at,
        act,
    );
    record.standing = standing(row.text(7)?)?;
    record.revision = row.u64(8)?;
    record.number = row.u64(10)?;
    Ok(record)
}

fn connection_of(row: &Row) -> Result<ConnectionId, SqlError> {
    match owner_of(row, 0)? {
        Owner::Connection(connection) => Ok(connection),
        Owner::Deployment(_) => Err(SqlError::Malformed),
    }
}

fn standing(text: &str) -> Result<Standing, SqlError> {
    let all = [
        Standing::Active,
        Standing::Suspended,
        Standing::Removing,
        Standing::Removed,
    ];
    all.into_iter()
        .find(|one| one.as_str() == text)
        .ok_or(SqlError::Malformed)
}

fn policy_name(policy: PiiPolicy) -> &'static str {
    match policy {
        PiiPolicy::Allow => "allow",
        PiiPolicy::Warn => "warn",
        PiiPolicy::Refuse => "refuse",
    }
}

fn policy(text: &str) -> Result<PiiPolicy, SqlError> {
    let all = [PiiPolicy::Allow, PiiPolicy::Warn, PiiPolicy::Refuse];
    all.into_iter()
        .find(|one| policy_name(*one) == text)
        .ok_or(SqlError::Malformed)
}

impl From<SqlError> for ConnectionStoreError {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::RolledBack => Self::RolledBack,
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
        Ok(self.read(OF_TENANT, &values).await?)
    }

    async fn changes(
        &self,
        deployment: &DeploymentId,
        since: u64,
        most: usize,
    ) -> Result<Vec<ConnectionRecord>, ConnectionStoreError> {
        self.serves(deployment)?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let values = [deployment.as_str().into(), since.into(), most.into()];
        Ok(self.read(CHANGES, &values).await?)
    }

    fn ends(&self) -> u64 {
        self.ledger.at().rows
    }

    fn has_seen_end(&self, connection: &ConnectionId, revision: u64) -> bool {
        let owner = Owner::Connection(connection.clone());
        self.ledger.has_seen_end(&Dead::connection(&owner, revision))
    }
}

impl fmt::Debug for SqlConnections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlConnections")
            .field("ledger", &self.ledger)
            .finish_non_exhaustive()
    }
}
