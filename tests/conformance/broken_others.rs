//! Credential stores, grant stores and replay logs that are broken on purpose.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use shipbound::clock::Timestamp;
use shipbound::conformance::{self, CredentialStores, GrantStores, OpenGrants, ReplayLogs};
use shipbound::credentials::{Credential, CredentialError, CredentialStore, MemoryCredentials};
use shipbound::grants::{Grant, GrantError, GrantState, GrantStore, MemoryGrants, Record, Revision};
use shipbound::owner::{ConnectionId, Tenant, TenantId};
use shipbound::verify::{MemoryReplayLog, ReplayEntry, ReplayLog, ReplayRefusal};

use super::stores::{START, open_credentials};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Break {
    Nothing,
    LooksThenWrites,
    FoldsCase,
    ReadsBehind,
    ForgetsTheExpiry,
    MakesWhatItReplaces,
    NeverMoves,
    OutageIsAbsence,
    GivesTheOld,
    CountsEachRead,
    NothingIsMissing,
    TellsByClient,
    CutsTheJti,
    ForgetsEarly,
    ForgetsTheOldest,
    TakesInOutage,
}

const GRANTS: [(Break, &str); 7] = [
    (Break::LooksThenWrites, "one of many replaces"),
    (Break::FoldsCase, "connections are apart"),
    (Break::ReadsBehind, "what is written is read"),
    (Break::ForgetsTheExpiry, "records come back as they were"),
    (Break::MakesWhatItReplaces, "replacing compares"),
    (Break::NeverMoves, "the generation moves"),
    (Break::OutageIsAbsence, "an outage is no absence"),
];

const CREDENTIALS: [(Break, &str); 6] = [
    (Break::FoldsCase, "connections are apart"),
    (Break::GivesTheOld, "the newest is given"),
    (Break::CountsEachRead, "a credential is itself"),
    (Break::NothingIsMissing, "none is missing"),
    (Break::NeverMoves, "the generation moves"),
    (Break::OutageIsAbsence, "an outage is no absence"),
];

const LOGS: [(Break, &str); 6] = [
    (Break::TellsByClient, "a proof counts once"),
    (Break::CutsTheJti, "proofs are told apart"),
    (Break::LooksThenWrites, "one of many counts"),
    (Break::ForgetsEarly, "proofs are kept to their end"),
    (Break::ForgetsTheOldest, "room comes back"),
    (Break::TakesInOutage, "an outage refuses"),
];

#[tokio::test]
async fn broken_grant_stores_are_found_out() {
    for (how, check) in GRANTS.into_iter().chain([(Break::Nothing, "")]) {
        let store = Arc::new(Broken {
            kept: MemoryGrants::new(),
            behind: Mutex::default(),
            down: AtomicBool::new(false),
            how,
        });
        let switch = store.clone();
        let stores = GrantStores::new(move || {
            let store = store.clone();
            async move { OpenGrants::new(store) }
        });
        let report = conformance::grant_store(&stores.with_outage(move |down| {
            switch.down.store(down, Ordering::SeqCst);
            Box::pin(async {})
        }))
        .await;
        match how {
            Break::Nothing => assert!(report.has_passed(), "{report}"),
            _ => assert!(report.has_failed(check), "{how:?} passes {check:?}; {report}"),
        }
    }
}

#[tokio::test]
async fn broken_credential_stores_are_found_out() {
    for (how, check) in CREDENTIALS.into_iter().chain([(Break::Nothing, "")]) {
        let kept = Arc::new(MemoryCredentials::new());
        let store = Arc::new(Shown {
            kept: kept.clone(),
            first: Mutex::default(),
            reads: AtomicU64::new(0),
            down: AtomicBool::new(false),
            how,
        });
        let switch = store.clone();
        let stores = CredentialStores::new(move || {
            let (store, kept) = (store.clone(), kept.clone());
            async move { open_credentials(store, kept) }
        });
        let report = conformance::credential_store(&stores.of_one_deployment().with_outage(move |down| {
            switch.down.store(down, Ordering::SeqCst);
            Box::pin(async {})
        }))
        .await;
        match how {
            Break::Nothing => assert!(report.has_passed(), "{report}"),
            _ => assert!(report.has_failed(check), "{how:?} passes {check:?}; {report}"),
        }
    }
}

