//! nShift, imitated: token endpoint, problem bodies, and plausible answers of its products. What lies below a product's root is
//! not looked at.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::{Call, Callers, ClientShown, Imitation, Issued, Refresh, TokenEndpoint, is_below};
use crate::sandbox::canned::Canned;
use crate::sandbox::script::Endpoint;

const CHECKOUT: &str = "/checkout";
const SHIPMENT_DATA: &str = "/track/shipmentdata";
/// The number of an actor follows.
const SHIP_SERVER: &str = "/ShipServer";

const TOKENS: TokenEndpoint = TokenEndpoint {
    client: ClientShown::Body,
    grants: &["client_credentials"],
    lifetime: None,
    octets: 150,
    refresh: Refresh::OfConsent(None),
    answer: token,
};

pub(super) struct Nshift;

impl Imitation for Nshift {
    fn id(&self) -> &'static str {
        "nshift"
    }

    fn at(&self, path: &str) -> Option<Endpoint> {
        match path {
            "/idp/connect/token" => Some(Endpoint::Token),
            path => [CHECKOUT, SHIPMENT_DATA, SHIP_SERVER]
                .iter()
                .any(|root| is_below(path, root))
                .then_some(Endpoint::Api),
        }
    }

    fn callers(&self) -> Callers {
        Callers::Tokens(&TOKENS)
    }

    fn bad_credentials(&self) -> Canned {
        bad_client()
    }

    fn refused(&self) -> Canned {
        expired_token()
    }

    fn throttled(&self, _wait: Duration) -> Canned {
        throttled()
    }

    fn not_found(&self, _method: &Method) -> Canned {
        error(404, "Not Found", "NOT_FOUND", "There is nothing at this path.")
    }

    fn serve(&self, call: &Call<'_>) -> Option<Canned> {
        let path = call.request.path();
        let below = |root: &str| is_below(path, root);
        Some(match call.method() {
            "GET" | "POST" if below(SHIPMENT_DATA) => Canned::json(200, &json!([])),
            "POST" if below(CHECKOUT) => {
                let price = json!({"value": 89.0, "currency": "NOK"});
                Canned::json(200, &json!({"options": [{"id": "home-delivery", "price": price}]}))
            }
            "GET" if below(SHIP_SERVER) => Canned::json(200, &json!([])),
            "POST" if below(SHIP_SERVER) => {
                let label = json!({"Content": "JVBERi0xLjQK"});
                Canned::json(
                    200,
                    &json!({"ShpTag": "1", "ShpNo": "70700000000000001", "Labels": [label]}),
                )
            }
            _ => return None,
        })
    }
}

/// The answer of the token endpoint. Scopes are fixed for each client.
fn token(issued: &Issued<'_>) -> Value {
    json!({
        "access_token": issued.token,
        "expires_in": issued.lifetime.as_secs(),
        "token_type": issued.kind("Bearer"),
        "scope": issued.scope.unwrap_or("public_api_shipmentserver"),
    })
}

/// nShift's answer to an API call whose token has expired or is unknown: 401 with the challenge of RFC 6750, and no body.
pub fn expired_token() -> Canned {
    Canned::empty(401).header("www-authenticate", "Bearer error=\"invalid_token\"")
}

/// nShift's answer to a wrong client id or secret: 400 `invalid_client`. The status is the sandbox's own word.
pub fn bad_client() -> Canned {
    Canned::json(400, &json!({"error": "invalid_client"})).no_store()
}

/// nShift's answer to too many calls: 429 without a body. That it gives such an answer is the sandbox's own word.
pub fn throttled() -> Canned {
    Canned::empty(429)
}

/// An error in the form of nShift's portal APIs: `application/problem+json` with
/// `issues: [{issueCode, description}]`.
pub fn error(status: u16, title: &str, code: &str, description: &str) -> Canned {
    let issue = json!({"issueCode": code, "description": description});
    let body = json!({"title": title, "status": status, "detail": description, "issues": [issue]});
    Canned::bytes(status, "application/problem+json", body.to_string())
}
