//! Signs assertions, right and wrong ones.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{self, EcdsaKeyPair, KeyPair, RsaEncoding};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use shipbound::clock::{Clock, SystemClock};
use shipbound::jose::PublicJwk;
use shipbound::sandbox::{ClientCertificate, Sandbox};

enum Key {
    Es256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// A key for assertions, and what its assertions say unless a test changes it.
pub(crate) struct Signer {
    key: Key,
    public: PublicJwk,
    pub(crate) header: Value,
    pub(crate) claims: Value,
}

impl Signer {
    fn new(sandbox: &Sandbox, client: &str, alg: &str, key: Key, public: PublicJwk) -> Self {
        Self {
            key,
            public,
            header: json!({"typ": "client-authentication+jwt", "alg": alg, "kid": "k1"}),
            claims: json!({"iss": client, "sub": client, "aud": sandbox.issuer()}),
        }
    }

    /// With the key of a client certificate.
    pub(crate) fn es256(sandbox: &Sandbox, client: &str, certificate: &ClientCertificate) -> Self {
        let der = PrivateKeyDer::from_pem_slice(certificate.key_pem().as_bytes()).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_der()).unwrap();
        let point = key.public_key().as_ref();
        let public = PublicJwk::p256(point[1..33].try_into().unwrap(), point[33..65].try_into().unwrap()).unwrap();
        Self::new(sandbox, client, "ES256", Key::Es256(key), public)
    }

    /// With an RSA key of its own: PS256, or RS256.
    pub(crate) fn rsa(sandbox: &Sandbox, client: &str, alg: &str) -> Self {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        // RSAPublicKey (RFC 8017 A.1.1) of 2048 bits and the exponent 65537 has everything in fixed places.
        let der = key.public_key().as_ref();
        let public = PublicJwk::rsa(&der[9..265], &der[267..270]);
        Self::new(sandbox, client, alg, Key::Rsa(key), public.unwrap())
    }

    pub(crate) fn keys(&self) -> [(&'static str, PublicJwk); 1] {
        [("k1", self.public.clone())]
    }

    /// Carries this certificate, and no `kid`.
    pub(crate) fn certified(mut self, certificate: &ClientCertificate) -> Self {
        self.header = json!({"alg": self.header["alg"], "x5c": [STANDARD.encode(certificate.der())]});
        self
    }

    pub(crate) fn sign(&self) -> String {
        self.sign_with(&json!({}), &json!({}))
    }

    /// Signs what is usual, with these members of header and claims in the place of the usual ones (`null`: without).
    pub(crate) fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let now = SystemClock::new().now().unix_seconds();
        let (mut all_header, mut all_claims) = (self.header.clone(), self.claims.clone());
        all_claims["jti"] = json!(uuid::Uuid::new_v4().to_string());
        all_claims["iat"] = json!(now);
        all_claims["exp"] = json!(now + 60);
        for (all, own) in [(&mut all_header, header), (&mut all_claims, claims)] {
            let all = all.as_object_mut().unwrap();
            for (name, value) in own.as_object().unwrap() {
                match value {
                    Value::Null => all.remove(name),
                    value => all.insert(name.clone(), value.clone()),
                };
            }
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&all_header), part(&all_claims));
        let random = SystemRandom::new();
        let signature = match &self.key {
            Key::Es256(key) => key.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
            Key::Rsa(key) => {
                let padding: &dyn RsaEncoding = match all_header["alg"].as_str() {
                    Some("RS256") => &signature::RSA_PKCS1_SHA256,
                    _ => &signature::RSA_PSS_SHA256,
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(padding, &random, signed.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A token request that is authenticated by this assertion.
pub(crate) fn asserted(jwt: &str, rest: &str) -> String {
    let kind = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
    format!("{rest}&client_assertion_type={kind}&client_assertion={jwt}")
}
