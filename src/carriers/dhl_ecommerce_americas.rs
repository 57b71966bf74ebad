//! DHL eCommerce Americas, version 4 of its API.

use std::time::Duration;

use http::Method;

use crate::binding::Role;
use crate::exchange::fault::{FaultKind, FaultPlace, FaultShape};
use crate::owner::{CarrierId, Environment};
use crate::throttle::Throttling;
use crate::token::TokenAt;
use crate::token::client_auth::ClientAuth;

use super::{CarrierProfile, Fact, LookUp, Replacement, Route, TestCall, Topic};

/// DHL eCommerce Americas: client credentials in the form's body, bearer tokens of an hour.
///
/// DHL asks for a new token every 15 to 30 minutes and keeps the right to change how long one lives; what the answer says
/// counts here.
///
/// Errors are problems whose `type` is a URL that ends with the code, `401.0000007` for instance: the status, the service and
/// a number. A 401 of the API is a token that has ended or a wrong one. Which codes are which is not documented in what was
/// read, so such a call is not repeated, and the next one asks for a new token. A 401 of the token endpoint is a wrong id or
/// secret.
///
/// No limits are published. Labels and manifests are not to be sent twice: look a label whose answer was lost up by its
/// `packageId`, which is yours to choose and unique.
pub fn dhl_ecommerce_americas(environment: Environment) -> CarrierProfile {
    let host = match environment {
        Environment::Sandbox => "https://api-sandbox.dhlecs.com",
        Environment::Production => "https://api.dhlecs.com",
    };
    let token = TokenAt::Endpoint(format!("{host}/auth/v4/accesstoken"));
    CarrierProfile::custom(
        CarrierId::of_profile("dhl-ecommerce-americas"),
        environment,
        host,
        token,
    )
    .called("DHL eCommerce Americas")
    .client_auth(ClientAuth::Post)
    .routes([
        Route::read("/shipping/v4/products").only(Method::POST),
        Route::label("/shipping/v4/label").only(Method::POST),
        Route::label("/shipping/v4/label/{pickup:business}").only(Method::DELETE),
        Route::label("/returns/v4/label").only(Method::POST),
        Route::label("/shipping/v4/manifest").only(Method::POST),
        Route::read("/shipping/v4/manifest/{pickup:business}/{request:business}").only(Method::GET),
        Route::read("/tracking/v4/package").only(Method::GET),
    ])
    .credential_routes(["/auth/v4/accesstoken"])
    .faults(
        FaultShape::at(FaultPlace::body("/type", "/title"))
            .code("401.0000007", FaultKind::WrongCredentials)
            .code("400.0000001", FaultKind::Invalid)
            .status(Role::ResourceServer, 401, [FaultKind::BadToken, FaultKind::WrongCredentials])
            .status(Role::ResourceServer, 403, [FaultKind::NotEntitled])
            .status(Role::AuthorizationServer, 400, [FaultKind::WrongCredentials, FaultKind::Invalid])
            .status(Role::AuthorizationServer, 401, [FaultKind::WrongCredentials])
            .status(Role::AuthorizationServer, 403, [FaultKind::NotEntitled]),
    )
    .throttling(Throttling::default().pause(Duration::from_secs(30)))
    .look_up(LookUp::Call {
        method: Method::GET,
        route: "/tracking/v4/package?packageId={packageId}".into(),
        by: "the packageId that was sent with the label: a package in the answer shows that the label was made. None is to be \
             asked again after some minutes before a label with the same packageId is sent once more"
            .into(),
    })
    .replacement(Replacement::by_hand([
        "Find out which application's id and secret it is, and whether it is of the sandbox.",
        "Write to the DHL eCommerce integration contact of the account, and ask for the client id to be locked and for a new id and \
         secret. There is no call that does it.",
        "Put the new id and secret into the credential store, beside the old ones if those still serve.",
        "Run the test of the connection, then have the old id removed.",
        "Tokens that were given out cannot be revoked: they end within an hour.",
        "Compare the account's open labels with your own before the day's manifest is requested, and void what is not yours.",
    ]))
    .test_call(TestCall::post(
        "/shipping/v4/products",
        r#"{"pickup":"","distributionCenter":"USDFW1","consigneeAddress":{"address1":"114 Whitney Ave","city":"New Haven","state":"CT","postalCode":"06510","country":"US"},"packageDetail":{"packageId":"TEST","weight":{"value":1,"unitOfMeasure":"LB"}},"rate":{"calculate":false}}"#,
    ).proved_by(400))
    .facts(facts())
}

fn facts() -> Vec<Fact> {
    let read = "2026-11-22";
    let looked = "2026-11-27";
    vec![
        Fact::documented(
            Topic::Hosts,
            "docs.api.dhlecs.com; mediocre/dhl-ecommerce-solutions",
            looked,
        ),
        Fact::documented(
            Topic::Credential,
            "docs.api.dhlecs.com; mediocre/dhl-ecommerce-solutions. Some clients send Basic",
            looked,
        ),
        Fact::documented(
            Topic::TokenAnswer,
            "docs.api.dhlecs.com: 60 minutes, a new one every 15 to 30 is advised",
            read,
        ),
        Fact::documented(Topic::Placement, "docs.api.dhlecs.com", read),
        Fact::documented(Topic::Routes, "developer.dhl.com, DHL eCommerce Americas", looked),
        Fact::unverified(
            Topic::Routes,
            "mediocre/dhl-ecommerce-solutions: the ends of labels, and return labels",
            looked,
        ),
        Fact::documented(
            Topic::Faults,
            "developer.dhl.com, DHL eCommerce Americas, errors",
            looked,
        ),
        Fact::unverified(
            Topic::Refusal,
            "401 for a token that has ended; 401.0000007 at the token endpoint as a public client's tests have it",
            looked,
        ),
        Fact::inferred(Topic::TokenLimits, "none published", read),
        Fact::inferred(Topic::ApiLimits, "none published; the pause of 30 s is ours", read),
        Fact::inferred(Topic::Idempotency, "none found; packageId is unique", read),
        Fact::inferred(
            Topic::LookUp,
            "mediocre/dhl-ecommerce-solutions, tracking by packageId; public clients reconcile so",
            looked,
        ),
        Fact::unverified(
            Topic::Replacement,
            "no revocation is documented; the steps are general knowledge",
            read,
        ),
        Fact::documented(Topic::Test, "docs.api.dhlecs.com, product finder", read),
        Fact::inferred(
            Topic::Test,
            "a 400 for the empty pickup account comes after the token was taken",
            looked,
        ),
        Fact::inferred(
            Topic::Binding,
            "nothing on DPoP, certificates or FAPI in DHL's documents",
            read,
        ),
    ]
}
