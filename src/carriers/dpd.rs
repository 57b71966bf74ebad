//! DPD's META-API. Facts of DPD's published specification and of karrio's connector dpd_meta; checked 2026-11-27.

use http::{HeaderName, Method};

use crate::binding::Role;
use crate::credentials::{CredentialPart, PartAt};
use crate::exchange::fault::{FaultKind, FaultPlace, FaultShape};
use crate::exchange::quirks::{LifetimeAt, Quirks, TokenAnswerShape, TokenRequestShape};
use crate::owner::{CarrierId, Environment};
use crate::token::TokenAt;
use crate::token::client_auth::ClientAuth;

use super::{CarrierProfile, Fact, LookUp, Replacement, Route, Topic};

/// DPD by its META-API, which all business units share: no OAuth. Login and password go to the login endpoint in the headers
/// `X-DPD-LOGIN` and `X-DPD-PASSWORD`, and the token comes back in the header `X-DPD-TOKEN`, for 24 hours. Calls carry it as a
/// bearer token.
///
/// The credential's part `business_unit` is the code of DPD's business unit, `001` for Germany for instance; it goes with the
/// login as `X-DPD-BUCODE`. SEUR gives a client id and secret in the place of login and password: build the profile with
/// `.client_auth(ClientAuth::Headers { .. })` and the headers `x-dpd-clientid` and `x-dpd-clientsecret`.
///
/// 401 means that the token is missing or not good. DPD documents no code for it, so the call is not repeated; the next one has a
/// new token. 408 comes from the META-API when the business unit did not answer in time: whether there is a shipment is not known
/// then. Errors have a code of DPD's own (no list is published) and stand in an object, or in a list of such.
///
/// The specification names no limits, no call that shows whether a credential works other than the login itself, and no call by
/// which a shipment is found again.
pub fn dpd(environment: Environment) -> CarrierProfile {
    let base = match environment {
        Environment::Sandbox => "https://api-preprod.dpsin.dpdgroup.com:8443/shipping/v1",
        Environment::Production => "https://api.dpdgroup.com/shipping/v1",
    };
    let token = TokenAt::Endpoint(format!("{base}/login"));
    CarrierProfile::custom(CarrierId::of_profile("dpd"), environment, base, token)
        .called("DPD")
        .client_auth(ClientAuth::Headers {
            id: HeaderName::from_static("x-dpd-login"),
            secret: HeaderName::from_static("x-dpd-password"),
        })
        .part(CredentialPart::required(
            "business_unit",
            PartAt::TokenHeader(HeaderName::from_static("x-dpd-bucode")),
        ))
        .quirks(
            Quirks::new()
                .token_request(TokenRequestShape::new().without_grant_type())
                .token_answer(
                    TokenAnswerShape::new()
                        .in_header(HeaderName::from_static("x-dpd-token"))
                        .lifetime(LifetimeAt::Fixed(24 * 60 * 60))
                        .without_type(),
                ),
        )
        .faults(
            FaultShape::at(FaultPlace::body("/errorCode", "/errorMessage"))
                .or_at(FaultPlace::body("/0/errorCode", "/0/errorMessage"))
                .or_at(FaultPlace::body("/code", "/message"))
                .status(Role::AuthorizationServer, 401, [FaultKind::WrongCredentials])
                .status(Role::AuthorizationServer, 408, [FaultKind::Unavailable])
                .status(Role::ResourceServer, 401, [FaultKind::BadToken, FaultKind::NotEntitled])
                .status(Role::ResourceServer, 408, [FaultKind::Unavailable]),
        )
        .credential_routes(["/shipping/v1/login"])
        .routes([
            Route::label("/shipping/v1/shipment").only(Method::POST),
            Route::label("/shipping/v2/shipment").only(Method::POST),
            Route::label("/shipping/v1/pickupscheduling").only(Method::POST),
            Route::label("/shipping/v1/colreq").only(Method::POST),
            Route::read("/shipping/v1/label").only(Method::POST),
        ])
        .look_up(LookUp::None {
            instead: "look for the shipment's reference in the business unit's own portal before sending it again"
                .into(),
        })
        .replacement(Replacement::by_hand([
            "Have DPD's business unit lock the login, or change its password there.",
            "Put the new password into the credential store.",
            "Tokens of the old password live for up to 24 hours; the META-API has no call that ends them: ask DPD to.",
        ]))
        .facts(facts())
}

fn facts() -> [Fact; 11] {
    const SPEC: &str = "DPD META-API 2.30, specification in karrio, connector dpd_meta";
    const CLIENT: &str = "karrio, connector dpd_meta";
    const DAY: &str = "2026-11-27";
    [
        Fact::inferred(
            Topic::Binding,
            "nothing on bound tokens or client certificates was found in its documentation",
            "2026-11-22",
        ),
        Fact::inferred(
            Topic::Test,
            "absence: no call is known that shows a good credential",
            "2026-11-27",
        ),
        Fact::documented(Topic::Hosts, CLIENT, DAY),
        Fact::documented(Topic::Credential, SPEC, DAY),
        Fact::documented(Topic::TokenAnswer, CLIENT, DAY),
        Fact::documented(Topic::Placement, SPEC, DAY),
        Fact::documented(Topic::Routes, SPEC, DAY),
        Fact::documented(Topic::Faults, SPEC, DAY),
        Fact::inferred(Topic::Refusal, SPEC, DAY),
        Fact::inferred(Topic::LookUp, "absence in DPD's specification", DAY),
        Fact::unverified(Topic::Replacement, "general knowledge of DPD's business units", DAY),
    ]
}
