//! BNSF Railway customer APIs. Facts of BNSF's authentication and conformance documents, read through stored copies; checked
//! 2026-11-27.

use http::Method;

use crate::binding::{BindingKind, Role};
use crate::exchange::fault::{FaultKind, FaultShape};
use crate::owner::{CarrierId, Environment};
use crate::token::TokenAt;

use super::{CarrierProfile, Fact, LookUp, Replacement, Route, TestCall, Topic};

/// BNSF: mutual TLS and nothing else. There are no tokens; the client certificate says who calls, so the binding is
/// [`Mtls`](crate::binding::mtls::Mtls).
///
/// One certificate, of an authority that BNSF accepts and for TLS clients (`clientAuth`), serves the trial and the live system.
/// Its registration takes up to five business days: register the next one before this one ends.
///
/// `/healthcheck` is answered without a registered certificate and proves nothing; `/v1/cars` is the first call that does. BNSF
/// shows other routes to its customers only. It publishes no form of errors, so a fault has its status's meaning: 401 and 403 are
/// taken for a certificate that BNSF does not know, or that may not do this. No limits are published.
pub fn bnsf(environment: Environment) -> CarrierProfile {
    let base = match environment {
        Environment::Sandbox => "https://api-trial.bnsf.com:6443",
        Environment::Production => "https://api.bnsf.com:6443",
    };
    CarrierProfile::custom(CarrierId::of_profile("bnsf"), environment, base, TokenAt::Nowhere)
        .called("BNSF Railway")
        .binds([BindingKind::Mtls])
        .faults(
            FaultShape::default()
                .status(Role::ResourceServer, 401, [FaultKind::WrongCredentials])
                .status(
                    Role::ResourceServer,
                    403,
                    [FaultKind::NotEntitled, FaultKind::WrongCredentials],
                ),
        )
        .routes([
            Route::read("/healthcheck").only(Method::GET),
            Route::read("/v1/cars").only(Method::GET),
        ])
        .test_call(TestCall::get("/v1/cars"))
        .look_up(LookUp::None {
            instead: "the routes that are known change nothing: repeat".into(),
        })
        .replacement(Replacement::by_hand([
            "Have the certificate's authority revoke it, and tell BNSF's API support to end its registration.",
            "Order a certificate for a new key, of an authority that BNSF accepts and with clientAuth.",
            "Register it at BNSF: up to five business days.",
            "Give it to the source of client certificates when BNSF has confirmed it.",
        ]))
        .facts(facts())
}

fn facts() -> [Fact; 10] {
    const DOCUMENTS: &str = "BNSF authentication and sandbox documents, in api-evangelist/bnsf";
    const API: &str = "BNSF Customer API, specification in api-evangelist/bnsf";
    const DAY: &str = "2026-11-22";
    [
        Fact::documented(Topic::Hosts, API, DAY),
        Fact::documented(Topic::Credential, DOCUMENTS, DAY),
        Fact::documented(Topic::Placement, DOCUMENTS, DAY),
        Fact::documented(Topic::Routes, API, DAY),
        Fact::documented(Topic::Binding, DOCUMENTS, DAY),
        Fact::inferred(Topic::Faults, "absence in BNSF's specification", DAY),
        Fact::inferred(
            Topic::Refusal,
            "RFC 9110 15.5, with a certificate as the credential",
            DAY,
        ),
        Fact::documented(Topic::Test, DOCUMENTS, DAY),
        Fact::inferred(Topic::LookUp, API, DAY),
        Fact::documented(Topic::Replacement, DOCUMENTS, DAY),
    ]
}
