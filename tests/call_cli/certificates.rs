//! Client certificates: tokens that are bound to them, clients that are known by them.

use http::Method;
use serde_json::{Value, json};
use shipbound::sandbox::{Canned, Endpoint, Registration, Sandbox};

use crate::program::{Run, VARIABLE, file};
use crate::sandboxed::{Dir, certified, start};
use crate::support::peers;

/// By its names, by its subject, by the certificate itself, and beside a secret.
#[test]
fn bound_to_the_certificate_however_the_client_is_known() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[("RS_ENGINE", "auth0"), ("RS_BINDING", "mtls")]);
    let body = file(&issuer, "body.json", "{}");
    let url = format!("{}/ship/v1/shipments", carrier.base());
    for (client, certificate, auth) in [
        ("tls-ca", "client-ca", "tls"),
        ("tls-dn", "client-ca", "tls"),
        ("tls-self", "client-self", "tls"),
        ("basic-mtls-bound", "client-ca2", "basic"),
        ("basic-mtls-bound", "client-self", "post"),
    ] {
        let run = Run::of(&issuer, client).certificate(&issuer, certificate);
        let run = run.args(["--binding", "mtls", "--auth", auth, "--client-secret-env", VARIABLE]);
        let run = run.args(["--json", "--repeat", "3", "--body", &body, "POST", &url]);
        let ran = run.run();
        assert_eq!(ran.status, 0, "{client}: {}{}", ran.out, ran.err);
        let log = carrier.log();
        let seen = log.last().unwrap();
        for line in ran.lines() {
            assert_eq!(
                (&line["token_type"], &line["binding"]),
                (&json!("Bearer"), &json!("mtls"))
            );
            assert_eq!((&line["x5t"], &line["jkt"]), (&seen["cert_x5t"], &Value::Null));
            assert_eq!((&line["status"], &line["attempts"]), (&json!(201), &json!(1)));
        }
        assert_eq!(seen["cnf_x5t"], seen["cert_x5t"]);
        let asked = issuer.token_requests();
        let asked = asked.last().unwrap();
        assert_eq!(
            (&asked["client_id"], &asked["cert_x5t"]),
            (&json!(client), &seen["cert_x5t"])
        );
    }
    assert_eq!(issuer.token_requests().len(), 5);
}

#[test]
fn a_secret_is_not_needed_where_the_certificate_is_enough() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[("RS_ENGINE", "auth0"), ("RS_BINDING", "mtls")]);
    let url = format!("{}/ship/v1/shipments/none", carrier.base());
    let run = Run::of(&issuer, "tls-ca").certificate(&issuer, "client-ca");
    let run = run.args(["--binding", "mtls", "--auth", "tls", "--json", "GET", &url]);
    assert_eq!(run.without_env(VARIABLE).run().line()["status"], 404);

    let run = Run::of(&issuer, "tls-ca").certificate(&issuer, "client-ca");
    let run = run.args(["--binding", "mtls", "--auth", "tls", "GET", &url]);
    let shown = format!("  x5t {}", carrier.log()[0]["cert_x5t"].as_str().unwrap());
    assert!(run.run().err.contains(&shown));

    // The same names from an authority that nobody trusts.
    let run = Run::of(&issuer, "tls-ca").certificate(&issuer, "client-rogue");
    let run = run.args(["--binding", "mtls", "--auth", "tls", "--json", "GET", &url]);
    let ran = run.run();
    assert_eq!(ran.status, 1);
    let line = ran.line();
    assert_eq!(
        (&line["error"], &line["stage"]),
        (&json!("token_refused"), &json!("not_sent"))
    );
    assert_eq!((&line["binding"], &line["x5t"]), (&json!("mtls"), &Value::Null));
}

/// This issuer binds to the proof key where a proof comes, certificate or not.
#[test]
fn a_proof_beside_the_certificate() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[("RS_ENGINE", "auth0"), ("RS_BINDING", "any"), ("RS_NONCE", "required")]);
    let body = file(&issuer, "body.json", "{}");
    let url = format!("{}/ship/v1/shipments", carrier.base());
    let run = Run::of(&issuer, "basic").certificate(&issuer, "client-ca");
    let run = run.args(["--binding", "dpop+mtls", "--client-secret-env", VARIABLE]);
    let ran = run.args(["--json", "--body", &body, "POST", &url]).run();
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    let line = ran.line();
    assert_eq!(
        (&line["token_type"], &line["binding"]),
        (&json!("DPoP"), &json!("dpop+mtls"))
    );
    let log = carrier.log();
    let seen = log.last().unwrap();
    assert_eq!(line["jkt"], seen["proof_jkt"]);
    assert_eq!(line["jkt"], seen["cnf_jkt"]);
    assert_eq!(line["x5t"], seen["cert_x5t"]);
    assert_eq!((&line["attempts"], &line["nonce_retries"]), (&json!(2), &json!(1)));
}

/// Certificate and key in one file, and an issuer that binds to both.
#[tokio::test(flavor = "multi_thread")]
async fn bound_to_both() {
    let sandbox = start(Sandbox::builder()).await;
    sandbox.route(Method::GET, "/x", Canned::empty(204));
    sandbox.register(Registration::tls_client_auth("acme", "acme").certificate_bound_tokens());
    let certificate = sandbox.client_certificate("acme").unwrap();
    let dir = Dir::new();
    dir.write("tls.crt", &format!("{}{}", certificate.key_pem(), certificate.pem()));
    std::fs::hard_link(dir.path("tls.crt"), dir.path("tls.key")).unwrap();
    let url = format!("{}/x", sandbox.mtls_api().unwrap());
    let run = || certified(&sandbox, &dir).args(["--auth", "tls", "--binding", "dpop+mtls", "--json"]);
    for extra in [&[][..], &["--confirm-binding"]] {
        let ran = run().args(extra.iter().copied()).args(["GET", &url]).run();
        assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
        let line = ran.line();
        let request = sandbox.requests_at(Endpoint::Api).last().unwrap().clone();
        assert_eq!(line["x5t"], certificate.x5t().to_string());
        assert_eq!(request.certificate(), Some(certificate.x5t()));
        assert!(line["jkt"].is_string());
        assert_eq!(
            request
                .checks()
                .iter()
                .filter(|check| ["cnf", "x5t"].contains(check))
                .count(),
            2
        );
    }
    assert_eq!(sandbox.requests_at(Endpoint::Introspection).len(), 1);
}

#[cfg(feature = "pkcs12")]
#[test]
fn a_certificate_from_a_pkcs12_file() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[("RS_ENGINE", "auth0"), ("RS_BINDING", "mtls")]);
    let body = file(&issuer, "body.json", "{}");
    let url = format!("{}/ship/v1/shipments", carrier.base());
    let p12 = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/identities/new.p12");
    let run = Run::of(&issuer, "basic-mtls-bound").args(["--allow-origin", issuer.mtls_base()]);
    let run = run.args(["--cert", p12, "--cert-password-env", "PASSWORD", "--binding", "mtls"]);
    let run = run.args(["--client-secret-env", VARIABLE, "--json", "--body", &body, "POST", &url]);
    let ran = run.env("PASSWORD", "sEcReTmArKeR-pkcs12").run();
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    assert_eq!(ran.line()["x5t"], carrier.log()[0]["cnf_x5t"]);
}
