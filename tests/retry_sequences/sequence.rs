//! One call that meets one answer after the other.

use std::time::Duration;

use http::Method;
use serde_json::Value;
use shipbound::clock::Clock;
use shipbound::journal::EventKind;

use crate::scripted::{Answer, Lane, Request};
use crate::world::{Kind, World, different, result, role};

pub(crate) async fn sequence(vector: &Value, all: &[Value], kind: Kind) {
    let (id, expect) = (vector["id"].as_str().unwrap(), vector["expect"].as_object().unwrap());
    let world = World::new(kind).await;
    let role = role(vector);
    let method: Method = vector["request"]["method"].as_str().unwrap_or("GET").parse().unwrap();

    // What the client knows beforehand: a token where the sequence is about the API, a nonce where the vector says so.
    let known = [
        &vector["initial"]["as_nonce"],
        &vector["initial_nonce"],
        &vector["known_nonce"],
    ];
    let known = known.into_iter().find_map(Value::as_str);
    if let Some(nonce) = known {
        world
            .server
            .answer(Lane::Issuer, world.server.token().header("dpop-nonce", nonce));
    }
    if role == Lane::Api || known.is_some() {
        world.call(&Method::GET).await.unwrap();
    }
    if role == Lane::Issuer {
        world.an_hour_later();
    }
    if let Some(before) = expect.get("after").and_then(Value::as_str) {
        world.script(all.iter().find(|vector| vector["id"] == before).unwrap());
        world.call(&method).await.unwrap();
    }
    world.server.seen();

    world.script(vector);
    let began = world.clock.now();
    let outcome = world.call(&method).await;
    world.server.unscript();
    let mut seen = world.server.seen();
    if role == Lane::Issuer {
        seen.retain(|request| request.lane == Lane::Issuer);
    }
    let proofs = || seen.iter().filter_map(Request::claims);
    let to_role = || seen.iter().filter(|request| request.lane == role);

    for (name, wanted) in expect {
        let seconds = || Duration::from_secs(wanted.as_u64().unwrap());
        match name.as_str() {
            "requests" => assert_eq!(*wanted, seen.len(), "{id}: {seen:?}"),
            "result" => assert_eq!(*wanted, result(&outcome), "{id}: {outcome:?}"),
            "nonces_sent" => {
                let sent: Vec<_> = to_role().map(Request::nonce).collect();
                assert_eq!(*wanted, serde_json::json!(sent), "{id}");
            }
            "new_proof_jti_each" => assert!(different(proofs().map(|proof| proof["jti"].clone())), "{id}"),
            "new_client_assertion_jti_each" => {
                let assertions: Vec<_> = to_role().filter_map(Request::assertion).collect();
                let signed = if kind == Kind::Signed { seen.len() } else { 0 };
                assert_eq!(assertions.len(), signed, "{id}");
                assert!(different(assertions.iter().map(|one| one["jti"].clone())), "{id}");
            }
            "new_ath" => assert!(
                different(to_role().map(|request| request.claims().unwrap()["ath"].clone())),
                "{id}"
            ),
            "bearer_sent" => {
                let bearer = |request: &Request| {
                    let scheme = request.header("authorization").unwrap_or_default();
                    scheme.to_ascii_lowercase().starts_with("bearer")
                };
                assert_eq!(*wanted, seen.iter().any(bearer), "{id}");
            }
            "headers_to_location" => assert_eq!(world.elsewhere.count(), 0, "{id}"),
            "fresh_connection" => assert_ne!(seen[0].connection, seen[1].connection, "{id}"),
            "offset_reported_s" => {
                let offset = |kind: &EventKind| match kind {
                    EventKind::ClockOffset { offset_seconds, .. } => Some(*offset_seconds),
                    _ => None,
                };
                let reported: Vec<_> = world
                    .events
                    .events()
                    .iter()
                    .filter_map(|event| offset(&event.kind))
                    .collect();
                assert_eq!(reported, [wanted.as_i64().unwrap()], "{id}");
                let dated = proofs().next_back().unwrap()["iat"].as_i64().unwrap();
                assert_eq!(dated, began.unix_seconds() + wanted.as_i64().unwrap(), "{id}");
            }
            "no_proof_later_than_now_plus_s" => {
                // Nor does a later one, once the pause is over.
                world.clock.advance(Duration::from_secs(1));
                world.call(&method).await.unwrap();
                let later = world.server.seen();
                let latest = later.iter().chain(&seen).filter_map(Request::claims);
                let latest = latest.map(|proof| proof["iat"].as_i64().unwrap()).max().unwrap();
                assert!(latest <= (began + seconds()).unix_seconds(), "{id}");
                assert!(latest <= world.clock.now().unix_seconds(), "{id}");
            }
            "refuses_for_s" => refuses(&world, &method, seconds()).await,
            "second_token_evicted" => {
                world.call(&method).await.unwrap();
                assert_eq!(world.seen_at(Lane::Issuer).len(), 1, "{id}: the second token was kept");
                // The third one is not renewed within the minute, however often it is refused.
                for _ in 0..5 {
                    world.answer(Lane::Api, &vector["server"][0], vector);
                    assert_eq!(result(&world.call(&method).await), "error:unauthorized", "{id}");
                    assert!(world.seen_at(Lane::Issuer).is_empty(), "{id}");
                }
                world.an_hour_later();
                world.call(&method).await.unwrap();
            }
            // Looked at last, since it makes the next request.
            "nonce_for_next_request" => {}
            "profile" | "after" => {}
            other => panic!("{id}: {other}"),
        }
    }
    if let Some(wanted) = expect.get("nonce_for_next_request") {
        if role == Lane::Issuer {
            world.an_hour_later();
        }
        world.call(&method).await.unwrap();
        assert_eq!(*wanted, serde_json::json!(world.seen_at(role)[0].nonce()), "{id}");
    }
    match id {
        // The other way round: the API's nonce never goes to the issuer on the same origin.
        "RS-07" => {
            world
                .server
                .answer(Lane::Api, Answer::status(200).header("dpop-nonce", "r1"));
            world.call(&method).await.unwrap();
            world.an_hour_later();
            world.call(&method).await.unwrap();
            let nonces: Vec<_> = world
                .server
                .seen()
                .iter()
                .map(|request| (request.lane, request.nonce()))
                .collect();
            let (a1, r1) = (Some("a1".to_owned()), Some("r1".to_owned()));
            assert_eq!(nonces, [(Lane::Api, None), (Lane::Issuer, a1), (Lane::Api, r1)]);
        }
        "RS-29" => {
            world.clock.advance(Duration::from_secs(60));
            world.script(all.iter().find(|vector| vector["id"] == "RS-28").unwrap());
            world.call(&method).await.unwrap();
        }
        _ => {}
    }
    if method == Method::POST {
        assert!(
            seen.iter()
                .filter(|r| r.lane == Lane::Api)
                .all(|r| r.body == "the whole body"),
            "{id}"
        );
    }
}

/// Nothing is sent until the pause is over.
async fn refuses(world: &World, method: &Method, span: Duration) {
    let second = Duration::from_secs(1);
    let end = world.clock.now() + span;
    for wait in [Duration::ZERO, span - second] {
        world.clock.advance(wait);
        let error = world.call(method).await.unwrap_err();
        assert_eq!((error.code(), error.retry_at()), ("rate_limited", Some(end)));
        assert!(world.server.seen().is_empty());
    }
    world.clock.advance(second);
    world.call(method).await.unwrap();
    assert_eq!(world.server.seen().len(), 1);
}
