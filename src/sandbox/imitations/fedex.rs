//! FedEx, imitated: token endpoint, error bodies, limits, and a few business routes with plausible answers.

use std::time::Duration;

use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::limits::{Limit, TokenLimit};
use super::{Call, Callers, ClientShown, Imitation, Issued, Refresh, TokenEndpoint};
use crate::sandbox::accounts::Holder;
use crate::sandbox::canned::Canned;
use crate::sandbox::form::Fields;
use crate::sandbox::record::Recorded;
use crate::sandbox::script::Endpoint;

const TRANSACTION: &str = "624deea6-b709-470c-8c39-4b5511281492";

/// What FedEx's business paths begin with.
const BUSINESS: [&str; 8] = [
    "/rate/v1/",
    "/ship/v1/",
    "/track/v1/",
    "/country/v1/",
    "/address/v1/",
    "/availability/v1/",
    "/pickup/v1/",
    "/documents/v1/",
];

const TOKENS: TokenEndpoint = TokenEndpoint {
    client: ClientShown::Body,
    grants: &["client_credentials", "csp_credentials", "client_pc_credentials"],
    lifetime: None,
    octets: 32,
    refresh: Refresh::OfConsent(None),
    answer: token,
};

pub(super) struct FedEx;

impl Imitation for FedEx {
    fn id(&self) -> &'static str {
        "fedex"
    }

    fn at(&self, path: &str) -> Option<Endpoint> {
        match path {
            "/oauth/token" => Some(Endpoint::Token),
            path => BUSINESS
                .iter()
                .any(|prefix| path.starts_with(prefix))
                .then_some(Endpoint::Api),
        }
    }

    fn callers(&self) -> Callers {
        Callers::Tokens(&TOKENS)
    }

    /// Whoever acts for a child account shows that one's key and secret. Sources spell the key in two ways.
    fn refuses_token(&self, _: &HeaderMap, fields: &Fields, holder: &Holder<'_>) -> Option<Canned> {
        if fields.get("grant_type") == Some("client_credentials") {
            return None;
        }
        let key = fields.get("child_Key").or(fields.get("child_key"));
        let shown = [("child_key", key), ("child_secret", fields.get("child_secret"))];
        (!holder.has(&shown)).then(bad_credentials)
    }

    fn token_limit(&self) -> Option<TokenLimit> {
        Some(TokenLimit {
            windows: [(15, Duration::from_secs(5)), (120, Duration::from_secs(120))],
            block: Duration::from_secs(600),
            blocked,
        })
    }

    fn bad_credentials(&self) -> Canned {
        bad_credentials()
    }

    fn bad_grant(&self, _error: &str) -> Canned {
        error(400, "BAD.REQUEST.ERROR", "The grant type is missing or not supported.")
    }

    fn refused(&self) -> Canned {
        expired_token()
    }

    fn throttled(&self, _wait: Duration) -> Canned {
        throttled()
    }

    fn not_found(&self, method: &Method) -> Canned {
        match *method {
            Method::GET | Method::POST | Method::PUT => error(
                404,
                "NOT.FOUND.ERROR",
                "The resource you requested is no longer available.",
            ),
            _ => error(405, "METHOD.NOT.ALLOWED.ERROR", "The method is not supported here."),
        }
    }

    fn limits(&self, _call: &Call<'_>) -> Vec<Limit> {
        vec![Limit::new("calls", 1400, Duration::from_secs(10))]
    }

    fn serve(&self, call: &Call<'_>) -> Option<Canned> {
        serve(call.request)
    }
}

/// FedEx's answer to an API call: 429, as on more than 1 400 calls in 10 s.
pub fn throttled() -> Canned {
    error(
        429,
        "TOO.MANY.REQUESTS",
        "We have received too many requests in a short duration. Please wait a while to try again.",
    )
}

