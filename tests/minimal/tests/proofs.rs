//! Proofs made and checked by this build, and what it is built from.

use std::process::Command;
use std::sync::Arc;

use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method};
use shipbound::binding::dpop::DpopBinding;
use shipbound::binding::{self, Attempt, TokenBinding};
use shipbound::clock::{Clock, ManualClock, Timestamp};
use shipbound::jose::{Algorithm, ath};
use shipbound::keys::local::{Backend, LocalKey};
use shipbound::keys::{KeyHandle, KeyId, Purpose};
use shipbound::owner::{DeploymentId, Owner};
use shipbound::target::Target;
use shipbound::verify::{
    InvalidSetup, MemoryReplayLog, ProofVerifier, Reason, Received, TokenConfirmation, TokenFacts,
};

const TOKEN: &str = "an-access-token";

#[test]
fn aws_lc_is_not_in_this_build() {
    let out = Command::new(env!("CARGO"))
        .args([
            "tree",
            "-p",
            "shipbound-tests-minimal",
            "-e",
            "normal",
            "--prefix",
            "none",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let tree = String::from_utf8(out.stdout).unwrap();
    assert!(tree.lines().any(|line| line.starts_with("p256 v0.14")), "{tree}");
    for absent in [
        "aws-lc-rs",
        "aws-lc-sys",
        "ring",
        "rustls",
        "reqwest",
        "hyper",
        "openssl",
    ] {
        assert!(
            !tree.lines().any(|line| line.starts_with(&format!("{absent} v"))),
            "{absent}\n{tree}"
        );
    }
}

#[test]
fn proofs_of_p256_are_accepted_once() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_unix_seconds(1_800_000_000)));
    let key = LocalKey::generate(Algorithm::Es256, Backend::P256).unwrap();
    let public = key.public().clone();
    let owner = Owner::Deployment(DeploymentId::default_deployment());
    let handle = KeyHandle::new(owner, KeyId::random().unwrap(), Purpose::Proof, public, Arc::new(key));
    let jkt = handle.jkt();
    let binding = DpopBinding::new(handle, None).unwrap();
    let log = MemoryReplayLog::starting(clock.now()).unwrap();
    let verifier = ProofVerifier::builder(Arc::clone(&clock) as _, Arc::new(log))
        .build()
        .unwrap();

    let target = Target::parse("https://api.carrier.example/ship/v1/shipments?draft=true").unwrap();
    let facts = TokenFacts::active(TokenConfirmation::Jkt(jkt)).client("client-1");
    for _ in 0..20 {
        let attempt = Attempt {
            role: binding::Role::ResourceServer,
            method: &Method::POST,
            target: &target,
            ath: Some(&ath(TOKEN)),
            now: clock.now(),
            nonce: None,
        };
        let proof = binding.prove(&attempt).now_or_never().unwrap().unwrap().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::try_from(format!("DPoP {TOKEN}")).unwrap());
        proof.attach(&mut headers);
        let request = Received::new(&Method::POST, target.as_str(), &headers);
        let verified = verifier
            .verify_resource(&request, &facts)
            .now_or_never()
            .unwrap()
            .unwrap();
        assert_eq!((verified.jkt(), verified.algorithm()), (jkt, Algorithm::Es256));
        let again = verifier.verify_resource(&request, &facts).now_or_never().unwrap();
        assert_eq!(again.unwrap_err().reason(), Reason::Replay);
    }
}

#[test]
fn other_algorithms_are_not_offered() {
    for algorithm in [Algorithm::Ed25519, Algorithm::Ps256] {
        assert!(LocalKey::generate(algorithm, Backend::P256).is_err());
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let log = MemoryReplayLog::starting(clock.now()).unwrap();
        let refused = ProofVerifier::builder(Arc::new(clock), Arc::new(log))
            .algorithms([algorithm])
            .build();
        assert_eq!(refused.unwrap_err(), InvalidSetup::UnsupportedAlgorithm);
    }
}
