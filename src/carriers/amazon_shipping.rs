//! Amazon Shipping v2 by the Selling Partner API. Facts of Amazon's published model (`shippingV2.json`) and of
//! developer-docs.amazon.com, read through stored copies; checked 2026-11-27.

use std::time::Duration;

use http::{HeaderName, Method};

use crate::binding::Role;
use crate::credentials::{CredentialAt, CredentialPart, PartAt};
use crate::exchange::fault::{FaultKind, FaultPlace, FaultShape};
use crate::exchange::quirks::{BodyCode, Quirks, TokenAnswerShape};
use crate::owner::{CarrierId, Environment};
use crate::throttle::Throttling;
use crate::token::TokenAt;
use crate::token::client_auth::ClientAuth;

use super::{CarrierProfile, Fact, LookUp, Replacement, Route, TestCall, Topic};

/// Which of Amazon's endpoints serves a shipper: that of the region in which the account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AmazonRegion {
    /// `na`: North America and Brazil.
    NorthAmerica,
    /// `eu`: Europe, the Middle East, Africa and India.
    Europe,
    /// `fe`: the Far East and Australia.
    FarEast,
}

impl AmazonRegion {
    /// `na`, `eu` or `fe`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NorthAmerica => "na",
            Self::Europe => "eu",
            Self::FarEast => "fe",
        }
    }
}

/// Amazon Shipping: tokens of an hour from Login with Amazon, by the shipper's consent, client id and secret in the form's body.
/// Calls carry the token in `x-amz-access-token`; nothing stands in `Authorization`.
///
/// Consent is given at Seller Central, in a form of Amazon's own that [`Client::authorize`](crate::Client::authorize) does not
/// speak: put the refresh token that comes of it into the grant store, as a [`Grant`](crate::grants::Grant). It is
/// long-lived and does not rotate, so a refresh whose answer was lost is repeated.
///
/// The credential's part `business` goes with every call as `x-amzn-shipping-business-id`. Purchases and collection forms with
/// the same `x-amzn-IdempotencyKey` are carried out once; the one-click shipment, cancellations, claims and accounts of carriers
/// take no such key, and are not repeated.
///
/// Amazon answers 403 for an expired token as well as for a role that the application lacks, with the code `Unauthorized` for
/// both: such a call, which was not carried out, is repeated once with a new token, and so is one that 401 with that code
/// answers. `TOKEN_EXPIRED` is no matter of the token: the rates are older than ten minutes.
///
/// Limits are for each operation and account, 80 requests a second for most, and stand in `x-amzn-RateLimit-Limit`; a 429 has no
/// `Retry-After`, so a second is waited. Restricted operations of the wider API want a restricted data token in the place of this
/// one; the route that makes those is guarded.
pub fn amazon_shipping(environment: Environment, region: AmazonRegion) -> CarrierProfile {
    let system = match environment {
        Environment::Sandbox => "sandbox.",
        Environment::Production => "",
    };
    let base = format!("https://{system}sellingpartnerapi-{}.amazon.com", region.as_str());
    let token = TokenAt::Endpoint("https://api.amazon.com/auth/o2/token".to_owned());
    CarrierProfile::custom(CarrierId::of_profile("amazon-shipping"), environment, base, token)
        .called("Amazon Shipping")
        .by_consent()
        .client_auth(ClientAuth::Post)
        .credential_at(CredentialAt::Header(HeaderName::from_static("x-amz-access-token")))
        .part(CredentialPart::optional(
            "business",
            PartAt::CallHeader(HeaderName::from_static("x-amzn-shipping-business-id")),
        ))
        .quirks(
            Quirks::new()
                .not_processed(BodyCode::new("/errors/0/code", "Unauthorized"))
                .not_processed_forbidden(BodyCode::new("/errors/0/code", "Unauthorized"))
                .token_answer(TokenAnswerShape::new().any_characters())
                .refresh_token_stays(),
        )
        .faults(faults())
        .throttling(Throttling::default().pause(Duration::from_secs(1)))
        .credential_routes(["/tokens", "/applications", "/notifications"])
        .routes(routes())
        .idempotency(HeaderName::from_static("x-amzn-idempotencykey"))
        .look_up(LookUp::Repeat)
        .test_call(TestCall::get("/shipping/v2/carrierAccountFormInputs"))
        .replacement(Replacement::by_hand([
            "In the developer console, rotate the application's client secret: the old one ends after some days.",
            "Put the new secret into the credential store; shippers' refresh tokens stay good.",
            "Where a refresh token was lost, have the shipper end the application's access at Seller Central, and consent anew.",
            "Access tokens live for up to an hour; Amazon has no call that ends them.",
        ]))
        .facts(facts())
}

