//! How the sandbox is set up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

use super::{Sandbox, server};
use crate::clock::{Clock, SystemClock};
use crate::secret::ClientSecret;
use crate::transport::reqwest::TlsVersion;

/// Why the sandbox did not start.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// It was not started inside a tokio runtime.
    #[error("the sandbox must be started inside a tokio runtime with its I/O driver enabled")]
    NoRuntime,
    /// No port of 127.0.0.1 could be bound.
    #[error("no port of 127.0.0.1 could be bound ({0})")]
    Listen(std::io::ErrorKind),
    /// Its certificates could not be made.
    #[error("the sandbox's certificates could not be made")]
    Certificate,
    /// The system gave no randomness.
    #[error("the operating system gave no randomness")]
    Random,
    /// The issuer's path is not `/` followed by segments of `A-Z a-z 0-9 . _ -`.
    #[error("an issuer's path starts with `/`, has no trailing `/` and consists of A-Z a-z 0-9 . _ - and `/`")]
    IssuerPath,
    /// Client certificates are TLS's: a sandbox without TLS has no mTLS host.
    #[error("mutual TLS needs TLS")]
    MtlsWithoutTls,
    /// Its proof checks could not be set up.
    #[error("the sandbox's proof checks could not be set up")]
    Checks,
    /// A transport to it could not be made.
    #[error("a transport to the sandbox could not be made")]
    Transport,
}

/// What a server does about nonces (RFC 9449 8 and 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Nonces {
    /// It gives none and looks at none.
    Off,
    /// It gives one with every answer; a proof may come without, but not with a wrong one.
    Optional,
    /// It gives one with every answer and accepts no proof without. A nonce serves many requests until it is old.
    Required,
    /// As `Required`, and each nonce serves one request alone.
    EveryCall,
}

/// Where the issuer's metadata is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetadataAt {
    /// `/.well-known/oauth-authorization-server` before the issuer's path (RFC 8414 3).
    OAuth,
    /// `/.well-known/openid-configuration` after the issuer's path (OpenID Connect Discovery 1.0 4).
    OpenId,
    /// Nowhere, as at the carriers.
    Nowhere,
}

/// A check that can be left out, to show what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Check {
    /// That a proof was not used before.
    Jti,
    /// That the proof was made for this URL.
    Htu,
    /// That the proof was made for this token.
    Ath,
    /// That the proof's key is the one which the token is bound to. Without it a bound token also passes as `Bearer`.
    Cnf,
    /// That a token which is bound to a client certificate comes on a connection that showed this one (RFC 8705 3).
    Certificate,
    /// That the proof's signature is right.
    Signature,
}

/// What becomes of a refresh token that is used a second time, where they rotate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefreshReuse {
    /// It is refused, and all that came of the same consent is revoked: somebody has stolen it (RFC 9700 4.14.2).
    RevokesFamily,
    /// It is refused.
    Refused,
    /// It is accepted until the one that took its place is used, which is then worth nothing: a lost answer does no harm.
    UntilNextIsUsed,
}

/// What the imitations of carriers do about DPoP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Vendors {
    /// A token request with a proof gets a bound token, one without a bearer token: the vendors as they could be.
    WithDpop,
    /// Proofs are ignored and every token is a bearer token: the vendors as they are.
    AsToday,
}

pub(super) struct Settings {
    pub(super) tls: bool,
    pub(super) tls_version: TlsVersion,
    pub(super) mtls: bool,
    pub(super) http2: bool,
    pub(super) separate: bool,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) issuer_nonces: Nonces,
    pub(super) api_nonces: Nonces,
    pub(super) lifetime: Duration,
    pub(super) issuer_path: String,
    pub(super) metadata: MetadataAt,
    pub(super) metadata_with: Value,
    pub(super) clients: Vec<(String, ClientSecret)>,
    pub(super) without: Vec<Check>,
    pub(super) require_dpop: bool,
    pub(super) rotate_refresh: bool,
    pub(super) refresh_reuse: RefreshReuse,
    pub(super) code_lifetime: Duration,
    pub(super) require_par: bool,
    pub(super) vendors: Vendors,
    pub(super) vendor_limits: bool,
    pub(super) token_paths: Vec<String>,
}

