//! Where the tokens of one client come from: key or certificate, credential, metadata and the token request, in this order.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};
use http::{HeaderName, HeaderValue};

use crate::binding::{BindContext, BindingStrategy, Confirmation, Role, TokenBinding};
use crate::clock::{Clock, Monotonic};
use crate::credentials::{CredentialAt, CredentialPart, CredentialStore, KeyForm};
use crate::directory::Directory;
use crate::error::{Awaited, Error, ErrorKind};
use crate::exchange::answer::{Report, Response};
use crate::exchange::budget::Limits;
use crate::exchange::connection::Connection;
use crate::exchange::fault::FaultShape;
use crate::exchange::quirks::Quirks;
use crate::exchange::{Env, Errand, Manner, drive, within};
use crate::grants::GrantStore;
use crate::jose::Thumbprint;
use crate::journal::{EventKind, Journal};
use crate::keys::{self, KeyStore};
use crate::owner::Environment;
use crate::pause::spread;
use crate::target::danger::Loopback;
use crate::target::{Origin, Target};
use crate::throttle::{Budget, Throttling};
use crate::transport::{Stage, Transport};

use super::TokenRequest;
use super::answer::{self, Granted, TokenAnswerError};
use super::client_auth::ClientAuth;
use super::companion::Companion;
use super::current::Current;
use super::discovery::{Found, Known};
use super::errand::Post;
use super::form::Form;
use super::grant::{GrantType, SubjectTokens};
use super::lease::{Carries, Lease};
use super::left::LeftFlights;
use super::metadata::{Issuer, IssuerEndpoint};
use super::placed;
use super::slot::{Fetch, Landed, Slot};

/// How long a call with a good token waits to hear whether its credential and consent are still the same.
const REVIEW: Duration = Duration::from_secs(1);

/// A new token is asked for at this share of the lifetime, in percent, give or take [`RENEW_JITTER`].
const RENEW_AT: f64 = 80.0;
const RENEW_JITTER: f64 = 5.0;

/// No early renewal sooner than this after a token was issued: an issuer that hands out the same ageing token again would
/// otherwise be asked ever more often.
const RENEW_INTERVAL: Duration = Duration::from_secs(30);

/// A renewal ahead of need waits for its turn for this share of the time that others wait, so that renewals do not stand before
/// calls that have no token.
const EARLY_SHARE: u32 = 8;

/// A token is not used in the last moments of its life, since the request takes time to arrive: this long, or a tenth of a
/// short life.
const LAST_MOMENTS: Duration = Duration::from_secs(5);

/// Where to ask, parsed.
#[derive(Debug)]
pub(crate) enum Place {
    /// At these endpoints; one for tokens is among them.
    Endpoints(BTreeMap<IssuerEndpoint, Target>),
    Issuer(Issuer),
    /// There are no tokens: the client certificate says who calls.
    Nowhere,
    /// There are no tokens: the credential goes with every call.
    Credential,
}

/// Everything that a token request needs; shared by all connections of a client.
#[derive(Debug)]
pub(crate) struct TokenSource {
    pub(crate) at: Place,
    pub(crate) auth: ClientAuth,
    pub(crate) request: TokenRequest,
    pub(crate) quirks: Quirks,
    /// Where calls carry the token or the credential.
    pub(crate) credential_at: CredentialAt,
    /// What a credential has beside id and secret.
    pub(crate) parts: Vec<CredentialPart>,
    pub(crate) key_forms: Vec<KeyForm>,
    pub(crate) environment: Environment,
    /// The second token, and where it is asked for.
    pub(crate) companion: Option<(Companion, Target)>,
    pub(crate) faults: FaultShape,
    /// What is held here of the carrier's limits.
    pub(crate) throttling: Throttling,
    pub(crate) budget: Arc<dyn Budget>,
    /// Origins besides the issuer's own that its metadata may name.
    pub(crate) origins: Vec<Origin>,
    pub(crate) exempt: Vec<Loopback>,
    pub(crate) limits: Limits,
    pub(crate) strategy: Arc<dyn BindingStrategy>,
    /// Whether the issuer is asked, for each new token, whether it is really bound.
    pub(crate) confirm: bool,
    /// Whether FAPI 2.0 is held to where an issuer would allow less.
    pub(crate) fapi: bool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) keys: Arc<dyn KeyStore>,
    pub(crate) credentials: Arc<dyn CredentialStore>,
    pub(crate) grants: Option<Arc<dyn GrantStore>>,
    /// Which connections there are.
    pub(crate) directory: Option<Arc<dyn Directory>>,
    /// Where tokens come from that are exchanged.
    pub(crate) subject: Option<Arc<dyn SubjectTokens>>,
    pub(crate) journal: Journal,
    pub(crate) metadata: Mutex<Known>,
    pub(crate) left: LeftFlights,
}

