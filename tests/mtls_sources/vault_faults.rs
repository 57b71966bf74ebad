//! A transport that answers what it is told: times, faults and limits that no server can be brought to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::FutureExt;
use http::StatusCode;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use shipbound::binding::mtls::CertificateSource;
use shipbound::binding::mtls::vault::{
    MAX_CONNECTIONS, Subject, VaultFailure, VaultPki, VaultPkiBuilder, VaultPkiError,
};
use shipbound::clock::{Clock, ManualClock, Timestamp};
use shipbound::secret::VaultToken;
use shipbound::target::Target;
use shipbound::transport::identity::{ClientIdentity, IdentityError};
use shipbound::transport::{Body, Outgoing, Route, Stage, Transport, TransportError, TransportErrorKind};
use tokio::sync::Notify;

use super::{Pair, connection};

const TOKEN: &str = "sEcReTmArKeR-s.vault-token";

#[derive(Clone, Debug)]
enum Answer {
    Status(u16, String),
    Fail(TransportErrorKind),
    Never,
}

#[derive(Debug, Default)]
struct Scripted {
    answers: Mutex<VecDeque<Answer>>,
    /// What is answered when no answer is left.
    last: Mutex<Option<Answer>>,
    seen: Mutex<Vec<Outgoing>>,
    /// When it is there: nothing is answered before this is notified.
    gate: Mutex<Option<Arc<Notify>>>,
}

impl Scripted {
    fn always(answer: Answer) -> Arc<Self> {
        let script = Self::default();
        *script.last.lock().unwrap() = Some(answer);
        Arc::new(script)
    }

    fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn then(&self, answer: Answer) {
        *self.last.lock().unwrap() = Some(answer);
    }
}

#[async_trait]
impl Transport for Scripted {
    async fn send(&self, request: Outgoing, _route: &Route) -> Result<http::Response<Body>, TransportError> {
        self.seen.lock().unwrap().push(request);
        let gate = self.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.notified().await;
        }
        let next = self.answers.lock().unwrap().pop_front();
        let next = next.or_else(|| self.last.lock().unwrap().clone()).expect("an answer");
        match next {
            Answer::Status(status, body) => {
                let body = Body::from(Bytes::from(body));
                Ok(http::Response::builder().status(status).body(body).unwrap())
            }
            Answer::Fail(kind) => Err(TransportError::new(kind, Stage::NotSent)),
            Answer::Never => std::future::pending().await,
        }
    }
}

/// The `data` of an answer with this pair.
fn data(pair: &Pair) -> Value {
    let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
    let mut chain: Vec<_> = chain.map(|der| STANDARD.encode(der.unwrap())).collect();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let own = chain.remove(0);
    json!({
        "certificate": own, "private_key": STANDARD.encode(key.secret_der()), "private_key_type": "ec",
        "ca_chain": chain, "issuing_ca": chain.first(),
    })
}

fn issued(pair: &Pair) -> Answer {
    Answer::Status(200, json!({ "request_id": "1", "data": data(pair) }).to_string())
}

/// One that is valid for the year from this month on.
fn of(month: u8) -> Pair {
    Pair::valid((2026, month), (2027, month))
}

fn clock() -> Arc<ManualClock> {
    // 2026-11-01
    Arc::new(ManualClock::at(Timestamp::from_unix_seconds(1_793_491_200)))
}

fn builder() -> VaultPkiBuilder {
    let address = Target::parse("https://vault.shipper.example:8200").unwrap();
    VaultPki::builder(address, "team/pki", "carriers", TOKEN)
}

fn one(script: &Arc<Scripted>, clock: &Arc<ManualClock>) -> VaultPki {
    builder().subject("all").build(script.clone(), clock.clone()).unwrap()
}

fn each(script: &Arc<Scripted>, clock: &Arc<ManualClock>) -> VaultPki {
    let subject = |of: &shipbound::owner::ConnectionId| Subject::new(of.tenant().id().as_str());
    builder()
        .subject_of(subject)
        .build(script.clone(), clock.clone())
        .unwrap()
}

