//! The holder below a store.

use std::sync::Arc;

use futures_util::future::join_all;
use shipbound::clock::{SystemClock, Timestamp};
use shipbound::keys::{Authority, KeyError, KeyStore, MemoryKeyRecords};
use shipbound::store::transit::TransitKeyStore;

use super::held::{ES256, called_by_a_client, owner, prove};
use super::openbao::OpenBao;
use super::scene::{start, transit};

async fn store(bao: &OpenBao, records: &Arc<MemoryKeyRecords>) -> TransitKeyStore<MemoryKeyRecords> {
    let holder = Arc::new(transit(bao).await);
    TransitKeyStore::new(
        records.clone(),
        holder,
        Arc::new(SystemClock::new()),
        Authority::default(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_calls_with_keys_that_another_process_made() {
    let mut bao = start().await;
    let records = Arc::new(MemoryKeyRecords::new());
    called_by_a_client(store(&bao, &records).await).await;
    let acme = owner("acme");
    let made = store(&bao, &records).await.create(&acme, ES256).await.unwrap();

    let second = store(&bao, &records).await;
    assert!(
        second
            .promote(&acme, &made.id(), None, Timestamp::UNIX_EPOCH)
            .await
            .unwrap()
    );
    let third = store(&bao, &records).await;
    bao.stop();
    assert_eq!(
        third.active(&acme, ES256.purpose).await.unwrap_err(),
        KeyError::SignerFailed
    );
    bao.start_again().await;
    let before = bao.requests("transit/keys/");
    for key in join_all((0..64).map(|_| third.active(&acme, ES256.purpose))).await {
        assert_eq!(key.unwrap().unwrap().id(), made.id());
    }
    assert_eq!(bao.requests("transit/keys/"), before + 1);
    prove(&third.active(&acme, ES256.purpose).await.unwrap().unwrap())
        .await
        .unwrap();
}

#[cfg(feature = "conformance")]
#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_what_stores_have_to() {
    use shipbound::clock::{Clock, ManualClock};
    use shipbound::conformance::{KeyStores, OpenKeys, key_store};
    let bao = start().await;
    let clock = Arc::new(ManualClock::at(SystemClock::new().now()));
    let (records, holder) = (Arc::new(MemoryKeyRecords::new()), Arc::new(transit(&bao).await));
    let stores = KeyStores::new(clock.clone(), move || {
        let keys = TransitKeyStore::new(records.clone(), holder.clone(), clock.clone(), Authority::default());
        async { OpenKeys::from(keys) }
    });
    let report = key_store(&stores).await;
    assert!(report.has_passed(), "{report}");
}
