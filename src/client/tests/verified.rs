//! What `verify_credentials` says of a credential, and that it asks no more than it must.

use std::time::Duration;

use futures_util::FutureExt;
use http::StatusCode;

use crate::binding::Role;
use crate::binding::bearer::Bearer;
use crate::carriers::{CarrierProfile, FaultKind, FaultPlace, FaultShape, TestCall};
use crate::client::{Client, Standing, Verification};
use crate::clock::Clock;
use crate::credentials::{Credential, KeyForm};
use crate::owner::Environment;
use crate::testing::Step;
use crate::throttle::{Block, CountedBy, Throttling};
use crate::token::TokenAt;

use super::setup::{Setup, at_endpoint, profile, tenant};

/// A carrier with FedEx's ambiguity: one code for an expired token, a wrong credential and a missing product.
fn ambiguous(profile: CarrierProfile) -> CarrierProfile {
    use FaultKind::{BadToken, NotEntitled, WrongCredentials};
    let faults = FaultShape::at(FaultPlace::body("/errors/0/code", "/errors/0/message"))
        .status(Role::ResourceServer, 401, [BadToken, WrongCredentials, NotEntitled])
        .code("WRONG", WrongCredentials);
    let minutes = Duration::from_secs(600);
    let block = Block::new(
        Role::AuthorizationServer,
        StatusCode::FORBIDDEN,
        CountedBy::Address,
        minutes,
    );
    profile
        .called("Acme Freight")
        .faults(faults)
        .throttling(Throttling::default().block(block))
        .test_call(TestCall::post("/check", r#"{"day":"{today}"}"#).proved_by(404))
}

fn verified(setup: &Setup, client: &Client, steps: impl IntoIterator<Item = Step>) -> Verification {
    setup.script.add(steps);
    client
        .verify_credentials(&tenant())
        .now_or_never()
        .expect("nothing waits")
}

fn token() -> Step {
    Step::json(200, r#"{"access_token":"t","token_type":"Bearer","expires_in":3600}"#)
}

fn scene(profile: CarrierProfile) -> (Setup, Client) {
    let setup = Setup::new();
    let client = setup.build(profile, |builder| builder.binding(Bearer)).unwrap();
    (setup, client)
}

fn with_tokens() -> (Setup, Client) {
    scene(ambiguous(at_endpoint()))
}

#[test]
fn a_credential_works_when_the_test_call_says_so() {
    for answer in [200, 204, 404] {
        let (setup, client) = with_tokens();
        let found = verified(&setup, &client, [token(), Step::json(answer, "{}")]);
        assert!(
            found.works() && found.standing() == Standing::Works,
            "{answer}: {found}"
        );
        assert_eq!(found.to_string(), "Acme Freight accepts this credential.");
        let seen = setup.script.seen();
        assert_eq!(seen[1].body, r#"{"day":"2027-01-15"}"#);
        assert_eq!(seen[1].headers["content-type"], "application/json");
        // A token that is at hand is good enough.
        verified(&setup, &client, [Step::json(answer, "{}")]);
        assert_eq!(setup.paths(), ["/check"]);
    }
}

#[test]
fn without_a_test_call_a_token_is_what_there_is_to_say() {
    let (setup, client) = scene(at_endpoint());
    let found = verified(&setup, &client, [token()]);
    assert_eq!((found.standing(), found.works()), (Standing::TokenGiven, true));
}

#[test]
fn every_way_not_to_work_has_its_words() {
    let wrong = || Step::json(401, r#"{"errors":[{"code":"WRONG","message":"no"}]}"#);
    let unclear = || Step::json(401, r#"{"errors":[{"code":"NOT.AUTHORIZED","message":"no"}]}"#);
    let cases: [(Vec<Step>, Standing); 12] = [
        (vec![wrong()], Standing::Wrong),
        // At the token endpoint it can only be the credential.
        (vec![unclear()], Standing::Wrong),
        (vec![Step::json(401, r#"{"error":"invalid_client"}"#)], Standing::Wrong),
        (
            vec![Step::json(400, r#"{"error":"unauthorized_client"}"#)],
            Standing::NotEntitled,
        ),
        // A token was given, so it is the product that is missing.
        (vec![token(), unclear()], Standing::NotEntitled),
        (vec![token(), Step::json(403, "{}")], Standing::NotEntitled),
        (vec![token(), Step::json(500, "{}")], Standing::Unreachable),
        (vec![token(), Step::Lost], Standing::Unreachable),
        (vec![Step::Lost], Standing::Unreachable),
        (vec![Step::json(502, "{}")], Standing::Unreachable),
        (
            vec![token(), Step::with(302, &[("location", "/x")], "")],
            Standing::Unreachable,
        ),
        (vec![token(), Step::json(422, "{}")], Standing::Refused),
    ];
    for (steps, standing) in cases {
        let (setup, client) = with_tokens();
        let shown = format!("{steps:?}");
        let found = verified(&setup, &client, steps);
        assert_eq!(found.standing(), standing, "{shown}: {:?}", found.error());
        assert!(!found.works());
        let words = found.to_string();
        assert!(words.contains("Acme Freight") && words.ends_with('.'), "{words}");
        assert!(!format!("{words} {found:?}").contains("sEcReTmArKeR"));
    }
}

#[test]
fn waiting_is_told_with_the_time() {
    let (setup, client) = with_tokens();
    let found = verified(&setup, &client, [Step::json(403, "{}")]);
    let until = setup.clock.now() + Duration::from_secs(600);
    assert_eq!(found.standing(), Standing::Blocked(Some(until)));
    assert!(found.to_string().contains("until 2027-01-15T08:10:00Z"), "{found}");

    let (setup, client) = with_tokens();
    let busy = Step::with(429, &[("retry-after", "30")], "");
    let found = verified(&setup, &client, [token(), busy]);
    let until = setup.clock.now() + Duration::from_secs(30);
    assert_eq!(found.standing(), Standing::Busy(Some(until)));
}

#[test]
fn what_is_missing_or_of_the_other_environment_is_not_sent() {
    let forms = profile(TokenAt::Credential).key_form(KeyForm::new("live_", Environment::Production));
    let (setup, client) = scene(ambiguous(forms));
    setup.has(Credential::api_key("live_1"));
    let found = verified(&setup, &client, []);
    assert_eq!(found.standing(), Standing::OtherEnvironment(Environment::Production));
    assert_eq!(
        found.to_string(),
        "This is a production key of Acme Freight, and the connection is to its sandbox system. It was not sent."
    );
    setup.has(Credential::without_secret("id"));
    setup.clock.advance(Duration::from_secs(2));
    let found = verified(&setup, &client, []);
    assert_eq!(found.standing(), Standing::Missing);
    assert!(setup.script.seen().is_empty());
}

#[test]
fn an_api_key_that_is_refused_is_wrong() {
    let (setup, client) = scene(profile(TokenAt::Credential).test_call(TestCall::get("/check")));
    let found = verified(&setup, &client, [Step::json(401, "{}")]);
    assert_eq!(found.standing(), Standing::Wrong);
    let (setup, client) = scene(ambiguous(profile(TokenAt::Credential)));
    let found = verified(&setup, &client, [Step::json(401, "{}")]);
    assert_eq!(found.standing(), Standing::Refused, "the carrier does not say which");
    assert_eq!(setup.paths(), ["/check"]);
}

#[test]
fn a_corrected_credential_is_tried_at_once() {
    let (setup, client) = with_tokens();
    setup.has(Credential::new("id", "typo"));
    let wrong = || Step::json(401, r#"{"error":"invalid_client"}"#);
    assert_eq!(verified(&setup, &client, [wrong()]).standing(), Standing::Wrong);
    // The same one once more is not: the issuer is left alone after a failure.
    let again = verified(&setup, &client, []);
    assert!(!again.works(), "{again}");
    setup.script.seen();
    setup.has(Credential::new("id", "right"));
    let found = verified(&setup, &client, [token(), Step::json(200, "{}")]);
    assert!(found.works(), "{found} {:?}", found.error());
}

#[test]
fn of_a_credential_that_replaces_another_the_new_one_is_judged() {
    let (setup, client) = with_tokens();
    setup.has(Credential::new("id", "new").replacing(Credential::new("id", "old")));
    let wrong = || Step::json(401, r#"{"error":"invalid_client"}"#);
    let found = verified(&setup, &client, [wrong(), token(), Step::json(200, "{}")]);
    assert_eq!(found.standing(), Standing::Wrong, "calls go on with the old one");
    setup.script.seen();
    // The carrier knows it now: each verification tries it itself.
    let found = verified(&setup, &client, [token(), Step::json(200, "{}")]);
    assert!(found.works(), "{found}");
    assert_eq!(setup.paths(), ["/token", "/check"]);
}