#[tokio::test]
async fn the_request_says_what_is_wanted() {
    let (script, clock) = (Scripted::always(issued(&of(10))), clock());
    let subject = Subject::new("shipper \"17\"")
        .alt_name("a.example")
        .alt_name("b@example")
        .uri("spiffe://x/17")
        .address("192.0.2.1".parse().unwrap());
    let source = builder()
        .subject(subject)
        .ttl(Duration::from_secs(5_400))
        .namespace("team-a/")
        .build(script.clone(), clock.clone())
        .unwrap();
    source.identity(&connection("acme")).await.unwrap();
    let seen = script.seen.lock().unwrap();
    assert_eq!(seen[0].method, "POST");
    assert_eq!(
        seen[0].target.as_str(),
        "https://vault.shipper.example:8200/v1/team/pki/issue/carriers"
    );
    let mut headers: Vec<_> = seen[0]
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value:?}"))
        .collect();
    headers.sort();
    assert_eq!(
        headers,
        [
            "content-type: \"application/json\"",
            "x-vault-namespace: \"team-a/\"",
            "x-vault-request: \"true\"",
            "x-vault-token: Sensitive",
        ]
    );
    assert_eq!(seen[0].headers["x-vault-token"], TOKEN);
    assert_eq!(
        serde_json::from_slice::<Value>(&seen[0].body).unwrap(),
        json!({
            "common_name": "shipper \"17\"", "alt_names": "a.example,b@example", "uri_sans": "spiffe://x/17",
            "ip_sans": "192.0.2.1", "ttl": "5400s", "format": "der", "private_key_format": "pkcs8",
        })
    );
    drop(seen);
    let shown = format!("{source:?} {:?} {:?}", builder(), VaultToken::new(TOKEN));
    assert!(!shown.contains("sEcReT"), "{shown}");
}

