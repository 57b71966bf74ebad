//! How a [`ReqwestTransport`] is put together: everything that could be ambient is said here.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::reqwest::Client;
use ::reqwest::redirect::Policy;
use http::HeaderValue;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;

use super::super::resolver::{Lookup, Resolver, SharedResolver, SystemLookup};
use super::clients::Clients;
use super::{Inner, Origins, ReqwestTransport};
use crate::clock::{Clock, SystemClock};
use crate::target::danger::Loopback;

/// Why a transport could not be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A root is not PEM, holds no certificate, or holds one that cannot be a trust anchor.
    #[error("a root is not a certificate in PEM: check the file")]
    Root,
    /// The user agent is not legal in a header.
    #[error("the user agent has characters that a header cannot carry: use visible ASCII")]
    UserAgent,
    /// A private host is not a DNS name in lower case.
    #[error("a private host is not a DNS name: write the name alone, without scheme and port")]
    PrivateHost,
    /// The TLS or HTTP stack refused its configuration.
    #[error("the TLS or HTTP stack refused its configuration")]
    Stack,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246). rustls offers only forward-secret AEAD suites for it.
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// Puts a [`ReqwestTransport`] together.
#[must_use = "nothing is made before build()"]
pub struct ReqwestTransportBuilder {
    mozilla_roots: bool,
    pem_roots: Vec<Vec<u8>>,
    min_tls: TlsVersion,
    user_agent: String,
    connect_timeout: Duration,
    pool_idle_timeout: Duration,
    pool_max_idle_per_host: usize,
    #[cfg(feature = "mtls")]
    max_identities: usize,
    loopback: Vec<Loopback>,
    private_hosts: HashSet<Box<str>>,
    lookup: Arc<dyn Lookup>,
    clock: Arc<dyn Clock>,
}

impl Default for ReqwestTransportBuilder {
    fn default() -> Self {
        Self {
            mozilla_roots: true,
            pem_roots: Vec::new(),
            min_tls: TlsVersion::Tls12,
            user_agent: concat!("shipbound/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(5),
            pool_idle_timeout: Duration::from_secs(90),
            pool_max_idle_per_host: 128,
            #[cfg(feature = "mtls")]
            max_identities: 16_384,
            loopback: Vec::new(),
            private_hosts: HashSet::new(),
            lookup: Arc::new(SystemLookup),
            clock: Arc::new(SystemClock::new()),
        }
    }
}

impl ReqwestTransportBuilder {
    /// Trusts these roots too, besides Mozilla's: one or more certificates in PEM. Roots of the system are read only if the
    /// application reads them and hands them in here; `SSL_CERT_FILE` has no effect.
    pub fn add_root_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.pem_roots.push(pem.into());
        self
    }

