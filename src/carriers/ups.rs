//! UPS REST APIs.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use crate::binding::Role;
use crate::credentials::{CredentialPart, PartAt};
use crate::exchange::fault::{FaultKind, FaultPlace, FaultShape};
use crate::exchange::quirks::{BodyCode, Quirks};
use crate::owner::{CarrierId, Environment};
use crate::throttle::Throttling;
use crate::token::TokenAt;
use crate::token::metadata::IssuerEndpoint;

use super::{CarrierProfile, Fact, LookUp, Replacement, Route, TestCall, Topic, TracingHeader};

/// Where an error's code stands in UPS's first and second form.
const CODE: &str = "/response/errors/0/code";
const OLD_CODE: &str = "/Fault/detail/Errors/ErrorDetail/PrimaryErrorCode/Code";

/// UPS: HTTP Basic at the token endpoint, bearer tokens of four hours whose answer has every value as a string.
///
/// 401 `250002` means wrong credentials, an expired token or a product that is not added to the application, before
/// anything is processed: the call is repeated once with a new token. A 403 is a merchant that UPS blocks, at the token
/// endpoint too. UPS sends no `Retry-After` and publishes no limits; after a 429 the API is left alone for half a minute.
///
/// A credential may have the part `merchant`, the shipper's six-digit account number: it goes into `x-merchant-id` of token
/// requests. It is not needed for success, and is not the client id.
///
/// With [`CarrierProfile::by_consent`] tokens come from shippers' consent. UPS exchanges codes without the application's secret,
/// refreshes at a path of its own, and rotates: the previous refresh token is dead, so a refresh whose answer was lost ends the
/// consent (`grant_uncertain`). UPS has no revocation: a shipper ends all tokens by a new password at ups.com.
///
/// Track and Time in Transit demand `transId`, another for each call, and `transactionSrc`; both are set here. They trace and
/// are no idempotency key. A label whose answer was lost is recovered by the shipment's reference number, so send one.
pub fn ups(environment: Environment) -> CarrierProfile {
    let host = match environment {
        Environment::Sandbox => "https://wwwcie.ups.com",
        Environment::Production => "https://onlinetools.ups.com",
    };
    let token = TokenAt::Endpoint(format!("{host}/security/v1/oauth/token"));
    let base = format!("{host}/api");
    CarrierProfile::custom(CarrierId::of_profile("ups"), environment, base, token)
        .called("UPS")
        .part(CredentialPart::optional(
            "merchant",
            PartAt::TokenHeader(HeaderName::from_static("x-merchant-id")),
        ))
        .quirks(
            Quirks::new()
                .not_processed(BodyCode::new(CODE, "250002"))
                .not_processed(BodyCode::new(OLD_CODE, "250002"))
                .code_without_authentication(),
        )
        .endpoint(
            IssuerEndpoint::Authorization,
            format!("{host}/security/v1/oauth/authorize"),
        )
        .endpoint(IssuerEndpoint::Refresh, format!("{host}/security/v1/oauth/refresh"))
        .tracing(TracingHeader::call_id(HeaderName::from_static("transid")))
        .tracing(TracingHeader::constant(
            HeaderName::from_static("transactionsrc"),
            HeaderValue::from_static("shipbound"),
        ))
        .routes(routes())
        .credential_routes([
            "/security/v1/oauth",
            // Track Alert: UPS sends events to the URL that is given, with the credential that is given.
            "/api/track/{version}/subscription",
            // The PINs against which parcels are handed over.
            "/api/pin-mgmt-sys/{version}/pins",
        ])
        .faults(faults())
        .throttling(Throttling::default().pause(Duration::from_secs(30)))
        .look_up(LookUp::Call {
            method: Method::POST,
            route: "/api/labels/{version}/recovery".into(),
            by: "the reference number that was sent with the shipment, with the shipper's account number: the answer holds the \
                 label and its tracking number if the shipment was made. An error that nothing was found is to be asked again \
                 after some minutes before the shipment is sent once more"
                .into(),
        })
        .replacement(replacement())
        .test_call(TestCall::get("/track/v1/details/1Z999AA10123456784").proved_by(404))
        .facts(facts())
}

