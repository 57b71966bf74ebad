//! Neither secrets nor tokens nor proofs are printed, however much is logged.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

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
