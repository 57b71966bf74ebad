//! The way of a call: everything that can be refused is refused before a token is looked up or an octet is sent.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request};
use uuid::Uuid;

use crate::binding::{BindingKind, Confirmation, Role, TokenBinding};
use crate::carriers::{self, CarrierProfile, FaultKind, Route, RouteClass, TracingValue};
use crate::clock::Monotonic;
use crate::credentials::CredentialError;
use crate::error::{Awaited, Error, ErrorKind};
use crate::exchange::answer::{Report, Response};
use crate::exchange::budget::Limits;
use crate::exchange::fault::CarrierFault;
use crate::exchange::quirks::BodyCode;
use crate::exchange::{Draft, Env, Errand, drive, within};
use crate::journal::{CallRecord, EventKind};
use crate::owner::Tenant;
use crate::parts::Parts;
use crate::target::{Origin, Target};
use crate::token::Lease;
use crate::token::slot::Scope;
use crate::token::source::TokenSource;
use crate::transport::Stage;

use super::personal::Personal;
use super::request::{AllowCredentialRoute, text_of};
use super::tokens::Revoked;
use crate::directory::PiiPolicy;

/// Headers that select where a request goes, how it is framed or who sends it: never taken from a caller. See
/// [`REFUSED_PREFIXES`] as well.
const REFUSED: [HeaderName; 39] = [
    header::AUTHORIZATION,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::COOKIE,
    header::EXPECT,
    header::FORWARDED,
    header::HOST,
    header::MAX_FORWARDS,
    header::SET_COOKIE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::VIA,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("authentication-info"),
    HeaderName::from_static("cf-connecting-ip"),
    HeaderName::from_static("client-cert"),
    HeaderName::from_static("client-cert-chain"),
    HeaderName::from_static("dpop"),
    HeaderName::from_static("dpop-nonce"),
    HeaderName::from_static("fastly-client-ip"),
    HeaderName::from_static("front-end-https"),
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("true-client-ip"),
    HeaderName::from_static("x-client-cert"),
    HeaderName::from_static("x-client-ip"),
    HeaderName::from_static("x-cluster-client-ip"),
    HeaderName::from_static("x-envoy-original-path"),
    HeaderName::from_static("x-forwarded"),
    HeaderName::from_static("x-host"),
    HeaderName::from_static("x-http-host-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-method-override"),
    HeaderName::from_static("x-override-url"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-rewrite-url"),
];

/// Whatever begins like this is refused as well: gateways and frameworks know ever more of them.
const REFUSED_PREFIXES: [&str; 4] = ["proxy-", "x-forwarded-", "x-original-", "x-ssl-"];

/// How many leases a call looks at: one that is held, one of a flight that began before a change, one that began after it.
const LEASES: usize = 3;

#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) scope: Arc<Scope>,
    pub(crate) parts: Parts,
    pub(crate) source: Arc<TokenSource>,
    pub(super) base: Target,
    pub(super) origins: Vec<Origin>,
    pub(super) limits: Limits,
    pub(super) profile: CarrierProfile,
    /// Headers that callers may not set.
    pub(super) locked: Vec<HeaderName>,
    pub(super) personal: Personal,
    /// What calls of a class must at least be bound to.
    pub(super) minima: Vec<(RouteClass, BindingKind)>,
    pub(super) revoked: Revoked,
}

impl Pipeline {
    pub(crate) fn profile(&self) -> &CarrierProfile {
        &self.profile
    }

    pub(super) async fn prepare(&self, tenant: Tenant) -> Result<(), Error> {
        self.admit(&tenant).await?;
        let slot = self.parts.tokens.slot(&self.scope, &tenant);
        // A removal waits for the key that is made here.
        let _begun = slot.connection.begin();
        self.source.admits(&slot.connection.id)?;
        self.source.prepare(&slot.connection).await
    }

    pub(super) fn forget(&self, tenant: &Tenant) {
        let dropped = self.parts.tokens.slot(&self.scope, tenant).clear();
        drop(dropped);
        self.parts.tokens.show(&self.scope, tenant);
    }

