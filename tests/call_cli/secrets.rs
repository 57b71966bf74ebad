//! Neither secrets nor tokens nor proofs are printed, however much is logged.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::program::{Ran, Run, VARIABLE, file};
use crate::support::peers::{self, CLIENT_SECRET};

/// The secret, the `Authorization` made of it, and whatever looks like a JWT: tokens and proofs of these servers are JWTs.
fn check(ran: &Ran, secret: &str) {
    let basic = STANDARD.encode(format!("basic:{secret}"));
    for text in [&ran.out, &ran.err] {
        assert!(!text.contains(secret));
        assert!(!text.contains(&basic));
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let jwt = |word: &&str| word.starts_with("eyJ") && word.len() > 60;
        assert_eq!(text.split(|c| !legal(c)).find(jwt), None);
    }
}

#[test]
fn nothing_secret_is_printed_with_everything_logged() {
    const WRONG: &str = "the-wrong-secret-of-this-client-0123456789";
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[("RS_NONCE", "every")]);
    let body = file(&issuer, "body.json", "{}");
    let url = format!("{}/ship/v1/shipments", carrier.base());
    for auth in ["basic", "post"] {
        for binding in ["dpop", "bearer"] {
            for secret in [CLIENT_SECRET, WRONG] {
                let ran = Run::at(&issuer)
                    .env(VARIABLE, secret)
                    .env("RUST_LOG", "trace")
                    .args(["--auth", auth, "--binding", binding, "--body", &body, "POST", &url])
                    .run();
                let good = secret == CLIENT_SECRET && binding == "dpop";
                assert_eq!(ran.status, i32::from(!good), "{}", ran.err);
                check(&ran, secret);
                // Those logs are really there: the library's, and the HTTP stack's.
                assert!(ran.err.contains(" shipbound: attempt"), "{}", ran.err);
                assert!(ran.err.contains(" TRACE hyper_util"), "{}", ran.err);
            }
        }
    }
}

#[test]
fn json_stays_alone_on_standard_output() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[]);
    let url = format!("{}/ship/v1/shipments/none", carrier.base());
    let ran = Run::at(&issuer)
        .env("RUST_LOG", "debug")
        .args(["--json", "GET", &url])
        .run();
    assert_eq!(ran.out.lines().count(), 1);
    assert!(ran.out.starts_with('{'));
    check(&ran, CLIENT_SECRET);
}

/// Neither the assertion nor its key, taken or refused.
#[test]
fn no_assertion_is_printed() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[]);
    let url = format!("{}/ship/v1/shipments/none", carrier.base());
    let key: Value = serde_json::from_slice(&std::fs::read(issuer.file("pkjwt.jwk.json")).unwrap()).unwrap();
    for (kid, error) in [("pkjwt-1", Value::Null), ("another", json!("token_refused"))] {
        let run = Run::of(&issuer, "pkjwt").assertions(&issuer).env("RUST_LOG", "trace");
        let run = run.args(["--assertion-kid", kid, "--binding", "dpop", "--json", "GET", &url]);
        let ran = run.run();
        let line: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(line["error"], error);
        check(&ran, key["d"].as_str().unwrap());
        assert!(ran.err.contains(" TRACE hyper_util"), "{}", ran.err);
    }
}
