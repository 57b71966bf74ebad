//! The vectors of repeated requests, between a client and a server on real sockets, under a clock that stands still.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[path = "support/scripted.rs"]
mod scripted;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use serde_json::Value;
use shipbound::binding::bearer::Bearer;
use shipbound::binding::dpop::Dpop;
use shipbound::carriers::CarrierProfile;
use shipbound::client::{Client, Response, TenantClient};
use shipbound::clock::{Clock, ManualClock, Timestamp};
use shipbound::credentials::{Credential, MemoryCredentials};
use shipbound::exchange::quirks::{BodyCode, Quirks};
use shipbound::journal::EventKind;
use shipbound::journal::memory::MemorySink;
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::{CarrierId, Environment, TenantId};
use shipbound::token::TokenAt;
use shipbound::transport::reqwest::ReqwestTransport;
use shipbound::{Error, Parts};
use tokio::sync::Notify;

use scripted::{Answer, Lane, Request, Scripted};

/// What cannot be reached, and why.
const NOT_APPLICABLE: [(&str, &str); 4] = [
    (
        "RS-06",
        "request bodies are whole buffers, so every body can be sent again",
    ),
    ("RS-18", "there is no refresh grant"),
    ("RS-19", "there is no refresh grant"),
    ("RS-20", "there is no revocation request"),
];

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

struct World {
    clock: Arc<ManualClock>,
    server: Scripted,
    elsewhere: Scripted,
    events: Arc<MemorySink>,
    tenant: TenantClient,
}

impl World {
    /// With bearer tokens and the codes of FedEx, or with DPoP.
    async fn new(fedex: bool) -> Self {
        let clock = Arc::new(ManualClock::at(NOW));
        let server = Scripted::start(&clock, if fedex { "bearer" } else { "DPoP" }).await;
        let elsewhere = Scripted::start(&clock, "DPoP").await;
        let events = Arc::new(MemorySink::default());
        let carrier = CarrierId::new("carrier").unwrap();
        let tenant = TenantId::new("acme").unwrap();
        let credentials = MemoryCredentials::new();
        let credential = Credential::new("client", "s3cr3t");
        credentials.put(tenant.clone(), &carrier, Environment::Sandbox, credential);
        let transport = ReqwestTransport::builder()
            .allow_loopback(server.loopback())
            .allow_loopback(elsewhere.loopback())
            .build()
            .unwrap();
        let parts = Parts::builder()
            .keys(MemoryKeyStore::new())
            .credentials(credentials)
            .shared_sink(events.clone())
            .clock(clock.clone())
            .transport(transport)
            .build()
            .unwrap();
        let endpoint = TokenAt::Endpoint(server.url("/token"));
        let mut quirks = Quirks::default();
        if fedex {
            quirks
                .not_processed
                .push(BodyCode::new("/errors/0/code", "NOT.AUTHORIZED.ERROR"));
        }
        let profile = CarrierProfile::custom(carrier, Environment::Sandbox, server.url(""), endpoint)
            .quirks(quirks)
            .allow_loopback(server.loopback());
        let builder = Client::builder(profile, &parts);
        let builder = if fedex {
            builder.binding(Bearer)
        } else {
            builder.binding(Dpop::es256())
        };
        Self {
            tenant: builder.build().unwrap().for_tenant(tenant),
            clock,
            server,
            elsewhere,
            events,
        }
    }

    async fn call(&self, method: &Method) -> Result<Response, Error> {
        let request = self.tenant.request(method.clone(), "/rates");
        if *method == Method::POST {
            request.body("the whole body").send().await
        } else {
            request.send().await
        }
    }

    fn seen_at(&self, lane: Lane) -> Vec<Request> {
        self.server
            .seen()
            .into_iter()
            .filter(|request| request.lane == lane)
            .collect()
    }

    /// Lets every token end and every pause of the issuer's too.
    fn an_hour_later(&self) {
        self.clock.advance(Duration::from_secs(3600));
    }

    fn answer(&self, lane: Lane, step: &Value, vector: &Value) {
        let text = |name: &str| step[name].as_str();
        if text("transport_error") == Some("after_write") {
            return self.server.answer(lane, Answer::hang_up());
        }
        let status = u16::try_from(step["status"].as_u64().unwrap()).unwrap();
        let mut answer = match (lane, text("error"), text("body")) {
            (_, Some(error), None) => Answer::json(status, format!(r#"{{"error":"{error}"}}"#)),
            (_, None, Some(body)) => Answer::json(status, body),
            (Lane::Issuer, None, None) if status == 200 => self.server.token(),
            _ => Answer::status(status),
        };
        for (name, header) in [
            ("nonce", "dpop-nonce"),
            ("www", "www-authenticate"),
            ("retry_after", "retry-after"),
        ] {
            if let Some(value) = text(name) {
                answer = answer.header(header, value);
            }
        }
        if text("location").is_some() {
            answer = answer.header("location", &self.elsewhere.url("/x"));
        }
        let offset = step["date_offset_s"].as_i64().or(vector["date_offset_s"].as_i64());
        answer.date_offset_seconds = offset.unwrap_or(0);
        self.server.answer(lane, answer);
    }

    fn script(&self, vector: &Value) {
        let role = role(vector);
        for step in vector["server"].as_array().unwrap() {
            let lane = match step["target"].as_str() {
                Some("as") => Lane::Issuer,
                Some("rs") => Lane::Api,
                _ => role,
            };
            self.answer(lane, step, vector);
        }
    }
}

/// Whom a sequence is about.
fn role(vector: &Value) -> Lane {
    let first = &vector["server"][0];
    match first["target"].as_str() {
        Some("as") => Lane::Issuer,
        Some("rs") => Lane::Api,
        _ if first["error"].is_string() => Lane::Issuer,
        _ => Lane::Api,
    }
}

fn result(outcome: &Result<Response, Error>) -> String {
    outcome
        .as_ref()
        .map_or_else(|error| format!("error:{}", error.code()), |_| "ok".to_owned())
}

fn different(values: impl Iterator<Item = Value>) -> bool {
    let all: Vec<_> = values.map(|value| value.to_string()).collect();
    all.iter().collect::<BTreeSet<_>>().len() == all.len()
}

#[tokio::test]
async fn every_vector_of_retry_sequences() {
    let vectors: Value = serde_json::from_str(include_str!("data/vectors.json")).unwrap();
    let all = vectors["retry_sequences"].as_array().unwrap();
    let mut ran = 0;
    for vector in all {
        match vector["id"].as_str().unwrap() {
            id if NOT_APPLICABLE.iter().any(|(listed, _)| *listed == id) => continue,
            "RS-16" => many_callers(vector).await,
            "RS-17" => a_cancelled_leader(vector).await,
            _ => sequence(vector, all).await,
        }
        ran += 1;
    }
    assert_eq!((ran, ran + NOT_APPLICABLE.len()), (26, 30));
    assert_eq!(vectors["counts"]["retry_sequences"], all.len());
}

async fn sequence(vector: &Value, all: &[Value]) {
    let (id, expect) = (vector["id"].as_str().unwrap(), vector["expect"].as_object().unwrap());
    let world = World::new(expect.get("profile").is_some_and(|profile| profile == "fedex")).await;
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
            // The client authenticates by its secret: an assertion does not occur, so none can occur twice.
            "new_client_assertion_jti_each" => {
                assert!(
                    seen.iter().all(|request| !request.body.contains("client_assertion")),
                    "{id}"
                );
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

async fn many_callers(vector: &Value) {
    let world = World::new(false).await;
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

async fn a_cancelled_leader(vector: &Value) {
    let world = Arc::new(World::new(false).await);
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
