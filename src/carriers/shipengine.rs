//! ShipEngine, today the ShipStation API, which ships with many carriers.

use std::time::Duration;

use http::{HeaderName, Method};

use crate::binding::Role;
use crate::credentials::{CredentialAt, CredentialPart, KeyForm, PartAt};
use crate::exchange::fault::{FaultKind, FaultPlace, FaultShape};
use crate::exchange::quirks::{BodyCode, Quirks};
use crate::owner::{CarrierId, Environment};
use crate::throttle::{CountedBy, Limit, Throttling};
use crate::token::TokenAt;

use super::{CarrierProfile, Fact, LookUp, Replacement, Route, TestCall, Topic};

/// ShipEngine (the ShipStation API): an API key in `API-Key`, no tokens.
///
/// The credential is the key alone, [`Credential::api_key`]. A partner's credential holds the partner key, and the account that
/// it acts for as the part `account`, which goes into `On-Behalf-Of` of every call. Sandbox and production are one host; keys
/// of the sandbox begin with `TEST_`, so one at the wrong environment is refused before it is sent.
///
/// 401 `unauthorized` is a key that is missing, wrong or ended, before anything is processed. 403 `forbidden` is a plan or
/// account that may not do this. `insufficient_funds` is an empty wallet. An error says in `error_source` whether ShipEngine or
/// the carrier behind it gave it.
///
/// A key has 200 calls a minute, one of the sandbox 20; a 429 says in `Retry-After` when to go on.
///
/// Set `external_shipment_id` with each label: it is unique, and the label is looked up by it when an answer was lost. There
/// is no idempotency header. Keys of accounts are made and ended by partners through the API, others in the dashboard.
///
/// [`Credential::api_key`]: crate::credentials::Credential::api_key
pub fn shipengine(environment: Environment) -> CarrierProfile {
    let per_minute = match environment {
        Environment::Sandbox => 20,
        Environment::Production => 200,
    };
    CarrierProfile::custom(
        CarrierId::of_profile("shipengine"),
        environment,
        "https://api.shipengine.com",
        TokenAt::Credential,
    )
    .called("ShipEngine")
    .credential_at(CredentialAt::Header(HeaderName::from_static("api-key")))
    .part(CredentialPart::optional(
        "account",
        PartAt::CallHeader(HeaderName::from_static("on-behalf-of")),
    ))
    .key_form(KeyForm::new("TEST_", Environment::Sandbox))
    // All others.
    .key_form(KeyForm::new("", Environment::Production))
    .quirks(Quirks::new().not_processed(BodyCode::new("/errors/0/error_code", "unauthorized")))
    .routes(routes())
    .credential_routes([
        "/v1/tokens/ephemeral",
        "/v1/environment/webhooks",
        "/v1/connections",
        "/v1/partners",
    ])
    .faults(faults())
    .throttling(
        Throttling::default()
            .api(Limit::new(per_minute, Duration::from_secs(60), CountedBy::Connection))
            .pause(Duration::from_secs(60)),
    )
    .look_up(LookUp::Call {
        method: Method::GET,
        route: "/v1/labels/external_shipment_id/{external_shipment_id}".into(),
        by: "the external_shipment_id that was sent with the label: the answer is the label if it was bought. A 404 says that \
             there is none: send the label again with the same id"
            .into(),
    })
    .replacement(
        Replacement::by_hand([
            "Find out whose key it is: a partner's, which reaches every account behind it, or one account's.",
            "An account's key, by its partner: POST /v1/partners/accounts/{account_id}/api_keys with the partner key makes another. \
             Without a partner: API Management in the dashboard.",
            "Put the new key into the credential store, beside the old one. The next call uses it; restart nothing.",
            "Run the test of the connection.",
            "End the old key: DELETE /v1/partners/accounts/{account_id}/api_keys/{key_id}, or the dashboard. It is for ever. If the \
             key is being misused do this first.",
            "A partner key is changed by ShipEngine on request only: call your account manager.",
            "Look through webhooks and carrier connections for what is not yours, and compare labels with your own since the key \
             may have got out: void what is not yours, and tell the carriers.",
        ])
        .replaced_by(Method::POST, "/v1/partners/accounts/{account_id}/api_keys")
        .revoked_by(Method::DELETE, "/v1/partners/accounts/{account_id}/api_keys/{key_id}"),
    )
    .test_call(TestCall::get("/v1/carriers"))
    .facts(facts())
}

