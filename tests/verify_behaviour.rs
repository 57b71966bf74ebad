//! What a verifier does beyond single proofs: many at once, restarts, outages, nonces, and what it does not look at.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod prover;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use prover::{NOW, Prover, TOKEN, URI, headers};
use serde_json::json;
use shipbound::clock::{Clock, ManualClock, Timestamp};
use shipbound::jose::{Algorithm, Thumbprint};
use shipbound::verify::danger::{self, Check};
use shipbound::verify::htu::{LoopbackHttp, PublicOrigin};
use shipbound::verify::{
    GrantFacts, InvalidSetup, MemoryReplayLog, NoncePolicy, ProofVerifier, ProofVerifierBuilder, Reason, Received,
    Rejection, ReplayEntry, ReplayLog, ReplayRefusal, Scheme, SingleUseNonces, StatelessNonces, TokenConfirmation,
    TokenFacts, Verified,
};

const START: Timestamp = Timestamp::from_unix_seconds(NOW - 60);

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_unix_seconds(NOW)))
}

fn builder_with(clock: &Arc<ManualClock>) -> ProofVerifierBuilder {
    let log = MemoryReplayLog::starting(START).unwrap();
    ProofVerifier::builder(Arc::clone(clock) as Arc<dyn Clock>, Arc::new(log))
}

fn builder() -> ProofVerifierBuilder {
    builder_with(&clock())
}

fn facts(jkt: Thumbprint) -> TokenFacts<'static> {
    TokenFacts::active(TokenConfirmation::Jkt(jkt)).client("client-1")
}

fn get(verifier: &ProofVerifier, headers: &HeaderMap, jkt: Thumbprint) -> Result<Verified, Rejection> {
    let request = Received::new(&Method::GET, URI, headers);
    verifier.verify_resource(&request, &facts(jkt)).now_or_never().unwrap()
}

