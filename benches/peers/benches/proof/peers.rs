//! Other crates, each through its public API and as its documentation has it used: what a crate lets its caller prepare is prepared.

use std::error::Error;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use atrium_xrpc::HttpClient;
use http::{Method, Request, Response, Uri};
use huskarl_core::crypto::signer::AsymmetricJwsSignerSelector;
use huskarl_core::dpop::{ResourceDPoP, ResourceServerDPoP};
use huskarl_core::secrets::SecretString;
use serde::Serialize;
use serde_json::json;
use shipbound_benches_peers::harness::Case;
use shipbound_benches_peers::inputs::{Key, METHOD, URL, access_token, ath};
use shipbound_benches_peers::poll::ready;

/// The cases of all peers, each one's proof checked once.
pub(crate) fn all(key: &Key) -> Vec<Case<'_>> {
    vec![
        checked(key, "peer/josekit", josekit(key)),
        checked(key, "peer/jsonwebtoken", jsonwebtoken(key)),
        checked(key, "peer/huskarl-core", huskarl(key)),
        checked(key, "peer/atrium-oauth", atrium(key)),
    ]
}

fn checked<'a, T: AsRef<str>>(key: &Key, id: &str, mut prove: impl FnMut() -> T + 'a) -> Case<'a> {
    key.check(prove().as_ref());
    Case::new(id, prove)
}

/// A JOSE library over OpenSSL. It writes `iat` with a fraction, which RFC 7519 allows and some verifiers refuse.
fn josekit(key: &Key) -> impl FnMut() -> String {
    use josekit::{jwk::Jwk, jws, jwt};
    let signer = jws::ES256.signer_from_der(&key.pkcs8).unwrap();
    let mut header = jws::JwsHeader::new();
    header.set_token_type("dpop+jwt");
    header.set_jwk(Jwk::from_map(key.public_jwk.as_object().unwrap().clone()).unwrap());
    let ath = ath(&access_token());
    move || {
        let mut claims = jwt::JwtPayload::new();
        claims.set_jwt_id(uuid::Uuid::new_v4().to_string());
        claims.set_issued_at(&SystemTime::now());
        for (name, value) in [("htm", METHOD), ("htu", URL), ("ath", &ath)] {
            claims.set_claim(name, Some(json!(value))).unwrap();
        }
        jwt::encode_with_signer(&claims, &header, &signer).unwrap()
    }
}

/// A JWT library, here with its aws-lc-rs provider. It parses the private key for each token.
fn jsonwebtoken(key: &Key) -> impl FnMut() -> String {
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    #[derive(Serialize)]
    struct Claims<'a> {
        jti: String,
        htm: &'a str,
        htu: &'a str,
        iat: u64,
        ath: &'a str,
    }
    let signing_key = EncodingKey::from_ec_der(&key.pkcs8);
    let mut header = Header::new(Algorithm::ES256);
    header.typ = Some("dpop+jwt".into());
    header.jwk = Some(serde_json::from_value(key.public_jwk.clone()).unwrap());
    let ath = ath(&access_token());
    move || {
        let claims = Claims {
            jti: uuid::Uuid::new_v4().to_string(),
            htm: METHOD,
            htu: URL,
            iat: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs(),
            ath: &ath,
        };
        encode(&header, &claims, &signing_key).unwrap()
    }
}

/// An OAuth library with DPoP, here with its own pure-Rust keys. It hashes the token for each proof.
fn huskarl(key: &Key) -> impl FnMut() -> Exposed {
    use huskarl_crypto_native::asymmetric::signer::{AsymmetricAlgorithm, PrivateKey, pkcs8_der};
    let jwk = pkcs8_der(&key.pkcs8, AsymmetricAlgorithm::Es256, None).unwrap();
    let signer = PrivateKey::from_jwk(jwk).unwrap();
    let jkt = ready(signer.select_asymmetric_signer()).public_key_jwk().thumbprint();
    let dpop = ResourceDPoP::builder().signer(signer).build();
    let (method, url) = (Method::POST, URL.parse::<Uri>().unwrap());
    let access_token = SecretString::new(access_token());
    move || Exposed(ready(dpop.proof(&method, &url, &access_token, &jkt)).unwrap().unwrap())
}

struct Exposed(SecretString);

impl AsRef<str> for Exposed {
    fn as_ref(&self) -> &str {
        self.0.expose_secret()
    }
}

/// An AT Protocol client. Its proof function is private, so a clone of the request and a transport that answers at once are in the figure.
fn atrium(key: &Key) -> impl FnMut() -> String {
    let jwk: jose_jwk::Key = serde_json::from_value(key.private_jwk.clone()).unwrap();
    let client = atrium_oauth::DpopClient::new(jwk, Arc::new(Answering), false, &None).unwrap();
    let request = Request::post(URL).header("Authorization", format!("DPoP {}", access_token()));
    let request = request.body(Vec::new()).unwrap();
    move || String::from_utf8(ready(client.send_http(request.clone())).unwrap().into_body()).unwrap()
}

/// Answers with the proof that it was sent.
struct Answering;

impl HttpClient for Answering {
    async fn send_http(
        &self,
        request: Request<Vec<u8>>,
    ) -> Result<Response<Vec<u8>>, Box<dyn Error + Send + Sync + 'static>> {
        let proof = request.headers().get("DPoP").map(|proof| proof.as_bytes().to_vec());
        Ok(Response::new(proof.unwrap_or_default()))
    }
}
