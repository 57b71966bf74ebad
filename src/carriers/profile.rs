//! One carrier's API, as data.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use http::{HeaderName, HeaderValue};

use crate::binding::BindingKind;
use crate::credentials::{CredentialAt, CredentialPart, KeyForm};
use crate::exchange::fault::FaultShape;
use crate::exchange::quirks::Quirks;
use crate::owner::{CarrierId, Environment};
use crate::target::danger::Loopback;
use crate::throttle::Throttling;
use crate::token::client_auth::ClientAuth;
use crate::token::companion::Companion;
use crate::token::grant::GrantType;
use crate::token::metadata::IssuerEndpoint;
use crate::token::{TokenAt, TokenRequest};

use super::calls::{LookUp, Replacement, TestCall, TracingHeader};
use super::fact::Fact;
use super::route::{CredentialRoute, Route, path_of};

/// One carrier's API in one environment. Data only: what happens to a request is decided elsewhere, the same for all.
///
/// ```
/// use shipbound::carriers::CarrierProfile;
/// use shipbound::owner::{CarrierId, Environment};
/// use shipbound::token::TokenAt;
///
/// let profile = CarrierProfile::custom(
///     CarrierId::new("acme-freight")?,
///     Environment::Production,
///     "https://api.carrier.example/v2",
///     TokenAt::Issuer("https://auth.carrier.example".into()),
/// );
/// # Ok::<(), shipbound::owner::InvalidId>(())
/// ```
#[derive(Clone)]
pub struct CarrierProfile {
    pub(crate) id: CarrierId,
    pub(crate) name: Cow<'static, str>,
    pub(crate) environment: Environment,
    pub(crate) base: String,
    pub(crate) origins: Vec<String>,
    pub(crate) token_at: TokenAt,
    pub(crate) endpoints: BTreeMap<IssuerEndpoint, String>,
    pub(crate) auth: ClientAuth,
    pub(crate) request: TokenRequest,
    pub(crate) quirks: Quirks,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) locked_headers: Vec<HeaderName>,
    pub(crate) credential_at: CredentialAt,
    pub(crate) parts: Vec<CredentialPart>,
    pub(crate) key_forms: Vec<KeyForm>,
    pub(crate) companion: Option<Companion>,
    pub(crate) routes: Vec<Route>,
    pub(crate) credential_routes: Vec<CredentialRoute>,
    /// Those of the endpoints that the profile fixes.
    pub(crate) endpoint_routes: Vec<CredentialRoute>,
    pub(crate) faults: FaultShape,
    pub(crate) throttling: Throttling,
    pub(crate) tracing: Vec<TracingHeader>,
    pub(crate) idempotency: Option<HeaderName>,
    pub(crate) look_up: LookUp,
    pub(crate) replacement: Replacement,
    pub(crate) test_call: Option<TestCall>,
    pub(crate) binds: Vec<BindingKind>,
    pub(crate) facts: Vec<Fact>,
    pub(crate) exempt: Vec<Loopback>,
}

impl CarrierProfile {
    /// The profile of a carrier that is not among those of this crate, or of your own service: client credentials by
    /// `client_secret_basic`, RFC 6749 answers, credentials to the origin of `base` and to the token endpoint only.
    ///
    /// URLs are parsed when a client is built with the profile.
    pub fn custom(id: CarrierId, environment: Environment, base: impl Into<String>, token_at: TokenAt) -> Self {
        Self {
            name: Cow::Owned(id.as_str().to_owned()),
            id,
            environment,
            base: base.into(),
            origins: Vec::new(),
            endpoints: BTreeMap::new(),
            auth: ClientAuth::default(),
            request: TokenRequest::default(),
            quirks: Quirks::default(),
            headers: Vec::new(),
            locked_headers: Vec::new(),
            credential_at: CredentialAt::default(),
            parts: Vec::new(),
            key_forms: Vec::new(),
            companion: None,
            routes: Vec::new(),
            credential_routes: Vec::new(),
            endpoint_routes: match &token_at {
                TokenAt::Endpoint(url) => endpoint_route(url).into_iter().collect(),
                TokenAt::Issuer(_) | TokenAt::Nowhere | TokenAt::Credential => Vec::new(),
            },
            token_at,
            faults: FaultShape::default(),
            throttling: Throttling::default(),
            tracing: Vec::new(),
            idempotency: None,
            look_up: LookUp::default(),
            replacement: Replacement::default(),
            test_call: None,
            binds: Vec::new(),
            facts: Vec::new(),
            exempt: Vec::new(),
        }
    }