#[tokio::test]
async fn a_chain_may_come_as_a_list_as_one_certificate_or_not_at_all() {
    let clock = clock();
    let pair = Pair::chained();
    for absent in [&[][..], &["ca_chain"], &["ca_chain", "issuing_ca"]] {
        let mut data = data(&pair);
        absent
            .iter()
            .for_each(|name| drop(data.as_object_mut().unwrap().remove(*name)));
        let script = Scripted::always(Answer::Status(200, json!({ "data": data }).to_string()));
        let identity = one(&script, &clock).identity(&connection("acme")).await.unwrap();
        assert!(pair.is(&identity));
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_holds_nobody_up() {
    let (script, clock, gate) = (Scripted::always(issued(&of(10))), clock(), Arc::new(Notify::new()));
    *script.gate.lock().unwrap() = Some(gate.clone());
    let source = one(&script, &clock);
    let here = connection("acme");
    let mut first = source.identity(&here);
    assert!(first.as_mut().now_or_never().is_none());
    let mut second = source.identity(&here);
    assert!(second.as_mut().now_or_never().is_none());
    drop(first);
    gate.notify_one();
    let identity = second.await.unwrap();
    assert_eq!(source.identity(&here).await, Ok(identity));
    assert_eq!(script.requests(), 1);
}

#[tokio::test]
async fn a_flight_that_everybody_has_left_goes_on_or_is_given_up() {
    let (script, clock, gate) = (Scripted::always(issued(&of(10))), clock(), Arc::new(Notify::new()));
    *script.gate.lock().unwrap() = Some(gate.clone());
    let here = connection("acme");
    for (pause, requests) in [(4, 1), (6, 3)] {
        let source = one(&script, &clock);
        assert!(source.identity(&here).now_or_never().is_none());
        clock.advance(Duration::from_secs(pause));
        let mut next = source.identity(&here);
        assert!(next.as_mut().now_or_never().is_none());
        gate.notify_waiters();
        next.await.unwrap();
        assert_eq!(script.requests(), requests);
    }
}

#[tokio::test]
async fn failures_have_their_names() {
    let status = |status| Answer::Status(status, r#"{"errors":["sEcReTmArKeR"]}"#.into());
    let ok = |body: &str| Answer::Status(200, body.into());
    let (pair, other) = (of(10), of(10));
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut data = data(&pair);
        change(&mut data);
        Answer::Status(200, json!({ "data": data }).to_string())
    };
    let doubled = data(&pair).to_string().replacen('{', r#"{"private_key":"","#, 1);
    let (expired, early) = (Pair::valid((2020, 1), (2021, 1)), Pair::valid((2026, 12), (2027, 1)));
    let identity = VaultFailure::Identity;
    for (answer, failure) in [
        (status(400), VaultFailure::Refused),
        (status(403), VaultFailure::Denied),
        (status(404), VaultFailure::NotFound),
        (status(429), VaultFailure::Busy),
        (status(503), VaultFailure::Sealed),
        (status(307), VaultFailure::Status(StatusCode::TEMPORARY_REDIRECT)),
        (status(204), VaultFailure::Status(StatusCode::NO_CONTENT)),
        (status(500), VaultFailure::Status(StatusCode::INTERNAL_SERVER_ERROR)),
        (
            Answer::Fail(TransportErrorKind::Tls),
            VaultFailure::Transport(TransportErrorKind::Tls),
        ),
        (ok(""), VaultFailure::Answer),
        (ok("<html>"), VaultFailure::Answer),
        (ok("{}"), VaultFailure::Answer),
        (ok(r#"{"data":null}"#), VaultFailure::Answer),
        (ok(&format!(r#"{{"data":{doubled}}}"#)), VaultFailure::Answer),
        (ok(&" ".repeat(256 * 1024 + 1)), VaultFailure::Answer),
        (changed(&|data| data["private_key"] = Value::Null), VaultFailure::Answer),
        (
            changed(&|data| data["certificate"] = json!("-----BEGIN")),
            VaultFailure::Answer,
        ),
        (
            changed(&|data| data["certificate"] = json!("AAAA")),
            identity(IdentityError::Malformed),
        ),
        (
            changed(&|data| data["private_key"] = json!("AAAA")),
            identity(IdentityError::KeyMalformed),
        ),
        (
            changed(&|own| own["private_key"] = data(&other)["private_key"].clone()),
            identity(IdentityError::Mismatch),
        ),
        (
            issued(&expired),
            identity(IdentityError::Expired {
                not_after: expired.identity().not_after(),
            }),
        ),
        (
            issued(&early),
            identity(IdentityError::NotYetValid {
                not_before: early.identity().not_before(),
            }),
        ),
    ] {
        let (script, clock) = (Scripted::always(answer), clock());
        let source = one(&script, &clock);
        let here = connection("acme");
        let error = match failure {
            VaultFailure::Identity(error) => error,
            _ => IdentityError::Unavailable,
        };
        assert_eq!(source.identity(&here).await, Err(error), "{failure:?}");
        assert_eq!(source.failure(&here), Some(failure));
        assert!(source.held().is_empty());
        // It heals by itself.
        script.then(issued(&pair));
        clock.advance(Duration::from_secs(1));
        source.identity(&here).await.unwrap();
        assert_eq!(source.failure(&here), None);
    }
}

#[tokio::test]
async fn a_silent_server_is_given_up_in_time() {
    let (script, clock) = (Scripted::always(Answer::Never), clock());
    let source = one(&script, &clock);
    let here = connection("acme");
    let mut waiting = source.identity(&here);
    assert!(waiting.as_mut().now_or_never().is_none());
    clock.advance(Duration::from_millis(9_999));
    assert!(waiting.as_mut().now_or_never().is_none());
    clock.advance(Duration::from_millis(1));
    assert_eq!(waiting.await, Err(IdentityError::Unavailable));
    assert_eq!(source.failure(&here), Some(VaultFailure::Late));
}

#[tokio::test]
async fn a_failing_server_is_asked_ever_less_often() {
    let (script, clock) = (Scripted::always(Answer::Status(503, String::new())), clock());
    let source = one(&script, &clock);
    let mut asked_at = Vec::new();
    for second in 0..300 {
        let before = script.requests();
        source.identity(&connection("acme")).await.unwrap_err();
        if script.requests() > before {
            asked_at.push(second);
        }
        clock.advance(Duration::from_secs(1));
    }
    assert_eq!(asked_at, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
}

#[tokio::test]
async fn a_thousand_connections_do_not_hammer_a_failing_server() {
    let (script, clock) = (Scripted::always(issued(&of(10))), clock());
    let source = each(&script, &clock);
    for tenant in 0..1_000 {
        source.identity(&connection(&format!("t{tenant}"))).await.unwrap();
    }
    assert_eq!(script.requests(), 1_000);
    // Ten months on, all are due.
    clock.advance(Duration::from_secs(300 * 24 * 60 * 60));
    script.then(Answer::Status(503, String::new()));
    for _ in 0..10 {
        assert_eq!(source.reload(clock.now()).await.err(), Some(IdentityError::Unavailable));
    }
    assert!(script.requests() <= 1_008, "{}", script.requests());
    source.identity(&connection("t1")).await.unwrap();
    clock.advance(Duration::from_secs(60));
    script.then(issued(&Pair::valid((2026, 10), (2028, 1))));
    assert_eq!(source.reload(clock.now()).await.unwrap().len(), 1_000);
}

#[tokio::test]
async fn one_refusal_among_exchanges_does_not_hide_them() {
    let (script, clock) = (Scripted::always(issued(&of(10))), clock());
    let source = each(&script, &clock);
    for tenant in ["a", "b"] {
        source.identity(&connection(tenant)).await.unwrap();
    }
    clock.advance(Duration::from_secs(300 * 24 * 60 * 60));
    script
        .answers
        .lock()
        .unwrap()
        .push_back(Answer::Status(400, String::new()));
    script.then(issued(&Pair::valid((2026, 10), (2028, 1))));
    assert_eq!(source.reload(clock.now()).await.unwrap().len(), 1);
    assert_eq!(source.reload(clock.now()).await.err(), Some(IdentityError::Unavailable));
}

#[tokio::test]
async fn a_connection_that_is_forgotten_begins_anew() {
    let (script, clock) = (Scripted::always(issued(&of(10))), clock());
    let source = each(&script, &clock);
    let (here, there) = (connection("a"), connection("b"));
    let (old, other) = (
        source.identity(&here).await.unwrap(),
        source.identity(&there).await.unwrap(),
    );
    source.forget(&here);
    assert!(old.is_retired() && !other.is_retired());
    assert_eq!(source.held(), std::slice::from_ref(&other));
    assert_ne!(source.identity(&here).await, Ok(old));
    assert_eq!(source.identity(&there).await, Ok(other));
}

#[tokio::test]
async fn a_token_that_is_no_header_is_named_and_another_is_used_at_once() {
    let (script, clock) = (Scripted::always(issued(&of(10))), clock());
    let source = one(&script, &clock);
    source.set_token(format!("{TOKEN}\n"));
    source.identity(&connection("a")).await.unwrap_err();
    assert_eq!(source.failure(&connection("a")), Some(VaultFailure::Token));
    assert_eq!(script.requests(), 0);
    source.set_token("other");
    source.identity(&connection("a")).await.unwrap();
    assert_eq!(script.seen.lock().unwrap()[0].headers["x-vault-token"], "other");
}

#[tokio::test]
async fn a_panic_of_the_application_is_a_failure() {
    let (script, clock) = (Scripted::always(issued(&of(10))), clock());
    let source = builder()
        .subject_of(|connection| match connection.tenant().id().as_str() {
            "bad" => panic!("no subject"),
            good => good.into(),
        })
        .build(script.clone(), clock.clone())
        .unwrap();
    for _ in 0..2 {
        source.identity(&connection("bad")).await.unwrap_err();
    }
    assert_eq!(source.failure(&connection("bad")), Some(VaultFailure::Subject));
    // Nobody else's.
    source.identity(&connection("good")).await.unwrap();
    assert_eq!(source.failure(&connection("good")), None);
}

#[tokio::test]
async fn what_nobody_asks_for_is_let_go() {
    let (script, clock) = (Scripted::always(issued(&of(10))), clock());
    let source = each(&script, &clock);
    let (used, idle) = (connection("used"), connection("idle"));
    source.identity(&used).await.unwrap();
    source.identity(&idle).await.unwrap();
    // Two thirds of a year from October 2026 on, and the next year: both were asked for once.
    clock.advance(Duration::from_secs(300 * 24 * 60 * 60));
    script.then(issued(&Pair::valid((2027, 1), (2028, 10))));
    assert_eq!(source.reload(clock.now()).await.unwrap().len(), 2);
    source.identity(&used).await.unwrap();
    let held = source.held();
    assert_eq!(held.len(), 2);
    clock.advance(Duration::from_secs(380 * 24 * 60 * 60));
    script.then(issued(&Pair::valid((2027, 1), (2029, 10))));
    let exchanged = source.reload(clock.now()).await.unwrap();
    let next = source.identity(&used).await.unwrap();
    assert_eq!((exchanged.len(), &exchanged[0].new), (1, &next));
    assert_eq!(
        source.held(),
        std::slice::from_ref(&next),
        "no warning for the idle one"
    );
    assert_eq!(held.iter().filter(|identity| identity.is_retired()).count(), 1);
    // It has come to its end.
    clock.advance(Duration::from_secs(60 * 24 * 60 * 60));
    source.reload(clock.now()).await.unwrap();
    assert!(held.iter().all(ClientIdentity::is_retired));
    let requests = script.requests();
    source.identity(&idle).await.unwrap();
    assert_eq!(script.requests(), requests + 1);
}

#[tokio::test]
async fn exchanges_do_not_hide_a_failure_for_ever() {
    let (script, clock) = (Scripted::always(issued(&of(10))), clock());
    let source = each(&script, &clock);
    for tenant in ["a", "b"] {
        source.identity(&connection(tenant)).await.unwrap();
    }
    clock.advance(Duration::from_secs(300 * 24 * 60 * 60));
    let refusal = || Answer::Status(400, String::new());
    script.answers.lock().unwrap().push_back(refusal());
    script.then(issued(&Pair::valid((2027, 1), (2028, 1))));
    assert_eq!(source.reload(clock.now()).await.unwrap().len(), 1);
    // Another one is exchanged beside the failure.
    let refused = |tenant: &&str| source.failure(&connection(tenant)) == Some(VaultFailure::Refused);
    let exchanged = ["a", "b"].into_iter().find(|tenant| !refused(tenant)).unwrap();
    source.identity(&connection(exchanged)).await.unwrap().retire();
    assert_eq!(source.reload(clock.now()).await.err(), Some(IdentityError::Unavailable));
    assert_eq!(source.reload(clock.now()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn connections_end_at_the_limit_and_those_without_a_certificate_make_room() {
    let (script, clock) = (Scripted::always(Answer::Status(503, String::new())), clock());
    let source = each(&script, &clock);
    for tenant in 0..MAX_CONNECTIONS {
        source.identity(&connection(&format!("t{tenant}"))).await.unwrap_err();
    }
    script.then(issued(&of(10)));
    clock.advance(Duration::from_secs(1));
    let late = connection("late");
    assert_eq!(source.identity(&late).await, Err(IdentityError::Unavailable));
    source.identity(&connection("t0")).await.unwrap();
    source.reload(clock.now()).await.unwrap();
    source.identity(&late).await.unwrap();
    assert_eq!((script.requests(), source.held().len()), (3, 2));
}

#[test]
fn what_cannot_work_is_not_built() {
    let build = |builder: VaultPkiBuilder| {
        let transport = Arc::new(Scripted::default());
        builder.build(transport, clock()).map(drop).unwrap_err()
    };
    let at = |mount: &str, role: &str| {
        let address = Target::parse("https://vault.shipper.example").unwrap();
        VaultPki::builder(address, mount, role, TOKEN).subject("all")
    };
    for (mount, role) in [
        ("", "r"),
        ("/pki", "r"),
        ("pki/", "r"),
        ("p k", "r"),
        ("pki", ""),
        ("pki", "a/b"),
        ("pki?", "r"),
    ] {
        assert_eq!(build(at(mount, role)), VaultPkiError::Name, "{mount} {role}");
    }
    assert!(matches!(build(at("pki/..", "r")), VaultPkiError::Address(_)));
    assert_eq!(build(at("pki", "r").namespace("a\nb")), VaultPkiError::Namespace);
    assert_eq!(build(builder()), VaultPkiError::Subject);
}
