//! FedEx REST APIs.

use std::time::Duration;

use http::{HeaderName, Method};

use crate::binding::Role;
use crate::credentials::{CredentialPart, PartAt};
use crate::exchange::fault::{FaultKind, FaultPlace, FaultShape};
use crate::exchange::quirks::{BodyCode, Quirks};
use crate::owner::{CarrierId, Environment};
use crate::throttle::{Block, CountedBy, Limit, Throttling};
use crate::token::client_auth::ClientAuth;
use crate::token::grant::{CarrierGrant, GrantType};
use crate::token::{TokenAt, TokenRequest};

use super::{CarrierProfile, Fact, LookUp, Replacement, Route, TestCall, Topic, TracingHeader};

/// FedEx for a shipper's own account: client credentials, id and secret in the form's body, bearer tokens of an hour.
///
/// An expired token, wrong credentials and a project that is not entitled to an API all give 401 `NOT.AUTHORIZED.ERROR`,
/// before anything is processed: the call is repeated once with a new token. A 403 of the API is a missing permission. A 403
/// of the token endpoint says nothing of the credential: FedEx blocks the address that the requests come from for ten
/// minutes, and longer while they go on, above 3 requests a second for 5 s or 1 a second for 2 minutes.
///
/// The API takes 1,400 calls in 10 s for each project, and so many a day for each organisation; it does not say when to go on.
///
/// Track often has a project of its own: keep its credential under another account of the same tenant,
/// [`AccountId::new("track")`](crate::owner::AccountId::new) by convention, and build its client with that.
///
/// There is no idempotency key. A shipment whose answer was lost is looked for by its customer reference, so send one with
/// each. Documents are uploaded to a host of its own, where the same tokens go.
pub fn fedex(environment: Environment) -> CarrierProfile {
    known(environment, TokenRequest::new())
}

/// FedEx for an integrator or compatible solution that ships for a child account: as [`fedex`], by the grant
/// `csp_credentials`.
///
/// The credential holds the parent project's id and secret, and the child account's as the parts `child_key` and
/// `child_secret`. FedEx's registration API gives those out (account, then PIN or invoice); calls to it need
/// [`allow_credential_route`](crate::client::RequestBuilder::allow_credential_route).
///
/// FedEx's specification writes the parameter `child_Key`, some clients send `child_key`; here it is as specified.
pub fn fedex_csp(environment: Environment) -> CarrierProfile {
    of_child(environment, CarrierGrant::of_profile("csp_credentials"))
}

/// FedEx for a parent company with accounts of its own below it: as [`fedex_csp`], by the grant `client_pc_credentials`.
///
/// The credential holds the parent's id and secret, and the parts `child_key` and `child_secret`.
pub fn fedex_parent_child(environment: Environment) -> CarrierProfile {
    of_child(environment, CarrierGrant::of_profile("client_pc_credentials"))
}

fn of_child(environment: Environment, grant: CarrierGrant) -> CarrierProfile {
    known(environment, TokenRequest::new().grant(GrantType::OfCarrier(grant)))
        .part(CredentialPart::required(
            "child_key",
            PartAt::TokenForm("child_Key".into()),
        ))
        .part(CredentialPart::required(
            "child_secret",
            PartAt::TokenForm("child_secret".into()),
        ))
}

fn known(environment: Environment, request: TokenRequest) -> CarrierProfile {
    let (host, documents, uploads) = match environment {
        Environment::Sandbox => (
            "https://apis-sandbox.fedex.com",
            "https://documentapitest.prod.fedex.com",
            "/sandbox/documents/v1",
        ),
        Environment::Production => (
            "https://apis.fedex.com",
            "https://documentapi.prod.fedex.com",
            "/documents/v1",
        ),
    };
    let token = TokenAt::Endpoint(format!("{host}/oauth/token"));
    CarrierProfile::custom(CarrierId::of_profile("fedex"), environment, host, token)
        .called("FedEx")
        .client_auth(ClientAuth::Post)
        .token_request(request)
        .quirks(Quirks::new().not_processed(BodyCode::new("/errors/0/code", "NOT.AUTHORIZED.ERROR")))
        .allow_origin(documents)
        .tracing(TracingHeader::call_id(HeaderName::from_static(
            "x-customer-transaction-id",
        )))
        .routes(routes())
        .routes(["etds/upload", "etds/multiupload", "etds/encodedmultiupload", "lhsimages/upload"].map(|upload| {
            Route::label(&format!("{uploads}/{upload}")).only(Method::POST)
        }))
        .credential_routes(["/oauth/token", "/registration"])
        .faults(faults())
        .throttling(limits())
        .look_up(LookUp::Call {
            method: Method::POST,
            route: "/track/v1/referencenumbers".into(),
            by: "the customer reference that was sent with the shipment, with the account's number and its ship date: a \
                 tracking number in the answer shows that it was made. None is no proof that it was not: FedEx may not have \
                 its data yet"
                .into(),
        })
        .replacement(replacement())
        .test_call(TestCall::post(
            "/country/v1/postal/validate",
            r#"{"carrierCode":"FDXE","countryCode":"US","stateOrProvinceCode":"TN","postalCode":"38017","shipDate":"{today}"}"#,
        ))
        .facts(facts())
}