fn reason(result: Result<Verified, Rejection>) -> Option<Reason> {
    result.err().map(|rejection| rejection.reason())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_thousand_equal_proofs_at_once_one_is_accepted() {
    let prover = Prover::new(1);
    let verifier = Arc::new(builder().build().unwrap());
    let headers = Arc::new(headers(&prover.proof("one", json!({}))));
    let jkt = prover.jkt();
    let start = Arc::new(tokio::sync::Barrier::new(1000));
    let requests: Vec<_> = (0..1000)
        .map(|_| {
            let (verifier, headers, start) = (Arc::clone(&verifier), Arc::clone(&headers), Arc::clone(&start));
            tokio::spawn(async move {
                start.wait().await;
                let request = Received::new(&Method::GET, URI, &headers);
                verifier.verify_resource(&request, &facts(jkt)).await
            })
        })
        .collect();
    let mut accepted = 0;
    for request in requests {
        match request.await.unwrap() {
            Ok(verified) => {
                accepted += 1;
                assert_eq!(verified.jkt(), jkt);
            }
            Err(rejection) => assert_eq!(rejection.reason(), Reason::Replay),
        }
    }
    assert_eq!(accepted, 1);
}

#[test]
fn a_proof_is_told_who_made_it_and_when() {
    let prover = Prover::new(1);
    let verifier = builder().build().unwrap();
    let headers = headers(&prover.proof("one", json!({ "iat": NOW - 3 })));
    let presented = verifier.presented(&headers).unwrap();
    assert_eq!((presented.scheme, presented.token), (Scheme::Dpop, TOKEN));
    let verified = get(&verifier, &headers, prover.jkt()).unwrap();
    assert_eq!(verified.jkt(), prover.jkt());
    assert_eq!(verified.algorithm(), Algorithm::Es256);
    assert_eq!(verified.issued_at(), Timestamp::from_unix_seconds(NOW - 3));
    assert_eq!(verified.nonce(), None);
}

#[test]
fn after_a_restart_proofs_from_before_are_refused_and_those_of_the_same_second_are_not() {
    let prover = Prover::new(1);
    let used = headers(&prover.proof("used", json!({})));
    assert!(get(&builder().build().unwrap(), &used, prover.jkt()).is_ok());

    let clock = clock();
    clock.advance(Duration::from_millis(1700));
    let log = MemoryReplayLog::starting(clock.now()).unwrap();
    let restarted = ProofVerifier::builder(clock, Arc::new(log)).build().unwrap();
    assert_eq!(reason(get(&restarted, &used, prover.jkt())), Some(Reason::IssuedBefore));
    let fresh = headers(&prover.proof("fresh", json!({ "iat": NOW + 1 })));
    assert_eq!(reason(get(&restarted, &fresh, prover.jkt())), None);
}

#[test]
fn a_clock_that_is_set_back_does_not_bring_a_used_proof_to_life() {
    let prover = Prover::new(1);
    let clock = clock();
    let verifier = builder_with(&clock).build().unwrap();
    let used = headers(&prover.proof("used", json!({})));
    assert!(get(&verifier, &used, prover.jkt()).is_ok());
    clock.set_wall(Timestamp::from_unix_seconds(NOW + 3600));
    let later = headers(&prover.proof("later", json!({ "iat": NOW + 3600 })));
    assert!(get(&verifier, &later, prover.jkt()).is_ok());

    clock.set_wall(Timestamp::from_unix_seconds(NOW + 5));
    assert_eq!(reason(get(&verifier, &used, prover.jkt())), Some(Reason::Clock));

    // A step that the window covers is nothing to refuse honest proofs for.
    clock.set_wall(Timestamp::from_unix_seconds(NOW + 3595));
    let fresh = headers(&prover.proof("fresh", json!({ "iat": NOW + 3595 })));
    assert_eq!(reason(get(&verifier, &fresh, prover.jkt())), None);
    assert_eq!(reason(get(&verifier, &later, prover.jkt())), Some(Reason::Replay));
}

#[test]
fn what_a_request_says_about_its_host_changes_nothing() {
    let prover = Prover::new(1);
    let verifier = builder().build().unwrap();
    let origin = PublicOrigin::new("https://api.carrier.example").unwrap();
    let target = origin.target("/ship/v1/shipments?x=1");
    let spoof = |jti: &str, htu: &str| {
        let mut headers = headers(&prover.proof(jti, json!({ "htu": htu })));
        for name in ["host", "x-forwarded-host", "x-original-host"] {
            headers.insert(name, HeaderValue::from_static("captured.example"));
        }
        headers.insert("x-forwarded-proto", HeaderValue::from_static("http"));
        headers.insert(
            "forwarded",
            HeaderValue::from_static("host=captured.example;proto=http"),
        );
        let request = Received::new(&Method::GET, &target, &headers);
        reason(
            verifier
                .verify_resource(&request, &facts(prover.jkt()))
                .now_or_never()
                .unwrap(),
        )
    };
    assert_eq!(
        spoof("a", "https://captured.example/ship/v1/shipments"),
        Some(Reason::Uri)
    );
    assert_eq!(
        spoof("b", "http://captured.example/ship/v1/shipments"),
        Some(Reason::Uri)
    );
    assert_eq!(spoof("c", URI), None);
}

#[test]
fn nothing_that_a_header_points_to_is_fetched() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let pointer = format!("http://{}/keys", listener.local_addr().unwrap());
    let prover = Prover::new(1);
    let mut header = prover.header();
    for name in ["jku", "x5u", "kid"] {
        header[name] = json!(pointer);
        header["jwk"][name] = json!(pointer);
    }
    header["x5c"] = json!([pointer]);
    let proof = prover.sign(&header.to_string(), &prover::claims("one", json!({})).to_string());
    let result = get(&builder().build().unwrap(), &headers(&proof), prover.jkt());
    assert_eq!(reason(result), None);
    let came = listener.accept().map(|_| ()).map_err(|error| error.kind());
    assert_eq!(came, Err(std::io::ErrorKind::WouldBlock));
}

#[derive(Debug)]
struct Down;

