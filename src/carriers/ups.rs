//! UPS REST APIs. Facts of UPS's published specifications, read through stored copies; checked 2026-11-22.

use crate::exchange::quirks::{BodyCode, Quirks};
use crate::owner::{CarrierId, Environment};
use crate::token::TokenAt;

use super::CarrierProfile;

/// UPS: HTTP Basic at the token endpoint, bearer tokens of four hours whose answer has every value as a string.
///
/// 401 `250002` means wrong credentials, an expired token or a product that is not added to the application, before
/// anything is processed: the call is repeated once with a new token. UPS sends no `Retry-After`.
///
/// Track and Time in Transit demand `transId` (unique for each call) and `transactionSrc` from the caller.
pub fn ups(environment: Environment) -> CarrierProfile {
    let host = match environment {
        Environment::Sandbox => "https://wwwcie.ups.com",
        Environment::Production => "https://onlinetools.ups.com",
    };
    let token = TokenAt::Endpoint(format!("{host}/security/v1/oauth/token"));
    let base = format!("{host}/api");
    let mut profile = CarrierProfile::custom(CarrierId::of_profile("ups"), environment, base, token).quirks(Quirks {
        not_processed: vec![BodyCode::new("/response/errors/0/code", "250002")],
        ..Quirks::default()
    });
    profile.routes = [
        "/api/rating/{version}/{option}",
        "/api/shipments/{version}/ship",
        "/api/shipments/{version}/void/cancel/{shipment}",
        "/api/shipments/{version}/transittimes",
        "/api/track/v1/details/{number}",
        "/api/labels/{version}/recovery",
        "/api/addressvalidation/{version}/{option}",
    ]
    .map(Into::into)
    .into();
    profile
}
