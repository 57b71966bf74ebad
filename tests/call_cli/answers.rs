//! What is printed of answers, and the exit status.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::thread;

use serde_json::{Value, json};

use crate::program::{Run, VARIABLE, file};
use crate::support::peers;

const WRONG: &str = "sEcReTmArKeR-wrong-secret-of-client-basic-0123456789";

fn shipments(base: &str) -> String {
    format!("{base}/ship/v1/shipments")
}

#[test]
fn one_json_line_a_request_with_what_the_call_took() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[("RS_NONCE", "every")]);
    let body = file(&issuer, "body.json", r#"{"weight": 2}"#);
    let url = shipments(carrier.base());
    let ran = Run::at(&issuer)
        .args([
            "--json", "--repeat", "4", "--alg", "ES256", "--body", &body, "POST", &url,
        ])
        .run();
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    let lines = ran.lines();
    assert_eq!(lines.len(), 4);
    let log = carrier.log();
    for (number, line) in lines.iter().enumerate() {
        let first = number == 0;
        assert_eq!(line["status"], 201);
        assert_eq!(line["token_type"], "DPoP");
        assert_eq!(line["binding"], "dpop");
        assert_eq!(line["attempts"], if first { 2 } else { 1 });
        assert_eq!(line["nonce_retries"], u64::from(first));
        assert_eq!(line["renewals"], 0);
        assert_eq!(line["jkt"], log[0]["proof_jkt"]);
        assert_eq!(line["stage"], "answered");
        assert_eq!(line["error"], Value::Null);
        assert!(line["proof_us"].as_u64().unwrap() > 0);
    }
    assert!(lines[0]["token_us"].as_u64().unwrap() > 0);
    assert_eq!(log.len(), 5);
    assert!(log.iter().all(|entry| entry["cnf_jkt"] == entry["proof_jkt"]));
    let asked = issuer.token_requests();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1]["scope"], "ship:read ship:write");
}

#[test]
fn an_answer_that_is_not_2xx() {
    let issuer = peers::authorization_server(&[("DPOP_NONCE", "off")]);
    let carrier = issuer.resource_server(&[]);
    let url = format!("{}/none", shipments(carrier.base()));
    let ran = Run::at(&issuer).args(["--json", "GET", &url]).run();
    assert_eq!(ran.status, 1);
    let line = ran.line();
    assert_eq!((&line["status"], &line["stage"]), (&json!(404), &json!("answered")));
    assert_eq!((&line["error"], &line["attempts"]), (&Value::Null, &json!(1)));
}

#[test]
fn a_wrong_secret() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[]);
    let url = shipments(carrier.base());
    let run = || Run::at(&issuer).env(VARIABLE, WRONG);

    let ran = run().args(["--json", "POST", &url]).run();
    assert_eq!(ran.status, 1);
    let line = ran.line();
    for name in ["status", "token_type", "jkt"] {
        assert_eq!(line[name], Value::Null, "{name}");
    }
    assert_eq!(line["binding"], "dpop");
    assert_eq!((&line["attempts"], &line["proof_us"]), (&json!(0), &json!(0)));
    assert_eq!(line["stage"], "not_sent");
    assert_eq!(line["error"], "token_refused");

    let ran = run().args(["POST", &url]).run();
    assert_eq!((ran.status, ran.out.as_str()), (1, ""));
    for part in [
        "token_refused",
        "invalid_client",
        "not_sent",
        "configuration",
        "check the credential",
    ] {
        assert!(ran.err.contains(part), "{part} is missing: {}", ran.err);
    }
    assert!(carrier.log().is_empty());
}

/// The API takes the request and hangs up: a label may have been bought.
#[test]
fn an_answer_that_never_came() {
    let issuer = peers::authorization_server(&[]);
    let api = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/ship", api.local_addr().unwrap());
    let visitors = thread::spawn(move || {
        let (socket, _) = api.accept().unwrap();
        let lines = BufReader::new(socket).lines().map_while(Result::ok);
        lines.take_while(|line| !line.is_empty()).count();
        api.set_nonblocking(true).unwrap();
        api
    });
    let ran = Run::at(&issuer)
        .args(["--allow-http-loopback", "--json", "POST", &url])
        .run();
    assert_eq!(ran.status, 1);
    let line = ran.line();
    assert_eq!((&line["status"], &line["stage"]), (&Value::Null, &json!("maybe_sent")));
    assert_eq!(
        (&line["error"], &line["attempts"]),
        (&json!("outcome_unknown"), &json!(1))
    );
    assert_eq!(line["token_type"], "DPoP");
    // A POST is not repeated by itself.
    assert!(visitors.join().unwrap().accept().is_err());
}

