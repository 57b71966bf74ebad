//! What all clients of an application share.

use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::credentials::CredentialStore;
use crate::directory::Directory;
use crate::error::{Error, ErrorKind};
use crate::grants::GrantStore;
use crate::journal::fingerprint::Fingerprints;
use crate::journal::{Journal, Sink};
use crate::keys::{KeyError, KeyStore};
use crate::owner::DeploymentId;
use crate::throttle::{Budget, LocalBudget};
use crate::token::cache::{DEFAULT_CAPACITY, TokenCache};
use crate::transport::Transport;

/// Keys, credentials, tokens, journal, clock and transport: made once, handed to every client. Cheap to clone.
///
/// ```
/// use shipbound::Parts;
/// use shipbound::credentials::MemoryCredentials;
/// use shipbound::keys::MemoryKeyStore;
///
/// let parts = Parts::builder().keys(MemoryKeyStore::new()).credentials(MemoryCredentials::new()).build()?;
/// # Ok::<(), shipbound::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Parts {
    // What every look-up of a lease reads stands together.
    pub(crate) tokens: Arc<TokenCache>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) credentials: Arc<dyn CredentialStore>,
    pub(crate) keys: Arc<dyn KeyStore>,
    pub(crate) grants: Option<Arc<dyn GrantStore>>,
    pub(crate) directory: Option<Arc<dyn Directory>>,
    pub(crate) deployment: DeploymentId,
    pub(crate) journal: Journal,
    pub(crate) fingerprints: Fingerprints,
    pub(crate) budget: Arc<dyn Budget>,
    pub(crate) transport: Arc<dyn Transport>,
}

impl Parts {
    /// Starts with nothing but defaults: the system's clock, the default transport, no journal.
    pub fn builder() -> PartsBuilder {
        PartsBuilder::default()
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The journal: stores, a registry and whatever else tells something should tell it there too.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The token cache.
    pub fn tokens(&self) -> &TokenCache {
        &self.tokens
    }
}

/// Collects [`Parts`].
#[derive(Debug, Default)]
pub struct PartsBuilder {
    deployment: Option<DeploymentId>,
    keys: Option<Arc<dyn KeyStore>>,
    credentials: Option<Arc<dyn CredentialStore>>,
    grants: Option<Arc<dyn GrantStore>>,
    directory: Option<Arc<dyn Directory>>,
    capacity: Option<usize>,
    journal: Option<Journal>,
    sinks: Vec<Arc<dyn Sink>>,
    fingerprints: Option<Fingerprints>,
    budget: Option<Arc<dyn Budget>>,
    clock: Option<Arc<dyn Clock>>,
    transport: Option<Arc<dyn Transport>>,
}

impl PartsBuilder {
    /// Where keys are. Required.
    #[must_use]
    pub fn keys(self, keys: impl KeyStore + 'static) -> Self {
        self.shared_keys(Arc::new(keys))
    }

    /// As [`PartsBuilder::keys`], for a store that the application holds too.
    #[must_use]
    pub fn shared_keys(mut self, keys: Arc<dyn KeyStore>) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Where credentials are. Required.
    #[must_use]
    pub fn credentials(self, credentials: impl CredentialStore + 'static) -> Self {
        self.shared_credentials(Arc::new(credentials))
    }

    /// As [`PartsBuilder::credentials`], for a store that the application holds too.
    #[must_use]
    pub fn shared_credentials(mut self, credentials: Arc<dyn CredentialStore>) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Where refresh tokens are: what shippers' consent gave. Needed by clients that ask by
    /// [`GrantType::RefreshToken`](crate::token::grant::GrantType::RefreshToken). Default: none.
    #[must_use]
    pub fn grants(self, grants: impl GrantStore + 'static) -> Self {
        self.shared_grants(Arc::new(grants))
    }

    /// As [`PartsBuilder::grants`], for a store that the application holds too.
    #[must_use]
    pub fn shared_grants(mut self, grants: Arc<dyn GrantStore>) -> Self {
        self.grants = Some(grants);
        self
    }

