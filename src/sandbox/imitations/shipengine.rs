//! ShipEngine, imitated: API keys, the account that a partner acts for, error bodies, limits, and a few business routes with
//! plausible answers.

use std::time::Duration;

use http::{HeaderMap, Method};
use serde_json::json;

use super::limits::Limit;
use super::{Call, Callers, Imitation, Shown, only};
use crate::owner::TenantId;
use crate::sandbox::canned::Canned;
use crate::sandbox::script::Endpoint;

/// What follows `/v1/`.
const RESOURCES: [&str; 8] = [
    "addresses",
    "carriers",
    "environment",
    "labels",
    "rates",
    "shipments",
    "tokens",
    "tracking",
];
const ON_BEHALF_OF: &str = "on-behalf-of";

pub(super) struct ShipEngine;

impl Imitation for ShipEngine {
    fn id(&self) -> &'static str {
        "shipengine"
    }

    fn at(&self, path: &str) -> Option<Endpoint> {
        let first = path.strip_prefix("/v1/")?.split('/').next()?;
        RESOURCES.contains(&first).then_some(Endpoint::Api)
    }

    fn has_common_paths(&self) -> bool {
        true
    }

    fn callers(&self) -> Callers {
        Callers::Credentials(shown)
    }

    fn part(&self, name: &str, tenant: &TenantId, _: &dyn Fn() -> String) -> Option<String> {
        (name == "account").then(|| tenant.as_str().to_owned())
    }

    fn bad_credentials(&self) -> Canned {
        bad_key()
    }

    fn throttled(&self, wait: Duration) -> Canned {
        throttled(wait.as_secs().max(1))
    }

    fn not_found(&self, _method: &Method) -> Canned {
        error(
            404,
            "validation",
            "invalid_identifier",
            "There is nothing at this path.",
        )
    }

    /// 20 calls a minute with a sandbox key, 200 with another.
    fn limits(&self, call: &Call<'_>) -> Vec<Limit> {
        let most = match call.shown {
            Some(Shown::Key(key)) if key.starts_with("TEST_") => 20,
            _ => 200,
        };
        vec![Limit::new(format!("{most} a minute"), most, Duration::from_secs(60))]
    }

    /// A partner's key acts for the tenant whose it is here, and for nobody else.
    fn refuses(&self, call: &Call<'_>) -> Option<Canned> {
        let headers = call.request.headers();
        let own = call.holder.tenant.map(TenantId::as_str);
        let foreign = headers.contains_key(ON_BEHALF_OF) && only(headers, ON_BEHALF_OF) != own;
        foreign.then(foreign_account)
    }

    fn serve(&self, call: &Call<'_>) -> Option<Canned> {
        let carrier = json!({"carrier_id": "se-1", "carrier_code": "stamps_com", "friendly_name": "Stamps.com"});
        let amount = json!({"currency": "usd", "amount": 7.58});
        Some(match (call.method(), call.request.path()) {
            ("GET", "/v1/carriers") => Canned::json(200, &json!({"carriers": [carrier]})),
            ("POST", "/v1/rates") => {
                let rate = json!({"rate_id": "se-2", "carrier_id": "se-1", "shipping_amount": amount});
                Canned::json(200, &json!({"rate_response": {"rates": [rate], "errors": []}}))
            }
            ("POST", "/v1/labels") => {
                let label = json!({
                    "label_id": "se-3",
                    "status": "completed",
                    "tracking_number": "9400100000000000000001",
                    "shipment_cost": amount,
                });
                Canned::json(200, &label)
            }
            ("POST", "/v1/tokens/ephemeral") => {
                Canned::json(200, &json!({"token": call.shared.seed.secret(32)})).no_store()
            }
            _ => return None,
        })
    }
}

fn shown(headers: &HeaderMap) -> Option<Shown> {
    Some(Shown::Key(only(headers, "api-key")?.to_owned()))
}

/// ShipEngine's answer to a key that is nobody's: 401 `unauthorized`.
pub fn bad_key() -> Canned {
    error(401, "security", "unauthorized", "The API key is invalid.")
}

/// ShipEngine's answer to a key that acts for another's account: 403 `forbidden`. That it is this code is the sandbox's own
/// word.
pub fn foreign_account() -> Canned {
    error(403, "security", "forbidden", "The account is not this partner's.")
}

/// ShipEngine's answer to too many calls: 429 `rate_limit_exceeded` with `Retry-After` in seconds.
pub fn throttled(seconds: u64) -> Canned {
    error(429, "system", "rate_limit_exceeded", "The rate limit was exceeded.")
        .header("retry-after", &seconds.to_string())
}

/// An error in ShipEngine's form: `{request_id, errors: [{error_source, error_type, error_code, message}]}`, with ShipEngine
/// itself as the source.
pub fn error(status: u16, kind: &str, code: &str, message: &str) -> Canned {
    let one = json!({
        "error_source": "shipengine",
        "error_type": kind,
        "error_code": code,
        "message": message,
    });
    let request = "b69d4a68-8f5e-4d7d-9c3e-5c7d0f6a1b2c";
    Canned::json(status, &json!({"request_id": request, "errors": [one]}))
}
