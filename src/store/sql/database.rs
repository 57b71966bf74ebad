//! A database: where it is, how many connections it may be asked for, how long it may take.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, SqlSafeStr};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::{Connection, Place};
use super::error::{DatabaseError, SqlError};
use super::value::{Row, Value};
use crate::clock::{Clock, SystemClock, within};

/// How often a transaction is tried that others get in the way of.
const TRIES: usize = 8;

/// A database that stores keep their rows in. Cheap to clone; clones share their connections.
///
/// SQLite is embedded: one file, for processes of one machine. PostgreSQL serves a fleet, also behind PgBouncer in transaction
/// mode. Nothing is opened before the first statement, and no task is spawned.
///
/// ```
/// use std::time::Duration;
/// use shipbound::store::sql::Database;
///
/// let embedded = Database::sqlite("/var/lib/platform/shipbound.db").build()?;
/// let fleet = Database::postgres("postgres://shipbound@db.example/platform?sslrootcert=/etc/ca.pem")
///     .connections(4)
///     .statement_limit(Duration::from_secs(2))
///     .build()?;
/// # Ok::<(), shipbound::store::sql::DatabaseError>(())
/// ```
#[derive(Clone)]
pub struct Database(Arc<Inner>);

struct Inner {
    place: Place,
    clock: Arc<dyn Clock>,
    permits: Arc<Semaphore>,
    /// Whose turn it is to write, where one can write at a time. SQLite's own waiting is by naps, up to 100 ms long; a writer that
    /// takes them on a connection keeps readers from it.
    writer: Option<Arc<Semaphore>>,
    idle: Mutex<Vec<Connection>>,
    limits: Limits,
    /// What begins a transaction that writes, and one that reads; `None` where a statement by itself is one.
    begin_write: Arc<str>,
    begin_read: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    connections: usize,
    connect: Duration,
    acquire: Duration,
    statement: Duration,
}

/// Options of a [`Database`].
#[derive(Clone)]
#[must_use]
pub struct DatabaseBuilder {
    place: Asked,
    limits: Limits,
    clock: Arc<dyn Clock>,
    plaintext: bool,
}

#[derive(Clone)]
enum Asked {
    Sqlite(PathBuf),
    Postgres(zeroize::Zeroizing<String>),
}

impl Database {
    /// The SQLite file at `path`, created with mode 0600 where there is none. It runs in WAL mode with `synchronous=FULL` and
    /// `secure_delete`: what has been answered survives a loss of power, and what is deleted is overwritten.
    pub fn sqlite(path: impl AsRef<Path>) -> DatabaseBuilder {
        DatabaseBuilder::new(Asked::Sqlite(path.as_ref().to_owned()))
    }

    /// The PostgreSQL database at this URL, `postgres://role:password@host:port/database`. Parameters of it that are known:
    /// `sslmode`, `sslrootcert`, `sslcert`, `sslkey`, `host` (a directory with a socket), `application_name`.
    ///
    /// TLS with a verified name is the default, and weaker is refused, unless the server is at a loopback address or a socket.
    /// A password or client certificate that the URL leaves out is looked for where libpq looks for it.
    pub fn postgres(url: &str) -> DatabaseBuilder {
        DatabaseBuilder::new(Asked::Postgres(url.to_owned().into()))
    }

    /// Begins a transaction that writes.
    pub(crate) async fn begin(&self) -> Result<Tx, SqlError> {
        let inner = &self.0;
        let writer = match &inner.writer {
            Some(writer) => {
                let turn = self
                    .in_time(inner.limits.acquire, Arc::clone(writer).acquire_owned())
                    .await?;
                Some(turn.map_err(|_never_closed| SqlError::Unavailable)?)
            }
            None => None,
        };
        let tx = self.begin_with(Some(&inner.begin_write)).await?;
        Ok(Tx { writer, ..tx })
    }

