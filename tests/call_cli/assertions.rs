//! Clients that authenticate by signed assertions, and the FAPI 2.0 profile.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::program::{Run, VARIABLE, file};
use crate::support::peers;

/// An assertion can be used once: the request that is repeated with a nonce has one of its own.
#[test]
fn each_request_for_a_token_has_an_assertion_of_its_own() {
    let issuer = peers::authorization_server(&[("DPOP_NONCE", "required")]);
    let carrier = issuer.resource_server(&[("RS_NONCE", "every")]);
    let body = file(&issuer, "body.json", "{}");
    let url = format!("{}/ship/v1/shipments", carrier.base());
    for client in ["pkjwt", "pkjwt-dpop"] {
        let before = issuer.token_requests().len();
        let run = Run::of(&issuer, client).assertions(&issuer).without_env(VARIABLE);
        let run = run.args([
            "--binding",
            "dpop",
            "--json",
            "--repeat",
            "3",
            "--body",
            &body,
            "POST",
            &url,
        ]);
        let ran = run.run();
        assert_eq!(ran.status, 0, "{client}: {}{}", ran.out, ran.err);
        assert!(ran.lines().iter().all(|line| line["token_type"] == "DPoP"));
        let asked = issuer.token_requests().split_off(before);
        assert_eq!(asked.len(), 2);
        assert_eq!(
            (&asked[0]["status"], &asked[0]["error"]),
            (&json!(400), &json!("use_dpop_nonce"))
        );
        assert_eq!(asked[1]["status"], 200);
        let used: HashSet<_> = asked
            .iter()
            .map(|entry| entry["assertion_jti"].as_str().unwrap())
            .collect();
        assert_eq!(used.len(), 2);
        assert!(asked.iter().all(|entry| entry["assertion_aud"] == issuer.issuer()));
    }
}

#[test]
fn keys_in_pem_and_what_the_options_say_of_them() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[]);
    let url = format!("{}/ship/v1/shipments/none", carrier.base());
    let pem = issuer.file("pkjwt.key");
    let run = || {
        let run = Run::of(&issuer, "pkjwt").args(["--auth", "private-key-jwt", "--binding", "dpop", "--json"]);
        run.args(["--assertion-key", pem.to_str().unwrap()])
    };
    let token_url = format!("{}/token", issuer.issuer());
    // The issuer knows the key by the kid of its JWK, which a PEM file does not have.
    for (options, audience) in [
        (&["--assertion-kid", "pkjwt-1"][..], issuer.issuer()),
        (
            &["--assertion-kid", "pkjwt-1", "--assertion-audience", "token-endpoint"],
            &token_url,
        ),
        (
            &["--assertion-kid", "pkjwt-1", "--assertion-audience", issuer.issuer()],
            issuer.issuer(),
        ),
    ] {
        let ran = run().args(options.iter().copied()).args(["GET", &url]).run();
        assert_eq!(ran.line()["status"], 404, "{options:?}: {}", ran.out);
        let asked = issuer.token_requests();
        assert_eq!(asked.last().unwrap()["assertion_aud"], audience);
    }
    let ran = run().args(["--assertion-kid", "another", "GET", &url]).run();
    assert_eq!((ran.status, &ran.line()["error"]), (1, &json!("token_refused")));
}

#[test]
fn fapi() {
    let issuer = peers::authorization_server(&[("FAPI", "2.0")]);
    let carrier = issuer.resource_server(&[("RS_ENGINE", "auth0"), ("RS_BINDING", "any")]);
    let body = file(&issuer, "body.json", "{}");
    let url = format!("{}/ship/v1/shipments", carrier.base());
    let post = ["--fapi2", "--json", "--body", &body, "POST", &url];

    let asserted = Run::of(&issuer, "pkjwt-dpop")
        .assertions(&issuer)
        .args(["--binding", "dpop"]);
    let ran = asserted.args(post).run();
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    assert_eq!(ran.line()["binding"], "dpop");

    let shown = Run::of(&issuer, "tls-ca").certificate(&issuer, "client-ca");
    let ran = shown.args(["--binding", "mtls", "--auth", "tls"]).args(post).run();
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    assert_eq!(ran.line()["binding"], "mtls");

    let before = issuer.log().len();
    let ran = Run::at(&issuer).args(post).run();
    assert_eq!((ran.status, ran.out.as_str()), (2, ""));
    for part in ["--fapi2", "--auth private-key-jwt", "not with a secret"] {
        assert!(ran.err.contains(part), "{part} is missing: {}", ran.err);
    }
    assert_eq!(issuer.log().len(), before);
}

/// Confirmed by the issuer before it is used: for a token that the issuer can be asked about.
#[test]
fn confirmed_bindings() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[]);
    let url = format!("{}/ship/v1/shipments/none", carrier.base());
    let run = Run::of(&issuer, "pkjwt-dpop")
        .assertions(&issuer)
        .args(["--binding", "dpop"]);
    let run = run.args([
        "--confirm-binding",
        "--resource",
        issuer.resource_opaque(),
        "--json",
        "GET",
        &url,
    ]);
    let line = run.run().line();
    // That API takes no opaque tokens.
    assert_eq!((&line["status"], &line["jkt"].is_string()), (&json!(401), &true));
    let asked: Vec<_> = issuer
        .log()
        .into_iter()
        .filter(|entry| entry["path"] == "/token/introspection")
        .collect();
    assert_eq!(asked.last().unwrap()["status"], 200);
    assert_ne!(asked.last().unwrap()["assertion_jti"], Value::Null);
}
