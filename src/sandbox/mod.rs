//! A loopback issuer and carrier API, for tests: of this crate and of applications that use it.
//!
//! Both are real servers on ports of 127.0.0.1: TLS 1.3 with certificates made at the start, HTTP/2 and HTTP/1.1. The issuer
//! gives DPoP-bound tokens to those who prove a key, and the API checks every proof by RFC 9449 4.3, through this crate's own
//! [`verify`](crate::verify) room: signature, `htm`, `htu`, `iat`, `jti`, nonce, `ath` and the token's `cnf`.
//!
//! FedEx and UPS are [imitated](self#imitations) beside that. Tests add routes and answers of their own
//! ([`Sandbox::route`]), say what is answered next ([`Sandbox::script`]), and look at what arrived ([`Sandbox::requests`]).
//!
//! ```
//! use shipbound::binding::dpop::Dpop;
//! use shipbound::keys::MemoryKeyStore;
//! use shipbound::owner::{Environment, TenantId};
//! use shipbound::sandbox::{Answer, Canned, Endpoint, Sandbox};
//! use shipbound::{Client, Parts, carriers};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sandbox = Sandbox::start().await?;
//! let acme = TenantId::new("acme")?;
//! let profile = sandbox.profile(carriers::fedex(Environment::Sandbox));
//! let parts = Parts::builder()
//!     .keys(MemoryKeyStore::new())
//!     .credentials(sandbox.credentials(&profile, [&acme]))
//!     .transport(sandbox.transport()?)
//!     .build()?;
//! let fedex = Client::builder(profile, &parts).binding(Dpop::es256()).build()?;
//!
//! // Our own label, and a nonce challenge before it.
//! let label = serde_json::json!({"label": "JVBERi0xLjQK"});
//! sandbox.route(http::Method::POST, "/ship/v1/shipments", Canned::json(201, &label));
//! sandbox.script(&acme, Endpoint::Api, [Answer::nonce("n1")]);
//!
//! let answer = fedex.tenant("acme")?.post("/ship/v1/shipments").json(&label).send().await?;
//! assert_eq!(answer.status(), 201);
//!
//! let calls = sandbox.requests_at(Endpoint::Api);
//! assert_eq!(calls.iter().map(|call| call.status()).collect::<Vec<_>>(), [Some(401), Some(201)]);
//! assert_eq!(calls[1].claims().and_then(|claims| claims.nonce.as_deref()), Some("n1"));
//! assert_eq!(calls[1].checks(), ["signature", "htm", "htu", "iat", "jti", "ath", "cnf"]);
//! sandbox.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Scripts
//!
//! A [script](Sandbox::script) is a list of [`Answer`]s for one tenant (or [anyone](Who::Anyone)) at one [`Endpoint`]. They
//! are given in order, then service is normal again. A tenant's own script comes first, then the one for anyone. A tenant is
//! known by its client id at the issuer, and by its token at the API.
//!
//! # Imitations
//!
//! | | FedEx | UPS |
//! |---|---|---|
//! | token endpoint | `POST /oauth/token`, id and secret in the body | `POST /security/v1/oauth/token`, Basic |
//! | its answer | `bearer`, integer `expires_in`, scope `CXS` | every value a string, `issued_at` in ms, 14399 s |
//! | refused token | 401 `NOT.AUTHORIZED.ERROR`, no challenge | 401 `250002`, no challenge |
//! | rate | `POST /rate/v1/rates/quotes` | `POST /api/rating/{version}/Rate` |
//! | ship | `POST /ship/v1/shipments` | `POST /api/shipments/{version}/ship` |
//! | track | `POST /track/v1/trackingnumbers` | `GET /api/track/v1/details/{number}`, with `transId` and `transactionSrc` |
//! | address | `POST /country/v1/postal/validate` | `POST /api/addressvalidation/{version}/{option}` |
//! | limits | as [`SandboxBuilder::vendor_limits`] says | none |
//!
//! They answer on the API's origin (the token endpoints on the issuer's, too). Unlike the vendors they issue bound tokens
//! when a proof comes along, unless [`Vendors::AsToday`] is set; refusals of bound calls then have a challenge beside the
//! vendor's body.
//!
//! # Limits
//!
//! Request bodies end at 16 MiB (413). The last 65 536 requests are kept, with bodies of 256 MiB in all, and
//! as many access and as many refresh tokens.

