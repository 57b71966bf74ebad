//! Proofs and whole requests at the verifier.

use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};
use shipbound::clock::{ManualClock, Timestamp};
use shipbound::jose::{PublicJwk, Thumbprint, ath, verify_compact};
use shipbound::keys::{Backend, LocalKey, Signer, Signing};
use shipbound::secret::KeyMaterial;
use shipbound::verify::htu::{HtuMatch, matches};
use shipbound::verify::{
    FixedNonces, GrantFacts, MemoryReplayLog, NoncePolicy, ProofVerifier, Reason, Received, Rejection, StatelessNonces,
    TokenConfirmation, TokenFacts, Verified,
};

use crate::{cut, header_lines};

/// The token of the vectors that are signed here.
pub(crate) const TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
const URI: &str = "https://api.carrier.example/ship/v1/shipments";
const NOW: i64 = 1_800_000_000;
const NONCE: &str = "n-1";

fn verifier(now: Timestamp, nonces: NoncePolicy) -> ProofVerifier {
    let log = MemoryReplayLog::with_capacity(now.offset_seconds(-600), 16).unwrap();
    ProofVerifier::builder(Arc::new(ManualClock::at(now)), Arc::new(log))
        .nonces(nonces)
        .build()
        .unwrap()
}

/// An answer can be made of every rejection, and tells nothing that the request held.
fn check_rejection(rejection: &Rejection) {
    let mut headers = HeaderMap::new();
    rejection.fill_headers(&mut headers);
    assert!(matches!(rejection.status().as_u16(), 400 | 401 | 429 | 503));
    let body: Value = serde_json::from_str(&rejection.body()).unwrap();
    assert_eq!(body["error"].as_str(), rejection.oauth_error());
    let shown = format!("{rejection} {rejection:?} {headers:?}");
    assert!(!shown.contains(TOKEN), "{shown}");
}

/// What every accepted proof is, told by a parser that is not strict.
fn check_accepted(headers: &HeaderMap, method: &Method, uri: &str, now: Timestamp, verified: &Verified) -> Value {
    let proof = headers["dpop"].to_str().unwrap();
    let segments: Vec<_> = proof
        .split('.')
        .map(|text| URL_SAFE_NO_PAD.decode(text).unwrap())
        .collect();
    let [header, claims, _] = segments.as_slice() else {
        panic!("{} segments", segments.len());
    };
    let header: Value = serde_json::from_slice(header).expect("JSON to others as well");
    let claims: Value = serde_json::from_slice(claims).expect("JSON to others as well");
    assert_eq!(header["typ"], "dpop+jwt");
    assert!(header.get("crit").is_none() && header.get("b64").is_none());
    let key = PublicJwk::from_json(header["jwk"].to_string().as_bytes()).unwrap();
    assert_eq!(key.thumbprint(), verified.jkt());
    assert_eq!(key.algorithm(), verified.algorithm());
    assert!(verify_compact(proof, &key).is_ok());
    assert_eq!(claims["htm"], method.as_str());
    assert_eq!(matches(claims["htu"].as_str().unwrap(), uri), HtuMatch::Match);
    assert!((1..=256).contains(&claims["jti"].as_str().unwrap().len()));
    let iat = claims["iat"].as_f64().unwrap();
    #[expect(clippy::cast_precision_loss, reason = "these are times of this century")]
    let now = now.unix_seconds() as f64;
    assert!((now - 61.0..=now + 11.0).contains(&iat), "{iat} at {now}");
    claims
}

/// The octets of a `DPoP` field, as they come.
pub(crate) fn proof(data: &[u8]) {
    let Ok(field) = HeaderValue::from_bytes(data) else {
        return;
    };
    let mut headers = HeaderMap::new();
    headers.insert("dpop", field);
    let now = Timestamp::from_unix_seconds(1_562_262_616);
    let (method, uri) = (Method::POST, "https://server.example.com/token");
    let request = Received::new(&method, uri, &headers);
    let verifier = verifier(now, NoncePolicy::Off);
    match verifier
        .verify_token_request(&request, &GrantFacts::unbound())
        .now_or_never()
        .expect("memory does not wait")
    {
        Ok(verified) => drop(check_accepted(&headers, &method, uri, now, &verified)),
        Err(rejection) => check_rejection(&rejection),
    }
}

/// The key that proofs are signed with here: any will do, and the least one is the same in every run.
fn prover() -> &'static LocalKey {
    static KEY: OnceLock<LocalKey> = OnceLock::new();
    KEY.get_or_init(|| {
        let jwk = json!({
            "kty": "EC",
            "crv": "P-256",
            "x": "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
            "y": "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
            "d": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE",
        });
        LocalKey::from_jwk(&KeyMaterial::new(jwk.to_string()), Backend::AwsLc).unwrap()
    })
}

/// A header that is accepted by [`signed_proof`].
pub(crate) fn honest_header() -> String {
    format!(
        r#"{{"typ":"dpop+jwt","alg":"ES256","jwk":{}}}"#,
        prover().public().to_json()
    )
}

fn sign(header: &[u8], claims: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let Signing::Now(signature) = prover().sign(signed.as_bytes()) else {
        panic!("a local key does not wait");
    };
    let signature = URL_SAFE_NO_PAD.encode(signature.unwrap().as_bytes());
    format!("{signed}.{signature}")
}

