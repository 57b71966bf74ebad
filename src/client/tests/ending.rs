//! Tokens that are revoked, asked about, handed on; and calls that carry none.

use std::time::Duration;

use futures_util::FutureExt;

use crate::binding::dpop::Dpop;
use crate::carriers::CarrierProfile;
use crate::client::{CarrierClient, Client, ClientBuilder};
use crate::clock::Monotonic;
use crate::error::{Error, ErrorKind};
use crate::grants::{Claim, GrantError, GrantState, Grants, Rotation};
use crate::owner::{CarrierId, Environment, TenantId};
use crate::testing::Step;
use crate::token::grant::{GrantType, TokenExchange};
use crate::token::metadata::IssuerEndpoint;
use crate::token::revocation::Revocation;
use crate::token::{TokenAt, TokenRequest};

use super::setup::{ISSUER, Setup, at_endpoint, tenant};

fn dpop(builder: ClientBuilder) -> ClientBuilder {
    builder.binding(Dpop::es256())
}

fn revocable() -> CarrierProfile {
    at_endpoint().endpoint(IssuerEndpoint::Revocation, format!("{ISSUER}/revoke"))
}

fn served() -> [Step; 2] {
    [Step::token("t", "3600"), Step::json(200, "{}")]
}

fn revoke(setup: &Setup, client: &Client, steps: impl IntoIterator<Item = Step>) -> Result<Revocation, Error> {
    setup.script.add(steps);
    client.revoke(&tenant()).now_or_never().expect("nothing waits")
}

#[test]
fn a_revoked_token_is_gone_here_and_there() {
    let setup = Setup::new();
    let client = setup.build(revocable(), dpop).unwrap();
    assert_eq!(revoke(&setup, &client, []).unwrap(), Revocation::Nothing);
    setup.call(&client, served()).unwrap();
    setup.script.seen();
    assert_eq!(
        revoke(&setup, &client, [Step::json(200, "")]).unwrap(),
        Revocation::Revoked
    );
    let seen = setup.script.seen();
    assert_eq!((seen.len(), seen[0].target.path()), (1, "/revoke"));
    let form = seen[0].form();
    assert_eq!((&*form["token"], &*form["token_type_hint"]), ("t", "access_token"));
    assert!(
        seen[0].headers.contains_key("authorization"),
        "RFC 7009 2.1: authenticated"
    );
    assert!(client.lease(&tenant()).is_none());
    setup.call(&client, served()).unwrap();
    assert_eq!(setup.paths(), ["/token", "/rates"]);
}

