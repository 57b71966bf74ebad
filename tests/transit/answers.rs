//! Answers that a server can hardly be brought to, and a server that never answers.

use std::collections::VecDeque;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;
use shipbound::clock::{Clock, ManualClock, SystemClock};
use shipbound::keys::{KeyError, KeyHolder};
use shipbound::store::anchor::{AnchorError, Anchored, EpochAnchor};
use shipbound::store::transit::{KvAnchor, Transit, TransitError, TransitFailure, VaultServer};
use shipbound::target::Target;
use shipbound::target::danger::Loopback;
use shipbound::transport::reqwest::ReqwestTransport;
use shipbound::transport::{Body, Outgoing, Route, Stage, Transport, TransportError, TransportErrorKind};

use super::held::{ES256, make};

const TOKEN: &str = "sEcReTmArKeR-s.transit-token";

#[derive(Debug)]
enum Answer {
    Status(u16, String),
    Fail(TransportErrorKind),
}

/// Answers in this order; shows how many requests there were, and how many on a fresh connection.
#[derive(Debug, Default)]
struct Scripted(Mutex<VecDeque<Answer>>, Mutex<(usize, usize)>);

#[async_trait]
impl Transport for Scripted {
    async fn send(&self, _request: Outgoing, route: &Route) -> Result<http::Response<Body>, TransportError> {
        let mut count = self.1.lock().unwrap();
        *count = (count.0 + 1, count.1 + usize::from(route.fresh));
        match self.0.lock().unwrap().pop_front().expect("an answer") {
            Answer::Status(status, body) => {
                let body = Body::from(Bytes::from(body));
                Ok(http::Response::builder().status(status).body(body).unwrap())
            }
            Answer::Fail(kind) => Err(TransportError::new(kind, Stage::MaybeSent)),
        }
    }
}

fn scripted(answers: impl IntoIterator<Item = Answer>) -> (VaultServer, Arc<Scripted>) {
    let transport = Arc::new(Scripted(Mutex::new(answers.into_iter().collect()), Mutex::default()));
    let address = Target::parse("https://vault.shipper.example:8200").unwrap();
    let server = VaultServer::builder(address, TOKEN)
        .build(transport.clone(), Arc::new(SystemClock::new()))
        .unwrap();
    (server, transport)
}

async fn making(
    answers: impl IntoIterator<Item = Answer>,
) -> (Result<(), KeyError>, Option<TransitFailure>, (usize, usize)) {
    let (server, transport) = scripted(answers);
    let transit = Transit::new(&server, "transit").unwrap();
    let outcome = make(&transit, ES256).await.map(|_stored| ());
    assert!(!format!("{server:?} {transit:?} {outcome:?}").contains("sEcReT"));
    let count = *transport.1.lock().unwrap();
    (outcome, server.failure(), count)
}

fn ok() -> Answer {
    Answer::Status(204, String::new())
}

#[tokio::test]
async fn failures_are_told_apart_and_a_lost_connection_is_tried_once_more() {
    for (status, failure) in [
        (400, TransitFailure::Refused),
        (403, TransitFailure::Denied),
        (404, TransitFailure::NotFound),
        (429, TransitFailure::Busy),
        (503, TransitFailure::Sealed),
        (307, TransitFailure::Standby),
        (473, TransitFailure::Standby),
        (500, TransitFailure::Status(http::StatusCode::INTERNAL_SERVER_ERROR)),
    ] {
        let errors = json!({ "errors": [TOKEN] }).to_string();
        let (outcome, told, count) = making([Answer::Status(status, errors)]).await;
        assert_eq!(
            (outcome, told, count),
            (Err(KeyError::SignerFailed), Some(failure), (1, 0))
        );
    }
    let lost = || Answer::Fail(TransportErrorKind::ConnectionLost);
    let (outcome, told, count) = making([lost(), Answer::Status(403, String::new())]).await;
    assert_eq!(
        (outcome, told, count),
        (Err(KeyError::SignerFailed), Some(TransitFailure::Denied), (2, 1))
    );
    let (_, told, count) = making([lost(), lost()]).await;
    assert_eq!(
        (told, count),
        (
            Some(TransitFailure::Transport(TransportErrorKind::ConnectionLost)),
            (2, 1)
        )
    );
    let (_, told, count) = making([Answer::Fail(TransportErrorKind::Tls)]).await;
    assert_eq!(
        (told, count),
        (Some(TransitFailure::Transport(TransportErrorKind::Tls)), (1, 0))
    );
}

