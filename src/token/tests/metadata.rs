//! The vectors of metadata, each through the whole way from the well-known URL to the token request.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::Value;

use super::{ISSUER, LATE, World, origin};
use crate::binding::dpop::Dpop;
use crate::error::Error;
use crate::jose::Algorithm;
use crate::testing::{Seen, Step, group, id};
use crate::token::metadata::Issuer;

/// What cannot be reached, and why.
const NOT_APPLICABLE: [(&str, &str); 1] = [("MD-21", "there is no mode that prefers a binding and goes without")];

/// What needs a client certificate, which is made where the sandbox is.
const MTLS: [&str; 4] = ["MD-16", "MD-17", "MD-19", "MD-20"];

fn fetch(world: &World, steps: impl IntoIterator<Item = Step>) -> (Result<(), Error>, Vec<Seen>) {
    world.script.add(steps);
    let outcome = world
        .slot
        .lease(&world.source, LATE)
        .now_or_never()
        .expect("nothing waits");
    (outcome.map(drop), world.script.seen())
}

#[test]
fn every_vector_of_metadata() {
    let mut ran = 0;
    for vector in group("metadata", 21) {
        let (id, input, expect) = (id(&vector), &vector["input"], &vector["expect"]);
        if NOT_APPLICABLE.iter().any(|(listed, _)| *listed == id) {
            assert_eq!(input["mode"], "prefer", "{id}");
            continue;
        }
        if MTLS.contains(&id) {
            assert_eq!(input["mtls"], true, "{id}");
            #[cfg(feature = "sandbox")]
            super::mtls::metadata(&vector);
            ran += 1;
            continue;
        }
        ran += 1;
        let issuer = Issuer::new(input["issuer"].as_str().unwrap());
        let Some(status) = input["url_status"].as_u64() else {
            let got = issuer.as_ref().map(Issuer::well_known);
            match expect["outcome"].as_str().unwrap() {
                "accept" => {
                    let [first, second] = got.unwrap();
                    assert_eq!(expect["metadata_url"], first.as_str(), "{id}");
                    assert_eq!(expect["then_on_404"], second.as_str(), "{id}");
                }
                _ => assert!(got.is_err(), "{id}"),
            }
            continue;
        };

        let allowed = input["allowed_origins"].as_array().cloned().unwrap_or_default();
        let world = World::at_issuer(issuer.unwrap().as_str(), |source| {
            source.origins = allowed.iter().map(|url| origin(url.as_str().unwrap())).collect();
            source.strategy = Arc::new(Dpop::preferring([Algorithm::Ed25519, Algorithm::Es256]));
            if cfg!(not(feature = "aws-lc-rs")) {
                source.strategy = Arc::new(Dpop::es256());
            }
        });
        let body = match &input["document"] {
            Value::Null => String::new(),
            document => document.to_string(),
        };
        let status = u16::try_from(status).unwrap();
        let (outcome, seen) = fetch(&world, [Step::json(status, &body), Step::token("t", "60")]);
        assert_eq!(seen[0].method, "GET", "{id}");
        assert!(
            seen[0].headers.get("authorization").is_none() && seen[0].proof().is_none(),
            "{id}"
        );
        if expect["outcome"] == "reject" {
            let error = outcome.unwrap_err();
            assert_eq!(seen.len(), 1, "{id}: no token was asked for");
            if let Some(code) = expect["error"].as_str() {
                assert_eq!(error.code(), code, "{id}");
            }
            continue;
        }
        outcome.unwrap_or_else(|error| panic!("{id}: {error}"));
        let endpoint = expect["endpoint_url"]
            .as_str()
            .unwrap_or("https://auth.carrier.example/token");
        assert_eq!(seen[1].target.as_str(), endpoint, "{id}");
        let proof = seen[1].proof().unwrap_or_else(|| panic!("{id}: no proof"));
        if let Some(algorithm) = expect["selected_alg"].as_str() {
            assert_eq!(proof.header["alg"], algorithm, "{id}");
        }
    }
    assert_eq!(ran + NOT_APPLICABLE.len(), 21);
}

