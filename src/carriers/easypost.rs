//! EasyPost, which ships with many carriers.

use std::time::Duration;

use http::Method;

use crate::binding::Role;
use crate::credentials::KeyForm;
use crate::exchange::fault::{FaultKind, FaultPlace, FaultShape};
use crate::owner::{CarrierId, Environment};
use crate::throttle::Throttling;
use crate::token::TokenAt;

use super::{CarrierProfile, Fact, LookUp, Replacement, Route, TestCall, Topic};

/// EasyPost: an API key as a bearer token, no tokens of its own.
///
/// The credential is the key alone, [`Credential::api_key`]. Test and production are one host, and the key decides: keys for
/// tests are said to begin with `EZTK`, those for production with `EZAK`, so one at the wrong environment is refused before it
/// is sent.
///
/// A 401 is a key that is missing or wrong, a 403 `APIKEY.INACTIVE` one that was switched off, a 402 an account without means.
/// What EasyPost writes beside a 401 is not documented, so no call is repeated. Lists answer five times a second; above that,
/// and when EasyPost is busy, there is a 429 that does not say when to go on.
///
/// Keys can be made, switched off and deleted through the API. Calls to keys, users, carrier accounts and webhooks need
/// [`allow_credential_route`](crate::client::RequestBuilder::allow_credential_route).
///
/// There is no idempotency key. Give each shipment a `reference`, by which it is looked up when an answer was lost: it tells
/// whether postage was bought.
///
/// [`Credential::api_key`]: crate::credentials::Credential::api_key
pub fn easypost(environment: Environment) -> CarrierProfile {
    CarrierProfile::custom(
        CarrierId::of_profile("easypost"),
        environment,
        "https://api.easypost.com/v2",
        TokenAt::Credential,
    )
    .called("EasyPost")
    .key_form(KeyForm::new("EZTK", Environment::Sandbox))
    .key_form(KeyForm::new("EZAK", Environment::Production))
    .routes(routes())
    .credential_routes([
        "/v2/api_keys",
        "/v2/users",
        "/v2/referral_customers",
        "/v2/webhooks",
        "/v2/carrier_accounts",
        "/v2/fedex_registrations",
        "/v2/customer_portal",
        "/v2/embeddables",
        "/v2/partners",
        "/beta/referral_customers",
        "/beta/setup_intents",
        "/beta/financial_connections_sessions",
    ])
    .faults(faults())
    // Its limit of lists is not one of the whole API.
    .throttling(Throttling::default().pause(Duration::from_secs(5)))
    .look_up(LookUp::Call {
        method: Method::GET,
        route: "/v2/shipments/{shipment}".into(),
        by: "the reference that was sent with the shipment, in the place of its id: postage was bought if the answer has a \
             postage_label. A 404 is a shipment that was never made. For a purchase, ask by the shipment's id"
            .into(),
    })
    .replacement(
        Replacement::by_hand([
            "Find out whose key it is: the platform's, or one of a child user. A platform's key reaches every child.",
            "Make a new key: POST /v2/api_keys with a production key that is still good, or API Keys in the dashboard.",
            "Put the new key into the credential store, beside the old one. The next call uses it; restart nothing.",
            "Run the test of the connection.",
            "End the old key: POST /v2/api_keys/{id}/disable can be undone, DELETE /v2/api_keys/{id} cannot. If it is being misused \
             do this first.",
            "Look through webhooks, carrier accounts, child users and payment methods for what is not yours: a key can change them.",
            "Compare shipments and refunds with your own since the key may have got out, and refund what is not yours.",
        ])
        .replaced_by(Method::POST, "/v2/api_keys")
        .revoked_by(Method::DELETE, "/v2/api_keys/{id}"),
    )
    .test_call(TestCall::get("/addresses?page_size=1"))
    .facts(facts())
}

