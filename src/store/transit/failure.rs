//! Why a server did not do what it was asked.

use http::StatusCode;
use thiserror::Error;

use crate::keys::KeyError;
use crate::transport::TransportErrorKind;
use crate::vault::VaultFault;

/// Why the newest request failed. Carries no text of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TransitFailure {
    /// 403: the token is unknown, expired or revoked, or its policies do not allow this.
    ///
    /// User action: [set](super::VaultServer::set_token) a valid token; compare its policies with those of the
    /// [module](super).
    #[error("the server does not take the token, or the token may not do this")]
    Denied,
    /// The token cannot stand in a header.
    ///
    /// User action: take line breaks and spaces off the token.
    #[error("the token has a character that a header cannot carry")]
    Token,
    /// 400: the server does not do this with this key.
    ///
    /// User action: look at the key's type and limits of versions, and at the server's log.
    #[error("the server refused the request")]
    Refused,
    /// 404: there is no such key, or no such engine at this mount, in this namespace.
    ///
    /// User action: correct address, mount or namespace.
    #[error("there is nothing at this path")]
    NotFound,
    /// 429: a quota of the server is used up.
    ///
    /// User action: raise the quota.
    #[error("the server has had too many requests")]
    Busy,
    /// 503: the server is sealed, or down for maintenance.
    ///
    /// User action: unseal it.
    #[error("the server is sealed")]
    Sealed,
    /// 307, 308, 472, 473: a standby server that does not forward. Redirects are not followed.
    ///
    /// User action: give the address of the active server, or of what stands before it.
    #[error("the server is a standby")]
    Standby,
    /// Another status.
    ///
    /// User action: look at the server's log.
    #[error("the server answered with status {0}")]
    Status(StatusCode),
    /// No answer came, or only a part of it, and on another connection neither.
    ///
    /// User action: look at address, network, and the roots that the transport trusts.
    #[error("the server could not be reached: {0}")]
    Transport(TransportErrorKind),
    /// No answer came in time.
    ///
    /// User action: look at the server's load; raise the [limit](super::VaultServerBuilder::limit).
    #[error("the server took too long")]
    Late,
    /// The answer is not one of this engine, or is longer than 256 KiB.
    ///
    /// User action: correct address and mount.
    #[error("the answer is not what was asked for")]
    Answer,
}

impl From<VaultFault> for TransitFailure {
    fn from(fault: VaultFault) -> Self {
        match fault {
            VaultFault::Token => Self::Token,
            VaultFault::TooLong => Self::Answer,
            VaultFault::Transport(error) => match error.kind() {
                TransportErrorKind::Timeout => Self::Late,
                kind => Self::Transport(kind),
            },
            VaultFault::Status(status) => match status.as_u16() {
                400 => Self::Refused,
                403 => Self::Denied,
                404 => Self::NotFound,
                429 => Self::Busy,
                503 => Self::Sealed,
                307 | 308 | 472 | 473 => Self::Standby,
                _ => Self::Status(status),
            },
        }
    }
}

impl From<TransitFailure> for KeyError {
    fn from(_any: TransitFailure) -> Self {
        Self::SignerFailed
    }
}
