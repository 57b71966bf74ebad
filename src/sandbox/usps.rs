//! USPS, imitated: token and revocation endpoints, error bodies, and one business route with a plausible answer.

use std::time::Duration;

use serde_json::{Value, json};

use super::canned::Canned;
use super::record::Recorded;
use super::ups::milliseconds;
use crate::clock::Timestamp;

/// The token endpoint: form or JSON.
pub(super) const TOKEN: &str = "/oauth2/v3/token";
/// Revocation, authorised by an access token or by the client's secret.
pub(super) const REVOKE: &str = "/oauth2/v3/revoke";
/// Where a person allows access.
pub(super) const AUTHORIZE: &str = "/oauth2/v3/authorize";
/// How long USPS's tokens live.
pub(super) const LIFETIME: Duration = Duration::from_secs(28_799);

/// Whether a path is one of USPS's business paths.
pub(super) fn owns(path: &str) -> bool {
    path.starts_with("/addresses/v3/") || path.starts_with("/labels/v3/")
}

/// USPS's answer to an API call whose token has expired or is unknown: 401, `invalid_token` in the body.
pub fn expired_token() -> Canned {
    error(401, "The token is invalid, expired or revoked.", "invalid_token")
        .header("www-authenticate", "Bearer realm=\"USPS\"")
}

/// USPS's answer to too many calls: 429 with `Retry-After` in seconds.
pub fn throttled(seconds: u64) -> Canned {
    error(429, "Too many requests.", "quota_exceeded").header("retry-after", &seconds.to_string())
}

/// An error in USPS's form: `{apiVersion, error: {code, message, errors: [{title, detail, source}]}}`, the code as text.
pub fn error(status: u16, message: &str, title: &str) -> Canned {
    let one = json!({"title": title, "detail": message, "source": {}});
    let error = json!({"code": status.to_string(), "message": message, "errors": [one]});
    Canned::json(status, &json!({"apiVersion": "v3", "error": error}))
}

/// The answer of the token endpoint.
pub(super) fn token(text: &str, bound: bool, client: &str, scope: &str, now: Timestamp) -> Value {
    json!({
        "access_token": text,
        "token_type": if bound { "DPoP" } else { "Bearer" },
        "issued_at": milliseconds(now),
        "expires_in": LIFETIME.as_secs(),
        "status": "approved",
        "scope": scope,
        "issuer": "https://keyc.usps.com/realms/USPS",
        "client_id": client,
        "application_name": "shipbound sandbox",
        "api_products": "[Shipping-Silver]",
        "public_key": "",
    })
}

/// The business routes.
pub(super) fn serve(request: &Recorded) -> Option<Canned> {
    let zip = request.query().and_then(|query| query.strip_prefix("ZIPCode="));
    match (request.method().as_str(), request.path(), zip) {
        ("GET", "/addresses/v3/city-state", Some(zip)) => Some(Canned::json(
            200,
            &json!({"city": "ALPHARETTA", "state": "GA", "ZIPCode": zip}),
        )),
        ("GET", "/addresses/v3/city-state", None) => Some(error(400, "ZIPCode is missing.", "OASValidation")),
        _ => None,
    }
}

pub(super) fn not_found() -> Canned {
    error(404, "Resource not found.", "not_found")
}
