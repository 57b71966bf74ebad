//! The vectors of token answers, each through the whole way of a token request.

use super::LATE;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;

use super::World;
use crate::binding::BindingKind;
use crate::binding::bearer::Bearer;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::exchange::quirks::TokenAnswerShape;
use crate::testing::{Step, group, headers, id, text};
use crate::token::answer::{self, TokenAnswerError};
use crate::token::client_auth::ClientAuth;
use crate::token::{MAX_TOKEN, TokenRequest};

/// The vectors' name of an error.
fn code(error: &Error) -> &'static str {
    let answer = match error.kind() {
        ErrorKind::UnboundToken => return "T_DOWNGRADE",
        ErrorKind::TokenRefused(_) | ErrorKind::ProofRefused => return "T_OAUTH_ERROR",
        ErrorKind::NonceUnusable => return "T_NONCE_INVALID",
        ErrorKind::Redirect => return "T_REDIRECT",
        ErrorKind::RateLimited => return "T_STATUS",
        ErrorKind::AnswerTooLarge { .. } => return "T_OVERSIZE",
        ErrorKind::TokenAnswer(answer) => answer,
        other => panic!("{other:?}"),
    };
    match answer {
        TokenAnswerError::Status => "T_STATUS",
        TokenAnswerError::Unexplained(_) => "T_ERROR_UNPARSEABLE",
        TokenAnswerError::ContentType => "T_CONTENT_TYPE",
        TokenAnswerError::NotJson => "T_NOT_JSON",
        TokenAnswerError::DuplicateMember => "T_DUPLICATE_KEY",
        TokenAnswerError::WrongType => "T_TYPE",
        TokenAnswerError::NoAccessToken => "T_MISSING_ACCESS_TOKEN",
        TokenAnswerError::TokenSyntax => "T_TOKEN_SYNTAX",
        TokenAnswerError::TokenTooLong => "T_OVERSIZE",
        TokenAnswerError::NoTokenType => "T_TOKEN_TYPE_MISSING",
        TokenAnswerError::UnusableTokenType => "T_TOKEN_TYPE_UNUSABLE",
        TokenAnswerError::Lifetime => "T_EXPIRES_INVALID",
        TokenAnswerError::Contradictory => "T_CONTRADICTORY",
        other => panic!("{other:?}"),
    }
}

fn step(input: &Value) -> Step {
    let status = input["status"]
        .as_u64()
        .map_or(200, |status| u16::try_from(status).unwrap());
    let mut map = headers(&input["headers"]).unwrap();
    if input.get("headers").is_none() {
        map.insert("content-type", "application/json".parse().unwrap());
    }
    let body = match (&input["body"], &input["body_b64"]) {
        (Value::String(body), _) => body.clone().into_bytes(),
        (_, Value::String(body)) => STANDARD.decode(body).unwrap(),
        _ => text(&input["body_gen"]).into_bytes(),
    };
    Step::Answer(StatusCode::from_u16(status).unwrap(), map, Bytes::from(body))
}

#[test]
fn every_vector_of_token_responses() {
    let mut ran = 0;
    for vector in group("token_responses", 64) {
        let (id, input, expect) = (id(&vector), &vector["input"], &vector["expect"]);
        #[cfg(not(feature = "sandbox"))]
        if input["mode"] == "mtls" {
            // Client certificates are made where the sandbox is.
            ran += 1;
            continue;
        }
        let world = match input["mode"].as_str() {
            None => World::plain(),
            Some("bearer") => World::new(|source| {
                source.strategy = Arc::new(Bearer);
                source.quirks.token_answer = TokenAnswerShape {
                    token_type_optional: input["profile"] == "token_type_absent",
                    ..TokenAnswerShape::default()
                };
            }),
            #[cfg(feature = "sandbox")]
            Some("mtls") => World::with_strategy(super::mtls::strategy()),
            Some(other) => panic!("{id}: {other}"),
        };
        let fly = || {
            world
                .slot
                .lease(&world.source, LATE)
                .now_or_never()
                .expect("nothing waits")
        };
        if let Some(known) = input["sent_nonce"].as_str() {
            let body = r#"{"access_token":"t","token_type":"DPoP","expires_in":0}"#;
            let given = [("content-type", "application/json"), ("dpop-nonce", known)];
            world.script.add([Step::with(200, &given, body)]);
            fly().unwrap();
            world.script.seen();
        }

        // Whatever follows a challenge is another answer.
        world.script.add([step(input), Step::token("after-a-challenge", "60")]);
        let outcome = fly();
        let seen = world.script.seen();
        if let Some(known) = input["sent_nonce"].as_str() {
            assert_eq!(seen[0].proof().unwrap().nonce(), Some(known), "{id}");
        }
        let got = match &outcome {
            _ if seen.len() == 2 => {
                let nonce = headers(&input["headers"]).unwrap()["dpop-nonce"]
                    .to_str()
                    .unwrap()
                    .to_owned();
                assert_eq!(seen[1].proof().unwrap().nonce(), Some(nonce.as_str()), "{id}");
                "T_NONCE_CHALLENGE"
            }
            Ok(_) => "accept",
            Err(error) => code(error),
        };
        match expect["outcome"].as_str().unwrap() {
            "accept" => assert_eq!(got, "accept", "{id}"),
            "reject" => {
                let any_of = expect["error_any_of"].as_array().unwrap();
                assert!(any_of.contains(&got.into()), "{id}: {got}, not {any_of:?}");
                let kept = world
                    .slot
                    .held()
                    .map(|lease| lease.authorization().unwrap().to_str().unwrap().to_owned());
                assert!(kept.is_none_or(|kept| kept == "DPoP after-a-challenge"), "{id}: kept");
            }
            "accept_or_reject" => {}
            other => panic!("{id}: {other}"),
        }
        if let Some(fields) = expect["fields"].as_object() {
            for (name, value) in fields {
                match name.as_str() {
                    // The issuer's silence is the default.
                    "effective_expires_in" => {
                        assert_eq!(world.lifetimes(), [value.as_u64().unwrap_or(300)], "{id}");
                    }
                    // Asked for and granted; a refresh token of this grant is read and dropped.
                    "scope" | "has_refresh_token" => {}
                    other => panic!("{id}: {other}"),
                }
            }
        }
        // Texts of servers show nowhere, escaped or not.
        if let Err(error) = &outcome {
            let shown = format!("{error} {error:?} {:?}", world.events.events());
            for foreign in ["forged", "eyJhbGciOiJFUzI1NiJ9", "evil", "busy", "login"] {
                assert!(!shown.contains(foreign), "{id}: {shown}");
            }
        }
        ran += 1;
    }
    assert_eq!(ran, 64);
}

