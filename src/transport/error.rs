//! What can go wrong on the way, and whether the request can have arrived.

use std::fmt;

use thiserror::Error;

/// How far a request had come when it failed: what decides whether a label may have been bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Not one octet of the request was handed to a connection: the carrier has not seen it, sending again is safe.
    NotSent,
    /// The request, or part of it, may have arrived and may have been carried out: look up whether the label was bought or
    /// the pickup was booked before ordering again. Only safe methods may be repeated blindly (RFC 9110 9.2.2).
    MaybeSent,
    /// The head of an answer came, so the carrier has decided; only the rest of the answer is missing or unusable.
    Answered,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSent => "not sent",
            Self::MaybeSent => "may have been sent",
            Self::Answered => "answered",
        })
    }
}

/// What went wrong. Nothing is repeated by the transport itself; "repeated" below is what the exchange does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// The host's name has no address. Repeated for safe methods. Check the name and the resolver.
    #[error("the host name could not be resolved")]
    Resolve,
    /// The host's name leads to addresses that are not public. Not repeated. Something may be pointing the client at an
    /// internal service; if it is meant, allow the host in the transport's builder.
    #[error("the host resolves to an address that is not public")]
    AddressRefused,
    /// No connection: refused, unreachable. Repeated for safe methods. Check network and firewall.
    #[error("no connection could be made")]
    Connect,
    /// TLS failed: unknown CA, wrong host name, expired certificate, no common version. Not repeated. Check the carrier's
    /// certificate and the roots that were handed in. Also where the key of the client certificate signs no more.
    #[error("TLS failed")]
    Tls,
    /// The other side refused the client certificate of the connection, or there was none and it wants one. Not repeated.
    ///
    /// With TLS 1.3 it says so after the handshake, when the request may have been sent; it then has not read it as a rule,
    /// but nobody says so. Where it closes the connection in haste, this arrives as [`Self::ConnectionLost`].
    ///
    /// User action: ask the carrier which authorities and certificates it accepts; renew the certificate if it has expired.
    #[error("the client certificate was refused")]
    CertificateRefused,
    /// No connection within the connect timeout, or no answer within the deadline. Repeated for safe methods.
    #[error("it took too long")]
    Timeout,
    /// The connection broke. Repeated for safe methods, while the head of the answer has not come.
    #[error("the connection was lost")]
    ConnectionLost,
    /// The other side does not speak HTTP as it should: malformed or oversized head, HTTP/2 error. Not repeated.
    #[error("the other side broke the HTTP protocol")]
    Protocol,
    /// The HTTP stack refuses the target, or would have sent another URL. Not repeated, nothing was sent. The known case is
    /// an internationalised host (`xn--..`) that does not decode: correct the host.
    #[error("the HTTP stack does not take the URL as it is")]
    Target,
    /// The request cannot be sent as it is, or something else failed. Not repeated.
    #[error("the request could not be sent")]
    Other,
}

/// Why no answer, or only part of one, came. Carries no text of the request, the answer or foreign errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[error("{kind} ({stage})")]
pub struct TransportError {
    kind: TransportErrorKind,
    stage: Stage,
}

impl TransportError {
    /// The failure of this kind at this stage.
    pub const fn new(kind: TransportErrorKind, stage: Stage) -> Self {
        Self { kind, stage }
    }

    /// What went wrong.
    pub const fn kind(self) -> TransportErrorKind {
        self.kind
    }

    /// How far the request had come.
    pub const fn stage(self) -> Stage {
        self.stage
    }
}
