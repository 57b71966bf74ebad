//! iSHARE, the trust framework of logistics in the Netherlands and Europe. Facts of the iSHARE Scheme's documentation as of
//! 2024-02-13; checked 2026-11-27.

use std::time::Duration;

use http::Method;

use crate::binding::Role;
use crate::exchange::fault::{FaultKind, FaultPlace, FaultShape};
use crate::owner::{CarrierId, Environment};
use crate::token::assertion::{AssertionProfile, AssertionTyp, Audience};
use crate::token::client_auth::ClientAuth;
use crate::token::{TokenAt, TokenRequest};

use super::route::path_of;
use super::{CarrierProfile, Fact, LookUp, Replacement, Route, Topic};

/// A party of iSHARE: its base URL, its token endpoint (`../connect/token`) and its party id, `EU.EORI.NL000000004` for instance.
/// `id` is your name for it.
///
/// The client authenticates by a JWT that it signs: RS256, valid for 30 seconds, for the server's party id and not for its URL,
/// with the whole chain of the client's iSHARE certificate in `x5c`. So the connection wants an RSA key made for RS256
/// ([`LocalKey::into_rs256`](crate::keys::LocalKey::into_rs256)), and a credential with the client's own party id as its client
/// id, its certificates and no key id: iSHARE allows no `kid`.
///
/// Tokens are bearer tokens of an hour for the scope `iSHARE`; there is no refresh and no revocation. A server refuses wrong
/// requests for tokens with 400. On its API 401 is a token that is missing, invalid or expired; iSHARE has no code for it, so a
/// call is repeated only where the server challenges with `invalid_token`.
///
/// The routes that all parties have are known; those of a party's own service are not, count as personal, and can be added with
/// [`CarrierProfile::routes`]. `/capabilities` is answered without a token too, so no call is known that shows whether a
/// credential works, other than the request for a token.
pub fn ishare(
    id: CarrierId,
    environment: Environment,
    base: impl Into<String>,
    token_url: impl Into<String>,
    party_id: impl Into<String>,
) -> CarrierProfile {
    let (base, token_url) = (base.into(), token_url.into());
    let prefix = path_of(&base).to_owned();
    let assertion = AssertionProfile::new()
        .audience(Audience::Exactly(party_id.into()))
        .typ(AssertionTyp::Jwt)
        .lifetime(Duration::from_secs(30))
        .x5c()
        .legacy_rs256();
    let token_path = path_of(&token_url).to_owned();
    CarrierProfile::custom(id, environment, base, TokenAt::Endpoint(token_url))
        .client_auth(ClientAuth::PrivateKeyJwt(assertion))
        // A constant that is a scope; the contract's test sees it arrive.
        .token_request(TokenRequest::new().scope("iSHARE").unwrap_or_default())
        .faults(
            FaultShape::at(FaultPlace::body("/error", "/error_description"))
                .code("invalid_client", FaultKind::WrongCredentials)
                .code("invalid_grant", FaultKind::WrongCredentials)
                .code("invalid_scope", FaultKind::NotEntitled)
                .status(
                    Role::AuthorizationServer,
                    400,
                    [FaultKind::Invalid, FaultKind::WrongCredentials],
                )
                .status(Role::AuthorizationServer, 401, [FaultKind::WrongCredentials])
                .status(Role::ResourceServer, 401, [FaultKind::BadToken]),
        )
        .credential_routes((!token_path.is_empty()).then_some(token_path))
        .routes([
            Route::read(&format!("{prefix}/capabilities")).only(Method::GET),
            Route::read(&format!("{prefix}/delegation")).only(Method::POST),
            Route::read(&format!("{prefix}/parties")).only(Method::GET),
        ])
        .look_up(LookUp::None {
            instead: "iSHARE's own routes change nothing; for a party's service, ask as that service says".into(),
        })
        .replacement(Replacement::by_hand([
            "Have the certificate's authority revoke the iSHARE certificate: from then on no party accepts its assertions.",
            "Tell the iSHARE satellite where the client is registered.",
            "Order a certificate for a new RSA key, and put key and chain into the stores.",
            "Tokens that were given out live for up to an hour.",
        ]))
        .facts(facts())
}

fn facts() -> [Fact; 11] {
    const TOKEN: &str = "iSHAREScheme/Documentation, access token (M2M)";
    const JWT: &str = "iSHAREScheme/Documentation, iSHARE JWT";
    const DAY: &str = "2026-11-27";
    [
        Fact::inferred(
            Topic::Hosts,
            "each party has its own: whoever builds the profile gives them",
            DAY,
        ),
        Fact::inferred(
            Topic::Test,
            "absence: no call is known that shows a good credential",
            DAY,
        ),
        Fact::inferred(
            Topic::Binding,
            "nothing on bound tokens in iSHAREScheme/Documentation",
            DAY,
        ),
        Fact::documented(Topic::Credential, JWT, DAY),
        Fact::documented(Topic::TokenAnswer, TOKEN, DAY),
        Fact::documented(Topic::Placement, "iSHAREScheme/Documentation, service", DAY),
        Fact::documented(
            Topic::Routes,
            "iSHAREScheme/Documentation, capabilities, delegation, parties",
            DAY,
        ),
        Fact::inferred(Topic::Faults, "RFC 6749 5.2; iSHARE names the status 400 alone", DAY),
        Fact::documented(Topic::Refusal, "iSHAREScheme/Documentation, delegation endpoint", DAY),
        Fact::inferred(Topic::LookUp, "iSHAREScheme/Documentation, delegation endpoint", DAY),
        Fact::unverified(Topic::Replacement, "general knowledge of certificates", DAY),
    ]
}