    /// Trusts these roots, those added afterwards, and no others: one or more certificates in PEM.
    pub fn only_roots_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.mozilla_roots = false;
        self.pem_roots = vec![pem.into()];
        self
    }

    /// The oldest version of TLS that is spoken. Default: 1.2.
    pub fn min_tls(mut self, version: TlsVersion) -> Self {
        self.min_tls = version;
        self
    }

    /// The `User-Agent` of requests that have none. Default: `shipbound/` and the version.
    pub fn user_agent(mut self, text: impl Into<String>) -> Self {
        self.user_agent = text.into();
        self
    }

    /// How long resolving, connecting and the TLS handshake may take together. Default: 5 s.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// How long an unused connection stays open. Default: 90 s.
    pub fn pool_idle_timeout(mut self, limit: Duration) -> Self {
        self.pool_idle_timeout = limit;
        self
    }

    /// How many unused connections to one origin stay open; 0 turns the pool off. Default: 128. With fewer than there are
    /// requests at a time over HTTP/1.1, connections are closed only to be opened again.
    pub fn pool_max_idle_per_host(mut self, limit: usize) -> Self {
        self.pool_max_idle_per_host = limit;
        self
    }

    /// How many client certificates keep connections and resumption tickets at a time; beyond that those of the certificate
    /// that was used least recently are closed. Requests on their way finish. Default: 16 384, which take some 12 KiB each.
    ///
    /// Those of a certificate that is [retired](crate::transport::identity::ClientIdentity::retire) are closed at once, those
    /// of one that no request used for the pool's idle timeout by a later request.
    #[cfg(feature = "mtls")]
    pub fn max_identities(mut self, limit: usize) -> Self {
        self.max_identities = limit;
        self
    }

    /// Lets requests go to this loopback authority, by `http` or `https`. For tests and developers' machines.
    pub fn allow_loopback(mut self, authority: Loopback) -> Self {
        self.loopback.push(authority);
        self
    }

    /// Lets this one name resolve to private addresses (10/8, 172.16/12, 192.168/16, 100.64/10, fc00::/7), as a carrier
    /// behind a VPN or an issuer in one's own network does. Loopback and link-local addresses stay refused.
    pub fn allow_private_host(mut self, host: &str) -> Self {
        self.private_hosts.insert(host.to_ascii_lowercase().into());
        self
    }

    /// Resolves names by this. Default: [`SystemLookup`].
    pub fn lookup(mut self, lookup: Arc<dyn Lookup>) -> Self {
        self.lookup = lookup;
        self
    }

    /// Measures [`Route::deadline`](crate::transport::Route::deadline), and how long no request has used a client certificate,
    /// by this clock. Default: [`SystemClock`]. Connect timeout and idle timeout of connections are measured by the HTTP
    /// stack.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The transport. Opens no connection, starts no task, reads no file and no environment.
    ///
    /// # Errors
    /// [`BuildError`] says which setting is wrong.
    pub fn build(self) -> Result<ReqwestTransport, BuildError> {
        let named = |host: &str| {
            crate::target::Target::parse(&format!("https://{host}/")).is_ok_and(|target| target.host() == host)
        };
        if !self.private_hosts.iter().all(|host| named(host)) {
            return Err(BuildError::PrivateHost);
        }
        let blueprint = Blueprint {
            tls: self.tls()?,
            resolver: SharedResolver(Arc::new(Resolver::new(self.lookup, self.private_hosts))),
            user_agent: HeaderValue::try_from(self.user_agent).map_err(|_| BuildError::UserAgent)?,
            connect_timeout: self.connect_timeout,
            pool_idle_timeout: self.pool_idle_timeout,
            https_only: self.loopback.is_empty(),
        };
        Ok(ReqwestTransport(Arc::new(Inner {
            clients: Clients::new(blueprint.client(blueprint.tls.clone(), self.pool_max_idle_per_host)?),
            #[cfg(feature = "mtls")]
            identities: super::Pools::new(self.max_identities, self.pool_idle_timeout),
            #[cfg(feature = "mtls")]
            pool_max_idle_per_host: self.pool_max_idle_per_host,
            blueprint,
            loopback: self.loopback,
            clock: self.clock,
            origins: Origins::default(),
        })))
    }

    fn tls(&self) -> Result<rustls::ClientConfig, BuildError> {
        let mut roots = RootCertStore::empty();
        if self.mozilla_roots {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        for pem in &self.pem_roots {
            let before = roots.len();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|_| BuildError::Root)?;
                roots.add(certificate).map_err(|_| BuildError::Root)?;
            }
            if roots.len() == before {
                return Err(BuildError::Root);
            }
        }
        let versions: &[&rustls::SupportedProtocolVersion] = match self.min_tls {
            TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsVersion::Tls13 => &[&rustls::version::TLS13],
        };
        // The provider is named: which one a process has as its default depends on who asked first.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|_| BuildError::Stack)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Early data can be replayed by whoever records it (RFC 8446 8).
        config.enable_early_data = false;
        config.key_log = Arc::new(rustls::NoKeyLog);
        Ok(config)
    }
}

impl fmt::Debug for ReqwestTransportBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestTransportBuilder")
            .field("mozilla_roots", &self.mozilla_roots)
            .field("pem_roots", &self.pem_roots.len())
            .field("min_tls", &self.min_tls)
            .field("loopback", &self.loopback)
            .field("private_hosts", &self.private_hosts)
            .finish_non_exhaustive()
    }
}

/// What all clients of a transport have in common.
pub(super) struct Blueprint {
    /// Resumption tickets live in here: clones share them.
    tls: rustls::ClientConfig,
    resolver: SharedResolver,
    user_agent: HeaderValue,
    connect_timeout: Duration,
    pool_idle_timeout: Duration,
    https_only: bool,
}

impl Blueprint {
    /// What all configurations of TLS have in common, and that of requests without a client certificate.
    pub(super) fn tls(&self) -> &rustls::ClientConfig {
        &self.tls
    }

    /// A client that keeps up to `idle` unused connections per origin; with 0 none is ever used twice.
    pub(super) fn client(&self, tls: rustls::ClientConfig, idle: usize) -> Result<Client, BuildError> {
        Client::builder()
            // Each of these is a default that another crate's features can change, or is on by default.
            .no_proxy()
            .redirect(Policy::none())
            .retry(::reqwest::retry::never())
            .referer(false)
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .no_hickory_dns()
            .https_only(self.https_only)
            .tls_backend_preconfigured(tls)
            .dns_resolver(self.resolver.clone())
            .user_agent(self.user_agent.clone())
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(self.pool_idle_timeout)
            .pool_max_idle_per_host(idle)
            .tcp_nodelay(true)
            .tcp_keepalive(Duration::from_secs(15))
            // A connection that died silently would otherwise take every request until its deadline.
            .http2_keep_alive_interval(Duration::from_secs(20))
            .http2_keep_alive_timeout(Duration::from_secs(10))
            .build()
            .map_err(|_| BuildError::Stack)
    }
}
