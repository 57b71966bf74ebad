//! nShift: its portal's APIs with ShipmentServer, and nShift Delivery, which authenticates on its own.

use std::time::Duration;

use http::Method;

use crate::binding::Role;
use crate::credentials::CredentialAt;
use crate::exchange::fault::{FaultKind, FaultPlace, FaultShape};
use crate::owner::{CarrierId, Environment};
use crate::throttle::Throttling;
use crate::token::TokenAt;
use crate::token::client_auth::ClientAuth;

use super::{CarrierProfile, Fact, LookUp, Replacement, Route, TestCall, Topic};

/// nShift's Checkout, Shipment Data and ShipmentServer: client credentials of its portal, bearer tokens of an hour.
///
/// Paths start at `https://api.nshiftportal.com`, where Checkout and Shipment Data are. ShipmentServer is elsewhere and takes
/// the same tokens: give its calls the whole URL, `https://restapi.shipmentserver.com/ShipServer/{actor}/shipments`, or that of
/// the demo system, port 8080. Demo and production share the token endpoint; a client of the portal has fixed scopes, so one for
/// each product is wise.
///
/// A 401 of the API is a token that is not good. A call is repeated with a new one where the answer's challenge says so, as
/// OAuth has it; nShift does not document it. A 403 is a scope that the client does not have. The token endpoint answers 400
/// `invalid_client` to a wrong id or secret.
///
/// Callers are asked to keep tokens; no limits are published. There is no idempotency key: a shipment whose answer was lost is
/// looked for by its order number in Shipment Data, which the contract has to include.
///
/// nShift Delivery, once Unifaun, is [`nshift_delivery`].
pub fn nshift(environment: Environment) -> CarrierProfile {
    let servers: &[&str] = match environment {
        Environment::Sandbox => &["https://demo.shipmentserver.com:8080"],
        Environment::Production => &["https://restapi.shipmentserver.com", "https://api.shipmentserver.com"],
    };
    let token = TokenAt::Endpoint("https://account.nshiftportal.com/idp/connect/token".to_owned());
    let profile = CarrierProfile::custom(
        CarrierId::of_profile("nshift"),
        environment,
        "https://api.nshiftportal.com",
        token,
    );
    servers
        .iter()
        .fold(profile, |profile, server| profile.allow_origin(*server))
        .called("nShift")
        .client_auth(ClientAuth::Post)
        .routes([
            Route::read("/checkout/options/v1/sessions/{connection:business}").only(Method::POST),
            Route::read("/checkout/options/v1/shipping-options/{session:business}").only(Method::POST),
            Route::label("/checkout/shipments/v1/shipments").only(Method::POST),
            Route::read("/checkout/shipments/v1/shipments/{shipment:personal}").only(Method::GET),
            Route::label("/checkout/shipments/v1/shipments/{shipment:personal}").only(Method::DELETE),
            Route::read("/track/shipmentdata/Operational/Shipments/ByBarcode").only(Method::POST),
            Route::read("/track/shipmentdata/Operational/Shipments/ByOrderNumber").only(Method::POST),
            Route::read("/track/shipmentdata/Operational/Shipments/{shipment:personal}").only(Method::GET),
            Route::label("/ShipServer/{actor:business}/shipments").only(Method::POST),
            Route::read("/ShipServer/{actor:business}/stacks").only(Method::GET),
            Route::label("/ShipServer/{actor:business}/stacks").only(Method::POST),
            Route::read("/ShipServer/{actor:business}/Products").only(Method::GET),
        ])
        .credential_routes(["/idp/connect/token"])
        .faults(
            FaultShape::at(FaultPlace::body("/issues/0/issueCode", "/issues/0/description"))
                .or_at(FaultPlace::body("/status", "/detail"))
                .code("MISSING_POSTAL_CODE", FaultKind::Invalid)
                .status(Role::ResourceServer, 401, [FaultKind::BadToken])
                .status(Role::ResourceServer, 403, [FaultKind::NotEntitled])
                .status(
                    Role::AuthorizationServer,
                    400,
                    [FaultKind::WrongCredentials, FaultKind::Invalid],
                )
                .status(Role::AuthorizationServer, 401, [FaultKind::WrongCredentials]),
        )
        .throttling(Throttling::default().pause(Duration::from_secs(30)))
        .look_up(LookUp::Call {
            method: Method::POST,
            route: "/track/shipmentdata/Operational/Shipments/ByOrderNumber".into(),
            by: "the order number that was sent along, with a time of at most 31 days: a shipment in the answer shows that it was \
                 made. None is no proof that it was not: look at nShift's own list before the shipment is sent again"
                .into(),
        })
        .replacement(Replacement::by_hand([
            "Find out which client of the portal it is, and which product's scopes it has.",
            "Have the owner of the account sign in at nshiftportal.com and open Settings, API configuration, Clients.",
            "Add a client with the same scopes, and keep its id and secret: the secret is shown once.",
            "Put them into the credential store. The next call uses them; restart nothing.",
            "Take the tick from Enabled at the old client. Tokens that were given out cannot be revoked: they end within an hour.",
            "Run the test of the connection.",
            "Compare shipments with your own since the secret may have got out, and have what is not yours cancelled before it is \
             transmitted to the carrier.",
        ]))
        .test_call(TestCall::post(
            "/track/shipmentdata/Operational/Shipments/ByOrderNumber",
            r#"{"query":"none","startDate":"{today}T00:00:00Z","endDate":"{today}T23:59:59Z","pageSize":1,"pageIndex":0,"installationTags":[],"actorTags":[],"carrierTags":[]}"#,
        ))
        .facts(portal_facts())
}