fn routes() -> Vec<Route> {
    let post = |route: Route| route.only(Method::POST);
    let get = |route: Route| route.only(Method::GET);
    let delete = |route: Route| route.only(Method::DELETE);
    vec![
        post(Route::read("/api/rating/{version:business}/{option:business}")),
        post(Route::label("/api/shipments/{version:business}/ship")),
        delete(Route::label(
            "/api/shipments/{version:business}/void/cancel/{shipment:personal}",
        )),
        post(Route::read("/api/shipments/{version:business}/transittimes")),
        post(Route::read("/api/labels/{version:business}/recovery")),
        get(Route::read("/api/track/v1/details/{number:personal}")),
        get(Route::read("/api/track/v1/shipment/details/{number:personal}")),
        get(Route::read("/api/track/v1/reference/details/{reference:personal}")),
        post(Route::read(
            "/api/addressvalidation/{version:business}/{option:business}",
        )),
        post(Route::label("/api/pickupcreation/{version:business}/pickup")),
        post(Route::read("/api/shipments/{version:business}/pickup/{type:business}")),
        get(Route::read("/api/shipments/{version:business}/pickup/{type:business}")),
        delete(Route::label("/api/shipments/{version:business}/pickup/{by:business}")),
        get(Route::read(
            "/api/pickup/{version:business}/countries/{country:business}",
        )),
        post(Route::read("/api/pickup/{version:business}/servicecenterlocations")),
        post(Route::label("/api/paperlessdocuments/{version:business}/upload")),
        post(Route::label("/api/paperlessdocuments/{version:business}/image")),
        delete(Route::label(
            // So written: the document and the shipper are named in headers.
            "/api/paperlessdocuments/{version:business}/DocumentId/ShipperNumber",
        )),
        post(Route::read(
            "/api/locations/{version:business}/search/availabilities/{option:business}",
        )),
        post(Route::read("/api/landedcost/{version:business}/quotes")),
        post(Route::read("/api/quantumview/{version:business}/events")),
        post(Route::read(
            "/api/dangerousgoods/{version:business}/chemicalreferencedata",
        )),
        post(Route::read(
            "/api/dangerousgoods/{version:business}/acceptanceauditprecheck",
        )),
        post(Route::label("/api/dangerousgoods/{version:business}/prenotification")),
        get(Route::read(
            "/api/deliveryintercept/{version:business}/eligibility/intercept/{number:personal}",
        )),
        post(Route::read(
            "/api/deliveryintercept/{version:business}/charges/{number:personal}",
        )),
        post(Route::label(
            "/api/deliveryintercept/{version:business}/redirect/address/{number:personal}",
        )),
        post(Route::label(
            "/api/deliveryintercept/{version:business}/willcall/{number:personal}",
        )),
        post(Route::label(
            "/api/deliveryintercept/{version:business}/return/{number:personal}",
        )),
        post(Route::label(
            "/api/deliveryintercept/{version:business}/reschedule/{number:personal}",
        )),
        post(Route::label(
            "/api/deliveryintercept/{version:business}/cancel/{number:personal}",
        )),
        post(Route::label(
            "/api/ship/{version:business}/master-shipment/closeout/{shipment:personal}",
        )),
        delete(Route::label(
            "/api/ship/{version:business}/master-shipment/{shipment:personal}",
        )),
        delete(Route::label(
            "/api/ship/{version:business}/child-shipment/{shipment:personal}/{number:personal}",
        )),
    ]
}