/// Header and claims that a client signs with its own key: what a hostile client can reach and a thief cannot.
pub(crate) fn signed_proof(data: &[u8]) {
    let (header, claims) = cut(data, b"\n");
    let jkt = prover().public().thumbprint();
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::try_from(format!("DPoP {TOKEN}")).unwrap());
    headers.insert("dpop", HeaderValue::try_from(sign(header, claims)).unwrap());
    let now = Timestamp::from_unix_seconds(NOW);
    let verifier = verifier(now, NoncePolicy::Optional(Arc::new(FixedNonces::new([NONCE, "n-0"]))));
    let request = Received::new(&Method::GET, URI, &headers);
    let facts = TokenFacts::active(TokenConfirmation::Jkt(jkt)).client("c");
    let judge = || {
        verifier
            .verify_resource(&request, &facts)
            .now_or_never()
            .expect("memory does not wait")
    };
    match judge() {
        Ok(verified) => {
            let claims = check_accepted(&headers, &Method::GET, URI, now, &verified);
            assert_eq!(claims["ath"], ath(TOKEN));
            let nonce = claims.get("nonce").map(|nonce| nonce.as_str().unwrap());
            assert!(matches!(nonce, None | Some(NONCE | "n-0")), "{nonce:?}");
            assert_eq!(verified.jkt(), jkt);
            assert_eq!(judge().unwrap_err().reason(), Reason::Replay);
            let foreign = TokenFacts::active(TokenConfirmation::Jkt(Thumbprint::from_bytes([1; 32])));
            let refused = verifier.verify_resource(&request, &foreign).now_or_never().unwrap();
            assert_eq!(refused.unwrap_err().reason(), Reason::KeyBinding);
        }
        Err(rejection) => check_rejection(&rejection),
    }
}

/// A whole request, in lines: options and the time; `jkt` and `x5t#S256` of the token; method; URI; header fields.
pub(crate) fn request(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut text = || {
        lines
            .next()
            .and_then(|line| std::str::from_utf8(line).ok())
            .unwrap_or_default()
    };
    let (first, confirmation, method, uri) = (text(), text(), text(), text());
    let (options, now) = first.split_at_checked(1).unwrap_or_default();
    let options = options.bytes().next().unwrap_or_default();
    let Ok(now) = now.parse().map(Timestamp::from_unix_seconds) else {
        return;
    };
    let Ok(method) = Method::from_bytes(method.as_bytes()) else {
        return;
    };
    let headers = header_lines(lines);

    let nonces: Arc<StatelessNonces> = Arc::new(StatelessNonces::new([1; 32]));
    let verifier = verifier(
        now,
        match options & 6 {
            2 => NoncePolicy::Optional(nonces),
            4 => NoncePolicy::Required(nonces),
            _ => NoncePolicy::Off,
        },
    );
    let (jkt, x5t) = confirmation.split_once(' ').unwrap_or((confirmation, ""));
    let member = |text| Some(text).filter(|text: &&str| !text.is_empty());
    let (jkt, x5t) = (member(jkt), member(x5t));
    let confirmation = TokenConfirmation::from_members(jkt, x5t);
    let mut request = Received::new(&method, uri, &headers);
    if let Some(certificate) = x5t.and_then(Thumbprint::from_base64url) {
        request = request.client_certificate(certificate);
    }

    let presented = verifier.presented(&headers);
    if let Ok(presented) = &presented {
        assert_eq!(headers.get_all("authorization").iter().count(), 1);
        assert!(!presented.token.is_empty() && !presented.token.contains([' ', ',', '"']));
        assert!(!format!("{presented:?}").contains(presented.token) || presented.token.len() < 12);
    }
    let judge = || {
        if options & 1 == 0 {
            let facts = TokenFacts::active(confirmation);
            verifier.verify_resource(&request, &facts).now_or_never()
        } else {
            let grant = match confirmation {
                TokenConfirmation::Jkt(jkt) => GrantFacts::bound_to(jkt),
                _ => GrantFacts::unbound(),
            };
            verifier.verify_token_request(&request, &grant).now_or_never()
        }
        .expect("memory does not wait")
    };
    match judge() {
        Ok(verified) => {
            let claims = check_accepted(&headers, &method, uri, now, &verified);
            if options & 1 == 0 {
                assert_eq!(claims["ath"], ath(presented.expect("a token").token));
                let bound = match confirmation {
                    TokenConfirmation::Jkt(jkt) | TokenConfirmation::Both { jkt, .. } => jkt,
                    other => panic!("{other:?}"),
                };
                assert_eq!(bound, verified.jkt());
            }
            let mut answer = HeaderMap::new();
            verified.fill_headers(&mut answer);
            assert_eq!(judge().unwrap_err().reason(), Reason::Replay);
        }
        Err(rejection) => check_rejection(&rejection),
    }
}

/// Claims that are accepted by [`signed_proof`], with `changes`.
pub(crate) fn honest_claims(changes: &[(&str, Value)]) -> String {
    let mut claims = json!({ "jti": "e1j3V_bKic8-LAEB", "htm": "GET", "htu": URI, "iat": NOW, "ath": ath(TOKEN) });
    for (name, value) in changes {
        claims[*name] = value.clone();
    }
    claims.to_string()
}
