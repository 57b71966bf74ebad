//! Cargoson, which books freight with many carriers.

use std::time::Duration;

use http::{HeaderValue, Method, header};

use crate::binding::Role;
use crate::exchange::fault::{FaultKind, FaultShape};
use crate::owner::{CarrierId, Environment};
use crate::throttle::Throttling;
use crate::token::TokenAt;

use super::{CarrierProfile, Fact, LookUp, Replacement, Route, TestCall, Topic};

/// Cargoson: an API key as a bearer token, no tokens of its own: `Bearer` does not mean OAuth here.
///
/// The credential is the key alone, [`Credential::api_key`]. The API's version goes into `Accept`, which is sent with every call
/// that does not set it.
///
/// A 401 is a key that is missing or wrong; how errors are written is not documented. There is nothing to renew, so no call is
/// repeated. A 204 on prices is no error: there are none. Dates are written `DD.MM.YYYY`.
///
/// No limits are published, and there is no idempotency key. A booking is known by a reference that Cargoson gives in its
/// answer, so one whose answer was lost has to be looked for by hand.
///
/// [`Credential::api_key`]: crate::credentials::Credential::api_key
pub fn cargoson(environment: Environment) -> CarrierProfile {
    let base = match environment {
        Environment::Sandbox => "https://cargoson-staging.herokuapp.com/api",
        Environment::Production => "https://www.cargoson.com/api",
    };
    CarrierProfile::custom(
        CarrierId::of_profile("cargoson"),
        environment,
        base,
        TokenAt::Credential,
    )
    .called("Cargoson")
    .header(
        header::ACCEPT,
        HeaderValue::from_static("application/vnd.api.v1"),
    )
    .routes([
        Route::read("/api/services/list").only(Method::GET),
        Route::read("/api/freightPrices/list").only(Method::POST),
        // A request for offers, or a booking at once.
        Route::label("/api/queries").only(Method::POST),
        Route::read("/api/bookings/{reference:personal}").only(Method::GET),
        Route::label("/api/bookings/{reference:personal}/return_labels").only(Method::POST),
    ])
    .faults(
        FaultShape::default()
            .status(Role::ResourceServer, 401, [FaultKind::WrongCredentials])
            .status(Role::ResourceServer, 403, [FaultKind::NotEntitled]),
    )
    .throttling(Throttling::default().pause(Duration::from_secs(30)))
    .look_up(LookUp::None {
        instead: "look for the order in Cargoson's list of shipments before it is sent again: the reference by which the API knows \
                  a booking comes with the answer that was lost"
            .into(),
    })
    .replacement(Replacement::by_hand([
        "Have an administrator of the shipper's company sign in at cargoson.com and open the company's settings, API.",
        "Make a new key. If the page does not offer it, write to Cargoson's support and ask for the old key to be ended.",
        "Put the new key into the credential store. The next call uses it; restart nothing.",
        "Run the test of the connection.",
        "Run the test with the old key, too: it has to be refused.",
        "Look through the bookings of the time since the key may have got out. Cancel what is not yours with its carrier.",
    ]))
    .test_call(TestCall::get("/services/list"))
    .facts(facts())
}

fn facts() -> Vec<Fact> {
    let profile = "api-evangelist/cargoson; public clients";
    let read = "2026-11-22";
    vec![
        Fact::documented(
            Topic::Hosts,
            "api-evangelist/cargoson; public clients, for /api without /v1 and for the staging host",
            read,
        ),
        Fact::documented(Topic::Credential, profile, read),
        Fact::documented(Topic::Placement, profile, "2026-11-27"),
        Fact::documented(Topic::Routes, profile, "2026-11-27"),
        Fact::unverified(
            Topic::Faults,
            "401, 404 and 422 are listed, their bodies are not documented",
            "2026-11-27",
        ),
        Fact::documented(
            Topic::Refusal,
            "api-evangelist/cargoson: 401 is a key that is missing or wrong",
            "2026-11-27",
        ),
        Fact::inferred(Topic::ApiLimits, "none published; the pause of 30 s is ours", read),
        Fact::inferred(Topic::Idempotency, "none found", read),
        Fact::inferred(
            Topic::LookUp,
            "api-evangelist/cargoson: bookings are read by Cargoson's own reference",
            "2026-11-27",
        ),
        Fact::unverified(
            Topic::Replacement,
            "no call is documented; the steps are general knowledge",
            read,
        ),
        Fact::documented(Topic::Test, profile, read),
        Fact::inferred(Topic::Binding, "no tokens, and nothing on certificates", read),
    ]
}
