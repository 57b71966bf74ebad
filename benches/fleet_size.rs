//! What a large fleet of connections costs one process: memory of each, and the time from nothing to the first call.
//!
//! ```text
//! cargo bench --features sql --bench fleet_size
//! ```
//!
//! 100 000 connections in SQLite. It prints figures, and fails beyond the limits at the top.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use std::alloc::System;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::{HeaderValue, Response, header};
use sha2::{Digest, Sha256};
use shipbound::act::Act;
use shipbound::binding::dpop::Dpop;
use shipbound::carriers::CarrierProfile;
use shipbound::clock::SystemClock;
use shipbound::credentials::{Credential, CredentialError, CredentialStore};
use shipbound::journal::Journal;
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::{CarrierId, ConnectionId, DeploymentId, Environment, TenantId};
use shipbound::registry::{NewConnection, Registry};
use shipbound::store::anchor::FileAnchor;
use shipbound::store::seal::{SealContext, SealError, Sealer};
use shipbound::store::sql::{Database, LedgerSetup, SqlConnections};
use shipbound::token::TokenAt;
use shipbound::transport::{Body, Outgoing, Route, Transport, TransportError};
use shipbound::{Client, Parts};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};
use stats_alloc::{Region, StatsAlloc};
use zeroize::Zeroizing;

#[global_allocator]
static ALLOCATOR: StatsAlloc<System> = StatsAlloc::system();

const CONNECTIONS: u64 = 100_000;
/// How many of them call, for the memory of one that does.
const CALLING: u64 = 10_000;
/// How many acts there were that are buried in the ledger.
const ACTS: usize = 200;

const MEASURE: &str = "--measure";

const MOST_IDLE: f64 = 1_536.0;
const MOST_CALLING: f64 = 6_144.0;
const LONGEST_START: Duration = Duration::from_secs(2);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // What is measured is a process that has done nothing else before.
    let mut arguments = std::env::args().skip_while(|argument| argument != MEASURE).skip(1);
    if let Some(dir) = arguments.next() {
        return measure(Path::new(&dir)).await;
    }
    let dir = std::env::temp_dir().join(format!("shipbound-fleet-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    fill(&dir).await;
    let program = std::env::current_exe().unwrap();
    let measured = std::process::Command::new(program).arg(MEASURE).arg(&dir).status();
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(measured.unwrap().success(), "beyond a limit");
}

async fn open(dir: &Path) -> Registry {
    let database = Database::sqlite(file(dir)).build().unwrap();
    let anchor = Arc::new(FileAnchor::new(dir.join("anchor")));
    let journal = Journal::new(Arc::new(SystemClock::new()), []);
    let setup = LedgerSetup::new(&database, &deployment(), Arc::new(Glass), anchor, &journal);
    let ledger = setup.open().await.unwrap();
    let store = SqlConnections::new(&database, &ledger);
    Registry::builder(store).open().await.unwrap()
}

async fn measure(dir: &Path) {
    let (heap, resident) = (Region::new(&ALLOCATOR), resident());
    let started = Instant::now();
    let registry = Arc::new(open(dir).await);
    let loaded = started.elapsed();
    let allocations = heap.change().allocations as f64 / CONNECTIONS as f64;
    let idle = held(&heap) / CONNECTIONS as f64;
    let idle_resident = (self::resident() - resident) / CONNECTIONS as f64;
    assert_eq!(registry.len() as u64, CONNECTIONS);

    let parts = Parts::builder()
        .keys(MemoryKeyStore::new())
        .credentials(OneForAll)
        .directory(registry)
        .transport(Issuing)
        .build()
        .unwrap();
    let client = Client::builder(profile(), &parts)
        .binding(Dpop::es256())
        .build()
        .unwrap();
    call(&client, 1).await;
    let ready = started.elapsed();

    let heap = Region::new(&ALLOCATOR);
    for number in 2..CALLING + 2 {
        call(&client, number).await;
    }
    let calling = held(&heap) / CALLING as f64 + idle;
    println!("connections {CONNECTIONS}, acts in the ledger {ACTS}");
    println!(
        "loaded after {} ms, first call answered after {} ms",
        loaded.as_millis(),
        ready.as_millis()
    );
    println!("allocations of the start, for each connection: {allocations:.1}");
    println!("a connection that is listed: {idle:.0} octets of heap, {idle_resident:.0} resident");
    println!("with a lease of a 700-octet token and a key in memory: {calling:.0} octets of heap");
    assert!(
        idle <= MOST_IDLE && idle_resident <= MOST_IDLE,
        "more than {MOST_IDLE} octets"
    );
    assert!(calling <= MOST_CALLING, "more than {MOST_CALLING} octets");
    assert!(ready <= LONGEST_START, "more than {LONGEST_START:?}");
}

async fn call(client: &Client, number: u64) {
    let tenant = client.tenant(&format!("tenant-{number}")).unwrap();
    let answer = tenant.get("/rates").send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

/// Octets that were allocated since and are still held.
fn held(since: &Region<'_, System>) -> f64 {
    let stats = since.change();
    stats.bytes_allocated as f64 - stats.bytes_deallocated as f64
}

fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) * 1024.0
}