    /// The rows of one statement that reads, in a transaction of its own.
    pub(crate) async fn rows(&self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, SqlError> {
        again(|| self.read(sql, values)).await
    }

    /// The same for a statement that was put together, out of constant parts alone.
    pub(crate) async fn composed(&self, sql: &Arc<str>, values: &[Value]) -> Result<Vec<Row>, SqlError> {
        again(|| self.read(AssertSqlSafe(Arc::clone(sql)), values)).await
    }

    async fn read(&self, sql: impl SqlSafeStr + Send, values: &[Value]) -> Result<Vec<Row>, SqlError> {
        let begin = self.0.begin_read.as_ref();
        let mut tx = self.begin_with(begin).await?;
        let rows = tx.rows_of(sql, values).await?;
        match begin {
            // Whatever becomes of the commit, the rows were read.
            Some(_) => drop(tx.commit().await),
            None => tx.leave(),
        }
        Ok(rows)
    }

    /// How many rows one statement has changed, in a transaction of its own.
    pub(crate) async fn run(&self, sql: &'static str, values: &[Value]) -> Result<u64, SqlError> {
        again(|| async {
            let mut tx = self.begin().await?;
            let changed = tx.run(sql, values).await?;
            tx.commit().await?;
            Ok(changed)
        })
        .await
    }

    /// Where the database takes the time from.
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    pub(super) fn is_sqlite(&self) -> bool {
        matches!(self.0.place, Place::Sqlite(_))
    }

    async fn begin_with(&self, begin: Option<&Arc<str>>) -> Result<Tx, SqlError> {
        let inner = &self.0;
        let permit = inner.permits.clone().acquire_owned();
        let permit = self.in_time(inner.limits.acquire, permit).await?;
        let permit = permit.map_err(|_never_closed| SqlError::Unavailable)?;
        let idle = inner.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // A connection that has been idle may be dead: its first statement shows it, and nothing is lost by another try.
        let mut begun = None;
        if let Some(connection) = idle {
            begun = self.begin_on(connection, begin).await.ok();
        }
        let connection = match begun {
            Some(connection) => connection,
            None => {
                let connection = self.in_time(inner.limits.connect, inner.place.connect()).await??;
                // SQLite has waited for other writers as long as it may: that is not tried again.
                let begun = self.begin_on(connection, begin).await;
                begun.map_err(|error| {
                    if error == SqlError::Contended {
                        SqlError::Unavailable
                    } else {
                        error
                    }
                })?
            }
        };
        Ok(Tx {
            database: self.clone(),
            permit: Some(permit),
            writer: None,
            connection: Some(connection),
        })
    }

    async fn begin_on(&self, mut connection: Connection, begin: Option<&Arc<str>>) -> Result<Connection, SqlError> {
        if let Some(begin) = begin {
            let begun = connection.script(begin.clone());
            self.in_time(self.0.limits.statement, begun).await??;
        }
        Ok(connection)
    }

    async fn in_time<F: Future>(&self, limit: Duration, future: F) -> Result<F::Output, SqlError> {
        let clock = &*self.0.clock;
        let output = within(clock, clock.monotonic() + limit, future).await;
        output.ok_or(SqlError::Unavailable)
    }
}

/// A transaction. Dropped without [`commit`](Self::commit) it has done nothing: its connection is closed with it, so that no
/// statement of it, and no answer to one, ever reaches anybody else.
pub(crate) struct Tx {
    database: Database,
    /// Not there while a statement runs, and after one failed.
    connection: Option<Connection>,
    /// These are not there after the end.
    permit: Option<OwnedSemaphorePermit>,
    writer: Option<OwnedSemaphorePermit>,
}

impl Tx {
    /// The rows of a statement.
    pub(crate) async fn rows(&mut self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, SqlError> {
        self.rows_of(sql, values).await
    }

    async fn rows_of(&mut self, sql: impl SqlSafeStr + Send, values: &[Value]) -> Result<Vec<Row>, SqlError> {
        let mut connection = self.connection.take().ok_or(SqlError::Unavailable)?;
        let limit = self.database.0.limits.statement;
        let rows = self.database.in_time(limit, connection.rows(sql, values)).await??;
        self.connection = Some(connection);
        Ok(rows)
    }

    /// How many rows a statement has changed.
    pub(crate) async fn run(&mut self, sql: &'static str, values: &[Value]) -> Result<u64, SqlError> {
        let mut connection = self.connection.take().ok_or(SqlError::Unavailable)?;
        let limit = self.database.0.limits.statement;
        let changed = self.database.in_time(limit, connection.run(sql, values)).await??;
        self.connection = Some(connection);
        Ok(changed)
    }

    /// Statements without values.
    pub(super) async fn script(&mut self, sql: &str) -> Result<(), SqlError> {
        let mut connection = self.connection.take().ok_or(SqlError::Unavailable)?;
        let limit = self.database.0.limits.statement;
        self.database.in_time(limit, connection.script(sql.into())).await??;
        self.connection = Some(connection);
        Ok(())
    }

    /// Makes all of it durable. [`SqlError::Unknown`]: done or not. A transaction of which a statement has failed is not
    /// committed.
    pub(crate) async fn commit(mut self) -> Result<(), SqlError> {
        let mut connection = self.connection.take().ok_or(SqlError::Unavailable)?;
        let limit = self.database.0.limits.statement;
        let committed = self.database.in_time(limit, connection.script("COMMIT".into())).await;
        match committed {
            Ok(Ok(())) => {
                self.give_back(connection);
                Ok(())
            }
            // These the server says after it has rolled back.
            Ok(Err(refused @ (SqlError::Conflict | SqlError::Contended))) => Err(refused),
            Ok(Err(_)) | Err(_) => Err(SqlError::Unknown),
        }
    }

    /// Ends the transaction with nothing done; its connection serves again.
    pub(crate) async fn rollback(mut self) {
        self.abandon().await;
    }

    /// The same for who has only borrowed it: what follows needs a connection. Its owner's next statement fails.
    pub(crate) async fn abandon(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            let limit = self.database.0.limits.statement;
            let ended = self.database.in_time(limit, connection.script("ROLLBACK".into())).await;
            if let Ok(Ok(())) = ended {
                self.give_back(connection);
            }
        }
        self.permit = None;
        self.writer = None;
    }

