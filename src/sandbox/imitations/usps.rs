//! USPS, imitated: token and revocation endpoints, payment authorization, error bodies, and business routes with plausible
//! answers.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use super::limits::Limit;
use super::ups::{REFRESH_LIFETIME, about_refresh, milliseconds};
use super::{Call, Callers, ClientShown, Imitation, Issued, Refresh, TokenEndpoint, only};
use crate::clock::Clock;
use crate::owner::TenantId;
use crate::sandbox::canned::Canned;
use crate::sandbox::form::Fields;
use crate::sandbox::script::Endpoint;
use crate::sandbox::server::oauth_error;

/// What USPS's business paths begin with.
const BUSINESS: [&str; 7] = [
    "/addresses/v3/",
    "/international-labels/v3/",
    "/labels/v3/",
    "/payments/v3/",
    "/prices/v3/",
    "/shipments/v3/",
    "/tracking/v3/",
];
/// How long a payment authorization is good.
const PAYMENT_LIFETIME: Duration = Duration::from_secs(8 * 3600);
/// The part of a credential with the body that payment authorization is asked with.
const PAYMENT: &str = "payment_authorization";

const TOKENS: TokenEndpoint = TokenEndpoint {
    client: ClientShown::AsRegistered,
    grants: &["client_credentials", "authorization_code", "refresh_token"],
    lifetime: Some(Duration::from_secs(28_799)),
    octets: 32,
    refresh: Refresh::OfConsent(Some(REFRESH_LIFETIME)),
    answer: token,
};

pub(super) struct Usps;

impl Imitation for Usps {
    fn id(&self) -> &'static str {
        "usps"
    }

    fn fields(&self, _path: &str, headers: &HeaderMap, body: &[u8]) -> Fields {
        Fields::read_either(headers, body)
    }

    /// Token requests are forms or JSON; revocation is authorised by an access token or by the client's secret.
    fn at(&self, path: &str) -> Option<Endpoint> {
        match path {
            "/oauth2/v3/token" => Some(Endpoint::Token),
            "/oauth2/v3/revoke" => Some(Endpoint::Revocation),
            "/oauth2/v3/authorize" => Some(Endpoint::Authorization),
            path => BUSINESS
                .iter()
                .any(|prefix| path.starts_with(prefix))
                .then_some(Endpoint::Api),
        }
    }

    fn callers(&self) -> Callers {
        Callers::Tokens(&TOKENS)
    }

    fn part(&self, name: &str, _: &TenantId, secret: &dyn Fn() -> String) -> Option<String> {
        let role = |name: &str| json!({"roleName": name, "accountType": "EPS", "accountNumber": secret()});
        (name == PAYMENT).then(|| json!({"roles": [role("PAYER"), role("LABEL_OWNER")]}).to_string())
    }

    fn bad_credentials(&self) -> Canned {
        bad_client()
    }

    fn refused(&self) -> Canned {
        expired_token()
    }

    fn throttled(&self, wait: Duration) -> Canned {
        throttled(wait.as_secs().max(1))
    }

    fn not_found(&self, _method: &Method) -> Canned {
        error(404, "Resource not found.", "not_found")
    }

    /// By default 60 calls an hour of each API. Whether token requests count is not known; here they do not.
    fn limits(&self, call: &Call<'_>) -> Vec<Limit> {
        let api = call.request.path().split('/').nth(1).unwrap_or_default();
        vec![Limit::new(api, 60, Duration::from_secs(3600))]
    }

    fn serve(&self, call: &Call<'_>) -> Option<Canned> {
        match (call.method(), call.request.path()) {
            ("GET", "/addresses/v3/city-state") => Some(match call.query("ZIPCode") {
                Some(zip) => Canned::json(200, &json!({"city": "ALPHARETTA", "state": "GA", "ZIPCode": zip})),
                None => error(400, "ZIPCode is missing.", "OASValidation"),
            }),
            ("POST", "/payments/v3/payment-authorization") => Some(authorize_payment(call)),
            ("POST", "/labels/v3/label" | "/international-labels/v3/international-label") => Some(label(call)),
            _ => None,
        }
    }
}

