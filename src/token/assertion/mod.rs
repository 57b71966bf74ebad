//! Signed assertions: JWTs by which a client authenticates (`private_key_jwt`, RFC 7521 4.2, RFC 7523 2.2), or which are the
//! grant that a token is asked for with (RFC 7521 4.1, RFC 7523 2.1).
//!
//! Each request has an assertion of its own, repeats too. It is signed by a key of the purpose
//! [`ClientAssertion`](crate::keys::Purpose::ClientAssertion), which is never the key of proofs.

mod make;
mod sign;
#[cfg(test)]
mod tests;

use std::time::Duration;

use thiserror::Error;

use crate::crypto::Digest;
use crate::keys::KeyError;
use crate::owner::{ConnectionId, Owner};

pub(crate) use self::make::{Assertion, Grant, Kind, Occasion};
pub(crate) use self::sign::Assertions;

/// The `client_assertion_type` of such an assertion (RFC 7523 2.2).
pub(crate) const CLIENT_ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The `grant_type` of such an assertion (RFC 7523 2.1).
pub(crate) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// How long an assertion may be valid, in seconds.
const LIFETIMES: std::ops::RangeInclusive<u64> = 5..=120;

/// How a client's assertions are made.
///
/// As issuers of FAPI 2.0 want them unless changed:
///
/// ```
/// use std::time::Duration;
///
/// use shipbound::token::assertion::{AssertionProfile, AssertionTyp, Audience};
///
/// let fapi = AssertionProfile::new();
/// assert!(!fapi.legacy());
///
/// // An iSHARE party: addressed by its id, with certificates and an older algorithm.
/// let ishare = AssertionProfile::new()
///     .audience(Audience::Exactly("EU.EORI.NL000000004".into()))
///     .typ(AssertionTyp::Jwt)
///     .lifetime(Duration::from_secs(30))
///     .x5c()
///     .legacy_rs256();
/// assert!(ishare.legacy());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssertionProfile {
    audience: Audience,
    typ: AssertionTyp,
    lifetime: Duration,
    rs256: bool,
    x5c: bool,
    key_of: KeyOf,
}

impl AssertionProfile {
    /// FAPI 2.0's: for the issuer, explicitly typed, valid for 60 s.
    pub fn new() -> Self {
        Self {
            audience: Audience::default(),
            typ: AssertionTyp::default(),
            lifetime: Duration::from_secs(60),
            rs256: false,
            x5c: false,
            key_of: KeyOf::default(),
        }
    }

    /// Whom assertions are for. Default: [`Audience::Issuer`].
    #[must_use]
    pub fn audience(mut self, audience: Audience) -> Self {
        self.audience = audience;
        self
    }

    /// The `typ` in their header. Default: [`AssertionTyp::Explicit`].
    #[must_use]
    pub fn typ(mut self, typ: AssertionTyp) -> Self {
        self.typ = typ;
        self
    }

