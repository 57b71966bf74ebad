//! Data keys that are wrapped in the engine, and the anchor beside it.

use std::sync::Arc;

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use http::Method;
use serde_json::json;
use shipbound::owner::{DeploymentId, Tenant, TenantId};
use shipbound::store::anchor::{AnchorError, Anchored, EpochAnchor};
use shipbound::store::seal::{DataKey, KekError, KekId, KekProvider, WrapContext, Wrapped};
use shipbound::store::transit::{KvAnchor, TransitError, TransitKek};

use super::openbao::OpenBao;
use super::scene::{change, server, start};

#[tokio::test(flavor = "multi_thread")]
async fn a_data_key_opens_in_its_context_and_version_alone() {
    let bao = start().await;
    let server = server(&bao).await;
    let kek = TransitKek::new(&server, "transit", "shipbound-kek").unwrap();
    let (acme, globex) = (
        Tenant::from(TenantId::new("acme").unwrap()),
        Tenant::from(TenantId::new("globex").unwrap()),
    );
    let deployment = DeploymentId::default_deployment();
    let (id, key) = DataKey::random().unwrap();
    let context = WrapContext::new(&deployment, Some(&acme), id);
    let first = kek.current().await.unwrap();
    assert_eq!(first.as_str(), "shipbound-kek:v1");
    let wrapped = kek.wrap(&first, &key, &context).await.unwrap();
    assert_eq!(kek.unwrap(&wrapped, &context).await.unwrap().expose(), key.expose());

    let (another, _) = DataKey::random().unwrap();
    for other in [
        WrapContext::new(&deployment, Some(&globex), id),
        WrapContext::new(&deployment, None, id),
        WrapContext::new(&deployment, Some(&acme), another),
    ] {
        assert_eq!(kek.unwrap(&wrapped, &other).await.unwrap_err(), KekError::Refused);
    }
    let mut text = wrapped.text.clone();
    let last = text.pop().unwrap();
    text.push(if last == 'A' { 'B' } else { 'A' });
    for text in [
        text,
        wrapped.text.replace(":v1:", ":v2:"),
        String::new(),
        "vault:v1:".to_owned(),
    ] {
        let changed = Wrapped {
            kek: first.clone(),
            text,
        };
        assert_eq!(
            kek.unwrap(&changed, &context).await.unwrap_err(),
            KekError::Refused,
            "{changed:?}"
        );
    }

    // Rotated: both versions open, new keys are wrapped under the second, and one that is asked for by name under the first.
    change(&bao, "transit/keys/shipbound-kek/rotate", json!({})).await;
    let second = kek.current().await.unwrap();
    assert_eq!(second.as_str(), "shipbound-kek:v2");
    let newer = kek.wrap(&second, &key, &context).await.unwrap();
    assert_eq!(kek.unwrap(&newer, &context).await.unwrap().expose(), key.expose());
    assert_eq!(kek.unwrap(&wrapped, &context).await.unwrap().expose(), key.expose());
    let older = kek.wrap(&first, &key, &context).await.unwrap();
    assert!(older.text.starts_with("vault:v1:"));
    // The first version is given up.
    change(
        &bao,
        "transit/keys/shipbound-kek/config",
        json!({ "min_decryption_version": 2 }),
    )
    .await;
    assert_eq!(kek.unwrap(&wrapped, &context).await.unwrap_err(), KekError::Unknown);
    assert_eq!(kek.unwrap(&newer, &context).await.unwrap().expose(), key.expose());
    for unknown in [
        "shipbound-kek:v9",
        "shipbound-kek:v02",
        "shipbound-kek",
        "other:v1",
        "shipbound-kek:v",
    ] {
        let unknown = KekId::new(unknown).unwrap();
        assert_eq!(
            kek.wrap(&unknown, &key, &context).await.unwrap_err(),
            KekError::Unknown,
            "{unknown:?}"
        );
    }
    // Sealed.
    bao.seal().await;
    assert_eq!(kek.unwrap(&newer, &context).await.unwrap_err(), KekError::Unavailable);
    assert_eq!(kek.current().await.unwrap_err(), KekError::Unavailable);
    bao.unseal().await;
    // A KEK that can be exported is none.
    change(&bao, "transit/keys/shipbound-kek/config", json!({ "exportable": true })).await;
    assert!(matches!(kek.current().await, Err(KekError::Invalid(_))));
    assert!(matches!(
        TransitKek::new(&server, "transit", "../kek"),
        Err(TransitError::Name)
    ));
}