mod api;
mod assertion;
mod authority;
mod authorization;
mod body;
mod builder;
mod canned;
mod check;
mod client_auth;
mod clients;
mod dialect;
pub mod fedex;
mod form;
mod gate;
mod grants;
mod handshake;
mod issue;
mod issuer;
mod memory;
mod metadata;
mod page;
mod par;
mod record;
mod registration;
mod registry;
mod remembered;
mod script;
mod seed;
mod server;
mod tls;
mod token_status;
pub mod ups;
pub mod usps;

use std::fmt;
use std::sync::Arc;

use http::Method;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use assertion::AssertionClaims;
pub use authority::{CertificateFor, ClientCertificate};
pub use builder::{Check, MetadataAt, Nonces, RefreshReuse, SandboxBuilder, SandboxError, Vendors};
pub use canned::Canned;
pub use gate::Gate;
pub use handshake::Handshake;
pub use record::{ProofClaims, Recorded, Verdict};
pub use registration::Registration;
pub use script::{Answer, Endpoint, Pace, Who};
pub use seed::SECRET_MARK;

use crate::carriers::CarrierProfile;
use crate::credentials::{Credential, MemoryCredentials};
use crate::owner::TenantId;
use crate::secret::{ClientSecret, RefreshToken};
use crate::target::danger::Loopback;
use crate::token::TokenAt;
use crate::transport::reqwest::{ReqwestTransport, ReqwestTransportBuilder};

/// The running servers. They stop when this is dropped.
pub struct Sandbox {
    shared: Arc<server::Shared>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Sandbox {
    /// Starts with the defaults: TLS, two origins, the system's clock, no nonces, tokens for an hour.
    ///
    /// # Errors
    /// As [`SandboxBuilder::start`].
    pub async fn start() -> Result<Self, SandboxError> {
        Self::builder().start().await
    }

    /// A builder with the defaults.
    pub fn builder() -> SandboxBuilder {
        SandboxBuilder::new()
    }

    /// The issuer's identifier: its origin and path. The token endpoint is below it at `/token`, revocation (RFC 7009) at
    /// `/revoke`, introspection (RFC 7662) at `/introspect`.
    pub fn issuer(&self) -> &str {
        &self.shared.issuer
    }

    /// The API's base URL: its origin, without a slash at the end.
    pub fn api(&self) -> &str {
        &self.shared.api
    }

    /// The base URL of the mTLS host, where the API answers connections with client certificates; `None` unless
    /// [`SandboxBuilder::mtls`] was set.
    pub fn mtls_api(&self) -> Option<&str> {
        self.shared.mtls.as_deref()
    }

    /// The certificate of the authority that vouches for all servers, in PEM. Empty without TLS.
    pub fn ca_pem(&self) -> &str {
        match self.shared.settings.tls {
            true => &self.shared.authority.pem,
            false => "",
        }
    }

    /// Leave to talk to exactly these servers.
    pub fn loopbacks(&self) -> Vec<Loopback> {
        let authority = |url: &str| Loopback::exact(origin_of(url).split_once("://")?.1).ok();
        let servers = [Some(self.issuer()), Some(self.api()), self.mtls_api()];
        let mut loopbacks: Vec<_> = servers.into_iter().flatten().filter_map(authority).collect();
        loopbacks.dedup();
        loopbacks
    }

    /// A transport that trusts the sandbox's authority and no other, and may talk to exactly these servers.
    ///
    /// # Errors
    /// [`SandboxError::Transport`] when it cannot be made.
    pub fn transport(&self) -> Result<ReqwestTransport, SandboxError> {
        self.transport_builder().build().map_err(|_| SandboxError::Transport)
    }

    /// What [`transport`](Self::transport) is built from, for tests that set more.
    pub fn transport_builder(&self) -> ReqwestTransportBuilder {
        let mut builder = ReqwestTransport::builder();
        if !self.ca_pem().is_empty() {
            builder = builder.only_roots_pem(self.ca_pem().as_bytes());
        }
        self.loopbacks()
            .into_iter()
            .fold(builder, ReqwestTransportBuilder::allow_loopback)
    }

    /// The tenant's client id (the tenant's own) and secret, registered at the first call and the same ever after.
    pub fn credential(&self, tenant: &TenantId) -> Credential {
        self.shared.clients.ensure(tenant.as_str(), tenant, self.new_secret())
    }

    /// A store with the credentials of these tenants' main accounts at this carrier, each as [`credential`](Self::credential)
    /// gives it.
    pub fn credentials<'a>(
        &self,
        profile: &CarrierProfile,
        tenants: impl IntoIterator<Item = &'a TenantId>,
    ) -> MemoryCredentials {
        let store = MemoryCredentials::new();
        for tenant in tenants {
            let credential = self.credential(tenant);
            store.put(tenant.clone(), profile.id(), profile.environment(), credential);
        }
        store
    }

