//! Random and mutated input: the verifier does not panic, and takes nothing that was changed.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

mod prover;
#[path = "support/random.rs"]
mod random;

use std::sync::Arc;

use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method};
use prover::{NOW, Prover, TOKEN, URI};
use random::Random;
use serde_json::json;
use shipbound::clock::{ManualClock, Timestamp};
use shipbound::jose::{PublicJwk, Thumbprint, verify_compact};
use shipbound::verify::htu::{HtuMatch, matches, normalize};
use shipbound::verify::{
    MemoryReplayLog, NoncePolicy, ProofVerifier, Received, StatelessNonces, TokenConfirmation, TokenFacts,
};

fn verifier(nonces: NoncePolicy) -> ProofVerifier {
    let clock = Arc::new(ManualClock::at(Timestamp::from_unix_seconds(NOW)));
    let log = MemoryReplayLog::starting(Timestamp::from_unix_seconds(NOW - 60)).unwrap();
    ProofVerifier::builder(clock, Arc::new(log))
        .nonces(nonces)
        .build()
        .unwrap()
}

/// Whether a request with these octets in its `DPoP` field is accepted.
fn accepts(verifier: &ProofVerifier, proof: &[u8], jkt: Thumbprint) -> bool {
    let Ok(field) = HeaderValue::from_bytes(proof) else {
        return false;
    };
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::try_from(format!("DPoP {TOKEN}")).unwrap());
    headers.insert("dpop", field);
    let facts = TokenFacts::active(TokenConfirmation::Jkt(jkt));
    let request = Received::new(&Method::GET, URI, &headers);
    verifier
        .verify_resource(&request, &facts)
        .now_or_never()
        .unwrap()
        .is_ok()
}

#[test]
fn random_octets_are_no_proofs() {
    let verifier = verifier(NoncePolicy::Off);
    let jkt = Prover::new(1).jkt();
    let mut random = Random(1);
    for _ in 0..20_000 {
        let length = random.below(400);
        let octets = random.octets(length);
        assert!(!accepts(&verifier, &octets, jkt));
        let text = random.pieces(
            &[".", "e30", "eyJ0eXAiOiJkcG9wK2p3dCJ9", "AA", "=", ",", "\u{e4}", "-_"],
            12,
        );
        assert!(!accepts(&verifier, text.as_bytes(), jkt));
    }
}

#[test]
fn a_changed_proof_is_never_accepted() {
    let prover = Prover::new(1);
    let jkt = prover.jkt();
    let nonces = NoncePolicy::Optional(Arc::new(StatelessNonces::new([1; 32])));
    let verifier = verifier(nonces);
    let honest = prover.proof("honest", json!({})).into_bytes();
    let mut random = Random(2);
    for round in 0..20_000 {
        let mut changed = honest.clone();
        for _ in 0..=random.below(3) {
            let place = random.below(changed.len());
            match random.below(5) {
                0 => changed[place] = random.next().to_le_bytes()[0],
                1 => changed[place] = b"ABCdef019-_.="[random.below(13)],
                2 => drop(changed.remove(place)),
                3 => changed.insert(place, b'A'),
                _ => changed.truncate(place.max(1)),
            }
        }
        if changed != honest {
            assert!(
                !accepts(&verifier, &changed, jkt),
                "{round}: {}",
                String::from_utf8_lossy(&changed)
            );
        }
    }
    assert!(accepts(&verifier, &honest, jkt), "no refused copy used the jti up");
}

