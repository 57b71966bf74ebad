//! What unit tests of several rooms share: the vectors, a transport that follows a script, and a look into proofs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::pending;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::Value;
use tokio::sync::oneshot;

#[cfg(feature = "mtls")]
use crate::jose::Thumbprint;
use crate::jose::base64url;
use crate::target::Target;
use crate::transport::{Body, Outgoing, Route, Stage, Transport, TransportError, TransportErrorKind};

/// The vectors of a group, which must be `count`, each with an id of its own.
pub(crate) fn group(name: &str, count: usize) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/vectors.json");
    let vectors: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let all = vectors[name].as_array().unwrap().clone();
    let ids: BTreeSet<_> = all.iter().map(id).collect();
    assert_eq!((all.len(), ids.len()), (count, count), "{name}");
    assert_eq!(vectors["counts"][name], count, "{name}");
    all
}

pub(crate) fn id(vector: &Value) -> &str {
    vector["id"].as_str().unwrap()
}

/// A text, or one that is made by repetition.
pub(crate) fn text(value: &Value) -> String {
    if let Some(text) = value.as_str() {
        return text.to_owned();
    }
    let part = |name: &str| value[name].as_str().unwrap_or_default();
    let count = usize::try_from(value["count"].as_u64().unwrap()).unwrap();
    format!("{}{}{}", part("prefix"), part("repeat").repeat(count), part("suffix"))
}

/// The headers of a vector; `None` where the `http` crate has already refused one of them.
pub(crate) fn headers(pairs: &Value) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for pair in pairs.as_array().map_or(&[] as &[Value], Vec::as_slice) {
        let name: HeaderName = pair[0].as_str().unwrap().parse().unwrap();
        headers.append(name, HeaderValue::from_bytes(text(&pair[1]).as_bytes()).ok()?);
    }
    Some(headers)
}

/// What one attempt meets.
#[derive(Debug)]
pub(crate) enum Step {
    Answer(StatusCode, HeaderMap, Bytes),
    /// The step, when something is sent.
    After(oneshot::Receiver<()>, Box<Step>),
    /// The connection is lost when the request may have arrived.
    Lost,
    /// There is no connection, and nothing is sent.
    Unreachable,
    /// No answer ever comes.
    Silence,
}

impl Step {
    pub(crate) fn json(status: u16, body: &str) -> Self {
        Self::with(status, &[("content-type", "application/json")], body)
    }

    pub(crate) fn with(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let body = Bytes::from(body.to_owned());
        Self::Answer(StatusCode::from_u16(status).unwrap(), map, body)
    }

    /// A token with this lifetime as its JSON text.
    pub(crate) fn token(token: &str, lifetime: &str) -> Self {
        let body = format!(r#"{{"access_token":"{token}","token_type":"DPoP","expires_in":{lifetime}}}"#);
        Self::json(200, &body)
    }
}

/// A request that was sent.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) target: Target,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Of the client certificate that its connection shows.
    #[cfg(feature = "mtls")]
    pub(crate) x5t: Option<Thumbprint>,
}

impl Seen {
    /// The parameters of a form, each of which must be there once.
    pub(crate) fn form(&self) -> BTreeMap<String, String> {
        let mut form = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(&self.body) {
            assert_eq!(
                form.insert(name.clone().into_owned(), value.into_owned()),
                None,
                "{name} twice"
            );
        }
        form
    }

    /// The client assertion of a form.
    pub(crate) fn assertion(&self) -> Proof {
        Proof::read(&self.form()["client_assertion"])
    }

    pub(crate) fn proof(&self) -> Option<Proof> {
        let mut proofs = self.headers.get_all("dpop").iter();
        let proof = proofs.next().map(|value| Proof::read(value.to_str().unwrap()));
        assert!(proofs.next().is_none(), "two proofs");
        proof
    }
}

/// A proof, taken apart.
#[derive(Debug)]
pub(crate) struct Proof {
    pub(crate) header: Value,
    pub(crate) claims: Value,
}

impl Proof {
    pub(crate) fn read(jws: &str) -> Self {
        let mut parts = jws.split('.').map(|part| base64url::decode(part).unwrap());
        let mut json = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
        Self {
            header: json(),
            claims: json(),
        }
    }

    pub(crate) fn nonce(&self) -> Option<&str> {
        self.claims.get("nonce").map(|nonce| nonce.as_str().unwrap())
    }
}

/// A transport that meets each attempt with the next step of its script, and falls silent at its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script(Arc<Mutex<(VecDeque<Step>, Vec<Seen>)>>);

impl Script {
    pub(crate) fn add(&self, steps: impl IntoIterator<Item = Step>) {
        self.0.lock().unwrap().0.extend(steps);
    }

    /// The requests since the last look.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.0.lock().unwrap().1)
    }
}

#[async_trait]
impl Transport for Script {
    async fn send(&self, request: Outgoing, route: &Route) -> Result<http::Response<Body>, TransportError> {
        #[cfg(not(feature = "mtls"))]
        let _ = route;
        let step = {
            let mut script = self.0.lock().unwrap();
            script.1.push(Seen {
                method: request.method,
                target: request.target,
                headers: request.headers,
                body: request.body,
                #[cfg(feature = "mtls")]
                x5t: route
                    .identity
                    .as_ref()
                    .map(crate::transport::identity::ClientIdentity::x5t),
            });
            script.0.pop_front().unwrap_or(Step::Silence)
        };
        let step = match step {
            Step::After(sent, step) => {
                sent.await.unwrap();
                *step
            }
            step => step,
        };
        match step {
            Step::Answer(status, headers, body) => {
                let mut answer = http::Response::new(Body::from(body));
                *answer.status_mut() = status;
                *answer.headers_mut() = headers;
                Ok(answer)
            }
            Step::Lost => Err(TransportError::new(
                TransportErrorKind::ConnectionLost,
                Stage::MaybeSent,
            )),
            Step::Unreachable => Err(TransportError::new(TransportErrorKind::Connect, Stage::NotSent)),
            Step::After(..) | Step::Silence => pending().await,
        }
    }

    fn shows_certificates(&self) -> bool {
        cfg!(feature = "mtls")
    }
}

/// A client certificate that is valid between these times. Certificates are made by rcgen.
#[cfg(feature = "sandbox")]
pub(crate) fn identity(
    from: crate::clock::Timestamp,
    until: crate::clock::Timestamp,
) -> crate::transport::identity::ClientIdentity {
    use crate::secret::KeyMaterial;
    use crate::transport::identity::ClientIdentity;

    let key = rcgen::KeyPair::generate().unwrap();
    let date = |at: crate::clock::Timestamp| time::OffsetDateTime::from_unix_timestamp(at.unix_seconds()).unwrap();
    let mut params = rcgen::CertificateParams::default();
    (params.not_before, params.not_after) = (date(from), date(until));
    let certificate = params.self_signed(&key).unwrap();
    ClientIdentity::from_der([certificate.der()], &KeyMaterial::new(key.serialize_der())).unwrap()
}
