//! Sendcloud's APIs. Facts of sendcloud.dev and of Sendcloud's published specifications, in api-evangelist/sendcloud; checked
//! 2026-11-27.

use std::time::Duration;

use http::Method;

use crate::binding::Role;
use crate::credentials::CredentialAt;
use crate::exchange::fault::{FaultKind, FaultPlace, FaultShape};
use crate::owner::{CarrierId, Environment};
use crate::throttle::{CountedBy, Limit, Throttling};
use crate::token::{TokenAt, TokenRequest};

use super::{CarrierProfile, Fact, LookUp, Replacement, Route, TestCall, Topic};

const PANEL: &str = "https://panel.sendcloud.sc";

/// Sendcloud by OAuth: HTTP Basic at the token endpoint with an integration's public and secret key, the scope `api`, bearer
/// tokens of an hour. Sendcloud has this as a beta for some of its customers; [`sendcloud_key`] is for all others.
///
/// An integration that is set to OAuth refuses Basic on calls. There is one system, for tests and for real: the environment only
/// keeps credentials and tokens apart.
///
/// 1,000 reading calls a minute and 100 changing ones (15 a second at most) are allowed for each integration; the first limit is
/// held here, the second is met by a 429. What code a refused token has was found in no source: a call is repeated where the
/// server challenges with `invalid_token`.
///
/// Integrations and event subscriptions are guarded routes: they name the URLs that Sendcloud sends data to.
pub fn sendcloud(environment: Environment) -> CarrierProfile {
    let token = TokenAt::Endpoint("https://account.sendcloud.com/oauth2/token".to_owned());
    let profile = CarrierProfile::custom(CarrierId::of_profile("sendcloud"), environment, PANEL, token)
        .called("Sendcloud")
        // A constant that is a scope; the contract's test sees it arrive.
        .token_request(TokenRequest::new().scope("api").unwrap_or_default())
        .faults(
            faults()
                .code("invalid_client", FaultKind::WrongCredentials)
                .code("invalid_scope", FaultKind::NotEntitled)
                .code("unauthorized_client", FaultKind::NotEntitled)
                .status(Role::AuthorizationServer, 401, [FaultKind::WrongCredentials])
                .status(Role::ResourceServer, 401, [FaultKind::BadToken, FaultKind::NotEntitled]),
        )
        .replacement(Replacement::by_hand([
            "In Sendcloud's panel, delete the integration, or make new keys for it.",
            "Put the new keys into the credential store.",
            "Tokens of the old keys live for up to an hour; no revocation is documented.",
        ]));
    common(profile).facts([
        Fact::documented(Topic::TokenAnswer, "sendcloud.dev, authentication", "2026-11-27"),
        Fact::inferred(Topic::Refusal, "RFC 6750 3.1", "2026-11-27"),
    ])
}

/// Sendcloud by the key pair of an integration: HTTP Basic with its public and its secret key, no tokens.
///
/// All else is as with [`sendcloud`]. The two are different carriers to this crate, since their credentials are: an integration
/// that is set to OAuth refuses these.
pub fn sendcloud_key(environment: Environment) -> CarrierProfile {
    let id = CarrierId::of_profile("sendcloud-key");
    let profile = CarrierProfile::custom(id, environment, PANEL, TokenAt::Credential)
        .called("Sendcloud (key pair)")
        .credential_at(CredentialAt::Basic)
        .faults(faults().status(
            Role::ResourceServer,
            401,
            [FaultKind::WrongCredentials, FaultKind::NotEntitled],
        ))
        .replacement(Replacement::by_hand([
            "In Sendcloud's panel, delete the integration, or make new keys for it: the old pair ends at once.",
            "Put the new pair into the credential store.",
        ]));
    common(profile).facts([Fact::inferred(
        Topic::Refusal,
        "RFC 9110 15.5, with a key as the credential",
        "2026-11-27",
    )])
}

/// Version 3 has a list of errors, version 2 one object, the issuer what RFC 6749 5.2 says.
fn faults() -> FaultShape {
    FaultShape::at(FaultPlace::body("/errors/0/code", "/errors/0/detail"))
        .or_at(FaultPlace::body("/error/code", "/error/message"))
        .or_at(FaultPlace::body("/error", "/error_description"))
        .code("required", FaultKind::Invalid)
        .code("validation_error", FaultKind::Invalid)
        .code("not_found", FaultKind::NotFound)
}

fn common(profile: CarrierProfile) -> CarrierProfile {
    let specification = "Sendcloud API v2 and v3, specifications in api-evangelist/sendcloud";
    let day = "2026-11-27";
    profile
        .throttling(Throttling::default().api(Limit::new(1_000, Duration::from_secs(60), CountedBy::Connection)))
        .credential_routes([
            "/oauth2/token",
            "/api/v2/integrations",
            "/api/v3/integrations",
            "/api/v3/event-subscriptions",
        ])
        .routes(routes())
        .test_call(TestCall::get("/api/v3/user/auth/metadata"))
        .look_up(LookUp::Call {
            method: Method::GET,
            route: "/api/v3/shipments?external_reference_id={reference}".into(),
            by: "the reference that the shipment was made with; an empty list means that there is none".into(),
        })
        .facts([
            Fact::documented(Topic::Hosts, specification, day),
            Fact::documented(Topic::Credential, "sendcloud.dev, authentication", day),
            Fact::documented(Topic::Placement, "sendcloud.dev, authentication", day),
            Fact::documented(Topic::Routes, specification, day),
            Fact::documented(Topic::Faults, specification, day),
            Fact::documented(Topic::ApiLimits, "sendcloud.dev, rate limits", day),
            Fact::unverified(Topic::Test, "nango.dev, guide for Sendcloud", day),
            Fact::documented(Topic::LookUp, specification, day),
            Fact::inferred(
                Topic::Binding,
                "nothing on bound tokens or client certificates was found in its documentation",
                "2026-11-22",
            ),
            Fact::unverified(Topic::Replacement, "general knowledge of Sendcloud's panel", day),
        ])
}

fn routes() -> [Route; 18] {
    [
        Route::read("/api/v3/shipments").only(Method::GET),
        Route::label("/api/v3/shipments").only(Method::POST),
        Route::label("/api/v3/shipments/announce").only(Method::POST),
        Route::label("/api/v3/shipments/announce-with-shipping-rules").only(Method::POST),
        Route::label("/api/v3/shipments/create-with-shipping-rules").only(Method::POST),
        Route::read("/api/v3/shipments/{shipment:personal}").only(Method::GET),
        Route::label("/api/v3/shipments/{shipment:personal}/cancel").only(Method::POST),
        Route::read("/api/v3/shipments/{shipment:personal}/return-portal-url").only(Method::GET),
        Route::read("/api/v3/addresses/validate").only(Method::POST),
        Route::read("/api/v3/parcels/tracking/{number:personal}").only(Method::GET),
        Route::label("/api/v3/parcels/tracking").only(Method::POST),
        Route::read("/api/v3/user/auth/metadata").only(Method::GET),
        Route::read("/api/v2/parcels").only(Method::GET),
        Route::label("/api/v2/parcels").only(Method::POST),
        Route::label("/api/v2/parcels").only(Method::PUT),
        Route::read("/api/v2/parcels/{parcel:personal}").only(Method::GET),
        Route::label("/api/v2/parcels/{parcel:personal}/cancel").only(Method::POST),
        Route::read("/api/v2/parcels/{parcel:personal}/return_portal_url").only(Method::GET),
    ]
}
