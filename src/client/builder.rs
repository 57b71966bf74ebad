//! From a profile and the application's choices to a client.

use std::sync::Arc;

use crate::binding::bearer::Bearer;
use crate::binding::{BindingKind, BindingStrategy};
use crate::carriers::CarrierProfile;
use crate::crypto::Digest;
use crate::error::{Error, ErrorKind};
use crate::exchange::budget::Limits;
use crate::owner::AccountId;
use crate::parts::Parts;
use crate::rollout::Mode;
use crate::target::{Origin, Target};
use crate::token::TokenAt;
use crate::token::metadata::Issuer;
use crate::token::slot::Scope;
use crate::token::source::{Place, TokenSource};

use super::Client;
use super::pipeline::Pipeline;

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
        }
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

    /// The client.
    ///
    /// # Errors
    /// [`ErrorKind::Build`] when no binding was chosen, [`ErrorKind::Target`] or [`ErrorKind::Metadata`] when a URL of the
    /// profile cannot be used.
    pub fn build(self) -> Result<Client, Error> {
        let Self {
            profile,
            parts,
            strategy,
            mode,
            account,
            limits,
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
            TokenAt::Endpoint(url) => Place::Endpoint(parse(url)?),
            TokenAt::Issuer(url) => {
                Place::Issuer(Issuer::allowing(url, exempt).map_err(|error| Error::before(ErrorKind::Metadata(error)))?)
            }
        };

        let scope = Scope {
            deployment: parts.deployment.clone(),
            carrier: profile.id.clone(),
            environment: profile.environment,
            account,
            request: request_digest(&profile, strategy.minimum(), &origins),
        };
        let source = TokenSource {
            at: place,
            auth: profile.auth,
            request: profile.request.clone(),
            shape: profile.quirks.token_answer.clone(),
            // The secret is not the API's to see: metadata may send it there only where the profile says so.
            origins: allowed,
            exempt: profile.exempt.clone(),
            limits: limits.clone(),
            strategy,
            clock: Arc::clone(&parts.clock),
            transport: Arc::clone(&parts.transport),
            keys: Arc::clone(&parts.keys),
            credentials: Arc::clone(&parts.credentials),
            journal: parts.journal.clone(),
            metadata: std::sync::Mutex::default(),
        };
        Ok(Client(Arc::new(Pipeline {
            profile,
            base,
            origins,
            limits,
            scope: Arc::new(scope),
            source: Arc::new(source),
            parts,
        })))
    }
}

/// What tells the token requests of two clients apart, and the tokens that they may use: two clients share a slot only when
/// all of it is equal.
fn request_digest(profile: &CarrierProfile, minimum: BindingKind, origins: &[Origin]) -> [u8; 32] {
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
    }
    digest.text(profile.auth.as_str());
    profile.request.identify(&mut digest);
    digest.text(minimum.as_str());
    digest.count(origins.len());
    origins.iter().for_each(|origin| digest.text(&origin.to_string()));
    digest.finish()
}
