//! A database of one test, with as many processes on it as the test wants.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use shipbound::clock::{Clock, ManualClock, SystemClock, Timestamp};
use shipbound::journal::memory::MemorySink;
use shipbound::journal::{EventKind, Journal, Sink};
use shipbound::keys::{Authority, LocalKeys, RecordedKeys};
use shipbound::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, Owner, TenantId};
use shipbound::store::anchor::{AnchorError, Anchored, EpochAnchor, MemoryAnchor};
use shipbound::store::seal::{SealContext, SealError, Sealer};
use shipbound::store::sql::{Database, Ledger, LedgerError, LedgerSetup, SqlKeyRecords};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, Row as _};
use zeroize::Zeroizing;

use crate::postgres::Postgres;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
    Bounced,
}

/// One server for all tests of this process; it ends with the process.
static SERVER: Mutex<Option<Postgres>> = Mutex::new(None);
static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct World {
    pub(crate) kind: Kind,
    /// Where the library connects.
    url: String,
    /// Where the test connects, past all of it.
    direct: String,
    dir: PathBuf,
    pub(crate) anchor: Arc<MemoryAnchor>,
    pub(crate) events: Arc<MemorySink>,
    /// The private halves, which all processes have.
    pub(crate) holder: Arc<LocalKeys>,
    pub(crate) clock: Arc<ManualClock>,
}

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

pub(crate) type Keys = RecordedKeys<SqlKeyRecords, LocalKeys>;

impl World {
    /// A database with tables.
    pub(crate) async fn new(kind: Kind) -> Self {
        let world = Self::bare(kind).await;
        world.database().migrate().await.unwrap();
        world
    }

