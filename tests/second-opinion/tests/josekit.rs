//! Proofs of this crate under josekit (OpenSSL), and josekit's proofs under this crate's verifier.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method};
use josekit::jwk::Jwk;
use josekit::jwk::alg::ec::EcCurve;
use josekit::jwk::alg::ed::EdCurve;
use josekit::jws::{ES256, EdDSA, JwsHeader, JwsSigner, JwsVerifier, PS256, RS256};
use josekit::jwt::{self, JwtPayload};
use serde_json::{Value, json};
use shipbound::binding::dpop::DpopBinding;
use shipbound::binding::{self, Attempt, TokenBinding};
use shipbound::clock::{Clock, ManualClock, Timestamp};
use shipbound::jose::{Algorithm, PublicJwk, Thumbprint, ath};
use shipbound::keys::{Backend, KeyHandle, KeyId, LocalKey, Purpose, Signer, Signing};
use shipbound::owner::{DeploymentId, Owner};
use shipbound::target::Target;
use shipbound::verify::{
    MemoryReplayLog, ProofVerifier, Reason, Received, Rejection, TokenConfirmation, TokenFacts, Verified,
};

const TOKEN: &str = "an-access-token";
const URI: &str = "https://api.carrier.example/ship/v1/shipments";
const NOW_MICROS: i64 = 1_800_000_000_250_000;

/// josekit's verifier for a JWK, chosen by the name in a proof's header.
fn josekit_verifier(alg: &str, jwk: &Jwk) -> Box<dyn JwsVerifier> {
    match alg {
        "ES256" => Box::new(ES256.verifier_from_jwk(jwk).unwrap()),
        "EdDSA" => Box::new(EdDSA.verifier_from_jwk(jwk).unwrap()),
        "PS256" => Box::new(PS256.verifier_from_jwk(jwk).unwrap()),
        other => panic!("{other}"),
    }
}

/// A proof of this crate for a request with a token.
fn shipbound_proof(algorithm: Algorithm, backend: Backend) -> (String, Thumbprint) {
    let key = LocalKey::generate(algorithm, backend).unwrap();
    let (public, owner) = (
        key.public().clone(),
        Owner::Deployment(DeploymentId::default_deployment()),
    );
    let handle = KeyHandle::new(owner, KeyId::random().unwrap(), Purpose::Proof, public, Arc::new(key));
    let jkt = handle.jkt();
    let attempt = Attempt {
        role: binding::Role::ResourceServer,
        method: &Method::POST,
        target: &Target::parse(URI).unwrap(),
        ath: Some(&ath(TOKEN)),
        now: Timestamp::from_unix_micros(NOW_MICROS),
        nonce: None,
    };
    let binding = DpopBinding::new(handle, None).unwrap();
    let proof = binding.prove(&attempt).now_or_never().unwrap().unwrap().unwrap();
    let mut headers = HeaderMap::new();
    proof.attach(&mut headers);
    (headers["dpop"].to_str().unwrap().to_owned(), jkt)
}

/// RFC 7638 3 by josekit's members and OpenSSL's digest.
fn thumbprint(jwk: &Jwk) -> Thumbprint {
    let names: &[&str] = match jwk.key_type() {
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        "RSA" => &["e", "kty", "n"],
        other => panic!("{other}"),
    };
    let members: Vec<_> = names
        .iter()
        .map(|name| format!("\"{name}\":{}", jwk.parameter(name).unwrap()))
        .collect();
    Thumbprint::from_bytes(openssl::sha::sha256(format!("{{{}}}", members.join(",")).as_bytes()))
}

#[test]
fn josekit_verifies_proofs_of_every_algorithm_and_backend() {
    for (algorithm, backend, name) in [
        (Algorithm::Es256, Backend::AwsLc, "ES256"),
        (Algorithm::Es256, Backend::P256, "ES256"),
        (Algorithm::Ed25519, Backend::AwsLc, "EdDSA"),
        (Algorithm::Ps256, Backend::AwsLc, "PS256"),
    ] {
        let (proof, jkt) = shipbound_proof(algorithm, backend);
        let header = jwt::decode_header(&proof).unwrap();
        assert_eq!(header.claim("typ"), Some(&json!("dpop+jwt")));
        assert_eq!(header.claim("alg"), Some(&json!(name)));
        let jwk = Jwk::from_map(header.claim("jwk").unwrap().as_object().unwrap().clone()).unwrap();
        let verifier = josekit_verifier(name, &jwk);
        let (claims, _) = jwt::decode_with_verifier(&proof, &*verifier).unwrap();
        assert_eq!(claims.claim("htm"), Some(&json!("POST")));
        assert_eq!(claims.claim("htu"), Some(&json!(URI)));
        assert_eq!(claims.claim("ath"), Some(&json!(ath(TOKEN))));
        assert_eq!(claims.claim("iat"), Some(&json!(NOW_MICROS / 1_000_000)));
        assert_eq!(thumbprint(&jwk), jkt);

        // The same verifier refuses the proof of another key, so its word counts for something.
        let (other, _) = shipbound_proof(algorithm, backend);
        assert!(jwt::decode_with_verifier(other, &*verifier).is_err());
    }
}