    /// A lease that a call can use at once: fresh, its key signs, its credential and consent are still the connection's.
    pub(super) fn lease_at_hand(&self, tenant: &Tenant, now: Monotonic) -> Option<Arc<Lease>> {
        let lease = self.parts.tokens.fresh(&self.scope, tenant, now)?;
        let good = lease.is_good(self.source.generation()) && lease.is_admitted(self.source.admission());
        good.then_some(lease)
    }

    /// A lease from the slot or a flight, within the call's own time.
    pub(super) async fn lease(&self, tenant: &Tenant, deadline: Monotonic) -> Result<Arc<Lease>, Error> {
        // Before the tenant gets a place in the cache, which is another's then.
        self.admit(tenant).await?;
        let slot = self.parts.tokens.slot(&self.scope, tenant);
        let _begun = slot.connection.begin();
        let lease = async {
            self.source.admits(&slot.connection.id)?;
            for _ in 0..LEASES {
                let lease = slot.lease(&self.source, deadline).await?;
                if self.source.review(&slot, &lease).await? {
                    return Ok(lease);
                }
            }
            // Key or credential were changed while each of these tokens was asked for.
            Err(Error::before(ErrorKind::Credential(CredentialError::Unavailable)))
        };
        let outcome = self.in_time(deadline, lease).await;
        self.parts.tokens.show(&self.scope, tenant);
        outcome
    }

    pub(super) async fn send(&self, tenant: &Tenant, request: Request<Bytes>) -> Result<Response, Error> {
        let (head, body) = request.into_parts();
        let allowed = head.extensions.get::<AllowCredentialRoute>().is_some();
        self.send_parts(tenant, head.method, &text_of(&head.uri)?, head.headers, body, allowed)
            .await
    }

    pub(super) async fn send_parts(
        &self,
        tenant: &Tenant,
        method: Method,
        address: &str,
        headers: HeaderMap,
        body: Bytes,
        credential_route: bool,
    ) -> Result<Response, Error> {
        // TRACE has the request sent back, credentials and all (RFC 9110 9.3.8), as TRACK and DEBUG of some servers have;
        // CONNECT asks for a tunnel.
        if ["CONNECT", "DEBUG", "TRACE", "TRACK"]
            .iter()
            .any(|name| method.as_str().eq_ignore_ascii_case(name))
        {
            return Err(Error::before(ErrorKind::MethodRefused));
        }
        let target = self.target(address)?;
        // The issuer's endpoints are this library's to talk to, also where a call asks for such routes by name.
        let guarded = match credential_route {
            true => self.profile.is_endpoint(target.path()),
            false => self.profile.is_credential_route(target.path()),
        };
        if guarded || self.source.names(&target) {
            return Err(Error::before(ErrorKind::CredentialRoute));
        }
        let route = self.profile.route_of(&method, target.path());
        self.judge_path(tenant, route).await?;
        let mut report = Report::default();
        let (headers, idempotent) = self.headers(&method, route, headers, &mut report)?;
        if body.len() > self.limits.request_body {
            return Err(Error::before(ErrorKind::RequestTooLarge));
        }

        let clock = &*self.parts.clock;
        let started = clock.monotonic();
        let deadline = started + self.limits.call;
        let mut call = Unfinished {
            pipeline: self,
            tenant,
            method: &method,
            target: &target,
            report: Some(report),
        };
        let asked = Asked {
            tenant,
            method: &method,
            target: &target,
            headers,
            body,
            idempotent,
            reads: route.is_some_and(|route| route.class() == RouteClass::Read),
            minimum: self.minimum(route),
            deadline,
        };
        let outcome = self.call(asked, started, call.report.get_or_insert_default()).await;
        let mut report = call.report.take().unwrap_or_default();
        report.total = clock.monotonic().saturating_since(started);
        self.note(tenant, &method, &target, outcome.as_ref(), &report);
        match outcome {
            Ok(mut response) => {
                response.report = report;
                Ok(response)
            }
            Err(error) => Err(error.with_report(report)),
        }
    }