/// One connection and some acts by the registry; the others as copies of its row, since one commit each would take minutes.
async fn fill(dir: &Path) {
    Database::sqlite(file(dir)).build().unwrap().migrate().await.unwrap();
    let registry = open(dir).await;
    let act = Act::new("bench", "many shippers", "BENCH-1").unwrap();
    let new = NewConnection::new(TenantId::new("tenant-0").unwrap(), &carrier(), Environment::Production);
    let added = registry.add(&new, &act).await.unwrap();
    for _ in 0..ACTS / 2 {
        let suspended = registry.suspend(&added.connection, &act).await.unwrap();
        registry.resume(&suspended, &act).await.unwrap();
    }
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file(dir));
    let mut database = options.connect().await.unwrap();
    let row = sqlx::raw_sql("SELECT settings, changed_at, changed FROM sb_connections")
        .fetch_one(&mut database)
        .await
        .unwrap();
    let (settings, changed_at): (String, i64) = (row.get(0), row.get(1));
    let last = u64::try_from(row.get::<i64, _>(2)).unwrap();
    let mut chain = Chain::read(&mut database).await;
    let numbers: Vec<_> = (1..CONNECTIONS).collect();
    let mut script = "BEGIN".to_owned();
    for batch in numbers.chunks(500) {
        let (mut rows, mut links) = (Vec::new(), Vec::new());
        for number in batch {
            let tenant = format!("tenant-{number}");
            let (owner, changed) = (hex(&digest(&owner_parts(&tenant))), last + number);
            rows.push(format!(
                "('default','{owner}','{tenant}','00000000-0000-0000-0000-000000000000','carrier','production','main',\
                 'active',0,'{settings}',{changed},{changed_at})"
            ));
            let read = [0, changed, u64::try_from(changed_at).unwrap()].map(u64::to_be_bytes);
            let mut parts: Vec<&[u8]> = vec![b"connection-reads"];
            let owner = owner_parts(&tenant);
            parts.extend(owner);
            parts.extend([b"active", settings.as_bytes()]);
            parts.extend(read.iter().map(|number| &number[..]));
            links.push(chain.link(&hex(&digest(&parts))));
        }
        for (table, rows) in [("sb_connections", rows), ("sb_ledger", links)] {
            let _ = write!(script, "; INSERT INTO {table} VALUES {}", rows.join(","));
        }
    }
    let (newest, n, mac) = (last + CONNECTIONS, chain.rows, hex(&chain.mac));
    let _ = write!(
        script,
        "; UPDATE sb_counters SET value = {newest} WHERE name = 'connections'; \
         UPDATE sb_ledger_heads SET n = {n}, mac = X'{mac}'; COMMIT"
    );
    sqlx::raw_sql(AssertSqlSafe(script))
        .execute(&mut database)
        .await
        .unwrap();
    database.close().await.unwrap();
}

