//! DHL Shipment Tracking, Unified.

use std::time::Duration;

use http::{HeaderName, Method};

use crate::binding::Role;
use crate::credentials::CredentialAt;
use crate::exchange::fault::{FaultKind, FaultPlace, FaultShape};
use crate::exchange::quirks::{BodyCode, Quirks};
use crate::owner::{CarrierId, Environment};
use crate::throttle::{CountedBy, Limit, Throttling};
use crate::token::TokenAt;

use super::{CarrierProfile, Fact, LookUp, Replacement, Route, TestCall, Topic};

/// DHL Shipment Tracking, Unified: an API key in `DHL-API-Key`, no tokens. It tracks what any part of DHL carries, and does
/// nothing else.
///
/// The credential is the application's API key ("consumer key") alone, [`Credential::api_key`]; the secret that DHL shows beside
/// it is not used, and is the usual mistake.
///
/// There is no test system: sandbox and production are the same host and the same quota. A new key has 250 calls a day and
/// one a second, of the same shipment up to ten a day; DHL raises that on request. A 429 says that either is used up, and not
/// for how long. A 401 is a key that is wrong or not approved yet.
///
/// The number stands in the query (`/track/shipments?trackingNumber=..`), which events never show.
///
/// Nothing is made here, so a call whose answer was lost is sent again.
///
/// [`Credential::api_key`]: crate::credentials::Credential::api_key
pub fn dhl_tracking(environment: Environment) -> CarrierProfile {
    CarrierProfile::custom(
        CarrierId::of_profile("dhl-tracking"),
        environment,
        "https://api-eu.dhl.com",
        TokenAt::Credential,
    )
    .called("DHL Tracking")
    .credential_at(CredentialAt::Header(HeaderName::from_static("dhl-api-key")))
    .quirks(Quirks::new().not_processed(BodyCode::new("/title", "Unauthorized")))
    .routes([Route::read("/track/shipments").only(Method::GET)])
    .faults(
        FaultShape::at(FaultPlace::body("/status", "/detail"))
            .vague("400")
            .vague("401")
            .vague("404")
            .vague("429")
            .status(Role::ResourceServer, 401, [FaultKind::WrongCredentials, FaultKind::NotEntitled])
            .status(Role::ResourceServer, 403, [FaultKind::NotEntitled]),
    )
    .throttling(
        Throttling::default()
            // DHL counts one a second as they arrive, and not all are on their way for as long.
            .api(Limit::new(1, Duration::from_millis(1_250), CountedBy::Connection))
            .api(Limit::new(250, Duration::from_secs(24 * 60 * 60), CountedBy::Connection))
            .pause(Duration::from_secs(5)),
    )
    .look_up(LookUp::None {
        instead: "nothing is made here: send the call again".into(),
    })
    .replacement(Replacement::by_hand([
        "Find out whose application's key it is: the platform's, or a shipper's own.",
        "Have its owner sign in at developer.dhl.com and make a new application with Shipment Tracking - Unified under My Apps. It \
         starts with 250 calls a day and may have to be approved: ask for the old quota at once.",
        "Put the new key into the credential store as soon as it is approved.",
        "Run the test of the connection: it costs one call of the day's quota.",
        "Delete the old application. Its key is of no use from then on; it could read tracking, and nothing else.",
    ]))
    .test_call(TestCall::get("/track/shipments?trackingNumber=00340434292135100124").proved_by(404))
    .facts(facts())
}

fn facts() -> Vec<Fact> {
    let page = "developer.dhl.com, Shipment Tracking - Unified";
    let read = "2026-11-22";
    let looked = "2026-11-27";
    vec![
        Fact::documented(
            Topic::Hosts,
            "developer.dhl.com, Shipment Tracking - Unified; support-developer.dhl.com: there is no test system",
            looked,
        ),
        Fact::documented(
            Topic::Credential,
            "developer.dhl.com, Shipment Tracking - Unified; glance-/dhl issue 10 for the secret",
            read,
        ),
        Fact::documented(Topic::Placement, page, read),
        Fact::documented(
            Topic::Routes,
            "developer.dhl.com, Shipment Tracking - Unified; karrio, connector dhl_universal",
            read,
        ),
        Fact::documented(
            Topic::Faults,
            "developer.dhl.com, Shipment Tracking - Unified; itsvic-dev/deliveries issue 68 shows a 429",
            looked,
        ),
        Fact::unverified(
            Topic::Refusal,
            "401 for a wrong key, in the form of the other errors",
            read,
        ),
        Fact::documented(Topic::ApiLimits, page, read),
        Fact::unverified(
            Topic::ApiLimits,
            "a newer page is said to have one call in 5 s: the pause after a 429",
            read,
        ),
        Fact::inferred(Topic::Idempotency, "nothing is made", read),
        Fact::inferred(Topic::LookUp, "nothing is made", read),
        Fact::unverified(
            Topic::Replacement,
            "the steps at developer.dhl.com are general knowledge",
            read,
        ),
        Fact::documented(
            Topic::Test,
            "developer.dhl.com, Shipment Tracking - Unified: a 404 is a number that DHL does not know",
            read,
        ),
        Fact::inferred(Topic::Binding, "no tokens, and nothing on certificates", read),
    ]
}