    /// How long they are valid, in whole seconds. Default: 60 s. Less than 5 s is taken as 5 s, more than 120 s as 120 s.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Duration::from_secs(lifetime.as_secs().clamp(*LIFETIMES.start(), *LIFETIMES.end()));
        self
    }

    /// Lets a key sign that was made for RS256 ([`LocalKey::into_rs256`](crate::keys::LocalKey::into_rs256)): for issuers
    /// that take nothing better. Other keys still sign with their own algorithm.
    #[must_use]
    pub fn legacy_rs256(mut self) -> Self {
        self.rs256 = true;
        self
    }

    /// Sends the credential's certificates
    /// ([`Credential::certificates`](crate::credentials::Credential::certificates)) in the header, as `x5c` (RFC 7515
    /// 4.1.6). They say which key it is, so a `kid` is then sent only where the credential names one.
    #[must_use]
    pub fn x5c(mut self) -> Self {
        self.x5c = true;
        self
    }

    /// Whose key signs. Default: [`KeyOf::Connection`].
    #[must_use]
    pub fn key_of(mut self, key_of: KeyOf) -> Self {
        self.key_of = key_of;
        self
    }

    /// Whether anything of it is weaker than FAPI 2.0: the token endpoint as the audience, a `typ` that is not explicit, or
    /// RS256. An audience that is written down here is not, since no metadata can change it.
    pub fn legacy(&self) -> bool {
        self.audience == Audience::TokenEndpoint || self.typ != AssertionTyp::Explicit || self.rs256
    }

    /// Whether there is no audience unless the issuer is known.
    pub(crate) fn needs_issuer(&self) -> bool {
        self.audience == Audience::Issuer
    }

    /// Writes what tells this profile from others into a digest.
    pub(crate) fn identify(&self, digest: &mut Digest) {
        match &self.audience {
            Audience::Issuer => digest.text("issuer"),
            Audience::TokenEndpoint => digest.text("endpoint"),
            Audience::Exactly(audience) => {
                digest.text("exactly");
                digest.text(audience);
            }
        }
        let Self {
            typ,
            lifetime,
            rs256,
            x5c,
            key_of,
            ..
        } = self;
        digest.bytes(&[*typ as u8, u8::from(*rs256), u8::from(*x5c), *key_of as u8]);
        digest.count(usize::try_from(lifetime.as_secs()).unwrap_or(usize::MAX));
    }

    /// Whose key signs for this connection.
    pub(crate) fn owner(&self, connection: &ConnectionId) -> Owner {
        match self.key_of {
            KeyOf::Connection => Owner::Connection(connection.clone()),
            KeyOf::Deployment => Owner::Deployment(connection.deployment().clone()),
        }
    }
}

impl Default for AssertionProfile {
    fn default() -> Self {
        Self::new()
    }
}

/// The `aud` of an assertion: always one string, never an array.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Audience {
    /// The issuer that was configured, the same at each of its endpoints (FAPI 2.0 5.3.3.1, RFC 7523bis 4).
    #[default]
    Issuer,
    /// The URL of the token endpoint that the assertion is sent to. Legacy, and only for issuers that accept nothing else:
    /// an issuer whose metadata names the endpoint of another one gets an assertion that the other accepts
    /// (CVE-2025-27370).
    TokenEndpoint,
    /// This text, whatever the issuer: for those that are addressed by an id, as an iSHARE party is.
    Exactly(String),
}

/// The `typ` in an assertion's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AssertionTyp {
    /// What it is (RFC 8725 3.11): `client-authentication+jwt` (RFC 7523bis 4), and `authorization-grant+jwt` for a grant.
    #[default]
    Explicit,
    /// `JWT`: for issuers that refuse the explicit types.
    Jwt,
    /// No `typ` at all: for issuers that refuse any.
    None,
}

/// Whose key signs assertions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyOf {
    /// The connection's own: what one shipper's key signs, no other shipper can have asked for.
    #[default]
    Connection,
    /// The deployment's, for all connections: where the application itself is the issuer's client.
    Deployment,
}

/// Why an assertion could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AssertionError {
    /// Nobody says who the issuer is, so there is no audience.
    ///
    /// User action: give the issuer ([`TokenAt::Issuer`](super::TokenAt::Issuer)), or another [`Audience`].
    #[error("the assertion has no audience: the issuer is not known")]
    NoAudience,
    /// The profile wants certificates, and the credential has none.
    ///
    /// User action: give the credential its certificates.
    #[error("the credential has no certificates to send")]
    NoCertificates,
    /// The credential's first certificate is not X.509 in DER.
    ///
    /// User action: export the certificate again; PEM is to be decoded first.
    #[error("the credential's first certificate cannot be read")]
    CertificateMalformed,
    /// The credential's first certificate is that of another key than the one that signs.
    ///
    /// User action: put the signing key's own certificate first, or import the certificate's key.
    #[error("the credential's first certificate belongs to another key")]
    CertificateMismatch,
    /// The key signs RS256, and the profile does not allow that.
    ///
    /// User action: use a key of another algorithm, or [`AssertionProfile::legacy_rs256`] if the issuer takes nothing better.
    #[error("the key signs RS256, which the profile does not allow")]
    Rs256,
    /// The key cannot be used or cannot sign.
    ///
    /// User action: see the cause.
    #[error("the assertion cannot be signed")]
    Key(#[from] KeyError),
}