    /// A database without any.
    pub(crate) async fn bare(kind: Kind) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("shipbound-sql-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let (url, direct) = if kind == Kind::Sqlite {
            let path = dir.join("shipbound.db").display().to_string();
            (path.clone(), path)
        } else {
            let name = format!("test_{number}");
            let (url, bounced, admin) = {
                let mut server = SERVER.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let server = server.get_or_insert_with(Postgres::start);
                let bounced = if kind == Kind::Bounced {
                    server.bounced_url(&name)
                } else {
                    String::new()
                };
                (server.url(&name), bounced, server.url("postgres"))
            };
            postgres_rows(&admin, &format!("CREATE DATABASE {name}")).await;
            (if kind == Kind::Bounced { bounced } else { url.clone() }, url)
        };
        Self {
            kind,
            url,
            direct,
            dir,
            anchor: Arc::new(MemoryAnchor::new()),
            events: Arc::new(MemorySink::new(64)),
            holder: Arc::new(LocalKeys::new()),
            clock: Arc::new(ManualClock::at(Timestamp::from_unix_seconds(1_800_000_000))),
        }
    }

    /// Another process's access to the database.
    pub(crate) fn database(&self) -> Database {
        self.timed(Arc::new(SystemClock::new()))
    }

    /// The same, with this clock.
    pub(crate) fn timed(&self, clock: Arc<dyn Clock>) -> Database {
        match self.kind {
            Kind::Sqlite => Database::sqlite(&self.url),
            Kind::Postgres | Kind::Bounced => Database::postgres(&self.url),
        }
        .clock(clock)
        // The machine may have a lot to do beside these tests.
        .connect_limit(PATIENCE)
        .acquire_limit(PATIENCE)
        .statement_limit(PATIENCE)
        .build()
        .unwrap()
    }

    pub(crate) fn setup(&self, database: &Database) -> LedgerSetup {
        let sink: Arc<dyn Sink> = self.events.clone();
        let journal = Journal::new(Arc::new(SystemClock::new()), [sink]);
        let anchor: Arc<dyn EpochAnchor> = self.anchor.clone();
        LedgerSetup::new(database, &deployment(), Arc::new(Glass), anchor, &journal)
    }

    /// Another process's ledger.
    pub(crate) async fn ledger(&self) -> Result<Ledger, LedgerError> {
        self.setup(&self.database()).open().await
    }

    /// Another process's records of keys.
    pub(crate) async fn records(&self) -> SqlKeyRecords {
        let database = self.database();
        let ledger = self.setup(&database).open().await.unwrap();
        SqlKeyRecords::new(&database, &ledger)
    }

    /// Another process's keys.
    pub(crate) async fn keys(&self) -> Keys {
        let database = self.database();
        let ledger = self.setup(&database).open().await.unwrap();
        self.keys_of(&database, &ledger)
    }

    /// Keys of a process with a ledger of its own.
    pub(crate) fn keys_of(&self, database: &Database, ledger: &Ledger) -> Keys {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let records = Arc::new(SqlKeyRecords::new(database, ledger));
        RecordedKeys::new(records, self.holder.clone(), clock, Authority::default())
    }

    /// Statements of somebody who has the database, with the first column of what they give, as text.
    pub(crate) async fn raw(&self, sql: &str) -> Vec<String> {
        match self.kind {
            Kind::Sqlite => sqlite_rows(&self.direct, sql).await,
            Kind::Postgres | Kind::Bounced => postgres_rows(&self.direct, sql).await,
        }
    }

    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.raw(sql).await[0].parse().unwrap()
    }

    /// Every row of every table, as somebody would put them back who has a dump.
    pub(crate) async fn dump(&self) {
        for table in TABLES {
            self.raw(&format!(
                "DROP TABLE IF EXISTS old_{table}; CREATE TABLE old_{table} AS SELECT * FROM {table}"
            ))
            .await;
        }
    }

    pub(crate) async fn put_dump_back(&self) {
        for table in TABLES {
            self.raw(&format!(
                "DELETE FROM {table}; INSERT INTO {table} SELECT * FROM old_{table}"
            ))
            .await;
        }
    }

    /// The codes of rollbacks that were told to the journal.
    pub(crate) fn told(&self) -> Vec<&'static str> {
        let events = self.events.events();
        let codes = events.iter().filter_map(|event| match event.kind {
            EventKind::StateRolledBack { code, .. } => Some(code),
            _ => None,
        });
        codes.collect()
    }

    /// On another server than that of all tests.
    pub(crate) fn at(mut self, url: &str, direct: &str) -> Self {
        self.url = url.to_owned();
        self.direct = direct.to_owned();
        self
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.join("shipbound.db")
    }

    pub(crate) fn direct(&self) -> &str {
        &self.direct
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

const TABLES: [&str; 10] = [
    "sb_counters",
    "sb_keks",
    "sb_data_keys",
    "sb_keys",
    "sb_credentials",
    "sb_grants",
    "sb_connections",
    "sb_ledger",
    "sb_ledger_heads",
    "sb_acts",
];

async fn sqlite_rows(path: &str, sql: &str) -> Vec<String> {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let options = options.busy_timeout(std::time::Duration::from_secs(20));
    let mut connection = options.connect().await.unwrap();
    let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .fetch_all(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    rows.iter()
        .map(|row| {
            row.try_get::<String, _>(0)
                .unwrap_or_else(|_| row.get::<i64, _>(0).to_string())
        })
        .collect()
}

pub(crate) async fn postgres_rows(url: &str, sql: &str) -> Vec<String> {
    let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .fetch_all(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    rows.iter()
        .map(|row| row.try_get_unchecked::<String, _>(0).unwrap_or_default())
        .collect()
}

/// An anchor that cannot be raised while it is told so.
#[derive(Debug, Default)]
pub(crate) struct Stuck {
    anchor: MemoryAnchor,
    pub(crate) stuck: AtomicBool,
}

#[async_trait]
impl EpochAnchor for Stuck {
    async fn read(&self) -> Result<Option<Anchored>, AnchorError> {
        self.anchor.read().await
    }

    async fn raise(&self, to: &Anchored) -> Result<(), AnchorError> {
        if self.stuck.load(Ordering::SeqCst) {
            return Err(AnchorError::Unavailable);
        }
        self.anchor.raise(to).await
    }
}

pub(crate) fn deployment() -> DeploymentId {
    DeploymentId::default_deployment()
}

pub(crate) fn owner(tenant: &str) -> Owner {
    Owner::Connection(ConnectionId::new(
        deployment(),
        TenantId::new(tenant).unwrap().into(),
        CarrierId::new("fedex").unwrap(),
        Environment::Sandbox,
        AccountId::main(),
    ))
}

/// Seals nothing, but opens only what was sealed for the same context.
#[derive(Debug)]
pub(crate) struct Glass;

#[async_trait]
impl Sealer for Glass {
    async fn seal(&self, context: &SealContext<'_>, value: &[u8]) -> Result<String, SealError> {
        let octets: String = value.iter().map(|octet| format!("{octet:02x}")).collect();
        Ok(format!("{context:?}|{octets}"))
    }

    async fn open(&self, context: &SealContext<'_>, sealed: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let prefix = format!("{context:?}|");
        let octets = sealed.strip_prefix(&prefix).ok_or(SealError::Refused)?;
        let octet = |at: usize| u8::from_str_radix(&octets[at..at + 2], 16).unwrap();
        Ok((0..octets.len()).step_by(2).map(octet).collect::<Vec<u8>>().into())
    }
}
