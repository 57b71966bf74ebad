//! A client without any machinery: it signs what it is told and sends what it is told.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, Method};
use serde_json::{Value, json};
use shipbound::clock::{Clock, SystemClock, Timestamp};
use shipbound::credentials::Credential;
use shipbound::jose::{Algorithm, ath};
use shipbound::keys::{KeyHandle, KeySpec, KeyStore, MemoryKeyStore, Purpose};
use shipbound::owner::{DeploymentId, Owner, TenantId};
use shipbound::sandbox::Sandbox;
use shipbound::target::Target;
use shipbound::target::danger::Loopback;
use shipbound::transport::reqwest::ReqwestTransport;
use shipbound::transport::{Outgoing, Route, Transport, TransportError};

pub(crate) fn tenant(id: &str) -> TenantId {
    TenantId::new(id).unwrap()
}

pub(crate) async fn new_key() -> KeyHandle {
    let owner = Owner::Deployment(DeploymentId::default_deployment());
    let store = MemoryKeyStore::new();
    let spec = KeySpec {
        purpose: Purpose::Proof,
        algorithm: Algorithm::Es256,
    };
    let key = store.create(&owner, spec).await.unwrap();
    assert!(
        store
            .promote(&owner, &key.id(), None, Timestamp::UNIX_EPOCH)
            .await
            .unwrap()
    );
    key
}

/// What one proof says; tests change what they want wrong.
#[derive(Clone)]
pub(crate) struct Claims(pub(crate) Value);

impl Claims {
    pub(crate) fn new(method: &str, htu: &str) -> Self {
        let now = SystemClock::new().now().unix_seconds();
        let mut jti = [0; 16];
        for (place, byte) in jti.iter_mut().zip(uuid::Uuid::new_v4().as_bytes()) {
            *place = *byte;
        }
        Self(json!({"jti": URL_SAFE_NO_PAD.encode(jti), "htm": method, "htu": htu, "iat": now}))
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0[name] = value.into();
        self
    }

    pub(crate) fn for_token(self, token: &str) -> Self {
        self.with("ath", ath(token))
    }

    pub(crate) async fn sign(&self, key: &KeyHandle) -> String {
        let jwk: Value = serde_json::from_str(&key.public().to_json()).unwrap();
        let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&self.0));
        let signature = key.sign(signed.as_bytes()).wait().await.unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_bytes()))
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) version: http::Version,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

pub(crate) struct Caller {
    pub(crate) transport: ReqwestTransport,
    pub(crate) key: KeyHandle,
    pub(crate) client: Credential,
    loopbacks: Vec<Loopback>,
    issuer: String,
    api: String,
}

impl Caller {
    pub(crate) async fn new(sandbox: &Sandbox, name: &str) -> Self {
        Self {
            transport: sandbox.transport().unwrap(),
            key: new_key().await,
            client: sandbox.credential(&tenant(name)),
            loopbacks: sandbox.loopbacks(),
            issuer: sandbox.issuer().to_owned(),
            api: sandbox.api().to_owned(),
        }
    }

    pub(crate) fn token_url(&self) -> String {
        format!("{}/token", self.issuer)
    }

    pub(crate) fn api_url(&self, path: &str) -> String {
        format!("{}{path}", self.api)
    }

    pub(crate) fn basic(&self) -> String {
        let pair = format!(
            "{}:{}",
            self.client.client_id(),
            self.client.client_secret().unwrap().expose()
        );
        format!("Basic {}", STANDARD.encode(pair))
    }

    pub(crate) async fn try_send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Got, TransportError> {
        self.try_send_on(method, url, headers, body, &Route::new()).await
    }

    pub(crate) async fn try_send_on(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
        route: &Route,
    ) -> Result<Got, TransportError> {
        let mut fields = HeaderMap::new();
        for (name, value) in headers {
            fields.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let request = Outgoing {
            method,
            target: Target::parse_allowing(url, &self.loopbacks).unwrap(),
            headers: fields,
            body: body.into(),
        };
        let answer = self.transport.send(request, route).await?;
        let (head, body) = answer.into_parts();
        let body = body.read_to_limit(1 << 20).await.map_err(|error| match error {
            shipbound::transport::ReadError::Transport(error) => error,
            other => panic!("{other:?}"),
        })?;
        Ok(Got {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            version: head.version,
        })
    }

    pub(crate) async fn send(&self, method: Method, url: &str, headers: &[(&str, &str)], body: &'static str) -> Got {
        self.try_send(method, url, headers, body).await.unwrap()
    }

    /// A token request with Basic and these further header fields.
    pub(crate) async fn ask(&self, url: &str, headers: &[(&str, &str)], body: &str) -> Got {
        let basic = self.basic();
        let mut all = vec![
            (AUTHORIZATION.as_str(), basic.as_str()),
            (CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded"),
        ];
        all.extend_from_slice(headers);
        self.try_send(Method::POST, url, &all, body.to_owned()).await.unwrap()
    }

    /// A token bound to the caller's key.
    pub(crate) async fn bound_token(&self) -> String {
        let url = self.token_url();
        let proof = Claims::new("POST", &url).sign(&self.key).await;
        let got = self
            .ask(&url, &[("dpop", &proof)], "grant_type=client_credentials")
            .await;
        assert_eq!(got.status, 200, "{got:?}");
        assert_eq!(got.json()["token_type"], "DPoP");
        got.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// A token bound to nothing.
    pub(crate) async fn bearer_token(&self) -> String {
        let got = self.ask(&self.token_url(), &[], "grant_type=client_credentials").await;
        assert_eq!(got.json()["token_type"], "Bearer");
        got.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// A call with this scheme, token and proof.
    pub(crate) async fn call(&self, url: &str, scheme: &str, token: &str, proof: Option<&str>) -> Got {
        let authorization = format!("{scheme} {token}");
        let mut headers = vec![("authorization", authorization.as_str())];
        headers.extend(proof.map(|proof| ("dpop", proof)));
        self.send(Method::GET, url, &headers, "").await
    }

    /// A call as it should be.
    pub(crate) async fn good_call(&self, url: &str, token: &str) -> Got {
        let proof = Claims::new("GET", url).for_token(token).sign(&self.key).await;
        self.call(url, "DPoP", token, Some(&proof)).await
    }
}