#[test]
fn bearer_tokens() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[("RS_ENGINE", "auth0"), ("RS_BINDING", "any")]);
    let body = file(&issuer, "body.json", "[]");
    let bearer = |base: &str| {
        let url = shipments(base);
        let run = Run::at(&issuer).args(["--binding", "bearer", "--json"]);
        run.args(["--body", &body, "POST", &url]).run()
    };
    let taken = bearer(carrier.base());
    assert_eq!(taken.status, 0);
    let line = taken.line();
    assert_eq!(
        (&line["token_type"], &line["binding"]),
        (&json!("Bearer"), &json!("bearer"))
    );
    assert_eq!((&line["jkt"], &line["proof_us"]), (&Value::Null, &json!(0)));

    let strict = issuer.resource_server(&[]);
    let refused = bearer(strict.base());
    assert_eq!(refused.status, 1);
    let line = refused.line();
    assert_eq!((&line["status"], &line["error"]), (&json!(401), &json!("unauthorized")));
    assert_eq!((&line["stage"], &line["renewals"]), (&json!("answered"), &json!(1)));
}

#[test]
fn many_at_a_time_with_one_token() {
    let issuer = peers::authorization_server(&[("DPOP_NONCE", "off")]);
    let carrier = issuer.resource_server(&[("RS_NONCE", "required")]);
    let body = file(&issuer, "body.json", "{}");
    let url = shipments(carrier.base());
    let ran = Run::at(&issuer)
        .args([
            "--json",
            "--repeat",
            "30",
            "--concurrency",
            "10",
            "--body",
            &body,
            "POST",
            &url,
        ])
        .run();
    assert_eq!(ran.status, 0, "{}", ran.out);
    let lines = ran.lines();
    assert_eq!(lines.len(), 30);
    assert!(lines.iter().all(|line| line["status"] == 201));
    let attempts: u64 = lines.iter().map(|line| line["attempts"].as_u64().unwrap()).sum();
    assert_eq!(usize::try_from(attempts).unwrap(), carrier.log().len());
    assert_eq!(issuer.token_requests().len(), 1);
}

/// As with curl, what the server answered can be piped on.
#[test]
fn text_for_people() {
    let issuer = peers::authorization_server(&[("DPOP_NONCE", "off")]);
    let carrier = issuer.resource_server(&[]);
    let body = file(&issuer, "body.json", r#"{"to": "Aunt May"}"#);
    let url = shipments(carrier.base());
    let run = || Run::at(&issuer).args(["--body", &body]);

    let one = run().args(["POST", &url]).run();
    assert_eq!(one.status, 0);
    let made: Value = serde_json::from_str(&one.out).unwrap();
    assert_eq!(made["request"], json!({"to": "Aunt May"}));
    assert!(one.err.starts_with("201  DPoP"), "{}", one.err);
    assert_eq!(one.err.lines().count(), 1);

    let three = run().args(["--repeat", "3", "POST", &url]).run();
    assert_eq!((three.status, three.err.as_str()), (0, ""));
    assert_eq!(three.out.lines().count(), 3);
    assert!(
        three.out.lines().all(|line| line.starts_with("201  DPoP")),
        "{}",
        three.out
    );
}

#[test]
fn the_body_is_json_only_where_it_is_json() {
    let issuer = peers::authorization_server(&[("DPOP_NONCE", "off")]);
    let carrier = issuer.resource_server(&[]);
    let url = shipments(carrier.base());
    let send = |content: &str| {
        let body = file(&issuer, "body", content);
        let ran = Run::at(&issuer).args(["--json", "--body", &body, "POST", &url]).run();
        ran.line()["status"].clone()
    };
    assert_eq!(send(r#"{"a": [1]}"#), 201);
    // The API takes nothing but application/json.
    assert_eq!(send("a=1"), 415);
}

#[test]
fn other_ways_to_the_token() {
    let issuer = peers::authorization_server(&[("DPOP_NONCE", "off")]);
    let carrier = issuer.resource_server(&[]);
    let endpoint = format!("{}/token", issuer.issuer());
    let ca = issuer.ca_pem();
    let body = file(&issuer, "body.json", "{}");
    let url = shipments(carrier.base());
    let before = issuer.log().len();
    let run = Run::new()
        .args(["--token-url", &endpoint, "--client-id", "post", "--auth", "post"])
        .args(["--client-secret-env", VARIABLE, "--binding=dpop", "--alg=Ed25519"])
        .args([
            "--scope",
            "ship:write",
            "--scope",
            "ship:read",
            "--resource",
            issuer.resource(),
        ])
        .args(["--ca", ca.to_str().unwrap(), "--body", &body, "POST", &url]);
    let ran = run.run();
    assert_eq!(ran.status, 0, "{}", ran.err);
    // No metadata was asked for.
    let log = issuer.log();
    let asked: Vec<_> = log[before..].iter().filter(|entry| entry["path"] != "/jwks").collect();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0]["path"], "/token");
    assert_eq!(
        (&asked[0]["client_id"], &asked[0]["token_type"]),
        (&json!("post"), &json!("DPoP"))
    );
    assert_eq!(asked[0]["scope"], "ship:read ship:write");
    assert_eq!(asked[0]["resource"], issuer.resource());
}

#[cfg(feature = "rsa")]
#[test]
fn ps256() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[]);
    let url = format!("{}/none", shipments(carrier.base()));
    let ran = Run::at(&issuer).args(["--json", "--alg", "PS256", "GET", &url]).run();
    assert_eq!(ran.line()["status"], 404);
}
