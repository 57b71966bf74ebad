//! Where the tokens of one client come from: key, credential, metadata and the token request, in this order.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, Shared, ready};
use futures_util::{FutureExt, TryFutureExt};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::binding::bearer::Bearer;
use crate::binding::{BindContext, BindingStrategy, Confirmation, Role, TokenBinding};
use crate::clock::{Clock, Monotonic};
use crate::credentials::{Credential, CredentialStore};
use crate::error::{Awaited, Error, ErrorKind};
use crate::exchange::answer::{Report, Response};
use crate::exchange::budget::Limits;
use crate::exchange::connection::Connection;
use crate::exchange::quirks::TokenAnswerShape;
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

/// How long metadata goes on when it cannot be read again.
const METADATA_GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the issuer is not asked again after its metadata could not be read: for those who waited meanwhile.
const METADATA_PAUSE: Duration = Duration::from_secs(1);

/// How long a call with a good token waits to hear whether its credential is still the same.
const REVIEW: Duration = Duration::from_secs(1);

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
    pub(crate) metadata: Mutex<Known>,
}

/// What is known of the issuer's metadata.
#[derive(Default)]
pub(crate) struct Known {
    read: Option<(Monotonic, Arc<Metadata>)>,
    /// The last failure, and until when the issuer is not asked again.
    failed: Option<(Monotonic, Error)>,
    /// One reading for all who wait, and from when on another is begun. Whoever waits drives it: one that was given up by its
    /// first caller holds nobody up.
    reading: Option<(Monotonic, Reading)>,
}

type Reading = Shared<BoxFuture<'static, Result<Arc<Metadata>, Error>>>;

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known")
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}

impl TokenSource {
    /// Makes and promotes the key of a connection, so that its first call need not.
    pub(crate) async fn prepare(self: &Arc<Self>, connection: &Arc<Connection>) -> Result<(), Error> {
        let deadline = self.clock.monotonic() + self.limits.token_exchange;
        let prepared = async {
            let (_endpoint, algorithms) = self.endpoint(connection, deadline).await?;
            self.bind(connection, algorithms.as_deref(), deadline).await.map(drop)
        };
        self.in_time(deadline, Awaited::Token, prepared).await
    }

    async fn bind(
        &self,
        connection: &Connection,
        listed: Option<&[String]>,
        deadline: Monotonic,
    ) -> Result<Arc<dyn TokenBinding>, Error> {
        let context = BindContext {
            connection: &connection.id,
            keys: &*self.keys,
            clock: &*self.clock,
            algorithms: listed,
        };
        let bound = self
            .strategy
            .bind(&context)
            .map_err(|error| Error::before(error.into()).of(Role::AuthorizationServer));
        self.in_time(deadline, Awaited::Key, bound).await
    }

    async fn in_time<T>(
        &self,
        deadline: Monotonic,
        awaited: Awaited,
        future: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let late = || Err(Error::before(ErrorKind::Deadline(awaited)).of(Role::AuthorizationServer));
        within(&*self.clock, deadline, future).await.unwrap_or_else(late)
    }

