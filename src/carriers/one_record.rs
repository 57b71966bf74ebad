//! IATA ONE Record. Facts of IATA's API and security documents (ONE Record, 2024-12 standard and website) as of 2026-08-18; checked
//! 2026-11-27.

use http::Method;

use crate::binding::{BindingKind, Role};
use crate::exchange::fault::{FaultKind, FaultPlace, FaultShape};
use crate::owner::{CarrierId, Environment};
use crate::token::TokenAt;

use super::route::path_of;
use super::{CarrierProfile, Fact, LookUp, Replacement, Route, TestCall, Topic};

/// A server of IATA ONE Record, of which every airline, forwarder and handler may have one: its base URL, and the identity
/// provider that it trusts, whose metadata names the token endpoint. `id` is your name for it.
///
/// Client credentials by HTTP Basic; where the identity provider wants id and secret in the body, add
/// `.client_auth(ClientAuth::Post)`. Tokens are JWTs that carry the caller's `logistics_agent_uri`, last as long as the provider
/// says, and are never refreshed: a new one is asked for. Scopes are the provider's own.
///
/// Mutual TLS is recommended where the data are sensitive, beside the token: the certificate is then shown to the server and to
/// the provider alike. A server that ends TLS at a proxy may not see it. Whether tokens are bound to it is the provider's to say;
/// the standard does not ask for it.
///
/// 401 is a missing or expired token, 403 a caller that the object's access list does not have. Errors are JSON-LD whose code is
/// mostly the status again. The standard has no limits, no idempotency key and no code by which a refused call is known not to
/// have been processed; a 401 is repeated where the server challenges with `invalid_token`.
///
/// Subscriptions and access delegations, which have the server give data to others, are guarded routes.
pub fn one_record(
    id: CarrierId,
    environment: Environment,
    base: impl Into<String>,
    issuer: impl Into<String>,
) -> CarrierProfile {
    let base = base.into();
    let prefix = path_of(&base).to_owned();
    CarrierProfile::custom(id, environment, base, TokenAt::Issuer(issuer.into()))
        .binds([BindingKind::Mtls])
        .faults(
            FaultShape::at(FaultPlace::body(
                "/api:hasErrorDetail/0/api:hasCode",
                "/api:hasErrorDetail/0/api:hasMessage",
            ))
            .or_at(FaultPlace::body(
                "/hasErrorDetail/0/hasCode",
                "/hasErrorDetail/0/hasMessage",
            ))
            .or_at(FaultPlace::body("/error", "/error_description"))
            .code("invalid_client", FaultKind::WrongCredentials)
            .code("invalid_client_id", FaultKind::WrongCredentials)
            .code("unauthorized_client", FaultKind::NotEntitled)
            .code("invalid_scope", FaultKind::NotEntitled)
            .status(Role::AuthorizationServer, 401, [FaultKind::WrongCredentials])
            .status(Role::ResourceServer, 401, [FaultKind::BadToken])
            .status(Role::ResourceServer, 403, [FaultKind::NotEntitled]),
        )
        .credential_routes([
            format!("{prefix}/subscriptions"),
            format!("{prefix}/access-delegations"),
        ])
        .routes(routes(&prefix))
        // Answered to those who have a token alone: 401 is among its answers.
        .test_call(TestCall::get("/"))
        .look_up(LookUp::Call {
            method: Method::GET,
            route: "/logistics-objects/{object}".into(),
            by: "the object's own URI, where the caller chose it; a second object with it is refused with 409".into(),
        })
        .replacement(Replacement::by_hand([
            "Have the identity provider end the client's secret, and its tokens if it can.",
            "Have a lost client certificate revoked, and tell the servers that accept it.",
            "Put the new secret into the credential store, and the new certificate into its source.",
        ]))
        .facts(facts())
}

fn routes(prefix: &str) -> Vec<Route> {
    let at = |rest: &str| format!("{prefix}{rest}");
    let object = at("/logistics-objects/{object:personal}");
    let action = at("/action-requests/{request:personal}");
    vec![
        Route::read(&at("/")).only(Method::GET),
        Route::label(&at("/logistics-objects")).only(Method::POST),
        Route::read(&object).only(Method::GET),
        Route::read(&object).only(Method::HEAD),
        Route::label(&object).only(Method::PATCH),
        Route::read(&format!("{object}/audit-trail")).only(Method::GET),
        Route::read(&format!("{object}/logistics-events")).only(Method::GET),
        Route::label(&format!("{object}/logistics-events")).only(Method::POST),
        Route::read(&format!("{object}/logistics-events/{{event:personal}}")).only(Method::GET),
        Route::label(&at("/logistics-events")).only(Method::POST),
        Route::read(&action).only(Method::GET),
        Route::label(&action).only(Method::PATCH),
        Route::label(&action).only(Method::DELETE),
        Route::read(&at("/subscriptions")).only(Method::GET),
        Route::label(&at("/subscriptions")).only(Method::POST),
        Route::label(&at("/access-delegations")).only(Method::POST),
        Route::label(&at("/notifications")).only(Method::POST),
    ]
}

fn facts() -> [Fact; 11] {
    const SECURITY: &str = "IATA-Cargo/ONE-Record, API security, authentication on the application layer";
    const TRANSPORT: &str = "IATA-Cargo/ONE-Record, API security, authentication on the transport layer";
    const API: &str = "IATA-Cargo/ONE-Record, API features and logistics objects";
    const DAY: &str = "2026-11-27";
    [
        Fact::inferred(
            Topic::Hosts,
            "each server has its own: whoever builds the profile gives them",
            DAY,
        ),
        Fact::documented(Topic::Credential, SECURITY, DAY),
        Fact::documented(Topic::TokenAnswer, SECURITY, DAY),
        Fact::documented(Topic::Placement, SECURITY, DAY),
        Fact::documented(Topic::Routes, API, DAY),
        Fact::documented(Topic::Faults, API, DAY),
        Fact::documented(Topic::Refusal, API, DAY),
        Fact::documented(Topic::Binding, TRANSPORT, DAY),
        Fact::documented(Topic::Test, "IATA-Cargo/ONE-Record, server information", DAY),
        Fact::inferred(Topic::LookUp, API, DAY),
        Fact::unverified(Topic::Replacement, "general knowledge of identity providers", DAY),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_below_a_path_has_its_routes_there() {
        let id = CarrierId::of_profile("one-record");
        let base = "https://cargo.carrier.example/one/record/";
        let profile = one_record(id, Environment::Sandbox, base, "https://auth.carrier.example");
        let object = profile.route_of(&Method::PATCH, "/one/record/logistics-objects/1a8d");
        assert_eq!(
            object.map(Route::template),
            Some("/one/record/logistics-objects/{object}")
        );
        assert!(profile.is_credential_route("/one/record/subscriptions"));
        assert!(!profile.is_credential_route("/one/record/logistics-objects/1a8d"));
    }
}