    /// The carrier's id.
    pub fn id(&self) -> &CarrierId {
        &self.id
    }

    /// Which of the carrier's systems it is.
    pub fn environment(&self) -> Environment {
        self.environment
    }

    /// Where paths given to a client start from.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Where tokens come from.
    pub fn token_at(&self) -> &TokenAt {
        &self.token_at
    }

    /// Says where another endpoint of the issuer is, for carriers without metadata: a URL. With an issuer that has metadata,
    /// that says it.
    #[must_use]
    pub fn endpoint(mut self, endpoint: IssuerEndpoint, url: impl Into<String>) -> Self {
        let url = url.into();
        self.endpoint_routes.extend(endpoint_route(&url));
        self.endpoints.insert(endpoint, url);
        self
    }

    /// Asks for tokens with what a shipper's consent gave, in the place of the client's own credentials: by
    /// [`GrantType::RefreshToken`]. The shipper consents through `Client::authorize`.
    #[must_use]
    pub fn by_consent(mut self) -> Self {
        self.request = self.request.grant(GrantType::RefreshToken);
        self
    }

    /// How the client authenticates to the issuer. Default `client_secret_basic`.
    #[must_use]
    pub fn client_auth(mut self, auth: ClientAuth) -> Self {
        self.auth = auth;
        self
    }

    /// What tokens are asked for. Default: nothing in particular.
    #[must_use]
    pub fn token_request(mut self, request: TokenRequest) -> Self {
        self.request = request;
        self
    }

    /// Where the carrier differs from the RFCs. Default: nowhere.
    #[must_use]
    pub fn quirks(mut self, quirks: Quirks) -> Self {
        self.quirks = quirks;
        self
    }

    /// Allows an origin more, `https://host[:port]`: credentials may go there, and the issuer's metadata may name endpoints
    /// there.
    #[must_use]
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        self.origins.push(origin.into());
        self
    }

    /// Sends this header with every call that does not set it itself.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Refuses this header from callers: one that selects whose account is used, for instance.
    #[must_use]
    pub fn lock_header(mut self, name: HeaderName) -> Self {
        self.locked_headers.push(name);
        self
    }

    /// Lets endpoints be on this loopback authority, as servers of a test are.
    #[must_use]
    pub fn allow_loopback(mut self, authority: Loopback) -> Self {
        self.exempt.push(authority);
        self
    }

    /// This profile with its origins replaced and nothing else: its API at `api`, its issuer's endpoints at `issuer`, both
    /// origins without a path, and its own paths and quirks as they are. For tests against servers of your own on loopback, which
    /// `exempt` gives leave to talk to; against the sandbox, [`Sandbox::profile`](crate::sandbox::Sandbox::profile) does it.
    ///
    /// Further origins are taken away. An issuer that has metadata is `issuer` as it is given.
    #[must_use]
    #[cfg(feature = "sandbox")]
    pub fn moved_to(mut self, api: &str, issuer: &str, exempt: Vec<Loopback>) -> Self {
        let moved = |url: &str, origin: &str| {
            let path = url
                .split_once("://")
                .and_then(|(_, rest)| rest.split_once('/'))
                .map_or("", |(_, path)| path);
            format!("{}/{path}", origin.trim_end_matches('/'))
        };
        self.base = moved(&self.base, api);
        self.token_at = match &self.token_at {
            TokenAt::Endpoint(url) => TokenAt::Endpoint(moved(url, issuer)),
            TokenAt::Issuer(_) => TokenAt::Issuer(issuer.to_owned()),
            TokenAt::Nowhere => TokenAt::Nowhere,
            TokenAt::Credential => TokenAt::Credential,
        };
        for url in self.endpoints.values_mut() {
            *url = moved(url, issuer);
        }
        self.origins.clear();
        self.exempt = exempt;
        self
    }
}

/// What an endpoint's URL guards; the root of an origin would guard all of it.
fn endpoint_route(url: &str) -> Option<CredentialRoute> {
    let path = path_of(url);
    (!path.is_empty()).then(|| CredentialRoute::new(path))
}

impl fmt::Debug for CarrierProfile {
    /// Shows the names of its headers, not their values: an API key may be among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("CarrierProfile")
            .field("id", &self.id)
            .field("environment", &self.environment)
            .field("auth", &self.auth)
            .field("headers", &headers)
            .field("locked_headers", &self.locked_headers)
            .field("exempt", &self.exempt)
            .finish_non_exhaustive()
    }
}