fn routes() -> Vec<Route> {
    let get = |route: Route| route.only(Method::GET);
    let post = |route: Route| route.only(Method::POST);
    let put = |route: Route| route.only(Method::PUT);
    let delete = |route: Route| route.only(Method::DELETE);
    vec![
        post(Route::read("/v1/rates")),
        post(Route::read("/v1/rates/bulk")),
        post(Route::read("/v1/rates/estimate")),
        get(Route::read("/v1/rates/{rate:business}")),
        // Labels are paid for as they are made.
        post(Route::payment("/v1/labels")),
        get(Route::read("/v1/labels")),
        get(Route::read(
            "/v1/labels/external_shipment_id/{external_shipment_id:personal}",
        )),
        post(Route::payment("/v1/labels/rates/{rate:business}")),
        post(Route::payment("/v1/labels/rate_shopper_id/{rate_shopper:business}")),
        post(Route::payment("/v1/labels/shipment/{shipment:personal}")),
        get(Route::read("/v1/labels/{label:personal}")),
        get(Route::read("/v1/labels/{label:personal}/track")),
        post(Route::payment("/v1/labels/{label:personal}/return")),
        put(Route::label("/v1/labels/{label:personal}/void")),
        // It has the label paid for after all.
        post(Route::payment("/v1/labels/{label:personal}/cancel_refund")),
        post(Route::label("/v1/shipments")),
        get(Route::read("/v1/shipments")),
        put(Route::read("/v1/shipments/recognize")),
        put(Route::label("/v1/shipments/tags")),
        get(Route::read(
            "/v1/shipments/external_shipment_id/{external_shipment_id:personal}",
        )),
        get(Route::read("/v1/shipments/{shipment:personal}")),
        get(Route::read("/v1/shipments/{shipment:personal}/rates")),
        put(Route::label("/v1/shipments/{shipment:personal}/cancel")),
        get(Route::read("/v1/shipments/{shipment:personal}/tags")),
        post(Route::label("/v1/shipments/{shipment:personal}/tags/{tag:business}")),
        delete(Route::label("/v1/shipments/{shipment:personal}/tags/{tag:business}")),
        post(Route::label("/v1/manifests")),
        get(Route::read("/v1/manifests")),
        get(Route::read("/v1/manifests/{manifest:business}")),
        get(Route::read("/v1/manifests/requests/{request:business}")),
        post(Route::label("/v1/pickups")),
        get(Route::read("/v1/pickups")),
        get(Route::read("/v1/pickups/{pickup:personal}")),
        delete(Route::label("/v1/pickups/{pickup:personal}")),
        post(Route::label("/v1/batches")),
        get(Route::read("/v1/batches")),
        get(Route::read("/v1/batches/{batch:business}")),
        put(Route::label("/v1/batches/{batch:business}")),
        delete(Route::label("/v1/batches/{batch:business}")),
        get(Route::read("/v1/batches/{batch:business}/errors")),
        post(Route::label("/v1/batches/{batch:business}/add")),
        post(Route::label("/v1/batches/{batch:business}/remove")),
        post(Route::payment("/v1/batches/{batch:business}/process/labels")),
        get(Route::read("/v1/tracking")),
        post(Route::read("/v1/tracking/start")),
        post(Route::read("/v1/tracking/stop")),
        post(Route::read("/v1/addresses/validate")),
        put(Route::read("/v1/addresses/recognize")),
        post(Route::read("/v1/service_points/list")),
        get(Route::read(
            "/v1/service_points/{carrier:business}/{country:business}/{point:business}",
        )),
        get(Route::read("/v1/carriers")),
        get(Route::read("/v1/carriers/{carrier:business}")),
        put(Route::payment("/v1/carriers/{carrier:business}/add_funds")),
        get(Route::read("/v1/carriers/{carrier:business}/options")),
        get(Route::read("/v1/carriers/{carrier:business}/packages")),
        get(Route::read("/v1/carriers/{carrier:business}/services")),
        Route::payment("/v1/insurance/shipsurance/add_funds").only(Method::PATCH),
        get(Route::read("/v1/insurance/shipsurance/balance")),
        post(Route::read("/v1/documents/combined_labels")),
        get(Route::read(
            "/v1/downloads/{dir:business}/{subdir:business}/{file:personal}",
        )),
        get(Route::read("/v1/warehouses")),
        get(Route::read("/v1/warehouses/{warehouse:business}")),
        get(Route::read("/v1/packages")),
        get(Route::read("/v1/tags")),
        get(Route::read("/v1/account/settings")),
    ]
}

