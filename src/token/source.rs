//! Where the tokens of one client come from: key, credential, metadata and the token request, in this order.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::binding::bearer::Bearer;
use crate::binding::{BindContext, BindingStrategy, Confirmation, Role, TokenBinding};
use crate::clock::{Clock, Monotonic};
use crate::credentials::{Credential, CredentialStore};
use crate::error::{Awaited, Error, ErrorKind};
use crate::exchange::answer::{Report, Response};
use crate::exchange::budget::Limits;
use crate::exchange::connection::Connection;
use crate::exchange::quirks::{BodyCode, TokenAnswerShape};
use crate::exchange::{Draft, Env, Errand, drive, within};
use crate::journal::{EventKind, Journal};
use crate::keys::KeyStore;
use crate::target::danger::Loopback;
use crate::target::{Origin, Target};
use crate::transport::Transport;

use super::TokenRequest;
use super::answer::{self, Granted, TokenAnswerError};
use super::client_auth::ClientAuth;
use super::lease::Lease;
use super::metadata::{Issuer, Metadata, MetadataError};
use super::slot::{Fetch, Landed, Slot};

/// How long metadata is used before it is read again.
const METADATA_LIFE: Duration = Duration::from_secs(60 * 60);

/// A new token is asked for at this share of the lifetime, in percent, give or take [`RENEW_JITTER`].
const RENEW_AT: f64 = 80.0;
const RENEW_JITTER: f64 = 5.0;

/// No early renewal sooner than this after a token was issued: an issuer that hands out the same ageing token again would
/// otherwise be asked ever more often.
const RENEW_INTERVAL: Duration = Duration::from_secs(30);

/// A token is not used in the last moments of its life, since the request takes time to arrive: this long, or a tenth of a
/// short life.
const LAST_MOMENTS: Duration = Duration::from_secs(5);

/// Where to ask, parsed.
#[derive(Debug)]
pub(crate) enum Place {
    Endpoint(Target),
    Issuer(Issuer),
}

/// Everything that a token request needs; shared by all connections of a client.
#[derive(Debug)]
pub(crate) struct TokenSource {
    pub(crate) at: Place,
    pub(crate) auth: ClientAuth,
    pub(crate) request: TokenRequest,
    pub(crate) shape: TokenAnswerShape,
    /// Origins besides the issuer's own that its metadata may name.
    pub(crate) origins: Vec<Origin>,
    pub(crate) exempt: Vec<Loopback>,
    pub(crate) limits: Limits,
    pub(crate) strategy: Arc<dyn BindingStrategy>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) keys: Arc<dyn KeyStore>,
    pub(crate) credentials: Arc<dyn CredentialStore>,
    pub(crate) journal: Journal,
    pub(crate) metadata: Mutex<Option<(Monotonic, Arc<Metadata>)>>,
}

impl TokenSource {
    /// Makes and promotes the key of a connection, so that its first call need not.
    pub(crate) async fn prepare(&self, connection: &Connection) -> Result<(), Error> {
        let deadline = self.clock.monotonic() + self.limits.token_exchange;
        let (_endpoint, algorithms) = self.endpoint(connection, deadline).await?;
        self.bind(connection, algorithms.as_deref()).await.map(drop)
    }

    async fn bind(&self, connection: &Connection, listed: Option<&[String]>) -> Result<Arc<dyn TokenBinding>, Error> {
        let context = BindContext {
            connection: &connection.id,
            keys: &*self.keys,
            clock: &*self.clock,
            algorithms: listed,
        };
        self.strategy
            .bind(&context)
            .await
            .map_err(|error| Error::before(error.into()).of(Role::AuthorizationServer))
    }

    /// The token endpoint, and the proof algorithms that the issuer lists.
    async fn endpoint(
        &self,
        connection: &Connection,
        deadline: Monotonic,
    ) -> Result<(Target, Option<Vec<String>>), Error> {
        match &self.at {
            Place::Endpoint(target) => Ok((target.clone(), None)),
            Place::Issuer(issuer) => {
                let metadata = self.metadata(issuer, connection, deadline).await?;
                Ok((metadata.token_endpoint.clone(), metadata.algorithms.clone()))
            }
        }
    }