#[test]
fn a_token_that_no_issuer_revokes_is_not_used_any_more() {
    for (profile, answer) in [
        (at_endpoint(), None),
        (
            revocable(),
            Some(Step::json(400, r#"{"error":"unsupported_token_type"}"#)),
        ),
    ] {
        let setup = Setup::new();
        let client = setup.build(profile, dpop).unwrap();
        setup.call(&client, served()).unwrap();
        assert_eq!(revoke(&setup, &client, answer).unwrap(), Revocation::LocalOnly);
        assert!(client.lease(&tenant()).is_none());
    }
}

#[test]
fn an_issuer_that_cannot_be_told_is_told_later() {
    for (step, code) in [
        (Step::with(503, &[("retry-after", "1")], ""), "rate_limited"),
        (Step::Lost, "outcome_unknown"),
        (Step::json(500, ""), "token_answer"),
        (Step::json(401, r#"{"error":"invalid_client"}"#), "token_refused"),
    ] {
        let setup = Setup::new();
        let client = setup.build(revocable(), dpop).unwrap();
        setup.call(&client, served()).unwrap();
        assert_eq!(revoke(&setup, &client, [step]).unwrap_err().code(), code);
        assert!(client.lease(&tenant()).is_none(), "{code}");
        setup.clock.advance(Duration::from_secs(1));
        setup.paths();
        assert_eq!(
            revoke(&setup, &client, [Step::json(200, "")]).unwrap(),
            Revocation::Revoked,
            "{code}"
        );
        assert_eq!(setup.script.seen()[0].form()["token"], "t", "{code}");
        // Once is enough.
        assert_eq!(revoke(&setup, &client, []).unwrap(), Revocation::Nothing, "{code}");
    }
}

#[test]
fn a_consent_ends_with_its_tokens() {
    let setup = Setup::new();
    let client = setup.build(revocable().by_consent(), dpop).unwrap();
    setup.consent(&client, "r1");
    setup.call(&client, served()).unwrap();
    setup.script.seen();
    let both = [Step::json(200, ""), Step::json(200, "")];
    assert_eq!(revoke(&setup, &client, both).unwrap(), Revocation::Revoked);
    let seen = setup.script.seen();
    let told: Vec<_> = seen
        .iter()
        .map(|seen| {
            let mut form = seen.form();
            (form.remove("token").unwrap(), form.remove("token_type_hint").unwrap())
        })
        .collect();
    let told: Vec<_> = told.iter().map(|(token, hint)| (&**token, &**hint)).collect();
    assert_eq!(told, [("t", "access_token"), ("r1", "refresh_token")]);
    assert!(matches!(setup.consented(&client), Some(GrantState::Ended)));
    assert_eq!(setup.call(&client, []).unwrap_err().code(), "needs_consent");
    assert!(setup.script.seen().is_empty());
}

/// Whoever is killed while it tells leaves the consent in its store, for who tells next.
#[test]
fn a_consent_does_not_end_before_the_issuer_has_answered() {
    let setup = Setup::new();
    let client = setup.build(revocable().by_consent(), dpop).unwrap();
    setup.consent(&client, "r1");
    let tenant = tenant();
    let mut silent = client.revoke(&tenant);
    assert!((&mut silent).now_or_never().is_none());
    assert_eq!(told(&setup), ["r1"]);
    assert!(matches!(setup.consented(&client), Some(GrantState::Claimed { .. })));
    drop(silent);
    let next = setup.build(revocable().by_consent(), dpop).unwrap();
    setup.clock.advance(Duration::from_secs(60));
    setup.script.add([Step::json(200, ""), Step::json(200, "")]);
    assert_eq!(
        next.revoke(&tenant).now_or_never().unwrap().unwrap(),
        Revocation::Revoked
    );
    assert!(told(&setup).contains(&"r1".to_owned()));
    assert!(matches!(setup.consented(&next), Some(GrantState::Ended)));
}

/// What the issuer was told of since the last look.
fn told(setup: &Setup) -> Vec<String> {
    let seen = setup.script.seen();
    let mut told = Vec::new();
    for seen in seen.iter().filter(|seen| seen.target.path() == "/revoke") {
        told.extend(seen.form().remove("token"));
    }
    told
}

#[test]
fn a_revocation_that_is_given_up_under_way_loses_nothing() {
    let setup = Setup::new();
    let client = setup.build(revocable(), dpop).unwrap();
    setup.call(&client, served()).unwrap();
    let tenant = tenant();
    let mut silent = client.revoke(&tenant);
    assert!((&mut silent).now_or_never().is_none());
    // While that one waits, another tells the issuer too.
    let again = revoke(&setup, &client, [Step::json(503, "")]);
    assert!(again.is_err());
    drop(silent);
    assert_eq!(
        revoke(&setup, &client, [Step::json(200, "")]).unwrap(),
        Revocation::Revoked
    );
    assert_eq!(told(&setup), ["t", "t", "t"]);
}

#[test]
fn a_silent_issuer_is_told_of_all_tokens_in_one_limit_of_time() {
    let setup = Setup::new();
    let client = setup.build(revocable(), dpop).unwrap();
    setup.call(&client, served()).unwrap();
    assert!(revoke(&setup, &client, [Step::json(503, "")]).is_err());
    setup.clock.advance(Duration::from_secs(60));
    setup
        .call(&client, [Step::token("t2", "3600"), Step::json(200, "{}")])
        .unwrap();
    setup.script.seen();
    let tenant = tenant();
    let mut silent = client.revoke(&tenant);
    assert!((&mut silent).now_or_never().is_none());
    assert_eq!(told(&setup), ["t", "t2"]);
}

/// Somebody else refreshes the tenant's grant.
fn claimed(setup: &Setup, client: &Client) -> Claim {
    let grants = Grants::new(setup.grants.clone(), setup.clock.clone());
    let connection = client.0.scope.connection(&tenant());
    let claim = grants.claim(&connection, Rotation::PreviousDies, Monotonic::ORIGIN);
    claim.now_or_never().unwrap().unwrap()
}

#[test]
fn a_consent_that_is_in_use_keeps_no_access_token_from_being_revoked() {
    let setup = Setup::new();
    let client = setup.build(revocable().by_consent(), dpop).unwrap();
    setup.consent(&client, "r1");
    setup.call(&client, served()).unwrap();
    let _other = claimed(&setup, &client);
    setup.script.add([Step::json(200, "")]);
    let tenant = tenant();
    let mut revoking = client.revoke(&tenant);
    assert!((&mut revoking).now_or_never().is_none());
    setup.clock.advance(Duration::from_secs(10));
    let error = revoking.now_or_never().unwrap().unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Grant(GrantError::Busy { .. })),
        "{error}"
    );
    assert_eq!(told(&setup), ["t"]);
}

#[test]
fn a_refresh_token_whose_fate_is_not_known_is_not_said_to_be_revoked() {
    let setup = Setup::new();
    let client = setup.build(revocable().by_consent(), dpop).unwrap();
    setup.consent(&client, "r1");
    setup.call(&client, served()).unwrap();
    for _ in 0..2 {
        // Its first and its second chance.
        let grants = Grants::new(setup.grants.clone(), setup.clock.clone());
        let connection = client.0.scope.connection(&tenant());
        let claim = grants.claim(&connection, Rotation::PreviousStays, Monotonic::ORIGIN);
        drop(claim.now_or_never().unwrap().unwrap());
        setup.clock.advance(Duration::from_secs(60));
    }
    let error = revoke(&setup, &client, [Step::json(200, "")]).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Grant(GrantError::Uncertain)),
        "{error}"
    );
    assert_eq!(told(&setup), ["t"]);
}

