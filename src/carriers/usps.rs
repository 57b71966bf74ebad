//! USPS APIs v3.

use std::time::Duration;

use http::{HeaderName, Method};

use crate::binding::Role;
use crate::exchange::fault::{FaultKind, FaultPlace, FaultShape};
use crate::exchange::quirks::{BodyCode, Quirks, TokenRequestShape};
use crate::owner::{CarrierId, Environment};
use crate::throttle::{CountedBy, Limit, Throttling};
use crate::token::TokenAt;
use crate::token::client_auth::ClientAuth;
use crate::token::companion::Companion;
use crate::token::metadata::IssuerEndpoint;

use super::{CarrierProfile, Fact, LookUp, Replacement, Route, TestCall, Topic};

/// Where the second token comes from.
const PAYMENT: &str = "/payments/v3/payment-authorization";

/// USPS: client credentials in a JSON body, bearer tokens of eight hours.
///
/// A 401 `invalid_token` is a token that has ended, was revoked, or whose application does not have the product, before
/// anything is processed: the call is repeated once with a new one. A 403 is a product or account that is missing. 60 calls an
/// hour for each API unless USPS grants more, token requests perhaps among them; a 429 says in `Retry-After` when to go on.
///
/// With [`CarrierProfile::by_consent`] tokens come from shippers' consent; refresh tokens are said to last seven days, and are
/// reported to end sooner.
///
/// Tokens can be revoked, by a JSON body as for the token; whether USPS takes the client's id and secret beside it in the place
/// of a bearer token is not verified.
///
/// Labels need a payment authorization besides, `X-Payment-Authorization-Token`: [`usps_labels`] gets and sends it. With this
/// profile the application does; the call that gives it needs
/// [`allow_credential_route`](crate::client::RequestBuilder::allow_credential_route).
///
/// Domestic labels and return labels take `X-Idempotency-Key`, a UUID, which the client sets where the caller does not: the
/// same key with the same payload gives the same label and no second charge. A label whose answer was lost is reprinted or
/// cancelled by that key. Pickups, SCAN forms and international labels do not have it.
pub fn usps(environment: Environment) -> CarrierProfile {
    let host = match environment {
        Environment::Sandbox => "https://apis-tem.usps.com",
        Environment::Production => "https://apis.usps.com",
    };
    let token = TokenAt::Endpoint(format!("{host}/oauth2/v3/token"));
    CarrierProfile::custom(CarrierId::of_profile("usps"), environment, host, token)
        .called("USPS")
        .client_auth(ClientAuth::Post)
        .quirks(
            Quirks::new()
                .not_processed(BodyCode::new("/error/errors/0/title", "invalid_token"))
                .token_request(TokenRequestShape::new().json()),
        )
        .endpoint(IssuerEndpoint::Authorization, format!("{host}/oauth2/v3/authorize"))
        .endpoint(IssuerEndpoint::Revocation, format!("{host}/oauth2/v3/revoke"))
        .routes(routes())
        .credential_routes([
            "/oauth2/v3/token",
            "/oauth2/v3/revoke",
            "/oauth2/v3/authorize",
            PAYMENT,
            // Where events are to be sent.
            "/subscriptions-tracking/v3/subscriptions",
        ])
        .faults(faults())
        .throttling(
            Throttling::default()
                .api(Limit::new(60, Duration::from_secs(60 * 60), CountedBy::Connection))
                .pause(Duration::from_secs(60)),
        )
        .idempotency(HeaderName::from_static("x-idempotency-key"))
        .look_up(LookUp::Call {
            method: Method::POST,
            route: "/labels/v3/label-reprint".into(),
            by: "the X-Idempotency-Key that was sent with the label (the report of the call has it): the answer is the label if it \
                 was made. A label can be reprinted three times, up to its mailing date"
                .into(),
        })
        .replacement(replacement())
        .test_call(TestCall::get("/addresses/v3/city-state?ZIPCode=30022"))
        .facts(facts())
}

