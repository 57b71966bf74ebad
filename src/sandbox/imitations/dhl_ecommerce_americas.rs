//! DHL eCommerce Americas, imitated: token endpoint, error bodies, product finder and labels.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::{Call, Callers, ClientShown, Imitation, Issued, Refresh, TokenEndpoint, is_below};
use crate::sandbox::canned::Canned;
use crate::sandbox::script::Endpoint;

const TOKENS: TokenEndpoint = TokenEndpoint {
    client: ClientShown::BasicOrBody,
    grants: &["client_credentials"],
    lifetime: None,
    octets: 32,
    refresh: Refresh::OfConsent(None),
    answer: token,
};

pub(super) struct DhlEcommerceAmericas;

impl Imitation for DhlEcommerceAmericas {
    fn id(&self) -> &'static str {
        "dhl-ecommerce-americas"
    }

    fn at(&self, path: &str) -> Option<Endpoint> {
        match path {
            "/auth/v4/accesstoken" => Some(Endpoint::Token),
            path => is_below(path, "/shipping/v4/").then_some(Endpoint::Api),
        }
    }

    fn callers(&self) -> Callers {
        Callers::Tokens(&TOKENS)
    }

    fn bad_credentials(&self) -> Canned {
        bad_credentials()
    }

    fn bad_grant(&self, _error: &str) -> Canned {
        error(400, "400.0000001", "The grant type is missing or not supported.")
    }

    fn refused(&self) -> Canned {
        expired_token()
    }

    fn throttled(&self, _wait: Duration) -> Canned {
        throttled()
    }

    fn not_found(&self, _method: &Method) -> Canned {
        error(404, "404.0000001", "There is nothing at this path.")
    }

    fn serve(&self, call: &Call<'_>) -> Option<Canned> {
        match (call.method(), call.request.path()) {
            ("POST", "/shipping/v4/products") => {
                let rate = json!({"amount": 6.15, "currency": "USD"});
                let product =
                    json!({"orderedProductId": "GND", "productName": "DHL SmartMail Parcel Ground", "rate": rate});
                Some(Canned::json(200, &json!({"products": [product]})))
            }
            ("POST", "/shipping/v4/label") => {
                let own = call.request.json().unwrap_or_default();
                let package = own.pointer("/packageDetail/packageId");
                let Some(package) = package.and_then(Value::as_str) else {
                    return Some(error(400, "400.0204003", "The package id is missing."));
                };
                let label = json!({"packageId": package, "dhlPackageId": "420100010001", "labelData": "JVBERi0xLjQK"});
                Some(Canned::json(200, &json!({"labels": [label]})))
            }
            _ => None,
        }
    }
}

/// The answer of the token endpoint.
fn token(issued: &Issued<'_>) -> Value {
    json!({
        "access_token": issued.token,
        "client_id": issued.client,
        "token_type": issued.kind("Bearer"),
        "expires_in": issued.lifetime.as_secs(),
    })
}

/// DHL eCommerce's answer to an API call whose token has expired or is unknown: 401 and words about an expired token, without a
/// type.
pub fn expired_token() -> Canned {
    Canned::json(401, &json!({"title": "Access token has expired"}))
}

/// DHL eCommerce's answer to a wrong client id or secret: 401.
pub fn bad_credentials() -> Canned {
    error(401, "401.0000007", "Invalid credentials")
}

/// DHL eCommerce's answer to too many calls: 429. That it gives such an answer is the sandbox's own word.
pub fn throttled() -> Canned {
    error(429, "429.0000001", "Too many requests.")
}

/// An error in DHL eCommerce's form: `{type, title}`, the type a link that ends with the code.
pub fn error(status: u16, code: &str, title: &str) -> Canned {
    let link = format!("https://api.dhlecs.com/docs/errors/{code}");
    Canned::json(status, &json!({"type": link, "title": title}))
}
