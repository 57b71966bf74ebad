//! A loopback issuer and carrier API, for tests: of this crate and of applications that use it.
//!
//! Both are real servers on ports of 127.0.0.1: TLS with certificates made at the start, HTTP/2 and HTTP/1.1. The issuer
//! gives DPoP-bound tokens to those who prove a key, and the API checks every proof by RFC 9449 4.3, through this crate's own
//! [`verify`](crate::verify) room: signature, `htm`, `htu`, `iat`, `jti`, nonce, `ath` and the token's `cnf`. A third server
//! asks for client certificates, [if wanted](SandboxBuilder::mtls).
//!
//! Twelve carriers' APIs are [imitated](self#imitations) beside that. Tests add routes and answers of their own
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
//! # The issuer
//!
//! Below the issuer's URL, and the same below the mTLS host's:
//!
//! | | at | |
//! |---|---|---|
//! | metadata (RFC 8414) | [`MetadataAt`] | tests [change it](Sandbox::metadata_with) |
//! | token endpoint | `/token` | the grants below, DPoP, certificate-bound tokens |
//! | revocation (RFC 7009) | `/revoke` | a refresh token takes its whole family along |
//! | introspection (RFC 7662) | `/introspect` | `cnf` with `jkt`, `x5t#S256` or both |
//! | pushed requests (RFC 9126) | `/par` | good once; the key of a proof is the code's |
//! | authorization (RFC 6749 4.1) | `/authorize` | a page with two buttons; tests [press them](Sandbox::allow) |
//!
//! | grant | |
//! |---|---|
//! | `client_credentials` | for clients that authenticate |
//! | `authorization_code` | S256 (RFC 7636), `redirect_uri` as registered, once and within a minute, `dpop_jkt`, `iss` (RFC 9207) |
//! | `refresh_token` | each good once, see [`RefreshReuse`]; public clients' are bound to their key or certificate |
//! | `..:jwt-bearer` (RFC 7523 2.1) | the assertion and nothing beside it, as Maskinporten has it |
//! | `..:token-exchange` (RFC 8693) | for an active access token of this issuer |
//!
//! Clients authenticate as their [`Registration`] says, and in no other way: by a secret, by a signed assertion (RFC 7523), by a
//! certificate of the sandbox's authority or one of their own (RFC 8705), or not at all. Those that nobody registered have a
//! [secret](Sandbox::credential).
//!
//! # Client certificates
//!
//! ```
//! use shipbound::sandbox::{CertificateFor, Registration, Sandbox};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sandbox = Sandbox::builder().mtls(true).start().await?;
//! let certificate = sandbox.client_certificate(CertificateFor::from("acme").self_signed())?;
//! let known = Registration::self_signed_tls_client_auth("acme", [certificate.x5t()]);
//! let credential = sandbox.register(known.certificate_bound_tokens());
//! assert!(credential.client_secret().is_none());
//!
//! let identity = certificate.identity()?; // for connections to these:
//! assert!(sandbox.mtls_api().is_some_and(|url| url.starts_with("https://127.0.0.1:")));
//! assert_eq!(identity.x5t(), certificate.x5t());
//! # Ok(())
//! # }
//! ```
//!
//! What a connection showed is [on record](Recorded::certificate) with every request, and [by itself](Sandbox::handshakes).
//!
//! # Scripts
//!
//! A [script](Sandbox::script) is a list of [`Answer`]s for one tenant (or [anyone](Who::Anyone)) at one [`Endpoint`]. They
//! are given in order, then service is normal again. A tenant's own script comes first, then the one for anyone. A tenant is
//! known by its client id at the issuer, and by its token or credential at the API.
//!
//! # Imitations
//!
//! Of these carriers ([`imitations`] has their refusals, for scripts):
//!
//! | | callers show | a token is given | the probe | rates, labels |
//! |---|---|---|---|---|
//! | FedEx | token | `POST /oauth/token`, id and secret in the body; child accounts: `child_Key`, `child_secret` | `POST /country/v1/postal/validate` | `/rate/v1/`, `/ship/v1/`, `/track/v1/` |
//! | UPS | token | `POST /security/v1/oauth/token`, Basic; all values texts; 14399 s | `GET /api/track/v1/details/{number}` with `transId`, `transactionSrc` | `/api/rating/`, `/api/shipments/` |
//! | DHL Express | Basic | | `GET /mydhlapi/address-validate` | `/mydhlapi/rates`, `/shipments`; all below `/mydhlapi/test`, too |
//! | DHL Parcel DE | token | `POST /parcel/de/account/auth/ropc/v1/token`, `password`; 1799 s | `GET ../ropc/v1/hello` | `POST /parcel/de/shipping/v2/orders`, dry with `?validate=true` |
//! | DHL eCommerce Americas | token | `POST /auth/v4/accesstoken`, in the body or Basic | `POST /shipping/v4/products` | `POST /shipping/v4/label` |
//! | DHL Tracking Unified | `DHL-API-Key` | | `GET /track/shipments?trackingNumber=` | |
//! | DHL Parcel NL/BE | token | `POST /authenticate/api-key`, JSON; camelCase, ends at `accessTokenExpiration`; 900 s | `GET /labels` | `POST /labels`, `/shipments` |
//! | USPS | token, labels a payment authorization as well | `POST /oauth2/v3/token`, form or JSON; 28799 s | `GET /addresses/v3/city-state` | `POST /payments/v3/payment-authorization`, `/labels/v3/label` |
//! | EasyPost | key, Bearer or Basic | | `GET /v2/addresses` | `POST /v2/shipments` |
//! | ShipEngine | `API-Key`, perhaps `On-Behalf-Of` | | `GET /v1/carriers` | `POST /v1/rates`, `/v1/labels` |
//! | nShift | token | `POST /idp/connect/token`, id and secret in the body | `/track/shipmentdata/..` | `POST /checkout/..`, `/ShipServer/..` |
//! | Cargoson | key as Bearer, `Accept: application/vnd.api.v1` | | `GET /api/services/list` | `POST /api/freightPrices/list`, 204 without prices |
//!
//! UPS and USPS also give codes and refresh tokens of consent (`/security/v1/oauth/authorize`, `/oauth2/v3/authorize`), for seven
//! days. UPS redeems them at `/security/v1/oauth/refresh`, and codes with PKCE without Basic; USPS has revocation at
//! `/oauth2/v3/revoke`, by a token or the secret. DHL Parcel NL gives a refresh token with each token, redeemed at
//! `/authenticate/refresh-token`.
//!
//! [`Sandbox::credential_for`] makes credentials of the shape that a carrier wants. [Limits](SandboxBuilder::vendor_limits) are
//! the vendors'.
//!
//! They answer on the API's origin (the token endpoints on the issuer's, too). Unlike the vendors, those with tokens issue bound
//! ones when a proof comes along, unless [`Vendors::AsToday`] is set; refusals of bound calls then have a challenge beside the
//! vendor's body. Keys are bound to nothing. Where a test has a [route](Sandbox::route) of its own at a path that is usual
//! elsewhere (`/labels`, `/v1/shipments`), a carrier answers its own callers there and nobody else.
//!
//! # Limits
//!
//! Request bodies end at 16 MiB (413). The last 65 536 requests are kept, with bodies of 256 MiB in all, and
//! as many handshakes, access tokens, refresh tokens, codes, pushed requests and pages.

mod accounts;
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
mod form;
mod gate;
mod grants;
mod handshake;
pub mod imitations;
mod issue;
mod issuer;
mod locate;
mod memory;
mod metadata;
mod page;
mod par;
mod profiles;
mod record;
mod registration;
mod registry;
mod remembered;
mod script;
mod seed;
mod server;
mod tls;
mod token_status;

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

use self::profiles::origin_of;
use crate::owner::TenantId;
use crate::target::danger::Loopback;
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

    /// Answers calls of this method and path so, once their token and proof have passed. A segment `{...}` of the path stands
    /// for any one segment. A later route for the same place takes over, and any route goes before what the imitations do.
    pub fn route(&self, method: Method, path: &str, answer: Canned) {
        self.route_with(method, path, move |_| answer.clone());
    }

    /// As [`route`](Self::route), with an answer made from the request.
    pub fn route_with(&self, method: Method, path: &str, answer: impl Fn(&Recorded) -> Canned + Send + Sync + 'static) {
        self.shared.routes.add(method, path, true, Arc::new(answer));
    }

    /// As [`route_with`](Self::route_with), for whoever calls: no token is asked for. For API keys and `Basic` of carriers that
    /// are not imitated.
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