/// USPS with labels: as [`usps`], with a payment authorization that is asked for with each token and goes with calls below
/// `/labels/v3/` and `/international-labels/v3/`.
///
/// The credential holds the body of that request, as JSON, in the part `payment_authorization`: the roles, at least `PAYER` and
/// `LABEL_OWNER`, with the shipper's CRID, MID, manifest MID and account number.
///
/// USPS gives the authorization for eight hours. It is renewed after 50 minutes, as clients do that have been in use for long,
/// and the access token with it.
pub fn usps_labels(environment: Environment) -> CarrierProfile {
    usps(environment).companion(
        Companion::new(
            PAYMENT,
            "payment_authorization",
            "/paymentAuthorizationToken",
            HeaderName::from_static("x-payment-authorization-token"),
            Duration::from_secs(50 * 60),
        )
        .for_paths_below("/labels/v3/")
        .for_paths_below("/international-labels/v3/"),
    )
}

fn routes() -> Vec<Route> {
    let get = |route: Route| route.only(Method::GET);
    let post = |route: Route| route.only(Method::POST);
    let put = |route: Route| route.only(Method::PUT);
    let patch = |route: Route| route.only(Method::PATCH);
    let delete = |route: Route| route.only(Method::DELETE);
    vec![
        get(Route::read("/addresses/v3/address")),
        get(Route::read("/addresses/v3/city-state")),
        get(Route::read("/addresses/v3/zipcode")),
        post(Route::read("/prices/v3/base-rates/search")),
        post(Route::read("/prices/v3/base-rates-list/search")),
        post(Route::read("/prices/v3/extra-service-rates/search")),
        post(Route::read("/prices/v3/total-rates/search")),
        post(Route::read("/prices/v3/letter-rates/search")),
        post(Route::read("/international-prices/v3/base-rates/search")),
        post(Route::read("/international-prices/v3/base-rates-list/search")),
        post(Route::read("/international-prices/v3/extra-service-rates/search")),
        post(Route::read("/international-prices/v3/total-rates/search")),
        post(Route::read("/shipments/v3/options/search")),
        get(Route::read("/service-standards/v3/estimates")),
        get(Route::read("/service-standards/v3/standards")),
        // Postage is paid for as labels are made.
        post(Route::payment("/labels/v3/label")).keyed(),
        delete(Route::label("/labels/v3/label")),
        patch(Route::label("/labels/v3/label/{number:personal}")),
        delete(Route::label("/labels/v3/label/{number:personal}")),
        post(Route::payment("/labels/v3/return-label")).keyed(),
        post(Route::read("/labels/v3/label-reprint")),
        post(Route::read("/labels/v3/label-reprint/{number:personal}")),
        post(Route::payment("/labels/v3/indicia")),
        post(Route::payment("/labels/v3/indicia/imb")),
        delete(Route::label("/labels/v3/indicia/imb/{imb:personal}")),
        get(Route::read("/labels/v3/branding")),
        post(Route::label("/labels/v3/branding")),
        get(Route::read("/labels/v3/branding/{image:business}")),
        patch(Route::label("/labels/v3/branding/{image:business}")),
        delete(Route::label("/labels/v3/branding/{image:business}")),
        post(Route::payment("/international-labels/v3/international-label")),
        delete(Route::label(
            "/international-labels/v3/international-label/{number:personal}",
        )),
        post(Route::read(
            "/international-labels/v3/international-label-reprint/{number:personal}",
        )),
        post(Route::payment("/international-labels/v3/indicia")),
        post(Route::label("/scan-forms/v3/scan-form")),
        post(Route::label("/containers/v3/containers")),
        post(Route::label("/containers/v3/containers/{container:business}/packages")),
        get(Route::read("/pickup/v3/carrier-pickup/eligibility")),
        post(Route::label("/pickup/v3/carrier-pickup")),
        get(Route::read("/pickup/v3/carrier-pickup/{confirmation:personal}")),
        put(Route::label("/pickup/v3/carrier-pickup/{confirmation:personal}")),
        delete(Route::label("/pickup/v3/carrier-pickup/{confirmation:personal}")),
        get(Route::read("/tracking/v3/tracking/{number:personal}")),
        post(Route::label("/tracking/v3/tracking/{number:personal}/notifications")),
        post(Route::read("/tracking/v3/tracking/{number:personal}/proof-of-delivery")),
        get(Route::read("/locations/v3/dropoff-locations")),
        get(Route::read("/locations/v3/post-office-locations")),
        get(Route::read("/locations/v3/parcel-locker-locations")),
        post(Route::payment(PAYMENT)),
        get(Route::read("/payments/v3/payment-account/{account:business}")),
    ]
}

