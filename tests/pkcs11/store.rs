//! The holder below a store.

use std::sync::Arc;

use futures_util::future::join_all;
use shipbound::clock::Timestamp;
use shipbound::keys::{Authority, KeyStore, MemoryKeyRecords};
use shipbound::store::pkcs11::Pkcs11KeyStore;

use super::held::{ES256, called_by_a_client, owner, prove};
use super::softhsm::{SoftHsm, system_clock};

fn store(hsm: &SoftHsm, records: &Arc<MemoryKeyRecords>) -> Pkcs11KeyStore<MemoryKeyRecords> {
    Pkcs11KeyStore::new(
        records.clone(),
        Arc::new(hsm.token()),
        system_clock(),
        Authority::default(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_calls_with_keys_that_another_process_made() {
    let hsm = SoftHsm::new();
    let records = Arc::new(MemoryKeyRecords::new());
    called_by_a_client(store(&hsm, &records)).await;

    let acme = owner("acme");
    let made = store(&hsm, &records).create(&acme, ES256).await.unwrap();
    let second = store(&hsm, &records);
    assert!(
        second
            .promote(&acme, &made.id(), None, Timestamp::UNIX_EPOCH)
            .await
            .unwrap()
    );
    let third = store(&hsm, &records);
    let before = (hsm.calls('I'), hsm.calls('F'), hsm.calls('O'), hsm.calls('L'));
    let keys = join_all((0..64).map(|_| third.active(&acme, ES256.purpose))).await;
    for key in &keys {
        assert_eq!(key.as_ref().unwrap().as_ref().unwrap().id(), made.id());
    }
    // One for the private and one for the public half, in one session.
    let after = (hsm.calls('I'), hsm.calls('F'), hsm.calls('O'), hsm.calls('L'));
    assert_eq!(after, (before.0 + 1, before.1 + 2, before.2 + 1, before.3 + 1));

    // Signing finds nothing again, and takes no more sessions than there may be.
    let (searches, signed) = (hsm.calls('F'), hsm.calls('S'));
    let key = third.active(&acme, ES256.purpose).await.unwrap().unwrap();
    for outcome in join_all((0..64).map(|_| prove(&key))).await {
        outcome.unwrap();
    }
    assert_eq!((hsm.calls('F'), hsm.calls('S')), (searches, signed + 64));
    assert!(hsm.calls('O') <= before.2 + 4);
}

#[cfg(feature = "conformance")]
#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_what_stores_have_to() {
    use shipbound::clock::{Clock, ManualClock, SystemClock};
    use shipbound::conformance::{KeyStores, OpenKeys, key_store};
    let hsm = SoftHsm::new();
    let clock = Arc::new(ManualClock::at(SystemClock::new().now()));
    let (records, holder) = (Arc::new(MemoryKeyRecords::new()), Arc::new(hsm.token()));
    let stores = KeyStores::new(clock.clone(), move || {
        let keys = Pkcs11KeyStore::new(records.clone(), holder.clone(), clock.clone(), Authority::default());
        async { OpenKeys::from(keys) }
    });
    let report = key_store(&stores).await;
    assert!(report.has_passed(), "{report}");
}
