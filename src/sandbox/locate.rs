//! Which endpoint a path is, and who speaks there.

use http::HeaderMap;

use super::form::Fields;
use super::imitations::plain::Plain;
use super::imitations::{self, Imitation};
use super::script::Endpoint;
use super::server::{Place, Shared};

/// What is at a path of this place, and whose it is. The imitations are on both origins.
pub(super) fn locate(shared: &Shared, place: &Place, path: &str) -> (Endpoint, &'static dyn Imitation) {
    if shared.settings.token_paths.iter().any(|own| own == path) {
        return (Endpoint::Token, &Plain);
    }
    if let Some((imitation, endpoint)) = imitations::at(path) {
        return (endpoint, imitation);
    }
    let own = path.strip_prefix(shared.settings.issuer_path.as_str());
    let endpoint = match own.filter(|_| place.issuer) {
        Some("/token") => Endpoint::Token,
        Some("/revoke") => Endpoint::Revocation,
        Some("/introspect") => Endpoint::Introspection,
        Some("/par") => Endpoint::Par,
        Some("/authorize") => Endpoint::Authorization,
        _ if shared.token_paths.holds(path) => Endpoint::Token,
        _ if place.issuer && path.contains("/.well-known/") => Endpoint::Metadata,
        _ => Endpoint::Api,
    };
    (endpoint, &Plain)
}

/// The parameters of a request. Token endpoints that were added for carriers take JSON as well; the issuer's own do not, as RFC
/// 6749 3.2 has it.
pub(super) fn fields(
    shared: &Shared,
    imitation: &dyn Imitation,
    path: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Fields {
    let added = shared.settings.token_paths.iter().any(|own| own == path) || shared.token_paths.holds(path);
    match added && imitation.id() == Plain.id() {
        true => Fields::read_either(headers, body),
        false => imitation.fields(path, headers, body),
    }
}
