//! From a profile and the application's choices to a client.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::binding::bearer::Bearer;
use crate::binding::{BindingKind, BindingStrategy};
use crate::carriers::{CarrierProfile, RouteClass};
use crate::crypto::Digest;
use crate::error::{Error, ErrorKind};
use crate::exchange::budget::Limits;
use crate::owner::{AccountId, Tenant};
use crate::parts::Parts;
use crate::rollout::Mode;
use crate::target::{Origin, Target};
use crate::token::TokenAt;
use crate::token::client_auth::ClientAuth;
use crate::token::grant::{GrantType, SubjectTokens};
use crate::token::left::LeftFlights;
use crate::token::metadata::{Issuer, IssuerEndpoint};
use crate::token::slot::Scope;
use crate::token::source::{Place, TokenSource};

use super::personal::Personal;
use super::pipeline::Pipeline;
use super::tokens::Revoked;
use super::{Client, fapi};
use crate::directory::PiiPolicy;

/// Builds a [`Client`]: profile and parts first, then what differs from the defaults.
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct ClientBuilder {
    profile: CarrierProfile,
    parts: Parts,
    strategy: Option<Arc<dyn BindingStrategy>>,
    mode: Mode,
    account: AccountId,
    limits: Limits,
    subject: Option<Arc<dyn SubjectTokens>>,
    confirm: bool,
    fapi: bool,
    personal: Personal,
    minima: Vec<(RouteClass, BindingKind)>,
}

impl ClientBuilder {
    pub(super) fn new(profile: CarrierProfile, parts: Parts) -> Self {
        let (mode, limits) = (Mode::default(), Limits::default());
        Self {
            profile,
            parts,
            strategy: None,
            mode,
            account: AccountId::main(),
            limits,
            subject: None,
            confirm: false,
            fapi: false,
            personal: Personal::default(),
            minima: Vec::new(),
        }
    }

    /// What becomes of calls whose path says something of a person, where it would stand in a proof. Default
    /// [`PiiPolicy::Warn`].
    pub fn personal_paths(mut self, policy: PiiPolicy) -> Self {
        self.personal.set(policy);
        self
    }

    /// As [`ClientBuilder::personal_paths`], for one tenant's connection.
    pub fn personal_paths_of(mut self, tenant: impl Into<Tenant>, policy: PiiPolicy) -> Self {
        self.personal.set_of(tenant.into(), policy);
        self
    }

    /// Demands that calls to routes of this class go with tokens that are bound at least so; others are
    /// [`ErrorKind::BelowMinimum`]. A route that the profile does not know counts as one of every class. Default: what the
    /// client's binding and mode give.
    pub fn minimum_binding(mut self, class: RouteClass, kind: BindingKind) -> Self {
        self.minima.push((class, kind));
        self
    }

    /// How tokens are bound. There is no default: a client without a binding is asked for by name, with
    /// [`Bearer`].
    pub fn binding(mut self, strategy: impl BindingStrategy + 'static) -> Self {
        self.strategy = Some(Arc::new(strategy));
        self
    }

    /// How strictly the client insists on its binding. Default [`Mode::Require`].
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Which of the tenants' accounts this client uses. Default `main`.
    pub fn account(mut self, account: AccountId) -> Self {
        self.account = account;
        self
    }

    /// Times and sizes. Default [`Limits::default`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Where tokens come from that are exchanged for those of this client (RFC 8693): another [`Client`], say.
    pub fn subject(mut self, subject: impl SubjectTokens + 'static) -> Self {
        self.subject = Some(Arc::new(subject));
        self
    }

    /// Asks the issuer about each new token whether it is really bound (RFC 7662, RFC 9449 6.2, RFC 8705 3.2), before it is
    /// used: one request more for each token. A token that is not bound as it should be is an error and is not stored.
    /// Default: what the answer to the token request declares is believed.
    pub fn confirm_binding(mut self) -> Self {
        self.confirm = true;
        self
    }

    /// Holds the client to the FAPI 2.0 Security Profile (5.3.3): bound tokens, `private_key_jwt` or mutual TLS, endpoints from
    /// the issuer's metadata alone, assertions for the issuer, shippers' consent by pushed requests and with `iss`. What is left
    /// open is set so; what was chosen otherwise is an error of [`ClientBuilder::build`], with the reason.
    pub fn fapi2(mut self) -> Self {
        self.fapi = true;
        self
    }

