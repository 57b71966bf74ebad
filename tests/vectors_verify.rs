//! The conformance vectors that concern proofs: each id is executed or listed with a reason, and the numbers must be those
//! of the file.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[path = "../examples/verify_proof/frame.rs"]
mod frame;

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use frame::Verdict;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::Value;
use shipbound::binding::Confirmation;
use shipbound::clock::Timestamp;
use shipbound::jose::{InvalidJwk, PublicJwk, Thumbprint, ath, verify_compact};
use shipbound::token::introspection::Introspection;
use shipbound::verify::htu::{HtuMatch, matches, normalize};
use shipbound::verify::{Received, TokenConfirmation, TokenFacts, verify_certificate};

fn vectors() -> Value {
    serde_json::from_str(include_str!("data/vectors.json")).unwrap()
}

/// The group's vectors, which must be as many as the file says, with an id each.
fn group(vectors: &Value, name: &str, count: usize) -> Vec<Value> {
    let all = vectors[name].as_array().unwrap().clone();
    let ids: BTreeSet<_> = all.iter().map(|vector| vector["id"].as_str().unwrap()).collect();
    assert_eq!((all.len(), ids.len()), (count, count), "{name}");
    assert_eq!(vectors["counts"][name], count, "{name}");
    all
}

#[test]
fn proofs() {
    let vectors = vectors();
    let mut failures = Vec::new();
    for vector in group(&vectors, "proofs", 151) {
        let expect = &vector["expect"];
        let verdict = frame::judge(&vector["input"])
            .now_or_never()
            .expect("memory does not wait");
        let problem = match (expect["outcome"].as_str().unwrap(), verdict.unwrap()) {
            ("accept", Verdict::Accepted) | ("accept_or_reject", _) => None,
            (
                "reject",
                Verdict::Rejected {
                    code,
                    status,
                    oauth_error,
                },
            ) => {
                let any_of = expect["error_any_of"].as_array().unwrap();
                let same_status = expect["http_status"] == status;
                let same_error = expect["oauth_error"].as_str() == oauth_error;
                let right = any_of.contains(&code.into()) && same_status && same_error;
                (!right).then(|| format!("{code} {status} {oauth_error:?}, not {expect}"))
            }
            (_, verdict) => Some(format!("{verdict:?}, not {expect}")),
        };
        failures.extend(problem.map(|problem| format!("{}: {problem}", vector["id"])));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn htu() {
    let vectors = vectors();
    for vector in group(&vectors, "htu", 48) {
        let text = |name: &str| vector["input"][name].as_str().unwrap();
        let expected = match vector["expect"]["outcome"].as_str().unwrap() {
            "match" => HtuMatch::Match,
            "mismatch" => HtuMatch::Mismatch,
            "invalid" => HtuMatch::Invalid,
            other => panic!("{other}"),
        };
        assert_eq!(matches(text("htu"), text("request_url")), expected, "{}", vector["id"]);
        if let Some(normalised) = vector["expect"]["normalised"].as_str() {
            assert_eq!(normalize(text("htu")).as_deref(), Some(normalised), "{}", vector["id"]);
        }
    }
}

#[test]
fn thumbprints() {
    let vectors = vectors();
    for vector in group(&vectors, "thumbprints", 12) {
        let mut jwk = vector["input"]["jwk"].clone();
        let read = |jwk: &Value| PublicJwk::from_json(jwk.to_string().as_bytes());
        if jwk.as_object_mut().unwrap().remove("d").is_some() {
            // A JWK with a private member is no public key here; its public half has the thumbprint.
            assert_eq!(
                read(&vector["input"]["jwk"]),
                Err(InvalidJwk::PrivateMember),
                "{}",
                vector["id"]
            );
        }
        let expect = &vector["expect"];
        match (expect["outcome"].as_str().unwrap(), read(&jwk)) {
            ("accept", Ok(key)) => {
                assert_eq!(expect["canonical_json"], key.to_json(), "{}", vector["id"]);
                assert_eq!(expect["thumbprint"], key.thumbprint().to_string(), "{}", vector["id"]);
            }
            ("reject", Err(_)) => {}
            (outcome, key) => panic!("{}: {key:?}, not {outcome}", vector["id"]),
        }
    }
}

#[test]
fn jws() {
    let vectors = vectors();
    for vector in group(&vectors, "jws", 7) {
        let key = PublicJwk::from_json(vector["input"]["jwk"].to_string().as_bytes()).unwrap();
        let payload = verify_compact(vector["input"]["jws"].as_str().unwrap(), &key);
        assert_eq!(
            payload.is_ok(),
            vector["expect"]["outcome"] == "accept",
            "{}",
            vector["id"]
        );
    }
}

#[test]
fn ath_of_tokens() {
    let vectors = vectors();
    for vector in group(&vectors, "ath", 4) {
        let token = vector["input"]["access_token"].as_str().unwrap();
        assert_eq!(vector["expect"]["ath"], ath(token), "{}", vector["id"]);
    }
}

/// A request with a bearer token on a connection that showed this certificate.
fn with_certificate(
    x5t: Option<Thumbprint>,
    token: &TokenFacts<'_>,
) -> Result<Thumbprint, (u16, Option<&'static str>)> {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer t"));
    let request = Received::new(&Method::GET, "https://api.carrier.example/rates", &headers);
    let request = match x5t {
        Some(x5t) => request.client_certificate(x5t),
        None => request,
    };
    verify_certificate(&request, token).map_err(|refused| (refused.status().as_u16(), refused.oauth_error()))
}

#[test]
fn thumbprints_of_certificates() {
    let vectors = vectors();
    for vector in group(&vectors, "x5t_s256", 9) {
        let (id, input, expect) = (&vector["id"], &vector["input"], &vector["expect"]);
        let der = input["certificate_der_b64"]
            .as_str()
            .map(|text| STANDARD.decode(text).unwrap());
        let x5t = der.as_deref().map(Thumbprint::of_certificate);
        let Some(outcome) = expect["outcome"].as_str() else {
            assert_eq!(expect["x5t#S256"], x5t.unwrap().to_string(), "{id}");
            continue;
        };
        let token = TokenFacts::active(TokenConfirmation::from_members(None, input["cnf"]["x5t#S256"].as_str()));
        let judged = with_certificate(x5t, &token);
        match outcome {
            "accept" => assert_eq!(judged, Ok(x5t.unwrap()), "{id}"),
            _ => {
                let (status, error) = judged.expect_err(&id.to_string());
                assert_eq!(
                    (&expect["http_status"], &expect["oauth_error"]),
                    (&status.into(), &error.into()),
                    "{id}"
                );
            }
        }
    }
}

#[test]
fn introspection() {
    let vectors = vectors();
    let now = Timestamp::from_unix_seconds(1_800_000_000);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // The certificate of IN-11, and the key of the others.
    let x5t = Thumbprint::from_base64url("A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0").unwrap();
    let jkt = Thumbprint::from_base64url("oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U").unwrap();
    let held = [Confirmation::Jkt(jkt), Confirmation::X5t(x5t)];
    for vector in group(&vectors, "introspection", 11) {
        let (id, expect) = (&vector["id"], &vector["expect"]);
        let mut body = vector["input"].clone();
        // How long whoever asks keeps the answer is not part of it.
        let ttl = body.as_object_mut().unwrap().remove("cache_ttl");
        let read = Introspection::read(StatusCode::OK, &headers, body.to_string().as_bytes(), now);
        if expect["outcome"] == "reject" {
            // IN-06 is a token that nothing is wrong with but that it is not bound.
            let unbound = read.as_ref().is_ok_and(|token| token.confirmations().is_empty());
            assert_eq!(unbound, *id == "IN-06", "{id}");
            if let Ok(token) = read {
                assert!(!token.is_bound_to(&held), "{id}");
                let refused = with_certificate(Some(x5t), &TokenFacts::from_introspection(&token));
                assert_eq!(refused, Err((401, Some("invalid_token"))), "{id}");
            }
            continue;
        }
        let token = read.unwrap();
        assert!(token.is_bound_to(&held), "{id}");
        let told: Vec<_> = token
            .confirmations()
            .iter()
            .map(|one| match one {
                Confirmation::Jkt(jkt) => ("jkt", jkt.to_string()),
                Confirmation::X5t(x5t) => ("x5t#S256", x5t.to_string()),
                other => panic!("{id}: {other:?}"),
            })
            .collect();
        for (name, thumbprint) in &told {
            assert!(expect.get(name).is_none_or(|wanted| wanted == thumbprint), "{id}");
        }
        assert_eq!(told.len(), 1, "{id}");
        let judged = with_certificate(Some(x5t), &TokenFacts::from_introspection(&token));
        assert_eq!(judged.is_ok(), expect.get("x5t#S256").is_some(), "{id}");
        if let Some(until) = expect["cache_until"].as_i64() {
            let ttl = Duration::from_secs(ttl.unwrap().as_u64().unwrap());
            assert_eq!(token.good_until(now, ttl).unix_seconds(), until, "{id}");
            assert_eq!(
                token.good_until(now, Duration::from_secs(1)),
                now + Duration::from_secs(1),
                "{id}"
            );
        }
    }
}
