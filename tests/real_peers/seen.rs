//! What a log must show of bound requests, and the calls that several tests make.

use std::collections::HashSet;

use serde_json::{Value, json};
use shipbound::client::{Response, TenantClient};

/// Where shipments are made.
pub(crate) const SHIPMENTS: &str = "/ship/v1/shipments";

/// Makes a shipment: the answer, and the path of what was made.
pub(crate) async fn ship(tenant: &TenantClient) -> (Response, String) {
    let answer = tenant.post(SHIPMENTS).json(&json!({"weight": 2})).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let made: Value = answer.json().unwrap();
    assert_eq!(made["request"], json!({"weight": 2}));
    let path = format!("{SHIPMENTS}/{}", made["shipmentId"].as_str().unwrap());
    (answer, path)
}

/// Attempts and nonce retries of a call; it had no other kind of repeat.
pub(crate) fn effort(answer: &Response) -> (u32, u32) {
    let report = answer.report();
    assert_eq!(report.renewals, 0);
    (report.attempts, report.nonce_retries)
}

pub(crate) fn jkt(answer: &Response) -> String {
    answer.report().jkt.unwrap().to_string()
}

/// Every entry is a token request with a proof of this key, and without a token there is no `ath`.
pub(crate) fn token_requests(entries: &[Value], jkt: &str, url: &str) {
    for entry in entries {
        assert_eq!(entry["proof"], true, "{entry}");
        assert_eq!(entry["ath"], false, "{entry}");
        assert_eq!(entry["proof_jkt"], jkt, "{entry}");
        assert_eq!(entry["htm"], "POST", "{entry}");
        assert_eq!(entry["htu"], url, "{entry}");
        assert_eq!(entry["grant"], "client_credentials", "{entry}");
        if entry["status"] == 200 {
            assert_eq!(entry["token_type"], "DPoP", "{entry}");
        }
    }
    each_jti_is_new(entries);
}

/// Every entry is an API request whose proof belongs to its token, its key and its address.
pub(crate) fn bound_requests(entries: &[Value], jkt: &str, base: &str) {
    for entry in entries {
        assert_eq!(entry["scheme"], "DPoP", "{entry}");
        assert_eq!(entry["ath_ok"], true, "{entry}");
        assert_eq!(entry["cnf_jkt"], jkt, "{entry}");
        assert_eq!(entry["proof_jkt"], jkt, "{entry}");
        assert_eq!(entry["htm"], entry["method"], "{entry}");
        assert_eq!(
            entry["htu"],
            format!("{base}{}", entry["path"].as_str().unwrap()),
            "{entry}"
        );
    }
    each_jti_is_new(entries);
}

/// The entry is an API request on a connection with this certificate, which its token is bound to.
pub(crate) fn certified(entry: &Value, x5t: &str) {
    assert_eq!(entry["scheme"], "Bearer", "{entry}");
    assert_eq!(entry["proof"], false, "{entry}");
    assert_eq!(entry["cert_x5t"], x5t, "{entry}");
    assert_eq!(entry["cnf_x5t"], x5t, "{entry}");
    assert!(entry["cnf_jkt"].is_null(), "{entry}");
}

/// The handshake of the connection that the request came on.
pub(crate) fn handshake_of<'a>(request: &Value, handshakes: &'a [Value]) -> &'a Value {
    let mut own = handshakes
        .iter()
        .filter(|line| line["connection"] == request["connection"]);
    let found = own.next().unwrap_or_else(|| panic!("no handshake: {request}"));
    assert!(own.next().is_none(), "numbers are used once: {request}");
    found
}

/// Every proof holds the nonce that the answer before it gave.
pub(crate) fn nonces_follow(entries: &[Value]) {
    for pair in entries.windows(2) {
        assert!(pair[0]["next_nonce"].is_string(), "{}", pair[0]);
        assert_eq!(pair[1]["nonce"], pair[0]["next_nonce"]);
    }
}

pub(crate) fn each_jti_is_new(entries: &[Value]) {
    let mut seen = HashSet::new();
    for entry in entries {
        assert!(seen.insert(entry["jti"].as_str().unwrap()), "used twice: {entry}");
    }
}

pub(crate) fn statuses(entries: &[Value]) -> Vec<u64> {
    entries.iter().map(|entry| entry["status"].as_u64().unwrap()).collect()
}
