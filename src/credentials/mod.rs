//! What a carrier gave to a shipper to log in with, per connection.

mod placement;
#[cfg(feature = "sql")]
mod written;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;

use crate::act::Act;
use crate::crypto::{self, Digest};
use crate::owner::{AccountId, CarrierId, ConnectionId, Environment, Place, Tenant};
use crate::secret::ClientSecret;

pub use self::placement::{CredentialAt, CredentialPart, KeyForm, PartAt};

/// How a connection's client is registered at its issuer: a client id, and what goes with it.
///
/// ```
/// use shipbound::credentials::Credential;
///
/// let by_secret = Credential::new("l7..", "s3cr3t");
/// let by_assertion = Credential::without_secret("shipper-17").key_id("2026-11");
/// let by_key = Credential::api_key("EZTK..");
/// let of_child = Credential::new("l7..", "s3cr3t").with_part("child_key", "k..").with_part("child_secret", "s..");
/// ```
#[derive(Clone)]
pub struct Credential {
    client_id: String,
    client_secret: Option<ClientSecret>,
    key_id: Option<Arc<str>>,
    certificates: Option<Arc<[Vec<u8>]>>,
    /// By name, in order.
    parts: BTreeMap<Arc<str>, ClientSecret>,
    /// What serves as long as this one is not proved.
    previous: Option<Arc<Credential>>,
    /// As the store counts it; else it is made from what the credential holds.
    revision: Option<u64>,
}

impl Credential {
    /// A client id with its secret (RFC 6749 2.3.1). The credential's revision is made from all that it holds, so a changed
    /// secret is another credential.
    pub fn new(client_id: impl Into<String>, client_secret: impl Into<ClientSecret>) -> Self {
        Self {
            client_secret: Some(client_secret.into()),
            ..Self::without_secret(client_id)
        }
    }

    /// A client id alone: for clients that authenticate with a key or a certificate, and for public clients.
    pub fn without_secret(client_id: impl Into<String>) -> Self {
        Self {
            client_id: client_id.into(),
            client_secret: None,
            key_id: None,
            certificates: None,
            parts: BTreeMap::new(),
            previous: None,
            revision: None,
        }
    }

    /// An API key: a secret that goes with every call and needs no id.
    pub fn api_key(key: impl Into<ClientSecret>) -> Self {
        Self::new("", key)
    }

    /// Adds what the carrier's profile wants beside id and secret, by the name that the profile gives it
    /// ([`CarrierProfile::parts`](crate::carriers::CarrierProfile::parts)): a child account's key, the account that a platform
    /// acts for.
    #[must_use]
    pub fn with_part(mut self, name: &str, value: impl Into<ClientSecret>) -> Self {
        self.parts.insert(name.into(), value.into());
        self
    }

    /// This credential, with the one that it takes the place of: that goes on while the carrier does not take this one. For
    /// secrets that are changed while calls go on. One that was not taken is tried again after five minutes, then less often, at
    /// least every two hours; when the old one is refused as well; when the store changes; and by
    /// [`Client::verify_credentials`](crate::Client::verify_credentials). An older one behind `previous` is forgotten.
    #[must_use]
    pub fn replacing(mut self, previous: Credential) -> Self {
        self.previous = Some(Arc::new(Credential {
            previous: None,
            ..previous
        }));
        self
    }

    /// The `kid` under which the issuer knows the key of the client's assertions. Default: the key's thumbprint (RFC 7638).
    #[must_use]
    pub fn key_id(mut self, kid: &str) -> Self {
        self.key_id = Some(kid.into());
        self
    }

    /// The certificates of the key of the client's assertions in DER, the key's own first: sent as `x5c` (RFC 7515 4.1.6)
    /// where the profile says so.
    #[must_use]
    pub fn certificates(mut self, chain: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.certificates = Some(chain.into_iter().collect());
        self
    }

    /// This credential with a revision that the store counts itself.
    #[must_use]
    pub fn with_revision(mut self, revision: u64) -> Self {
        self.revision = Some(revision);
        self
    }

