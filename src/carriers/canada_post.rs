//! Canada Post's web services. Facts of karrio's connector canadapost and of a copy of Canada Post's table of messages; checked
//! 2026-11-27.

use http::header::ACCEPT;
use http::{HeaderValue, Method};

use crate::binding::Role;
use crate::credentials::CredentialAt;
use crate::exchange::fault::{FaultKind, FaultShape};
use crate::owner::{CarrierId, Environment};
use crate::token::TokenAt;

use super::{CarrierProfile, Fact, LookUp, Replacement, Route, TestCall, Topic};

/// Canada Post: HTTP Basic with the two halves of an API key, no tokens. A development key is for the sandbox and a production
/// key for the live system, where the other is refused.
///
/// Bodies are XML, in media types that name service and version (`application/vnd.cpc.shipment-v8+xml`): set `Content-Type` and
/// `Accept` of each call, and send the body as octets. Customer numbers stand in the paths.
///
/// Errors are XML too, a list of `message` with `code` and `description`, which faults here do not read: they have the meaning
/// of their status, and the answer's body has the rest. 401 and 403 mean a key that is not known (`E002`, `AA01`), that is of
/// the other system (`AA02`) or another customer's (`AA03`, `AA04`). 500 is also given for XML that does not fit its schema.
///
/// Above its limit a key is blocked for up to a minute (code `Server`, "Rejected by SLM Monitor"). Canada Post publishes neither
/// the limit nor the status of that answer; third parties speak of 20 calls a minute. None is held here.
///
/// A label that is not ready yet is answered with 300, which is the error `redirect` here: ask again.
pub fn canada_post(environment: Environment) -> CarrierProfile {
    let base = match environment {
        Environment::Sandbox => "https://ct.soa-gw.canadapost.ca",
        Environment::Production => "https://soa-gw.canadapost.ca",
    };
    CarrierProfile::custom(CarrierId::of_profile("canada-post"), environment, base, TokenAt::Credential)
        .called("Canada Post")
        .credential_at(CredentialAt::Basic)
        .faults(
            FaultShape::default()
                .status(
                    Role::ResourceServer,
                    401,
                    [FaultKind::WrongCredentials, FaultKind::NotEntitled],
                )
                .status(
                    Role::ResourceServer,
                    403,
                    [FaultKind::NotEntitled, FaultKind::WrongCredentials],
                )
                .status(
                    Role::ResourceServer,
                    500,
                    [FaultKind::Unavailable, FaultKind::Invalid],
                ),
        )
        .routes(routes())
        .test_call(
            TestCall::get("/vis/track/pin/123456789012/detail")
                .header(ACCEPT, HeaderValue::from_static("application/vnd.cpc.track-v2+xml"))
                .proved_by(404),
        )
        .look_up(LookUp::None {
            instead: "get the group's shipments (/rs/{customer}/{mobo}/shipment?groupId=..), and void the one that is twice there"
                .into(),
        })
        .replacement(Replacement::by_hand([
            "In Canada Post's developer program, have new API keys made: the old pair ends.",
            "Put the new pair of the right system into the credential store.",
            "Ask Canada Post for a refund of labels that were bought with a stolen key.",
        ]))
        .facts(facts())
}

fn routes() -> [Route; 15] {
    [
        Route::read("/rs/ship/price").only(Method::POST),
        Route::read("/vis/track/pin/{pin:personal}/detail").only(Method::GET),
        Route::read("/rs/{customer:business}/{mobo:business}/shipment").only(Method::GET),
        Route::label("/rs/{customer:business}/{mobo:business}/shipment").only(Method::POST),
        Route::read("/rs/{customer:business}/{mobo:business}/shipment/{shipment:personal}").only(Method::GET),
        Route::label("/rs/{customer:business}/{mobo:business}/shipment/{shipment:personal}").only(Method::DELETE),
        Route::read("/rs/{customer:business}/{mobo:business}/shipment/{shipment:personal}/details").only(Method::GET),
        Route::label("/rs/{customer:business}/{mobo:business}/shipment/{shipment:personal}/refund").only(Method::POST),
        Route::label("/rs/{customer:business}/{mobo:business}/authorizedreturn").only(Method::POST),
        Route::label("/rs/{customer:business}/{mobo:business}/manifest").only(Method::POST),
        Route::read("/ad/pickup/pickupavailability/{postal:personal}").only(Method::GET),
        Route::label("/enab/{customer:business}/pickuprequest").only(Method::POST),
        Route::label("/enab/{customer:business}/pickuprequest/{pickup:business}").only(Method::PUT),
        Route::label("/enab/{customer:business}/pickuprequest/{pickup:business}").only(Method::DELETE),
        Route::read("/enab/{customer:business}/pickuprequest/{pickup:business}/details").only(Method::GET),
    ]
}

fn facts() -> [Fact; 10] {
    const CLIENT: &str = "karrio, connector canadapost";
    const MESSAGES: &str = "Canada Post, messages and code tables, in a public copy";
    const DAY: &str = "2026-11-27";
    [
        Fact::inferred(Topic::Binding, "no tokens, and nothing on certificates", "2026-11-22"),
        Fact::documented(Topic::Hosts, CLIENT, DAY),
        Fact::documented(Topic::Credential, CLIENT, DAY),
        Fact::documented(Topic::Placement, CLIENT, DAY),
        Fact::documented(Topic::Routes, CLIENT, DAY),
        Fact::documented(Topic::Faults, MESSAGES, DAY),
        Fact::documented(Topic::Refusal, MESSAGES, DAY),
        Fact::inferred(Topic::Test, CLIENT, DAY),
        Fact::unverified(
            Topic::LookUp,
            "general knowledge of Canada Post's shipping services",
            DAY,
        ),
        Fact::unverified(
            Topic::Replacement,
            "general knowledge of Canada Post's developer program",
            DAY,
        ),
    ]
}
