//! Which endpoint of the issuer a path is, and in whose manner it speaks.

use http::StatusCode;

use super::canned::Canned;
use super::script::Endpoint;
use super::server::{Place, Shared, oauth_error};
use super::{fedex, ups, usps};

/// In whose manner an endpoint speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    OAuth,
    FedEx,
    Ups,
    Usps,
}

/// What is at a path of this place. The imitations are on both origins.
pub(super) fn locate(shared: &Shared, place: &Place, path: &str) -> (Endpoint, Dialect) {
    if shared.settings.token_paths.iter().any(|own| own == path) {
        return (Endpoint::Token, Dialect::OAuth);
    }
    match path {
        fedex::TOKEN => return (Endpoint::Token, Dialect::FedEx),
        ups::TOKEN | ups::REFRESH => return (Endpoint::Token, Dialect::Ups),
        ups::AUTHORIZE => return (Endpoint::Authorization, Dialect::Ups),
        usps::TOKEN => return (Endpoint::Token, Dialect::Usps),
        usps::REVOKE => return (Endpoint::Revocation, Dialect::Usps),
        usps::AUTHORIZE => return (Endpoint::Authorization, Dialect::Usps),
        _ => {}
    }
    let own = path.strip_prefix(shared.settings.issuer_path.as_str());
    let endpoint = match own.filter(|_| place.issuer) {
        Some("/token") => Endpoint::Token,
        Some("/revoke") => Endpoint::Revocation,
        Some("/introspect") => Endpoint::Introspection,
        Some("/par") => Endpoint::Par,
        Some("/authorize") => Endpoint::Authorization,
        _ if shared.token_paths.holds(path) => Endpoint::Token,
        _ if place.issuer && path.contains("/.well-known/") => Endpoint::Metadata,
        _ => Endpoint::Api,
    };
    (endpoint, Dialect::OAuth)
}

impl Dialect {
    /// A client that is not the one.
    pub(super) fn bad_client(self) -> Canned {
        match self {
            Self::FedEx => fedex::bad_credentials(),
            Self::Ups => ups::bad_client(),
            Self::OAuth | Self::Usps => oauth_error(
                StatusCode::UNAUTHORIZED,
                "invalid_client",
                "unknown client, or not authenticated as it is registered",
            ),
        }
    }

    /// A grant that is worth nothing.
    pub(super) fn bad_grant(self, error: &str) -> Canned {
        match self {
            Self::FedEx => fedex::error(400, "BAD.REQUEST.ERROR", "The grant type is missing or not supported."),
            Self::Ups => ups::error(400, "10400", "Invalid/Missing Grant"),
            Self::OAuth | Self::Usps => oauth_error(StatusCode::BAD_REQUEST, error, "this grant cannot be used"),
        }
    }
}