    /// The client id. Not secret, though not for every eye.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The secret; `None` for a client that has none.
    pub fn client_secret(&self) -> Option<&ClientSecret> {
        self.client_secret.as_ref()
    }

    /// A part by its name.
    pub fn part(&self, name: &str) -> Option<&ClientSecret> {
        self.parts.get(name)
    }

    /// This credential alone.
    pub(crate) fn without_previous(mut self) -> Self {
        self.previous = None;
        self
    }

    /// See [`Credential::replacing`].
    pub(crate) fn previous(&self) -> Option<&Credential> {
        self.previous.as_deref()
    }

    /// See [`Credential::key_id`].
    pub(crate) fn kid(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// See [`Credential::certificates`].
    pub(crate) fn x5c(&self) -> Option<&[Vec<u8>]> {
        self.certificates.as_deref()
    }

    /// Which version of this connection's credential it is. Tokens of another revision are not used.
    pub(crate) fn revision(&self) -> u64 {
        self.revision.unwrap_or_else(|| self.digest())
    }

    fn digest(&self) -> u64 {
        let mut content = Digest::default();
        content.text(&self.client_id);
        content.text(self.key_id.as_deref().unwrap_or_default());
        let chain = self.certificates.as_deref().unwrap_or_default();
        content.count(chain.len());
        chain.iter().for_each(|der| content.bytes(der));
        content.count(self.parts.len());
        for (name, value) in &self.parts {
            content.text(name);
            content.bytes(&crypto::sha256(value.expose().as_bytes()));
        }
        let secret = self.client_secret.as_ref().map_or("", |secret| secret.expose());
        let digest = crypto::hmac_sha256(secret.as_bytes(), &content.finish());
        let own = digest
            .iter()
            .take(8)
            .fold(0, |number, octet| number << 8 | u64::from(*octet));
        // Another previous one makes another credential.
        self.previous
            .as_ref()
            .map_or(own, |previous| own.rotate_left(1) ^ previous.revision())
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not even the id: with some carriers it is somebody's address of mail.
        f.debug_struct("Credential")
            .field("parts", &self.parts.keys())
            .finish_non_exhaustive()
    }
}

/// Why there is no credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The store has none for this connection. User action: add it; an id that differs in case is another tenant.
    #[error("the credential store has none for this connection")]
    Missing,
    /// The store does not answer, or not as it should. User action: mend the store.
    #[error("the credential store is not available")]
    Unavailable,
    /// The credential has no secret, and the client authenticates with one. User action: add the secret, or choose another
    /// way of authentication in the profile.
    #[error("the credential has no secret")]
    NoSecret,
    /// The credential has no part of this name, which the carrier's profile wants. User action: add it with
    /// [`Credential::with_part`].
    #[error("the credential has no part {0}")]
    NoPart(Cow<'static, str>),
    /// The secret's form says that it is for the carrier's other environment: a production key at a sandbox connection, or
    /// the other way round. It was not sent. User action: give the key of this environment.
    #[error("the secret is for another environment of the carrier")]
    OtherEnvironment,
    /// The id, the secret or a part has characters that cannot be sent, or the secret begins or ends with a blank. User action:
    /// correct it; a line break that was copied along is usual.
    #[error("the credential has characters that cannot be sent, or a blank at an end")]
    Syntax,
    /// The connection has no region, or one that has no store here ([`Regional`](crate::store::Regional)). User action: hand in
    /// the region's store, or add the connection with a region.
    #[error("there is no store for the connection's region")]
    NoRegion,
    /// The store shows an older credential than it has shown before: a row or a dump was put back. User action: put the
    /// credential that is meant again; if nobody restored a backup, treat it as an attack on the database.
    #[error("the credential store's state was rolled back")]
    RolledBack,
    /// The credential is larger than the store takes. User action: look for what does not belong into it.
    #[error("the credential is larger than {limit} octets")]
    TooLarge {
        /// How many octets the store takes.
        limit: usize,
    },
    /// An environment variable that was named is not set, or is not UTF-8. User action: set it.
    #[error("the environment variable {0} is not set")]
    Variable(String),
}

impl CredentialError {
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }
}