/// As the engine takes a key over: under an AES key (RFC 5649), that one under the engine's RSA key.
async fn import(bao: &OpenBao, name: &str, key: &[u8; 32], body: serde_json::Value) {
    let (_, answer) = bao.ask(Method::GET, "transit/wrapping_key", None).await;
    let pem = answer["data"]["public_key"].as_str().unwrap();
    let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let engine = PublicEncryptingKey::from_der(&STANDARD.decode(base64).unwrap()).unwrap();
    let engine = OaepPublicEncryptingKey::new(engine).unwrap();
    let (aes, mut wrapped, mut inner) = ([7; 32], vec![0; engine.ciphertext_size()], [0; 40]);
    engine
        .encrypt(&OAEP_SHA256_MGF1SHA256, &aes, &mut wrapped, None)
        .unwrap();
    let kek = AesKek::new(&AES_256, &aes).unwrap();
    wrapped.extend_from_slice(kek.wrap_with_padding(key, &mut inner).unwrap());
    let mut body = body;
    body["ciphertext"] = STANDARD.encode(wrapped).into();
    body["type"] = "aes256-gcm96".into();
    change(bao, &format!("transit/keys/{name}/import"), body).await;
}

/// Whoever has brought a key into the engine may have it still.
#[tokio::test(flavor = "multi_thread")]
async fn a_kek_that_was_imported_is_none() {
    let bao = start().await;
    let server = server(&bao).await;
    for (name, body) in [
        ("imported-kek", json!({})),
        ("turning-kek", json!({ "allow_rotation": true })),
    ] {
        import(&bao, name, &[9; 32], body).await;
        let kek = TransitKek::new(&server, "transit", name).unwrap();
        assert!(matches!(kek.current().await, Err(KekError::Invalid(_))), "{name}");
        let (id, key) = DataKey::random().unwrap();
        let deployment = DeploymentId::default_deployment();
        let context = WrapContext::new(&deployment, None, id);
        let named = KekId::new(&format!("{name}:v1")).unwrap();
        let wrapped = kek.wrap(&named, &key, &context).await;
        assert!(matches!(wrapped, Err(KekError::Invalid(_))), "{name}: {wrapped:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_only_rises_and_is_missed_when_it_is_gone() {
    let bao = start().await;
    let server = server(&bao).await;
    let anchor = Arc::new(KvAnchor::new(&server, "secret", "shipbound/anchor").unwrap());
    let place = |epoch, rows, mac| Anchored {
        epoch,
        rows,
        mac: [mac; 32],
    };
    // The engine is set up in the background.
    let mut first = anchor.read().await;
    for _ in 0..1000 {
        if first != Err(AnchorError::Unavailable) {
            break;
        }
        first = anchor.read().await;
    }
    assert_eq!(first, Ok(None));

    let raised = join_all((1..=6).map(|rows| {
        let anchor = Arc::clone(&anchor);
        async move { anchor.raise(&place(1, rows, 1)).await }
    }));
    assert_eq!(raised.await, [Ok(()); 6], "{:?}", server.failure());
    assert_eq!(anchor.read().await, Ok(Some(place(1, 6, 1))));
    anchor.raise(&place(1, 2, 1)).await.unwrap();
    assert_eq!(anchor.read().await, Ok(Some(place(1, 6, 1))));
    assert_eq!(anchor.raise(&place(1, 6, 2)).await, Err(AnchorError::Forked));
    anchor.raise(&place(2, 1, 2)).await.unwrap();
    assert_eq!(anchor.read().await, Ok(Some(place(2, 1, 2))));

    change(
        &bao,
        "secret/data/shipbound/anchor",
        json!({ "data": { "anchor": "2 1" } }),
    )
    .await;
    assert_eq!(anchor.read().await, Err(AnchorError::Malformed));
    bao.ask(Method::DELETE, "secret/data/shipbound/anchor", None).await;
    assert_eq!(anchor.read().await, Err(AnchorError::Malformed));
    assert_eq!(anchor.raise(&place(3, 1, 1)).await, Err(AnchorError::Malformed));
    bao.seal().await;
    assert_eq!(anchor.read().await, Err(AnchorError::Unavailable));
    assert_eq!(anchor.raise(&place(3, 1, 1)).await, Err(AnchorError::Unavailable));
}
