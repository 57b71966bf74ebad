//! The conformance vectors that concern proofs: each id is executed or listed with a reason, and the numbers must be those
//! of the file.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[path = "../examples/verify_proof/frame.rs"]
mod frame;

use std::collections::BTreeSet;

use frame::Verdict;
use futures_util::FutureExt;
use serde_json::Value;
use shipbound::jose::{InvalidJwk, PublicJwk, ath, verify_compact};
use shipbound::verify::htu::{HtuMatch, matches, normalize};

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