/// The chain of the ledger, whose secret stands in the clear here. What is wrong with it does not go unseen: the registry reads no
/// row that the chain does not have.
struct Chain {
    secret: Vec<u8>,
    rows: u64,
    mac: Vec<u8>,
}

impl Chain {
    async fn read(database: &mut sqlx::SqliteConnection) -> Self {
        let head = sqlx::raw_sql("SELECT n, mac, secret FROM sb_ledger_heads");
        let head = head.fetch_one(database).await.unwrap();
        Self {
            secret: octets(&head.get::<String, _>(2)),
            rows: u64::try_from(head.get::<i64, _>(0)).unwrap(),
            mac: head.get(1),
        }
    }

    /// The row that says how a connection's record reads.
    fn link(&mut self, digest: &str) -> String {
        const KIND: &str = "connection-reads";
        self.rows += 1;
        let mut row = self.mac.clone();
        row.extend(self.rows.to_be_bytes());
        for part in [KIND, digest] {
            row.extend((part.len() as u64).to_be_bytes());
            row.extend(part.as_bytes());
        }
        self.mac = hmac(&self.secret, &row);
        format!("('default',{},'{KIND}','{digest}',X'{}')", self.rows, hex(&self.mac))
    }
}

/// HMAC-SHA-256 (RFC 2104), under a key of at most one block.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let padded = |pad: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).unwrap_or(&0) ^ pad).collect() };
    let inner = Sha256::digest([&padded(0x36), text].concat());
    Sha256::digest([&padded(0x5c), &inner[..]].concat()).to_vec()
}

/// What tells a connection from others.
fn owner_parts(tenant: &str) -> [&[u8]; 7] {
    [
        b"connection",
        b"default",
        tenant.as_bytes(),
        &[0; 16],
        b"carrier",
        b"production",
        b"main",
    ]
}

fn digest(parts: &[&[u8]]) -> Vec<u8> {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().to_vec()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn octets(hex: &str) -> Vec<u8> {
    let octet = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(octet).collect()
}

fn file(dir: &Path) -> PathBuf {
    dir.join("shipbound.db")
}

fn deployment() -> DeploymentId {
    DeploymentId::default_deployment()
}

fn carrier() -> CarrierId {
    CarrierId::new("carrier").unwrap()
}

fn profile() -> CarrierProfile {
    CarrierProfile::custom(
        carrier(),
        Environment::Production,
        "https://api.carrier.example",
        TokenAt::Endpoint("https://auth.carrier.example/token".into()),
    )
}

/// Seals nothing: the ledger's secret is worth nothing here.
#[derive(Debug)]
struct Glass;

#[async_trait]
impl Sealer for Glass {
    async fn seal(&self, _context: &SealContext<'_>, value: &[u8]) -> Result<String, SealError> {
        Ok(hex(value))
    }

    async fn open(&self, _context: &SealContext<'_>, sealed: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        Ok(octets(sealed).into())
    }
}

#[derive(Debug)]
struct OneForAll;

#[async_trait]
impl CredentialStore for OneForAll {
    async fn credential(&self, _connection: &ConnectionId) -> Result<Credential, CredentialError> {
        Ok(Credential::new("client", "secret").with_revision(1))
    }
}

/// Issuer and API in one: a token for whoever asks, an empty answer for everything else.
#[derive(Debug)]
struct Issuing;

#[async_trait]
impl Transport for Issuing {
    async fn send(&self, request: Outgoing, _route: &Route) -> Result<Response<Body>, TransportError> {
        if request.target.path() != "/token" {
            return Ok(Response::new(Body::empty()));
        }
        let answer = serde_json::json!({ "access_token": "a".repeat(700), "token_type": "DPoP", "expires_in": 86_400 });
        let mut response = Response::new(Body::from(bytes::Bytes::from(answer.to_string())));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        Ok(response)
    }
}
