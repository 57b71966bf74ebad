//! Bring's APIs (Posten Norway). Facts of developer.bring.com, of bring/developer-site and of clients that others maintain, read
//! through stored copies; checked 2026-11-27.

use std::time::Duration;

use http::{HeaderName, Method};

use crate::binding::Role;
use crate::credentials::{CredentialAt, CredentialPart, PartAt};
use crate::exchange::fault::{FaultKind, FaultShape};
use crate::owner::{CarrierId, Environment};
use crate::throttle::{CountedBy, Limit, Throttling};
use crate::token::TokenAt;

use super::{CarrierProfile, Fact, LookUp, Replacement, Route, TestCall, Topic};

/// Bring: no tokens, but three headers with every call. `X-Mybring-API-Uid` is the e-mail address of a Mybring user, the
/// credential's client id; `X-Mybring-API-Key` is that user's key, its secret; the credential's part `client_url` goes as
/// `X-Bring-Client-URL`, the address of the shop or application that the calls are made for.
///
/// There is one system. Bookings are real unless their body has `"testIndicator": true`, so a profile for
/// [`Environment::Sandbox`] keeps nobody from ordering: set it in each body.
///
/// Booking and pickups want the booking right for a customer number, which stands in the body. The form of Bring's errors was
/// not found: 401 is taken for a wrong key, and 403 for a missing right.
///
/// More than 18 bookings a second are refused with 429, and so many calls are let through here. Tracking has limits that are not
/// published. A user has one key: who makes a new one ends the old one at once.
pub fn bring(environment: Environment) -> CarrierProfile {
    let base = "https://api.bring.com";
    CarrierProfile::custom(CarrierId::of_profile("bring"), environment, base, TokenAt::Credential)
        .called("Bring")
        .credential_at(CredentialAt::Headers {
            id: HeaderName::from_static("x-mybring-api-uid"),
            secret: HeaderName::from_static("x-mybring-api-key"),
        })
        .part(CredentialPart::required(
            "client_url",
            PartAt::CallHeader(HeaderName::from_static("x-bring-client-url")),
        ))
        .faults(
            FaultShape::default()
                .status(Role::ResourceServer, 401, [FaultKind::WrongCredentials])
                .status(
                    Role::ResourceServer,
                    403,
                    [FaultKind::NotEntitled, FaultKind::WrongCredentials],
                ),
        )
        .throttling(Throttling::default().api(Limit::new(18, Duration::from_secs(1), CountedBy::Connection)))
        .routes([
            Route::label("/booking/api/booking").only(Method::POST),
            Route::label("/booking/api/create").only(Method::POST),
            Route::label("/booking/api/pickupOrder").only(Method::POST),
            Route::read("/booking/api/customers.json").only(Method::GET),
            Route::read("/shippingguide/v2/products"),
            Route::read("/shippingguide/v2/products/{what:business}"),
            Route::read("/tracking/api/v2/tracking.json").only(Method::GET),
        ])
        .test_call(TestCall::get("/booking/api/customers.json"))
        .look_up(LookUp::Call {
            method: Method::GET,
            route: "/tracking/api/v2/tracking.json?q={reference}".into(),
            by: "the reference that the booking gave; a shipment is found only when its data have arrived".into(),
        })
        .replacement(Replacement::by_hand([
            "In Mybring, change the user's API key, or delete it: the old key ends at once.",
            "Put the new key into the credential store.",
            "Where the whole user is lost, take its rights from the customer numbers, and make another user.",
        ]))
        .facts(facts())
}

fn facts() -> [Fact; 11] {
    const STARTED: &str = "developer.bring.com, getting started";
    const CLIENTS: &str = "crakter/bringapi and other public clients";
    const DAY: &str = "2026-11-27";
    [
        Fact::inferred(Topic::Binding, "no tokens, and nothing on certificates", "2026-11-22"),
        Fact::inferred(
            Topic::Faults,
            "absence in developer.bring.com: by status alone",
            "2026-11-27",
        ),
        Fact::documented(Topic::Hosts, "developer.bring.com, customer info API", DAY),
        Fact::documented(Topic::Credential, STARTED, DAY),
        Fact::documented(Topic::Placement, STARTED, "2026-11-22"),
        Fact::unverified(Topic::Routes, CLIENTS, DAY),
        Fact::inferred(Topic::Refusal, "RFC 9110 15.5, with a key as the credential", DAY),
        Fact::documented(Topic::ApiLimits, "developer.bring.com, booking API", DAY),
        Fact::unverified(Topic::Test, "bring/developer-site, customers", DAY),
        Fact::inferred(Topic::LookUp, "developer.bring.com, tracking API", DAY),
        Fact::documented(Topic::Replacement, STARTED, DAY),
    ]
}
