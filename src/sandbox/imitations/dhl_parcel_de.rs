//! DHL Parcel DE (Post & Parcel Germany), imitated: tokens for a portal user's name and password, the probe that tells what a
//! token is worth, problem bodies, and labels.

use std::time::Duration;

use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::{Call, Callers, ClientShown, Imitation, Issued, Refresh, TokenEndpoint, is_below};
use crate::clock::Clock;
use crate::owner::TenantId;
use crate::sandbox::accounts::Holder;
use crate::sandbox::canned::Canned;
use crate::sandbox::form::Fields;
use crate::sandbox::record::Recorded;
use crate::sandbox::script::Endpoint;

/// Tokens, below it.
const ACCOUNT: &str = "/parcel/de/account/auth/ropc/v1";
/// Labels, below it.
const SHIPPING: &str = "/parcel/de/shipping/v2";

const TOKENS: TokenEndpoint = TokenEndpoint {
    client: ClientShown::Body,
    grants: &["password"],
    lifetime: Some(Duration::from_secs(1799)),
    octets: 32,
    refresh: Refresh::OfConsent(None),
    answer: token,
};

pub(super) struct DhlParcelDe;

impl Imitation for DhlParcelDe {
    fn id(&self) -> &'static str {
        "dhl-parcel-de"
    }

    fn at(&self, path: &str) -> Option<Endpoint> {
        match path.strip_prefix(ACCOUNT) {
            Some("/token") => Some(Endpoint::Token),
            _ => (is_below(path, ACCOUNT) || is_below(path, SHIPPING)).then_some(Endpoint::Api),
        }
    }

    fn callers(&self) -> Callers {
        Callers::Tokens(&TOKENS)
    }

    fn part(&self, name: &str, _: &TenantId, secret: &dyn Fn() -> String) -> Option<String> {
        matches!(name, "username" | "password").then(secret)
    }

    /// Name and password of the business customer portal's user.
    fn refuses_token(&self, _: &HeaderMap, fields: &Fields, holder: &Holder<'_>) -> Option<Canned> {
        let shown = ["username", "password"].map(|part| (part, fields.get(part)));
        (!holder.has(&shown)).then(bad_credentials)
    }

    fn bad_credentials(&self) -> Canned {
        bad_credentials()
    }

    fn bad_grant(&self, _error: &str) -> Canned {
        error(400, "Bad Request", "The grant is missing or not supported.")
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

    /// Both tell their version to anybody, which proves nothing of a token.
    fn open(&self, request: &Recorded) -> Option<Canned> {
        let path = request.path().trim_end_matches('/');
        let version = json!({"amp": {"name": "sandbox", "version": "v1.0.0", "env": "sandbox"}});
        (request.method() == Method::GET && [ACCOUNT, SHIPPING].contains(&path)).then(|| Canned::json(200, &version))
    }

    fn serve(&self, call: &Call<'_>) -> Option<Canned> {
        let path = call.request.path();
        match (call.method(), path.strip_prefix(ACCOUNT), path.strip_prefix(SHIPPING)) {
            ("GET", Some("/hello"), _) => Some(hello(call)),
            ("POST", _, Some("/orders")) => Some(orders(call)),
            ("DELETE", _, Some("/orders")) => Some(Canned::json(200, &json!({"status": done(), "items": []}))),
            _ => None,
        }
    }
}

/// What a token is worth, and the portal's user with the password.
fn hello(call: &Call<'_>) -> Canned {
    let now = call.shared.clock.monotonic();
    let left = call.token.map(|token| token.expires.saturating_since(now).as_secs());
    let about = json!({"expires_in_s": left, "name_of_registered_app": call.holder.client});
    let [name, password] = ["username", "password"].map(|part| call.holder.first(part));
    let user = json!({"gkp_user": name, "gkp_pass": password});
    Canned::json(200, &json!({"accesstoken-info": about, "gkp-info": user}))
}

fn orders(call: &Call<'_>) -> Canned {
    let shipments = call.request.json().unwrap_or_default();
    let Some(shipments) = shipments.get("shipments").and_then(Value::as_array) else {
        return error(400, "Bad Request", "The shipments are missing.");
    };
    // A dry run makes no number and no label.
    let dry = call.query("validate").as_deref() == Some("true");
    let items: Vec<_> = shipments
        .iter()
        .map(|_| match dry {
            true => json!({"sstatus": done()}),
            false => json!({
                "sstatus": done(),
                "shipmentNo": "00340434161094000001",
                "label": {"b64": "JVBERi0xLjQK", "fileFormat": "PDF"},
            }),
        })
        .collect();
    Canned::json(200, &json!({"status": done(), "items": items}))
}

fn done() -> Value {
    json!({"title": "ok", "statusCode": 200, "detail": "The request was processed without errors."})
}

/// The answer of the token endpoint.
fn token(issued: &Issued<'_>) -> Value {
    json!({
        "access_token": issued.token,
        "token_type": issued.kind("Bearer"),
        "expires_in": issued.lifetime.as_secs(),
    })
}

/// DHL Parcel DE's answer to an API call whose token has expired or is unknown: a 401 problem, without a challenge.
pub fn expired_token() -> Canned {
    error(401, "Unauthorized", "Unauthorized for given resource.")
}

/// DHL Parcel DE's answer to a wrong API key or secret, or a wrong portal user or password: a 401 problem, as to a token that is
/// not good.
pub fn bad_credentials() -> Canned {
    expired_token()
}

/// DHL Parcel DE's answer to too many calls: a 429 problem without `Retry-After`.
pub fn throttled() -> Canned {
    error(
        429,
        "Too Many Requests",
        "Too many requests within defined time period, please try again later.",
    )
}

/// An error in DHL Parcel DE's form: `application/problem+json` with `{title, status, statusCode, detail}`.
pub fn error(status: u16, title: &str, detail: &str) -> Canned {
    let body = json!({"title": title, "status": status, "statusCode": status, "detail": detail});
    Canned::bytes(status, "application/problem+json", body.to_string())
}