/// Sets up a [`Sandbox`]; made by [`Sandbox::builder`].
#[must_use = "nothing runs before `start`"]
pub struct SandboxBuilder(Settings);

impl fmt::Debug for SandboxBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxBuilder")
            .field("tls", &self.0.tls)
            .field("mtls", &self.0.mtls)
            .field("http2", &self.0.http2)
            .field("separate_origins", &self.0.separate)
            .field("issuer_nonces", &self.0.issuer_nonces)
            .field("api_nonces", &self.0.api_nonces)
            .field("token_lifetime", &self.0.lifetime)
            .field("without", &self.0.without)
            .field("vendors", &self.0.vendors)
            .finish_non_exhaustive()
    }
}

impl SandboxBuilder {
    pub(super) fn new() -> Self {
        Self(Settings {
            tls: true,
            tls_version: TlsVersion::Tls13,
            mtls: false,
            http2: true,
            separate: true,
            clock: Arc::new(SystemClock::new()),
            issuer_nonces: Nonces::Off,
            api_nonces: Nonces::Off,
            lifetime: Duration::from_secs(3600),
            issuer_path: String::new(),
            metadata: MetadataAt::OAuth,
            metadata_with: Value::Null,
            clients: Vec::new(),
            without: Vec::new(),
            require_dpop: false,
            rotate_refresh: true,
            refresh_reuse: RefreshReuse::RevokesFamily,
            code_lifetime: Duration::from_secs(60),
            require_par: false,
            vendors: Vendors::WithDpop,
            vendor_limits: true,
            token_paths: Vec::new(),
        })
    }

    /// TLS with certificates made at the start (`true`, the default), or plain HTTP/1.1.
    pub fn tls(mut self, tls: bool) -> Self {
        self.0.tls = tls;
        self
    }

    /// The only version of TLS that is spoken; 1.3 by default. Sessions are resumed in either.
    pub fn tls_version(mut self, version: TlsVersion) -> Self {
        self.0.tls_version = version;
        self
    }

    /// Adds a host that asks for client certificates (RFC 8705), on a port of its own; `false` by default. The issuer's
    /// endpoints answer there too, as its `mtls_endpoint_aliases`, and so does the [API](Sandbox::mtls_api).
    ///
    /// Any certificate passes the handshake, and none as well: whose it is the issuer looks at, and the API compares it with
    /// the token's.
    pub fn mtls(mut self, mtls: bool) -> Self {
        self.0.mtls = mtls;
        self
    }

    /// Whether HTTP/2 is offered (ALPN); `true` by default. Without TLS there is HTTP/1.1 alone.
    pub fn http2(mut self, http2: bool) -> Self {
        self.0.http2 = http2;
        self
    }

    /// Issuer and API on two ports (`true`, the default), or both on one.
    pub fn separate_origins(mut self, separate: bool) -> Self {
        self.0.separate = separate;
        self
    }