/// With what a connection's next token is asked for.
pub(super) struct Prepared<'a> {
    pub(super) found: Found<'a>,
    pub(super) binding: Arc<dyn TokenBinding>,
    pub(super) current: Current,
    /// How long the request waits for its turn.
    pub(super) turn: Duration,
    /// [`TokenSource::generation`] before the credential was looked up.
    generation: u64,
}

impl TokenSource {
    /// Makes and promotes the key of a connection, so that its first call need not.
    pub(crate) async fn prepare(self: &Arc<Self>, connection: &Arc<Connection>) -> Result<(), Error> {
        let deadline = self.clock.monotonic() + self.limits.token_exchange;
        let prepared = async {
            let found = self.issuer(connection, deadline).await?;
            self.bind(connection, found.algorithms(), deadline).await.map(drop)
        };
        self.in_time(deadline, Awaited::Token, prepared).await
    }

    /// The issuer's identifier, where one is known.
    pub(super) fn issuer_text(&self) -> Option<&str> {
        match &self.at {
            Place::Issuer(issuer) => Some(issuer.as_str()),
            Place::Endpoints(_) | Place::Nowhere | Place::Credential => None,
        }
    }

    /// Whether requests show a client certificate.
    pub(super) fn shows_certificates(&self) -> bool {
        self.strategy.kind().has_certificate()
    }