#[tokio::test]
async fn broken_replay_logs_are_found_out() {
    for (how, check) in LOGS.into_iter().chain([(Break::Nothing, "")]) {
        let log = Arc::new(Log {
            kept: MemoryReplayLog::with_quotas(START, 1_000, 20, 500).unwrap(),
            seen: Mutex::default(),
            down: AtomicBool::new(false),
            how,
        });
        let switch = log.clone();
        let logs = ReplayLogs::new(START, move || {
            let log: Arc<dyn ReplayLog> = log.clone();
            async move { log }
        });
        let report = conformance::replay_log(&logs.with_limit(20).with_outage(move |down| {
            switch.down.store(down, Ordering::SeqCst);
            Box::pin(async {})
        }))
        .await;
        match how {
            Break::Nothing => assert!(report.has_passed(), "{report}"),
            _ => assert!(report.has_failed(check), "{how:?} passes {check:?}; {report}"),
        }
    }
}

fn lower(connection: &ConnectionId) -> ConnectionId {
    let tenant = connection.tenant();
    ConnectionId::new(
        connection.deployment().clone(),
        Tenant::new(
            TenantId::new(&tenant.id().as_str().to_lowercase()).unwrap(),
            tenant.incarnation(),
        ),
        connection.carrier().clone(),
        connection.environment(),
        connection.account().clone(),
    )
}

#[derive(Debug)]
struct Broken {
    kept: MemoryGrants,
    /// What a replica that lags behind has.
    behind: Mutex<HashMap<ConnectionId, Option<Record>>>,
    down: AtomicBool,
    how: Break,
}

impl Broken {
    fn is_up(&self) -> Result<(), GrantError> {
        match self.down.load(Ordering::SeqCst) {
            true => Err(GrantError::Unavailable),
            false => Ok(()),
        }
    }

    fn taken(&self, connection: &ConnectionId) -> ConnectionId {
        match self.how {
            Break::FoldsCase => lower(connection),
            _ => connection.clone(),
        }
    }
}

#[async_trait]
impl GrantStore for Broken {
    async fn load(&self, connection: &ConnectionId) -> Result<Option<Record>, GrantError> {
        if self.how == Break::OutageIsAbsence && self.is_up().is_err() {
            return Ok(None);
        }
        self.is_up()?;
        let record = self.kept.load(&self.taken(connection)).await?;
        if self.how == Break::ReadsBehind {
            return Ok(self.behind.lock().unwrap().insert(connection.clone(), record).flatten());
        }
        Ok(record)
    }

    async fn put(&self, connection: &ConnectionId, record: &Record) -> Result<(), GrantError> {
        self.is_up()?;
        let mut record = record.clone();
        if let (Break::ForgetsTheExpiry, GrantState::Ready(grant)) = (self.how, &record.state) {
            let kept = Grant::new(grant.refresh_token().expose(), grant.consented_at());
            record.state = GrantState::Ready(kept);
        }
        self.kept.put(&self.taken(connection), &record).await
    }

    async fn replace(
        &self,
        connection: &ConnectionId,
        expected: Revision,
        record: &Record,
    ) -> Result<bool, GrantError> {
        self.is_up()?;
        let connection = self.taken(connection);
        match self.how {
            Break::LooksThenWrites => {
                let kept = self.kept.load(&connection).await?;
                tokio::task::yield_now().await;
                let fits = kept.is_some_and(|kept| kept.revision == expected);
                if fits {
                    self.kept.put(&connection, record).await?;
                }
                Ok(fits)
            }
            Break::MakesWhatItReplaces if self.kept.load(&connection).await?.is_none() => {
                self.kept.put(&connection, record).await?;
                Ok(true)
            }
            _ => self.kept.replace(&connection, expected, record).await,
        }
    }

