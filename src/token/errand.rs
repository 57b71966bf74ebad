//! Requests to the issuer, as the driver sends them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method};

use crate::binding::bearer::Bearer;
use crate::binding::{BindingKind, Role, TokenBinding};
use crate::clock::Monotonic;
use crate::credentials::Credential;
use crate::error::Error;
use crate::exchange::answer::Response;
use crate::exchange::connection::Connection;
use crate::exchange::{Draft, Errand};
use crate::journal::EventKind;
use crate::target::Target;

use super::assertion::{Assertions, Grant, Kind};
use super::client_auth::ClientAuth;
use super::form::Form;
use super::grant::GrantType;
use super::metadata::IssuerEndpoint;
use super::placed;
use super::source::{Prepared, TokenSource};

/// A form for one of the issuer's endpoints, authenticated: its credential, its assertions and its proof are made new for
/// every attempt.
pub(super) struct Post<'a> {
    pub(super) source: &'a TokenSource,
    pub(super) connection: &'a Connection,
    pub(super) target: Target,
    /// Where tokens are asked for: the audience of older issuers' assertions, wherever those are sent.
    pub(super) token_endpoint: Target,
    pub(super) binding: Arc<dyn TokenBinding>,
    pub(super) auth: &'a ClientAuth,
    pub(super) credential: Credential,
    pub(super) form: Form,
    /// Whether the form asks for a token by the source's grant, which may be an assertion of its own.
    pub(super) by_grant: bool,
    /// How long it waits for its turn.
    pub(super) turn: Duration,
}

impl<'a> Post<'a> {
    /// A form that asks for no token.
    pub(super) fn new(
        source: &'a TokenSource,
        prepared: &Prepared<'_>,
        connection: &'a Connection,
        (target, binding): (Target, Arc<dyn TokenBinding>),
        auth: &'a ClientAuth,
        form: Form,
    ) -> Result<Self, Error> {
        Ok(Self {
            source,
            connection,
            target,
            token_endpoint: source.endpoint(&prepared.found, IssuerEndpoint::Token)?,
            binding,
            auth,
            credential: prepared.current.credential.clone(),
            form,
            by_grant: false,
            turn: prepared.turn,
        })
    }

    /// The form asks for a token by the source's grant.
    pub(super) fn by_grant(mut self) -> Self {
        self.by_grant = true;
        self
    }

    /// Whether an assertion that goes with it is weaker than it could be.
    fn is_legacy(&self) -> bool {
        let grant = self.source.request.grant_type();
        self.by_grant && matches!(grant, GrantType::JwtBearer(profile) if profile.legacy())
            || matches!(self.auth, ClientAuth::PrivateKeyJwt(profile) if profile.legacy())
    }
}

impl Errand for Post<'_> {
    fn role(&self) -> Role {
        Role::AuthorizationServer
    }

    fn method(&self) -> &Method {
        &Method::POST
    }

    fn target(&self) -> &Target {
        &self.target
    }

    fn binding(&self) -> &Arc<dyn TokenBinding> {
        &self.binding
    }

    fn is_harmless(&self) -> bool {
        // One token more. Refresh tokens are looked after by their claims, which ask nobody whether to repeat.
        true
    }

    fn patience(&self, usual: Duration) -> Duration {
        self.turn.min(usual)
    }

    async fn draft(&mut self) -> Result<Draft, Error> {
        let failed = |kind| Error::before(kind).of(Role::AuthorizationServer);
        let source = self.source;
        let assertions = Assertions {
            keys: &*source.keys,
            clock: &*source.clock,
            connection: &self.connection.id,
            issuer: source.issuer_text(),
            endpoint: &self.token_endpoint,
        };
        let mut form = self.form.clone();
        if let (true, GrantType::JwtBearer(profile)) = (self.by_grant, source.request.grant_type()) {
            let (scope, resources) = (source.request.scope_text(), source.request.resources());
            let grant = Grant {
                scope: scope.as_deref(),
                resources: &resources.collect::<Vec<_>>(),
            };
            let assertion = assertions
                .make(profile, &self.credential, Kind::Grant(grant))
                .await
                .map_err(failed)?;
            form.add("assertion", assertion.expose());
        }
        let shape = &source.quirks.token_request;
        if !shape.grant_type {
            form.remove("grant_type");
        }
        let mut headers = HeaderMap::new();
        if self.by_grant {
            placed::into_token_request(&source.parts, &self.credential, &mut form, &mut headers).map_err(failed)?;
        }
        let mut draft = self
            .auth
            .request(form, &self.credential, &assertions, shape)
            .await
            .map_err(failed)?;
        draft.headers.extend(headers);
        Ok(draft)
    }
}

impl TokenSource {
    /// Sends a form that asks for no token to one of the issuer's endpoints.
    pub(super) async fn post(
        &self,
        prepared: &Prepared<'_>,
        endpoint: IssuerEndpoint,
        form: Form,
        connection: &Connection,
        deadline: Monotonic,
    ) -> Result<Response, Error> {
        let target = self.endpoint(&prepared.found, endpoint)?;
        let binding = match self.quirks.proofs_everywhere {
            true => Arc::clone(&prepared.binding),
            false => without_proof(&prepared.binding),
        };
        let post = Post::new(self, prepared, connection, (target, binding), &self.auth, form)?;
        self.send(post, deadline).await
    }

    pub(super) async fn send(&self, mut post: Post<'_>, deadline: Monotonic) -> Result<Response, Error> {
        let connection = post.connection;
        if post.is_legacy() {
            self.journal.record(&connection.id, || EventKind::LegacyAssertion);
        }
        self.drive(&mut post, connection, deadline).await
    }
}

/// What a request shows to an endpoint that wants no proof (RFC 9449 has proofs for token requests alone): the client
/// certificate, where there is one.
fn without_proof(binding: &Arc<dyn TokenBinding>) -> Arc<dyn TokenBinding> {
    match binding.kind() {
        BindingKind::Bearer | BindingKind::Mtls => Arc::clone(binding),
        BindingKind::Dpop | BindingKind::DpopMtls => binding.without_proof().unwrap_or_else(|| Arc::new(Bearer)),
    }
}

/// A metadata request: no credential, no proof, no certificate.
pub(super) struct Discovery<'a> {
    target: &'a Target,
    binding: Arc<dyn TokenBinding>,
}

impl<'a> Discovery<'a> {
    pub(super) fn new(target: &'a Target) -> Self {
        Self {
            target,
            binding: Arc::new(Bearer),
        }
    }
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

    async fn draft(&mut self) -> Result<Draft, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        Ok(Draft {
            headers,
            body: Bytes::new(),
        })
    }
}