    /// The client.
    ///
    /// # Errors
    /// [`ErrorKind::Build`] when no binding was chosen, or when profile, binding, parts and [`ClientBuilder::fapi2`] do not fit
    /// together, with the reason: mend what it names. [`ErrorKind::Target`] or [`ErrorKind::Metadata`] when a URL of the
    /// profile cannot be used.
    pub fn build(self) -> Result<Client, Error> {
        let Self {
            mut profile,
            parts,
            strategy,
            mode,
            account,
            limits,
            subject,
            confirm,
            fapi,
            personal,
            minima,
        } = self;
        let chosen = strategy.ok_or_else(|| {
            Error::before(ErrorKind::Build(
                "no binding was chosen: Dpop, or Bearer for tokens that are not bound",
            ))
        })?;
        let strategy: Arc<dyn BindingStrategy> = match mode {
            Mode::Off => Arc::new(Bearer),
            Mode::Require => chosen,
        };

        if fapi {
            fapi::conform(&mut profile, &*strategy, mode).map_err(|reason| Error::before(ErrorKind::Build(reason)))?;
        }
        check(&profile, &*strategy, &parts, subject.is_some())?;

        let exempt = &profile.exempt;
        let parse =
            |url: &str| Target::parse_allowing(url, exempt).map_err(|error| Error::before(ErrorKind::Target(error)));
        let base = parse(&profile.base)?;
        let allowed = profile
            .origins
            .iter()
            .map(|origin| Ok(parse(origin)?.origin().clone()))
            .collect::<Result<Vec<_>, Error>>()?;
        let origins: Vec<_> = std::iter::once(base.origin()).chain(&allowed).cloned().collect();
        let place = match &profile.token_at {
            TokenAt::Endpoint(url) => {
                let fixed = profile.endpoints.iter().map(|(which, url)| (*which, url));
                let fixed = fixed.chain([(IssuerEndpoint::Token, url)]);
                Place::Endpoints(
                    fixed
                        .map(|(which, url)| Ok((which, parse(url)?)))
                        .collect::<Result<_, Error>>()?,
                )
            }
            TokenAt::Issuer(url) => {
                Place::Issuer(Issuer::allowing(url, exempt).map_err(|error| Error::before(ErrorKind::Metadata(error)))?)
            }
            TokenAt::Nowhere => Place::Nowhere,
            TokenAt::Credential => Place::Credential,
        };

        let companion = match &profile.companion {
            Some(companion) => {
                let target = base
                    .join_path(&companion.path)
                    .map_err(|error| Error::before(ErrorKind::Target(error)))?;
                Some((companion.clone(), target))
            }
            None => None,
        };

        let scope = Scope {
            deployment: parts.deployment.clone(),
            carrier: profile.id.clone(),
            environment: profile.environment,
            account,
            request: request_digest(&profile, strategy.kind(), &origins, (confirm, fapi)),
            build: build_number(&*strategy, subject.is_some()),
        };
        let source = TokenSource {
            at: place,
            auth: profile.auth.clone(),
            request: profile.request.clone(),
            quirks: profile.quirks.clone(),
            credential_at: profile.credential_at.clone(),
            parts: profile.parts.clone(),
            key_forms: profile.key_forms.clone(),
            environment: profile.environment,
            companion,
            faults: profile.faults.clone(),
            throttling: profile.throttling.held(),
            budget: Arc::clone(&parts.budget),
            // The secret is not the API's to see: metadata may send it there only where the profile says so.
            origins: allowed,
            exempt: profile.exempt.clone(),
            limits: limits.clone(),
            strategy,
            confirm,
            fapi,
            clock: Arc::clone(&parts.clock),
            transport: Arc::clone(&parts.transport),
            keys: Arc::clone(&parts.keys),
            credentials: Arc::clone(&parts.credentials),
            grants: parts
                .grants
                .clone()
                .filter(|_| *profile.request.grant_type() == GrantType::RefreshToken),
            directory: parts.directory.clone(),
            subject,
            journal: parts.journal.clone(),
            metadata: Mutex::default(),
            left: LeftFlights::default(),
        };
        Ok(Client(Arc::new(Pipeline {
            locked: profile.locked().cloned().collect(),
            personal,
            minima,
            profile,
            base,
            origins,
            limits,
            scope: Arc::new(scope),
            source: Arc::new(source),
            revoked: Revoked::default(),
            parts,
        })))
    }
}