/// Where credentials come from. Asked once for each token request; for a call that a cached token serves only after
/// [`generation`](CredentialStore::generation) has moved.
#[async_trait]
pub trait CredentialStore: fmt::Debug + Send + Sync {
    /// The newest credential of this connection.
    ///
    /// # Errors
    /// [`CredentialError::Missing`] where there is none, [`CredentialError::Unavailable`] where that cannot be told.
    async fn credential(&self, connection: &ConnectionId) -> Result<Credential, CredentialError>;

    /// A number that grows whenever a credential changes: looked at on every call, so it must be as cheap as an atomic load.
    ///
    /// A token that was asked for before a change is used again only when its connection's credential is still the same
    /// one. A store that always gives 0, the default, says that a change takes effect with the next token request.
    fn generation(&self) -> u64 {
        0
    }
}

/// Writes the credentials of a [`CredentialStore`], by acts that say who does it and why.
#[async_trait]
pub trait CredentialAdmin: fmt::Debug + Send + Sync {
    /// Stores the credential of this connection, in the place of an older one. Durable before `Ok`, as durable as the store
    /// gets; this process uses it from then on.
    ///
    /// # Errors
    /// [`CredentialError::Unavailable`]: stored or not; repeat it. [`CredentialError::TooLarge`]: not stored.
    async fn put_credential(
        &self,
        connection: &ConnectionId,
        credential: Credential,
        act: &Act,
    ) -> Result<(), CredentialError>;

    /// Takes the connection's credential away. Tokens that were asked for with it are not used any more in this process.
    /// `Ok(false)`: there was none. May be repeated.
    ///
    /// # Errors
    /// [`CredentialError::Unavailable`]: taken away or not.
    async fn remove_credential(&self, connection: &ConnectionId, act: &Act) -> Result<bool, CredentialError>;

    /// Destroys what the values of this connection's tenant are sealed with, in the incarnation that it names, where none of them is
    /// left: not of his other connections either. `Ok(false)`: there is one left, or nothing to destroy. May be repeated.
    ///
    /// Default: `Ok(false)`, for stores that seal nothing.
    ///
    /// # Errors
    /// [`CredentialError::Unavailable`]: destroyed or not; repeat it. [`CredentialError::RolledBack`].
    async fn erase_data_key(&self, _connection: &ConnectionId, _act: &Act) -> Result<bool, CredentialError> {
        Ok(false)
    }
}

/// Credentials in memory, put there by the application.
///
/// ```
/// use shipbound::credentials::{Credential, MemoryCredentials};
/// use shipbound::owner::{CarrierId, Environment, TenantId};
///
/// let store = MemoryCredentials::new();
/// store.put(TenantId::new("acme")?, &CarrierId::new("fedex")?, Environment::Sandbox, Credential::new("l7..", "s3cr3t"));
/// # Ok::<(), shipbound::owner::InvalidId>(())
/// ```
#[derive(Debug, Default)]
pub struct MemoryCredentials {
    credentials: RwLock<HashMap<Place, Credential>>,
    generation: AtomicU64,
}

impl MemoryCredentials {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the credential of the tenant's main account, in the place of an older one.
    pub fn put(
        &self,
        tenant: impl Into<Tenant>,
        carrier: &CarrierId,
        environment: Environment,
        credential: Credential,
    ) {
        self.put_account(tenant, carrier, environment, AccountId::main(), credential);
    }

    /// Adds the credential of one of the tenant's accounts, in the place of an older one.
    pub fn put_account(
        &self,
        tenant: impl Into<Tenant>,
        carrier: &CarrierId,
        environment: Environment,
        account: AccountId,
        credential: Credential,
    ) {
        let place = Place::new(tenant.into(), carrier, environment, account);
        self.credentials
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(place, credential);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Takes a credential away. Tokens that were asked for with it are not used any more.
    pub fn remove(&self, connection: &ConnectionId) {
        self.take(connection);
    }

    fn take(&self, connection: &ConnectionId) -> bool {
        let taken = self
            .credentials
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&Place::of(connection));
        self.generation.fetch_add(1, Ordering::Release);
        taken.is_some()
    }
}