fn authorize_payment(call: &Call<'_>) -> Canned {
    let body = call.request.json().unwrap_or_default();
    let roles = body.get("roles").and_then(Value::as_array);
    if roles.is_none_or(Vec::is_empty) {
        return error(400, "The roles are missing.", "OASValidation");
    }
    let is_own = |own: &str| serde_json::from_str::<Value>(own).is_ok_and(|own| own == body);
    let own = call
        .holder
        .any(|parts| parts.get(PAYMENT).is_some_and(|own| is_own(own.expose())));
    if call.holder.knows(PAYMENT) && !own {
        return error(403, "The accounts are not this client's.", "forbidden");
    }
    let text = call.shared.seed.secret(32);
    let until = call.shared.clock.monotonic() + PAYMENT_LIFETIME;
    call.shared.payments.put(&text, call.holder.client, until);
    Canned::json(200, &json!({"paymentAuthorizationToken": text, "roles": roles})).no_store()
}

fn label(call: &Call<'_>) -> Canned {
    let now = call.shared.clock.monotonic();
    let shown = only(call.request.headers(), "x-payment-authorization-token");
    if !shown.is_some_and(|text| call.shared.payments.is_good(text, call.holder.client, now)) {
        return no_payment_authorization();
    }
    let label = json!({
        "labelMetadata": {"trackingNumber": "9205500000000000000000", "postage": 8.95},
        "labelImage": "JVBERi0xLjQK",
    });
    Canned::json(200, &label)
}

/// USPS's answer to an API call whose token has expired or is unknown: 401, `invalid_token` in the body.
pub fn expired_token() -> Canned {
    error(401, "The token is invalid, expired or revoked.", "invalid_token")
        .header("www-authenticate", "Bearer realm=\"USPS\"")
}

/// USPS's answer to too many calls: 429 with `Retry-After` in seconds.
pub fn throttled(seconds: u64) -> Canned {
    error(429, "Too many requests.", "quota_exceeded").header("retry-after", &seconds.to_string())
}

/// USPS's answer to a wrong client id or secret: 401 `invalid_client`.
pub fn bad_client() -> Canned {
    oauth_error(
        StatusCode::UNAUTHORIZED,
        "invalid_client",
        "unknown client, or not authenticated as it is registered",
    )
}

/// USPS's answer to a label without a payment authorization that is good for its client: 401, in words of the sandbox's own.
pub fn no_payment_authorization() -> Canned {
    error(
        401,
        "The payment authorization is missing, expired or another's.",
        "invalid_payment_authorization",
    )
    .header("www-authenticate", "Bearer realm=\"USPS\"")
}

/// An error in USPS's form: `{apiVersion, error: {code, message, errors: [{title, detail, source}]}}`, the code as text.
pub fn error(status: u16, message: &str, title: &str) -> Canned {
    let one = json!({"title": title, "detail": message, "source": {}});
    let error = json!({"code": status.to_string(), "message": message, "errors": [one]});
    Canned::json(status, &json!({"apiVersion": "v3", "error": error}))
}

/// The answer of the token endpoint.
fn token(issued: &Issued<'_>) -> Value {
    let mut body = json!({
        "access_token": issued.token,
        "token_type": issued.kind("Bearer"),
        "issued_at": milliseconds(issued.now),
        "expires_in": issued.lifetime.as_secs(),
        "status": "approved",
        "scope": issued.scope.unwrap_or_default(),
        "issuer": "https://keyc.usps.com/realms/USPS",
        "client_id": issued.client,
        "application_name": "shipbound sandbox",
        "api_products": "[Shipping-Silver]",
        "public_key": "",
    });
    if let Some(members) = body.as_object_mut() {
        members.extend(about_refresh(issued));
    }
    body
}
