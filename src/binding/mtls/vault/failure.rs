//! Why a Vault server issued no certificate.

use http::StatusCode;
use thiserror::Error;

use crate::transport::TransportErrorKind;
use crate::transport::identity::IdentityError;

/// Why the newest request for a certificate failed. Carries no text of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VaultFailure {
    /// 403: the token is unknown, expired or revoked, or its policies do not allow `update` on `{mount}/issue/{role}`.
    ///
    /// User action: [set](super::VaultPki::set_token) a valid token; look at its policies.
    #[error("the server does not take the token, or the token may not issue for this role")]
    Denied,
    /// The token cannot stand in a header.
    ///
    /// User action: take line breaks and spaces off the token.
    #[error("the token has a character that a header cannot carry")]
    Token,
    /// 400: the role does not allow this subject or there is no such role.
    ///
    /// User action: look at `allowed_domains`, `allow_any_name` and the like of the role.
    #[error("the role does not allow this certificate")]
    Refused,
    /// 404: there is no PKI engine at this mount, in this namespace.
    ///
    /// User action: correct address, mount or namespace.
    #[error("there is nothing at this mount")]
    NotFound,
    /// 429: a quota of the server is used up.
    ///
    /// User action: raise the quota, or have certificates issued that live longer.
    #[error("the server has had too many requests")]
    Busy,
    /// 503: the server is sealed, or down for maintenance.
    ///
    /// User action: unseal it.
    #[error("the server is sealed")]
    Sealed,
    /// Another status. 307 and 308 come from a standby server that does not forward: redirects are not followed.
    ///
    /// User action: 3xx: give the address of the active server, or of what stands before it; else look at the server's log.
    #[error("the server answered with status {0}")]
    Status(StatusCode),
    /// No answer came, or only a part of it.
    ///
    /// User action: look at address, network, and the roots that the transport trusts.
    #[error("the server could not be reached: {0}")]
    Transport(TransportErrorKind),
    /// No answer came in time.
    ///
    /// User action: look at the server's load; raise [`deadline`](super::VaultPkiBuilder::deadline).
    #[error("the server took too long")]
    Late,
    /// The answer is not one of a PKI engine, or is longer than 256 KiB.
    ///
    /// User action: correct address and mount.
    #[error("the answer is not a certificate with its key")]
    Answer,
    /// What was issued cannot be used.
    ///
    /// User action: as [`IdentityError`] says; for a certificate that is not valid yet, set the clocks.
    #[error("the certificate cannot be used: {0}")]
    Identity(IdentityError),
    /// The function that gives subjects panicked for this connection.
    ///
    /// User action: mend what was given to [`subject_of`](super::VaultPkiBuilder::subject_of).
    #[error("there is no subject for this connection")]
    Subject,
    /// The source holds as many certificates as it may.
    ///
    /// User action: [forget](super::VaultPki::forget) connections that are not there any more.
    #[error("there are too many connections")]
    Full,
}

impl VaultFailure {
    /// Whether other connections would meet it too.
    pub(super) fn is_of_the_server(self) -> bool {
        !matches!(self, Self::Refused | Self::Subject | Self::Full)
    }
}

impl From<VaultFailure> for IdentityError {
    fn from(failure: VaultFailure) -> Self {
        match failure {
            VaultFailure::Identity(error) => error,
            _ => Self::Unavailable,
        }
    }
}
