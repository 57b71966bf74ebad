//! Credentials in the database.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use shipbound::chore::Chore;
use shipbound::conformance::{self, CredentialStores, OpenCredentials};
use shipbound::credentials::{Credential, CredentialAdmin, CredentialError, CredentialStore};
use shipbound::journal::EventKind;
use shipbound::store::anchor::EpochAnchor;
use shipbound::store::seal::{MAX_VALUE, SealContext, Sealer, Table};

use crate::scene::{Process, Scene, act, connection};
use crate::world::{Stuck, owner};

on_both!(it_is_a_credential_store);
async fn it_is_a_credential_store(scene: Scene) {
    let scene = Arc::new(scene);
    let stores = CredentialStores::new({
        let scene = scene.clone();
        move || {
            let scene = scene.clone();
            async move {
                let store = scene.process(&["k1"]).await.credentials;
                let (putting, removing, looking) = (store.clone(), store.clone(), store.clone());
                OpenCredentials::new(
                    store,
                    move |connection, credential| {
                        let store = putting.clone();
                        async move {
                            store.put_credential(&connection, credential, &act()).await.unwrap();
                        }
                        .boxed()
                    },
                    move |connection| {
                        let store = removing.clone();
                        async move {
                            store.remove_credential(&connection, &act()).await.unwrap();
                        }
                        .boxed()
                    },
                )
                .looking(move || {
                    let store = looking.clone();
                    async move { store.round(&|| true).await }.boxed()
                })
            }
        }
    })
    .of_one_deployment();
    let report = conformance::credential_store(&stores).await;
    assert!(report.has_passed(), "{report}");
}

async fn put(process: &Process, secret: &str) {
    let credential = Credential::new("id", secret);
    process
        .credentials
        .put_credential(&connection("acme"), credential, &act())
        .await
        .unwrap();
}

async fn read(process: &Process) -> Result<String, CredentialError> {
    let credential = process.credentials.credential(&connection("acme")).await?;
    Ok(credential.client_secret().unwrap().expose().to_owned())
}

on_both!(an_old_row_that_is_put_back_is_refused);
async fn an_old_row_that_is_put_back_is_refused(scene: Scene) {
    let process = scene.process(&["k1"]).await;
    put(&process, "old").await;
    scene
        .world
        .raw("CREATE TABLE kept AS SELECT * FROM sb_credentials")
        .await;
    let put_back = "DELETE FROM sb_credentials; INSERT INTO sb_credentials SELECT * FROM kept";
    put(&process, "new").await;
    assert_eq!(read(&process).await.unwrap(), "new");

    scene.world.raw(put_back).await;
    let other = scene.process(&["k1"]).await;
    for process in [&process, &other] {
        assert_eq!(read(process).await.unwrap_err(), CredentialError::RolledBack);
    }
    // Written anew it goes on.
    put(&other, "newest").await;
    assert_eq!(read(&process).await.unwrap(), "newest");

    // What was taken away does not come back either, not even for a process that has not seen it go.
    assert!(
        process
            .credentials
            .remove_credential(&connection("acme"), &act())
            .await
            .unwrap()
    );
    assert!(
        !process
            .credentials
            .remove_credential(&connection("acme"), &act())
            .await
            .unwrap()
    );
    scene.world.raw(put_back).await;
    for process in [&process, &other] {
        assert_eq!(read(process).await.unwrap_err(), CredentialError::RolledBack);
    }
}

on_both!(a_row_of_another_connection_or_with_another_revision_is_refused);
async fn a_row_of_another_connection_or_with_another_revision_is_refused(scene: Scene) {
    let process = scene.process(&["k1"]).await;
    put(&process, "s").await;
    let before = process.credentials.credential(&connection("acme")).await.unwrap();
    let other = Credential::new("id", "other");
    process
        .credentials
        .put_credential(&connection("other"), other, &act())
        .await
        .unwrap();
    scene
        .world
        .raw(
            "UPDATE sb_credentials SET sealed = (SELECT sealed FROM sb_credentials WHERE tenant = 'other'), \
             revision = (SELECT revision FROM sb_credentials WHERE tenant = 'other') WHERE tenant = 'acme'",
        )
        .await;
    assert_eq!(read(&process).await.unwrap_err(), CredentialError::RolledBack);
    put(&process, "s").await;
    let after = process.credentials.credential(&connection("acme")).await.unwrap();
    assert_eq!(before.client_id(), after.client_id());
    scene
        .world
        .raw("UPDATE sb_credentials SET revision = revision + 1 WHERE tenant = 'acme'")
        .await;
    assert_eq!(read(&process).await.unwrap_err(), CredentialError::RolledBack);
    assert!(process.credentials.credential(&connection("other")).await.is_ok());
}

on_both!(acts_are_written_down_and_told);
async fn acts_are_written_down_and_told(scene: Scene) {
    let process = scene.process(&["k1"]).await;
    put(&process, "one").await;
    process
        .credentials
        .remove_credential(&connection("acme"), &act())
        .await
        .unwrap();
    let acts = scene
        .world
        .raw("SELECT what || ' ' || actor || ' ' || ticket FROM sb_acts ORDER BY what")
        .await;
    let by = "maria@platform.example OPS-1";
    assert_eq!(
        acts,
        [format!("put-credential {by}"), format!("remove-credential {by}")]
    );
    let events = scene.world.events.events();
    let told: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Acted { what, .. } => Some((event.connection.clone().unwrap(), *what)),
            _ => None,
        })
        .collect();
    let acme = connection("acme");
    assert_eq!(told, [(acme.clone(), "put-credential"), (acme, "remove-credential")]);
    assert!(!format!("{events:?}").contains("one"));
}