fn faults() -> FaultShape {
    FaultShape::at(FaultPlace::body(CODE, "/response/errors/0/message"))
        .or_at(FaultPlace::body(
            OLD_CODE,
            "/Fault/detail/Errors/ErrorDetail/PrimaryErrorCode/Description",
        ))
        .vague("250002")
        .vague("10400")
        .code("10401", FaultKind::WrongCredentials)
        .code("250003", FaultKind::WrongCredentials)
        .code("10429", FaultKind::Throttled)
        .status(
            Role::ResourceServer,
            401,
            [FaultKind::BadToken, FaultKind::WrongCredentials, FaultKind::NotEntitled],
        )
        .status(Role::ResourceServer, 403, [FaultKind::Blocked])
        // 10400 is a missing or wrong Authorization, and a wrong code or redirect URL.
        .status(
            Role::AuthorizationServer,
            400,
            [FaultKind::WrongCredentials, FaultKind::Invalid],
        )
        .status(Role::AuthorizationServer, 401, [FaultKind::WrongCredentials])
        .status(Role::AuthorizationServer, 403, [FaultKind::Blocked])
}

fn replacement() -> Replacement {
    Replacement::by_hand([
        "Find out whose application it is: the platform's, with shippers' consents behind it, or the shipper's own.",
        "Have its owner sign in at developer.ups.com, open the application under My Apps and make new credentials, or a new \
         application with the same products.",
        "Put the new client id and secret into the credential store. The next call uses them; restart nothing.",
        "Delete the old application or its credentials. There is no revocation: tokens that were given out live for up to four \
         hours.",
        "To end all tokens at once have the owner of the UPS login set a new password at ups.com. Where shippers consented, each \
         of them has to do that, and to consent again.",
        "Run the test of the connection. 401 250002 with a new secret: look whether the product is added to the application \
         before you change the secret again.",
        "Compare the account's shipments at ups.com with your own since the secret may have got out, and void what is not yours.",
    ])
}

fn facts() -> Vec<Fact> {
    let read = "2026-11-22";
    let looked = "2026-11-27";
    vec![
        Fact::documented(
            Topic::Hosts,
            "UPS-API/api-documentation, OAuthClientCredentials; the token endpoint is not below /api (issues 26 and 50 there)",
            read,
        ),
        Fact::documented(
            Topic::Credential,
            "UPS-API/api-documentation, OAuthClientCredentials and OAuthAuthCode",
            read,
        ),
        Fact::documented(
            Topic::TokenAnswer,
            "UPS-API/api-documentation, OAuthClientCredentials; refresh tokens rotate (issue 90 there)",
            read,
        ),
        Fact::documented(Topic::Placement, "UPS-API/api-documentation", read),
        Fact::documented(Topic::Routes, "UPS-API/api-documentation, all specifications", looked),
        Fact::documented(
            Topic::Tracing,
            "UPS-API/api-documentation, Tracking: both required; transId up to 32 characters",
            looked,
        ),
        Fact::documented(
            Topic::Faults,
            "UPS-API/api-documentation; karrio, connector ups, for the second form; codes of public issues",
            read,
        ),
        Fact::documented(
            Topic::Refusal,
            "alexeybusygin/ShippingRates issue 66 and UPS-API/UPS-SDKs issue 21 for 250002; UPS-API/api-documentation: 403 is a \
             blocked merchant",
            read,
        ),
        Fact::inferred(
            Topic::Refusal,
            "a 401 of UPS's gateway comes before the request is processed; its older form carries the same codes",
            read,
        ),
        Fact::inferred(Topic::TokenLimits, "none published; 429 and 403 are listed", read),
        Fact::inferred(
            Topic::ApiLimits,
            "no Retry-After and no rate-limit headers (UPS-API/api-documentation issue 8); the pause of 30 s is ours",
            read,
        ),
        Fact::inferred(Topic::Idempotency, "none found: transId traces", read),
        Fact::documented(
            Topic::LookUp,
            "UPS-API/api-documentation, Shipping, label recovery by reference number",
            looked,
        ),
        Fact::documented(
            Topic::Replacement,
            "no revocation; a new password at ups.com ends all tokens (UPS-API/api-documentation issue 112)",
            read,
        ),
        Fact::unverified(
            Topic::Replacement,
            "the steps at developer.ups.com are general knowledge",
            read,
        ),
        Fact::documented(
            Topic::Test,
            "UPS-API/api-documentation, Tracking; a 404 shows that the token was taken",
            read,
        ),
        Fact::inferred(
            Topic::Binding,
            "nothing on DPoP, certificates or FAPI in UPS's documents",
            read,
        ),
    ]
}