    /// Gives the connection back that no transaction was begun on.
    fn leave(mut self) {
        if let Some(connection) = self.connection.take() {
            self.give_back(connection);
        }
    }

    fn give_back(&self, connection: Connection) {
        let idle = &self.database.0.idle;
        idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").finish_non_exhaustive()
    }
}

/// Tries a whole transaction again while others are in its way, at most 8 times in all.
pub(crate) async fn again<T, F: Future<Output = Result<T, SqlError>>>(
    mut attempt: impl FnMut() -> F,
) -> Result<T, SqlError> {
    for _ in 1..TRIES {
        match attempt().await {
            Err(SqlError::Contended) => {}
            other => return other,
        }
    }
    attempt().await
}

impl DatabaseBuilder {
    fn new(place: Asked) -> Self {
        let five = Duration::from_secs(5);
        Self {
            place,
            limits: Limits {
                connections: 2,
                connect: five,
                acquire: five,
                statement: five,
            },
            clock: Arc::new(SystemClock::new()),
            plaintext: false,
        }
    }

    /// Uses at most this many connections at a time, 1 to 64. Default: 2, so that a fleet of fifty processes needs a hundred.
    pub fn connections(mut self, most: usize) -> Self {
        self.limits.connections = most;
        self
    }

    /// Waits at most this long for a connection to be made. Default: 5 s.
    pub fn connect_limit(mut self, limit: Duration) -> Self {
        self.limits.connect = limit;
        self
    }

    /// Waits at most this long for one of the connections to be free. Default: 5 s.
    pub fn acquire_limit(mut self, limit: Duration) -> Self {
        self.limits.acquire = limit;
        self
    }

    /// Waits at most this long for an answer to one statement, after which the connection is closed; PostgreSQL is told to give
    /// up as well. Default: 5 s.
    pub fn statement_limit(mut self, limit: Duration) -> Self {
        self.limits.statement = limit;
        self
    }

