//! EasyPost, imitated: API keys as Bearer or as the user of Basic, error bodies in their three shapes, limits, and a few business
//! routes with plausible answers.

use std::time::Duration;

use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::limits::Limit;
use super::{Call, Callers, Imitation, Shown, basic_pair, bearer_key};
use crate::sandbox::canned::Canned;
use crate::sandbox::script::Endpoint;

/// What follows `/v2/`.
const RESOURCES: [&str; 10] = [
    "addresses",
    "api_keys",
    "batches",
    "metadata",
    "parcels",
    "rates",
    "shipments",
    "trackers",
    "users",
    "webhooks",
];

pub(super) struct EasyPost;

fn segments(path: &str) -> Option<Vec<&str>> {
    Some(path.strip_prefix("/v2/")?.split('/').collect())
}

impl Imitation for EasyPost {
    fn id(&self) -> &'static str {
        "easypost"
    }

    fn at(&self, path: &str) -> Option<Endpoint> {
        let first = segments(path)?.first().copied()?;
        RESOURCES.contains(&first).then_some(Endpoint::Api)
    }

    fn has_common_paths(&self) -> bool {
        true
    }

    fn callers(&self) -> Callers {
        Callers::Credentials(shown)
    }

    fn bad_credentials(&self) -> Canned {
        bad_key()
    }

    fn throttled(&self, _wait: Duration) -> Canned {
        throttled()
    }

    fn not_found(&self, _method: &Method) -> Canned {
        error(404, Some("NOT_FOUND"), "The requested resource could not be found.")
    }

    /// Five a second where things are listed. The limiter that follows EasyPost's load is not imitated.
    fn limits(&self, call: &Call<'_>) -> Vec<Limit> {
        let lists = segments(call.request.path()).is_some_and(|segments| segments.len() == 1);
        match call.request.method() == Method::GET && lists {
            true => vec![Limit::new("lists", 5, Duration::from_secs(1))],
            false => Vec::new(),
        }
    }

    fn serve(&self, call: &Call<'_>) -> Option<Canned> {
        let segments = segments(call.request.path())?;
        let own = call.request.json().unwrap_or_default();
        Some(match (call.method(), segments.as_slice()) {
            ("GET", ["metadata", "carriers"]) => Canned::json(200, &json!({"carriers": [{"name": "usps"}]})),
            ("GET", [kind @ ("addresses" | "shipments" | "trackers")]) => {
                Canned::json(200, &json!({*kind: [], "has_more": false}))
            }
            ("POST", ["addresses"]) if own.get("address").is_none() => {
                error(422, Some("PARAMETER.REQUIRED"), json!(["address is missing"]))
            }
            ("POST", ["addresses"]) => Canned::json(201, &json!({"id": "adr_1", "object": "Address"})),
            ("POST", ["shipments"]) if own.get("shipment").is_none() => {
                error(422, Some("PARAMETER.REQUIRED"), json!({"shipment": ["is missing"]}))
            }
            ("POST", ["shipments"]) => {
                let rate = json!({"id": "rate_1", "carrier": "USPS", "service": "Priority", "rate": "7.58", "currency": "USD"});
                Canned::json(201, &json!({"id": "shp_1", "object": "Shipment", "rates": [rate]}))
            }
            ("POST", ["shipments", id, "buy"]) => {
                let label = json!({"label_url": "https://label.example/1.png"});
                let bought = json!({"id": id, "tracking_code": "9400100000000000000001", "postage_label": label});
                Canned::json(200, &bought)
            }
            _ => return None,
        })
    }
}

/// Both ways are EasyPost's; with Basic the password is empty.
fn shown(headers: &HeaderMap) -> Option<Shown> {
    let by_basic = || {
        let (key, password) = basic_pair(headers)?;
        password.is_empty().then_some(Shown::Key(key))
    };
    bearer_key(headers).or_else(by_basic)
}

/// EasyPost's answer to a key that is nobody's: 401 without a code.
pub fn bad_key() -> Canned {
    error(401, None, "Authentication is required and has failed.")
}

/// EasyPost's answer to a key that was switched off: 403 `APIKEY.INACTIVE`.
pub fn inactive_key() -> Canned {
    error(403, Some("APIKEY.INACTIVE"), "This api key is no longer active.")
}

/// EasyPost's answer to too many calls: 429 without a code and without `Retry-After`.
pub fn throttled() -> Canned {
    error(429, None, "Too Many Requests")
}

/// An error in EasyPost's form: `{error: {code, message, errors}}`. There may be no code, and the message may be a text, a list
/// or an object.
pub fn error(status: u16, code: Option<&str>, message: impl Into<Value>) -> Canned {
    let mut error = json!({"message": message.into(), "errors": []});
    if let (Some(code), Some(members)) = (code, error.as_object_mut()) {
        members.insert("code".to_owned(), Value::from(code));
    }
    Canned::json(status, &json!({"error": error}))
}