on_both!(what_is_too_large_is_refused_and_what_is_not_is_kept);
async fn what_is_too_large_is_refused_and_what_is_not_is_kept(scene: Scene) {
    let process = scene.process(&["k1"]).await;
    let around = r#"{"client_id":"","secret":"","parts":{}}"#.len();
    let credential = |more| Credential::api_key("s".repeat(MAX_VALUE - around + more));
    let acme = connection("acme");
    process
        .credentials
        .put_credential(&acme, credential(0), &act())
        .await
        .unwrap();
    let refused = process.credentials.put_credential(&acme, credential(1), &act()).await;
    assert_eq!(refused.unwrap_err(), CredentialError::TooLarge { limit: MAX_VALUE });
    assert_eq!(read(&process).await.unwrap().len(), MAX_VALUE - around);
}

on_both!(what_was_sealed_under_a_data_key_that_is_gone_is_sealed_again);
async fn what_was_sealed_under_a_data_key_that_is_gone_is_sealed_again(scene: Scene) {
    let process = scene.process(&["k1"]).await;
    put(&process, "one").await;
    let acme = owner("acme");
    let context = SealContext::new(&acme, Table::Credentials, 1);
    process.sealing.seal(&context, b"v").await.unwrap();
    // Another process replaces the data key; this one still holds the old one.
    let thief = scene.process(&["k2", "k1"]).await;
    thief
        .sealing
        .kek_stolen(&crate::provider::kek("k1"), &act(), &mut |_| ())
        .await
        .unwrap();
    let process = scene.process(&["k1", "k2"]).await;
    put(&process, "two").await;
    assert_eq!(read(&thief).await.unwrap(), "two");
}

on_both!(a_removal_is_answered_for_when_the_anchor_knows);
/// A removal whose answer was lost with the anchor: the repeat answers when the anchor knows.
async fn a_removal_is_answered_for_when_the_anchor_knows(scene: Scene) {
    let anchor = Arc::new(Stuck::default());
    let one = scene.process_with(&["k1"], anchor.clone()).await;
    let connection = connection("acme");
    let credential = Credential::new("id", "secret");
    one.credentials
        .put_credential(&connection, credential, &act())
        .await
        .unwrap();
    let before = anchor.read().await.unwrap().unwrap().rows;
    anchor.stuck.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let removed = one.credentials.remove_credential(&connection, &act()).await;
        assert_eq!(removed, Err(CredentialError::Unavailable));
    }
    assert_eq!(scene.world.raw("SELECT owner FROM sb_credentials").await.len(), 0);
    assert_eq!(anchor.read().await.unwrap().unwrap().rows, before);
    anchor.stuck.store(false, Ordering::SeqCst);
    let removed = one.credentials.remove_credential(&connection, &act()).await;
    assert_eq!(removed, Ok(false));
    assert_eq!(anchor.read().await.unwrap().unwrap().rows, before + 1);
}

const KEEP: &str = "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT * FROM sb_credentials";
const PUT_BACK: &str = "DELETE FROM sb_credentials; INSERT INTO sb_credentials SELECT * FROM kept";

on_both!(a_row_that_was_deleted_first_and_put_back_later_is_refused);
async fn a_row_that_was_deleted_first_and_put_back_later_is_refused(scene: Scene) {
    let (process, acme) = (scene.process(&["k1"]).await, connection("acme"));
    let put_back = || async {
        scene.world.raw(PUT_BACK).await;
        for process in [&process, &scene.process(&["k1"]).await] {
            assert_eq!(read(process).await.unwrap_err(), CredentialError::RolledBack);
        }
    };
    put(&process, "old").await;
    scene.world.raw(KEEP).await;
    scene.world.raw("DELETE FROM sb_credentials").await;
    // By a process that has not seen the first one come.
    put(&scene.process(&["k1"]).await, "new").await;
    assert_eq!(read(&process).await.unwrap(), "new");
    put_back().await;

    // Taken away while its row was gone.
    put(&process, "newest").await;
    scene.world.raw(KEEP).await;
    scene.world.raw("DELETE FROM sb_credentials").await;
    assert!(process.credentials.remove_credential(&acme, &act()).await.unwrap());
    let rows = scene.world.number("SELECT COUNT(*) FROM sb_ledger").await;
    assert!(!process.credentials.remove_credential(&acme, &act()).await.unwrap());
    assert_eq!(scene.world.number("SELECT COUNT(*) FROM sb_ledger").await, rows);
    put_back().await;
    put(&process, "last").await;
    assert_eq!(read(&process).await.unwrap(), "last");
    put_back().await;
}

on_both!(of_two_that_put_at_once_both_are_done_and_one_stays);
async fn of_two_that_put_at_once_both_are_done_and_one_stays(scene: Scene) {
    let (one, two) = (scene.process(&["k1"]).await, scene.process(&["k1"]).await);
    for _ in 0..5 {
        tokio::join!(put(&one, "one"), put(&two, "two"));
        let left = read(&one).await.unwrap();
        assert!(["one", "two"].contains(&&*left));
        assert_eq!(read(&two).await.unwrap(), left);
    }
    // Each number was taken once: the first put buries one, each after it two.
    let rows = scene.world.number("SELECT COUNT(*) FROM sb_ledger").await;
    let digests = scene.world.number("SELECT COUNT(DISTINCT digest) FROM sb_ledger").await;
    assert_eq!((rows, digests), (19, 19));
}