    /// Takes the time from `clock`. Default: the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Lets a server beyond this machine be spoken to without TLS, or with a certificate that nobody has verified: for a private
    /// network in which everybody may read and change every row.
    pub fn danger_unverified(mut self) -> Self {
        self.plaintext = true;
        self
    }

    /// The database. Nothing is opened yet.
    ///
    /// # Errors
    /// [`DatabaseError::Invalid`] says what is wrong with the URL or the limits.
    pub fn build(self) -> Result<Database, DatabaseError> {
        let limits = self.limits;
        if !(1..=64).contains(&limits.connections) {
            return Err(DatabaseError::Invalid("1 to 64 connections"));
        }
        let place = match &self.place {
            Asked::Sqlite(path) => Place::sqlite(path, limits.acquire),
            Asked::Postgres(url) => Place::Postgres(Box::new(postgres(url, self.plaintext)?)),
        };
        let is_sqlite = matches!(place, Place::Sqlite(_));
        let (write, read): (Arc<str>, Option<Arc<str>>) = match &place {
            Place::Sqlite(_) => ("BEGIN IMMEDIATE".into(), None),
            // SET LOCAL ends with the transaction, so a pooler may give the connection to anybody after it.
            Place::Postgres(_) => {
                let ms = limits.statement.as_millis().clamp(1, 86_400_000);
                let set =
                    format!("SET LOCAL statement_timeout = {ms}; SET LOCAL idle_in_transaction_session_timeout = {ms}");
                (
                    format!("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {set}").into(),
                    Some(format!("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; {set}").into()),
                )
            }
        };
        Ok(Database(Arc::new(Inner {
            place,
            clock: self.clock,
            permits: Arc::new(Semaphore::new(limits.connections)),
            writer: is_sqlite.then(|| Arc::new(Semaphore::new(1))),
            idle: Mutex::default(),
            limits,
            begin_write: write,
            begin_read: read,
        })))
    }
}

fn postgres(url: &str, plaintext: bool) -> Result<PgConnectOptions, DatabaseError> {
    const KNOWN: [&str; 6] = [
        "sslmode",
        "sslrootcert",
        "sslcert",
        "sslkey",
        "host",
        "application_name",
    ];
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let parameters: Vec<&str> = query.split('&').filter_map(|pair| pair.split('=').next()).collect();
    // The driver logs what it does not know, values and all.
    if parameters.iter().any(|name| !name.is_empty() && !KNOWN.contains(name)) {
        return Err(DatabaseError::Invalid("the URL has a parameter that is not known"));
    }
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(DatabaseError::Invalid("the URL is not one of PostgreSQL"));
    }
    if !url.contains('@') {
        return Err(DatabaseError::Invalid("the URL names no role"));
    }
    let options: PgConnectOptions = url
        .parse()
        .map_err(|_text| DatabaseError::Invalid("the URL is not one of PostgreSQL"))?;
    if options.get_options().is_some() {
        return Err(DatabaseError::Invalid(
            "PGOPTIONS is set: give the role its settings instead",
        ));
    }
    let host = options.get_host();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let near = options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || address.is_ok_and(|address| address.is_loopback());
    let options = match (parameters.contains(&"sslmode"), near) {
        (true, _) => options,
        (false, true) => options.ssl_mode(PgSslMode::Prefer),
        (false, false) => options.ssl_mode(PgSslMode::VerifyFull),
    };
    if !near && !plaintext && !matches!(options.get_ssl_mode(), PgSslMode::VerifyFull) {
        return Err(DatabaseError::Invalid(
            "sslmode is to be verify-full beyond this machine",
        ));
    }
    // PgBouncer refuses parameters of a connection that it does not know, and extra_float_digits is one.
    let options = options.extra_float_digits(None).statement_cache_capacity(0);
    Ok(options.disable_statement_logging())
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_sqlite() { "SQLite" } else { "PostgreSQL" };
        f.debug_tuple("Database").field(&kind).field(&self.0.limits).finish()
    }
}

impl fmt::Debug for DatabaseBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        f.debug_tuple("DatabaseBuilder").field(&self.limits).finish()
    }
}