fn routes() -> Vec<Route> {
    let get = |route: Route| route.only(Method::GET);
    let post = |route: Route| route.only(Method::POST);
    vec![
        // More text first: a list's name could be an id of the route below it.
        post(Route::read("/v2/addresses")),
        get(Route::read("/v2/addresses")),
        post(Route::read("/v2/addresses/create_and_verify")),
        get(Route::read("/v2/addresses/{address:personal}/verify")),
        get(Route::read("/v2/addresses/{address:personal}")),
        post(Route::read("/v2/parcels")),
        get(Route::read("/v2/parcels/{parcel:business}")),
        post(Route::label("/v2/shipments")),
        get(Route::read("/v2/shipments")),
        post(Route::read("/v2/shipments/{shipment:personal}/rerate")),
        post(Route::payment("/v2/shipments/{shipment:personal}/buy")),
        post(Route::payment("/v2/shipments/{shipment:personal}/insure")),
        post(Route::payment("/v2/shipments/{shipment:personal}/luma")),
        post(Route::payment("/v2/shipments/luma")),
        post(Route::label("/v2/shipments/{shipment:personal}/refund")),
        post(Route::label("/v2/shipments/{shipment:personal}/forms")),
        get(Route::read("/v2/shipments/{shipment:personal}/label")),
        get(Route::read("/v2/shipments/{shipment:personal}/smartrate")),
        get(Route::read("/v2/shipments/{shipment:personal}/smartrate/delivery_date")),
        get(Route::read(
            "/v2/shipments/{shipment:personal}/smartrate/precision_shipping",
        )),
        get(Route::read("/v2/shipments/{shipment:personal}")),
        get(Route::read("/v2/rates/{rate:business}")),
        post(Route::read("/beta/rates")),
        post(Route::read("/v2/smartrate/deliver_by")),
        post(Route::read("/v2/smartrate/deliver_on")),
        post(Route::read("/v2/luma/promise")),
        post(Route::label("/v2/orders")),
        get(Route::read("/v2/orders/{order:personal}")),
        get(Route::read("/v2/orders/{order:personal}/rates")),
        post(Route::payment("/v2/orders/{order:personal}/buy")),
        post(Route::label("/v2/batches")),
        get(Route::read("/v2/batches")),
        get(Route::read("/v2/batches/{batch:business}")),
        post(Route::payment("/v2/batches/{batch:business}/buy")),
        post(Route::label("/v2/batches/{batch:business}/label")),
        post(Route::label("/v2/batches/{batch:business}/add_shipments")),
        post(Route::label("/v2/batches/{batch:business}/remove_shipments")),
        post(Route::label("/v2/batches/{batch:business}/scan_form")),
        post(Route::label("/v2/scan_forms")),
        get(Route::read("/v2/scan_forms")),
        get(Route::read("/v2/scan_forms/{form:business}")),
        post(Route::label("/v2/pickups")),
        get(Route::read("/v2/pickups")),
        get(Route::read("/v2/pickups/{pickup:personal}")),
        post(Route::payment("/v2/pickups/{pickup:personal}/buy")),
        post(Route::label("/v2/pickups/{pickup:personal}/cancel")),
        post(Route::read("/v2/trackers")),
        get(Route::read("/v2/trackers")),
        post(Route::read("/v2/trackers/batch")),
        get(Route::read("/v2/trackers/{tracker:personal}")),
        post(Route::payment("/v2/insurances")),
        get(Route::read("/v2/insurances")),
        get(Route::read("/v2/insurances/{insurance:personal}")),
        post(Route::label("/v2/insurances/{insurance:personal}/refund")),
        post(Route::label("/v2/claims")),
        get(Route::read("/v2/claims")),
        get(Route::read("/v2/claims/{claim:personal}")),
        post(Route::label("/v2/claims/{claim:personal}/cancel")),
        post(Route::label("/v2/refunds")),
        get(Route::read("/v2/refunds")),
        get(Route::read("/v2/refunds/{refund:personal}")),
        post(Route::read("/v2/customs_items")),
        get(Route::read("/v2/customs_items/{item:business}")),
        post(Route::read("/v2/customs_infos")),
        get(Route::read("/v2/customs_infos/{info:business}")),
        post(Route::read("/v2/end_shippers")),
        get(Route::read("/v2/end_shippers")),
        post(Route::read("/v2/reports/{kind:business}")),
        get(Route::read("/v2/reports/{report:business}")),
        get(Route::read("/v2/events")),
        get(Route::read("/v2/events/{event:business}")),
        get(Route::read("/v2/events/{event:business}/payloads")),
        get(Route::read("/v2/metadata/carriers")),
        get(Route::read("/v2/carrier_types")),
        get(Route::read("/v2/payment_methods")),
        post(Route::payment("/v2/credit_cards")),
        post(Route::payment("/v2/credit_cards/{method:business}/charges")),
        post(Route::payment("/v2/bank_accounts")),
        post(Route::payment("/v2/bank_accounts/{method:business}/charges")),
    ]
}

