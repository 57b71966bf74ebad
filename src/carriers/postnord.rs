//! PostNord's APIs. Facts of api-evangelist/postnord and of clients that others maintain, since PostNord's portal could not be
//! read; checked 2026-11-27.

use http::{HeaderName, Method};

use crate::binding::Role;
use crate::credentials::CredentialAt;
use crate::exchange::fault::{FaultKind, FaultPlace, FaultShape};
use crate::owner::{CarrierId, Environment};
use crate::token::TokenAt;

use super::{CarrierProfile, Fact, LookUp, Replacement, Route, TestCall, Topic};

/// PostNord: an API key and no token. PostNord takes it as the query parameter `apikey` or as a header of that name; here it is
/// the header, so that the key stands in no URL, and so in no log of a proxy. Leave the parameter out of your paths.
///
/// The key is the credential's secret; its client id is not sent. Test and live system have keys of their own.
///
/// Errors stand in a list of faults with a code and an explanation, within the answer's own member in tracking. PostNord's codes
/// were found in no source, nor were its limits, a key by which a call is carried out once, and what 401 and 403 mean: they are
/// taken for a key that is wrong, and for an API that the key's plan does not have.
pub fn postnord(environment: Environment) -> CarrierProfile {
    let base = match environment {
        Environment::Sandbox => "https://atapi2.postnord.com",
        Environment::Production => "https://api2.postnord.com",
    };
    CarrierProfile::custom(CarrierId::of_profile("postnord"), environment, base, TokenAt::Credential)
        .called("PostNord")
        .credential_at(CredentialAt::Header(HeaderName::from_static("apikey")))
        .faults(
            FaultShape::at(FaultPlace::body(
                "/compositeFault/faults/0/faultCode",
                "/compositeFault/faults/0/explanationText",
            ))
            .or_at(FaultPlace::body(
                "/TrackingInformationResponse/compositeFault/faults/0/faultCode",
                "/TrackingInformationResponse/compositeFault/faults/0/explanationText",
            ))
            .status(Role::ResourceServer, 401, [FaultKind::WrongCredentials])
            .status(
                Role::ResourceServer,
                403,
                [FaultKind::NotEntitled, FaultKind::WrongCredentials],
            ),
        )
        .routes([
            Route::read("/rest/shipment/v5/trackandtrace/findByIdentifier.json").only(Method::GET),
            Route::read("/rest/shipment/v5/trackandtrace/recipientview").only(Method::GET),
            Route::read("/rest/shipment/v1/postalcode/{code:personal}").only(Method::GET),
            Route::read("/rest/businesslocation/v5/servicepoints/nearest/byaddress").only(Method::GET),
            Route::read("/rest/location/v2/address/search").only(Method::GET),
            Route::label("/rest/shipment/v3/edi/labels").only(Method::POST),
        ])
        .test_call(TestCall::get(
            "/rest/businesslocation/v5/servicepoints/nearest/byaddress?returnType=json&countryCode=SE&postalCode=11122",
        ))
        .look_up(LookUp::Call {
            method: Method::GET,
            route: "/rest/shipment/v5/trackandtrace/findByIdentifier.json?id={id}".into(),
            by: "the shipment's or item's id, where the caller had it beforehand; a shipment that is not there yet is not known"
                .into(),
        })
        .replacement(Replacement::by_hand([
            "In PostNord's developer portal, delete the key.",
            "Make a new key there and put it into the credential store.",
        ]))
        .facts(facts())
}

fn facts() -> [Fact; 10] {
    const PROFILE: &str = "api-evangelist/postnord";
    const CLIENTS: &str = "public clients of PostNord's API";
    [
        Fact::inferred(Topic::Binding, "no tokens, and nothing on certificates", "2026-11-22"),
        Fact::documented(Topic::Hosts, PROFILE, "2026-11-22"),
        Fact::documented(Topic::Credential, PROFILE, "2026-11-22"),
        Fact::documented(Topic::Placement, PROFILE, "2026-11-22"),
        Fact::unverified(Topic::Routes, CLIENTS, "2026-11-27"),
        Fact::unverified(Topic::Faults, CLIENTS, "2026-11-27"),
        Fact::inferred(
            Topic::Refusal,
            "RFC 9110 15.5, with a key as the credential",
            "2026-11-27",
        ),
        Fact::unverified(Topic::Test, CLIENTS, "2026-11-27"),
        Fact::unverified(Topic::LookUp, CLIENTS, "2026-11-27"),
        Fact::unverified(
            Topic::Replacement,
            "general knowledge of developer portals",
            "2026-11-27",
        ),
    ]
}
