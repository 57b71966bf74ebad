//! UPS, imitated: token endpoint, error bodies, and a few business routes with plausible answers.

use std::time::Duration;

use serde_json::{Value, json};

use super::canned::Canned;
use super::record::Recorded;
use crate::clock::Timestamp;

/// The token endpoint; not under `/api`.
pub(super) const TOKEN: &str = "/security/v1/oauth/token";
/// Where refresh tokens are redeemed.
pub(super) const REFRESH: &str = "/security/v1/oauth/refresh";
/// Where a person allows access.
pub(super) const AUTHORIZE: &str = "/security/v1/oauth/authorize";
/// How long UPS's refresh tokens live.
pub(super) const REFRESH_LIFETIME: Duration = Duration::from_secs(604_799);
/// How long UPS's tokens live.
pub(super) const LIFETIME: Duration = Duration::from_secs(14_399);

/// Whether a path is one of UPS's business paths.
pub(super) fn owns(path: &str) -> bool {
    const PREFIXES: [&str; 5] = [
        "/api/rating/",
        "/api/shipments/",
        "/api/track/",
        "/api/addressvalidation/",
        "/api/labels/",
    ];
    PREFIXES.iter().any(|prefix| path.starts_with(prefix))
}

/// UPS's answer to too many calls: 429 with code 10429 and no `Retry-After`.
pub fn throttled() -> Canned {
    error(429, "10429", "Too Many Requests")
}

/// UPS's answer to an API call whose token has expired or is unknown: 401 with code 250002, without a challenge.
pub fn expired_token() -> Canned {
    error(401, "250002", "Invalid Authentication Information.")
}

/// UPS's answer to a wrong client id or secret: 401 with code 10401.
pub fn bad_client() -> Canned {
    error(401, "10401", "ClientId is Invalid")
}

/// UPS's answer to a token request without `Authorization: Basic`: 401 with code 10400.
pub fn no_authorization() -> Canned {
    error(401, "10400", "Invalid/Missing Authorization Header")
}

/// An error in UPS's form: `{response: {errors: [{code, message}]}}`, codes as strings.
pub fn error(status: u16, code: &str, message: &str) -> Canned {
    Canned::json(
        status,
        &json!({"response": {"errors": [{"code": code, "message": message}]}}),
    )
}

/// A time as UPS writes it: milliseconds since 1970, as text.
pub(super) fn milliseconds(at: Timestamp) -> String {
    at.unix_micros().div_euclid(1000).to_string()
}

/// The answer of the token endpoint: every value is a string, the time of issue in milliseconds.
pub(super) fn token(text: &str, bound: bool, client: &str, now: Timestamp) -> Value {
    json!({
        "token_type": if bound { "DPoP" } else { "Bearer" },
        "issued_at": milliseconds(now),
        "client_id": client,
        "access_token": text,
        "scope": "",
        "expires_in": LIFETIME.as_secs().to_string(),
        "refresh_count": "0",
        "status": "approved",
    })
}

/// The business routes.
pub(super) fn serve(request: &Recorded) -> Option<Canned> {
    let segments: Vec<&str> = request.path().split('/').skip(2).collect();
    let done = json!({"ResponseStatus": {"Code": "1", "Description": "Success"}});
    let body = match (request.method().as_str(), segments.as_slice()) {
        ("POST", ["rating", _, "Rate" | "Shop" | "Ratetimeintransit" | "Shoptimeintransit"]) => {
            json!({"RateResponse": {
                "Response": done,
                "RatedShipment": [{
                    "Service": {"Code": "03", "Description": "Ground"},
                    "TotalCharges": {"CurrencyCode": "USD", "MonetaryValue": "17.95"},
                }],
            }})
        }
        ("POST", ["shipments", _, "ship"]) => json!({"ShipmentResponse": {
            "Response": done,
            "ShipmentResults": {
                "ShipmentIdentificationNumber": "1ZXXXXXXXXXXXXXXXX",
                "PackageResults": [{
                    "TrackingNumber": "1ZXXXXXXXXXXXXXXXX",
                    "ShippingLabel": {"ImageFormat": {"Code": "GIF"}, "GraphicImage": "R0lGODlhAQABAAAAACw="},
                }],
            },
        }}),
        ("DELETE", ["shipments", _, "void", "cancel", _]) => json!({"VoidShipmentResponse": {"Response": done}}),
        ("GET", ["track", "v1", "details", number]) => {
            // UPS demands both, and says so in words of its own that are not known; these are the sandbox's.
            for name in ["transId", "transactionSrc"] {
                if request.header(name).is_none_or(str::is_empty) {
                    return Some(error(400, "400", &format!("Missing header {name}")));
                }
            }
            json!({"trackResponse": {"shipment": [{
                "inquiryNumber": number,
                "package": [{"trackingNumber": number, "currentStatus": {"code": "011", "description": "Delivered"}}],
            }]}})
        }
        ("POST", ["addressvalidation", _, _]) => json!({"XAVResponse": {
            "Response": done,
            "ValidAddressIndicator": "",
            "AddressClassification": {"Code": "1", "Description": "Commercial"},
        }}),
        _ => return None,
    };
    Some(Canned::json(200, &body))
}

pub(super) fn not_found() -> Canned {
    error(404, "404", "Resource not found")
}
