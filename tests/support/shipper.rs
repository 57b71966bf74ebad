//! Clients of the library that talk to the servers of [`peers`](super::peers), as an application would set them up.

use std::fs;
use std::sync::Arc;

use shipbound::binding::BindingStrategy;
use shipbound::carriers::CarrierProfile;
use shipbound::client::ClientBuilder;
use shipbound::clock::{Clock, SystemClock};
use shipbound::credentials::{Credential, MemoryCredentials};
use shipbound::grants::GrantStore;
use shipbound::keys::{Backend, KeyStore, LocalKey, MemoryKeyStore, Purpose};
use shipbound::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, Owner, TenantId};
use shipbound::secret::KeyMaterial;
use shipbound::target::danger::Loopback;
use shipbound::token::client_auth::ClientAuth;
use shipbound::token::{TokenAt, TokenRequest};
use shipbound::transport::identity::ClientIdentity;
use shipbound::transport::reqwest::{ReqwestTransport, ReqwestTransportBuilder};
use shipbound::{Client, Parts};

use super::peers::{AuthorizationServer, CLIENT_SECRET, ResourceServer};

/// The tenant whose credential every client has.
pub const TENANT: &str = "acme";

/// The carrier that every server is.
const CARRIER: &str = "peer";

/// The scopes of the shipments API.
pub const SCOPES: [&str; 2] = ["ship:write", "ship:read"];

/// A client that is about to be made: with keys, tokens and connections that no other client shares.
pub struct Setup {
    profile: CarrierProfile,
    transport: ReqwestTransportBuilder,
    credentials: Vec<(TenantId, Credential)>,
    request: TokenRequest,
    clock: Option<Arc<dyn Clock>>,
    keys: Arc<dyn KeyStore>,
    grants: Option<Arc<dyn GrantStore>>,
}

impl Setup {
    /// The client `basic` of this issuer, for this API, asking for both scopes. Trusts the issuer's root and no other.
    pub fn new(issuer: &AuthorizationServer, carrier: &ResourceServer) -> Self {
        let token_at = TokenAt::Issuer(issuer.issuer().to_owned());
        let id = CarrierId::new(CARRIER).unwrap();
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
            credentials: vec![(TenantId::new(TENANT).unwrap(), Credential::new("basic", CLIENT_SECRET))],
            request,
            clock: None,
            keys: Arc::new(MemoryKeyStore::new()),
            grants: None,
        }
    }

    /// Logs in as another client of the issuer.
    pub fn login(self, client_id: &str, secret: &str) -> Self {
        self.known_as(TENANT, Credential::new(client_id, secret))
    }

    /// Gives this tenant a credential, in the place of the one that it has.
    pub fn known_as(mut self, tenant: &str, credential: Credential) -> Self {
        let tenant = TenantId::new(tenant).unwrap();
        self.credentials.retain(|(known, _)| *known != tenant);
        self.credentials.push((tenant, credential));
        self
    }

    /// May use the endpoints of this issuer that ask for a client certificate.
    pub fn mtls(mut self, issuer: &AuthorizationServer) -> Self {
        let here = loopback(issuer.mtls_base());
        self.transport = self.transport.allow_loopback(here.clone());
        let origin = format!("https://{}", authority(issuer.mtls_base()));
        self.profile = self.profile.allow_loopback(here).allow_origin(origin);
        self
    }

    /// Sets more of the transport.
    pub fn transport(mut self, change: impl FnOnce(ReqwestTransportBuilder) -> ReqwestTransportBuilder) -> Self {
        self.transport = change(self.transport);
        self
    }

    /// Has its keys in this store.
    pub fn keys(mut self, keys: Arc<dyn KeyStore>) -> Self {
        self.keys = keys;
        self
    }

    /// Has tokens from shippers' consent, which is kept in this store.
    pub fn by_consent(mut self, grants: Arc<dyn GrantStore>) -> Self {
        self.grants = Some(grants);
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
        self.client_with(strategy, |builder| builder)
    }

    /// The client, with more said about it.
    pub fn client_with(
        self,
        strategy: impl BindingStrategy + 'static,
        more: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Client {
        let mut profile = self.profile.token_request(self.request);
        let credentials = MemoryCredentials::new();
        for (tenant, credential) in self.credentials {
            credentials.put(tenant, profile.id(), Environment::Sandbox, credential);
        }
        let mut parts = Parts::builder()
            .shared_keys(self.keys)
            .credentials(credentials)
            .transport(self.transport.build().unwrap());
        if let Some(grants) = self.grants {
            parts = parts.shared_grants(grants);
            profile = profile.by_consent();
        }
        if let Some(clock) = self.clock {
            parts = parts.clock(clock);
        }
        let parts = parts.build().unwrap();
        more(Client::builder(profile, &parts).binding(strategy))
            .build()
            .unwrap()
    }
}

/// The connection of [`TENANT`] that all these clients use.
pub fn connection() -> ConnectionId {
    ConnectionId::new(
        DeploymentId::default_deployment(),
        TenantId::new(TENANT).unwrap().into(),
        CarrierId::new(CARRIER).unwrap(),
        Environment::Sandbox,
        AccountId::main(),
    )
}

/// A certificate of the issuer's directory, `client-ca` for instance.
pub fn certificate(issuer: &AuthorizationServer, name: &str) -> ClientIdentity {
    let read = |extension: &str| fs::read(issuer.file(&format!("{name}.{extension}"))).unwrap();
    ClientIdentity::from_pem(&read("pem"), &KeyMaterial::new(read("key"))).unwrap()
}

/// A key store in which [`TENANT`] has the key that the issuer knows for assertions.
pub async fn assertion_keys(issuer: &AuthorizationServer) -> Arc<MemoryKeyStore> {
    let jwk = KeyMaterial::new(fs::read(issuer.file("pkjwt.jwk.json")).unwrap());
    let key = LocalKey::from_jwk(&jwk, Backend::default()).unwrap();
    let keys = Arc::new(MemoryKeyStore::new());
    let owner = Owner::from(connection());
    let key = keys.import(&owner, Purpose::ClientAssertion, key).unwrap();
    let now = SystemClock::new().now();
    assert!(keys.promote(&owner, &key.id(), None, now).await.unwrap());
    keys
}

/// The credential of a client that signs assertions with that key.
pub fn by_key(client_id: &str) -> Credential {
    Credential::without_secret(client_id).key_id("pkjwt-1")
}

/// The leave to talk to the server of this URL.
pub fn loopback(url: &str) -> Loopback {
    Loopback::exact(authority(url)).unwrap()
}

fn authority(url: &str) -> &str {
    url.split('/').nth(2).unwrap()
}