fn outcome(world: &World, steps: impl IntoIterator<Item = Step>) -> Result<(), Error> {
    world.script.add(steps);
    world
        .slot
        .lease(&world.source, LATE)
        .now_or_never()
        .expect("nothing waits")
        .map(drop)
}

#[test]
fn the_longest_token_is_taken_and_one_octet_more_is_not() {
    let world = World::plain();
    assert!(outcome(&world, [Step::token(&"a".repeat(MAX_TOKEN), "60")]).is_ok());
    let error = outcome(&World::plain(), [Step::token(&"a".repeat(MAX_TOKEN + 1), "60")]).unwrap_err();
    assert!(matches!(
        error.kind(),
        ErrorKind::TokenAnswer(TokenAnswerError::TokenTooLong)
    ));
}

#[test]
fn an_answer_of_256_kib_is_read_and_one_octet_more_is_not() {
    let of = |octets: usize| {
        let (head, tail) = (
            r#"{"access_token":"t","token_type":"DPoP","expires_in":60,"x":""#,
            "\"}",
        );
        let filling = "x".repeat(octets - head.len() - tail.len());
        outcome(&World::plain(), [Step::json(200, &format!("{head}{filling}{tail}"))])
    };
    assert!(of(256 << 10).is_ok());
    assert!(matches!(
        of((256 << 10) + 1).unwrap_err().kind(),
        ErrorKind::AnswerTooLarge { .. }
    ));
}

#[test]
fn a_scope_that_was_asked_for_must_be_granted() {
    let with = |asked: &[&str], granted: &str| {
        let mut request = TokenRequest::new();
        for scope in asked {
            request = request.scope(scope).unwrap();
        }
        let world = World::new(|source| source.request = request);
        let body = format!(r#"{{"access_token":"t","token_type":"DPoP","expires_in":60{granted}}}"#);
        outcome(&world, [Step::json(200, &body)]).map_err(|error| error.code())
    };
    assert_eq!(with(&["ship"], ""), Ok(()));
    assert_eq!(with(&["ship"], r#","scope":"track ship""#), Ok(()));
    assert_eq!(with(&["ship", "track"], r#","scope":"ship""#), Err("token_answer"));
    assert_eq!(with(&["ship"], r#","scope":"shipping""#), Err("token_answer"));
    assert_eq!(with(&[], r#","scope":"anything""#), Ok(()));
    assert_eq!(with(&["ship"], r#","scope":["ship"]"#), Err("token_answer"));
}

#[test]
fn the_secret_travels_in_one_way_and_the_token_request_has_no_ath() {
    for auth in [ClientAuth::Basic, ClientAuth::Post] {
        let world = World::new(|source| source.auth = auth.clone());
        outcome(&world, [Step::token("t", "60")]).unwrap();
        let seen = world.script.seen();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].method, "POST");
        assert_eq!(seen[0].target.as_str(), "https://auth.carrier.example/token");
        let claims = seen[0].proof().unwrap().claims;
        assert_eq!(claims["htu"], "https://auth.carrier.example/token");
        assert!(claims.get("ath").is_none() && claims.get("nonce").is_none());
        let basic = seen[0].headers.get("authorization");
        assert_eq!(basic.is_some(), auth == ClientAuth::Basic);
        assert!(basic.is_none_or(|value| value.is_sensitive()));
    }
}

#[test]
fn a_token_for_a_header_of_its_own_may_have_any_visible_characters() {
    let read = |token: &str, any_characters| {
        let body = serde_json::json!({"access_token": token, "token_type": "bearer"}).to_string();
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let shape = TokenAnswerShape {
            any_characters,
            ..TokenAnswerShape::default()
        };
        let (kind, now) = (BindingKind::Bearer, Timestamp::UNIX_EPOCH);
        let granted = answer::read(StatusCode::OK, &headers, body.as_bytes(), kind, &shape, now);
        granted.map(|granted| granted.token.expose().to_owned())
    };
    assert_eq!(read("Atza|IQ!x", true).unwrap(), "Atza|IQ!x");
    assert_eq!(read("Atza|IQ!x", false), Err(TokenAnswerError::TokenSyntax));
    for token in ["Atza|I Q", " x", "x\n", "x\u{7f}", "\u{e9}"] {
        assert_eq!(read(token, true), Err(TokenAnswerError::TokenSyntax), "{token:?}");
    }
}
