//! A server, and one request to it at a time.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method};
use zeroize::Zeroizing;

use super::TransitError;
use super::failure::TransitFailure;
use crate::clock::{Clock, within};
use crate::json::Object;
use crate::secret::VaultToken;
use crate::target::Target;
use crate::transport::{Route, Transport, TransportErrorKind};
use crate::vault::{self, VaultFault};

/// How long one request may take if nothing else is said.
const LIMIT: Duration = Duration::from_secs(10);

/// An OpenBao or Vault server, the token that it knows this application by, and how it is reached. Cheap to clone; clones share
/// the token.
#[derive(Clone)]
pub struct VaultServer(Arc<Inner>);

struct Inner {
    address: Target,
    namespace: Option<HeaderValue>,
    token: RwLock<VaultToken>,
    limit: Duration,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    failure: Mutex<Option<TransitFailure>>,
}

/// What is sent in a request, wiped after it.
pub(super) struct Payload(Zeroizing<String>);

impl Payload {
    /// No body.
    pub(super) fn none() -> Self {
        Self(Zeroizing::default())
    }

    /// This text of JSON.
    #[cfg(feature = "sealed")]
    pub(super) fn secret(json: Zeroizing<String>) -> Self {
        Self(json)
    }

    fn bytes(&self) -> Bytes {
        Bytes::from_owner(Zeroizing::new(self.0.as_bytes().to_vec()))
    }
}

impl From<serde_json::Value> for Payload {
    fn from(json: serde_json::Value) -> Self {
        Self(Zeroizing::new(json.to_string()))
    }
}

/// Whether a request may be sent a second time when its connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// A second time changes nothing.
    Safe,
    Never,
}

impl VaultServer {
    /// The server at `address` (`https://vault.example:8200`), that knows the application by this token.
    pub fn builder(address: Target, token: impl Into<VaultToken>) -> VaultServerBuilder {
        VaultServerBuilder {
            address,
            token: token.into(),
            namespace: None,
            limit: LIMIT,
        }
    }

    /// Uses this token from the next request on. Tokens end: renewing them, or logging in again, is the application's to do.
    pub fn set_token(&self, token: impl Into<VaultToken>) {
        *self.0.token.write().unwrap_or_else(PoisonError::into_inner) = token.into();
    }

    /// Why the newest request failed; `None` when it did not.
    pub fn failure(&self) -> Option<TransitFailure> {
        *self.0.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn at(&self, path: &str) -> Result<Target, TransitError> {
        self.0.address.join_path(path).map_err(TransitError::Address)
    }

    /// Asks; where it may and the connection is lost, once more on another one. The limit is for both.
    pub(super) async fn ask(
        &self,
        method: Method,
        target: &Target,
        payload: &Payload,
        repeat: Repeat,
    ) -> Result<Object, TransitFailure> {
        let inner = &*self.0;
        let deadline = inner.clock.monotonic() + inner.limit;
        let answer = within(&*inner.clock, deadline, async {
            let first = inner.send(&method, target, payload, &Route::new()).await;
            match first {
                Err(VaultFault::Transport(error))
                    if repeat == Repeat::Safe
                        && matches!(
                            error.kind(),
                            TransportErrorKind::Connect
                                | TransportErrorKind::ConnectionLost
                                | TransportErrorKind::Protocol
                        ) =>
                {
                    inner.send(&method, target, payload, &Route::new().fresh()).await
                }
                answer => answer,
            }
        });
        let outcome = match answer.await {
            Some(Ok(body)) => read(body),
            Some(Err(fault)) => Err(fault.into()),
            None => Err(TransitFailure::Late),
        };
        // That there is no such key is an answer to whoever looks for one.
        let looks = method == Method::GET;
        let failure = outcome.as_ref().err().copied();
        *inner.failure.lock().unwrap_or_else(PoisonError::into_inner) =
            failure.filter(|failure| !(looks && *failure == TransitFailure::NotFound));
        outcome
    }
}

impl Inner {
    async fn send(
        &self,
        method: &Method,
        target: &Target,
        payload: &Payload,
        route: &Route,
    ) -> Result<Option<Bytes>, VaultFault> {
        let token = self.token.read().unwrap_or_else(PoisonError::into_inner).clone();
        let request = (method.clone(), target.clone());
        let namespace = self.namespace.as_ref();
        vault::ask(&*self.transport, request, namespace, &token, payload.bytes(), route).await
    }
}

/// The member `data` of an answer, empty where the answer is.
fn read(body: Option<Bytes>) -> Result<Object, TransitFailure> {
    let Some(body) = body else { return Ok(Object::default()) };
    let answer = Object::parse(&body).map_err(|_category| TransitFailure::Answer);
    vault::wipe(body);
    match answer?.get("data") {
        None => Ok(Object::default()),
        Some(data) if data.is_null() => Ok(Object::default()),
        Some(data) => data.as_object().cloned().ok_or(TransitFailure::Answer),
    }
}

impl fmt::Debug for VaultServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VaultServer({})", self.0.address.origin())
    }
}

/// Makes a [`VaultServer`].
#[must_use]
pub struct VaultServerBuilder {
    address: Target,
    token: VaultToken,
    namespace: Option<String>,
    limit: Duration,
}

impl VaultServerBuilder {
    /// The namespace that the engines are in (`X-Vault-Namespace`). Default: the root.
    pub fn namespace(mut self, path: impl Into<String>) -> Self {
        self.namespace = Some(path.into());
        self
    }

    /// How long one request may take, its repeat on another connection included. Default: 10 s.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The server. Requests go out by `transport`, which must trust the server's certificate and may reach its address (the
    /// default transport refuses private addresses that it was not told of). Nothing is asked yet.
    ///
    /// # Errors
    /// [`TransitError::Namespace`].
    pub fn build(self, transport: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Result<VaultServer, TransitError> {
        let namespace = self.namespace.map(HeaderValue::try_from).transpose();
        Ok(VaultServer(Arc::new(Inner {
            address: self.address,
            namespace: namespace.map_err(|_| TransitError::Namespace)?,
            token: RwLock::new(self.token),
            limit: self.limit,
            transport,
            clock,
            failure: Mutex::default(),
        })))
    }
}

impl fmt::Debug for VaultServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultServerBuilder")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