    /// Which connections there are, and whose calls are let through: a [`Registry`](crate::registry::Registry), say, of this
    /// deployment. Default: none, and every tenant that there is a credential for may call.
    #[must_use]
    pub fn directory(mut self, directory: Arc<dyn Directory>) -> Self {
        self.directory = Some(directory);
        self
    }

    /// The name of this deployment. Default `default`.
    #[must_use]
    pub fn deployment(mut self, deployment: DeploymentId) -> Self {
        self.deployment = Some(deployment);
        self
    }

    /// For how many connections tokens are kept. Default [`DEFAULT_CAPACITY`].
    #[must_use]
    pub fn token_capacity(mut self, connections: usize) -> Self {
        self.capacity = Some(connections);
        self
    }

    /// The journal that stores write to which were opened before. What is told by way of these parts goes to its sinks, and to
    /// those that are [added](PartsBuilder::sink) here, which hear of nothing else. Default: one with these sinks alone.
    #[must_use]
    pub fn journal(mut self, journal: Journal) -> Self {
        self.journal = Some(journal);
        self
    }

    /// Adds a sink of the journal. Default: none.
    #[must_use]
    pub fn sink(self, sink: impl Sink + 'static) -> Self {
        self.shared_sink(Arc::new(sink))
    }

    /// As [`PartsBuilder::sink`], for a sink that the application holds too.
    #[must_use]
    pub fn shared_sink(mut self, sink: Arc<dyn Sink>) -> Self {
        self.sinks.push(sink);
        self
    }

    /// What addresses are digested with in events. Default: a secret of this process.
    #[must_use]
    pub fn fingerprints(mut self, fingerprints: Fingerprints) -> Self {
        self.fingerprints = Some(fingerprints);
        self
    }

    /// Who keeps count of requests to carriers that limit them. Default: a [`LocalBudget`] of this process, which is enough
    /// where no other process sends from the same address.
    #[must_use]
    pub fn budget(mut self, budget: Arc<dyn Budget>) -> Self {
        self.budget = Some(budget);
        self
    }

    /// The clock. Default [`SystemClock`].
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// What sends requests. Default, with the feature `reqwest`: `ReqwestTransport` as its builder makes it.
    #[must_use]
    pub fn transport(mut self, transport: impl Transport + 'static) -> Self {
        self.transport = Some(Arc::new(transport));
        self
    }

    /// The parts.
    ///
    /// # Errors
    /// [`ErrorKind::Build`] when keys, credentials or (without the feature `reqwest`) a transport are missing.
    pub fn build(self) -> Result<Parts, Error> {
        let missing = |what| Error::before(ErrorKind::Build(what));
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let fingerprints = match self.fingerprints {
            Some(fingerprints) => fingerprints,
            None => Fingerprints::random().map_err(|_failed| Error::before(ErrorKind::Key(KeyError::Randomness)))?,
        };
        Ok(Parts {
            deployment: self.deployment.unwrap_or_else(DeploymentId::default_deployment),
            keys: self.keys.ok_or_else(|| missing("no key store was given"))?,
            credentials: self
                .credentials
                .ok_or_else(|| missing("no credential store was given"))?,
            grants: self.grants,
            directory: self.directory,
            tokens: Arc::new(TokenCache::new(self.capacity.unwrap_or(DEFAULT_CAPACITY))),
            journal: match self.journal {
                Some(journal) => journal.and(self.sinks),
                None => Journal::new(Arc::clone(&clock), self.sinks),
            },
            fingerprints,
            budget: match self.budget {
                Some(budget) => budget,
                None => Arc::new(LocalBudget::new(Arc::clone(&clock))),
            },
            clock,
            transport: match self.transport {
                Some(transport) => transport,
                None => default_transport()?,
            },
        })
    }
}

#[cfg(feature = "reqwest")]
fn default_transport() -> Result<Arc<dyn Transport>, Error> {
    let transport = crate::transport::reqwest::ReqwestTransport::builder()
        .build()
        .map_err(|_refused| Error::before(ErrorKind::Build("the default transport cannot be built")))?;
    Ok(Arc::new(transport))
}

#[cfg(not(feature = "reqwest"))]
fn default_transport() -> Result<Arc<dyn Transport>, Error> {
    Err(Error::before(ErrorKind::Build(
        "no transport was given, and the feature reqwest is off",
    )))
}