#[test]
fn a_token_that_came_while_the_consent_ended_does_not_outlive_it() {
    let setup = Setup::new();
    let client = setup.build(revocable().by_consent(), dpop).unwrap();
    setup.consent(&client, "r1");
    setup.call(&client, served()).unwrap();
    let other = claimed(&setup, &client);
    let tenant = tenant();
    let mut revoking = client.revoke(&tenant);
    assert!((&mut revoking).now_or_never().is_none());
    other.release().now_or_never().unwrap().unwrap();
    setup
        .call(&client, [Step::token("between", "3600"), Step::json(200, "{}")])
        .unwrap();
    setup.script.add((0..3).map(|_| Step::json(200, "")));
    setup.clock.advance(Duration::from_secs(1));
    assert_eq!(revoking.now_or_never().unwrap().unwrap(), Revocation::Revoked);
    assert!(client.lease(&tenant).is_none());
    assert_eq!(told(&setup), ["t", "r1", "between"]);
}

fn tell_again(setup: &Setup, client: &Client, step: Step) {
    setup.script.add([step]);
    for tenant in client.0.to_be_told() {
        client.0.tell_again(&tenant, || true).now_or_never().unwrap();
    }
}

#[test]
fn an_issuer_is_told_again_less_and_less_often_and_not_for_ever() {
    let setup = Setup::new();
    let client = setup.build(revocable().by_consent(), dpop).unwrap();
    setup.consent(&client, "r1");
    let failing = || Step::json(500, "");
    assert!(revoke(&setup, &client, [failing()]).is_err());
    let mut pause = 5;
    told(&setup);
    for number in 1..=24 {
        tell_again(&setup, &client, failing());
        assert_eq!(told(&setup), ["r1"], "{number}");
        assert!(client.0.to_be_told().is_empty(), "{number}");
        setup.clock.advance(Duration::from_secs(pause - 1));
        assert!(client.0.to_be_told().is_empty(), "{number}");
        setup.clock.advance(Duration::from_secs(1));
        pause = (pause * 2).min(3600);
    }
    assert!(client.0.to_be_told().is_empty(), "given up");
    assert_eq!(revoke(&setup, &client, []).unwrap(), Revocation::Nothing);
}

#[test]
fn nobody_is_told_again_of_an_access_token_that_has_ended() {
    let setup = Setup::new();
    let client = setup.build(revocable(), dpop).unwrap();
    setup.call(&client, served()).unwrap();
    assert!(revoke(&setup, &client, [Step::json(500, "")]).is_err());
    told(&setup);
    // An upkeep that is to stop begins nothing.
    client.0.tell_again(&tenant(), || false).now_or_never().unwrap();
    setup.clock.advance(Duration::from_secs(3600));
    tell_again(&setup, &client, Step::json(200, ""));
    assert!(told(&setup).is_empty() && client.0.to_be_told().is_empty());
}

/// A client that exchanges the tokens of another one for its own.
fn exchanging(setup: &Setup) -> Client {
    let subject = setup.build(at_endpoint(), dpop).unwrap();
    let exchange = TokenExchange::new()
        .audience("https://customs.carrier.example")
        .requested_token_type("urn:ietf:params:oauth:token-type:access_token");
    let other = CarrierProfile::custom(
        CarrierId::new("c2").unwrap(),
        Environment::Sandbox,
        "https://customs.carrier.example",
        TokenAt::Endpoint("https://sts.carrier.example/exchange".to_owned()),
    )
    .token_request(TokenRequest::new().grant(GrantType::TokenExchange(exchange)));
    setup.build(other, |builder| dpop(builder).subject(subject)).unwrap()
}