    /// The token endpoint, and the proof algorithms that the issuer lists.
    async fn endpoint(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
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

    /// The issuer's metadata, read again when it is an hour old. While the issuer cannot be read, what it last said goes on
    /// for a day; a document with a fault ends that.
    async fn metadata(
        self: &Arc<Self>,
        issuer: &Issuer,
        connection: &Arc<Connection>,
        deadline: Monotonic,
    ) -> Result<Arc<Metadata>, Error> {
        let now = self.clock.monotonic();
        let (reading, last) = {
            let mut known = self.known();
            let last = known.read.clone();
            if let Some((read, metadata)) = &last
                && now.saturating_since(*read) < METADATA_LIFE
            {
                return Ok(Arc::clone(metadata));
            }
            let failed = known.failed.clone().filter(|(until, _)| now < *until);
            let reading = match (failed, &known.reading) {
                (Some((_, error)), _) => ready(Err(error)).boxed().shared(),
                (None, Some((stale, reading))) if now < *stale => reading.clone(),
                (None, _) => {
                    let (source, issuer, connection) = (Arc::clone(self), issuer.clone(), Arc::clone(connection));
                    let reading = async move { source.read_metadata(&issuer, &connection, deadline).await };
                    let reading = reading.boxed().shared();
                    known.reading = Some((now + self.limits.token_exchange / 2, reading.clone()));
                    reading
                }
            };
            (reading, last)
        };
        let failure = match reading.await {
            Ok(metadata) => return Ok(metadata),
            Err(error) => error,
        };
        let unread = !matches!(
            failure.kind(),
            ErrorKind::Metadata(error) if !matches!(error, MetadataError::NotFound(_))
        );
        match last {
            Some((read, metadata)) if unread && now.saturating_since(read) < METADATA_GRACE => Ok(metadata),
            _ => Err(failure),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.metadata.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the metadata, and notes how that went.
    async fn read_metadata(
        &self,
        issuer: &Issuer,
        connection: &Connection,
        deadline: Monotonic,
    ) -> Result<Arc<Metadata>, Error> {
        let outcome = self.fetch_metadata(issuer, connection, deadline).await.map(Arc::new);
        let now = self.clock.monotonic();
        let mut known = self.known();
        known.reading = None;
        match &outcome {
            Ok(metadata) => {
                known.read = Some((now, Arc::clone(metadata)));
                known.failed = None;
            }
            Err(error) => known.failed = Some((now + METADATA_PAUSE, error.clone())),
        }
        outcome
    }

    async fn fetch_metadata(
        &self,
        issuer: &Issuer,
        connection: &Connection,
        deadline: Monotonic,
    ) -> Result<Metadata, Error> {
        let fault = |error| Error::before(ErrorKind::Metadata(error)).of(Role::AuthorizationServer);
        let mut status = StatusCode::NOT_FOUND;
        for place in issuer.well_known() {
            let mut errand = Discovery {
                target: place,
                binding: Arc::new(Bearer),
            };
            let response = self.drive(&mut errand, connection, deadline).await?;
            if response.status == StatusCode::OK {
                return Metadata::read(issuer, &response.headers, &response.body, &self.origins, &self.exempt)
                    .map_err(fault);
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

    async fn ask(self: &Arc<Self>, connection: &Arc<Connection>, deadline: Monotonic) -> Result<Landed, Error> {
        let (target, algorithms) = self.endpoint(connection, deadline).await?;
        // The key is durable in its store before a token is asked for it.
        let bound = self.bind(connection, algorithms.as_deref(), deadline).await?;
        let binding = connection.bind(bound);
        let generation = self.credentials.generation();
        let credential = self.credential(connection, deadline).await?;
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

    async fn credential(&self, connection: &Connection, deadline: Monotonic) -> Result<Credential, Error> {
        let credential = self
            .credentials
            .credential(&connection.id)
            .map_err(|error| Error::before(ErrorKind::Credential(error)).of(Role::AuthorizationServer));
        self.in_time(deadline, Awaited::Credential, credential).await
    }

    /// Whether `lease` may be used: its key signs, and its credential, looked up again after a change, is still the
    /// connection's. One that may not is evicted.
    pub(crate) async fn review(&self, slot: &Slot, lease: &Arc<Lease>) -> Result<bool, Error> {
        let generation = self.credentials.generation();
        if lease.is_good(generation) {
            return Ok(true);
        }
        if lease.binding.is_usable() {
            let deadline = self.clock.monotonic() + REVIEW;
            match self.credential(&slot.connection, deadline).await {
                Ok(credential) if credential.revision() == lease.revision => {
                    lease.generation.store(generation, Ordering::Relaxed);
                    return Ok(true);
                }
                Ok(_changed) => {}
                Err(error) if error.is_credential_missing() => {
                    slot.evict(lease);
                    return Err(error);
                }
                // A store that does not answer does not end a good token.
                Err(_unavailable) => return Ok(true),
            }
        }
        slot.evict(lease);
        Ok(false)
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
        self.journal.record(&connection.id, || EventKind::TokenIssued {
            binding: binding.kind(),
            jkt: Confirmation::jkt(binding.confirmations()),
            x5t: Confirmation::x5t(binding.confirmations()),
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
            // A panic of what was handed in would otherwise be everybody's who waits for this flight, again and again.
            let outcome = AssertUnwindSafe(source.in_time(deadline, Awaited::Token, asked))
                .catch_unwind()
                .await;
            outcome.unwrap_or_else(|_panic| Err(Error::before(ErrorKind::Panicked)))
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

    fn draft(&mut self) -> Result<Draft, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
        Ok(Draft {
            headers,
            body: Bytes::new(),
        })
    }
}
