//! FedEx REST APIs. Facts of FedEx's authorization and rate-limit guides, read through stored copies; checked 2026-11-22.

use crate::exchange::quirks::{BodyCode, Quirks};
use crate::owner::{CarrierId, Environment};
use crate::token::TokenAt;
use crate::token::client_auth::ClientAuth;

use super::{CarrierProfile, Route};

/// FedEx: client credentials in the form's body, bearer tokens of an hour.
///
/// An expired token, wrong credentials and a project that is not entitled to an API all give 401 `NOT.AUTHORIZED.ERROR`,
/// before anything is processed: the call is repeated once with a new token. The token service blocks an IP address for ten
/// minutes (403) above 3 requests a second for 5 s, or 1 a second for 2 minutes.
///
/// Track often has a project of its own: give its client another account.
pub fn fedex(environment: Environment) -> CarrierProfile {
    let host = match environment {
        Environment::Sandbox => "https://apis-sandbox.fedex.com",
        Environment::Production => "https://apis.fedex.com",
    };
    let documents = match environment {
        Environment::Sandbox => "https://documentapitest.prod.fedex.com",
        Environment::Production => "https://documentapi.prod.fedex.com",
    };
    let token = TokenAt::Endpoint(format!("{host}/oauth/token"));
    let profile = CarrierProfile::custom(CarrierId::of_profile("fedex"), environment, host, token)
        .client_auth(ClientAuth::Post)
        .quirks(Quirks {
            not_processed: vec![BodyCode::new("/errors/0/code", "NOT.AUTHORIZED.ERROR")],
            ..Quirks::default()
        })
        .allow_origin(documents);
    profile.routes([
        Route::read("/rate/v1/rates/quotes"),
        Route::read("/availability/v1/transittimes"),
        Route::read("/ship/v1/shipments"),
        Route::read("/ship/v1/shipments/cancel"),
        Route::read("/ship/v1/shipments/packages/validate"),
        Route::read("/track/v1/trackingnumbers"),
        Route::read("/address/v1/addresses/resolve"),
        Route::read("/country/v1/postal/validate"),
    ])
}
