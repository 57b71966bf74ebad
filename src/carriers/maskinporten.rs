//! Maskinporten, the Norwegian issuer of tokens between organisations. Facts of docs.digdir.no (JWT grant, token endpoint, error
//! messages) and toll.github.io, read through stored copies; checked 2026-11-27.

use crate::binding::Role;
use crate::exchange::fault::{FaultKind, FaultPlace, FaultShape};
use crate::owner::{CarrierId, Environment};
use crate::token::assertion::{AssertionProfile, AssertionTyp, Audience};
use crate::token::client_auth::ClientAuth;
use crate::token::grant::GrantType;
use crate::token::{InvalidRequest, TokenAt, TokenRequest};

use super::{CarrierProfile, Fact, LookUp, Replacement, Topic};

/// Maskinporten: a signed assertion is the grant (RFC 7523 2.1), and nothing else authenticates the client. The assertion names
/// the client, these scopes and Maskinporten as the audience, is signed with RS256 and valid for a minute. Tokens last as long as
/// the scope's owner wants, ten minutes for instance, are never refreshed and cannot be revoked.
///
/// The connection wants an RSA key made for RS256 ([`LocalKey::into_rs256`](crate::keys::LocalKey::into_rs256)), and a credential
/// whose client id is the integration's and whose key id is the `kid` of the key as it was registered. Foreign organisations
/// are known by their e-seal: give the profile another [`TokenRequest`] by [`AssertionProfile::x5c`], as here otherwise,
/// and the credential its certificates.
///
/// APIs that take Maskinporten's tokens lie elsewhere: add theirs with [`CarrierProfile::allow_origin`] and call them by whole
/// URLs, or build a profile of your own like this one around the API's base.
///
/// Norwegian Customs (Digitoll: scopes `toll:movement/road/v2` and the like, `toll:eu/..` for foreign organisations) exchange such
/// a token for one of their own. Where they do so was not found in any source, so there is no profile for it: build one with
/// [`CarrierProfile::custom`] for their token endpoint and [`GrantType::TokenExchange`], and give a client of this profile to
/// [`ClientBuilder::subject`](crate::client::ClientBuilder::subject). Their request ids must be new for each call.
///
/// # Errors
/// [`InvalidRequest::Scope`] when one of `scopes` is not a scope.
pub fn maskinporten<'a>(
    environment: Environment,
    scopes: impl IntoIterator<Item = &'a str>,
) -> Result<CarrierProfile, InvalidRequest> {
    let issuer = match environment {
        Environment::Sandbox => "https://test.maskinporten.no/",
        Environment::Production => "https://maskinporten.no/",
    };
    let assertion = AssertionProfile::new()
        .audience(Audience::Exactly(issuer.to_owned()))
        // Maskinporten's list of header parameters has none.
        .typ(AssertionTyp::None)
        .legacy_rs256();
    let request = TokenRequest::new().grant(GrantType::JwtBearer(assertion));
    let request = scopes.into_iter().try_fold(request, TokenRequest::scope)?;
    let token = TokenAt::Endpoint(format!("{issuer}token"));
    let profile = CarrierProfile::custom(CarrierId::of_profile("maskinporten"), environment, issuer, token)
        .called("Maskinporten")
        .client_auth(ClientAuth::None)
        .token_request(request)
        .faults(
            FaultShape::at(FaultPlace::body("/error", "/error_description"))
                .code("invalid_grant", FaultKind::WrongCredentials)
                .code("invalid_client", FaultKind::WrongCredentials)
                .code("invalid_scope", FaultKind::NotEntitled)
                .code("invalid_request", FaultKind::Invalid)
                .status(Role::AuthorizationServer, 403, [FaultKind::NotEntitled]),
        )
        .credential_routes(["/token"])
        .look_up(LookUp::None {
            instead: "tokens are asked for again; for an API behind Maskinporten, ask as that API says".into(),
        })
        .replacement(Replacement::by_hand([
            "In Digdir's self-service, delete the key from the integration, or the integration itself.",
            "Register a new key there, and put key and key id into the stores; a registered key ends after a year.",
            "Tokens cannot be revoked: they end by themselves, within minutes.",
        ]))
        .facts(facts());
    Ok(profile)
}

fn facts() -> [Fact; 11] {
    const GRANT: &str = "docs.digdir.no, Maskinporten, JWT grant";
    const TOKEN: &str = "docs.digdir.no, Maskinporten, token endpoint";
    const ERRORS: &str = "docs.digdir.no, Maskinporten, error messages";
    const DAY: &str = "2026-11-27";
    [
        Fact::inferred(Topic::Placement, "RFC 6750 2.1; the APIs are others'", DAY),
        Fact::inferred(Topic::Routes, "the APIs are others'", DAY),
        Fact::inferred(
            Topic::Test,
            "absence: no call is known that shows a good credential",
            DAY,
        ),
        Fact::inferred(Topic::Binding, "nothing on bound tokens in docs.digdir.no", DAY),
        Fact::documented(Topic::Hosts, TOKEN, DAY),
        Fact::documented(Topic::Credential, GRANT, DAY),
        Fact::documented(Topic::TokenAnswer, TOKEN, DAY),
        Fact::documented(Topic::Faults, ERRORS, DAY),
        Fact::documented(Topic::Refusal, ERRORS, DAY),
        Fact::inferred(Topic::LookUp, "Maskinporten has no API but the issuer's", DAY),
        Fact::documented(Topic::Replacement, ERRORS, DAY),
    ]
}