    async fn call(&self, asked: Asked<'_>, started: Monotonic, report: &mut Report) -> Result<Response, Error> {
        let clock = &*self.parts.clock;
        let lease = match self.lease_at_hand(asked.tenant, started) {
            Some(lease) => lease,
            None => {
                let waited = self.lease(asked.tenant, asked.deadline).await;
                report.token_wait = clock.monotonic().saturating_since(started);
                let lease = waited?;
                // The issuer's metadata has been read for it, perhaps for the first time.
                if self.source.names(asked.target) {
                    return Err(Error::before(ErrorKind::CredentialRoute));
                }
                lease
            }
        };
        // Whoever removes the connection waits for what has begun; what begins too late is refused here.
        let _begun = lease.connection.begin();
        self.source.admits_with(&lease)?;
        // The mode is looked at when a lease is used, not only when it was made.
        if lease.binding() < self.source.strategy.minimum() {
            return Err(Error::before(ErrorKind::UnboundToken));
        }
        if lease.binding() < asked.minimum {
            return Err(Error::before(ErrorKind::BelowMinimum));
        }
        lease.touch();
        describe(&lease, report);
        let connection = Arc::clone(&lease.connection);
        let env = Env {
            clock,
            transport: &*self.parts.transport,
            journal: &self.parts.journal,
            connection: &connection,
            deadline: asked.deadline,
            awaited: Awaited::Call,
            attempt_limit: self.limits.attempt,
            answer_limit: self.limits.answer,
            manner: self.source.manner(),
        };
        let mut errand = Call {
            pipeline: self,
            asked,
            lease,
        };
        let outcome = drive(&env, &mut errand, report).await;
        describe(&errand.lease, report);
        // Some carriers say with 403 that they do not know a key.
        let fault = outcome.as_ref().ok().and_then(Response::fault);
        if fault.is_some_and(|fault| fault.kind() == FaultKind::WrongCredentials) {
            errand.doubted();
        }
        outcome
    }

    async fn in_time<T>(
        &self,
        deadline: Monotonic,
        future: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let late = || Err(Error::before(ErrorKind::Deadline(Awaited::Call)));
        within(&*self.parts.clock, deadline, future).await.unwrap_or_else(late)
    }

    fn target(&self, address: &str) -> Result<Target, Error> {
        let refused = |error| Error::before(ErrorKind::Target(error));
        if address.starts_with('/') {
            return self.base.join_path(address).map_err(refused);
        }
        let target = Target::parse_allowing(address, &self.profile.exempt).map_err(refused)?;
        if self.origins.contains(target.origin()) {
            Ok(target)
        } else {
            Err(Error::before(ErrorKind::ForeignOrigin))
        }
    }

    /// The caller's headers, checked, with those that the profile adds; and whether the carrier takes the call as one with
    /// its repeats.
    fn headers(
        &self,
        method: &Method,
        route: Option<&Route>,
        mut headers: HeaderMap,
        report: &mut Report,
    ) -> Result<(HeaderMap, bool), Error> {
        if let Some(name) = headers.keys().find(|name| self.refuses(name)) {
            return Err(Error::before(ErrorKind::HeaderRefused(name.clone())));
        }
        for (name, value) in &self.profile.headers {
            headers.entry(name).or_insert_with(|| value.clone());
        }
        for header in &self.profile.tracing {
            if let Entry::Vacant(place) = headers.entry(&header.name) {
                match &header.value {
                    TracingValue::Constant(value) => drop(place.insert(value.clone())),
                    TracingValue::CallId => {
                        let id = *report.call_id.get_or_insert_with(Uuid::new_v4);
                        place.insert(value_of(id)?);
                    }
                }
            }
        }
        let keyed = !method.is_safe() && route.is_some_and(Route::is_keyed);
        let Some(name) = self.profile.idempotency.as_ref().filter(|_| keyed) else {
            return Ok((headers, method.is_safe()));
        };
        if let Entry::Vacant(place) = headers.entry(name) {
            let key = Uuid::new_v4();
            report.idempotency_key = Some(key);
            place.insert(value_of(key)?);
        }
        // Of two keys nobody knows which one the carrier takes, and a blank one is none.
        let mut values = headers.get_all(name).iter();
        let key = values.next().filter(|_| values.next().is_none());
        let given = key.is_some_and(|value| !value.as_bytes().trim_ascii().is_empty());
        Ok((headers, given))
    }

