//! The third-party servers of `tests/peers` start, say where they listen, log and stop.

#![allow(clippy::unwrap_used)] // a helper of a test may stop it

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;
use support::peers;

/// One plain-text request, without any HTTP client: status and body.
fn ask(base: &str, head: &str, body: &str) -> (u16, String) {
    let authority = base.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(authority).unwrap();
    write!(
        socket,
        "{head}\r\nHost: {authority}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[test]
fn both_servers_start_log_and_stop() {
    let issuer = peers::authorization_server(&[]);
    assert!(issuer.issuer().starts_with("https://127.0.0.1:"));
    assert!(issuer.mtls_base().starts_with("https://127.0.0.1:"));
    assert!(
        std::fs::read_to_string(issuer.ca_pem())
            .unwrap()
            .starts_with("-----BEGIN CERTIFICATE-----")
    );
    let carrier = issuer.resource_server(&[("RS_TLS", "0")]);

    let (status, _) = ask(carrier.base(), "GET /ship/v1/shipments/S1 HTTP/1.1", "");
    assert_eq!(status, 401);
    let log = carrier.log();
    assert_eq!(log.len(), 1);
    assert_eq!(log[0]["path"], "/ship/v1/shipments/S1");
    assert_eq!(log[0]["status"], 401);
    assert_eq!(log[0]["proof"], false);
    let (_, served) = ask(carrier.base(), "GET /log HTTP/1.1", "");
    assert!(served.contains("\"path\":\"/ship/v1/shipments/S1\""), "{served}");

    // The resource server read the metadata of its issuer while it started.
    assert_eq!(issuer.log()[0]["path"], "/.well-known/openid-configuration");
    assert!(issuer.token_requests().is_empty());
    assert!(carrier.stop());
    assert!(issuer.stop());
}

#[test]
fn an_issuer_can_have_a_path_and_drops_its_nonces_when_asked() {
    let mut issuer = peers::authorization_server(&[("AS_TLS", "0"), ("AS_PATH", "/tenants/one")]);
    let base = issuer.issuer().strip_suffix("/tenants/one").unwrap().to_owned();
    for place in [
        "/tenants/one/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server/tenants/one",
    ] {
        let (status, body) = ask(&base, &format!("GET {place} HTTP/1.0"), "");
        assert_eq!(status, 200, "{place}: {body}");
        let metadata: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(metadata["issuer"], issuer.issuer());
        assert_eq!(metadata["token_endpoint"], format!("{}/token", issuer.issuer()));
        assert_eq!(
            metadata["mtls_endpoint_aliases"]["token_endpoint"],
            format!("{}/token", issuer.mtls_base())
        );
    }
    issuer.rotate_nonces();
    let form = "grant_type=client_credentials&client_id=nobody&client_secret=wrong-secret-for-nobody";
    let (status, _) = ask(
        &base,
        "POST /tenants/one/token HTTP/1.0\r\nContent-Type: application/x-www-form-urlencoded",
        form,
    );
    assert_eq!(status, 401);
    let asked = issuer.token_requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0]["client_id"], "nobody");
    assert_eq!(asked[0]["grant"], "client_credentials");
    assert_eq!(asked[0]["error"], "invalid_client");
    assert!(!asked[0].to_string().contains("wrong-secret"));
}
