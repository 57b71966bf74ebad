//! DHL Shipment Tracking Unified, imitated: the key's header, problem bodies, limits, and the one call that there is.

use std::time::Duration;

use http::{HeaderMap, Method};
use serde_json::json;

use super::limits::Limit;
use super::{Call, Callers, Imitation, Shown, only};
use crate::sandbox::canned::Canned;
use crate::sandbox::script::Endpoint;

const SHIPMENTS: &str = "/track/shipments";
const DAY: i64 = 24 * 3600;

pub(super) struct DhlTracking;

impl Imitation for DhlTracking {
    fn id(&self) -> &'static str {
        "dhl-tracking"
    }

    fn at(&self, path: &str) -> Option<Endpoint> {
        (path == SHIPMENTS).then_some(Endpoint::Api)
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
        error(405, "Method Not Allowed", "Only GET is supported here.")
    }

    /// A call a second, and 250 a day that ends at midnight GMT.
    fn limits(&self, call: &Call<'_>) -> Vec<Limit> {
        let day = call.now().unix_seconds().div_euclid(DAY);
        vec![
            Limit::new("second", 1, Duration::from_secs(1)),
            Limit::new(format!("day {day}"), 250, Duration::from_secs(DAY.unsigned_abs())),
        ]
    }

    fn serve(&self, call: &Call<'_>) -> Option<Canned> {
        if call.request.method() != Method::GET {
            return None;
        }
        let Some(number) = call.query("trackingNumber") else {
            return Some(error(400, "Bad Request", "trackingNumber is missing"));
        };
        let status = json!({"statusCode": "delivered", "timestamp": "2026-01-15T09:30:00"});
        let shipment = json!({"id": number, "service": "express", "status": status, "events": [status]});
        Some(Canned::json(200, &json!({"shipments": [shipment]})))
    }
}

fn shown(headers: &HeaderMap) -> Option<Shown> {
    Some(Shown::Key(only(headers, "dhl-api-key")?.to_owned()))
}

/// The answer of Unified Tracking to a key that is nobody's: a 401 problem.
pub fn bad_key() -> Canned {
    error(401, "Unauthorized", "Unauthorized for given resource.")
}

/// The answer of Unified Tracking to too many calls: a 429 problem without `Retry-After`.
pub fn throttled() -> Canned {
    error(
        429,
        "Too Many Requests",
        "Too many requests within defined time period, please try again later.",
    )
}

/// An error in the form of Unified Tracking: `{title, detail, status}`, the status as a number.
pub fn error(status: u16, title: &str, detail: &str) -> Canned {
    Canned::json(status, &json!({"title": title, "detail": detail, "status": status}))
}