#[tokio::test]
async fn answers_that_are_not_those_of_the_engine_are_refused() {
    let huge = format!(r#"{{"data":{{"type":"{}"}}}}"#, "x".repeat(256 * 1024));
    for body in ["", "[]", "{", r#"{"data":7}"#, r#"{"data":{"keys":7}}"#, &huge] {
        let gone = Answer::Status(404, String::new());
        let (outcome, ..) = making([ok(), Answer::Status(200, body.to_owned()), gone]).await;
        assert_eq!(outcome, Err(KeyError::SignerFailed), "{:.40}", body);
    }
    let key = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut data = json!({
            "type": "ecdsa-p256", "exportable": false, "allow_plaintext_backup": false, "derived": false,
            "latest_version": 1, "keys": { "1": { "public_key": "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n" } },
        });
        change(&mut data);
        Answer::Status(200, json!({ "data": data }).to_string())
    };
    let (outcome, ..) = making([ok(), key(&|_| {}), key(&|_| {}), ok(), ok()]).await;
    assert_eq!(outcome, Err(KeyError::SignerFailed), "no public key");
    // What was not made as it should be is destroyed: it is looked for, freed, deleted.
    let wrong: [&dyn Fn(&mut serde_json::Value); 9] = [
        &|data| data["exportable"] = json!(true),
        &|data| data["allow_plaintext_backup"] = json!(true),
        &|data| data["exportable"] = json!(null),
        &|data| data["derived"] = json!(true),
        &|data| data["latest_version"] = json!(2),
        &|data| data["type"] = json!("aes256-gcm96"),
        &|data| data["imported_key"] = json!(true),
        &|data| data["imported_key_allow_rotation"] = json!(false),
        &|data| data["imported_key_allow_rotation"] = json!(true),
    ];
    for change in wrong {
        let (outcome, _, count) = making([ok(), key(change), key(change), ok(), ok()]).await;
        assert_eq!((outcome, count), (Err(KeyError::Mismatch), (5, 0)));
    }
}

#[tokio::test]
async fn an_anchor_that_is_first_written_while_it_is_looked_for_was_not_deleted() {
    let gone = || Answer::Status(404, String::new());
    let told = || Answer::Status(200, json!({ "data": { "current_version": 1 } }).to_string());
    let place = Anchored {
        epoch: 1,
        rows: 7,
        mac: [1; 32],
    };
    let data = json!({ "data": { "data": { "anchor": place.to_line() }, "metadata": { "version": 1 } } });
    let written = Answer::Status(200, data.to_string());
    for (last, expected) in [(written, Ok(Some(place))), (gone(), Err(AnchorError::Malformed))] {
        let (server, _) = scripted([gone(), told(), last]);
        let anchor = KvAnchor::new(&server, "secret", "shipbound/anchor").unwrap();
        assert_eq!(anchor.read().await, expected);
    }
}

#[tokio::test]
async fn a_server_that_never_answers_costs_its_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    let exempt = Loopback::exact(&authority).unwrap();
    let address = Target::parse_allowing(&format!("http://{authority}"), std::slice::from_ref(&exempt)).unwrap();
    let transport = ReqwestTransport::builder().allow_loopback(exempt).build().unwrap();
    let clock = Arc::new(ManualClock::at(SystemClock::new().now()));
    let server = VaultServer::builder(address, TOKEN)
        .limit(Duration::from_secs(7))
        .build(Arc::new(transport), clock.clone())
        .unwrap();
    let transit = Transit::new(&server, "transit").unwrap();
    let making = tokio::spawn(async move { make(&transit, ES256).await.map(|_stored| ()) });
    // It is connected, and its request read, before the time is over.
    let connection = tokio::task::spawn_blocking(move || {
        let (mut connection, _) = listener.accept().unwrap();
        std::io::Read::read(&mut connection, &mut [0; 64]).unwrap();
        connection
    });
    let _held = connection.await.unwrap();
    assert!(!making.is_finished());
    clock.advance(Duration::from_secs(7));
    assert_eq!(making.await.unwrap(), Err(KeyError::SignerFailed));
    assert_eq!(server.failure(), Some(TransitFailure::Late));
}

#[test]
fn nothing_is_smuggled_into_a_path() {
    let address = Target::parse("https://vault.shipper.example").unwrap();
    let build = |namespace: &str| {
        VaultServer::builder(address.clone(), TOKEN)
            .namespace(namespace)
            .build(Arc::new(Scripted::default()), Arc::new(SystemClock::new()))
    };
    let server = build("team/one").unwrap();
    for mount in [
        "",
        "transit/",
        "/transit",
        "a b",
        "..",
        "transit/../sys",
        "transit?x",
        "transit%2f",
    ] {
        assert!(Transit::new(&server, mount).is_err(), "{mount}");
    }
    assert!(Transit::new(&server, "team/transit").is_ok());
    assert_eq!(build("a\nb").unwrap_err(), TransitError::Namespace);
    fn is_holder(_: &impl KeyHolder) {}
    is_holder(&Transit::new(&server, "transit").unwrap());
}
