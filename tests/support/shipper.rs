//! Clients of the library that talk to the servers of [`peers`](super::peers), as an application would set them up.

use std::fs;
use std::sync::Arc;

use shipbound::binding::BindingStrategy;
use shipbound::carriers::CarrierProfile;
use shipbound::clock::Clock;
use shipbound::credentials::{Credential, MemoryCredentials};
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::{CarrierId, Environment, TenantId};
use shipbound::target::danger::Loopback;
use shipbound::token::client_auth::ClientAuth;
use shipbound::token::{TokenAt, TokenRequest};
use shipbound::transport::reqwest::{ReqwestTransport, ReqwestTransportBuilder};
use shipbound::{Client, Parts};

use super::peers::{AuthorizationServer, CLIENT_SECRET, ResourceServer};

/// The tenant whose credential every client has.
pub const TENANT: &str = "acme";

/// The scopes of the shipments API.
pub const SCOPES: [&str; 2] = ["ship:write", "ship:read"];

/// A client that is about to be made: with keys, tokens and connections that no other client shares.
pub struct Setup {
    profile: CarrierProfile,
    transport: ReqwestTransportBuilder,
    login: (String, String),
    request: TokenRequest,
    clock: Option<Arc<dyn Clock>>,
}

impl Setup {
    /// The client `basic` of this issuer, for this API, asking for both scopes. Trusts the issuer's root and no other.
    pub fn new(issuer: &AuthorizationServer, carrier: &ResourceServer) -> Self {
        let token_at = TokenAt::Issuer(issuer.issuer().to_owned());
        let id = CarrierId::new("peer").unwrap();
        let here = [loopback(issuer.issuer()), loopback(carrier.base())];
        let mut transport = ReqwestTransport::builder().only_roots_pem(fs::read(issuer.ca_pem()).unwrap());
        let mut profile = CarrierProfile::custom(id, Environment::Sandbox, carrier.base(), token_at);
        for one in here {
            transport = transport.allow_loopback(one.clone());
            profile = profile.allow_loopback(one);
        }
        let request = SCOPES
            .iter()
            .fold(TokenRequest::new(), |request, scope| request.scope(scope).unwrap());
        Self {
            profile,
            transport,
            login: ("basic".to_owned(), CLIENT_SECRET.to_owned()),
            request,
            clock: None,
        }
    }

    /// Logs in as another client of the issuer.
    pub fn login(mut self, client_id: &str, secret: &str) -> Self {
        self.login = (client_id.to_owned(), secret.to_owned());
        self
    }

    /// Authenticates in another way than by `client_secret_basic`.
    pub fn auth(mut self, auth: ClientAuth) -> Self {
        self.profile = self.profile.client_auth(auth);
        self
    }

    /// Asks for something else than both scopes.
    pub fn ask(mut self, request: TokenRequest) -> Self {
        self.request = request;
        self
    }

    /// Goes by this clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// May call this API, which trusts another issuer, too.
    pub fn also(mut self, issuer: &AuthorizationServer, carrier: &ResourceServer) -> Self {
        let here = loopback(carrier.base());
        self.transport = self
            .transport
            .add_root_pem(fs::read(issuer.ca_pem()).unwrap())
            .allow_loopback(here.clone());
        self.profile = self.profile.allow_loopback(here).allow_origin(carrier.base());
        self
    }

    /// The client.
    pub fn client(self, strategy: impl BindingStrategy + 'static) -> Client {
        let profile = self.profile.token_request(self.request);
        let credentials = MemoryCredentials::new();
        credentials.put(
            TenantId::new(TENANT).unwrap(),
            profile.id(),
            Environment::Sandbox,
            Credential::new(self.login.0, self.login.1),
        );
        let mut parts = Parts::builder()
            .keys(MemoryKeyStore::new())
            .credentials(credentials)
            .transport(self.transport.build().unwrap());
        if let Some(clock) = self.clock {
            parts = parts.clock(clock);
        }
        let parts = parts.build().unwrap();
        Client::builder(profile, &parts).binding(strategy).build().unwrap()
    }
}

/// The leave to talk to the server of this URL.
pub fn loopback(url: &str) -> Loopback {
    let authority = url.split('/').nth(2).unwrap();
    Loopback::exact(authority).unwrap()
}
