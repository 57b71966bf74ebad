//! DHL Express (MyDHL API), imitated: Basic, error bodies, and a few business routes with plausible answers. The test system has
//! the same host and a longer path.

use std::time::Duration;

use http::{HeaderMap, Method};
use serde_json::json;

use super::{Call, Callers, Imitation, Shown, basic_pair, is_below};
use crate::sandbox::canned::Canned;
use crate::sandbox::script::Endpoint;

const ROOT: &str = "/mydhlapi";

pub(super) struct DhlExpress;

impl Imitation for DhlExpress {
    fn id(&self) -> &'static str {
        "dhl-express"
    }

    fn at(&self, path: &str) -> Option<Endpoint> {
        is_below(path, ROOT).then_some(Endpoint::Api)
    }

    fn callers(&self) -> Callers {
        Callers::Credentials(shown)
    }

    fn bad_credentials(&self) -> Canned {
        bad_credentials()
    }

    fn throttled(&self, _wait: Duration) -> Canned {
        throttled()
    }

    fn not_found(&self, _method: &Method) -> Canned {
        error("404", "Not Found", "There is nothing at this path.")
    }

    fn serve(&self, call: &Call<'_>) -> Option<Canned> {
        let path = call.request.path().strip_prefix(ROOT)?;
        let answer = match (call.method(), path.strip_prefix("/test").unwrap_or(path)) {
            ("GET", "/address-validate") => {
                for name in ["type", "countryCode"] {
                    if call.query(name).is_none() {
                        return Some(error("400", "Bad Request", &format!("{name} is missing")));
                    }
                }
                let address = json!({
                    "countryCode": call.query("countryCode"),
                    "postalCode": call.query("postalCode"),
                    "cityName": "BONN",
                    "serviceArea": {"code": "CGN", "description": "COLOGNE - GERMANY"},
                });
                Canned::json(200, &json!({"warnings": [], "address": [address]}))
            }
            ("GET" | "POST", "/rates") => {
                let price = json!({"currencyType": "BILLC", "priceCurrency": "EUR", "price": 41.26});
                let product = json!({"productName": "EXPRESS WORLDWIDE", "productCode": "P", "totalPrice": [price]});
                Canned::json(200, &json!({"products": [product]}))
            }
            ("POST", "/shipments") => Canned::json(
                201,
                &json!({
                    "shipmentTrackingNumber": "1234567890",
                    "packages": [{"referenceNumber": 1, "trackingNumber": "JD014600000000000001"}],
                    "documents": [{"imageFormat": "PDF", "typeCode": "label", "content": "JVBERi0xLjQK"}],
                }),
            ),
            ("GET", "/tracking") => {
                let number = call.query("shipmentTrackingNumber");
                let shipment = json!({"shipmentTrackingNumber": number, "status": "Success", "events": []});
                Canned::json(200, &json!({"shipments": [shipment]}))
            }
            _ => return None,
        };
        Some(match call.request.header("message-reference") {
            Some(reference) => answer.header("message-reference", reference),
            None => answer,
        })
    }
}

fn shown(headers: &HeaderMap) -> Option<Shown> {
    basic_pair(headers).map(|(name, password)| Shown::Pair(name, password))
}

/// DHL Express's answer to a wrong user name or password: 401, its status a text.
pub fn bad_credentials() -> Canned {
    error("401", "Unauthorized", "Invalid Credentials")
}

/// DHL Express's answer to too many calls: 429 without `Retry-After`.
pub fn throttled() -> Canned {
    error(
        "429",
        "Too Many Requests",
        "Too many requests within defined time period, please try again later.",
    )
}

/// An error in DHL Express's form: `{instance, detail, title, message, status}`, the status as text. One that is no HTTP
/// status, as `998`, goes with 400.
pub fn error(status: &str, title: &str, detail: &str) -> Canned {
    let body = json!({"instance": "/expressapi", "detail": detail, "title": title, "message": title, "status": status});
    let code = status.parse().ok().filter(|code| (100..600).contains(code));
    Canned::json(code.unwrap_or(400), &body)
}
