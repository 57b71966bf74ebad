//! How a token is tied to its sender.
//!
//! An application chooses a [`BindingStrategy`]: [`dpop::Dpop`] (RFC 9449), `mtls::Mtls` (RFC 8705), both, or
//! [`bearer::Bearer`]. For each connection the strategy yields a [`TokenBinding`], which is frozen: one connection, one key. The
//! token cache keeps that binding beside the token that was issued to it, so a token is always used with the key it is bound
//! to, also while keys rotate.

pub mod bearer;
pub mod dpop;
#[cfg(feature = "mtls")]
pub mod mtls;
pub mod nonce;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::clock::{Clock, Timestamp};
use crate::jose::{Algorithm, Thumbprint};
use crate::keys::{KeyError, KeyStore};
use crate::owner::ConnectionId;
use crate::target::{Origin, Target};
#[cfg(feature = "mtls")]
use crate::transport::identity::{ClientIdentity, IdentityError};

use self::nonce::{Nonce, NonceRefused, Turn};

/// What a token is tied to, from weak to strong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum BindingKind {
    /// Nothing: whoever holds the token may use it.
    Bearer,
    /// A proof key (RFC 9449).
    Dpop,
    /// A client certificate (RFC 8705).
    Mtls,
    /// A proof key, or a proof key and a client certificate: both are shown with every request.
    DpopMtls,
}

impl BindingKind {
    /// `bearer`, `dpop`, `mtls` or `dpop+mtls`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::Dpop => "dpop",
            Self::Mtls => "mtls",
            Self::DpopMtls => "dpop+mtls",
        }
    }

    /// Whether requests carry a proof.
    pub(crate) const fn has_proof(self) -> bool {
        matches!(self, Self::Dpop | Self::DpopMtls)
    }

    /// Whether requests show a client certificate.
    pub(crate) const fn has_certificate(self) -> bool {
        matches!(self, Self::Mtls | Self::DpopMtls)
    }

    /// The scheme of the `Authorization` header that carries such a token.
    pub(crate) const fn scheme(self) -> &'static str {
        match self {
            // RFC 8705 3: a certificate-bound token is presented as a bearer token.
            Self::Bearer | Self::Mtls => "Bearer",
            Self::Dpop | Self::DpopMtls => "DPoP",
        }
    }
}

/// The confirmation that a token of this binding carries (RFC 7800 `cnf`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Confirmation {
    /// `jkt`: the thumbprint of the proof key (RFC 9449 6.1).
    Jkt(Thumbprint),
    /// `x5t#S256`: the thumbprint of the client certificate (RFC 8705 3.1).
    X5t(Thumbprint),
}

impl Confirmation {
    /// The proof key's thumbprint among these.
    pub(crate) fn jkt(of: &[Self]) -> Option<Thumbprint> {
        of.iter().find_map(|one| match one {
            Self::Jkt(jkt) => Some(*jkt),
            Self::X5t(_) => None,
        })
    }

    /// The client certificate's thumbprint among these.
    pub(crate) fn x5t(of: &[Self]) -> Option<Thumbprint> {
        of.iter().find_map(|one| match one {
            Self::X5t(x5t) => Some(*x5t),
            Self::Jkt(_) => None,
        })
    }
}

/// Who is being talked to: nonces and clock offsets of the two never mix (RFC 9449 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The issuer: its token endpoint and the like.
    AuthorizationServer,
    /// The carrier's API.
    ResourceServer,
}

/// One HTTP request about to go out, as far as a proof speaks of it.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// Who will receive it.
    pub role: Role,
    /// Its method.
    pub method: &'a Method,
    /// Where it goes; the proof's `htu` is read from this value and nothing else.
    pub target: &'a Target,
    /// base64url of the SHA-256 of the access token it carries (RFC 9449 4.2 `ath`); `None` where it carries none.
    pub ath: Option<&'a str>,
    /// The time to write into the proof: the clock's, moved by an offset learned from this server.
    pub now: Timestamp,
    /// The nonce to hold, as [`TokenBinding::turn`] gives it; `None` lets the binding use the newest one it knows.
    pub nonce: Option<&'a Nonce>,
}

/// A proof for one attempt. There is no way to copy it, and [`Proof::attach`] consumes it: a repeat needs a new one.
///
/// ```compile_fail
/// # fn twice(proof: shipbound::binding::Proof, headers: &mut http::HeaderMap) {
/// proof.attach(headers);
/// proof.attach(headers); // use of moved value
/// # }
/// ```
#[must_use]
pub struct Proof {
    name: HeaderName,
    value: HeaderValue,
    nonce: Option<Nonce>,
}

impl Proof {
    /// A proof that travels in the header `name`, made with `nonce`.
    pub fn new(name: HeaderName, mut value: HeaderValue, nonce: Option<Nonce>) -> Self {
        value.set_sensitive(true);
        Self { name, value, nonce }
    }

    /// The nonce that the proof holds.
    pub fn nonce(&self) -> Option<&Nonce> {
        self.nonce.as_ref()
    }

    /// Puts the proof on the request it was made for, in the place of any other.
    pub fn attach(self, headers: &mut HeaderMap) {
        headers.insert(self.name, self.value);
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The head of an answer, as far as a binding learns from it.
#[derive(Debug)]
pub struct Answered<'a> {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// The nonce that the attempt's proof held.
    pub sent: Option<&'a Nonce>,
}

/// What a binding took from an answer. It says nothing about what the answer means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Learned {
    /// Nothing for this binding was in it.
    #[default]
    Nothing,
    /// A nonce for the next proof to this server.
    Nonce(Nonce),
    /// A `DPoP-Nonce` that RFC 9449 8 does not allow; it was not stored.
    Refused(NonceRefused),
}