fn faults() -> FaultShape {
    FaultShape::at(FaultPlace::body("/error/errors/0/title", "/error/errors/0/detail"))
        .or_at(FaultPlace::body("/error/code", "/error/message"))
        .code("invalid_token", FaultKind::BadToken)
        .code("invalid_refresh_token", FaultKind::BadToken)
        .vague("401")
        .vague("403")
        .vague("404")
        .vague("429")
        .status(Role::ResourceServer, 401, [FaultKind::BadToken, FaultKind::NotEntitled])
        .status(Role::ResourceServer, 403, [FaultKind::NotEntitled])
        .status(
            Role::AuthorizationServer,
            400,
            [FaultKind::WrongCredentials, FaultKind::Invalid],
        )
        .status(Role::AuthorizationServer, 401, [FaultKind::WrongCredentials])
        .status(Role::AuthorizationServer, 403, [FaultKind::NotEntitled])
}

fn replacement() -> Replacement {
    Replacement::by_hand([
        "Revoke what this library holds: rotate or quarantine the connection, which asks USPS to end its tokens.",
        "Find out whose application it is, and have its owner sign in at the USPS developer portal (developers.usps.com), Apps.",
        "Add an application with the same products, and have the shippers' accounts authorised for it again in the USPS Customer \
         Onboarding Platform: labels do not work before that.",
        "Write to USPS API support (emailus.usps.com): USPS gives new credentials to who reports that the old ones got out, and \
         can end the old ones.",
        "Put the new consumer key and secret into the credential store, with the part payment_authorization where labels are made.",
        "Delete the old application. Tokens that were not revoked live for up to eight hours.",
        "Run the test of the connection, then compare the payment account's transactions with your own labels, and ask for a \
         refund of what is not yours.",
    ])
    .revoked_by(Method::POST, "/oauth2/v3/revoke")
}

fn facts() -> Vec<Fact> {
    let examples = "USPS/api-examples";
    let labels = "USPS domestic labels specification 3.9.13, as kept in karrio, connector usps";
    let read = "2026-11-22";
    let looked = "2026-11-27";
    vec![
        Fact::documented(Topic::Hosts, examples, looked),
        Fact::documented(
            Topic::Credential,
            "USPS/api-examples: JSON; karrio, connector usps, sends a form",
            looked,
        ),
        Fact::documented(
            Topic::Credential,
            "USPS payments specification 3.1.20, as kept in karrio, connector usps: the payment authorization lives for eight hours",
            looked,
        ),
        Fact::documented(Topic::TokenAnswer, examples, looked),
        Fact::unverified(
            Topic::TokenAnswer,
            "refresh tokens end before their seven days (USPS/api-examples issue 84)",
            read,
        ),
        Fact::documented(Topic::Placement, labels, looked),
        Fact::documented(
            Topic::Routes,
            "USPS specifications, as kept in karrio, connector usps; USPS/api-examples",
            looked,
        ),
        Fact::unverified(Topic::Routes, "the path of tracking subscriptions", looked),
        Fact::documented(
            Topic::Faults,
            "USPS/api-examples; USPS addresses specification 3.2.3, as kept in karrio, connector usps",
            read,
        ),
        Fact::documented(
            Topic::Refusal,
            "USPS addresses specification 3.2.3; USPS/api-examples issues 56 and 68",
            read,
        ),
        Fact::inferred(Topic::Refusal, "such a 401 comes before a label is made", read),
        Fact::unverified(
            Topic::TokenLimits,
            "token requests count among the 60 calls an hour, and five a minute are the most (USPS/api-examples issue 107)",
            read,
        ),
        Fact::documented(
            Topic::ApiLimits,
            "USPS/api-examples issue 30, by USPS: 60 calls an hour; Retry-After as specified",
            read,
        ),
        Fact::documented(Topic::Idempotency, labels, looked),
        Fact::documented(Topic::LookUp, labels, looked),
        Fact::documented(
            Topic::Replacement,
            "USPS/api-examples: revocation, and new credentials from USPS where they were disclosed",
            looked,
        ),
        Fact::unverified(
            Topic::Replacement,
            "the steps in the portals are general knowledge",
            read,
        ),
        Fact::documented(Topic::Test, examples, looked),
        Fact::inferred(
            Topic::Binding,
            "nothing on DPoP, certificates or FAPI in USPS's documents",
            read,
        ),
    ]
}