fn document(extra: &str) -> Step {
    Step::json(
        200,
        &format!(r#"{{"issuer":"{ISSUER}","token_endpoint":"{ISSUER}/token"{extra}}}"#),
    )
}

#[test]
fn a_document_that_is_not_there_is_looked_for_in_the_other_place() {
    let world = World::at_issuer(ISSUER, |_| ());
    let (outcome, seen) = fetch(&world, [Step::json(404, ""), document(""), Step::token("t", "60")]);
    outcome.unwrap();
    let asked: Vec<_> = seen.iter().map(|seen| seen.target.path()).collect();
    let oauth = "/.well-known/oauth-authorization-server";
    assert_eq!(asked, [oauth, "/.well-known/openid-configuration", "/token"]);

    let world = World::at_issuer(ISSUER, |_| ());
    let (outcome, seen) = fetch(&world, [Step::json(404, ""), Step::json(500, "")]);
    assert_eq!((outcome.unwrap_err().code(), seen.len()), ("metadata", 2));
}

#[test]
fn a_document_must_be_json_and_say_so() {
    let body = format!(r#"{{"issuer":"{ISSUER}","token_endpoint":"{ISSUER}/token"}}"#);
    let doubled = format!(r#"{{"issuer":"{ISSUER}","issuer":"{ISSUER}","token_endpoint":"{ISSUER}/token"}}"#);
    for step in [
        Step::with(200, &[("content-type", "text/html")], &body),
        Step::with(200, &[], &body),
        Step::json(200, "[]"),
        Step::json(200, &doubled),
        Step::json(200, &format!(r#"{{"issuer":"{ISSUER}"}}"#)),
        Step::json(
            200,
            &format!(r#"{{"issuer":"{ISSUER}","token_endpoint":["{ISSUER}/token"]}}"#),
        ),
        document(r#","dpop_signing_alg_values_supported":"ES256""#),
    ] {
        let world = World::at_issuer(ISSUER, |_| ());
        let (outcome, seen) = fetch(&world, [step]);
        assert_eq!((outcome.unwrap_err().code(), seen.len()), ("metadata", 1));
    }
}

#[test]
fn metadata_is_read_once_an_hour_and_a_failure_widens_nothing() {
    let world = World::at_issuer(ISSUER, |_| ());
    let (outcome, seen) = fetch(&world, [document(""), Step::token("t1", "60")]);
    outcome.unwrap();
    assert_eq!(seen.len(), 2);
    world.clock.advance(Duration::from_secs(3599));
    let (outcome, seen) = fetch(&world, [Step::token("t2", "60")]);
    outcome.unwrap();
    assert_eq!(seen.len(), 1);
    world.clock.advance(Duration::from_secs(60));
    let elsewhere = format!(r#"{{"issuer":"{ISSUER}","token_endpoint":"https://evil.example/token"}}"#);
    let (outcome, seen) = fetch(&world, [Step::json(200, &elsewhere)]);
    assert_eq!((outcome.unwrap_err().code(), seen.len()), ("metadata", 1));
}

/// A world whose metadata has just become an hour old.
fn an_hour_on() -> World {
    let world = World::at_issuer(ISSUER, |_| ());
    fetch(&world, [document(""), Step::token("t1", "60")]).0.unwrap();
    world.clock.advance(Duration::from_secs(3600));
    world
}

#[test]
fn an_issuer_that_hangs_takes_two_seconds_and_what_it_said_goes_on() {
    let world = an_hour_on();
    world.script.add([Step::Silence, Step::token("t2", "60")]);
    let mut lease = Box::pin(world.slot.lease(&world.source, LATE));
    assert!(lease.as_mut().now_or_never().is_none());
    world.clock.advance(Duration::from_millis(1_999));
    assert!(lease.as_mut().now_or_never().is_none());
    world.clock.advance(Duration::from_millis(1));
    lease.as_mut().now_or_never().expect("no longer").unwrap();
    assert_eq!(world.script.seen().len(), 2);
    // For half a minute it is not asked again, whoever needs a token.
    world.clock.advance(Duration::from_secs(29));
    world.slot.clear();
    let (outcome, seen) = fetch(&world, [Step::token("t3", "60")]);
    outcome.unwrap();
    assert_eq!(seen.len(), 1);
    world.clock.advance(Duration::from_secs(60));
    let (outcome, seen) = fetch(&world, [document(""), Step::token("t4", "60")]);
    outcome.unwrap();
    assert_eq!(seen.len(), 2);
}

#[test]
fn a_page_instead_of_the_document_does_not_end_what_the_issuer_said() {
    let page = || Step::with(200, &[("content-type", "text/html")], "<h1>Back soon</h1>");
    let world = an_hour_on();
    let (outcome, seen) = fetch(&world, [page(), Step::token("t2", "60")]);
    outcome.unwrap();
    assert_eq!(seen.len(), 2);
    // After a day it does.
    world.clock.advance(Duration::from_secs(24 * 3600));
    let (outcome, seen) = fetch(&world, [page()]);
    assert_eq!((outcome.unwrap_err().code(), seen.len()), ("metadata", 1));
}

#[test]
fn a_fault_of_the_document_is_not_forgotten_when_the_issuer_cannot_be_read() {
    let world = an_hour_on();
    let other = r#"{"issuer":"https://other.example","token_endpoint":"https://other.example/token"}"#;
    let (outcome, _) = fetch(&world, [Step::json(200, other)]);
    assert_eq!(outcome.unwrap_err().code(), "metadata");
    // The slot's pause after failures is over as well.
    world.clock.advance(Duration::from_secs(60));
    let (outcome, seen) = fetch(
        &world,
        [Step::json(500, ""), Step::json(500, ""), Step::token("t2", "60")],
    );
    assert!(outcome.is_err());
    assert_eq!(seen.len(), 2, "no token was asked for");
}

#[test]
fn members_that_nothing_depends_on_may_have_any_type() {
    for member in [
        r#","grant_types_supported":"x""#,
        r#","token_endpoint_auth_methods_supported":{}"#,
        r#","code_challenge_methods_supported":1"#,
        r#","require_pushed_authorization_requests":"false""#,
        r#","tls_client_certificate_bound_access_tokens":"false""#,
        r#","mtls_endpoint_aliases":[]"#,
    ] {
        let world = World::at_issuer(ISSUER, |_| ());
        let (outcome, _) = fetch(&world, [document(member), Step::token("t", "60")]);
        outcome.unwrap_or_else(|error| panic!("{member}: {error}"));
    }
}

#[test]
fn fapi_wants_the_way_of_authentication_to_be_listed() {
    let listed = |methods: &str| {
        let world = World::at_issuer(ISSUER, |source| source.fapi = true);
        let extra = format!(r#","token_endpoint_auth_methods_supported":{methods}"#);
        let (outcome, seen) = fetch(&world, [document(&extra), Step::token("t", "60")]);
        (outcome.map_err(|error| error.code()), seen.len())
    };
    assert_eq!(listed(r#"["private_key_jwt"]"#), (Err("metadata"), 1));
    assert_eq!(listed("[]"), (Err("metadata"), 1));
    assert_eq!(listed(r#"["private_key_jwt","client_secret_basic"]"#), (Ok(()), 2));
    // RFC 8414 2: an issuer without a list takes secrets.
    assert_eq!(listed("null"), (Err("metadata"), 1));
    // Elsewhere what is listed is taken for advice.
    let world = World::at_issuer(ISSUER, |_| ());
    let extra = r#","token_endpoint_auth_methods_supported":[]"#;
    fetch(&world, [document(extra), Step::token("t", "60")]).0.unwrap();
}