fn faults() -> FaultShape {
    let refused = [FaultKind::NotEntitled, FaultKind::BadToken];
    FaultShape::at(FaultPlace::body("/errors/0/code", "/errors/0/message"))
        .or_at(FaultPlace::body("/error", "/error_description"))
        .code("InvalidRequest", FaultKind::Invalid)
        .code("InvalidInput", FaultKind::Invalid)
        .code("TOKEN_EXPIRED", FaultKind::Invalid)
        .code("NotFound", FaultKind::NotFound)
        .code("TooManyRequests", FaultKind::Throttled)
        .code("QuotaExceeded", FaultKind::Throttled)
        .code("InternalError", FaultKind::Unavailable)
        .code("ServiceUnavailable", FaultKind::Unavailable)
        .code("invalid_client", FaultKind::WrongCredentials)
        // The shipper has ended the consent.
        .code("invalid_grant", FaultKind::NotEntitled)
        .code("unauthorized_client", FaultKind::NotEntitled)
        .status(Role::ResourceServer, 401, [FaultKind::BadToken, FaultKind::NotEntitled])
        .status(Role::ResourceServer, 403, refused)
}

fn routes() -> [Route; 19] {
    [
        Route::read("/shipping/v2/shipments/rates").only(Method::POST),
        Route::payment("/shipping/v2/shipments/directPurchase")
            .only(Method::POST)
            .keyed(),
        Route::payment("/shipping/v2/shipments").only(Method::POST).keyed(),
        Route::payment("/shipping/v2/oneClickShipment").only(Method::POST),
        Route::read("/shipping/v2/shipments/additionalInputs/schema").only(Method::GET),
        Route::read("/shipping/v2/shipments/{shipment:personal}/documents").only(Method::GET),
        Route::label("/shipping/v2/shipments/{shipment:personal}/cancel").only(Method::PUT),
        Route::read("/shipping/v2/tracking").only(Method::GET),
        Route::read("/shipping/v2/accessPoints").only(Method::GET),
        Route::read("/shipping/v2/carrierAccountFormInputs").only(Method::GET),
        Route::read("/shipping/v2/carrierAccounts").only(Method::PUT),
        Route::label("/shipping/v2/carrierAccounts/{carrier:business}"),
        Route::label("/shipping/v2/carrierAccounts/{carrier:business}/unlink").only(Method::PUT),
        Route::label("/shipping/v2/collectionForms").only(Method::POST).keyed(),
        Route::read("/shipping/v2/collectionForms/history").only(Method::PUT),
        Route::read("/shipping/v2/collectionForms/{form:business}").only(Method::GET),
        Route::read("/shipping/v2/unmanifestedShipments").only(Method::PUT),
        Route::label("/shipping/v2/ndrFeedback").only(Method::POST),
        Route::label("/shipping/v2/claims").only(Method::POST),
    ]
}

fn facts() -> [Fact; 13] {
    const MODEL: &str = "amzn/selling-partner-api-models, shippingV2.json";
    const CONNECT: &str = "developer-docs.amazon.com, connecting to the Selling Partner API";
    const DAY: &str = "2026-11-27";
    [
        Fact::inferred(
            Topic::Binding,
            "nothing on bound tokens or client certificates was found in its documentation",
            "2026-11-22",
        ),
        Fact::documented(Topic::Hosts, CONNECT, DAY),
        Fact::documented(Topic::Credential, CONNECT, DAY),
        Fact::documented(
            Topic::TokenAnswer,
            "developer-docs.amazon.com; that tokens have a | is seen in its samples",
            DAY,
        ),
        Fact::documented(Topic::Placement, CONNECT, DAY),
        Fact::documented(Topic::Routes, MODEL, DAY),
        Fact::documented(Topic::Faults, MODEL, DAY),
        Fact::inferred(
            Topic::Refusal,
            "amzn/selling-partner-api-models, shippingV2.json: what it says of 401 and 403",
            DAY,
        ),
        Fact::documented(Topic::ApiLimits, MODEL, DAY),
        Fact::documented(Topic::Idempotency, MODEL, DAY),
        Fact::inferred(Topic::LookUp, MODEL, DAY),
        Fact::documented(
            Topic::Replacement,
            "developer-docs.amazon.com, Login with Amazon credentials FAQ",
            DAY,
        ),
        Fact::inferred(Topic::Test, MODEL, DAY),
    ]
}