    /// What any request to the issuer for this connection needs: who the issuer is, what the request is bound by, and the
    /// client's credential.
    pub(super) async fn prepared(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        deadline: Monotonic,
    ) -> Result<Prepared<'_>, Error> {
        let found = self.issuer(connection, deadline).await?;
        // The key is durable in its store before a token is asked for it.
        let bound = self.bind(connection, found.algorithms(), deadline).await?;
        let binding = connection.bind(bound);
        let generation = self.generation();
        let current = self.current(connection, deadline).await?;
        Ok(Prepared {
            found,
            binding,
            current,
            turn: self.limits.turn,
            generation,
        })
    }

    pub(super) async fn bind(
        &self,
        connection: &Connection,
        listed: Option<&[String]>,
        deadline: Monotonic,
    ) -> Result<Arc<dyn TokenBinding>, Error> {
        let context = BindContext {
            connection: &connection.id,
            keys: &*self.keys,
            clock: &*self.clock,
            drain: keys::drain(self.limits.longest_lifetime),
            algorithms: listed,
        };
        let bound = self
            .strategy
            .bind(&context)
            .map_err(|error| Error::before(error.into()).of(Role::AuthorizationServer));
        self.in_time(deadline, Awaited::Key, bound).await
    }

    /// Binds what is asked for to the connection's key with this thumbprint, in the place of the active one; `false` where
    /// there is no such key any more.
    pub(super) async fn bind_to(
        &self,
        prepared: &mut Prepared<'_>,
        jkt: &Thumbprint,
        connection: &Connection,
        deadline: Monotonic,
    ) -> Result<bool, Error> {
        let context = BindContext {
            connection: &connection.id,
            keys: &*self.keys,
            clock: &*self.clock,
            drain: keys::drain(self.limits.longest_lifetime),
            algorithms: prepared.found.algorithms(),
        };
        let bound = self
            .strategy
            .bind_to(&context, jkt)
            .map_err(|error| Error::before(error.into()).of(Role::AuthorizationServer));
        let Some(bound) = self.in_time(deadline, Awaited::Key, bound).await? else {
            return Ok(false);
        };
        // The next token may come with the active key again, so the connection keeps that binding and its nonces.
        prepared.binding = bound;
        Ok(true)
    }

    pub(super) async fn in_time<T>(
        &self,
        deadline: Monotonic,
        awaited: Awaited,
        future: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let late = || Err(Error::before(ErrorKind::Deadline(awaited)).of(Role::AuthorizationServer));
        within(&*self.clock, deadline, future).await.unwrap_or_else(late)
    }

    pub(super) async fn drive<E: Errand>(
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
            manner: self.manner(),
        };
        drive(&env, errand, &mut Report::default()).await
    }

    async fn ask(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        turn: Duration,
        deadline: Monotonic,
    ) -> Result<Landed, Error> {
        // Calls that go on while their connection is removed get no other token, and no other key.
        self.admits(&connection.id)?;
        if let Place::Nowhere = self.at {
            let bound = self.bind(connection, None, deadline).await?;
            return Ok(self.by_certificate(connection.bind(bound), connection));
        }
        if let Place::Credential = self.at {
            return self.by_credential(connection, deadline).await;
        }
        let mut prepared = self.prepared(connection, deadline).await?;
        if let Some((companion, _)) = &self.companion {
            // What is missing for the second token costs no first one.
            companion.body(&prepared.current.credential)?;
        }
        prepared.turn = turn;
        let asked = self.clock.monotonic();
        let mut outcome = self.ask_with(&prepared, connection, deadline).await;
        if let Err(error) = &outcome
            && self.swaps(&mut prepared, error, connection)
        {
            outcome = self.ask_with(&prepared, connection, deadline).await;
        }
        if let Err(error) = &outcome
            && self.shows_bound_key(&mut prepared, error, connection, deadline).await?
        {
            outcome = self.ask_with(&prepared, connection, deadline).await;
        }
        let landed = self.landed(outcome?, &prepared, connection, asked)?;
        if self.confirm {
            self.confirm(&landed.lease, &prepared, connection, deadline).await?;
        }
        match &self.companion {
            Some((companion, target)) => {
                self.with_companion(landed, (companion, target), &prepared, connection, deadline)
                    .await
            }
            None => Ok(landed),
        }
    }

    /// Asks for a token with what has been prepared; gives it with the consent that it comes from.
    async fn ask_with(
        &self,
        prepared: &Prepared<'_>,
        connection: &Arc<Connection>,
        deadline: Monotonic,
    ) -> Result<(Granted, u64), Error> {
        if *self.request.grant_type() == GrantType::RefreshToken {
            return self.refresh(prepared, connection, deadline).await;
        }
        let form = self.form(connection).await?;
        let granted = self
            .token(
                prepared,
                IssuerEndpoint::Token,
                (form, &self.auth),
                connection,
                deadline,
            )
            .await
            // The call itself has not been sent, whatever became of the request for its token.
            .map_err(Error::not_sent)?;
        Ok((granted, 0))
    }

    pub(crate) fn manner(&self) -> Manner<'_> {
        Manner {
            faults: &self.faults,
            throttling: &self.throttling,
            budget: &*self.budget,
            patience: self.limits.turn,
        }
    }

    /// The form of a token request, as far as it is the same for every attempt.
    async fn form(&self, connection: &Connection) -> Result<Form, Error> {
        let mut form = self.request.form();
        if let (GrantType::TokenExchange(exchange), Some(subject)) = (self.request.grant_type(), &self.subject) {
            let token = subject.subject_token(&connection.id).await.map_err(Error::not_sent)?;
            form.add("subject_token", token.expose());
            form.add("subject_token_type", exchange.subject_token_type.as_str());
        }
        Ok(form)
    }

    /// Asks one of the issuer's endpoints for a token, and judges the answer. The error's stage is that of the request to the
    /// issuer.
    pub(super) async fn token(
        &self,
        prepared: &Prepared<'_>,
        endpoint: IssuerEndpoint,
        (form, auth): (Form, &ClientAuth),
        connection: &Connection,
        deadline: Monotonic,
    ) -> Result<Granted, Error> {
        let response = self
            .token_response(prepared, endpoint, (form, auth), connection, deadline)
            .await?;
        self.granted(response, prepared, connection)
    }

    /// Asks one of the issuer's endpoints for a token.
    pub(super) async fn token_response(
        &self,
        prepared: &Prepared<'_>,
        endpoint: IssuerEndpoint,
        (form, auth): (Form, &ClientAuth),
        connection: &Connection,
        deadline: Monotonic,
    ) -> Result<Response, Error> {
        let target = self.endpoint(&prepared.found, endpoint)?;
        let binding = Arc::clone(&prepared.binding);
        let post = Post::new(self, prepared, connection, (target, binding), auth, form)?;
        self.send(post.by_grant(), deadline).await
    }

    /// What the issuer granted by this answer, as far as it can be used here.
    pub(super) fn granted(
        &self,
        response: Response,
        prepared: &Prepared<'_>,
        connection: &Connection,
    ) -> Result<Granted, Error> {
        let kind = prepared.binding.kind();
        let granted = answer::read(
            response.status,
            &response.headers,
            &response.body,
            kind,
            &self.quirks.token_answer,
            self.clock.now(),
        )
        .and_then(|granted| self.request.check_granted(granted.scope.as_deref()).map(|()| granted));
        let granted = match granted {
            // The proof was ignored. That the certificate was not is the issuer's word, or is asked about.
            Ok(granted) if granted.kind != kind && !self.confirm && !prepared.found.binds_to_certificates() => {
                Err(TokenAnswerError::Unbound)
            }
            granted => granted,
        };
        granted.map_err(|error| {
            let error = self.refusal(error, connection);
            // An answer that was to be a success may hold tokens, which are nobody's to see.
            match response.status.is_success() {
                true => error,
                false => error.with_answer(response),
            }
        })
    }

    /// Whether requests are made with a credential of the store at all.
    pub(crate) fn asks_with_credential(&self) -> bool {
        !matches!(self.at, Place::Nowhere)
    }

    /// Whether there are tokens, which are given for a credential.
    pub(crate) fn gives_tokens(&self) -> bool {
        matches!(self.at, Place::Endpoints(_) | Place::Issuer(_))
    }

    /// A number that moves whenever what tokens are asked for with has changed, for this connection or another.
    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        let consents = self.grants.as_ref().map_or(0, |grants| grants.generation());
        self.credentials.generation().wrapping_add(consents)
    }

    /// What the connection's tokens are asked for with: credential, and consent where it comes from one.
    async fn revision(&self, connection: &Connection, deadline: Monotonic) -> Result<u64, Error> {
        let credential = self.credential(connection, deadline).await?;
        Ok(credential.revision() ^ self.consent(connection, deadline).await?)
    }

    /// Whether `lease` may be used: its key signs, and its credential, looked up again after a change, is still the
    /// connection's. One that may not is evicted. A connection that is not let through is an error, and its lease stays.
    pub(crate) async fn review(&self, slot: &Slot, lease: &Arc<Lease>) -> Result<bool, Error> {
        self.admits_with(lease)?;
        let generation = self.generation();
        if lease.is_good(generation) {
            return Ok(true);
        }
        if lease.binding.is_usable() {
            if let Place::Nowhere = self.at {
                // No credential was asked for.
                lease.generation.store(generation, Ordering::Relaxed);
                return Ok(true);
            }
            let deadline = self.clock.monotonic() + REVIEW;
            match self.revision(&slot.connection, deadline).await {
                Ok(revision) if revision == lease.revision => {
                    lease.generation.store(generation, Ordering::Relaxed);
                    return Ok(true);
                }
                Ok(_changed) => {}
                Err(error) if error.is_for_good() => {
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
        Error::new(kind, Stage::Answered).of(Role::AuthorizationServer)
    }

    /// A lifetime counts from when the token was asked for, and ends with what the token is bound to.
    pub(super) fn landed(
        &self,
        (granted, consent): (Granted, u64),
        prepared: &Prepared<'_>,
        connection: &Arc<Connection>,
        asked: Monotonic,
    ) -> Result<Landed, Error> {
        let unusable =
            || Error::before(ErrorKind::TokenAnswer(TokenAnswerError::TokenSyntax)).of(Role::AuthorizationServer);
        let binding = match granted.kind == prepared.binding.kind() {
            true => Arc::clone(&prepared.binding),
            false => prepared.binding.without_proof().ok_or_else(unusable)?,
        };
        let lifetime = granted
            .lifetime
            .unwrap_or(self.limits.unknown_lifetime)
            .min(self.limits.longest_lifetime)
            .min(self.left_of(&*binding));
        self.journal.record(&connection.id, || EventKind::TokenIssued {
            binding: binding.kind(),
            jkt: Confirmation::jkt(binding.confirmations()),
            x5t: Confirmation::x5t(binding.confirmations()),
            lifetime,
        });
        let usable_until = asked + (lifetime - LAST_MOMENTS.min(lifetime / 10));
        let share = (RENEW_AT + RENEW_JITTER * spread()) / 100.0;
        let renew_from = asked + lifetime.mul_f64(share).max(RENEW_INTERVAL);
        let lease = Lease::new(
            &granted.token,
            binding,
            Arc::clone(connection),
            renew_from.min(usable_until),
            usable_until,
            (prepared.current.revision ^ consent, prepared.generation),
        )
        .ok_or_else(unusable)?;
        let also = placed::with_calls(&self.parts, &prepared.current.credential)
            .map_err(|kind| Error::before(kind).of(Role::AuthorizationServer))?;
        let lease = lease.at(&self.credential_at).with(also);
        Ok(Landed {
            lease: Arc::new(lease),
            keep: !lifetime.is_zero(),
        })
    }

    /// What calls need that carry nothing, for as long as the certificate is good.
    fn by_certificate(&self, binding: Arc<dyn TokenBinding>, connection: &Arc<Connection>) -> Landed {
        self.without_token(binding, connection, (0, 0), Vec::new(), Carries::Only)
    }

    pub(super) fn without_token(
        &self,
        binding: Arc<dyn TokenBinding>,
        connection: &Arc<Connection>,
        seen: (u64, u64),
        headers: Vec<(HeaderName, HeaderValue)>,
        carries: Carries,
    ) -> Landed {
        let lifetime = self.left_of(&*binding).min(self.limits.longest_lifetime);
        let usable_until = self.clock.monotonic() + lifetime;
        let lease = Lease::without_token(binding, Arc::clone(connection), usable_until, seen);
        Landed {
            lease: Arc::new(lease.with(headers).carrying(carries)),
            keep: true,
        }
    }

    /// How long what a token is bound to lasts.
    fn left_of(&self, binding: &dyn TokenBinding) -> Duration {
        binding.valid_until().map_or(Duration::MAX, |end| {
            Duration::from_secs(u64::try_from(end.seconds_since(self.clock.now())).unwrap_or(0))
        })
    }
}

/// [`TokenSource`] as slots use it: flights outlive the callers that began them, so they hold the source.
impl Fetch for Arc<TokenSource> {
    fn fetch(&self, connection: &Arc<Connection>, early: bool) -> BoxFuture<'static, Result<Landed, Error>> {
        let source = Self::clone(self);
        let connection = Arc::clone(connection);
        async move {
            let deadline = source.clock.monotonic() + source.limits.token_exchange;
            let turn = source.limits.turn / if early { EARLY_SHARE } else { 1 };
            let asked = source.ask(&connection, turn, deadline);
            let end = deadline + source.settling();
            // A panic of what was handed in would otherwise be everybody's who waits for this flight, again and again.
            let outcome = AssertUnwindSafe(source.in_time(end, Awaited::Token, asked))
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

    fn left(&self, slot: &Arc<Slot>) {
        self.left.add(slot);
    }

    fn failed(&self, connection: &Connection, error: &Error, pause: Duration) {
        self.journal.record(&connection.id, || EventKind::TokenFailed {
            code: error.code(),
            pause,
        });
    }
}