fn routes() -> Vec<Route> {
    let post = |route: Route| route.only(Method::POST);
    let put = |route: Route| route.only(Method::PUT);
    vec![
        post(Route::read("/rate/v1/rates/quotes")),
        post(Route::read("/rate/v1/freight/rates/quotes")),
        post(Route::read("/availability/v1/transittimes")),
        post(Route::read("/availability/v1/packageandserviceoptions")),
        post(Route::read("/availability/v1/specialserviceoptions")),
        post(Route::label("/ship/v1/shipments")),
        put(Route::label("/ship/v1/shipments/cancel")),
        post(Route::read("/ship/v1/shipments/results")),
        post(Route::read("/ship/v1/shipments/packages/validate")),
        post(Route::label("/ship/v1/shipments/tag")),
        put(Route::label("/ship/v1/shipments/tag/cancel/{shipment:personal}")),
        post(Route::label("/ship/v1/freight/shipments")),
        post(Route::label("/ship/v1/dghazshipments")),
        put(Route::label("/ship/v1/dghazshipments/cancel")),
        post(Route::read("/ship/v1/dghazshipments/validate")),
        post(Route::label("/ship/v1/openshipments/create")),
        put(Route::label("/ship/v1/openshipments/")),
        post(Route::label("/ship/v1/openshipments/")),
        put(Route::label("/ship/v1/openshipments/packages")),
        post(Route::label("/ship/v1/openshipments/packages")),
        put(Route::label("/ship/v1/openshipments/packages/delete")),
        post(Route::read("/ship/v1/openshipments/packages/retrieve")),
        put(Route::label("/ship/v1/openshipments/delete")),
        post(Route::read("/ship/v1/openshipments/retrieve")),
        post(Route::read("/ship/v1/openshipments/results")),
        put(Route::label("/ship/v1/consolidations")),
        post(Route::label("/ship/v1/consolidations")),
        post(Route::label("/ship/v1/consolidations/shipments")),
        post(Route::read("/ship/v1/consolidations/results")),
        post(Route::label("/ship/v1/consolidations/confirmations")),
        post(Route::read("/ship/v1/consolidations/confirmationresults")),
        post(Route::read("/ship/v1/consolidations/retrieve")),
        put(Route::label("/ship/v1/consolidations/shipments/delete")),
        put(Route::label("/ship/v1/consolidations/delete")),
        put(Route::label("/ship/v1/endofday/")),
        post(Route::read("/ship/v1/endofday/")),
        post(Route::read("/track/v1/trackingnumbers")),
        post(Route::read("/track/v1/referencenumbers")),
        post(Route::read("/track/v1/associatedshipments")),
        post(Route::read("/track/v1/tcn")),
        post(Route::read("/track/v1/trackingdocuments")),
        post(Route::label("/track/v1/notifications")),
        post(Route::label("/pickup/v1/pickups")),
        put(Route::label("/pickup/v1/pickups/cancel")),
        post(Route::read("/pickup/v1/pickups/availabilities")),
        post(Route::label("/pickup/v1/freight/pickups/")),
        put(Route::label("/pickup/v1/freight/pickups/cancel/")),
        post(Route::read("/pickup/v1/freight/pickups/availabilities")),
        post(Route::read("/address/v1/addresses/resolve")),
        post(Route::read("/country/v1/postal/validate")),
        post(Route::read("/location/v1/locations")),
        post(Route::read("/globaltrade/v1/shipments/regulatorydetails/retrieve")),
    ]
}

fn faults() -> FaultShape {
    FaultShape::at(FaultPlace::body("/errors/0/code", "/errors/0/message"))
        .vague("NOT.AUTHORIZED.ERROR")
        .vague("FORBIDDEN.ERROR")
        .code("LOGIN.REAUTHENTICATE.ERROR", FaultKind::BadToken)
        .code("UNAUTHORIZED.USAGE", FaultKind::NotEntitled)
        .code("SHIPMENT.ACCOUNTNUMBER.UNAUTHORIZED", FaultKind::NotEntitled)
        .code("SHIPMENT.USER.UNAUTHORIZED", FaultKind::NotEntitled)
        .code("ACCOUNTNUMBER.REGISTRATION.REQUIRED", FaultKind::Invalid)
        .code("TRACKING.TRACKINGNUMBER.EMPTY", FaultKind::Invalid)
        .code("TRACKING.TRACKINGNUMBER.NOTFOUND", FaultKind::NotFound)
        .code("NOT.FOUND.ERROR", FaultKind::NotFound)
        .code("INTERNAL.SERVER.ERROR", FaultKind::Unavailable)
        .code("SERVICE.UNAVAILABLE.ERROR", FaultKind::Unavailable)
        .status(
            Role::ResourceServer,
            401,
            [FaultKind::BadToken, FaultKind::WrongCredentials, FaultKind::NotEntitled],
        )
        .status(Role::ResourceServer, 403, [FaultKind::NotEntitled])
        .status(Role::AuthorizationServer, 401, [FaultKind::WrongCredentials])
        .status(Role::AuthorizationServer, 403, [FaultKind::Blocked])
}