fn faults() -> FaultShape {
    FaultShape::at(FaultPlace::body("/error/code", "/error/message"))
        .code("APIKEY.INACTIVE", FaultKind::WrongCredentials)
        .code("ADDRESS.VERIFY.FAILURE", FaultKind::Invalid)
        .code("PARAMETER.REQUIRED", FaultKind::Invalid)
        .code("UNPROCESSABLE_ENTITY", FaultKind::Invalid)
        .code("TRANSACTION.AMOUNT_INVALID", FaultKind::Invalid)
        .code("NOT_FOUND", FaultKind::NotFound)
        .code("PAYLOAD.NOT_FOUND", FaultKind::NotFound)
        .code("TRANSACTION.DOES_NOT_EXIST", FaultKind::NotFound)
        .code("BILLING.INVALID_PAYMENT_GATEWAY_REFERENCE", FaultKind::Payment)
        .status(Role::ResourceServer, 401, [FaultKind::WrongCredentials])
        .status(
            Role::ResourceServer,
            403,
            [FaultKind::NotEntitled, FaultKind::WrongCredentials],
        )
        .status(Role::ResourceServer, 408, [FaultKind::Unavailable])
}

fn facts() -> Vec<Fact> {
    let client = "EasyPost/easypost-python 10.7.0";
    let read = "2026-11-22";
    let looked = "2026-11-27";
    vec![
        Fact::documented(
            Topic::Hosts,
            "docs.easypost.com, authentication: one host for test and production",
            read,
        ),
        Fact::documented(Topic::Credential, "docs.easypost.com, authentication", read),
        Fact::unverified(Topic::Credential, "what keys begin with: EZTK and EZAK", read),
        Fact::documented(
            Topic::Placement,
            "EasyPost/easypost-python sends it as a bearer token; docs.easypost.com as Basic's name, without password",
            looked,
        ),
        Fact::documented(Topic::Routes, client, looked),
        Fact::documented(
            Topic::Faults,
            "docs.easypost.com, errors; EasyPost/easypost-python 10.7.0, recorded answers",
            looked,
        ),
        Fact::documented(
            Topic::Refusal,
            "docs.easypost.com, errors: 401 is failed authentication, 402 missing means",
            looked,
        ),
        Fact::unverified(
            Topic::Refusal,
            "403 APIKEY.INACTIVE, as an answer kept in a public client's tests has it",
            looked,
        ),
        Fact::documented(
            Topic::ApiLimits,
            "docs.easypost.com, rate limiting: five a second for lists, and by load",
            looked,
        ),
        Fact::inferred(
            Topic::ApiLimits,
            "no Retry-After is documented; the pause of 5 s is ours",
            read,
        ),
        Fact::inferred(Topic::Idempotency, "none found", read),
        Fact::documented(
            Topic::LookUp,
            "docs.easypost.com, shipments: reference may be used in the place of id",
            looked,
        ),
        Fact::documented(
            Topic::Replacement,
            "EasyPost/easypost-python 10.7.0, API keys: create, enable, disable, delete",
            looked,
        ),
        Fact::documented(Topic::Test, "docs.easypost.com", read),
        Fact::inferred(Topic::Binding, "no tokens, and nothing on certificates", read),
    ]
}