/// What does not fit together is found here, not at the first label.
fn check(
    profile: &CarrierProfile,
    strategy: &dyn BindingStrategy,
    parts: &Parts,
    has_subject: bool,
) -> Result<(), Error> {
    let kind = strategy.kind();
    let shows_certificate = kind.has_certificate();
    let has_issuer = matches!(profile.token_at, TokenAt::Issuer(_));
    let grant = profile.request.grant_type();
    let assertions = match (&profile.auth, grant) {
        (ClientAuth::PrivateKeyJwt(one), GrantType::JwtBearer(two)) => vec![one, two],
        (ClientAuth::PrivateKeyJwt(one), _) | (_, GrantType::JwtBearer(one)) => vec![one],
        _ => Vec::new(),
    };
    let fault = if profile.auth == ClientAuth::Tls && !shows_certificate {
        "the client authenticates with its certificate, and the binding shows none: choose Mtls"
    } else if profile.token_at == TokenAt::Nowhere && kind != BindingKind::Mtls {
        "without tokens the client certificate alone says who calls: choose Mtls as the binding"
    } else if profile.token_at == TokenAt::Credential && kind.has_proof() {
        "a credential that goes with each call cannot be bound to a proof key: choose Bearer, or Mtls"
    } else if assertions
        .into_iter()
        .any(|profile| profile.needs_issuer() && !has_issuer)
    {
        "an assertion's audience is the issuer, and the profile names none: name it, or another audience"
    } else if matches!(grant, GrantType::TokenExchange(_)) != has_subject {
        "a token exchange needs a subject, and a subject needs a token exchange"
    } else if *grant == GrantType::RefreshToken && parts.grants.is_none() {
        "tokens come from shippers' consent, and the parts have no grant store"
    } else {
        return Ok(());
    };
    Err(Error::before(ErrorKind::Build(fault)))
}

/// See [`Scope::build`].
fn build_number(strategy: &dyn BindingStrategy, has_subject: bool) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    match strategy.kind().has_certificate() || has_subject {
        true => NEXT.fetch_add(1, Ordering::Relaxed),
        false => 0,
    }
}

/// What tells the token requests of two clients apart, and the tokens that they may use: two clients share a slot only when
/// all of it is equal.
fn request_digest(
    profile: &CarrierProfile,
    binding: BindingKind,
    origins: &[Origin],
    (confirm, fapi): (bool, bool),
) -> [u8; 32] {
    let mut digest = Digest::default();
    match &profile.token_at {
        TokenAt::Endpoint(url) => {
            digest.text("endpoint");
            digest.text(url);
        }
        TokenAt::Issuer(url) => {
            digest.text("issuer");
            digest.text(url);
        }
        TokenAt::Nowhere => digest.text("nowhere"),
        TokenAt::Credential => digest.text("credential"),
    }
    profile.auth.identify(&mut digest);
    profile.request.identify(&mut digest);
    digest.text(binding.as_str());
    digest.bytes(&[u8::from(confirm), u8::from(fapi)]);
    profile.quirks.token_request.identify(&mut digest);
    profile.quirks.token_answer.identify(&mut digest);
    profile.credential_at.identify(&mut digest);
    digest.count(profile.parts.len());
    profile.parts.iter().for_each(|part| part.identify(&mut digest));
    digest.count(profile.key_forms.len());
    profile.key_forms.iter().for_each(|form| form.identify(&mut digest));
    digest.count(usize::from(profile.companion.is_some()));
    if let Some(companion) = &profile.companion {
        companion.identify(&mut digest);
        // Where it is asked for.
        digest.text(&profile.base);
    }
    // Other endpoints have no part in how a token comes about.
    let refresh = profile.endpoints.get(&IssuerEndpoint::Refresh);
    digest.text(refresh.map_or("", String::as_str));
    digest.count(origins.len());
    origins.iter().for_each(|origin| digest.text(&origin.to_string()));
    digest.finish()
}
