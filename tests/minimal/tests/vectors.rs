//! The vectors, in a build that verifies ES256 alone. What needs another algorithm is listed, and must be refused for it.

#[path = "../../../examples/verify_proof/frame.rs"]
mod frame;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use frame::Verdict;
use futures_util::FutureExt;
use serde_json::Value;
use shipbound::jose::{Algorithm, BadSignature, InvalidJwk, PublicJwk, ath, verify_compact};
use shipbound::verify::htu::{HtuMatch, matches};

/// Proofs signed by Ed25519 or PS256 keys: verifying those takes the feature `aws-lc-rs`.
const OTHER_ALGORITHMS: [&str; 12] = [
    "PV-02",
    "PV-03",
    "PV-04",
    "HOSTILE-31",
    "HOSTILE-32",
    "HOSTILE-35",
    "HOSTILE-36",
    "HOSTILE-37",
    "HOSTILE-41",
    "HOSTILE-42",
    "HOSTILE-109",
    "PV-31",
];

/// Signatures of keys that this build reads and does not verify with.
const OTHER_SIGNATURES: [&str; 1] = ["JWS-02"];

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../data/vectors.json")).unwrap()
}

fn group<'a>(vectors: &'a Value, name: &str) -> &'a [Value] {
    let all = vectors[name].as_array().unwrap();
    assert_eq!(vectors["counts"][name], all.len());
    all
}

/// Whether the header of the (first) proof names an algorithm that this crate has in other builds.
fn needs_aws_lc(input: &Value) -> bool {
    let fields = input["headers"].as_array().unwrap();
    let proof = fields
        .iter()
        .find(|field| field[0].as_str().unwrap().eq_ignore_ascii_case("dpop"));
    let header = proof.and_then(|proof| proof[1].as_str().unwrap().split('.').next());
    let header = header
        .and_then(|header| URL_SAFE_NO_PAD.decode(header).ok())
        .unwrap_or_default();
    let header: Value = serde_json::from_slice(&header).unwrap_or_default();
    let algorithm = header["alg"].as_str().and_then(Algorithm::from_jws_name);
    algorithm.is_some_and(|algorithm| algorithm != Algorithm::Es256)
}

#[test]
fn proofs() {
    let vectors = vectors();
    let (mut executed, mut listed) = (0, Vec::new());
    for vector in group(&vectors, "proofs") {
        let id = vector["id"].as_str().unwrap();
        let expect = &vector["expect"];
        let verdict = frame::judge(&vector["input"]).now_or_never().unwrap().unwrap();
        if needs_aws_lc(&vector["input"]) {
            assert!(
                matches!(verdict, Verdict::Rejected { code: "E_ALG", .. }),
                "{id}: {verdict:?}"
            );
            listed.push(id);
            continue;
        }
        executed += 1;
        match (expect["outcome"].as_str().unwrap(), verdict) {
            ("accept", Verdict::Accepted) | ("accept_or_reject", _) => {}
            (
                "reject",
                Verdict::Rejected {
                    code,
                    status,
                    oauth_error,
                },
            ) => {
                assert!(
                    expect["error_any_of"].as_array().unwrap().contains(&code.into()),
                    "{id}: {code}"
                );
                assert_eq!(expect["http_status"], status, "{id}");
                assert_eq!(expect["oauth_error"].as_str(), oauth_error, "{id}");
            }
            (_, verdict) => panic!("{id}: {verdict:?}"),
        }
    }
    assert_eq!(listed, OTHER_ALGORITHMS);
    assert_eq!(executed + listed.len(), 151);
}

#[test]
fn htu() {
    let vectors = vectors();
    let all = group(&vectors, "htu");
    for vector in all {
        let text = |name: &str| vector["input"][name].as_str().unwrap();
        let found = match matches(text("htu"), text("request_url")) {
            HtuMatch::Match => "match",
            HtuMatch::Mismatch => "mismatch",
            HtuMatch::Invalid => "invalid",
        };
        assert_eq!(vector["expect"]["outcome"], found, "{}", vector["id"]);
    }
    assert_eq!(all.len(), 48);
}

/// Every key is read here, whatever can be verified with it.
#[test]
fn thumbprints() {
    let vectors = vectors();
    let all = group(&vectors, "thumbprints");
    for vector in all {
        let mut jwk = vector["input"]["jwk"].clone();
        let read = |jwk: &Value| PublicJwk::from_json(jwk.to_string().as_bytes());
        if jwk.as_object_mut().unwrap().remove("d").is_some() {
            assert_eq!(read(&vector["input"]["jwk"]), Err(InvalidJwk::PrivateMember));
        }
        let thumbprint = read(&jwk).ok().map(|key| key.thumbprint().to_string());
        assert_eq!(
            vector["expect"]["thumbprint"].as_str(),
            thumbprint.as_deref(),
            "{}",
            vector["id"]
        );
    }
    assert_eq!(all.len(), 12);
}

#[test]
fn jws() {
    let vectors = vectors();
    let (mut executed, mut listed) = (0, Vec::new());
    for vector in group(&vectors, "jws") {
        let id = vector["id"].as_str().unwrap();
        let key = PublicJwk::from_json(vector["input"]["jwk"].to_string().as_bytes()).unwrap();
        let payload = verify_compact(vector["input"]["jws"].as_str().unwrap(), &key);
        if key.algorithm() == Algorithm::Es256 {
            assert_eq!(payload.is_ok(), vector["expect"]["outcome"] == "accept", "{id}");
            executed += 1;
        } else {
            assert_eq!(payload, Err(BadSignature::Unsupported), "{id}");
            listed.push(id);
        }
    }
    assert_eq!(listed, OTHER_SIGNATURES);
    assert_eq!(executed + listed.len(), 7);
}

#[test]
fn ath_of_tokens() {
    let vectors = vectors();
    let all = group(&vectors, "ath");
    for vector in all {
        let token = vector["input"]["access_token"].as_str().unwrap();
        assert_eq!(vector["expect"]["ath"], ath(token), "{}", vector["id"]);
    }
    assert_eq!(all.len(), 4);
}