    /// The clock of both servers; [`SystemClock`] by default.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.0.clock = clock;
        self
    }

    /// What both servers do about nonces; [`Nonces::Off`] by default.
    pub fn nonces(self, nonces: Nonces) -> Self {
        self.issuer_nonces(nonces).api_nonces(nonces)
    }

    /// What token endpoints do about nonces.
    pub fn issuer_nonces(mut self, nonces: Nonces) -> Self {
        self.0.issuer_nonces = nonces;
        self
    }

    /// What the API does about nonces.
    pub fn api_nonces(mut self, nonces: Nonces) -> Self {
        self.0.api_nonces = nonces;
        self
    }

    /// How long tokens live: one hour by default. Carriers whose tokens have another life are imitated with that, whatever is
    /// set here.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.0.lifetime = lifetime;
        self
    }

    /// Gives the issuer a path, `/tenant1` for instance.
    pub fn issuer_path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.0.issuer_path);
        self
    }

    /// Where the issuer's metadata is; [`MetadataAt::OAuth`] by default.
    pub fn metadata(mut self, at: MetadataAt) -> Self {
        self.0.metadata = at;
        self
    }

    /// Replaces members of the issuer's metadata by those of `members` (a JSON object; `null` removes one):
    /// `{"tls_client_certificate_bound_access_tokens": false}` for instance.
    pub fn metadata_with(mut self, members: Value) -> Self {
        self.0.metadata_with = members;
        self
    }

    /// Registers a client. Its requests are those of the tenant of the same name, if the name can be a tenant's.
    pub fn client(mut self, id: &str, secret: ClientSecret) -> Self {
        self.0.clients.push((id.to_owned(), secret));
        self
    }

    /// Leaves a check out. For demonstrations: a server like that is broken.
    pub fn without(mut self, check: Check) -> Self {
        self.0.without.push(check);
        self
    }

    /// Refuses token requests without a proof and API calls with an unbound token; `false` by default. The
    /// imitations of carriers obey it, too.
    pub fn require_dpop(mut self, require: bool) -> Self {
        self.0.require_dpop = require;
        self
    }

    /// Whether a refresh token can be used once, each answer bringing the next (`true`, the default), or again and again.
    pub fn rotate_refresh_tokens(mut self, rotate: bool) -> Self {
        self.0.rotate_refresh = rotate;
        self
    }

    /// What becomes of a refresh token that is used a second time; [`RefreshReuse::RevokesFamily`] by default.
    pub fn refresh_reuse(mut self, reuse: RefreshReuse) -> Self {
        self.0.refresh_reuse = reuse;
        self
    }

    /// How long authorization codes and pushed requests live: one minute by default.
    pub fn code_lifetime(mut self, lifetime: Duration) -> Self {
        self.0.code_lifetime = lifetime;
        self
    }

    /// Whether authorization requests must be pushed (RFC 9126 5); `false` by default.
    pub fn require_pushed_authorization_requests(mut self, require: bool) -> Self {
        self.0.require_par = require;
        self
    }

    /// What the imitations do about DPoP; [`Vendors::WithDpop`] by default.
    pub fn vendors(mut self, vendors: Vendors) -> Self {
        self.0.vendors = vendors;
        self
    }

    /// Whether the imitated carriers' limits hold (`true`, the default), by the sandbox's clock:
    ///
    /// - FedEx: more than 3 token requests a second for 5 s, or more than one a second for 2 min, block the address from the
    ///   token endpoint for 10 min, longer while requests go on; 1 400 calls of a client in 10 s.
    /// - USPS: 60 calls an hour of each client and API.
    /// - ShipEngine: 200 calls a minute, 20 with a key of the sandbox (`TEST_`).
    /// - EasyPost: 5 calls a second where things are listed.
    /// - DHL Tracking Unified: one call a second, and 250 a day, which ends at midnight GMT.
    pub fn vendor_limits(mut self, limits: bool) -> Self {
        self.0.vendor_limits = limits;
        self
    }

    /// One more path, on both origins, where the issuer's token endpoint answers, to forms and to JSON. For carriers that
    /// are not imitated.
    pub fn token_path(mut self, path: &str) -> Self {
        self.0.token_paths.push(path.to_owned());
        self
    }

    /// Binds ports of 127.0.0.1 and starts serving, on the runtime that this is called in.
    ///
    /// # Errors
    /// [`SandboxError::NoRuntime`] outside of tokio, [`SandboxError::IssuerPath`] for a path that no issuer has,
    /// [`SandboxError::MtlsWithoutTls`], otherwise what the system could not give.
    pub async fn start(self) -> Result<Sandbox, SandboxError> {
        let path = &self.0.issuer_path;
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/');
        let fits = path.starts_with('/') && !path.ends_with('/') && !path.contains("//") && path.bytes().all(legal);
        if !path.is_empty() && !fits {
            return Err(SandboxError::IssuerPath);
        }
        if self.0.mtls && !self.0.tls {
            return Err(SandboxError::MtlsWithoutTls);
        }
        server::start(self.0).await
    }
}
