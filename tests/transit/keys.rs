//! What is made, found and refused in the engine.

use http::Method;
use serde_json::json;
use shipbound::jose::Algorithm;
use shipbound::keys::{KeyError, KeyHolder, KeySpec, Material, Purpose, StoredKey};
use shipbound::store::transit::{Transit, TransitFailure};

use super::held::{ES256, handle, make, prove};
use super::scene::{change, name, server, start};

#[tokio::test(flavor = "multi_thread")]
async fn keys_sign_proofs_that_verify_and_never_leave_the_engine() {
    let bao = start().await;
    let server = server(&bao).await;
    let transit = Transit::new(&server, "transit").unwrap();
    for algorithm in [Algorithm::Es256, Algorithm::Ed25519, Algorithm::Ps256] {
        let stored = make(&transit, KeySpec { algorithm, ..ES256 }).await.unwrap();
        assert_eq!(stored.record.public.algorithm(), algorithm);
        let key = handle(&transit, &stored).await.unwrap();
        prove(&key).await.unwrap();

        let path = format!("transit/keys/{}", name(&stored));
        let (status, told) = bao.ask(Method::GET, &path, None).await;
        let told = &told["data"];
        assert_eq!(
            (status, &told["exportable"], &told["allow_plaintext_backup"]),
            (200, &json!(false), &json!(false))
        );
        for way in [
            format!("transit/export/signing-key/{}", name(&stored)),
            format!("transit/backup/{}", name(&stored)),
        ] {
            assert_ne!(bao.ask(Method::GET, &way, None).await.0, 200, "{way}");
        }

        transit.destroy(&stored.record).await.unwrap();
        transit.destroy(&stored.record).await.unwrap();
        assert_eq!(bao.ask(Method::GET, &path, None).await.0, 404);
        assert_eq!(key.sign(b"message").wait().await, Err(KeyError::Missing));
        assert_eq!(handle(&transit, &stored).await.unwrap_err(), KeyError::Missing);
    }
    let rs256 = KeySpec {
        purpose: Purpose::ClientAssertion,
        algorithm: Algorithm::Rs256,
    };
    assert!(matches!(make(&transit, rs256).await, Err(KeyError::Unsupported { .. })));
    assert_eq!(server.failure(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_behind_the_record_signs_nothing() {
    let bao = start().await;
    let server = server(&bao).await;
    let transit = Transit::new(&server, "transit").unwrap();

    // Rotated: the first version goes on for handles that there are, and nobody gets a new one.
    let rotated = make(&transit, ES256).await.unwrap();
    let held = handle(&transit, &rotated).await.unwrap();
    change(&bao, &format!("transit/keys/{}/rotate", name(&rotated)), json!({})).await;
    prove(&held).await.unwrap();
    assert_eq!(handle(&transit, &rotated).await.unwrap_err(), KeyError::Mismatch);
    let config = format!("transit/keys/{}/config", name(&rotated));
    change(
        &bao,
        &config,
        json!({ "min_decryption_version": 2, "min_encryption_version": 2 }),
    )
    .await;
    let signed = held.sign(b"message").wait().await;
    assert_eq!(signed, Err(KeyError::Mismatch), "{:?}", server.failure());

    // Replaced by another key of the same name.
    let replaced = make(&transit, ES256).await.unwrap();
    let held = handle(&transit, &replaced).await.unwrap();
    transit.destroy(&replaced.record).await.unwrap();
    let path = format!("transit/keys/{}", name(&replaced));
    change(&bao, &path, json!({ "type": "ecdsa-p256" })).await;
    assert_eq!(held.sign(b"message").wait().await, Err(KeyError::Mismatch));
    assert_eq!(handle(&transit, &replaced).await.unwrap_err(), KeyError::Mismatch);

    // Made exportable, which cannot be taken back.
    let exported = make(&transit, ES256).await.unwrap();
    change(
        &bao,
        &format!("transit/keys/{}/config", name(&exported)),
        json!({ "exportable": true }),
    )
    .await;
    assert_eq!(handle(&transit, &exported).await.unwrap_err(), KeyError::Mismatch);

    // Material that names another key, or a way to one.
    let (one, other) = (
        make(&transit, ES256).await.unwrap(),
        make(&transit, ES256).await.unwrap(),
    );
    for material in [other.material.clone(), Some(Material::new("../../sys/seal"))] {
        let moved = StoredKey {
            material,
            ..one.clone()
        };
        assert_eq!(handle(&transit, &moved).await.unwrap_err(), KeyError::Mismatch);
    }
    let gone = StoredKey { material: None, ..one };
    assert_eq!(handle(&transit, &gone).await.unwrap_err(), KeyError::Missing);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_sealed_restarted_or_refuse_are_no_end() {
    let mut bao = start().await;
    let server = server(&bao).await;
    let transit = Transit::new(&server, "transit").unwrap();
    let stored = make(&transit, ES256).await.unwrap();
    let key = handle(&transit, &stored).await.unwrap();

    bao.seal().await;
    assert_eq!(prove(&key).await, Err(KeyError::SignerFailed));
    assert_eq!(server.failure(), Some(TransitFailure::Sealed));
    bao.unseal().await;
    prove(&key).await.unwrap();

    // Its connections are dead, which is found out and made good within one call.
    bao.stop();
    assert_eq!(prove(&key).await, Err(KeyError::SignerFailed));
    assert!(matches!(server.failure(), Some(TransitFailure::Transport(_))));
    bao.start_again().await;
    prove(&key).await.unwrap();
    assert_eq!(handle(&transit, &stored).await.unwrap().jkt(), key.jkt());
    assert_eq!(server.failure(), None);

    // A token that may not, or is nobody's.
    let carriers = bao.token().await;
    server.set_token(carriers.clone());
    assert_eq!(prove(&key).await, Err(KeyError::SignerFailed));
    assert_eq!(server.failure(), Some(TransitFailure::Denied));
    bao.revoke(&carriers).await;
    assert_eq!(make(&transit, ES256).await.unwrap_err(), KeyError::SignerFailed);
    server.set_token("two\nlines");
    assert_eq!(prove(&key).await, Err(KeyError::SignerFailed));
    assert_eq!(server.failure(), Some(TransitFailure::Token));

    let nowhere = Transit::new(&super::scene::server(&bao).await, "elsewhere").unwrap();
    assert_eq!(make(&nowhere, ES256).await.unwrap_err(), KeyError::SignerFailed);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_allows_no_more_than_is_needed() {
    let bao = start().await;
    let transit = super::scene::transit(&bao).await;
    let stored = make(&transit, ES256).await.unwrap();
    let name = name(&stored);
    let token = json!({ "policies": ["shipbound"], "no_default_policy": true });
    let answer = change(&bao, "auth/token/create", token).await;
    let token = answer["auth"]["client_token"].as_str().unwrap();
    for (path, body) in [
        (
            format!("transit/keys/{}", "0".repeat(64)),
            json!({ "type": "ecdsa-p256", "exportable": true }),
        ),
        (format!("transit/keys/{name}/config"), json!({ "exportable": true })),
        (format!("transit/keys/{name}/rotate"), json!({})),
        (format!("transit/export/signing-key/{name}"), json!({})),
        (format!("transit/backup/{name}"), json!({})),
        ("transit/keys/shipbound-kek/rotate".to_owned(), json!({})),
        (
            "transit/keys/shipbound-kek/config".to_owned(),
            json!({ "deletion_allowed": true }),
        ),
        ("sys/seal".to_owned(), json!({})),
    ] {
        let status = bao.ask_as(token, Method::PUT, &path, Some(body)).await.0;
        assert_eq!(status, 403, "{path}");
    }
    let (status, _) = bao
        .ask_as(token, Method::DELETE, "transit/keys/shipbound-kek", None)
        .await;
    assert_eq!(status, 403);
    assert_eq!(bao.ask(Method::GET, "transit/keys/shipbound-kek", None).await.0, 200);
}