fn limits() -> Throttling {
    let seconds = Duration::from_secs;
    Throttling::default()
        // One below what FedEx tells: 3 a second for 5 s, 1 a second for 120 s.
        .token(Limit::new(14, seconds(5), CountedBy::Address))
        .token(Limit::new(119, seconds(120), CountedBy::Address))
        .api(Limit::new(1_400, seconds(10), CountedBy::Connection))
        // An organisation's day, as FedEx's example has it; Track has 100,000 for each project.
        .api(Limit::new(500_000, seconds(24 * 60 * 60), CountedBy::Connection))
        .block(Block::new(
            Role::AuthorizationServer,
            http::StatusCode::FORBIDDEN,
            CountedBy::Address,
            seconds(10 * 60),
        ))
        .pause(seconds(10))
}

fn replacement() -> Replacement {
    Replacement::by_hand([
        "Find out which project's key it is: the shipper's, its Track project's (account \"track\"), or a parent's, and whether it \
         is the test or the production key.",
        "Have somebody with access sign in at developer.fedex.com and open that project under My Projects.",
        "Make a new secret there, or a new project with the same APIs if the id has to go too. A child account's key and secret \
         come from the registration API once more.",
        "Put the new id and secret into the credential store. The next call uses them; restart nothing.",
        "Run the test of the connection. A 403 of the token endpoint is a blocked address, not a wrong secret: wait ten minutes \
         without asking.",
        "Delete the old secret or project. Tokens that were given out cannot be revoked: they end within an hour.",
        "Compare the account's shipments at fedex.com with your own since the secret may have got out, and cancel what is not \
         yours.",
    ])
}

fn facts() -> Vec<Fact> {
    let read = "2026-11-22";
    vec![
        Fact::documented(
            Topic::Hosts,
            "ShipStream fedex-rest-php-sdk, endpoints; karrio, connector fedex",
            read,
        ),
        Fact::documented(
            Topic::Credential,
            "FedEx authorization specification v1, as kept in ShipStream fedex-rest-php-sdk",
            "2026-11-27",
        ),
        Fact::documented(
            Topic::TokenAnswer,
            "FedEx authorization specification v1; an older page calls the seconds milliseconds",
            read,
        ),
        Fact::documented(Topic::Placement, "FedEx specifications; developer.fedex.com", read),
        Fact::documented(
            Topic::Routes,
            "FedEx specifications, as kept in ShipStream fedex-rest-php-sdk",
            "2026-11-27",
        ),
        Fact::documented(
            Topic::Tracing,
            "FedEx specifications: echoed as customerTransactionId, no idempotency",
            read,
        ),
        Fact::documented(
            Topic::Faults,
            "FedEx specifications; FedEx's sandbox, as PipedreamHQ/pipedream issue 18309 shows it",
            "2026-11-27",
        ),
        Fact::documented(
            Topic::Refusal,
            "FedEx ship specification (401: access token expired, 403: permissions); public issues for projects that are not \
             entitled",
            "2026-11-27",
        ),
        Fact::inferred(
            Topic::Refusal,
            "a 401 of FedEx's gateway comes before the request is processed",
            read,
        ),
        Fact::documented(Topic::TokenLimits, "developer.fedex.com, rate limits", read),
        Fact::documented(
            Topic::ApiLimits,
            "developer.fedex.com, rate limits; the pause is the window of 10 s, since no Retry-After is documented",
            read,
        ),
        Fact::inferred(Topic::Idempotency, "the specifications have none", read),
        Fact::inferred(
            Topic::LookUp,
            "FedEx track specification, track by references",
            "2026-11-27",
        ),
        Fact::unverified(
            Topic::Replacement,
            "the specification has no revocation; the steps in the portal are general knowledge",
            read,
        ),
        Fact::documented(Topic::Test, "FedEx postal code validation specification v1", read),
        Fact::inferred(
            Topic::Binding,
            "nothing on DPoP, certificates or FAPI in FedEx's documents",
            read,
        ),
    ]
}
