//! The stores of this crate.

use std::sync::Arc;

use shipbound::clock::{ManualClock, Timestamp};
use shipbound::conformance::{
    self, CredentialStores, GrantStores, KeyStores, OpenCredentials, OpenGrants, OpenKeys, ReplayLogs, Report,
};
use shipbound::credentials::MemoryCredentials;
use shipbound::grants::MemoryGrants;
use shipbound::jose::Algorithm;
use shipbound::keys::MemoryKeyStore;
use shipbound::verify::{MemoryReplayLog, ReplayLog};

use super::broken_keys::{Break, recorded};

pub(crate) const START: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

fn passed(report: &Report, checks: usize) {
    assert!(report.has_passed(), "{report}");
    assert_eq!(report.checks().count(), checks);
    assert_eq!(report.to_string(), format!("{checks} checks passed"));
}

#[tokio::test]
async fn keys_in_memory() {
    let clock = Arc::new(ManualClock::at(START));
    let store = Arc::new(MemoryKeyStore::with_clock(clock.clone()));
    let open = move || {
        let keys = store.clone();
        async move { OpenKeys::new(keys.clone()).listed(keys) }
    };
    passed(
        &conformance::key_store(&KeyStores::new(clock, open).within_one_process()).await,
        13,
    );
}

#[tokio::test]
async fn recorded_keys_over_memory() {
    for algorithm in [Algorithm::Es256, Algorithm::Ed25519] {
        let report = conformance::key_store(&recorded(Break::Nothing).with_algorithm(algorithm)).await;
        passed(&report, 15);
    }
}

#[tokio::test]
async fn credentials_in_memory() {
    let store = Arc::new(MemoryCredentials::new());
    let stores = CredentialStores::new(move || {
        let store = store.clone();
        async move { open_credentials(store.clone(), store) }
    });
    passed(&conformance::credential_store(&stores.of_one_deployment()).await, 6);
}

/// `shown` answers, and `kept` is what changes.
pub(crate) fn open_credentials(
    shown: Arc<dyn shipbound::credentials::CredentialStore>,
    kept: Arc<MemoryCredentials>,
) -> OpenCredentials {
    let put = Arc::clone(&kept);
    OpenCredentials::new(
        shown,
        move |connection, credential| {
            put.put_account(
                connection.tenant().clone(),
                connection.carrier(),
                connection.environment(),
                connection.account().clone(),
                credential,
            );
            Box::pin(async {})
        },
        move |connection| {
            kept.remove(&connection);
            Box::pin(async {})
        },
    )
}

#[tokio::test]
async fn grants_in_memory() {
    let store = Arc::new(MemoryGrants::new());
    let stores = GrantStores::new(move || {
        let store = store.clone();
        async move { OpenGrants::new(store) }
    });
    passed(&conformance::grant_store(&stores).await, 8);
}

#[tokio::test]
async fn a_replay_log_in_memory() {
    let log: Arc<dyn ReplayLog> = Arc::new(MemoryReplayLog::with_quotas(START, 1_000, 20, 500).unwrap());
    let logs = ReplayLogs::new(START, move || {
        let log = log.clone();
        async move { log }
    });
    passed(&conformance::replay_log(&logs.with_limit(20)).await, 5);
}