    /// What becomes of a path that says something of a person, where it would stand in a proof (RFC 9449 4.2, `htu`).
    async fn judge_path(&self, tenant: &Tenant, route: Option<&Route>) -> Result<(), Error> {
        if !self.source.strategy.kind().has_proof() || !route.is_none_or(Route::is_personal) {
            return Ok(());
        }
        let listing = self.listed(|| self.scope.connection(tenant)).await?;
        let of_connection = listing.and_then(|listing| listing.personal_paths);
        match of_connection.unwrap_or_else(|| self.personal.of(tenant)) {
            PiiPolicy::Allow => Ok(()),
            PiiPolicy::Refuse => Err(Error::before(ErrorKind::PersonalPath)),
            PiiPolicy::Warn => {
                if self.parts.journal.is_heard() {
                    let connection = self.scope.connection(tenant);
                    self.parts.journal.record(&connection, || EventKind::PersonalPath {
                        route: carriers::shown(route),
                    });
                }
                Ok(())
            }
        }
    }

    /// What calls to a route must at least be bound to. A route that the profile does not know may do anything.
    fn minimum(&self, route: Option<&Route>) -> BindingKind {
        let counts = |class: &RouteClass| route.is_none_or(|route| route.class() == *class);
        let minima = self.minima.iter().filter(|(class, _)| counts(class));
        minima.map(|(_, kind)| *kind).max().unwrap_or(BindingKind::Bearer)
    }

    /// Whether a caller may not set this header. CGI and its heirs take `_` and other marks in a name for `-`, so they count as
    /// that, in the names that are locked as well.
    fn refuses(&self, name: &HeaderName) -> bool {
        let name = folded(name);
        REFUSED.iter().any(|known| known.as_str() == name)
            || self.locked.iter().any(|known| folded(known) == name)
            || REFUSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    }

    fn note(
        &self,
        tenant: &Tenant,
        method: &Method,
        target: &Target,
        outcome: Result<&Response, &Error>,
        report: &Report,
    ) {
        let journal = &self.parts.journal;
        if !journal.is_heard() {
            return;
        }
        let connection = self.scope.connection(tenant);
        journal.record(&connection, || {
            EventKind::Call(CallRecord {
                method: method.clone(),
                route: carriers::shown(self.profile.route_of(method, target.path())),
                address: self
                    .parts
                    .fingerprints
                    .of(&connection, self.parts.clock.now(), target.htu()),
                status: match outcome {
                    Ok(response) => Some(response.status()),
                    Err(error) => error.response().map(Response::status),
                },
                stage: outcome.map_or_else(Error::stage, |_| Stage::Answered),
                error: outcome.err().map(Error::code),
                fault: match outcome {
                    Ok(response) => response.fault(),
                    Err(error) => error.fault(),
                }
                .map(CarrierFault::kind),
                attempts: report.attempts,
                binding: report.binding,
                jkt: report.jkt,
                x5t: report.x5t,
                took: report.total,
            })
        });
    }
}

/// A call that has not ended. When its future is dropped the journal is told: the request may be on its way.
struct Unfinished<'a> {
    pipeline: &'a Pipeline,
    tenant: &'a Tenant,
    method: &'a Method,
    target: &'a Target,
    /// `None` once the call has ended.
    report: Option<Report>,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let Some(report) = &self.report else { return };
        let stage = if report.attempts == 0 {
            Stage::NotSent
        } else {
            Stage::MaybeSent
        };
        let given_up = Error::new(ErrorKind::Cancelled, stage);
        self.pipeline
            .note(self.tenant, self.method, self.target, Err(&given_up), report);
    }
}

/// A header's name in letters, digits and `-` alone.
fn folded(name: &HeaderName) -> Cow<'_, str> {
    let is_mark = |c: char| !c.is_ascii_alphanumeric() && c != '-';
    if name.as_str().contains(is_mark) {
        Cow::Owned(name.as_str().replace(is_mark, "-"))
    } else {
        Cow::Borrowed(name.as_str())
    }
}

fn describe(lease: &Lease, report: &mut Report) {
    report.binding = Some(lease.binding());
    report.jkt = Confirmation::jkt(lease.confirmations());
    report.x5t = Confirmation::x5t(lease.confirmations());
}