#[test]
fn josekit_verifies_rs256_and_takes_it_for_nothing_else() {
    let key = LocalKey::generate(Algorithm::Ps256, Backend::AwsLc)
        .unwrap()
        .into_rs256()
        .unwrap();
    let Signing::Now(Ok(signature)) = key.sign(b"message") else {
        panic!("a local key signs at once");
    };
    let jwk = Jwk::from_bytes(key.public().to_json()).unwrap();
    let verify = |verifier: &dyn JwsVerifier, message: &[u8]| verifier.verify(message, signature.as_bytes());
    let rs256 = RS256.verifier_from_jwk(&jwk).unwrap();
    verify(&rs256, b"message").unwrap();
    assert!(verify(&rs256, b"another").is_err());
    assert!(verify(&PS256.verifier_from_jwk(&jwk).unwrap(), b"message").is_err());
}

/// A key pair of josekit's making, with its signer.
fn josekit_keys() -> Vec<(Box<dyn JwsSigner>, Jwk, Algorithm)> {
    let ec = Jwk::generate_ec_key(EcCurve::P256).unwrap();
    let ed = Jwk::generate_ed_key(EdCurve::Ed25519).unwrap();
    let rsa = Jwk::generate_rsa_key(2048).unwrap();
    vec![
        (Box::new(ES256.signer_from_jwk(&ec).unwrap()), ec, Algorithm::Es256),
        (Box::new(EdDSA.signer_from_jwk(&ed).unwrap()), ed, Algorithm::Ed25519),
        (Box::new(PS256.signer_from_jwk(&rsa).unwrap()), rsa, Algorithm::Ps256),
    ]
}

/// A proof as josekit makes it: `iat` has a fraction.
fn josekit_proof(signer: &dyn JwsSigner, jwk: &Jwk, jti: &str, issued_at: Duration) -> String {
    let mut header = JwsHeader::new();
    header.set_token_type("dpop+jwt");
    header.set_jwk(jwk.to_public_key().unwrap());
    let mut claims = JwtPayload::new();
    claims.set_jwt_id(jti);
    claims.set_issued_at(&(SystemTime::UNIX_EPOCH + issued_at));
    for (name, value) in [("htm", "POST"), ("htu", URI), ("ath", &ath(TOKEN))] {
        claims.set_claim(name, Some(Value::from(value))).unwrap();
    }
    jwt::encode_with_signer(&claims, &header, signer).unwrap()
}

fn verifier() -> ProofVerifier {
    let clock = Arc::new(ManualClock::at(Timestamp::from_unix_micros(NOW_MICROS)));
    let log = MemoryReplayLog::starting(clock.now().offset_seconds(-60)).unwrap();
    ProofVerifier::builder(clock, Arc::new(log)).build().unwrap()
}

fn verify(verifier: &ProofVerifier, proof: &str, jkt: Thumbprint) -> Result<Verified, Rejection> {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::try_from(format!("DPoP {TOKEN}")).unwrap());
    headers.insert("dpop", HeaderValue::try_from(proof).unwrap());
    let request = Received::new(&Method::POST, URI, &headers);
    let facts = TokenFacts::active(TokenConfirmation::Jkt(jkt));
    verifier.verify_resource(&request, &facts).now_or_never().unwrap()
}

#[test]
fn proofs_of_josekit_are_accepted_with_their_fractional_iat() {
    let verifier = verifier();
    let now = Duration::from_micros(u64::try_from(NOW_MICROS).unwrap());
    for (signer, jwk, algorithm) in josekit_keys() {
        let jkt = thumbprint(&jwk);
        let proof = josekit_proof(&*signer, &jwk, "one", now);
        let verified = verify(&verifier, &proof, jkt).unwrap();
        assert_eq!((verified.jkt(), verified.algorithm()), (jkt, algorithm));
        assert_eq!(verified.issued_at(), Timestamp::from_unix_micros(NOW_MICROS));
        assert_eq!(verify(&verifier, &proof, jkt).unwrap_err().reason(), Reason::Replay);

        // A quarter of a second decides.
        let early = now - Duration::from_millis(60_250);
        let old = josekit_proof(&*signer, &jwk, "old", early);
        assert_eq!(verify(&verifier, &old, jkt).unwrap_err().reason(), Reason::IssuedBefore);
        let in_time = josekit_proof(&*signer, &jwk, "in time", now - Duration::from_secs(60));
        assert!(verify(&verifier, &in_time, jkt).is_ok());
        let ahead = josekit_proof(&*signer, &jwk, "ahead", now + Duration::from_millis(10_250));
        assert_eq!(
            verify(&verifier, &ahead, jkt).unwrap_err().reason(),
            Reason::IssuedAhead
        );
    }
}

#[test]
fn keys_of_josekit_have_the_same_thumbprint_and_private_ones_are_refused() {
    for (_, jwk, algorithm) in josekit_keys() {
        let public = jwk.to_public_key().unwrap();
        let ours = PublicJwk::from_json(public.to_string().as_bytes()).unwrap();
        assert_eq!((ours.thumbprint(), ours.algorithm()), (thumbprint(&public), algorithm));
        assert!(PublicJwk::from_json(jwk.to_string().as_bytes()).is_err());
    }
}