    /// A carrier's profile with its origins replaced by the sandbox's and nothing else. FedEx's and UPS's are answered by
    /// their imitations. Other carriers get the issuer's answers at their own token path, and need
    /// [routes](Self::route) for the rest.
    ///
    /// A token endpoint on the API's own origin stays there; another goes to the issuer's origin. A profile that finds its
    /// token endpoint in an issuer's metadata gets this [issuer](Self::issuer), and may use its `mtls_endpoint_aliases`.
    pub fn profile(&self, profile: CarrierProfile) -> CarrierProfile {
        self.moved(profile, self.api(), origin_of(self.issuer()))
    }

    /// As [`profile`](Self::profile), with the API's base at the mTLS host, for clients with a client certificate. A token
    /// endpoint that the profile itself names moves there as well. Without [`SandboxBuilder::mtls`] there is no such host,
    /// and both are the same.
    pub fn mtls_profile(&self, profile: CarrierProfile) -> CarrierProfile {
        match self.mtls_api() {
            Some(mtls) => self.moved(profile, mtls, mtls),
            None => self.profile(profile),
        }
    }

    fn moved(&self, profile: CarrierProfile, api: &str, issuer_origin: &str) -> CarrierProfile {
        let issuer = match profile.token_at() {
            TokenAt::Issuer(_) | TokenAt::Nowhere => self.issuer(),
            TokenAt::Endpoint(url) => {
                self.shared.token_paths.add(path_of(url));
                if origin_of(url) == origin_of(profile.base()) {
                    api
                } else {
                    issuer_origin
                }
            }
        };
        let moved = profile.moved_to(api, issuer, self.loopbacks());
        match self.mtls_api() {
            Some(mtls) => moved.allow_origin(mtls),
            None => moved,
        }
    }

    /// Registers one more client of a tenant, or gives a client another secret and tenant.
    pub fn add_client(&self, tenant: &TenantId, id: &str, secret: ClientSecret) -> Credential {
        self.register(Registration::secret(id, secret).tenant(tenant))
    }

    /// Gives the tenant's client a new secret: the old one is refused from now on.
    pub fn rotate_secret(&self, tenant: &TenantId) -> Credential {
        self.add_client(tenant, tenant.as_str(), self.new_secret())
    }

    fn new_secret(&self) -> ClientSecret {
        ClientSecret::new(self.shared.seed.secret(32))
    }

    /// A refresh token for the tenant's client, as a shipper's consent would have made one.
    pub fn refresh_token(&self, tenant: &TenantId) -> RefreshToken {
        let client = self.credential(tenant);
        let token = RefreshToken::new(self.shared.seed.secret(32));
        let grant = registry::Grant {
            client: client.client_id().to_owned(),
            scope: None,
            family: self.shared.tokens.new_family(),
            bound_to: registry::BoundTo::default(),
            count: 0,
            expires: None,
            successor: None,
        };
        self.shared.tokens.put_grant(&token, grant);
        token
    }

    /// Revokes every access token of the tenant, without telling it. Gives their number.
    pub fn revoke_tokens(&self, tenant: &TenantId) -> usize {
        self.shared.tokens.revoke_tenant(tenant)
    }

    /// Answers calls of this method and path so, once their token and proof have passed. A segment `{...}` of the path stands
    /// for any one segment. A later route for the same place takes over, and any route goes before what the imitations do.
    pub fn route(&self, method: Method, path: &str, answer: Canned) {
        self.route_with(method, path, move |_| answer.clone());
    }

    /// As [`route`](Self::route), with an answer made from the request.
    pub fn route_with(&self, method: Method, path: &str, answer: impl Fn(&Recorded) -> Canned + Send + Sync + 'static) {
        self.shared.routes.add(method, path, true, Arc::new(answer));
    }