/// nShift Delivery, once Unifaun and Pacsoft: HTTP Basic with an API key's id and secret, no tokens.
///
/// The credential's id and secret are the two parts of the API key, which nShift also shows as one with a dash between them:
/// 16 characters before it, 24 after. A key may be kept to certain addresses and to a profile of the account. There is no test
/// system: a shipment with `test` set prints a label that says so, and nothing goes to the carrier.
///
/// A 401 is a key that is wrong, switched off or used from another address; a 403 one whose licence does not cover the call.
/// There is nothing to renew, so no call is repeated.
///
/// `GET /shipments` is to be asked once in five minutes at most, and says itself how long to wait; nothing is told of the rest.
/// There is no idempotency key: send an `orderNo` with each shipment, by which it is found again when an answer was lost.
pub fn nshift_delivery(environment: Environment) -> CarrierProfile {
    CarrierProfile::custom(
        CarrierId::of_profile("nshift-delivery"),
        environment,
        "https://api.unifaun.com/rs-extapi/v1",
        TokenAt::Credential,
    )
    .called("nShift Delivery")
    .credential_at(CredentialAt::Basic)
    .routes([
        Route::label("/rs-extapi/v1/shipments").only(Method::POST),
        Route::read("/rs-extapi/v1/shipments").only(Method::GET),
        Route::label("/rs-extapi/v1/shipments/{shipment:personal}").only(Method::DELETE),
        Route::read("/rs-extapi/v1/shipments/{shipment:personal}/pdfs").only(Method::GET),
        Route::read("/rs-extapi/v1/shipments/{shipment:personal}/pdfs/{pdf:business}").only(Method::GET),
        Route::read("/rs-extapi/v1/shipments/{shipment:personal}/prints").only(Method::GET),
        Route::read("/rs-extapi/v1/shipments/{shipment:personal}/prints/{print:business}").only(Method::GET),
        Route::label("/rs-extapi/v1/stored-shipments").only(Method::POST),
        Route::read("/rs-extapi/v1/stored-shipments").only(Method::GET),
        Route::label("/rs-extapi/v1/stored-shipments/{stored:personal}").only(Method::PUT),
        Route::label("/rs-extapi/v1/stored-shipments/{stored:personal}").only(Method::DELETE),
        Route::label("/rs-extapi/v1/stored-shipments/{stored:personal}/shipments").only(Method::POST),
        Route::label("/rs-extapi/v1/consolidated-shipments").only(Method::POST),
        Route::read("/rs-extapi/v1/consolidated-shipments").only(Method::GET),
        Route::label("/rs-extapi/v1/consolidated-shipments/{shipment:personal}").only(Method::DELETE),
        Route::label("/rs-extapi/v1/consolidated-shipments/{shipment:personal}/shipments").only(Method::POST),
        Route::read("/rs-extapi/v1/addresses/agents").only(Method::GET),
        Route::read("/rs-extapi/v1/addresses/zipcodes").only(Method::GET),
        Route::read("/rs-extapi/v1/addresses/status").only(Method::POST),
        Route::read("/rs-extapi/v1/prices").only(Method::POST),
        Route::read("/rs-extapi/v1/delivery-checkouts/{checkout:business}").only(Method::GET),
        Route::read("/rs-extapi/v1/meta/lists/{list:business}").only(Method::GET),
    ])
    .faults(
        FaultShape::at(FaultPlace::body("/code", "/message"))
            // A list of what is wrong with a shipment.
            .or_at(FaultPlace::body("/0/messageCode", "/0/message"))
            .code("MISSING", FaultKind::Invalid)
            .code("ILLEGAL", FaultKind::Invalid)
            .code("INTERNAL", FaultKind::Unavailable)
            .status(Role::ResourceServer, 401, [FaultKind::WrongCredentials])
            .status(Role::ResourceServer, 403, [FaultKind::NotEntitled]),
    )
    .throttling(Throttling::default().pause(Duration::from_secs(30)))
    .look_up(LookUp::Call {
        method: Method::GET,
        route: "/rs-extapi/v1/shipments?fetchId={fetchId}".into(),
        by: "the fetchId of the last such call: the shipments that were printed since, each with the orderNo that was sent along. \
             Wait as long as minDelay says between two. For a stored shipment: GET /rs-extapi/v1/stored-shipments with searchField=orderNo"
            .into(),
    })
    .replacement(Replacement::by_hand([
        "Have somebody with access sign in at nShift Delivery and open Maintenance, API keys.",
        "Make a new key of type Web Services (REST), with the same developer id, profile and valid addresses.",
        "Put its id and secret into the credential store. The next call uses them; restart nothing.",
        "Run the test of the connection.",
        "Set the old key to Disabled: it is of no use from then on. If it is being misused do this first.",
        "Look through the shipments of the time since the key may have got out, and cancel what is not yours before the carrier \
         has it.",
    ]))
    .test_call(TestCall::get(
        "/stored-shipments?searchField=orderNo&searchOp=equals&searchValue=none",
    ))
    .facts(delivery_facts())
}

