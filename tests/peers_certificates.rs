//! The test peers of `tests/peers` as others see them: client certificates with and without nginx, codes, TLS handshakes.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use sha2::{Digest, Sha256};
use support::peers::{self, AuthorizationServer};
use support::visitor::{Visitor, parameter};

/// A certificate in the spelling in which nginx hands it on.
fn escaped(pem: &Path) -> String {
    let text = fs::read_to_string(pem).unwrap();
    form_urlencoded::byte_serialize(text.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

fn x5t(pem: &Path) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(CertificateDer::from_pem_file(pem).unwrap()))
}

fn visitor(issuer: &AuthorizationServer, name: Option<&str>) -> Visitor {
    match name {
        Some(name) => Visitor::with_certificate(
            &issuer.ca_pem(),
            &issuer.file(&format!("{name}.pem")),
            &issuer.file(&format!("{name}.key")),
        ),
        None => Visitor::new(&issuer.ca_pem()),
    }
}

async fn ask(issuer: &AuthorizationServer, from: &Visitor, client: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    let url = format!("{}/token", issuer.mtls_base());
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", client),
        ("scope", "ship:write"),
    ];
    from.post(&url, headers, &form).await
}

#[tokio::test]
async fn certificates_reach_the_servers_with_and_without_nginx() {
    for nginx in ["0", "1"] {
        let issuer = peers::authorization_server(&[("AS_NGINX", nginx)]);
        let carrier = issuer.resource_server(&[("RS_NGINX", nginx), ("RS_ENGINE", "auth0"), ("RS_BINDING", "mtls")]);
        let shipments = format!("{}/ship/v1/shipments", carrier.base());
        for (client, name) in [
            ("tls-ca", "client-ca"),
            ("tls-ca", "client-ca-next"),
            ("tls-dn", "client-ca"),
            ("tls-self", "client-self"),
        ] {
            let from = visitor(&issuer, Some(name));
            let (status, answer) = ask(&issuer, &from, client, &[]).await;
            assert_eq!(status, 200, "{nginx} {client}: {answer}");
            let thumbprint = x5t(&issuer.file(&format!("{name}.pem")));
            assert_eq!(issuer.token_requests().last().unwrap()["cert_x5t"], thumbprint);

            let authorization = format!("Bearer {}", answer["access_token"].as_str().unwrap());
            let headers = [("authorization", authorization.as_str())];
            let (status, _) = from.post(&shipments, &headers, &[]).await;
            assert_eq!(status, 415, "{nginx} {client}: past every check, and then no JSON");
            let seen = carrier.log();
            assert_eq!(seen.last().unwrap()["cert_x5t"], thumbprint);
            assert_eq!(seen.last().unwrap()["cnf_x5t"], thumbprint);
            let (status, _) = visitor(&issuer, Some("client-ca2"))
                .post(&shipments, &headers, &[])
                .await;
            assert_eq!(status, 401, "{nginx} {client}: with another certificate");
        }
        for (client, name) in [
            ("tls-ca", None),
            ("tls-ca", Some("client-ca2")),
            ("tls-ca", Some("client-rogue")),
            ("tls-ca", Some("client-self")),
            ("tls-self", Some("client-ca")),
        ] {
            let (status, answer) = ask(&issuer, &visitor(&issuer, name), client, &[]).await;
            assert_eq!(status, 401, "{nginx} {client} {name:?}");
            assert_eq!(answer["error"], "invalid_client");
        }
        // nginx itself turns an expired certificate away.
        let (status, _) = ask(&issuer, &visitor(&issuer, Some("client-expired")), "tls-ca", &[]).await;
        assert_eq!(status, if nginx == "1" { 400 } else { 401 });
    }
}