    /// The issuer's metadata, read again when it is an hour old. When that fails nothing wider is used than before: the
    /// request fails.
    async fn metadata(
        &self,
        issuer: &Issuer,
        connection: &Connection,
        deadline: Monotonic,
    ) -> Result<Arc<Metadata>, Error> {
        let now = self.clock.monotonic();
        let known = self.metadata.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((read, metadata)) = known
            && now.saturating_since(read) < METADATA_LIFE
        {
            return Ok(metadata);
        }
        let fault = |error| Error::before(ErrorKind::Metadata(error)).of(Role::AuthorizationServer);
        let mut status = StatusCode::NOT_FOUND;
        for place in issuer.well_known() {
            let mut errand = Discovery {
                target: place,
                binding: Arc::new(Bearer),
            };
            let response = self.drive(&mut errand, connection, deadline).await?;
            if response.status == StatusCode::OK {
                let metadata = Metadata::read(issuer, &response.headers, &response.body, &self.origins, &self.exempt)
                    .map(Arc::new)
                    .map_err(fault)?;
                let mut known = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
                *known = Some((now, Arc::clone(&metadata)));
                return Ok(metadata);
            }
            status = response.status;
        }
        Err(fault(MetadataError::NotFound(status)))
    }

    async fn drive<E: Errand>(
        &self,
        errand: &mut E,
        connection: &Connection,
        deadline: Monotonic,
    ) -> Result<Response, Error> {
        let env = Env {
            clock: &*self.clock,
            transport: &*self.transport,
            journal: &self.journal,
            connection,
            deadline,
            awaited: Awaited::Token,
            attempt_limit: self.limits.attempt,
            answer_limit: self.limits.token_answer,
        };
        // The call itself has not been sent, whatever became of the request for its token.
        drive(&env, errand, &mut Report::default())
            .await
            .map_err(Error::not_sent)
    }

    async fn ask(&self, connection: &Arc<Connection>, deadline: Monotonic) -> Result<Landed, Error> {
        let (target, algorithms) = self.endpoint(connection, deadline).await?;
        // The key is durable in its store before a token is asked for it.
        let bound = self.bind(connection, algorithms.as_deref()).await?;
        let binding = connection.bind(bound);
        let generation = self.credentials.generation();
        let credential = self.credential(connection).await?;
        let seen = (credential.revision(), generation);
        let asked = self.clock.monotonic();
        let mut errand = TokenErrand {
            source: self,
            target,
            binding: Arc::clone(&binding),
            credential,
            method: Method::POST,
        };
        let response = self.drive(&mut errand, connection, deadline).await?;
        let granted = answer::read(
            response.status,
            &response.headers,
            &response.body,
            binding.kind(),
            &self.shape,
            self.clock.now(),
        )
        .and_then(|granted| self.request.check_granted(granted.scope.as_deref()).map(|()| granted))
        .map_err(|error| self.refusal(error, connection))?;
        self.landed(granted, binding, connection, asked, seen)
    }

    async fn credential(&self, connection: &Connection) -> Result<Credential, Error> {
        let credential = self.credentials.credential(&connection.id).await;
        credential.map_err(|error| Error::before(ErrorKind::Credential(error)).of(Role::AuthorizationServer))
    }