fn portal_facts() -> Vec<Fact> {
    let token = "helpcenter.nshift.com, articles 5420490221852, 15512528231324 and 360026218413";
    let data = "helpcenter.nshift.com, ShipmentData API (article 360021438180)";
    let read = "2026-11-22";
    let looked = "2026-11-27";
    vec![
        Fact::documented(Topic::Hosts, token, read),
        Fact::documented(
            Topic::Hosts,
            "helpcenter.nshift.com, ShipmentServer (article 4401176907676): production, production 2 and demo",
            looked,
        ),
        Fact::documented(Topic::Credential, data, looked),
        Fact::documented(Topic::TokenAnswer, data, looked),
        Fact::documented(
            Topic::Placement,
            "helpcenter.nshift.com, ShipmentData API, and ShipmentServer: Basic or bearer",
            looked,
        ),
        Fact::documented(Topic::Routes, data, looked),
        Fact::unverified(
            Topic::Routes,
            "Checkout and ShipmentServer as public clients call them",
            looked,
        ),
        Fact::unverified(
            Topic::Faults,
            "problems with issues, as public clients of Checkout read them; OAuth's errors at the token endpoint",
            looked,
        ),
        Fact::unverified(Topic::Refusal, "401 for a token that is not good", read),
        Fact::inferred(
            Topic::TokenLimits,
            "callers are asked to keep tokens; none published",
            read,
        ),
        Fact::inferred(Topic::ApiLimits, "none published; the pause of 30 s is ours", read),
        Fact::inferred(Topic::Idempotency, "none found", read),
        Fact::inferred(
            Topic::LookUp,
            "helpcenter.nshift.com, ShipmentData API; the search by order number as a public client has it",
            looked,
        ),
        Fact::unverified(
            Topic::Replacement,
            "no revocation is documented; the portal's steps after helpcenter.nshift.com, ShipmentServer",
            looked,
        ),
        Fact::inferred(
            Topic::Test,
            "a search that finds nothing; needs the scope public_api_portal_shipment_data",
            looked,
        ),
        Fact::inferred(
            Topic::Binding,
            "nothing on DPoP, certificates or FAPI in nShift's documents",
            read,
        ),
    ]
}

fn delivery_facts() -> Vec<Fact> {
    let raml = "nShift Delivery REST API definition v1 (RAML), as kept in tipishev/unifaun-rest-client";
    let help = "help.unifaun.com, authorization and access";
    let read = "2026-11-22";
    let looked = "2026-11-27";
    vec![
        Fact::documented(Topic::Hosts, help, looked),
        Fact::documented(
            Topic::Credential,
            "help.unifaun.com, authorization and access; REST API definition v1, authentication",
            looked,
        ),
        Fact::documented(Topic::Placement, raml, looked),
        Fact::documented(Topic::Routes, raml, looked),
        Fact::unverified(
            Topic::Routes,
            "prints, prices and delivery checkouts as public clients call them",
            looked,
        ),
        Fact::documented(Topic::Faults, raml, looked),
        Fact::documented(
            Topic::Refusal,
            "REST API definition v1: 401 is an invalid token, 403 one without access to the operation",
            looked,
        ),
        Fact::documented(Topic::ApiLimits, "help.unifaun.com, shipments", looked),
        Fact::inferred(Topic::ApiLimits, "the pause of 30 s after a 429 is ours", looked),
        Fact::inferred(Topic::Idempotency, "none found", read),
        Fact::documented(Topic::LookUp, raml, looked),
        Fact::documented(
            Topic::Replacement,
            "help.unifaun.com, authorization and access: keys are made and switched off by hand",
            looked,
        ),
        Fact::documented(Topic::Test, raml, looked),
        Fact::inferred(Topic::Binding, "no tokens, and nothing on certificates", read),
    ]
}
