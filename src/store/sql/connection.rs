//! One connection to either database: the only place that knows the driver.

use std::future::ready;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::error::ErrorKind;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow, PgTypeInfo, Postgres};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Column, ConnectOptions, Decode, Row as _, SqlSafeStr, Sqlite, TypeInfo, ValueRef};

use super::error::SqlError;
use super::value::{Row, Value};

/// Where a connection leads.
#[derive(Clone)]
pub(super) enum Place {
    Sqlite(Box<SqliteConnectOptions>),
    Postgres(Box<PgConnectOptions>),
}

/// A connection, outside or inside a transaction.
pub(super) enum Connection {
    Sqlite(Box<SqliteConnection>),
    Postgres(Box<PgConnection>),
}

impl Place {
    pub(super) fn sqlite(path: &Path, wait: Duration) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .pragma("secure_delete", "ON")
            .busy_timeout(wait)
            // How many rows the driver's thread is ahead: fewer changes of threads where many are read.
            .row_buffer_size(5_000)
            .disable_statement_logging();
        Self::Sqlite(Box::new(options))
    }

    pub(super) async fn connect(&self) -> Result<Connection, SqlError> {
        match self {
            Self::Sqlite(options) => {
                let path = options.get_filename().to_path_buf();
                // Opening a file may block; SQLite's own work is on a thread of its driver.
                tokio::task::spawn_blocking(move || owners_alone(&path))
                    .await
                    .map_err(|_ended| SqlError::Unavailable)??;
                let connection = options.connect().await.map_err(of_driver)?;
                Ok(Connection::Sqlite(Box::new(connection)))
            }
            Self::Postgres(options) => {
                let connection = options.connect().await.map_err(of_driver)?;
                Ok(Connection::Postgres(Box::new(connection)))
            }
        }
    }
}

impl Connection {
    /// Statements without values, nothing of whose answers is wanted.
    pub(super) async fn script(&mut self, sql: Arc<str>) -> Result<(), SqlError> {
        let script = sqlx::raw_sql(AssertSqlSafe(sql));
        match self {
            Self::Sqlite(connection) => script.execute(&mut **connection).await.map(|_| ()),
            Self::Postgres(connection) => script.execute(&mut **connection).await.map(|_| ()),
        }
        .map_err(of_driver)
    }

    pub(super) async fn rows(&mut self, sql: impl SqlSafeStr, values: &[Value]) -> Result<Vec<Row>, SqlError> {
        match self {
            Self::Sqlite(connection) => {
                let rows = for_sqlite(sql, values).fetch(&mut **connection).map_err(of_driver);
                rows.and_then(|row| ready(row_of_sqlite(&row))).try_collect().await
            }
            Self::Postgres(connection) => {
                let rows = for_postgres(sql, values).fetch(&mut **connection).map_err(of_driver);
                rows.and_then(|row| ready(row_of_postgres(&row))).try_collect().await
            }
        }
    }

    pub(super) async fn run(&mut self, sql: &'static str, values: &[Value]) -> Result<u64, SqlError> {
        match self {
            Self::Sqlite(connection) => {
                let done = for_sqlite(sql, values).execute(&mut **connection).await;
                Ok(done.map_err(of_driver)?.rows_affected())
            }
            Self::Postgres(connection) => {
                let done = for_postgres(sql, values).execute(&mut **connection).await;
                Ok(done.map_err(of_driver)?.rows_affected())
            }
        }
    }
}

/// Creates the file for its owner alone. SQLite gives the files beside it the same mode.
#[cfg(unix)]
fn owners_alone(path: &Path) -> Result<(), SqlError> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|_failed| SqlError::Unavailable)?;
    let mode = file
        .metadata()
        .map_err(|_failed| SqlError::Unavailable)?
        .permissions()
        .mode();
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(SqlError::Exposed)
    }
}

#[cfg(not(unix))]
fn owners_alone(_path: &Path) -> Result<(), SqlError> {
    Ok(())
}

type SqliteQuery<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;
type PostgresQuery<'q> = sqlx::query::Query<'q, Postgres, sqlx::postgres::PgArguments>;

fn for_sqlite<'q>(sql: impl SqlSafeStr, values: &'q [Value]) -> SqliteQuery<'q> {
    values.iter().fold(sqlx::query(sql), |query, value| match value {
        Value::Null | Value::Unreadable => query.bind(None::<i64>),
        Value::Int(number) => query.bind(*number),
        Value::Text(text) => query.bind(text.as_str()),
        Value::Bytes(bytes) => query.bind(bytes.as_slice()),
    })
}

