//! Makes proofs by hand, right or wrong ones, with p256 alone: tests of the verifier don't lean on the crate's own client.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue};
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::{Value, json};
use shipbound::jose::{PublicJwk, Thumbprint, ath};

/// An access token.
pub const TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";

/// The time of most tests, in seconds.
pub const NOW: i64 = 1_800_000_000;

/// The target of most tests.
pub const URI: &str = "https://api.carrier.example/ship/v1/shipments";

pub struct Prover {
    key: SigningKey,
    pub jwk: Value,
}

impl Prover {
    /// The key that this seed makes.
    pub fn new(seed: u8) -> Self {
        let key = SigningKey::from_slice(&[seed; 32]).unwrap();
        let point = key.verifying_key().to_sec1_point(false);
        let coordinate = |octets: &[u8]| URL_SAFE_NO_PAD.encode(octets);
        let (x, y) = point.as_bytes()[1..].split_at(32);
        let jwk = json!({ "kty": "EC", "crv": "P-256", "x": coordinate(x), "y": coordinate(y) });
        Self { key, jwk }
    }

    pub fn jkt(&self) -> Thumbprint {
        PublicJwk::from_json(self.jwk.to_string().as_bytes())
            .unwrap()
            .thumbprint()
    }

    pub fn header(&self) -> Value {
        json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk })
    }

    /// A proof for a GET of [`URI`] with [`TOKEN`] at [`NOW`], with `changes` to the claims; null takes a claim away.
    pub fn proof(&self, jti: &str, changes: Value) -> String {
        self.sign(&self.header().to_string(), &claims(jti, changes).to_string())
    }

    pub fn sign(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature: Signature = self.key.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }
}

pub fn claims(jti: &str, changes: Value) -> Value {
    let mut claims = json!({ "jti": jti, "htm": "GET", "htu": URI, "iat": NOW, "ath": ath(TOKEN) });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            _ => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

/// The header fields of a request to a resource.
pub fn headers(proof: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::try_from(format!("DPoP {TOKEN}")).unwrap());
    headers.insert("dpop", HeaderValue::try_from(proof).unwrap());
    headers
}
