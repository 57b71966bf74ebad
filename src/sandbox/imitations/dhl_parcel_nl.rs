//! DHL Parcel NL/BE (My DHL Parcel), imitated: a key in JSON for a token in camelCase, its refresh, error bodies, labels.

use std::time::Duration;

use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::{Call, Callers, ClientShown, Imitation, Issued, Refresh, TokenEndpoint, is_below};
use crate::sandbox::canned::Canned;
use crate::sandbox::form::Fields;
use crate::sandbox::record::Recorded;
use crate::sandbox::script::Endpoint;

const BY_KEY: &str = "/authenticate/api-key";
const REFRESH: &str = "/authenticate/refresh-token";

const TOKENS: TokenEndpoint = TokenEndpoint {
    client: ClientShown::Body,
    grants: &["client_credentials", "refresh_token"],
    lifetime: Some(Duration::from_secs(900)),
    octets: 150,
    refresh: Refresh::Always(Duration::from_secs(7 * 24 * 3600)),
    answer: token,
};

pub(super) struct DhlParcelNl;

impl Imitation for DhlParcelNl {
    fn id(&self) -> &'static str {
        "dhl-parcel-nl"
    }

    fn at(&self, path: &str) -> Option<Endpoint> {
        const BUSINESS: [&str; 4] = ["/labels", "/shipments", "/track-trace", "/parcel-shop-locations"];
        match path {
            BY_KEY | REFRESH => Some(Endpoint::Token),
            // USPS has labels and shipments as well.
            path if is_below(path, "/labels/v3") || is_below(path, "/shipments/v3") => None,
            path => BUSINESS
                .iter()
                .any(|root| is_below(path, root))
                .then_some(Endpoint::Api),
        }
    }

    fn has_common_paths(&self) -> bool {
        true
    }

    fn callers(&self) -> Callers {
        Callers::Tokens(&TOKENS)
    }

    /// JSON members of its own, and the path in the place of a grant's name.
    fn fields(&self, path: &str, headers: &HeaderMap, body: &[u8]) -> Fields {
        let grant = if path == REFRESH {
            "refresh_token"
        } else {
            "client_credentials"
        };
        Fields::read_json(headers, body)
            .renamed(&[
                ("userId", "client_id"),
                ("key", "client_secret"),
                ("refreshToken", "refresh_token"),
            ])
            .with("grant_type", grant)
    }

    fn bad_credentials(&self) -> Canned {
        bad_key()
    }

    fn no_credentials(&self) -> Canned {
        missing_key()
    }

    fn bad_grant(&self, error: &str) -> Canned {
        match error {
            "invalid_request" => missing_key(),
            _ => bad_key(),
        }
    }

    fn refused(&self) -> Canned {
        expired_token()
    }

    fn throttled(&self, _wait: Duration) -> Canned {
        throttled()
    }

    fn not_found(&self, _method: &Method) -> Canned {
        error(404, "Not Found", "There is nothing at this path.")
    }

    /// Tracking and parcel shops are told to anybody, which proves nothing of a token.
    fn open(&self, request: &Recorded) -> Option<Canned> {
        let open = ["/track-trace", "/parcel-shop-locations"];
        let asked = request.method() == Method::GET && open.iter().any(|root| is_below(request.path(), root));
        asked.then(|| Canned::json(200, &json!([])))
    }

    fn serve(&self, call: &Call<'_>) -> Option<Canned> {
        let label = json!({
            "labelId": "2a5c7d0e-0000-4000-8000-000000000001",
            "trackerCode": "JVGL0000000000000001",
            "pdf": "JVBERi0xLjQK",
        });
        match (call.method(), call.request.path()) {
            ("GET", "/labels") => Some(Canned::json(200, &json!([]))),
            ("POST", "/labels") => Some(Canned::json(201, &label)),
            ("POST", "/shipments") => {
                let own = call.request.json().unwrap_or_default();
                let Some(id) = own.get("shipmentId").and_then(Value::as_str) else {
                    return Some(error(400, "Bad Request", "shipmentId is missing"));
                };
                Some(Canned::json(201, &json!({"shipmentId": id, "pieces": [label]})))
            }
            _ => None,
        }
    }
}

/// The answer of the token endpoint: no type, and times as seconds since 1970. A bound token, which DHL does not give, has its
/// type.
fn token(issued: &Issued<'_>) -> Value {
    let until = |lifetime: Duration| (issued.now + lifetime).unix_seconds();
    let mut body = json!({
        "accessToken": issued.token,
        "accessTokenExpiration": until(issued.lifetime),
    });
    let refresh = issued.refresh.map(|(token, _)| json!(token.expose()));
    let further = [
        ("refreshToken", refresh),
        (
            "refreshTokenExpiration",
            issued.refresh_lifetime.map(|lifetime| json!(until(lifetime))),
        ),
        ("token_type", issued.bound.then(|| json!("DPoP"))),
    ];
    if let Some(members) = body.as_object_mut() {
        let further = further.into_iter();
        members.extend(further.filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }
    body
}

/// DHL Parcel NL's answer to an API call whose token has expired or is unknown: 401, as JSON.
pub fn expired_token() -> Canned {
    error(401, "Unauthorized", "The access token is invalid or has expired.")
}

/// DHL Parcel NL's answer to a wrong key: 401 in plain text.
pub fn bad_key() -> Canned {
    Canned::text(401, "Invalid credentials")
}

/// DHL Parcel NL's answer where user id or key is missing: 400.
pub fn missing_key() -> Canned {
    error(400, "Bad Request", "userId or key is missing")
}

/// DHL Parcel NL's answer to too many calls: 429. That it gives such an answer is the sandbox's own word.
pub fn throttled() -> Canned {
    error(429, "Too Many Requests", "Too many requests.")
}

/// An error in DHL Parcel NL's form: `{title, detail, status}`.
pub fn error(status: u16, title: &str, detail: &str) -> Canned {
    Canned::json(status, &json!({"title": title, "detail": detail, "status": status}))
}