/// FedEx's answer to an API call whose token has expired or is unknown: 401 `NOT.AUTHORIZED.ERROR`, without a challenge.
pub fn expired_token() -> Canned {
    error(
        401,
        "NOT.AUTHORIZED.ERROR",
        "Access token expired. Please modify your request and try again.",
    )
}

/// FedEx's answer to a wrong client id or secret: the same code as for an expired token, with another message.
pub fn bad_credentials() -> Canned {
    error(
        401,
        "NOT.AUTHORIZED.ERROR",
        "The given client credentials were not valid. Please modify your request and try again.",
    )
}

/// FedEx's answer to an address that it has blocked from the token endpoint: 403 `FORBIDDEN.ERROR`.
pub fn blocked() -> Canned {
    error(
        403,
        "FORBIDDEN.ERROR",
        "We could not authorize your credentials. Please check your permissions and try again.",
    )
}

/// An error in FedEx's form: `{transactionId, errors: [{code, message}]}`.
pub fn error(status: u16, code: &str, message: &str) -> Canned {
    let body = json!({"transactionId": TRANSACTION, "errors": [{"code": code, "message": message}]});
    Canned::json(status, &body)
}

/// The answer of the token endpoint: `bearer` in lower case, an integer, a scope.
fn token(issued: &Issued<'_>) -> Value {
    json!({
        "access_token": issued.token,
        "token_type": issued.kind("bearer"),
        "expires_in": issued.lifetime.as_secs(),
        "scope": "CXS",
    })
}

fn serve(request: &Recorded) -> Option<Canned> {
    let output = match (request.method().as_str(), request.path()) {
        ("POST", "/rate/v1/rates/quotes") => json!({
            "rateReplyDetails": [{
                "serviceType": "FEDEX_GROUND",
                "serviceName": "FedEx Ground",
                "packagingType": "YOUR_PACKAGING",
                "ratedShipmentDetails": [{"rateType": "ACCOUNT", "totalNetCharge": 18.42, "currency": "USD"}],
            }],
            "quoteDate": "2026-01-15",
            "encoded": false,
        }),
        ("POST", "/ship/v1/shipments") => json!({
            "transactionShipments": [{
                "masterTrackingNumber": "794600000001",
                "serviceType": "FEDEX_GROUND",
                "pieceResponses": [{
                    "trackingNumber": "794600000001",
                    "packageDocuments": [{"contentType": "LABEL", "docType": "PDF", "encodedLabel": "JVBERi0xLjQK"}],
                }],
            }],
        }),
        ("PUT", "/ship/v1/shipments/cancel") => json!({"cancelledShipment": true, "cancelledHistory": true}),
        ("POST", "/country/v1/postal/validate") => json!({
            "countryCode": "US",
            "stateOrProvinceCode": "TN",
            "cleanedPostalCode": "38017",
            "locationDescriptions": [{"locationId": "NQAA", "serviceArea": "A1"}],
        }),
        ("POST", "/address/v1/addresses/resolve") => json!({"resolvedAddresses": [{"classification": "BUSINESS"}]}),
        ("POST", "/track/v1/trackingnumbers") => json!({
            "completeTrackResults": [{
                "trackingNumber": tracked(request),
                "trackResults": [{"latestStatusDetail": {"code": "DL", "description": "Delivered"}}],
            }],
        }),
        _ => return None,
    };
    let mut body = json!({"transactionId": TRANSACTION, "output": output});
    if let (Some(own), Some(members)) = (request.header("x-customer-transaction-id"), body.as_object_mut()) {
        members.insert("customerTransactionId".to_owned(), Value::from(own));
    }
    Some(Canned::json(200, &body))
}

fn tracked(request: &Recorded) -> String {
    request
        .json()
        .and_then(|body| {
            let number = body.pointer("/trackingInfo/0/trackingNumberInfo/trackingNumber")?;
            number.as_str().map(str::to_owned)
        })
        .unwrap_or_else(|| "794600000001".to_owned())
}