/// The binding of one connection's tokens to one key.
#[async_trait]
pub trait TokenBinding: fmt::Debug + Send + Sync {
    /// What tokens of this binding are tied to.
    fn kind(&self) -> BindingKind;

    /// The confirmations that a token of this binding may carry; empty for a bearer token.
    fn confirmations(&self) -> &[Confirmation];

    /// The client certificate that requests show; `None` where they show none.
    #[cfg(feature = "mtls")]
    fn identity(&self) -> Option<&ClientIdentity> {
        None
    }

    /// When what a token is bound to ends by itself, as a certificate does. No token is used beyond that. Default: never.
    fn valid_until(&self) -> Option<Timestamp> {
        None
    }

    /// The binding of a token of type `Bearer` that a request with proof and client certificate brought: it is tied to the
    /// certificate alone. `None`, the default, where a request showed no certificate: such a token is not bound.
    fn without_proof(&self) -> Option<Arc<dyn TokenBinding>> {
        None
    }

    /// The `alg` of its proofs, as the issuer names it; `None` where there are none.
    fn algorithm(&self) -> Option<&'static str> {
        None
    }

    /// Whether the key may still sign. A cheap look, made each time a token is used.
    fn is_usable(&self) -> bool;

    /// Waits for the turn in which the next proof for this server is made, and says which nonce it is to hold. `challenged`
    /// is the nonce of the challenge that is being answered.
    ///
    /// The turn is to be held until the answer has been [learned](Self::learn) from. It is taken before the time is read that
    /// goes into the proof, since it may be long in coming.
    async fn turn(&self, _role: Role, _origin: &Origin, challenged: Option<&Nonce>) -> (Option<Nonce>, Turn) {
        (challenged.cloned(), Turn::default())
    }

    /// The proof for `attempt`, or `None` where this binding needs none. To be called at hand-over, not ahead of it.
    ///
    /// # Errors
    /// [`KeyError`] when the key cannot sign: closed, lost, or its store does not answer.
    async fn prove(&self, attempt: &Attempt<'_>) -> Result<Option<Proof>, KeyError>;

    /// Takes from an answer what the next proof needs. Called for every answer, successes included (RFC 9449 8.2).
    fn learn(&self, attempt: &Attempt<'_>, answer: &Answered<'_>) -> Learned;
}

/// What a [`BindingStrategy`] may use to bind a connection.
#[derive(Debug)]
#[non_exhaustive]
pub struct BindContext<'a> {
    /// The connection to bind.
    pub connection: &'a ConnectionId,
    /// Where its keys are.
    pub keys: &'a dyn KeyStore,
    /// The clock.
    pub clock: &'a dyn Clock,
    /// How long a key goes on signing that another takes the place of: as long as a token is trusted
    /// ([`Limits::longest_lifetime`](crate::exchange::budget::Limits::longest_lifetime)), and five minutes.
    pub drain: Duration,
    /// `dpop_signing_alg_values_supported` of the issuer (RFC 9449 5.1), where its metadata is known.
    pub algorithms: Option<&'a [String]>,
}

/// How an application wants its tokens bound. One value serves all connections of a client.
#[async_trait]
pub trait BindingStrategy: fmt::Debug + Send + Sync {
    /// What requests show.
    fn kind(&self) -> BindingKind;

    /// The weakest binding that a token of this strategy may have. Default: [`BindingStrategy::kind`].
    fn minimum(&self) -> BindingKind {
        self.kind()
    }

    /// The algorithms of its proofs, the preferred one first. Default: none.
    fn proof_algorithms(&self) -> &[Algorithm] {
        &[]
    }

    /// Where its client certificates come from, to be reloaded and watched. Default: it has none.
    #[cfg(feature = "mtls")]
    fn certificates(&self) -> Option<&Arc<dyn mtls::CertificateSource>> {
        None
    }

    /// The binding for new tokens of this connection. A key that had to be made is durable in the store before this
    /// returns, so that no token is ever bound to a key that can be lost.
    ///
    /// # Errors
    /// [`BindError`] when no key can be had, or none that the issuer would accept.
    async fn bind(&self, context: &BindContext<'_>) -> Result<Arc<dyn TokenBinding>, BindError>;

    /// The binding to the connection's proof key with this thumbprint, which a code or a refresh token is bound to, for as long
    /// as that key signs. `None`, the default, where there is no such key.
    ///
    /// # Errors
    /// As [`BindingStrategy::bind`].
    async fn bind_to(
        &self,
        _context: &BindContext<'_>,
        _jkt: &Thumbprint,
    ) -> Result<Option<Arc<dyn TokenBinding>>, BindError> {
        Ok(None)
    }
}

/// Why a connection could not be bound.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The key store refused or failed. User action: see the cause.
    #[error("no key for this connection")]
    Key(#[from] KeyError),
    /// The client certificate cannot be had or used. User action: see the cause.
    #[cfg(feature = "mtls")]
    #[error("no client certificate for this connection")]
    Identity(#[from] IdentityError),
    /// The issuer lists none of the algorithms that the strategy allows. User action: allow one of the issuer's
    /// algorithms (`Dpop::preferring`).
    #[error("the issuer accepts none of the proof algorithms that are allowed here")]
    NoCommonAlgorithm,
}
