//! UPS REST APIs. Facts of UPS's published specifications, read through stored copies; checked 2026-11-27.

use http::HeaderName;

use crate::exchange::quirks::{BodyCode, Quirks};
use crate::owner::{CarrierId, Environment};
use crate::token::TokenAt;
use crate::token::metadata::IssuerEndpoint;

use super::{CarrierProfile, Route};

/// UPS: HTTP Basic at the token endpoint, bearer tokens of four hours whose answer has every value as a string.
///
/// 401 `250002` means wrong credentials, an expired token or a product that is not added to the application, before
/// anything is processed: the call is repeated once with a new token. UPS sends no `Retry-After`.
///
/// With [`CarrierProfile::by_consent`] tokens come from shippers' consent. UPS exchanges codes without the application's secret,
/// refreshes at a path of its own, and rotates: the previous refresh token is dead, so a refresh whose answer was lost ends the
/// consent (`grant_uncertain`). UPS has no revocation: a shipper ends all tokens by a new password at ups.com.
///
/// Track and Time in Transit demand `transId` (unique for each call) and `transactionSrc` from the caller.
pub fn ups(environment: Environment) -> CarrierProfile {
    let host = match environment {
        Environment::Sandbox => "https://wwwcie.ups.com",
        Environment::Production => "https://onlinetools.ups.com",
    };
    let token = TokenAt::Endpoint(format!("{host}/security/v1/oauth/token"));
    let base = format!("{host}/api");
    let profile = CarrierProfile::custom(CarrierId::of_profile("ups"), environment, base, token)
        .quirks(Quirks {
            not_processed: vec![BodyCode::new("/response/errors/0/code", "250002")],
            code_without_authentication: true,
            ..Quirks::default()
        })
        .endpoint(
            IssuerEndpoint::Authorization,
            format!("{host}/security/v1/oauth/authorize"),
        )
        .endpoint(IssuerEndpoint::Refresh, format!("{host}/security/v1/oauth/refresh"))
        // It names an account.
        .lock_header(HeaderName::from_static("x-merchant-id"));
    profile.routes([
        Route::read("/api/rating/{version}/{option}"),
        Route::read("/api/shipments/{version}/ship"),
        Route::read("/api/shipments/{version}/void/cancel/{shipment}"),
        Route::read("/api/shipments/{version}/transittimes"),
        Route::read("/api/track/v1/details/{number}"),
        Route::read("/api/labels/{version}/recovery"),
        Route::read("/api/addressvalidation/{version}/{option}"),
    ])
}
