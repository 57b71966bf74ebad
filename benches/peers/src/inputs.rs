//! What every proof of these benchmarks is made of, and a check that it is a proof.

use aws_lc_rs::digest;
use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, Signature, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// `htm` of every proof.
pub const METHOD: &str = "POST";

/// `htu` of every proof: 70 characters.
pub const URL: &str = "https://apis.fedex.example/rate/v1/comprehensiverate/quotes/by-account";

/// An access token of 700 characters, as long as the JWTs that issuers hand out.
#[must_use]
pub fn access_token() -> String {
    "eyJhbGciOiJSUzI1NiJ9."
        .chars()
        .chain("AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_".chars().cycle())
        .take(700)
        .collect()
}

/// `ath` of an access token (RFC 9449, section 4.2).
#[must_use]
pub fn ath(access_token: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, access_token.as_bytes()))
}

/// One P-256 key in the shapes that the crates want, and the floor of every figure: its signature.
#[derive(Debug)]
pub struct Key {
    /// PKCS#8 DER.
    pub pkcs8: Vec<u8>,
    /// The private JWK.
    pub private_jwk: Value,
    /// The public JWK.
    pub public_jwk: Value,
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl Key {
    /// A fresh key.
    ///
    /// # Panics
    ///
    /// If the system has no randomness.
    #[must_use]
    pub fn generate() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random)
            .expect("a key")
            .as_ref()
            .to_vec();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, &pkcs8).expect("the key that was just made");
        let point = pair.public_key().as_ref();
        let (x, y) = (
            URL_SAFE_NO_PAD.encode(&point[1..33]),
            URL_SAFE_NO_PAD.encode(&point[33..65]),
        );
        let d = URL_SAFE_NO_PAD.encode(pair.private_key().as_be_bytes().expect("the private number").as_ref());
        Self {
            private_jwk: json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "x": x, "y": y, "d": d }),
            public_jwk: json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y }),
            pkcs8,
            pair,
            random,
        }
    }

    /// The floor: one signature with a key that was parsed before.
    ///
    /// # Panics
    ///
    /// If the system has no randomness.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        self.pair.sign(&self.random, message).expect("a signature")
    }

    /// The bytes that a proof of these inputs signs.
    #[must_use]
    pub fn signing_input(&self) -> Vec<u8> {
        let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": self.public_jwk });
        let claims = json!({
            "jti": "5rKVYF0bT6mEF6rF9kAJ2g", "htm": METHOD, "htu": URL, "iat": 1_795_334_261, "ath": ath(&access_token()),
        });
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        format!("{header}.{claims}").into_bytes()
    }

    /// Checks that `proof` is one for these inputs, signed with this key. A fast proof that nobody accepts is no figure.
    ///
    /// # Panics
    ///
    /// If it is not.
    pub fn check(&self, proof: &str) {
        let (input, signature) = proof.rsplit_once('.').expect("a compact JWS");
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("a signature in base64url");
        let point = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref());
        point
            .verify(input.as_bytes(), &signature)
            .expect("a signature of this key");
        let part = |text: &str| -> Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).expect("base64url")).expect("JSON")
        };
        let (header, claims) = input.split_once('.').expect("a header and claims");
        let (header, claims) = (part(header), part(claims));
        assert_eq!(
            (&header["typ"], &header["alg"]),
            (&json!("dpop+jwt"), &json!("ES256")),
            "{header}"
        );
        for member in ["kty", "crv", "x", "y"] {
            assert_eq!(header["jwk"][member], self.public_jwk[member], "{header}");
        }
        assert_eq!(
            (&claims["htm"], &claims["htu"]),
            (&json!(METHOD), &json!(URL)),
            "{claims}"
        );
        assert_eq!(claims["ath"], json!(ath(&access_token())), "{claims}");
        assert!(
            claims["jti"].as_str().is_some_and(|jti| jti.len() >= 16) && claims["iat"].is_number(),
            "{claims}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_have_the_agreed_sizes() {
        assert_eq!((URL.len(), access_token().len()), (70, 700));
        assert!((450..550).contains(&Key::generate().signing_input().len()));
    }

    #[test]
    fn a_proof_is_checked() {
        let key = Key::generate();
        let input = String::from_utf8(key.signing_input()).unwrap();
        let signature = URL_SAFE_NO_PAD.encode(key.sign(input.as_bytes()));
        key.check(&format!("{input}.{signature}"));
        let foreign = Key::generate();
        assert!(std::panic::catch_unwind(|| foreign.check(&format!("{input}.{signature}"))).is_err());
    }
}
