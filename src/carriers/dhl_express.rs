//! DHL Express: the MyDHL API.

use std::time::Duration;

use http::{HeaderName, Method};

use crate::binding::Role;
use crate::credentials::CredentialAt;
use crate::exchange::fault::{FaultKind, FaultPlace, FaultShape};
use crate::exchange::quirks::{BodyCode, Quirks};
use crate::owner::{CarrierId, Environment};
use crate::throttle::{CountedBy, Limit, Throttling};
use crate::token::TokenAt;

use super::{CarrierProfile, Fact, LookUp, Replacement, Route, TestCall, Topic, TracingHeader};

/// DHL Express (MyDHL API): HTTP Basic with every call, no tokens.
///
/// The credential's id and secret are the API user name and password that DHL Express gives out, not the key and secret that
/// an application has at developer.dhl.com. Test and live system share a host; their paths and their credentials differ.
///
/// A 401 is a wrong user name or password; what DHL writes beside it is not documented. There is nothing to renew, so a call is
/// repeated only where a new password is being tried beside the old one. `status` in errors is a text, and may be a number
/// that is no HTTP status.
///
/// `Message-Reference` is another for each call, traces, and is no idempotency key. A shipment whose answer was lost is
/// looked for by the shipment reference that was sent with it. Shipments cannot be voided through the API; pickups can.
///
/// The specification asks for a header `x-version` with the interface's version, which is the caller's to set.
pub fn dhl_express(environment: Environment) -> CarrierProfile {
    let at = match environment {
        Environment::Sandbox => "/mydhlapi/test",
        Environment::Production => "/mydhlapi",
    };
    let base = format!("https://express.api.dhl.com{at}");
    CarrierProfile::custom(
        CarrierId::of_profile("dhl-express"),
        environment,
        base,
        TokenAt::Credential,
    )
    .called("DHL Express")
    .credential_at(CredentialAt::Basic)
    .quirks(Quirks::new().not_processed(BodyCode::new("/status", "401")))
    .tracing(TracingHeader::call_id(HeaderName::from_static("message-reference")))
    .routes(routes(at))
    .faults(
        FaultShape::at(FaultPlace::body("/status", "/detail"))
            .vague("400")
            .vague("401")
            .vague("404")
            .vague("422")
            .status(Role::ResourceServer, 401, [FaultKind::WrongCredentials])
            .status(Role::ResourceServer, 403, [FaultKind::NotEntitled]),
    )
    .throttling(limits(environment))
    .look_up(LookUp::Call {
        method: Method::GET,
        route: format!(
            "{at}/tracking?shipmentReference={{reference}}&shipperAccountNumber={{account}}&dateRangeFrom={{from}}&dateRangeTo={{to}}"
        )
        .into(),
        by: "the shipment reference that was sent along, the shipper's account number and the days to look at: a shipment in the \
             answer shows that it was made. A 404 is to be asked again after half an hour before the shipment is sent once more"
            .into(),
    })
    .replacement(Replacement::by_hand([
        "Find out which user name it is, and whether it is of the test or the live system.",
        "Ask the DHL Express contact of the shipper's country, or the MyDHL API support, to lock that user name. There is no call \
         that does it.",
        "Set a new password with the password reset that DHL Express describes, or have a new user name made for the same account \
         numbers.",
        "Put the new user name and password into the credential store, beside the old ones if those still serve.",
        "Run the test of the connection, then have the old user name removed.",
        "Compare the account's shipments at mydhl.express.dhl with your own since the password may have got out. Shipments cannot \
         be voided: tell DHL Express not to collect or bill what is not yours.",
    ]))
    .test_call(TestCall::get("/address-validate?type=delivery&countryCode=DE&postalCode=53113"))
    .facts(facts())
}

fn routes(at: &str) -> Vec<Route> {
    let read = |method: Method, path: &str| Route::read(&format!("{at}{path}")).only(method);
    let label = |method: Method, path: &str| Route::label(&format!("{at}{path}")).only(method);
    vec![
        read(Method::GET, "/rates"),
        read(Method::POST, "/rates"),
        read(Method::POST, "/landed-cost"),
        read(Method::GET, "/products"),
        read(Method::GET, "/address-validate"),
        read(Method::GET, "/servicepoints"),
        read(Method::GET, "/reference-data"),
        read(Method::GET, "/tracking"),
        read(Method::GET, "/shipments/{number:personal}/tracking"),
        read(Method::GET, "/shipments/{number:personal}/proof-of-delivery"),
        read(Method::GET, "/shipments/{number:personal}/get-image"),
        read(Method::POST, "/early-shipment-screening"),
        // It takes numbers out of the account's range.
        label(Method::GET, "/identifiers"),
        label(Method::POST, "/shipments"),
        label(Method::PATCH, "/shipments/{number:personal}/upload-image"),
        label(Method::PATCH, "/shipments/{number:personal}/upload-invoice-data"),
        label(Method::PATCH, "/shipments/{number:personal}/add-piece"),
        label(Method::POST, "/invoices/upload-invoice-data"),
        label(Method::POST, "/pickups"),
        label(Method::PATCH, "/pickups/{pickup:personal}"),
        label(Method::DELETE, "/pickups/{pickup:personal}"),
    ]
}

fn limits(environment: Environment) -> Throttling {
    let day = Duration::from_secs(24 * 60 * 60);
    let throttling = Throttling::default().pause(Duration::from_secs(30));
    match environment {
        Environment::Sandbox => throttling.api(Limit::new(500, day, CountedBy::Connection)),
        Environment::Production => throttling,
    }
}

fn facts() -> Vec<Fact> {
    let specification = "MyDHL API specification 3.1.1, as kept in karrio, connector mydhl";
    let read = "2026-11-22";
    let looked = "2026-11-27";
    vec![
        Fact::documented(Topic::Hosts, specification, read),
        Fact::documented(
            Topic::Credential,
            "MyDHL API specification 3.1.1; verbb/shippy issue 7 for the portal's key and secret",
            read,
        ),
        Fact::documented(Topic::Placement, specification, read),
        Fact::documented(Topic::Routes, specification, looked),
        Fact::documented(Topic::Tracing, specification, read),
        Fact::documented(Topic::Faults, specification, looked),
        Fact::inferred(
            Topic::Refusal,
            "the specification lists no 401: a body with status 401 is taken for a refusal before processing",
            looked,
        ),
        Fact::unverified(
            Topic::ApiLimits,
            "500 calls a day in the test system; the pause of 30 s after a 429 is ours",
            read,
        ),
        Fact::inferred(Topic::Idempotency, "none found: Message-Reference traces", read),
        Fact::documented(
            Topic::LookUp,
            "MyDHL API specification 3.1.1, tracking by shipment reference",
            looked,
        ),
        Fact::unverified(
            Topic::Replacement,
            "no call in the specification; the steps are general knowledge",
            read,
        ),
        Fact::documented(Topic::Test, specification, read),
        Fact::inferred(Topic::Binding, "no tokens, and nothing on certificates", read),
    ]
}
