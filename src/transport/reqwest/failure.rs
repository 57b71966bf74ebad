//! From the HTTP stack's errors to kinds and stages. Nothing else of them leaves this file: their texts hold URLs.

use std::error::Error;
use std::io;

use rustls::AlertDescription;

use super::super::resolver::ResolveError;
use super::super::{Stage, TransportError, TransportErrorKind};

/// Why no answer came. Certainly not sent is only what failed before there was a connection.
pub(super) fn of_request(error: &::reqwest::Error) -> TransportError {
    let stage = if error.is_connect() || error.is_builder() {
        Stage::NotSent
    } else {
        Stage::MaybeSent
    };
    TransportError::new(kind(error, stage), stage)
}

/// Why the body of an answer broke off.
pub(super) fn of_body(error: &::reqwest::Error) -> TransportError {
    TransportError::new(kind(error, Stage::Answered), Stage::Answered)
}

fn kind(error: &::reqwest::Error, stage: Stage) -> TransportErrorKind {
    let mut found = None;
    walk(error, &mut |cause| {
        if found.is_none() {
            found = kind_of_cause(cause);
        }
    });
    match found {
        Some(kind) => kind,
        None if error.is_timeout() => TransportErrorKind::Timeout,
        None if error.is_dns() => TransportErrorKind::Resolve,
        None if error.is_builder() => TransportErrorKind::Other,
        None if stage == Stage::NotSent => TransportErrorKind::Connect,
        None => TransportErrorKind::ConnectionLost,
    }
}

fn kind_of_cause(cause: &(dyn Error + 'static)) -> Option<TransportErrorKind> {
    if let Some(error) = cause.downcast_ref::<ResolveError>() {
        return Some(match error {
            ResolveError::NotFound => TransportErrorKind::Resolve,
            ResolveError::Refused => TransportErrorKind::AddressRefused,
        });
    }
    if let Some(error) = cause.downcast_ref::<rustls::Error>() {
        return Some(match error {
            rustls::Error::AlertReceived(alert) if REFUSALS.contains(alert) => TransportErrorKind::CertificateRefused,
            _ => TransportErrorKind::Tls,
        });
    }
    let error = cause.downcast_ref::<hyper::Error>()?;
    if error.source().is_some_and(is_refusal) {
        Some(TransportErrorKind::CertificateRefused)
    } else if error.is_parse() || error.is_parse_status() {
        Some(TransportErrorKind::Protocol)
    } else if error.is_user() {
        Some(TransportErrorKind::Other)
    } else {
        None
    }
}

/// What a server says of a client's certificate (RFC 8446 6.2, RFC 5246 7.2.2). A client checks the server's itself, and so
/// never hears these about anything else.
const REFUSALS: [AlertDescription; 8] = [
    AlertDescription::AccessDenied,
    AlertDescription::BadCertificate,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateRequired,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateUnknown,
    AlertDescription::UnknownCA,
    AlertDescription::UnsupportedCertificate,
];

/// With HTTP/2 only the text of an error in TLS is left. Nothing that the other side can say makes up a whole text.
fn is_refusal(cause: &(dyn Error + 'static)) -> bool {
    let text = cause.to_string();
    REFUSALS
        .iter()
        .any(|alert| text == rustls::Error::AlertReceived(*alert).to_string())
}

/// Shows every error in the chain, also those that an [`io::Error`] wraps: its `source` leaves them out.
fn walk(error: &(dyn Error + 'static), show: &mut dyn FnMut(&(dyn Error + 'static))) {
    let mut next = Some(error);
    while let Some(error) = next {
        show(error);
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
}
