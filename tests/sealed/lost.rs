//! What was written since a backup was made, and is put back once the backup was restored and accepted.

use std::sync::Arc;

use shipbound::clock::Timestamp;
use shipbound::credentials::{Credential, CredentialAdmin, CredentialError, CredentialStore};
use shipbound::grants::{Grant, GrantError};
use shipbound::jose::Algorithm;
use shipbound::keys::{KeyError, KeyFilter, KeyHandle, KeyListing, KeySpec, KeyState, KeyStore, Purpose};
use shipbound::store::anchor::{EpochAnchor, MemoryAnchor};
use shipbound::store::sql::LedgerSetup;

use crate::grants::{claim, grants};
use crate::scene::{Process, Scene, act, connection};
use crate::world::{deployment, owner};

const AT: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

async fn put(process: &Process, name: &str) {
    let credential = Credential::new(name, "secret");
    let acme = connection("acme");
    process
        .credentials
        .put_credential(&acme, credential, &act())
        .await
        .unwrap();
}

async fn consent(scene: &Scene, process: &Process, token: &str) {
    let grant = Grant::new(token, AT);
    grants(scene, process).put(&connection("acme"), grant).await.unwrap();
}

async fn active_key(process: &Process, tenant: &str) -> KeyHandle {
    let spec = KeySpec {
        purpose: Purpose::Proof,
        algorithm: Algorithm::Es256,
    };
    let key = process.keys.create(&owner(tenant), spec).await.unwrap();
    let promoted = process
        .keys
        .promote(
            &owner(tenant),
            &key.id(),
            None,
            Timestamp::from_unix_seconds(4_000_000_000),
        )
        .await;
    assert!(promoted.unwrap());
    key
}

async fn restore(scene: &Scene) {
    restore_to(scene, scene.world.anchor.clone()).await;
}

async fn restore_to(scene: &Scene, anchor: Arc<dyn EpochAnchor>) {
    let (database, sealing) = (scene.world.database(), Arc::new(scene.sealing(&["k1"])));
    let setup = LedgerSetup::new(&database, &deployment(), sealing, anchor, &scene.journal());
    setup.accept_restore(&act()).await.unwrap();
}

/// The rows of a table as they stand now, for `put_back`.
async fn keep(scene: &Scene, table: &str, as_table: &str) {
    scene
        .world
        .raw(&format!("CREATE TABLE {as_table} AS SELECT * FROM {table}"))
        .await;
}

async fn put_back(scene: &Scene, table: &str, from: &str) {
    scene
        .world
        .raw(&format!(
            "DELETE FROM {table}; INSERT INTO {table} SELECT * FROM {from}"
        ))
        .await;
}

on_both!(a_credential_and_a_consent_of_a_lost_state_never_count_again);
async fn a_credential_and_a_consent_of_a_lost_state_never_count_again(scene: Scene) {
    let acme = connection("acme");
    for backup_has_one in [true, false] {
        let before = scene.process(&["k1"]).await;
        if backup_has_one {
            put(&before, "backup").await;
            consent(&scene, &before, "backup").await;
        } else {
            before.credentials.remove_credential(&acme, &act()).await.unwrap();
            grants(&scene, &before).remove(&acme).await.unwrap();
        }
        scene.world.dump().await;
        let mut lost = Vec::new();
        for at in 0..3 {
            put(&before, "lost").await;
            consent(&scene, &before, "lost").await;
            let names = ["credentials", "grants"].map(|name| format!("lost_{name}_{backup_has_one}_{at}"));
            keep(&scene, "sb_credentials", &names[0]).await;
            keep(&scene, "sb_grants", &names[1]).await;
            lost.push(names);
        }
        scene.world.put_dump_back().await;
        restore(&scene).await;

        let after = scene.process(&["k1"]).await;
        if backup_has_one {
            let credential = after.credentials.credential(&acme).await.unwrap();
            assert_eq!(credential.client_id(), "backup");
        }
        for at in 0..5 {
            let fresh = scene.process(&["k1"]).await;
            for [credentials, consents] in &lost {
                put_back(&scene, "sb_credentials", credentials).await;
                put_back(&scene, "sb_grants", consents).await;
                for process in [&after, &fresh] {
                    let read = process.credentials.credential(&acme).await;
                    assert_eq!(
                        read.unwrap_err(),
                        CredentialError::RolledBack,
                        "{credentials} after {at}"
                    );
                    let claimed = claim(&scene, &grants(&scene, process)).await;
                    assert_eq!(claimed.unwrap_err(), GrantError::NeedsConsent, "{consents} after {at}");
                }
            }
            put(&after, "new").await;
            consent(&scene, &after, "new").await;
            for process in [&after, &fresh] {
                assert!(process.credentials.credential(&acme).await.is_ok());
                assert_eq!(claim(&scene, &grants(&scene, process)).await.unwrap(), "new");
            }
        }
    }
}

