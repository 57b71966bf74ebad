//! The carrier's API: who may call it, and what it answers.

use http::request::Parts;
use http::{HeaderMap, StatusCode, header};

use super::accounts::Holder;
use super::canned::{Canned, Route};
use super::check::{Passed, Refusal, challenge, supply};
use super::imitations::plain::Plain;
use super::imitations::{Call, Callers, Imitation};
use super::record::{Arrived, Recorded};
use super::registry::Token;
use super::script::Endpoint;
use super::server::{Outcome, Place, Shared, oauth_error};
use crate::clock::Clock;

/// Scheme and token of the only `Authorization` field.
fn credentials(headers: &HeaderMap) -> Option<(&str, &str)> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok()?.split_once(' '),
        _ => None,
    }
}

/// The token that was presented, whether or not it is still good.
fn presented(shared: &Shared, headers: &HeaderMap) -> Option<Token> {
    let (_, text) = credentials(headers)?;
    shared.tokens.find(text)
}

/// Who speaks to this call, where its path is `at`'s, and which client it comes from: by its credential, or by the token that
/// it presents, whether or not that is still good.
pub(super) fn caller(
    shared: &Shared,
    at: &'static dyn Imitation,
    head: &Parts,
) -> (&'static dyn Imitation, Option<String>) {
    let token = presented(shared, &head.headers);
    let (client, is_own) = match at.callers() {
        Callers::Credentials(shown) => {
            let shown = shown(&head.headers);
            let client = shown.and_then(|shown| shared.accounts.holder(at, &shared.clients, &shown));
            let is_own = client.is_some();
            (client, is_own)
        }
        Callers::Tokens(_) => {
            let is_own = token.as_ref().is_some_and(|token| token.carrier == at.id());
            (token.as_ref().map(|token| token.client.clone()), is_own)
        }
    };
    let tests_own = || shared.routes.find(&head.method, head.uri.path()).is_some();
    match at.has_common_paths() && !is_own && tests_own() {
        true => (&Plain, token.map(|token| token.client)),
        false => (at, client),
    }
}

enum Answers {
    Users(Route),
    Imitations,
}

/// Serves a call.
pub(super) async fn serve(shared: &Shared, place: &Place, request: &Recorded) -> Outcome {
    if !place.api {
        return Outcome::refused(Canned::empty(404), "not_found");
    }
    let arrived = &request.arrived;
    let imitation = arrived.imitation;
    let answers = match shared.routes.find(request.method(), request.path()) {
        Some(open) if !open.guarded => return Outcome::accepted(open.answer(request), Vec::new()),
        Some(route) => Answers::Users(route),
        None => match imitation.open(request) {
            Some(open) => return Outcome::accepted(open, Vec::new()),
            None => Answers::Imitations,
        },
    };
    let token = presented(shared, &arrived.headers);
    let shown = match imitation.callers() {
        Callers::Credentials(shown) => shown(&arrived.headers),
        Callers::Tokens(_) => None,
    };
    let passed = match imitation.callers() {
        Callers::Tokens(_) => authorize(shared, arrived, token.as_ref()).await,
        Callers::Credentials(_) => known(arrived),
    };
    let passed = match passed {
        Ok(passed) => passed,
        Err(refusal) => return refuse(imitation, refusal),
    };
    let call = Call {
        request,
        holder: Holder {
            client: request.client_id().unwrap_or_default(),
            tenant: request.tenant(),
            carrier: imitation.id(),
            accounts: &shared.accounts,
        },
        shown: shown.as_ref(),
        token: token.as_ref(),
        shared,
    };
    if let Some(refused) = throttled(imitation, &call) {
        return refused;
    }
    if let Some(refused) = imitation.refuses(&call) {
        return Outcome::refused(supply(refused, passed.nonce.as_ref()), "not_admitted");
    }
    let canned = match answers {
        Answers::Users(route) => route.answer(request),
        Answers::Imitations => imitation
            .serve(&call)
            .unwrap_or_else(|| imitation.not_found(request.method())),
    };
    Outcome::accepted(supply(canned, passed.nonce.as_ref()), passed.checks)
}

fn throttled(imitation: &dyn Imitation, call: &Call<'_>) -> Option<Outcome> {
    if !call.shared.settings.vendor_limits {
        return None;
    }
    let (limits, now) = (imitation.limits(call), call.shared.clock.monotonic());
    let counted = &call.shared.limits;
    let wait = counted.call_throttled(imitation.id(), call.holder.client, &limits, now)?;
    Some(Outcome::refused(imitation.throttled(wait), "throttled"))
}

async fn authorize(shared: &Shared, request: &Arrived, token: Option<&Token>) -> Result<Passed, Refusal> {
    let token = token.filter(|token| token.active(&*shared.clock));
    shared
        .api_checks
        .resource(request, token, shared.settings.require_dpop)
        .await
}

/// A credential that goes with the call is bound to nothing.
fn known(request: &Arrived) -> Result<Passed, Refusal> {
    match request.client {
        Some(_) => Ok(Passed {
            jkt: None,
            checks: Vec::new(),
            nonce: None,
        }),
        None => Err(Refusal {
            reason: "invalid_credential",
            status: StatusCode::UNAUTHORIZED,
            error: None,
            challenges: Vec::new(),
            dpop: false,
            nonce: None,
        }),
    }
}

fn refuse(imitation: &dyn Imitation, refusal: Refusal) -> Outcome {
    let is_plain = imitation.id() == Plain.id();
    let body = match is_plain {
        true => oauth_error(
            refusal.status,
            refusal.error.unwrap_or("unauthorized"),
            "see WWW-Authenticate",
        ),
        false => imitation.refused(),
    };
    // Carriers send no challenge, or one of their own; a bound caller gets one, as it would if they supported DPoP.
    let tells = is_plain || refusal.dpop;
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
    let imitation = request.imitation;
    if request.endpoint != Endpoint::Api {
        return imitation.bad_credentials();
    }
    let dpop = credentials(&request.headers).is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("dpop"));
    match dpop {
        true => imitation
            .refused()
            .header("www-authenticate", &challenge("invalid_token")),
        false if imitation.id() == Plain.id() => imitation
            .refused()
            .header("www-authenticate", "Bearer error=\"invalid_token\""),
        false => imitation.refused(),
    }
}