#[async_trait]
impl CredentialAdmin for MemoryCredentials {
    async fn put_credential(
        &self,
        connection: &ConnectionId,
        credential: Credential,
        _act: &Act,
    ) -> Result<(), CredentialError> {
        self.put_account(
            connection.tenant().clone(),
            connection.carrier(),
            connection.environment(),
            connection.account().clone(),
            credential,
        );
        Ok(())
    }

    async fn remove_credential(&self, connection: &ConnectionId, _act: &Act) -> Result<bool, CredentialError> {
        Ok(self.take(connection))
    }
}

#[async_trait]
impl CredentialStore for MemoryCredentials {
    async fn credential(&self, connection: &ConnectionId) -> Result<Credential, CredentialError> {
        let credentials = self.credentials.read().unwrap_or_else(PoisonError::into_inner);
        credentials
            .get(&Place::of(connection))
            .cloned()
            .ok_or(CredentialError::Missing)
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

/// Credentials from environment variables that are named one by one. They are read when they are named, not later.
///
/// There is no rule that makes a variable's name from a tenant's id: such rules fold ids together.
///
/// ```no_run
/// use shipbound::credentials::EnvCredentials;
/// use shipbound::owner::{CarrierId, Environment, TenantId};
///
/// let fedex = CarrierId::new("fedex")?;
/// let credentials = EnvCredentials::new().client(
///     TenantId::new("acme")?,
///     &fedex,
///     Environment::Sandbox,
///     "FEDEX_CLIENT_ID",
///     "FEDEX_CLIENT_SECRET",
/// )?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct EnvCredentials(MemoryCredentials);

impl EnvCredentials {
    /// No credentials yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the client id and secret of the tenant's main account from these two variables.
    ///
    /// # Errors
    /// [`CredentialError::Variable`] with the name of the one that is not set.
    pub fn client(
        self,
        tenant: impl Into<Tenant>,
        carrier: &CarrierId,
        environment: Environment,
        id_variable: &str,
        secret_variable: &str,
    ) -> Result<Self, CredentialError> {
        let credential = Credential::new(variable(id_variable)?, variable(secret_variable)?);
        self.0.put(tenant, carrier, environment, credential);
        Ok(self)
    }

    /// Reads the API key of the tenant's main account from this variable.
    ///
    /// # Errors
    /// As [`EnvCredentials::client`].
    pub fn api_key(
        self,
        tenant: impl Into<Tenant>,
        carrier: &CarrierId,
        environment: Environment,
        key_variable: &str,
    ) -> Result<Self, CredentialError> {
        let credential = Credential::api_key(variable(key_variable)?);
        self.0.put(tenant, carrier, environment, credential);
        Ok(self)
    }

    /// Adds a [part](CredentialPart) from this variable to a credential that was read before.
    ///
    /// # Errors
    /// As [`EnvCredentials::client`]; [`CredentialError::Missing`] where no credential was read.
    pub fn part(
        self,
        tenant: impl Into<Tenant>,
        carrier: &CarrierId,
        environment: Environment,
        name: &str,
        value_variable: &str,
    ) -> Result<Self, CredentialError> {
        let value = variable(value_variable)?;
        let place = Place::new(tenant.into(), carrier, environment, AccountId::main());
        let mut credentials = self.0.credentials.write().unwrap_or_else(PoisonError::into_inner);
        let credential = credentials.get_mut(&place).ok_or(CredentialError::Missing)?;
        *credential = credential.clone().with_part(name, value);
        drop(credentials);
        Ok(self)
    }
}

#[async_trait]
impl CredentialStore for EnvCredentials {
    async fn credential(&self, connection: &ConnectionId) -> Result<Credential, CredentialError> {
        self.0.credential(connection).await
    }

    fn generation(&self) -> u64 {
        self.0.generation()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads variables, each named by the application"
)]
fn variable(name: &str) -> Result<String, CredentialError> {
    std::env::var(name).map_err(|_unset| CredentialError::Variable(name.to_owned()))
}
