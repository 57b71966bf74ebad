//! BNSF Railway customer APIs. Facts of BNSF's authentication and conformance documents, read through stored copies; checked
//! 2026-11-27.

use crate::owner::{CarrierId, Environment};
use crate::token::TokenAt;

use super::{CarrierProfile, Route};

/// BNSF: mutual TLS and nothing else. There are no tokens; the client certificate says who calls, so the binding is
/// [`Mtls`](crate::binding::mtls::Mtls).
///
/// One certificate, of an authority that BNSF accepts and for TLS clients (`clientAuth`), serves the trial and the live system.
/// Its registration takes up to five business days.
pub fn bnsf(environment: Environment) -> CarrierProfile {
    let base = match environment {
        Environment::Sandbox => "https://api-trial.bnsf.com:6443",
        Environment::Production => "https://api.bnsf.com:6443",
    };
    let profile = CarrierProfile::custom(CarrierId::of_profile("bnsf"), environment, base, TokenAt::Nowhere);
    profile.routes([Route::read("/healthcheck"), Route::read("/v1/cars")])
}
