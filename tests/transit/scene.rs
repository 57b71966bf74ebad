//! A server with the engines that are used, and a token with the policy that the documentation shows.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use shipbound::clock::SystemClock;
use shipbound::keys::{StoredKey, key_name};
use shipbound::store::transit::{Transit, VaultServer};

use super::openbao::OpenBao;

const POLICY: &str = include_str!("../../src/store/transit/application.hcl");

pub(crate) async fn start() -> OpenBao {
    let bao = OpenBao::start().await;
    change(&bao, "sys/mounts/transit", json!({ "type": "transit" })).await;
    change(
        &bao,
        "sys/mounts/secret",
        json!({ "type": "kv", "options": { "version": "2" } }),
    )
    .await;
    change(&bao, "sys/policies/acl/shipbound", json!({ "policy": POLICY })).await;
    change(&bao, "transit/keys/shipbound-kek", json!({})).await;
    bao
}

/// Does this as the administrator.
pub(crate) async fn change(bao: &OpenBao, path: &str, body: Value) -> Value {
    let (status, answer) = bao.ask(Method::PUT, path, Some(body)).await;
    assert!((200..300).contains(&status), "{path}: {status} {answer}");
    answer
}

/// The server, as an application has it.
pub(crate) async fn server(bao: &OpenBao) -> VaultServer {
    let token = json!({ "policies": ["shipbound"], "ttl": "1h", "no_default_policy": true });
    let answer = change(bao, "auth/token/create", token).await;
    let token = answer["auth"]["client_token"].as_str().unwrap();
    VaultServer::builder(bao.address(), token)
        .limit(Duration::from_secs(30))
        .build(bao.transport(), Arc::new(SystemClock::new()))
        .unwrap()
}

pub(crate) async fn transit(bao: &OpenBao) -> Transit {
    Transit::new(&server(bao).await, "transit").unwrap()
}

pub(crate) fn name(stored: &StoredKey) -> String {
    key_name(&stored.record.owner, stored.record.purpose, stored.record.id)
}