#[tokio::test]
async fn nobody_but_nginx_sets_the_headers_of_nginx() {
    for nginx in ["0", "1"] {
        let issuer = peers::authorization_server(&[("AS_NGINX", nginx)]);
        let forged = escaped(&issuer.file("client-ca.pem"));
        let headers = [
            ("x-ssl-client-cert", forged.as_str()),
            ("x-ssl-client-verify", "SUCCESS"),
        ];
        for name in [None, Some("client-self"), Some("client-ca2")] {
            let (status, _) = ask(&issuer, &visitor(&issuer, name), "tls-ca", &headers).await;
            assert_eq!(status, 401, "{nginx} {name:?}");
            let seen = issuer.token_requests().pop().unwrap()["cert_x5t"].clone();
            assert_eq!(
                seen.as_str().map(str::to_owned),
                name.map(|name| x5t(&issuer.file(&format!("{name}.pem")))),
                "{nginx} {name:?}"
            );
        }
        // On the port that asks for no certificate either.
        let url = format!("{}/token", issuer.issuer());
        let form = [("grant_type", "client_credentials"), ("client_id", "tls-ca")];
        let (status, _) = visitor(&issuer, None).post(&url, &headers, &form).await;
        assert_eq!(status, 401, "{nginx}");
        assert!(issuer.token_requests().last().unwrap()["cert_x5t"].is_null());
    }
}

#[tokio::test]
async fn handshakes_are_logged_and_certificates_survive_resumption() {
    let issuer = peers::authorization_server(&[]);
    let from = visitor(&issuer, Some("client-ca"));
    for _ in 0..2 {
        assert_eq!(ask(&issuer, &from, "tls-ca", &[]).await.0, 200);
    }
    let thumbprint = x5t(&issuer.file("client-ca.pem"));
    let handshakes = issuer.handshakes();
    let resumed: Vec<_> = handshakes
        .iter()
        .map(|line| line["resumed"].as_bool().unwrap())
        .collect();
    assert_eq!(resumed, [false, true]);
    for (line, request) in handshakes.iter().zip(issuer.token_requests()) {
        assert_eq!(line["listener"], "mtls");
        assert_eq!(line["protocol"], "TLSv1.3");
        assert_eq!(line["cert_x5t"], thumbprint);
        assert_eq!(line["cert_trusted"], true);
        assert_eq!(request["cert_x5t"], thumbprint);
        assert_eq!(request["connection"], line["connection"]);
    }
    // Node calls a resumed connection without a certificate authorized; the log does not call it trusted.
    let from = visitor(&issuer, None);
    for _ in 0..2 {
        assert_eq!(ask(&issuer, &from, "tls-ca", &[]).await.0, 401);
    }
    let without = issuer.handshakes();
    assert_eq!(without[3]["resumed"], true);
    assert_eq!(without[3]["cert_trusted"], false);
}

#[tokio::test]
async fn codes_and_refresh_tokens_are_given() {
    const REDIRECT: &str = "https://client.test/cb";
    // RFC 7636 appendix B.
    let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    for (nginx, rotate) in [("0", "1"), ("1", "0")] {
        let issuer = peers::authorization_server(&[("AS_NGINX", nginx), ("ROTATE_REFRESH", rotate)]);
        let from = visitor(&issuer, None);
        let request = [
            ("client_id", "code-public"),
            ("response_type", "code"),
            ("redirect_uri", REDIRECT),
            ("scope", "openid ship:write"),
            ("state", "sEcReTmArKeR-state"),
            ("code_challenge", challenge),
            ("code_challenge_method", "S256"),
        ];
        let back = from
            .authorize(&format!("{}/auth", issuer.issuer()), &request, REDIRECT)
            .await;
        assert_eq!(parameter(&back, "state").unwrap(), "sEcReTmArKeR-state");
        assert_eq!(parameter(&back, "iss").unwrap(), issuer.issuer());
        let code = parameter(&back, "code").unwrap();
        let token = format!("{}/token", issuer.issuer());
        let exchange = [
            ("grant_type", "authorization_code"),
            ("client_id", "code-public"),
            ("code", &code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", verifier),
        ];
        let (status, answer) = from.post(&token, &[], &exchange).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["scope"], "ship:write");
        let first = answer["refresh_token"].as_str().unwrap().to_owned();
        let refresh = async |token_value: &str| {
            let form = [
                ("grant_type", "refresh_token"),
                ("client_id", "code-public"),
                ("refresh_token", token_value),
            ];
            from.post(&token, &[], &form).await
        };
        let (status, answer) = refresh(&first).await;
        assert_eq!(status, 200, "{answer}");
        let second = answer["refresh_token"].as_str().unwrap();
        let again = refresh(&first).await.0;
        let newest = refresh(second).await.0;
        if rotate == "1" {
            assert_ne!(second, first);
            assert_eq!((again, newest), (400, 400), "the whole family is gone");
        } else {
            assert_eq!((second, again, newest), (first.as_str(), 200, 200));
        }
    }
}
