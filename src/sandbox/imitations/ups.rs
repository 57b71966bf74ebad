//! UPS, imitated: token endpoint, error bodies, and a few business routes with plausible answers.

use std::time::Duration;

use http::{HeaderMap, Method};
use serde_json::{Map, Value, json};

use super::{Call, Callers, ClientShown, Imitation, Issued, Refresh, TokenEndpoint, only};
use crate::clock::Timestamp;
use crate::owner::TenantId;
use crate::sandbox::accounts::Holder;
use crate::sandbox::canned::Canned;
use crate::sandbox::form::Fields;
use crate::sandbox::script::Endpoint;

/// Where refresh tokens are redeemed, and nothing else.
const REFRESH: &str = "/security/v1/oauth/refresh";
/// How long refresh tokens live.
pub(super) const REFRESH_LIFETIME: Duration = Duration::from_secs(604_799);

/// What UPS's business paths begin with.
const BUSINESS: [&str; 5] = [
    "/api/rating/",
    "/api/shipments/",
    "/api/track/",
    "/api/addressvalidation/",
    "/api/labels/",
];

const TOKENS: TokenEndpoint = TokenEndpoint {
    client: ClientShown::Basic,
    grants: &["client_credentials", "authorization_code", "refresh_token"],
    lifetime: Some(Duration::from_secs(14_399)),
    octets: 750,
    refresh: Refresh::OfConsent(Some(REFRESH_LIFETIME)),
    answer: token,
};

pub(super) struct Ups;

impl Imitation for Ups {
    fn id(&self) -> &'static str {
        "ups"
    }

    /// The token endpoint is not under `/api`.
    fn at(&self, path: &str) -> Option<Endpoint> {
        match path {
            "/security/v1/oauth/token" | REFRESH => Some(Endpoint::Token),
            "/security/v1/oauth/authorize" => Some(Endpoint::Authorization),
            path => BUSINESS
                .iter()
                .any(|prefix| path.starts_with(prefix))
                .then_some(Endpoint::Api),
        }
    }

    fn callers(&self) -> Callers {
        Callers::Tokens(&TOKENS)
    }

    fn part(&self, name: &str, _: &TenantId, secret: &dyn Fn() -> String) -> Option<String> {
        (name == "merchant").then(secret)
    }

    fn redeems(&self, grant: &str, path: &str) -> bool {
        (grant == "refresh_token") == (path == REFRESH)
    }

    /// The number of an account, which the token call may name. What UPS says to another's is not known; that it refuses is the
    /// sandbox's own word. Where the client has none on record, the header is not looked at.
    fn refuses_token(&self, headers: &HeaderMap, _: &Fields, holder: &Holder<'_>) -> Option<Canned> {
        let named = headers.contains_key("x-merchant-id") && holder.knows("merchant");
        let own = holder.has(&[("merchant", only(headers, "x-merchant-id"))]);
        (named && !own).then(blocked_merchant)
    }

    fn bad_credentials(&self) -> Canned {
        bad_client()
    }

    fn no_credentials(&self) -> Canned {
        no_authorization()
    }

    fn bad_grant(&self, _error: &str) -> Canned {
        error(400, "10400", "Invalid/Missing Grant")
    }

    fn refused(&self) -> Canned {
        expired_token()
    }

    fn throttled(&self, _wait: Duration) -> Canned {
        throttled()
    }

    fn not_found(&self, _method: &Method) -> Canned {
        error(404, "404", "Resource not found")
    }

    fn serve(&self, call: &Call<'_>) -> Option<Canned> {
        serve(call)
    }
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

/// UPS's answer to an account that is blocked: 403. The code is the sandbox's own word.
pub fn blocked_merchant() -> Canned {
    error(403, "10403", "Blocked Merchant")
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
fn token(issued: &Issued<'_>) -> Value {
    let mut body = json!({
        "token_type": issued.kind("Bearer"),
        "issued_at": milliseconds(issued.now),
        "client_id": issued.client,
        "access_token": issued.token,
        "scope": "",
        "expires_in": issued.lifetime.as_secs().to_string(),
        "refresh_count": "0",
        "status": "approved",
    });
    if let Some(members) = body.as_object_mut() {
        members.extend(about_refresh(issued));
    }
    body
}

/// What UPS and USPS say of a refresh token: every value is a string.
pub(super) fn about_refresh(issued: &Issued<'_>) -> Map<String, Value> {
    let Some((token, count)) = issued.refresh else {
        return Map::new();
    };
    [
        ("refresh_token", token.expose().to_owned()),
        ("refresh_token_issued_at", milliseconds(issued.now)),
        ("refresh_token_expires_in", REFRESH_LIFETIME.as_secs().to_string()),
        ("refresh_token_status", "approved".to_owned()),
        ("refresh_count", count.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), Value::from(value)))
    .collect()
}

fn serve(call: &Call<'_>) -> Option<Canned> {
    let request = call.request;
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
