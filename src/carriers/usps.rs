//! USPS APIs v3. Facts of USPS's published examples and of clients that others maintain, read through stored copies; checked
//! 2026-11-27.

use crate::exchange::quirks::{BodyCode, Quirks};
use crate::owner::{CarrierId, Environment};
use crate::token::TokenAt;
use crate::token::client_auth::ClientAuth;
use crate::token::metadata::IssuerEndpoint;

use super::{CarrierProfile, Route};

/// USPS: client credentials in the form's body, bearer tokens of eight hours, 60 calls an hour for each API unless USPS
/// grants more. A 429 says in `Retry-After` when to go on. A call whose token has ended or was revoked is repeated once with a new
/// one.
///
/// With [`CarrierProfile::by_consent`] tokens come from shippers' consent; refresh tokens are said to last seven days, and are
/// reported to end sooner.
///
/// Tokens can be revoked. USPS documents a JSON body for that; whether it takes the form of RFC 7009, which is sent here, is not
/// verified.
pub fn usps(environment: Environment) -> CarrierProfile {
    let host = match environment {
        Environment::Sandbox => "https://apis-tem.usps.com",
        Environment::Production => "https://apis.usps.com",
    };
    let token = TokenAt::Endpoint(format!("{host}/oauth2/v3/token"));
    let profile = CarrierProfile::custom(CarrierId::of_profile("usps"), environment, host, token)
        .client_auth(ClientAuth::Post)
        .quirks(Quirks {
            not_processed: vec![BodyCode::new("/error/errors/0/title", "invalid_token")],
            ..Quirks::default()
        })
        .endpoint(IssuerEndpoint::Authorization, format!("{host}/oauth2/v3/authorize"))
        .endpoint(IssuerEndpoint::Revocation, format!("{host}/oauth2/v3/revoke"));
    profile.routes([
        Route::read("/addresses/v3/address"),
        Route::read("/addresses/v3/city-state"),
        Route::read("/labels/v3/label"),
        Route::read("/payments/v3/payment-authorization"),
        Route::read("/tracking/v3/tracking/{number}"),
    ])
}
