//! Sequences that are a story of their own: many callers, a caller who goes, refreshes, a revocation.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use serde_json::Value;
use shipbound::client::CarrierClient;
use shipbound::token::revocation::Revocation;
use tokio::sync::Notify;

use crate::scripted::{Answer, Lane};
use crate::world::{Kind, World, different, result};

pub(crate) async fn many_callers(vector: &Value) {
    let world = World::new(Kind::Usual).await;
    world.script(vector);
    let callers = usize::try_from(vector["callers"].as_u64().unwrap()).unwrap();
    let outcomes = join_all((0..callers).map(|_| world.call(&Method::GET))).await;
    assert!(outcomes.iter().all(Result::is_ok));
    let seen = world.server.seen();
    let to_issuer = seen.iter().filter(|request| request.lane == Lane::Issuer).count();
    assert_eq!(vector["expect"]["requests_to_as"], to_issuer);
    assert_eq!(seen.len(), to_issuer + callers);
    assert!(different(
        seen.iter().map(|request| request.claims().unwrap()["jti"].clone())
    ));
    let tokens: BTreeSet<_> = seen
        .iter()
        .filter(|r| r.lane == Lane::Api)
        .map(|r| r.header("authorization"))
        .collect();
    assert_eq!(tokens.len(), 1);
}

pub(crate) async fn a_cancelled_leader(vector: &Value) {
    let world = Arc::new(World::new(Kind::Usual).await);
    let signal = Arc::new(Notify::new());
    world.server.answer(Lane::Issuer, world.server.token().after(&signal));
    let caller = || {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.call(&Method::GET).await.map(drop) })
    };
    let leader = caller();
    world.server.arrived(1).await;
    let other = caller();
    // The other one waits for the same flight when it has had its turn.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    signal.notify_one();
    other.await.unwrap().unwrap();
    assert_eq!(vector["expect"]["requests_to_as"], world.seen_at(Lane::Issuer).len());
}

/// Both tokens of a refresh, asked for one after the other.
pub(crate) async fn refreshes(vector: &Value) {
    let world = World::new(Kind::Consent).await;
    world.script(vector);
    for _ in vector["server"].as_array().unwrap() {
        let outcome = world.call(&Method::GET).await;
        assert_eq!(vector["expect"]["result"], result(&outcome), "{outcome:?}");
        world.an_hour_later();
    }
    let seen = world.seen_at(Lane::Issuer);
    let sent: Vec<_> = seen.iter().map(|request| request.parameter("refresh_token")).collect();
    assert_eq!(vector["expect"]["refresh_tokens_sent"], serde_json::json!(sent));
    assert_eq!(seen[0].jwk(), seen[1].jwk());
}

pub(crate) async fn a_revocation(vector: &Value) {
    let (world, expect) = (World::new(Kind::Usual).await, &vector["expect"]);
    world.call(&Method::GET).await.unwrap();
    world.server.seen();
    let signal = Arc::new(Notify::new());
    let step = &vector["server"][0];
    let status = u16::try_from(step["status"].as_u64().unwrap()).unwrap();
    let answer = Answer::status(status).header("retry-after", step["retry_after"].as_str().unwrap());
    world.server.answer(Lane::Issuer, answer.after(&signal));
    let tenant = world.tenant.tenant();
    let revoke = || world.client.revoke(tenant);
    let (outcome, ()) = tokio::join!(revoke(), async {
        world.server.arrived(3).await;
        // The issuer has not answered yet.
        assert_eq!(
            expect["token_dropped_locally_first"],
            world.client.lease(tenant).is_none()
        );
        signal.notify_one();
    });
    let error = outcome.unwrap_err();
    // The vectors' name of it.
    assert_eq!(
        (&expect["result"], error.code()),
        (&"error:throttled".into(), "rate_limited")
    );
    let seen = world.server.seen();
    assert_eq!(expect["requests"], seen.len());
    assert_eq!(
        (&*seen[0].path, seen[0].parameter("token")),
        ("/revoke", Some("token-1".to_owned()))
    );

    // Not waited for: another revocation before the pause is over sends nothing, one after it tells the issuer.
    assert_eq!(revoke().await.unwrap_err().code(), "rate_limited");
    assert!(world.server.seen().is_empty());
    world.clock.advance(Duration::from_secs(1));
    world.server.answer(Lane::Issuer, Answer::status(200));
    assert_eq!(revoke().await.unwrap(), Revocation::Revoked);
    let seen = world.server.seen();
    assert_eq!(
        (seen.len(), seen[0].parameter("token")),
        (1, Some("token-1".to_owned()))
    );
    assert_eq!(revoke().await.unwrap(), Revocation::Nothing);
}
