//! FedEx, imitated: token endpoint, error bodies, limits, and a few business routes with plausible answers.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::canned::Canned;
use super::record::Recorded;
use crate::clock::Monotonic;

/// The token endpoint.
pub(super) const TOKEN: &str = "/oauth/token";

const BLOCK: Duration = Duration::from_secs(600);
const TRANSACTION: &str = "624deea6-b709-470c-8c39-4b5511281492";

/// Whether a path is one of FedEx's business paths.
pub(super) fn owns(path: &str) -> bool {
    const PREFIXES: [&str; 8] = [
        "/rate/v1/",
        "/ship/v1/",
        "/track/v1/",
        "/country/v1/",
        "/address/v1/",
        "/availability/v1/",
        "/pickup/v1/",
        "/documents/v1/",
    ];
    PREFIXES.iter().any(|prefix| path.starts_with(prefix))
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
pub(super) fn token(text: &str, bound: bool, lifetime: Duration) -> Value {
    json!({
        "access_token": text,
        "token_type": if bound { "DPoP" } else { "bearer" },
        "expires_in": lifetime.as_secs(),
        "scope": "CXS",
    })
}

/// The business routes.
pub(super) fn serve(request: &Recorded) -> Option<Canned> {
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

pub(super) fn not_found(method: &Method) -> Canned {
    match *method {
        Method::GET | Method::POST | Method::PUT => error(
            404,
            "NOT.FOUND.ERROR",
            "The resource you requested is no longer available.",
        ),
        _ => error(405, "METHOD.NOT.ALLOWED.ERROR", "The method is not supported here."),
    }
}

/// Hits inside the longest window of a limit.
#[derive(Default)]
struct Hits(VecDeque<Monotonic>);

impl Hits {
    /// Counts a hit, and forgets those that are out of the window or beyond what a limit asks for.
    fn add(&mut self, now: Monotonic, longest: Duration, most: usize) {
        self.0.push_back(now);
        let over = |hits: &VecDeque<Monotonic>| {
            hits.len() > most + 1
                || hits
                    .front()
                    .is_some_and(|first| now.saturating_since(*first) >= longest)
        };
        while over(&self.0) {
            self.0.pop_front();
        }
    }

    fn within(&self, now: Monotonic, window: Duration) -> usize {
        self.0
            .iter()
            .rev()
            .take_while(|hit| now.saturating_since(**hit) < window)
            .count()
    }
}

#[derive(Default)]
struct State {
    token_hits: Hits,
    blocked_until: Option<Monotonic>,
    calls: HashMap<String, Hits>,
}

/// FedEx's limits. Every caller of the sandbox has the same address.
#[derive(Default)]
pub(super) struct Limits(Mutex<State>);

impl Limits {
    /// Counts a token request and says whether the address is blocked. A request while it is blocked makes that longer.
    pub(super) fn token_blocked(&self, now: Monotonic) -> bool {
        const SHORT: (usize, Duration) = (15, Duration::from_secs(5));
        const LONG: (usize, Duration) = (120, Duration::from_secs(120));
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.token_hits.add(now, LONG.1, LONG.0);
        let over = [SHORT, LONG]
            .iter()
            .any(|(most, window)| state.token_hits.within(now, *window) > *most);
        let blocked = over || state.blocked_until.is_some_and(|until| now < until);
        if blocked {
            state.blocked_until = Some(now + BLOCK);
        }
        blocked
    }

    /// Counts a client's call and says whether it is one too many: 1 400 in 10 s.
    pub(super) fn call_throttled(&self, client: &str, now: Monotonic) -> bool {
        const MOST: usize = 1400;
        const WINDOW: Duration = Duration::from_secs(10);
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hits = state.calls.entry(client.to_owned()).or_default();
        hits.add(now, WINDOW, MOST);
        if hits.0.len() > MOST {
            // What is refused does not count.
            hits.0.pop_back();
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_origin(Duration::from_secs(seconds))
    }

    #[test]
    fn fifteen_token_requests_in_five_seconds_pass_and_the_next_blocks_for_ten_minutes() {
        let limits = Limits::default();
        assert!((0..15).all(|_| !limits.token_blocked(at(0))));
        assert!(limits.token_blocked(at(4)));
        assert!(limits.token_blocked(at(603)), "extended by the request at 4 s");
        assert!(!limits.token_blocked(at(603 + 600)), "and by no other");
    }

    #[test]
    fn one_a_second_passes_for_ever_and_a_little_more_blocks_after_two_minutes() {
        let limits = Limits::default();
        assert!((0..600).all(|second| !limits.token_blocked(at(second))));
        let limits = Limits::default();
        let blocked =
            (0..400_u64).position(|n| limits.token_blocked(Monotonic::from_origin(Duration::from_millis(n * 900))));
        assert_eq!(blocked, Some(120));
    }

    #[test]
    fn calls_are_counted_for_each_client() {
        let limits = Limits::default();
        assert!((0..1400).all(|_| !limits.call_throttled("a", at(0))));
        assert!(limits.call_throttled("a", at(9)));
        assert!(!limits.call_throttled("b", at(9)));
        assert!(!limits.call_throttled("a", at(10)));
    }
}