on_both!(what_is_hidden_while_a_backup_is_accepted_has_ended_all_the_same);
async fn what_is_hidden_while_a_backup_is_accepted_has_ended_all_the_same(scene: Scene) {
    let before = scene.process(&["k1"]).await;
    active_key(&before, "acme").await;
    consent(&scene, &before, "r1").await;
    scene.world.dump().await;
    active_key(&before, "lost").await;
    keep(&scene, "sb_keys", "lost_keys").await;
    scene.world.put_dump_back().await;
    scene.world.raw("DELETE FROM sb_keys; DELETE FROM sb_grants").await;
    restore(&scene).await;

    let after = scene.process(&["k1"]).await;
    put_back(&scene, "sb_keys", "lost_keys").await;
    put_back(&scene, "sb_grants", "old_sb_grants").await;
    for process in [&after, &scene.process(&["k1"]).await] {
        for tenant in ["acme", "lost"] {
            let active = process.keys.active(&owner(tenant), Purpose::Proof).await;
            assert_eq!(active.unwrap_err(), KeyError::RolledBack, "{tenant}");
        }
        assert_eq!(
            claim(&scene, &grants(&scene, process)).await.unwrap_err(),
            GrantError::NeedsConsent
        );
    }
    scene.world.raw("DELETE FROM sb_keys").await;

    // The deployment goes on: a key of one process is one in all others.
    let there = scene.process(&["k1"]).await;
    let made = active_key(&after, "acme").await;
    let listed = there.keys.list(&KeyFilter::default(), None, 10).await.unwrap();
    let listed: Vec<_> = listed.iter().map(|record| (record.id, record.state)).collect();
    assert_eq!(listed, [(made.id(), KeyState::Active)]);
    let active = there
        .keys
        .active(&owner("acme"), Purpose::Proof)
        .await
        .unwrap()
        .unwrap();
    assert!(active.sign(b"m").wait().await.is_ok());
    assert_eq!(
        scene
            .world
            .told()
            .iter()
            .filter(|code| **code != "row put back")
            .count(),
        0
    );
}

on_both!(a_key_that_is_hidden_from_the_second_of_two_restores_has_ended);
async fn a_key_that_is_hidden_from_the_second_of_two_restores_has_ended(scene: Scene) {
    let before = scene.process(&["k1"]).await;
    active_key(&before, "acme").await;
    scene.world.dump().await;
    active_key(&before, "lost").await;
    scene.world.put_dump_back().await;
    restore(&scene).await;
    let between = scene.process(&["k1"]).await;
    active_key(&between, "acme").await;
    scene.world.dump().await;
    keep(&scene, "sb_keys", "of_the_backup").await;
    active_key(&between, "lost").await;
    scene.world.put_dump_back().await;
    scene.world.raw("DELETE FROM sb_keys").await;
    restore(&scene).await;

    let after = scene.process(&["k1"]).await;
    put_back(&scene, "sb_keys", "of_the_backup").await;
    let active = after.keys.active(&owner("acme"), Purpose::Proof).await;
    assert_eq!(active.unwrap_err(), KeyError::RolledBack);
    scene.world.raw("DELETE FROM sb_keys").await;
    active_key(&after, "acme").await;
}

on_both!(no_epoch_comes_twice_whatever_becomes_of_the_anchor);
async fn no_epoch_comes_twice_whatever_becomes_of_the_anchor(scene: Scene) {
    let acme = connection("acme");
    put(&scene.process(&["k1"]).await, "backup").await;
    let copy = scene.world.anchor.read().await.unwrap().unwrap();
    scene.world.dump().await;
    let mut lost: Vec<String> = Vec::new();
    // The machine is lost with its anchor, again and again, each time after one more was put. An old copy of the anchor is there or not.
    for (at, is_copied) in [false, false, true, true, false].into_iter().enumerate() {
        scene.world.put_dump_back().await;
        let anchor = Arc::new(MemoryAnchor::new());
        if is_copied {
            anchor.raise(&copy).await.unwrap();
        }
        restore_to(&scene, anchor.clone()).await;
        let process = scene.process_with(&["k1"], anchor).await;
        assert_eq!(
            process.credentials.credential(&acme).await.unwrap().client_id(),
            "backup"
        );
        put(&process, "new").await;
        keep(&scene, "sb_credentials", &format!("kept_{at}")).await;
        for lost in &lost {
            put_back(&scene, "sb_credentials", lost).await;
            let read = process.credentials.credential(&acme).await;
            assert_eq!(read.unwrap_err(), CredentialError::RolledBack, "{lost}");
        }
        lost.push(format!("kept_{at}"));
    }
}
