//! Calling a carrier for a tenant.

mod admission;
mod builder;
mod fapi;
mod personal;
mod pipeline;
mod probe;
mod request;
#[cfg(test)]
mod tests;
mod tokens;
mod verification;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;

use crate::carriers::CarrierProfile;
use crate::error::{Error, ErrorKind};
use crate::owner::{ConnectionId, Tenant, TenantId};
use crate::parts::Parts;
use crate::token::Lease;
use crate::token::consent::{Authorization, PendingConsent};
use crate::token::introspection::Introspection;
use crate::token::revocation::Revocation;

pub use self::builder::ClientBuilder;
pub use self::probe::{Outlook, Probe};
pub use self::request::{AllowCredentialRoute, RequestBuilder, TenantClient};
pub use self::verification::{Standing, Verification};
pub use crate::directory::PiiPolicy;
pub use crate::exchange::answer::{Report, Response};

pub(crate) use self::pipeline::Pipeline;

/// How many keys [`Client::prepare`] makes at a time.
const PREPARED_AT_ONCE: usize = 16;

/// Sends a tenant's own HTTP requests to a carrier, each with a token of that tenant, bound as the client was told.
#[async_trait]
pub trait CarrierClient: fmt::Debug + Send + Sync {
    /// What is known of the carrier.
    fn carrier(&self) -> &CarrierProfile;

    /// Sends `request` for `tenant`. Its URI is a path from the profile's base, or a URL within the profile's origins.
    ///
    /// The answer is given for every status that the library has no rule for: 404 and 422 are the caller's business.
    ///
    /// # Errors
    /// [`Error`]; ask its [`stage`](Error::stage) whether the request may have been carried out.
    async fn send(&self, tenant: &Tenant, request: http::Request<Bytes>) -> Result<Response, Error>;

    /// Ends the tenant's token, and what the shipper consented to where tokens come from that: in this process at once, then at
    /// the issuer (RFC 7009). The next call asks for a new token, or needs a new consent.
    ///
    /// A call that is under way, or waits for a token at this moment, goes on.
    ///
    /// # Errors
    /// [`Error`] when the issuer could not be told, [`ErrorKind::RateLimited`] when it asks for a pause. The token is dropped here
    /// all the same; calling again, or the upkeep, tells the issuer later. [`ErrorKind::Grant`] or [`ErrorKind::Deadline`] when
    /// the grant store could not end the consent: call again.
    async fn revoke(&self, tenant: &Tenant) -> Result<Revocation, Error>;
}

/// The [`CarrierClient`] of one carrier, for all tenants. Cheap to clone.
///
/// ```no_run
/// use shipbound::binding::dpop::Dpop;
/// use shipbound::carriers;
/// use shipbound::credentials::{Credential, MemoryCredentials};
/// use shipbound::keys::MemoryKeyStore;
/// use shipbound::owner::{Environment, TenantId};
/// use shipbound::{Client, Parts};
///
/// # async fn rates() -> Result<(), Box<dyn std::error::Error>> {
/// let profile = carriers::fedex(Environment::Sandbox);
/// let credentials = MemoryCredentials::new();
/// credentials.put(TenantId::new("acme")?, profile.id(), Environment::Sandbox, Credential::new("l7..", "s3cr3t"));
/// let parts = Parts::builder().keys(MemoryKeyStore::new()).credentials(credentials).build()?;
///
/// let fedex = Client::builder(profile, &parts).binding(Dpop::es256()).build()?;
/// let quote = fedex.tenant("acme")?.post("/rate/v1/rates/quotes").json(&"..").send().await?;
/// println!("{} after {} attempts", quote.status(), quote.report().attempts);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client(Arc<Pipeline>);

impl Client {
    /// Starts a client of the carrier that `profile` describes.
    pub fn builder(profile: CarrierProfile, parts: &Parts) -> ClientBuilder {
        ClientBuilder::new(profile, parts.clone())
    }

    /// This client for one tenant, in the incarnation that the [directory](crate::directory) lists now. It goes on to mean that
    /// one: when the id has gone to another customer meanwhile, its calls are [`ErrorKind::Connection`]. Where this process does
    /// not know the connection yet, the directory is asked when a request is sent.
    ///
    /// # Errors
    /// [`ErrorKind::Id`] when `id` is not a [`TenantId`].
    pub fn tenant(&self, id: &str) -> Result<TenantClient, Error> {
        let id = TenantId::new(id).map_err(|error| Error::before(ErrorKind::Id(error)))?;
        Ok(match self.0.present(&id) {
            Some(tenant) => self.for_tenant(tenant),
            None => TenantClient::to_be_found(self.clone(), id),
        })
    }

    /// This client for one tenant of a certain incarnation: the first holder of the id, where none is given.
    pub fn for_tenant(&self, tenant: impl Into<Tenant>) -> TenantClient {
        TenantClient::new(self.clone(), tenant.into())
    }

    /// Makes the keys of these tenants ahead of their first call. No token is asked for.
    ///
    /// # Errors
    /// The first failure, after all have been tried.
    pub async fn prepare(&self, tenants: impl IntoIterator<Item = Tenant>) -> Result<(), Error> {
        let each = stream::iter(tenants).map(|tenant| self.0.prepare(tenant));
        let outcomes: Vec<_> = each.buffer_unordered(PREPARED_AT_ONCE).collect().await;
        outcomes.into_iter().collect()
    }