    /// Drops the slot's lease unless its key signs and its credential, looked up again after a change, is still the same.
    pub(crate) async fn review(&self, slot: &Slot) -> Result<(), Error> {
        let Some(lease) = slot.held() else { return Ok(()) };
        let generation = self.credentials.generation();
        if !lease.binding.is_usable() {
            slot.evict(&lease);
        } else if !lease.is_current(generation) {
            match self.credential(&slot.connection).await {
                Ok(credential) if credential.revision() == lease.revision => {
                    lease.generation.store(generation, Ordering::Relaxed);
                }
                Ok(_changed) => slot.evict(&lease),
                Err(error) => {
                    // A store that does not answer does not end a good token; one that has no credential any more does.
                    if matches!(error.kind(), ErrorKind::Credential(cause) if cause.is_missing()) {
                        slot.evict(&lease);
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    fn refusal(&self, error: TokenAnswerError, connection: &Connection) -> Error {
        let kind = match error {
            TokenAnswerError::Unbound => {
                self.journal.record(&connection.id, || EventKind::UnboundTokenRefused);
                ErrorKind::UnboundToken
            }
            TokenAnswerError::OAuth(code) => ErrorKind::TokenRefused(code),
            other => ErrorKind::TokenAnswer(other),
        };
        Error::before(kind).of(Role::AuthorizationServer)
    }

    /// A lifetime counts from when the token was asked for.
    fn landed(
        &self,
        granted: Granted,
        binding: Arc<dyn TokenBinding>,
        connection: &Arc<Connection>,
        asked: Monotonic,
        seen: (u64, u64),
    ) -> Result<Landed, Error> {
        let lifetime = granted
            .lifetime
            .unwrap_or(self.limits.unknown_lifetime)
            .min(self.limits.longest_lifetime);
        let jkt = binding.confirmations().iter().map(|Confirmation::Jkt(jkt)| *jkt).next();
        self.journal.record(&connection.id, || EventKind::TokenIssued {
            binding: binding.kind(),
            jkt,
            lifetime,
        });
        let usable_until = asked + (lifetime - LAST_MOMENTS.min(lifetime / 10));
        let share = (RENEW_AT + RENEW_JITTER * draw()) / 100.0;
        let renew_from = asked + lifetime.mul_f64(share).max(RENEW_INTERVAL);
        let lease = Lease::new(
            &granted.token,
            binding,
            Arc::clone(connection),
            renew_from.min(usable_until),
            usable_until,
            seen,
        )
        .ok_or_else(|| {
            Error::before(ErrorKind::TokenAnswer(TokenAnswerError::TokenSyntax)).of(Role::AuthorizationServer)
        })?;
        Ok(Landed {
            lease: Arc::new(lease),
            keep: !lifetime.is_zero(),
        })
    }
}

/// A number from -1 to 1, drawn so that a fleet does not renew in one moment. Not for secrets.
fn draw() -> f64 {
    use std::hash::{BuildHasher, Hasher};
    let bits = std::hash::RandomState::new().build_hasher().finish();
    // 53 bits are what a float holds exactly.
    #[expect(clippy::cast_precision_loss, reason = "meant")]
    let unit = (bits >> 11) as f64 / (1_u64 << 53) as f64;
    unit.mul_add(2.0, -1.0)
}

/// [`TokenSource`] as slots use it: flights outlive the callers that began them, so they hold the source.
impl Fetch for Arc<TokenSource> {
    fn fetch(&self, connection: &Arc<Connection>) -> BoxFuture<'static, Result<Landed, Error>> {
        let source = Self::clone(self);
        let connection = Arc::clone(connection);
        async move {
            let deadline = source.clock.monotonic() + source.limits.token_exchange;
            let asked = source.ask(&connection, deadline);
            match within(&*source.clock, deadline, asked).await {
                Some(landed) => landed,
                None => Err(Error::before(ErrorKind::Deadline(Awaited::Token)).of(Role::AuthorizationServer)),
            }
        }
        .boxed()
    }

    fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    fn limit(&self) -> Duration {
        self.limits.token_exchange
    }

    fn failed(&self, connection: &Connection, error: &Error, pause: Duration) {
        self.journal.record(&connection.id, || EventKind::TokenFailed {
            code: error.code(),
            pause,
        });
    }
}

/// A token request (RFC 6749 4.4): its body and its proof are made new for every attempt.
struct TokenErrand<'a> {
    source: &'a TokenSource,
    target: Target,
    binding: Arc<dyn TokenBinding>,
    credential: Credential,
    method: Method,
}

impl Errand for TokenErrand<'_> {
    fn role(&self) -> Role {
        Role::AuthorizationServer
    }

    fn method(&self) -> &Method {
        &self.method
    }

    fn target(&self) -> &Target {
        &self.target
    }

    fn binding(&self) -> &Arc<dyn TokenBinding> {
        &self.binding
    }

    fn ath(&self) -> Option<&str> {
        None
    }

    fn not_processed(&self) -> &[BodyCode] {
        &[]
    }

    fn draft(&mut self) -> Result<Draft, Error> {
        let form = self.source.request.form();
        let (mut headers, body) = self
            .source
            .auth
            .request(&form, &self.credential)
            .ok_or_else(|| Error::before(ErrorKind::Build("the client id or secret cannot stand in a header")))?;
        headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
        Ok(Draft { headers, body })
    }

    async fn renew(&mut self) -> Result<bool, Error> {
        Ok(false)
    }
}

/// A metadata request: no credential, no proof.
struct Discovery<'a> {
    target: &'a Target,
    binding: Arc<dyn TokenBinding>,
}

impl Errand for Discovery<'_> {
    fn role(&self) -> Role {
        Role::AuthorizationServer
    }

    fn method(&self) -> &Method {
        &Method::GET
    }

    fn target(&self) -> &Target {
        self.target
    }

    fn binding(&self) -> &Arc<dyn TokenBinding> {
        &self.binding
    }

    fn ath(&self) -> Option<&str> {
        None
    }

    fn not_processed(&self) -> &[BodyCode] {
        &[]
    }

    fn draft(&mut self) -> Result<Draft, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
        Ok(Draft {
            headers,
            body: Bytes::new(),
        })
    }

    async fn renew(&mut self) -> Result<bool, Error> {
        Ok(false)
    }
}
