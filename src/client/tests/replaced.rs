//! A credential that takes another's place, while calls go on.

use std::time::Duration;

use futures_util::FutureExt;

use crate::binding::bearer::Bearer;
use crate::carriers::{FaultKind, FaultPlace, FaultShape};
use crate::client::{Client, ClientBuilder};
use crate::credentials::{Credential, CredentialError, KeyForm};
use crate::error::ErrorKind;
use crate::exchange::quirks::{BodyCode, Quirks};
use crate::journal::EventKind;
use crate::owner::Environment;
use crate::testing::{Seen, Step};
use crate::token::TokenAt;
use crate::token::client_auth::ClientAuth;

use super::setup::{Setup, at_endpoint, profile};

fn bearer(builder: ClientBuilder) -> ClientBuilder {
    builder.binding(Bearer)
}

fn token(text: &str) -> Step {
    Step::json(
        200,
        &format!(r#"{{"access_token":"{text}","token_type":"Bearer","expires_in":3600}}"#),
    )
}

fn done() -> Step {
    Step::json(200, "{}")
}

fn unknown() -> Step {
    Step::json(401, r#"{"error":"invalid_client"}"#)
}

fn secrets(seen: &[Seen]) -> Vec<String> {
    seen.iter()
        .filter_map(|seen| seen.form().remove("client_secret"))
        .collect()
}

fn not_taken(setup: &Setup) -> usize {
    let events = setup.events.events();
    let of = |kind: &EventKind| matches!(kind, EventKind::CredentialNotTaken);
    events.iter().filter(|event| of(&event.kind)).count()
}

#[test]
fn the_old_secret_goes_on_until_the_new_one_is_taken() {
    let setup = Setup::new();
    let client = setup
        .build(at_endpoint().client_auth(ClientAuth::Post), bearer)
        .unwrap();
    let old = || Credential::new("id", "old");
    setup.has(Credential::new("id", "new").replacing(old()));

    // The issuer does not know the new one yet.
    setup
        .send(&client, |t| t.get("/rates"), [unknown(), token("t1"), done()])
        .unwrap();
    assert_eq!(secrets(&setup.script.seen()), ["new", "old"]);
    assert_eq!(not_taken(&setup), 1);

    // It is not tried again with every token.
    client.forget(&super::setup::tenant());
    setup.send(&client, |t| t.get("/rates"), [token("t2"), done()]).unwrap();
    assert_eq!(secrets(&setup.script.seen()), ["old"]);
    assert_eq!(not_taken(&setup), 1);

    // A change of the store is one: the new one again, and now it is taken.
    setup.has(Credential::new("id", "newer").replacing(old()));
    setup.send(&client, |t| t.get("/rates"), [token("t3"), done()]).unwrap();
    assert_eq!(secrets(&setup.script.seen()), ["newer"]);

    // The token of a credential that is still the same goes on.
    setup.send(&client, |t| t.get("/rates"), [done()]).unwrap();
    assert_eq!(setup.paths(), ["/rates"]);
}

#[test]
fn only_a_refused_client_goes_back() {
    let setup = Setup::new();
    let client = setup
        .build(at_endpoint().client_auth(ClientAuth::Post), bearer)
        .unwrap();
    for (answer, code) in [
        (Step::json(400, r#"{"error":"invalid_scope"}"#), "token_refused"),
        (Step::json(500, "{}"), "token_answer"),
        (Step::with(429, &[], ""), "rate_limited"),
    ] {
        setup.has(Credential::new("id", "new").replacing(Credential::new("id", "old")));
        setup.clock.advance(Duration::from_secs(120));
        let error = setup.send(&client, |t| t.get("/rates"), [answer]).unwrap_err();
        assert_eq!(error.code(), code);
        assert_eq!(secrets(&setup.script.seen()), ["new"]);
    }
    assert_eq!(not_taken(&setup), 0);

    // When both are refused, so is the call.
    setup.clock.advance(Duration::from_secs(120));
    let error = setup
        .send(&client, |t| t.get("/rates"), [unknown(), unknown()])
        .unwrap_err();
    assert_eq!(error.code(), "token_refused");
    assert_eq!(secrets(&setup.script.seen()), ["new", "old"]);
}

#[test]
fn an_api_key_that_is_refused_goes_back_to_the_one_it_replaces() {
    let mut quirks = Quirks::default();
    quirks.not_processed.push(BodyCode::new("/error", "bad key"));
    let setup = Setup::new();
    let client = setup
        .build(profile(TokenAt::Credential).quirks(quirks), bearer)
        .unwrap();
    let refused = || Step::json(401, r#"{"error":"bad key"}"#);
    setup.has(Credential::api_key("new").replacing(Credential::api_key("old")));
    setup.send(&client, |t| t.post("/labels"), [refused(), done()]).unwrap();
    let keys = |seen: Vec<Seen>| -> Vec<String> {
        let key = |seen: Seen| seen.headers["authorization"].to_str().unwrap().to_owned();
        seen.into_iter().map(key).collect()
    };
    assert_eq!(keys(setup.script.seen()), ["Bearer new", "Bearer old"]);
    assert_eq!(not_taken(&setup), 1);
    setup.send(&client, |t| t.post("/labels"), [done()]).unwrap();
    assert_eq!(keys(setup.script.seen()), ["Bearer old"]);

    // A key that replaces none is refused, and not sent twice.
    setup.has(Credential::api_key("only"));
    let error = setup.send(&client, |t| t.post("/labels"), [refused()]).unwrap_err();
    assert_eq!(error.code(), "unauthorized");
    assert_eq!(keys(setup.script.seen()), ["Bearer only"]);
}

#[test]
fn a_stray_refusal_does_not_pin_a_connection_to_the_old_secret() {
    let setup = Setup::new();
    let client = setup
        .build(at_endpoint().client_auth(ClientAuth::Post), bearer)
        .unwrap();
    setup.has(Credential::new("id", "new").replacing(Credential::new("id", "old")));
    setup
        .send(&client, |t| t.get("/rates"), [unknown(), token("t1"), done()])
        .unwrap();
    assert_eq!(secrets(&setup.script.seen()), ["new", "old"]);

    // The old one has been deleted: the new one is tried at once.
    client.forget(&super::setup::tenant());
    setup
        .send(&client, |t| t.get("/rates"), [unknown(), token("t2"), done()])
        .unwrap();
    assert_eq!(secrets(&setup.script.seen()), ["old", "new"]);
    client.forget(&super::setup::tenant());
    setup.send(&client, |t| t.get("/rates"), [token("t3"), done()]).unwrap();
    assert_eq!(secrets(&setup.script.seen()), ["new"]);
}

#[test]
fn one_that_was_not_taken_is_tried_again_after_a_while_a_longer_one_each_time() {
    let setup = Setup::new();
    let client = setup
        .build(at_endpoint().client_auth(ClientAuth::Post), bearer)
        .unwrap();
    setup.has(Credential::new("id", "new").replacing(Credential::new("id", "old")));
    for (minutes, tried) in [
        (0, ["new", "old"].as_slice()),
        (4, &["old"]),
        (2, &["new", "old"]),
        (9, &["old"]),
        (2, &["new", "old"]),
    ] {
        setup.clock.advance(Duration::from_secs(60 * minutes));
        client.forget(&super::setup::tenant());
        let answers = tried.iter().map(|secret| match *secret {
            "new" => unknown(),
            _ => token("t"),
        });
        let steps: Vec<_> = answers.chain([done()]).collect();
        setup.send(&client, |t| t.get("/rates"), steps).unwrap();
        assert_eq!(secrets(&setup.script.seen()), tried, "after {minutes} minutes more");
    }
    assert_eq!(not_taken(&setup), 1, "said once");
}

#[test]
fn of_two_environments_the_old_key_is_not_sent_to_the_wrong_one() {
    let mut quirks = Quirks::default();
    quirks.not_processed.push(BodyCode::new("/error", "bad key"));
    let profile = profile(TokenAt::Credential)
        .quirks(quirks)
        .key_form(KeyForm::new("live_", Environment::Production));
    let setup = Setup::new();
    let client = setup.build(profile, bearer).unwrap();
    setup.has(Credential::api_key("test_new").replacing(Credential::api_key("live_old")));
    let refused = Step::json(401, r#"{"error":"bad key"}"#);
    let error = setup.send(&client, |t| t.post("/buy"), [refused]).unwrap_err();
    assert_eq!(error.code(), "unauthorized");
    let seen = setup.script.seen();
    assert_eq!(
        (seen.len(), &seen[0].headers["authorization"]),
        (1, &"Bearer test_new".parse().unwrap())
    );

    // Servers would not see the blank.
    setup.has(Credential::api_key(" live_key"));
    let error = setup.send(&client, |t| t.post("/buy"), []).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Credential(CredentialError::Syntax)),
        "{error:?}"
    );
}

/// Without tokens: nobody is asked for one, so no renewal is counted.
mod keys {
    use super::*;

    fn refused() -> Step {
        Step::json(401, r#"{"error":"bad key"}"#)
    }

    fn keys(seen: Vec<Seen>) -> Vec<String> {
        let key = |seen: Seen| seen.headers["authorization"].to_str().unwrap().to_owned();
        seen.into_iter().map(key).collect()
    }

    fn scene(with_code: bool) -> (Setup, Client) {
        let mut quirks = Quirks::default();
        if with_code {
            quirks.not_processed.push(BodyCode::new("/error", "bad key"));
        }
        let setup = Setup::new();
        let client = setup
            .build(profile(TokenAt::Credential).quirks(quirks), bearer)
            .unwrap();
        setup.has(Credential::api_key("new").replacing(Credential::api_key("old")));
        (setup, client)
    }

    #[test]
    fn going_back_is_no_renewal_and_is_not_limited_like_one() {
        let (setup, client) = scene(true);
        for _ in 0..3 {
            let steps = [refused(), done()];
            setup.send(&client, |t| t.post("/labels"), steps).unwrap();
            assert_eq!(keys(setup.script.seen()), ["Bearer new", "Bearer old"]);
            setup.send(&client, |t| t.post("/labels"), [done()]).unwrap();
            assert_eq!(keys(setup.script.seen()), ["Bearer old"]);
            // The old one is refused, too: back to the new one, within the same minute.
            let steps = [refused(), done()];
            setup.send(&client, |t| t.post("/labels"), steps).unwrap();
            assert_eq!(keys(setup.script.seen()), ["Bearer old", "Bearer new"]);
        }
    }

    #[test]
    fn of_calls_at_one_time_all_go_over() {
        let (setup, client) = scene(true);
        let of = client.for_tenant(super::super::setup::tenant());
        setup.send(&client, |t| t.post("/labels"), [done()]).unwrap();
        setup.script.seen();
        // Both are on their way with the new key before either is answered.
        let (first, second) = (tokio::sync::oneshot::channel(), tokio::sync::oneshot::channel());
        setup.script.add([
            Step::After(first.1, Box::new(refused())),
            Step::After(second.1, Box::new(refused())),
            done(),
            done(),
        ]);
        let mut one = Box::pin(of.post("/labels").send());
        let mut two = Box::pin(of.post("/labels").send());
        assert!(one.as_mut().now_or_never().is_none() && two.as_mut().now_or_never().is_none());
        first.0.send(()).unwrap();
        one.now_or_never().unwrap().unwrap();
        second.0.send(()).unwrap();
        two.now_or_never().unwrap().unwrap();
        assert_eq!(
            keys(setup.script.seen()),
            ["Bearer new", "Bearer new", "Bearer old", "Bearer old"]
        );
    }

    #[test]
    fn where_no_code_says_that_a_call_was_not_processed_the_next_one_goes_back() {
        let (setup, client) = scene(false);
        let error = setup.send(&client, |t| t.post("/labels"), [refused()]).unwrap_err();
        assert_eq!(error.code(), "unauthorized");
        setup.send(&client, |t| t.post("/labels"), [done()]).unwrap();
        assert_eq!(keys(setup.script.seen()), ["Bearer new", "Bearer old"]);
    }

    #[test]
    fn a_403_for_an_unknown_key_goes_back_as_well() {
        let setup = Setup::new();
        let faults =
            FaultShape::at(FaultPlace::body("/code", "/message")).code("INACTIVE", FaultKind::WrongCredentials);
        let client = setup
            .build(profile(TokenAt::Credential).faults(faults), bearer)
            .unwrap();
        setup.has(Credential::api_key("new").replacing(Credential::api_key("old")));
        let inactive = Step::json(403, r#"{"code":"INACTIVE"}"#);
        let answer = setup.send(&client, |t| t.post("/labels"), [inactive]).unwrap();
        assert_eq!(answer.status(), 403);
        setup.send(&client, |t| t.post("/labels"), [done()]).unwrap();
        assert_eq!(keys(setup.script.seen()), ["Bearer new", "Bearer old"]);
    }
}