#[test]
fn odd_json_that_is_signed_is_judged_without_a_panic() {
    let prover = Prover::new(1);
    let jkt = prover.jkt();
    let verifier = verifier(NoncePolicy::Off);
    let jwk = prover.jwk.to_string();
    let values = [
        "1800000000",
        "1e400",
        "-0",
        "1.5e-9",
        "null",
        "true",
        "\"\"",
        "[]",
        "{}",
        "\"dpop+jwt\"",
        "\"ES256\"",
        "\"GET\"",
        "\"\\ud800\"",
        "\"\\u0000\"",
        "9223372036854775808",
        "1e15",
        "[[[[]]]]",
        "\"https://api.carrier.example/\"",
        jwk.as_str(),
        "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}",
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"\"}",
    ];
    let mut random = Random(3);
    for _ in 0..3000 {
        let mut object = |names: &[&str]| {
            let mut members = Vec::new();
            for name in names {
                members.push(match (random.below(12), *name) {
                    (0, _) => continue,
                    (1..4, _) => format!("\"{name}\":{}", values[random.below(values.len())]),
                    (_, "jwk") => format!("\"jwk\":{jwk}"),
                    (_, "typ") => "\"typ\":\"dpop+jwt\"".to_owned(),
                    (_, "alg") => "\"alg\":\"ES256\"".to_owned(),
                    (_, "htm") => "\"htm\":\"GET\"".to_owned(),
                    (_, "htu") => format!("\"htu\":\"{URI}\""),
                    (_, "iat") => format!("\"iat\":{NOW}"),
                    _ => format!("\"{name}\":\"x\""),
                });
            }
            format!("{{{}}}", members.join(","))
        };
        let header = object(&["typ", "alg", "jwk"]);
        let payload = object(&["jti", "htm", "htu", "iat", "exp", "nbf", "nonce"]);
        let proof = prover.sign(&header, &payload);
        assert!(
            !accepts(&verifier, proof.as_bytes(), jkt),
            "without ath: {header} {payload}"
        );
    }
}

#[test]
fn keys_and_signatures_from_random_text_are_judged_without_a_panic() {
    let prover = Prover::new(1);
    let key = PublicJwk::from_json(prover.jwk.to_string().as_bytes()).unwrap();
    let mut random = Random(4);
    let pieces = [
        "{",
        "}",
        "\"kty\":",
        "\"RSA\"",
        "\"EC\"",
        "\"OKP\"",
        ",",
        "\"crv\":",
        "\"P-256\"",
        "\"Ed25519\"",
        "\"x\":",
        "\"y\":",
        "\"n\":",
        "\"e\":",
        "\"AQAB\"",
        "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"",
        "null",
        "1",
    ];
    for _ in 0..20_000 {
        let text = random.pieces(&pieces, 14);
        drop(PublicJwk::from_json(text.as_bytes()));
        let jws = random.pieces(&["eyJhbGciOiJFUzI1NiJ9", ".", "AAAA", "e30", "-"], 8);
        assert!(verify_compact(&jws, &key).is_err());
        let (n, e) = (random.below(300), random.below(10));
        let (n, e) = (random.octets(n), random.octets(e));
        if let Ok(rsa) = PublicJwk::rsa(&n, &e) {
            let signature = random.octets(n.len());
            assert!(rsa.verify(b"message", &signature).is_err());
        }
        let point: [u8; 32] = random.octets(32).try_into().unwrap();
        if let Ok(ed25519) = PublicJwk::ed25519(point) {
            assert!(ed25519.verify(b"message", &random.octets(64)).is_err());
        }
    }
}

#[test]
fn a_normal_form_is_its_own_and_matches_what_it_came_from() {
    let pieces = [
        "https://",
        "HTTPS://",
        "http://",
        "h",
        "api.carrier.example",
        "[::1]",
        "[2001:DB8::1]",
        ":",
        "443",
        "0443",
        ":8443",
        "/",
        "//",
        ".",
        "..",
        "/../",
        "/./",
        "%2e",
        "%2E",
        "%7e",
        "%2f",
        "%zz",
        "%",
        "a",
        "A",
        "?",
        "#",
        "\\",
        "@",
        " ",
        "\t",
        "\u{e4}",
        "+",
        ";v=1",
        "%C3%A4",
    ];
    let mut random = Random(5);
    let mut valid = 0;
    for round in 0..60_000 {
        let mut uri = random.pieces(&pieces, 10);
        if round % 2 == 0 {
            uri.insert_str(0, "https://api.carrier.example");
        }
        match normalize(&uri) {
            None => assert_eq!(matches(&uri, URI), HtuMatch::Invalid, "{uri}"),
            Some(normal) => {
                valid += 1;
                assert_eq!(normalize(&normal).as_deref(), Some(normal.as_str()), "{uri}");
                assert_eq!(matches(&uri, &normal), HtuMatch::Match, "{uri}");
                assert_eq!(matches(&normal, &uri), HtuMatch::Match, "{uri}");
                assert!(
                    normal.starts_with("https://") && !normal.contains(['?', '#', '\\', ' ']),
                    "{normal}"
                );
                assert!(
                    !normal.split('/').skip(3).any(|segment| matches!(segment, "." | "..")),
                    "{normal}"
                );
            }
        }
    }
    assert!(valid > 5000, "{valid}");
}