#[test]
fn a_token_of_another_client_is_exchanged() {
    let setup = Setup::new();
    let client = exchanging(&setup);
    let steps = [
        Step::token("first", "3600"),
        Step::token("second", "60"),
        Step::json(200, "{}"),
    ];
    setup.call(&client, steps).unwrap();
    let seen = setup.script.seen();
    let form = seen[1].form();
    assert_eq!(seen[1].target.as_str(), "https://sts.carrier.example/exchange");
    for (name, value) in [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", "first"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("audience", "https://customs.carrier.example"),
    ] {
        assert_eq!(form[name], value, "{name}");
    }
    // The token that was exchanged does not go to the API, and its key is its own client's.
    assert_eq!(seen[2].headers["authorization"], "DPoP second");
    let jwk = |number: usize| seen[number].proof().unwrap().header["jwk"].clone();
    assert!(jwk(0) != jwk(1) && jwk(1) == jwk(2));
    // The first is kept by its own client.
    setup.clock.advance(Duration::from_secs(60));
    setup
        .call(&client, [Step::token("third", "60"), Step::json(200, "{}")])
        .unwrap();
    assert_eq!(setup.script.seen()[0].form()["subject_token"], "first");
}

#[test]
fn without_the_first_token_there_is_no_second() {
    let setup = Setup::new();
    let client = exchanging(&setup);
    let error = setup
        .call(&client, [Step::json(400, r#"{"error":"invalid_client"}"#)])
        .unwrap_err();
    assert_eq!(
        (error.code(), setup.paths()),
        ("token_refused", vec!["/token".to_owned()])
    );
    assert_eq!(error.stage(), crate::transport::Stage::NotSent);
    // Another tenant has no credential there, and gets nobody else's token.
    let stranger = client.for_tenant(TenantId::new("t2").unwrap());
    let error = stranger.get("/rates").send().now_or_never().unwrap().unwrap_err();
    assert_eq!((error.code(), setup.paths().len()), ("credential", 0));
}

#[test]
fn a_token_is_asked_about_where_there_is_an_endpoint_for_it() {
    let setup = Setup::new();
    let profile = at_endpoint().endpoint(IssuerEndpoint::Introspection, format!("{ISSUER}/introspect"));
    let client = setup.build(profile, dpop).unwrap();
    setup.script.add([
        Step::token("t", "3600"),
        Step::json(
            200,
            r#"{"active":true,"client_id":"id","scope":"a b","exp":1800003600}"#,
        ),
    ]);
    let told = client.introspect(&tenant()).now_or_never().unwrap().unwrap();
    assert_eq!((told.client_id(), told.scope()), (Some("id"), Some("a b")));
    assert!(
        !told.is_bound_to(client.lease(&tenant()).unwrap().confirmations()),
        "the issuer says nothing of a key"
    );
    let seen = setup.script.seen();
    assert_eq!((seen[1].target.path(), &*seen[1].form()["token"]), ("/introspect", "t"));
    let without = setup
        .build(at_endpoint().header("x-a".parse().unwrap(), "b".parse().unwrap()), dpop)
        .unwrap();
    let error = without.introspect(&tenant()).now_or_never().unwrap().unwrap_err();
    assert_eq!(error.code(), "metadata");
}

#[cfg(feature = "sandbox")]
#[test]
fn a_call_without_tokens_has_the_certificate_and_nothing_else() {
    use crate::binding::mtls::Mtls;

    let setup = Setup::new();
    let now = super::setup::NOW;
    let certificate = crate::testing::identity(now, now.offset_seconds(60));
    let x5t = certificate.x5t();
    let profile = super::setup::profile(TokenAt::Nowhere);
    let client = setup
        .build(profile, |builder| builder.binding(Mtls::new(certificate)))
        .unwrap();
    setup.call(&client, [Step::json(200, "{}")]).unwrap();
    let seen = setup.script.seen();
    assert_eq!(
        (seen.len(), seen[0].target.path(), seen[0].x5t),
        (1, "/rates", Some(x5t))
    );
    assert!(!seen[0].headers.contains_key("authorization") && seen[0].proof().is_none());
    assert_eq!(revoke(&setup, &client, []).unwrap(), Revocation::Nothing);
    // A refusal asks nobody for a token either.
    let refused = Step::with(401, &[("www-authenticate", r#"Bearer error="invalid_token""#)], "");
    let again = Step::with(401, &[("www-authenticate", r#"Bearer error="invalid_token""#)], "");
    assert_eq!(
        setup.call(&client, [refused, again]).unwrap_err().code(),
        "unauthorized"
    );
    assert!(setup.paths().iter().all(|path| path == "/rates"));
    // When the certificate has ended, nothing is sent at all.
    setup.clock.advance(Duration::from_secs(61));
    assert_eq!(setup.call(&client, []).unwrap_err().code(), "client_certificate");
    assert!(setup.paths().is_empty());
}
