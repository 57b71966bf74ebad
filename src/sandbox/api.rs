//! The carrier's API: who may call it, and what it answers.

use http::{HeaderMap, header};
use serde_json::json;

use super::canned::{Canned, Route};
use super::check::{Passed, Refusal, challenge, supply};
use super::record::{Arrived, Recorded};
use super::registry::Token;
use super::script::Endpoint;
use super::server::{Outcome, Place, Shared, oauth_error};
use super::{fedex, ups, usps};
use crate::clock::Clock;

/// In whose manner a path speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Plain,
    FedEx,
    Ups,
    Usps,
}

fn dialect(path: &str) -> Dialect {
    match path {
        path if fedex::owns(path) || path == fedex::TOKEN => Dialect::FedEx,
        path if ups::owns(path) || path == ups::TOKEN || path == ups::REFRESH => Dialect::Ups,
        path if usps::owns(path) || path == usps::TOKEN => Dialect::Usps,
        _ => Dialect::Plain,
    }
}

/// Scheme and token of the only `Authorization` field.
fn credentials(headers: &HeaderMap) -> Option<(&str, &str)> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok()?.split_once(' '),
        _ => None,
    }
}

/// The client that the presented token was issued to, whether or not the token is still good.
pub(super) fn client_of(shared: &Shared, headers: &HeaderMap) -> Option<String> {
    let (_, token) = credentials(headers)?;
    shared.tokens.find(token).map(|token| token.client)
}

enum Answers {
    Users(Route),
    Builtin(Canned),
    Nobody,
}

/// Serves a call.
pub(super) async fn serve(shared: &Shared, place: &Place, request: &Recorded) -> Outcome {
    if !place.api {
        return Outcome::refused(Canned::empty(404), "not_found");
    }
    let dialect = dialect(request.path());
    let builtin = || match dialect {
        Dialect::FedEx => fedex::serve(request),
        Dialect::Ups => ups::serve(request),
        Dialect::Usps => usps::serve(request),
        Dialect::Plain => None,
    };
    let answers = match shared.routes.find(request.method(), request.path()) {
        Some(open) if !open.guarded => return Outcome::accepted(open.answer(request), Vec::new()),
        Some(route) => Answers::Users(route),
        None => builtin().map_or(Answers::Nobody, Answers::Builtin),
    };
    let passed = match authorize(shared, &request.arrived).await {
        Ok(passed) => passed,
        Err(refusal) => return refuse(dialect, refusal),
    };
    if dialect == Dialect::FedEx && shared.settings.vendor_limits {
        let client = request.client_id().unwrap_or_default();
        if shared.limits.call_throttled(client, shared.clock.monotonic()) {
            return Outcome::refused(fedex::throttled(), "TOO.MANY.REQUESTS");
        }
    }
    let canned = match answers {
        Answers::Users(route) => route.answer(request),
        Answers::Builtin(canned) => canned,
        Answers::Nobody => match dialect {
            Dialect::FedEx => fedex::not_found(request.method()),
            Dialect::Ups => ups::not_found(),
            Dialect::Usps => usps::not_found(),
            Dialect::Plain => Canned::json(404, &json!({"error": "not_found"})),
        },
    };
    Outcome::accepted(supply(canned, passed.nonce.as_ref()), passed.checks)
}

async fn authorize(shared: &Shared, request: &Arrived) -> Result<Passed, Refusal> {
    let token = credentials(&request.headers)
        .and_then(|(_, text)| shared.tokens.find(text))
        .filter(|token: &Token| token.active(&*shared.clock));
    shared
        .api_checks
        .resource(request, token.as_ref(), shared.settings.require_dpop)
        .await
}

fn refuse(dialect: Dialect, refusal: Refusal) -> Outcome {
    let body = match dialect {
        Dialect::FedEx => fedex::expired_token(),
        Dialect::Ups => ups::expired_token(),
        Dialect::Usps => usps::expired_token(),
        Dialect::Plain => oauth_error(
            refusal.status,
            refusal.error.unwrap_or("unauthorized"),
            "see WWW-Authenticate",
        ),
    };
    // FedEx and UPS send no challenge, USPS one of its own; a bound caller gets one, as it would if they supported DPoP.
    let tells = dialect == Dialect::Plain || refusal.dpop;
    let mut canned = Canned {
        status: refusal.status,
        ..body
    };
    if tells {
        for challenge in &refusal.challenges {
            canned.headers.append(header::WWW_AUTHENTICATE, challenge.clone());
        }
    }
    Outcome::refused(supply(canned, refusal.nonce.as_ref()), refusal.reason)
}

/// What a script's `invalid_token` says to this request.
pub(super) fn invalid_token(request: &Arrived) -> Canned {
    let dialect = dialect(&request.path);
    if request.endpoint != Endpoint::Api {
        return match dialect {
            Dialect::FedEx => fedex::bad_credentials(),
            Dialect::Ups => ups::bad_client(),
            Dialect::Plain | Dialect::Usps => oauth_error(
                http::StatusCode::UNAUTHORIZED,
                "invalid_client",
                "the client is refused",
            ),
        };
    }
    let dpop = credentials(&request.headers).is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("dpop"));
    let body = match dialect {
        Dialect::FedEx => fedex::expired_token(),
        Dialect::Ups => ups::expired_token(),
        Dialect::Usps => usps::expired_token(),
        Dialect::Plain => oauth_error(http::StatusCode::UNAUTHORIZED, "invalid_token", "the token is refused"),
    };
    match (dpop, dialect) {
        (true, _) => body.header("www-authenticate", &challenge("invalid_token")),
        (false, Dialect::Plain) => body.header("www-authenticate", "Bearer error=\"invalid_token\""),
        (false, _) => body,
    }
}