    async fn remove(&self, connection: &ConnectionId) -> Result<bool, GrantError> {
        self.is_up()?;
        self.kept.remove(&self.taken(connection)).await
    }

    fn generation(&self) -> u64 {
        match self.how {
            Break::NeverMoves => 0,
            _ => self.kept.generation(),
        }
    }
}

#[derive(Debug)]
struct Shown {
    kept: Arc<MemoryCredentials>,
    /// What was read first, by whoever it was.
    first: Mutex<HashMap<String, Credential>>,
    reads: AtomicU64,
    down: AtomicBool,
    how: Break,
}

#[async_trait]
impl CredentialStore for Shown {
    async fn credential(&self, connection: &ConnectionId) -> Result<Credential, CredentialError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(match self.how {
                Break::OutageIsAbsence => CredentialError::Missing,
                _ => CredentialError::Unavailable,
            });
        }
        let mut read = self.kept.credential(connection).await;
        // The base connection of a check is in lower case, and was put first.
        if let (Break::FoldsCase, Err(CredentialError::Missing)) = (self.how, &read) {
            read = self.kept.credential(&lower(connection)).await;
        }
        match (self.how, read) {
            (Break::GivesTheOld, Ok(read)) => {
                let mut first = self.first.lock().unwrap();
                Ok(first.entry(format!("{connection:?}")).or_insert(read).clone())
            }
            (Break::CountsEachRead, Ok(read)) => Ok(read.with_revision(self.reads.fetch_add(1, Ordering::SeqCst))),
            (Break::NothingIsMissing, Err(CredentialError::Missing)) => Ok(Credential::without_secret("")),
            (_, read) => read,
        }
    }

    fn generation(&self) -> u64 {
        match self.how {
            Break::NeverMoves => 0,
            _ => self.kept.generation(),
        }
    }
}

#[derive(Debug)]
struct Log {
    kept: MemoryReplayLog,
    seen: Mutex<HashSet<(Vec<u8>, String)>>,
    down: AtomicBool,
    how: Break,
}

#[async_trait]
impl ReplayLog for Log {
    async fn check_and_insert(
        &self,
        entry: &ReplayEntry<'_>,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), ReplayRefusal> {
        if self.down.load(Ordering::SeqCst) {
            return match self.how {
                Break::TakesInOutage => Ok(()),
                _ => Err(ReplayRefusal::Unavailable),
            };
        }
        let name = (entry.jkt.as_bytes().to_vec(), entry.jti.to_owned());
        match self.how {
            Break::TellsByClient => {
                let jti = format!("{}{}", entry.client.unwrap_or_default(), entry.jti);
                self.kept
                    .check_and_insert(&ReplayEntry { jti: &jti, ..*entry }, now, expires_at)
                    .await
            }
            Break::CutsTheJti => {
                let jti = entry.jti.to_lowercase();
                self.kept
                    .check_and_insert(&ReplayEntry { jti: &jti, ..*entry }, now, expires_at)
                    .await
            }
            Break::LooksThenWrites => {
                let is_new = !self.seen.lock().unwrap().contains(&name);
                tokio::task::yield_now().await;
                self.seen.lock().unwrap().insert(name);
                if is_new { Ok(()) } else { Err(ReplayRefusal::Replayed) }
            }
            // From when it arrived, and not from when it was made.
            Break::ForgetsEarly => {
                let answer = self.kept.check_and_insert(entry, now, expires_at).await;
                let is_late = now.seconds_since(entry.issued_at) > 30;
                if is_late { Ok(()) } else { answer }
            }
            Break::ForgetsTheOldest => match self.kept.check_and_insert(entry, now, expires_at).await {
                Err(ReplayRefusal::Quota) => Ok(()),
                answer => answer,
            },
            _ => self.kept.check_and_insert(entry, now, expires_at).await,
        }
    }
}