#[async_trait]
impl ReplayLog for Down {
    async fn check_and_insert(&self, _: &ReplayEntry<'_>, _: Timestamp, _: Timestamp) -> Result<(), ReplayRefusal> {
        Err(ReplayRefusal::Unavailable)
    }
}

#[test]
fn a_log_that_is_down_refuses_everything() {
    let prover = Prover::new(1);
    let verifier = ProofVerifier::builder(clock(), Arc::new(Down)).build().unwrap();
    let rejection = get(&verifier, &headers(&prover.proof("one", json!({}))), prover.jkt()).unwrap_err();
    assert_eq!(rejection.reason(), Reason::Unavailable);
    assert_eq!(rejection.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[derive(Debug)]
struct Untouched;

#[async_trait]
impl ReplayLog for Untouched {
    async fn check_and_insert(&self, entry: &ReplayEntry<'_>, _: Timestamp, _: Timestamp) -> Result<(), ReplayRefusal> {
        panic!("{} reached the log", entry.jti)
    }
}

#[test]
fn only_proofs_that_pass_everything_else_reach_the_log() {
    let (prover, thief) = (Prover::new(1), Prover::new(2));
    let nonces = NoncePolicy::Required(Arc::new(StatelessNonces::new([1; 32])));
    let verifier = ProofVerifier::builder(clock(), Arc::new(Untouched))
        .nonces(nonces)
        .build()
        .unwrap();
    let mut forged = prover.proof("forged", json!({}));
    forged.replace_range(forged.len() - 4.., "AAAA");
    for (proof, expected) in [
        (forged, Reason::Signature),
        (prover.proof("htm", json!({ "htm": "POST" })), Reason::Method),
        (
            prover.proof("htu", json!({ "htu": "https://api.carrier.example/" })),
            Reason::Uri,
        ),
        (prover.proof("iat", json!({ "iat": NOW - 61 })), Reason::IssuedBefore),
        (prover.proof("ath", json!({ "ath": "x" })), Reason::Ath),
        (thief.proof("key", json!({})), Reason::KeyBinding),
        (prover.proof("nonce", json!({})), Reason::NonceMissing),
        (prover.proof("nonce", json!({ "nonce": "x" })), Reason::NonceMismatch),
    ] {
        assert_eq!(reason(get(&verifier, &headers(&proof), prover.jkt())), Some(expected));
    }
}

#[test]
fn a_required_nonce_is_asked_for_given_and_renewed() {
    let prover = Prover::new(1);
    let clock = clock();
    let source = Arc::new(StatelessNonces::new([1; 32]));
    let verifier = builder_with(&clock)
        .nonces(NoncePolicy::Required(source))
        .build()
        .unwrap();
    let challenge = get(&verifier, &headers(&prover.proof("a", json!({}))), prover.jkt()).unwrap_err();
    assert_eq!(challenge.oauth_error(), Some("use_dpop_nonce"));
    let mut answer = HeaderMap::new();
    challenge.fill_headers(&mut answer);
    assert_eq!(answer["cache-control"], "no-store");
    assert!(answer["www-authenticate"].to_str().unwrap().contains("use_dpop_nonce"));
    let nonce = answer["dpop-nonce"].to_str().unwrap().to_owned();

    let verified = get(
        &verifier,
        &headers(&prover.proof("b", json!({ "nonce": nonce }))),
        prover.jkt(),
    )
    .unwrap();
    assert_eq!(verified.nonce(), None);

    clock.advance(Duration::from_secs(60));
    let later = |jti: &str| headers(&prover.proof(jti, json!({ "nonce": nonce, "iat": clock.now().unix_seconds() })));
    let verified = get(&verifier, &later("c"), prover.jkt()).unwrap();
    let mut answer = HeaderMap::new();
    verified.fill_headers(&mut answer);
    assert_ne!(answer["dpop-nonce"], nonce);
    assert_eq!(answer["cache-control"], "no-store");

    clock.advance(Duration::from_secs(60));
    assert_eq!(
        reason(get(&verifier, &later("d"), prover.jkt())),
        Some(Reason::NonceMismatch)
    );
}

#[test]
fn an_optional_nonce_is_offered_and_checked_when_it_is_there() {
    let prover = Prover::new(1);
    let policy = NoncePolicy::Optional(Arc::new(SingleUseNonces::new()));
    let verifier = builder().nonces(policy).build().unwrap();
    let with = |jti: &str, claims| get(&verifier, &headers(&prover.proof(jti, claims)), prover.jkt());
    let text = |verified: Verified| verified.nonce().unwrap().to_str().unwrap().to_owned();
    let first = text(with("a", json!({})).unwrap());
    let second = text(with("b", json!({ "nonce": first })).unwrap());
    assert_ne!(first, second);
    assert_eq!(
        reason(with("c", json!({ "nonce": first }))),
        Some(Reason::NonceMismatch)
    );
    assert_eq!(
        reason(with("d", json!({ "nonce": [second] }))),
        Some(Reason::NonceMismatch)
    );
    assert_eq!(reason(with("e", json!({ "nonce": second }))), None);
}

#[test]
fn a_token_endpoint_holds_the_proof_against_the_grant() {
    let (prover, other) = (Prover::new(1), Prover::new(2));
    let verifier = builder().build().unwrap();
    let ask = |jti: &str, grant: GrantFacts<'_>| {
        let mut headers = headers(&prover.proof(jti, json!({ "htm": "POST", "ath": null })));
        headers.remove("authorization");
        let request = Received::new(&Method::POST, URI, &headers);
        verifier
            .verify_token_request(&request, &grant.client("client-1"))
            .now_or_never()
            .unwrap()
    };
    assert_eq!(ask("a", GrantFacts::unbound()).unwrap().jkt(), prover.jkt());
    assert_eq!(
        ask("b", GrantFacts::bound_to(prover.jkt())).unwrap().jkt(),
        prover.jkt()
    );
    let rejection = ask("c", GrantFacts::bound_to(other.jkt())).unwrap_err();
    assert_eq!(
        (rejection.reason(), rejection.status()),
        (Reason::KeyBinding, StatusCode::BAD_REQUEST)
    );
    assert_eq!(
        rejection.body(),
        r#"{"error":"invalid_grant","error_description":"the grant belongs to another key"}"#
    );
    let rejection = ask("a", GrantFacts::unbound()).unwrap_err();
    assert_eq!(
        (rejection.reason(), rejection.oauth_error()),
        (Reason::Replay, Some("invalid_dpop_proof"))
    );
}

#[test]
fn http_is_taken_for_the_named_loopback_authority_only() {
    let prover = Prover::new(1);
    let uri = "http://127.0.0.1:8080/ship";
    let ask = |verifier: &ProofVerifier| {
        let headers = headers(&prover.proof("a", json!({ "htu": uri })));
        let request = Received::new(&Method::GET, uri, &headers);
        reason(
            verifier
                .verify_resource(&request, &facts(prover.jkt()))
                .now_or_never()
                .unwrap(),
        )
    };
    assert_eq!(ask(&builder().build().unwrap()), Some(Reason::Uri));
    let here = |authority| {
        builder()
            .loopback(LoopbackHttp::exact(authority).unwrap())
            .build()
            .unwrap()
    };
    assert_eq!(ask(&here("127.0.0.1:8081")), Some(Reason::Uri));
    assert_eq!(ask(&here("127.0.0.1:8080")), None);
}

#[test]
fn every_check_that_can_be_left_out_stops_an_attack() {
    let (prover, thief) = (Prover::new(1), Prover::new(2));
    let mut forged = prover.proof("a", json!({}));
    forged.replace_range(forged.len() - 4.., "AAAA");
    let attacks = [
        (
            Check::Htu,
            prover.proof("a", json!({ "htu": "https://rates.carrier.example/" })),
            Reason::Uri,
        ),
        (Check::Ath, prover.proof("a", json!({ "ath": "another" })), Reason::Ath),
        (Check::Confirmation, thief.proof("a", json!({})), Reason::KeyBinding),
        (Check::Signature, forged, Reason::Signature),
    ];
    for (check, proof, expected) in attacks {
        let open = danger::leave_out(builder(), check).build().unwrap();
        assert_eq!(reason(get(&open, &headers(&proof), prover.jkt())), None, "{check:?}");
        let whole = builder().build().unwrap();
        assert_eq!(
            reason(get(&whole, &headers(&proof), prover.jkt())),
            Some(expected),
            "{check:?}"
        );
        for other in [
            Check::Jti,
            Check::Htu,
            Check::Ath,
            Check::Confirmation,
            Check::Signature,
        ] {
            let open = danger::leave_out(builder(), other).build().unwrap();
            let stopped = reason(get(&open, &headers(&proof), prover.jkt())).is_some();
            assert_eq!(stopped, other != check, "{check:?} with {other:?} left out");
        }
    }
    let proof = headers(&prover.proof("a", json!({})));
    let open = danger::leave_out(builder(), Check::Jti).build().unwrap();
    let whole = builder().build().unwrap();
    for verifier in [&open, &whole] {
        assert_eq!(reason(get(verifier, &proof, prover.jkt())), None);
    }
    assert_eq!(reason(get(&open, &proof, prover.jkt())), None);
    assert_eq!(reason(get(&whole, &proof, prover.jkt())), Some(Reason::Replay));
}

#[test]
fn a_refusal_shows_nothing_of_the_request() {
    let prover = Prover::new(1);
    let mut header = prover.header();
    header["jwk"]["d"] = json!("c2VjcmV0LXNlY3JldA");
    let proof = prover.sign(&header.to_string(), &prover::claims("jti-1234", json!({})).to_string());
    let rejection = get(&builder().build().unwrap(), &headers(&proof), prover.jkt()).unwrap_err();
    assert_eq!(rejection.reason(), Reason::PrivateKey);
    let shown = format!(
        "{rejection} {rejection:?} {} {:?}",
        rejection.body(),
        rejection.www_authenticate()
    );
    for secret in ["c2VjcmV0LXNlY3JldA", "jti-1234", TOKEN, &proof] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn a_policy_beyond_the_limits_is_no_verifier() {
    let refused = |builder: ProofVerifierBuilder| builder.build().unwrap_err();
    assert_eq!(
        refused(builder().max_age(Duration::from_secs(601))),
        InvalidSetup::MaxAge
    );
    assert_eq!(
        refused(builder().max_future(Duration::from_secs(5))),
        InvalidSetup::MaxFuture
    );
    assert_eq!(refused(builder().algorithms([])), InvalidSetup::NoAlgorithm);
    assert_eq!(
        refused(builder().algorithms([Algorithm::Es256, Algorithm::Rs256])),
        InvalidSetup::UnsupportedAlgorithm
    );
    assert_eq!(refused(builder().max_proof_bytes(100)), InvalidSetup::MaxProofBytes);
    assert_eq!(refused(builder().max_jti_bytes(1)), InvalidSetup::MaxJtiBytes);
}

#[test]
fn the_size_and_jti_limits_hold_at_their_edges() {
    let prover = Prover::new(1);
    let verifier = builder().build().unwrap();
    let with = |claims| {
        reason(get(
            &verifier,
            &headers(&prover.proof(&"j".repeat(256), claims)),
            prover.jkt(),
        ))
    };
    assert_eq!(with(json!({})), None);
    assert_eq!(with(json!({ "jti": "j".repeat(257) })), Some(Reason::Jti));
    let mut padding = 0;
    let mut length = 0;
    while length != 8192 {
        padding += if length < 7000 { 500 } else { 1 };
        length = prover.proof("p", json!({ "pad": "x".repeat(padding) })).len();
        assert!(length <= 8192, "base64url steps over 8192: {length}");
    }
    assert_eq!(with(json!({ "jti": "p", "pad": "x".repeat(padding) })), None);
    assert_eq!(
        with(json!({ "jti": "q", "pad": "x".repeat(padding + 1) })),
        Some(Reason::Oversize)
    );
}
