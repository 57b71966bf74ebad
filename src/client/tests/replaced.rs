//! A credential that takes another's place, while calls go on.

use std::time::Duration;

use crate::binding::bearer::Bearer;
use crate::client::ClientBuilder;
use crate::credentials::Credential;
use crate::exchange::quirks::{BodyCode, Quirks};
use crate::journal::EventKind;
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