    /// Whether this client calls for connections of this carrier, environment and account.
    pub(crate) fn serves(&self, connection: &ConnectionId) -> bool {
        self.0.scope.connection(connection.tenant()) == *connection
    }

    pub(crate) fn pipeline(&self) -> &Pipeline {
        &self.0
    }

    /// The lease that a call of this tenant would be sent with now, if there is one that need not be renewed and whose key
    /// still signs: what [`CarrierClient::send`] looks for first. Nobody is asked, nothing is waited for.
    pub fn lease(&self, tenant: &Tenant) -> Option<Arc<Lease>> {
        self.0.lease_at_hand(tenant, self.0.parts.clock.monotonic())
    }

    /// Asks the issuer about the tenant's token (RFC 7662): whether it is active, and what it is really bound to. A token is
    /// asked for first where there is none.
    ///
    /// ```no_run
    /// # async fn check(carrier: shipbound::Client, acme: shipbound::owner::Tenant) -> Result<(), shipbound::Error> {
    /// let told = carrier.introspect(&acme).await?;
    /// let lease = carrier.lease(&acme);
    /// let bound = lease.is_some_and(|lease| told.is_bound_to(lease.confirmations()));
    /// # let _ = bound;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Introspection`] when the token is not active or the answer cannot be read, [`ErrorKind::Metadata`] when the
    /// issuer has no such endpoint, and what a token request can fail with.
    pub async fn introspect(&self, tenant: &Tenant) -> Result<Introspection, Error> {
        self.0.introspect(tenant).await
    }

    /// Begins to ask a shipper for consent (RFC 6749 4.1): gives the address that the shipper's browser is to be sent to, and
    /// what is to be kept until it comes back to `redirect_uri`, which must be registered at the issuer.
    ///
    /// Give each client an address of its own: that the browser came back to it tells whose answer it brings, also where
    /// issuers do not say so (RFC 9700 4.4.2.2).
    ///
    /// PKCE (RFC 7636) and `state` are always used, the request is pushed where the issuer offers it (RFC 9126), and the code
    /// is bound to the connection's proof key where there is one (RFC 9449 10).
    ///
    /// ```no_run
    /// # async fn consent(ups: shipbound::Client, acme: shipbound::owner::Tenant) -> Result<(), shipbound::Error> {
    /// let begun = ups.authorize(&acme, "https://app.example/ups/callback").await?;
    /// // Keep `begun.pending` in the shipper's session, redirect to `begun.url`. When the browser is back:
    /// # let address = "";
    /// ups.consented(&acme, begun.pending, address).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Consent`], [`ErrorKind::Metadata`] when the issuer has no authorization endpoint, and what a request to the
    /// issuer can fail with.
    pub async fn authorize(&self, tenant: &Tenant, redirect_uri: &str) -> Result<Authorization, Error> {
        self.0.admit(tenant).await?;
        let slot = self.0.parts.tokens.slot(&self.0.scope, tenant);
        let _begun = slot.connection.begin();
        self.0.source.admits(&slot.connection.id)?;
        let client = self.0.scope.digest();
        self.0.source.authorize(&slot.connection, client, redirect_uri).await
    }

    /// Ends what [`Client::authorize`] began for `tenant`, whose session it is: checks the whole `address` that the browser came
    /// back to, exchanges the code in it, and stores what the shipper consented to. The first token is then at hand.
    ///
    /// Let it run to its end, in a task of its own where the browser may go away: the code is good once, and what the issuer
    /// answers to it is nobody's if the future is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Consent`] when the answer is not one to this request, or the shipper refused; nothing was exchanged then
    /// unless [`Error::stage`] says that the issuer answered. [`ErrorKind::Grant`] when the consent could not be stored; it is
    /// to be asked for again.
    pub async fn consented(&self, tenant: &Tenant, pending: PendingConsent, address: &str) -> Result<(), Error> {
        self.0.admit(tenant).await?;
        let slot = self.0.parts.tokens.slot(&self.0.scope, tenant);
        // A removal waits for it.
        let _begun = slot.connection.begin();
        self.0.source.admits(&slot.connection.id)?;
        let client = self.0.scope.digest();
        let landed = self
            .0
            .source
            .consented(&slot.connection, client, pending, address)
            .await?;
        slot.put(&landed);
        // The consent that was stored is a change, for which leases are looked at again: this one has it already.
        self.0.source.review(&slot, &landed.lease).await?;
        self.0.parts.tokens.show(&self.0.scope, tenant);
        Ok(())
    }

    /// Drops the tenant's token, so that the next call asks for a new one: after its credential was changed, for instance.
    /// Failures of the past do not hold that call back; a pause that the issuer asked for does.
    pub fn forget(&self, tenant: &Tenant) {
        self.0.forget(tenant);
    }
}

#[async_trait]
impl CarrierClient for Client {
    fn carrier(&self) -> &CarrierProfile {
        self.0.profile()
    }

    async fn send(&self, tenant: &Tenant, request: http::Request<Bytes>) -> Result<Response, Error> {
        self.0.send(tenant, request).await
    }

    async fn revoke(&self, tenant: &Tenant) -> Result<Revocation, Error> {
        self.0.revoke(tenant).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("carrier", self.0.profile().id())
            .field("environment", &self.0.profile().environment())
            .finish_non_exhaustive()
    }
}