    /// As [`route_with`](Self::route_with), for whoever calls: no token is asked for. For API keys and `Basic`.
    pub fn open_route(&self, method: Method, path: &str, answer: impl Fn(&Recorded) -> Canned + Send + Sync + 'static) {
        self.shared.routes.add(method, path, false, Arc::new(answer));
    }

    /// Says what is answered next, in this order; then service is normal again. Answers of earlier calls come first.
    pub fn script(&self, who: impl Into<Who>, endpoint: Endpoint, answers: impl IntoIterator<Item = Answer>) {
        self.shared.scripts.add(who.into(), endpoint, answers);
    }

    /// Says what is answered whenever no script has anything to say, until [`normal_service`](Self::normal_service).
    pub fn always(&self, who: impl Into<Who>, endpoint: Endpoint, answer: Answer) {
        self.shared.scripts.always(who.into(), endpoint, answer);
    }

    /// Forgets all scripts and what [`always`](Self::always) said.
    pub fn normal_service(&self) {
        self.shared.scripts.clear();
    }

    /// Replaces members of the issuer's metadata from now on, as [`SandboxBuilder::metadata_with`] does from the start.
    pub fn metadata_with(&self, members: serde_json::Value) {
        self.shared.metadata.add(members);
    }

    /// How many scripted answers were not given yet. A test that ends with some left did not see what it meant to.
    pub fn answers_left(&self) -> usize {
        self.shared.scripts.left()
    }

    /// Puts the servers' clock off by this many seconds: `Date`, `iat` checks, nonces. Lifetimes of tokens are not touched. Which
    /// proofs and assertions were used is forgotten.
    pub fn skew(&self, seconds: i64) {
        self.shared.clock.skew(seconds);
        self.shared.issuer_checks.forget();
        self.shared.api_checks.forget();
        self.shared.assertions.forget();
    }

    /// What arrived, in order.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.log.all(|_| true)
    }

    /// What arrived from this tenant, in order.
    pub fn requests_of(&self, tenant: &TenantId) -> Vec<Recorded> {
        self.shared.log.all(|request| request.tenant() == Some(tenant))
    }

    /// What arrived at this endpoint, in order.
    pub fn requests_at(&self, endpoint: Endpoint) -> Vec<Recorded> {
        self.shared.log.all(|request| request.endpoint() == endpoint)
    }

    /// How many token requests arrived.
    pub fn token_requests(&self) -> usize {
        self.requests_at(Endpoint::Token).len()
    }

    /// How many calls of the API arrived.
    pub fn api_requests(&self) -> usize {
        self.requests_at(Endpoint::Api).len()
    }

    /// Forgets what arrived, and the handshakes.
    pub fn clear(&self) {
        self.shared.log.clear();
        self.shared.handshakes.clear();
    }

    /// Ends when `count` requests have arrived since the start, answered or not, forgotten or not.
    pub async fn arrived(&self, count: u64) {
        self.shared.log.reached(count).await;
    }

    /// Stops listening, breaks all connections, and waits until that is done.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        for task in std::mem::take(&mut self.tasks) {
            // A task that failed has stopped, too.
            let _stopped = task.await;
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox")
            .field("issuer", &self.issuer())
            .field("api", &self.api())
            .field("answers_left", &self.answers_left())
            .finish_non_exhaustive()
    }
}

/// Scheme and authority of a URL.
fn origin_of(url: &str) -> &str {
    let authority = url.find("://").map_or(0, |colon| colon + 3);
    let slash = url.get(authority..).and_then(|rest| rest.find('/'));
    slash.and_then(|slash| url.get(..authority + slash)).unwrap_or(url)
}

/// The rest of it, without the query.
fn path_of(url: &str) -> &str {
    let rest = url.strip_prefix(origin_of(url)).unwrap_or_default();
    rest.split('?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_at_the_authoritys_end() {
        for (url, origin, path) in [
            ("https://a.example/b/c?d=/e", "https://a.example", "/b/c"),
            ("https://a.example", "https://a.example", ""),
            ("http://127.0.0.1:1/", "http://127.0.0.1:1", "/"),
        ] {
            assert_eq!((origin_of(url), path_of(url)), (origin, path));
        }
    }
}
