//! Cargoson, imitated: API keys as Bearer, the version in `Accept`, error bodies, and a few business routes with plausible
//! answers.

use std::time::Duration;

use http::{Method, header};
use serde_json::{Value, json};

use super::{Call, Callers, Imitation, bearer_key, is_below, only};
use crate::sandbox::canned::Canned;
use crate::sandbox::script::Endpoint;

const ACCEPT: &str = "application/vnd.api.v1";

pub(super) struct Cargoson;

impl Imitation for Cargoson {
    fn id(&self) -> &'static str {
        "cargoson"
    }

    fn at(&self, path: &str) -> Option<Endpoint> {
        const ROOTS: [&str; 4] = ["/api/services", "/api/freightPrices", "/api/queries", "/api/bookings"];
        ROOTS.iter().any(|root| is_below(path, root)).then_some(Endpoint::Api)
    }

    fn has_common_paths(&self) -> bool {
        true
    }

    fn callers(&self) -> Callers {
        Callers::Credentials(bearer_key)
    }

    fn bad_credentials(&self) -> Canned {
        bad_key()
    }

    fn throttled(&self, _wait: Duration) -> Canned {
        throttled()
    }

    fn not_found(&self, _method: &Method) -> Canned {
        error(404, "Not found")
    }

    /// What Cargoson says to another version is not known; that it refuses is the sandbox's own word.
    fn refuses(&self, call: &Call<'_>) -> Option<Canned> {
        let version = only(call.request.headers(), header::ACCEPT.as_str());
        (version != Some(ACCEPT)).then(|| error(406, "Not acceptable"))
    }

    fn serve(&self, call: &Call<'_>) -> Option<Canned> {
        let segments: Vec<&str> = call.request.path().split('/').skip(2).collect();
        Some(match (call.method(), segments.as_slice()) {
            ("GET", ["services", "list"]) => done(&json!({"services": [{"id": 1, "name": "Standard"}]})),
            ("POST", ["freightPrices", "list"]) => prices(&call.request.json().unwrap_or_default()),
            ("POST", ["queries"]) => done(&json!({"query": {"reference": "Q1"}})),
            ("GET", ["bookings", reference]) => done(&json!({"booking": {"reference": reference}})),
            ("POST", ["bookings", _, "return_labels"]) => done(&json!({"labels": ["JVBERi0xLjQK"]})),
            _ => return None,
        })
    }
}

/// Nothing to carry has no price.
fn prices(query: &Value) -> Canned {
    match query.get("rows_attributes").and_then(Value::as_array) {
        None => error(422, "rows_attributes is missing"),
        Some(rows) if rows.is_empty() => no_prices(),
        Some(_) => done(&json!({"prices": [{"carrier": "Sandbox", "service": "Standard", "price": 42.5}]})),
    }
}

fn done(object: &Value) -> Canned {
    Canned::json(200, &json!({"status": 200, "object": object}))
}

/// Cargoson's answer where nobody has a price: 204.
pub fn no_prices() -> Canned {
    Canned::empty(204)
}

/// Cargoson's answer to a key that is nobody's: 401.
pub fn bad_key() -> Canned {
    error(401, "Unauthorized")
}

/// Cargoson's answer to too many calls: 429. That it gives such an answer is the sandbox's own word.
pub fn throttled() -> Canned {
    error(429, "Too many requests")
}

/// An error in a form like that of Cargoson's answers: `{status, error}`. The member's name is the sandbox's own word.
pub fn error(status: u16, message: &str) -> Canned {
    Canned::json(status, &json!({"status": status, "error": message}))
}