fn faults() -> FaultShape {
    FaultShape::at(FaultPlace::body("/errors/0/error_code", "/errors/0/message"))
        .code("unauthorized", FaultKind::WrongCredentials)
        .code("forbidden", FaultKind::NotEntitled)
        .code("invalid_billing_plan", FaultKind::NotEntitled)
        .code("subscription_inactive", FaultKind::NotEntitled)
        .code("trial_expired", FaultKind::NotEntitled)
        .code("terms_not_accepted", FaultKind::NotEntitled)
        .code("rate_limit_exceeded", FaultKind::Throttled)
        .code("insufficient_funds", FaultKind::Payment)
        .code("funding_source_missing_configuration", FaultKind::Payment)
        .code("funding_source_error", FaultKind::Payment)
        .code("identifier_conflict", FaultKind::Conflict)
        .code("carrier_conflict", FaultKind::Conflict)
        .code("invalid_status", FaultKind::Conflict)
        .code("batch_cannot_be_modified", FaultKind::Conflict)
        .code("file_not_found", FaultKind::NotFound)
        .code("invalid_identifier", FaultKind::Invalid)
        .code("invalid_address", FaultKind::Invalid)
        .code("invalid_field_value", FaultKind::Invalid)
        .code("field_value_required", FaultKind::Invalid)
        .code("request_body_required", FaultKind::Invalid)
        .vague("unspecified")
        .vague("unknown")
        .status(Role::ResourceServer, 401, [FaultKind::WrongCredentials])
        .status(Role::ResourceServer, 403, [FaultKind::NotEntitled])
}

fn facts() -> Vec<Fact> {
    let specification = "ShipEngine/shipengine-openapi 1.1";
    let partners = "docs.shipstation.com, partners";
    let read = "2026-11-22";
    let looked = "2026-11-27";
    vec![
        Fact::documented(
            Topic::Hosts,
            "ShipEngine/shipengine-openapi 1.1; one host, and keys of the sandbox begin with TEST_",
            looked,
        ),
        Fact::documented(Topic::Credential, specification, looked),
        Fact::documented(Topic::Placement, specification, looked),
        Fact::documented(Topic::Placement, partners, read),
        Fact::documented(Topic::Routes, specification, looked),
        Fact::documented(Topic::Faults, specification, looked),
        Fact::documented(
            Topic::Refusal,
            "ShipEngine/shipengine-openapi 1.1: a key that is missing, wrong or expired is 401",
            looked,
        ),
        Fact::inferred(Topic::Refusal, "such a 401 comes before a label is bought", looked),
        Fact::documented(Topic::ApiLimits, "docs.shipstation.com, rate limits", read),
        Fact::documented(
            Topic::Idempotency,
            "ShipEngine/shipengine-openapi 1.1: no header; external_shipment_id is unique",
            looked,
        ),
        Fact::documented(Topic::LookUp, specification, looked),
        Fact::documented(Topic::Replacement, partners, looked),
        Fact::unverified(
            Topic::Replacement,
            "the steps in the dashboard are general knowledge",
            looked,
        ),
        Fact::documented(Topic::Test, specification, read),
        Fact::inferred(Topic::Binding, "no tokens, and nothing on certificates", read),
    ]
}