fn value_of(id: Uuid) -> Result<HeaderValue, Error> {
    let mut text = [0; uuid::fmt::Simple::LENGTH];
    // Hexadecimal digits can stand in a header.
    HeaderValue::from_str(id.simple().encode_lower(&mut text))
        .map_err(|_illegal| Error::before(ErrorKind::Build("an id that cannot stand in a header")))
}

/// What a caller asks for, checked.
struct Asked<'a> {
    tenant: &'a Tenant,
    method: &'a Method,
    target: &'a Target,
    headers: HeaderMap,
    body: Bytes,
    /// Whether the carrier carries it out once however often it comes.
    idempotent: bool,
    /// Whether its route is known to change nothing.
    reads: bool,
    /// What its token must at least be bound to.
    minimum: BindingKind,
    deadline: Monotonic,
}

/// One call: what is asked for, and the lease that it is sent with.
struct Call<'a> {
    pipeline: &'a Pipeline,
    asked: Asked<'a>,
    lease: Arc<Lease>,
}

impl Errand for Call<'_> {
    fn role(&self) -> Role {
        Role::ResourceServer
    }

    fn method(&self) -> &Method {
        self.asked.method
    }

    fn target(&self) -> &Target {
        self.asked.target
    }

    fn is_idempotent(&self) -> bool {
        self.asked.idempotent
    }

    fn is_harmless(&self) -> bool {
        self.asked.idempotent || self.asked.reads
    }

    fn binding(&self) -> &Arc<dyn TokenBinding> {
        &self.lease.binding
    }

    fn ath(&self) -> Option<&str> {
        self.lease.ath()
    }

    fn not_processed(&self) -> &[BodyCode] {
        &self.pipeline.profile.quirks.not_processed
    }

    fn not_processed_forbidden(&self) -> &[BodyCode] {
        &self.pipeline.profile.quirks.not_processed_forbidden
    }

    async fn draft(&mut self) -> Result<Draft, Error> {
        let mut headers = self.asked.headers.clone();
        let (profile, path) = (&self.pipeline.profile, self.asked.target.path());
        let wanted = |name: &HeaderName| match &profile.companion {
            Some(companion) if *name == companion.header => companion.goes_with(path),
            _ => true,
        };
        self.lease.present(&profile.credential_at, &mut headers, wanted);
        Ok(Draft {
            headers,
            body: self.asked.body.clone(),
        })
    }

    async fn renew(&mut self) -> Result<bool, Error> {
        let pipeline = self.pipeline;
        let slot = pipeline.parts.tokens.slot(&pipeline.scope, self.asked.tenant);
        pipeline
            .parts
            .journal
            .record(&slot.connection.id, || EventKind::TokenRefused);
        let replaced = async {
            let source = &pipeline.source;
            if let Some(lease) = slot.other_than(&self.lease, pipeline.parts.clock.monotonic()) {
                return Ok(source.review(&slot, &lease).await?.then_some(lease));
            }
            if !source.may_replace(&self.lease, self.asked.deadline).await? {
                return Ok(None);
            }
            match slot.replace(&self.lease, source.gives_tokens(), source).await? {
                Some(lease) => Ok(source.review(&slot, &lease).await?.then_some(lease)),
                None => Ok(None),
            }
        };
        let replaced = pipeline.in_time(self.asked.deadline, replaced).await;
        pipeline.parts.tokens.show(&pipeline.scope, self.asked.tenant);
        match replaced? {
            Some(lease) => {
                self.lease = lease;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn doubted(&mut self) {
        let pipeline = self.pipeline;
        let slot = pipeline.parts.tokens.slot(&pipeline.scope, self.asked.tenant);
        // With another credential the next call may do better; this one is not repeated, since nothing says that it may be.
        match pipeline.source.refused(&self.lease) {
            true => slot.evict(&self.lease),
            false => slot.doubt(&self.lease, pipeline.parts.clock.monotonic()),
        }
        pipeline.parts.tokens.show(&pipeline.scope, self.asked.tenant);
    }

    fn refused_again(&mut self) {
        let pipeline = self.pipeline;
        let slot = pipeline.parts.tokens.slot(&pipeline.scope, self.asked.tenant);
        slot.evict(&self.lease);
        pipeline.parts.tokens.show(&pipeline.scope, self.asked.tenant);
    }
}
