//! GLS Group APIs. Facts of GLS's published specifications (Authentication v2, ShipIT, Track and Trace) and of karrio's connector;
//! checked 2026-11-27.

use std::time::Duration;

use http::{HeaderName, Method};

use crate::binding::Role;
use crate::exchange::fault::{FaultKind, FaultPlace, FaultShape};
use crate::exchange::quirks::{BodyCode, Quirks};
use crate::owner::{CarrierId, Environment};
use crate::throttle::{CountedBy, Limit, Throttling};
use crate::token::TokenAt;

use super::{CarrierProfile, Fact, LookUp, Replacement, Route, TestCall, Topic};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// GLS: HTTP Basic at the token endpoint, bearer tokens of four hours for ShipIT and for Track and Trace on one host.
///
/// ShipIT answers business errors in the header fields `error` and `message`, with an empty body. Which codes there are is not
/// published, so such a fault has its status's meaning and its own code beside it. GLS's gateway refuses an expired token with 401
/// `steps.jwt.TokenExpired`, before ShipIT or Track and Trace see the call: it is repeated once with a new token.
///
/// ShipIT wants the media type `application/glsVersion1+json` in `Content-Type` and `Accept` of its calls. The contact id of the
/// account goes into their bodies.
///
/// Track and Trace is limited to 500 requests a day unless GLS grants more; its sandbox is said to be the same as production. A
/// 429 has no `Retry-After`. The token endpoint takes 100,000 requests a day for each application.
///
/// GLS documents no revocation, no header that traces calls and no way to have a call carried out once.
pub fn gls(environment: Environment) -> CarrierProfile {
    let host = match environment {
        Environment::Sandbox => "https://api-sandbox.gls-group.net",
        Environment::Production => "https://api.gls-group.net",
    };
    let token = TokenAt::Endpoint(format!("{host}/oauth2/v2/token"));
    CarrierProfile::custom(CarrierId::of_profile("gls"), environment, host, token)
        .called("GLS")
        .quirks(Quirks::new().not_processed(BodyCode::new("/fault/detail/errorcode", "steps.jwt.TokenExpired")))
        .faults(faults())
        .throttling(
            Throttling::default()
                .token(Limit::new(100_000, DAY, CountedBy::Connection))
                .api(Limit::new(500, DAY, CountedBy::Connection)),
        )
        // Version 1 of the token endpoint is still named by some of GLS's specifications.
        .credential_routes(["/oauth2"])
        .routes(routes())
        .test_call(TestCall::get("/track-and-trace-v1/tracking/events/codes"))
        .look_up(LookUp::Call {
            method: Method::GET,
            route: "/track-and-trace-v1/tracking/simple/references/{references}".into(),
            by: "the shipment's own reference; a parcel that GLS does not know stands as an error in an answer 200"
                .into(),
        })
        .replacement(Replacement::by_hand([
            "In GLS's developer portal, revoke the key of the application, or delete the application.",
            "Make a new key and put it into the credential store.",
            "Tokens of the old key live for up to four hours: ask GLS to end them if it matters.",
        ]))
        .facts(facts())
}

fn faults() -> FaultShape {
    let (code, message) = (HeaderName::from_static("error"), HeaderName::from_static("message"));
    FaultShape::at(FaultPlace::headers(code, message))
        .or_at(FaultPlace::body("/fault/detail/errorcode", "/fault/faultstring"))
        .or_at(FaultPlace::body("/errors/0/type", "/errors/0/message"))
        .or_at(FaultPlace::body("/errors/0/code", "/errors/0/message"))
        .or_at(FaultPlace::body("/status", "/detail"))
        .code("steps.jwt.TokenExpired", FaultKind::BadToken)
        .code("policies.ratelimit.QuotaViolation", FaultKind::Throttled)
        .status(
            Role::AuthorizationServer,
            400,
            [FaultKind::Invalid, FaultKind::WrongCredentials],
        )
        .status(Role::AuthorizationServer, 401, [FaultKind::WrongCredentials])
        .status(Role::ResourceServer, 401, [FaultKind::BadToken, FaultKind::NotEntitled])
}

fn routes() -> [Route; 16] {
    [
        Route::label("/shipit-farm/v1/backend/rs/shipments").only(Method::POST),
        Route::label("/shipit-farm/v1/backend/rs/shipments/cancel/{number:personal}").only(Method::POST),
        Route::read("/shipit-farm/v1/backend/rs/shipments/validate").only(Method::POST),
        Route::read("/shipit-farm/v1/backend/rs/shipments/allowedservices").only(Method::POST),
        Route::label("/shipit-farm/v1/backend/rs/shipments/endofday").only(Method::POST),
        Route::read("/shipit-farm/v1/backend/rs/shipments/reprintparcel").only(Method::POST),
        Route::label("/shipit-farm/v1/backend/rs/shipments/updateparcelweight").only(Method::POST),
        Route::label("/shipit-farm/v1/backend/rs/sporadiccollection").only(Method::POST),
        Route::read("/shipit-farm/v1/backend/rs/tracking/parcels").only(Method::POST),
        Route::read("/shipit-farm/v1/backend/rs/tracking/parceldetails").only(Method::POST),
        Route::read("/shipit-farm/v1/backend/rs/tracking/parcelpod").only(Method::POST),
        Route::read("/shipit-farm/v1/backend/rs/parcelshop/{shop:business}").only(Method::GET),
        Route::read("/track-and-trace-v1/tracking/simple/trackids/{numbers:personal}").only(Method::GET),
        Route::read("/track-and-trace-v1/tracking/simple/references/{references:personal}").only(Method::GET),
        Route::read("/track-and-trace-v1/tracking/deliveryinfo/parcelid/{number:personal}").only(Method::GET),
        Route::read("/track-and-trace-v1/tracking/events/codes").only(Method::GET),
    ]
}

fn facts() -> [Fact; 13] {
    const TOKEN: &str = "GLS Authentication API v2, specification in karrio, connector gls";
    const TRACK: &str = "GLS Track and Trace API, specification in karrio, connector gls";
    const SHIPIT: &str = "GLS ShipIT API v1, specification in karrio, connector gls";
    const DAY: &str = "2026-11-27";
    [
        Fact::inferred(
            Topic::Binding,
            "nothing on bound tokens or client certificates was found in its documentation",
            "2026-11-22",
        ),
        Fact::documented(Topic::Hosts, TOKEN, DAY),
        Fact::documented(Topic::Credential, TOKEN, DAY),
        Fact::documented(Topic::TokenAnswer, TOKEN, DAY),
        Fact::documented(Topic::Placement, "karrio, connector gls", DAY),
        Fact::documented(Topic::Routes, SHIPIT, DAY),
        Fact::documented(Topic::Faults, "karrio, connector gls; GLS Track and Trace API", DAY),
        Fact::inferred(
            Topic::Refusal,
            "GLS Track and Trace API: the gateway's policy Verify-JWT refuses expired tokens",
            DAY,
        ),
        Fact::documented(Topic::TokenLimits, TOKEN, DAY),
        Fact::documented(Topic::ApiLimits, TRACK, DAY),
        Fact::inferred(Topic::Test, TRACK, DAY),
        Fact::inferred(Topic::LookUp, TRACK, DAY),
        Fact::unverified(Topic::Replacement, "general knowledge of GLS's developer portal", DAY),
    ]
}