/// Unnamed, so that a pooler that gives each transaction another connection has nothing to remember.
fn for_postgres<'q>(sql: impl SqlSafeStr, values: &'q [Value]) -> PostgresQuery<'q> {
    let query = sqlx::query(sql).persistent(false);
    values.iter().fold(query, |query, value| match value {
        Value::Null | Value::Unreadable => query.bind(Untyped),
        Value::Int(number) => query.bind(*number),
        Value::Text(text) => query.bind(text.as_str()),
        Value::Bytes(bytes) => query.bind(bytes.as_slice()),
    })
}

/// NULL whose type the server finds out (OID 0), since a column of text takes no NULL of a number.
struct Untyped;

impl sqlx::Type<Postgres> for Untyped {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(sqlx::postgres::types::Oid(0))
    }
}

impl sqlx::Encode<'_, Postgres> for Untyped {
    fn encode_by_ref(
        &self,
        _buffer: &mut sqlx::postgres::PgArgumentBuffer,
    ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
        Ok(sqlx::encode::IsNull::Yes)
    }
}

/// Decoded where it lies: a large fleet's start is the copying of columns.
fn row_of_sqlite(row: &SqliteRow) -> Result<Row, SqlError> {
    let value = |at: usize| {
        let raw = row.try_get_raw(at).map_err(of_driver)?;
        if raw.is_null() {
            return Ok(Value::Null);
        }
        let kind = raw.type_info().into_owned();
        let decoded = match kind.name() {
            "INTEGER" => <i64 as Decode<Sqlite>>::decode(raw).map(Value::Int),
            "TEXT" => <String as Decode<Sqlite>>::decode(raw).map(Value::Text),
            "BLOB" => <Vec<u8> as Decode<Sqlite>>::decode(raw).map(Value::Bytes),
            _ => return Ok(Value::Unreadable),
        };
        Ok(decoded.unwrap_or(Value::Unreadable))
    };
    (0..row.len()).map(value).collect::<Result<_, _>>().map(Row)
}

fn row_of_postgres(row: &PgRow) -> Result<Row, SqlError> {
    let value = |at: usize| {
        let null = row.try_get_raw(at).map_err(of_driver)?.is_null();
        let kind = row.try_column(at).map_err(of_driver)?.type_info().name();
        Ok(match kind {
            _ if null => Value::Null,
            "INT8" => Value::Int(row.try_get(at).map_err(of_driver)?),
            "INT4" => Value::Int(row.try_get::<i32, _>(at).map_err(of_driver)?.into()),
            "TEXT" | "VARCHAR" | "NAME" => Value::Text(row.try_get(at).map_err(of_driver)?),
            "BYTEA" => Value::Bytes(row.try_get(at).map_err(of_driver)?),
            _ => return Err(SqlError::Malformed),
        })
    };
    (0..row.len()).map(value).collect::<Result<_, _>>().map(Row)
}

/// The category of an error; its text stays here.
fn of_driver(error: sqlx::Error) -> SqlError {
    let sqlx::Error::Database(error) = error else {
        return match error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => SqlError::Malformed,
            _ => SqlError::Unavailable,
        };
    };
    if !matches!(error.kind(), ErrorKind::Other) {
        return SqlError::Conflict;
    }
    let code = error.code().unwrap_or_default();
    if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
        match &*code {
            // Serialization failure, deadlock, a lock not had in time.
            "40001" | "40P01" | "55P03" => SqlError::Contended,
            // Unique and other constraints.
            _ if code.starts_with("23") => SqlError::Conflict,
            // Syntax and rights, read-only transactions, authorisation, no such database.
            _ if ["42", "25", "28", "3D", "3F", "22", "0A"]
                .iter()
                .any(|class| code.starts_with(class)) =>
            {
                SqlError::Refused
            }
            _ => SqlError::Unavailable,
        }
    } else {
        match code.parse::<u32>().unwrap_or_default() & 0xff {
            // SQLITE_BUSY, SQLITE_LOCKED
            5 | 6 => SqlError::Contended,
            // SQLITE_CONSTRAINT
            19 => SqlError::Conflict,
            // SQLITE_ERROR (no such table), SQLITE_PERM, SQLITE_READONLY, SQLITE_AUTH
            1 | 3 | 8 | 23 => SqlError::Refused,
            // SQLITE_CORRUPT, SQLITE_NOTADB
            11 | 26 => SqlError::Malformed,
            _ => SqlError::Unavailable,
        }
    }
}
