//! How long a client waits, whose clock it follows, and how far: with a transport that is as slow, and a server that is as
//! wrong about the time, as it likes. No test waits for real.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::fmt;
use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, StatusCode};
use http_body::Frame;
use serde_json::Value;
use shipbound::binding::BindingStrategy;
use shipbound::binding::bearer::Bearer;
use shipbound::binding::dpop::Dpop;
use shipbound::carriers::CarrierProfile;
use shipbound::client::{Client, Response};
use shipbound::clock::{Clock, ManualClock, Timestamp};
use shipbound::credentials::{Credential, MemoryCredentials};
use shipbound::error::{Awaited, ErrorKind};
use shipbound::exchange::budget::Limits;
use shipbound::jose::{Algorithm, Thumbprint};
use shipbound::keys::{Backend, KeyHandle, KeyId, KeyStore, LocalKey, MemoryKeyStore, Purpose, Signer, Signing};
use shipbound::keys::{KeyError, KeySpec, Retired};
use shipbound::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, Owner, TenantId};
use shipbound::token::TokenAt;
use shipbound::transport::{Body, Outgoing, Route, Stage, Transport, TransportError};
use shipbound::{Error, Parts};

const NOW: i64 = 1_800_000_000;

/// What a request meets.
enum Reply {
    Now(http::Response<Body>),
    Never,
}

type Server = Box<dyn Fn(&Outgoing) -> Reply + Send + Sync>;

/// A transport that asks a function.
#[derive(Clone)]
struct Asked(Arc<(Server, Mutex<Vec<Outgoing>>)>);

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asked")
    }
}

#[async_trait]
impl Transport for Asked {
    async fn send(&self, request: Outgoing, _route: &Route) -> Result<http::Response<Body>, TransportError> {
        let reply = (self.0.0)(&request);
        self.0.1.lock().unwrap().push(request);
        match reply {
            Reply::Now(response) => Ok(response),
            Reply::Never => pending().await,
        }
    }
}

/// A body that comes in octet by octet, one a second, and has no end.
struct Drip {
    clock: Arc<ManualClock>,
    next: BoxFuture<'static, ()>,
}

impl Drip {
    fn body(clock: &Arc<ManualClock>) -> Body {
        let clock = Arc::clone(clock);
        let next = clock.sleep_until(clock.monotonic() + Duration::from_secs(1));
        Body::stream(Self { clock, next })
    }
}

impl http_body::Body for Drip {
    type Data = Bytes;
    type Error = TransportError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        if self.next.poll_unpin(context).is_pending() {
            return Poll::Pending;
        }
        self.next = self.clock.sleep_until(self.clock.monotonic() + Duration::from_secs(1));
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b" ")))))
    }
}

fn is_token(request: &Outgoing) -> bool {
    request.target.path() == "/token"
}

fn answer(status: u16, body: impl Into<Body>) -> http::Response<Body> {
    let mut answer = http::Response::new(body.into());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert("content-type", json);
    answer
}

fn token(kind: &str) -> Reply {
    let body = format!(r#"{{"access_token":"t","token_type":"{kind}","expires_in":36000}}"#);
    Reply::Now(answer(200, Bytes::from(body)))
}

struct World {
    clock: Arc<ManualClock>,
    client: Client,
    transport: Asked,
}

impl World {
    fn new(clock: Arc<ManualClock>, server: Server) -> Self {
        Self::with(clock, server, Dpop::es256(), Limits::default(), None)
    }

    fn with(
        clock: Arc<ManualClock>,
        server: Server,
        strategy: impl BindingStrategy + 'static,
        limits: Limits,
        keys: Option<Arc<dyn KeyStore>>,
    ) -> Self {
        let carrier = CarrierId::new("carrier").unwrap();
        let credentials = MemoryCredentials::new();
        for tenant in ["acme", "other"] {
            let tenant = TenantId::new(tenant).unwrap();
            let credential = Credential::new("client", "s3cr3t");
            credentials.put(tenant, &carrier, Environment::Sandbox, credential);
        }
        let transport = Asked(Arc::new((server, Mutex::default())));
        let parts = Parts::builder()
            .shared_keys(keys.unwrap_or_else(|| Arc::new(MemoryKeyStore::with_clock(clock.clone()))))
            .credentials(credentials)
            .clock(clock.clone())
            .transport(transport.clone())
            .build()
            .unwrap();
        let endpoint = TokenAt::Endpoint("https://auth.carrier.example/token".to_owned());
        let base = "https://api.carrier.example";
        let profile = CarrierProfile::custom(carrier, Environment::Sandbox, base, endpoint);
        let client = Client::builder(profile, &parts)
            .binding(strategy)
            .limits(limits)
            .build()
            .unwrap();
        Self {
            clock,
            client,
            transport,
        }
    }

    fn sent(&self) -> Vec<Outgoing> {
        std::mem::take(&mut self.transport.0.1.lock().unwrap())
    }

    /// The outcome of a call, and after how many seconds it came: to the second, and not a nanosecond early.
    fn call(&self, method: Method) -> (Result<Response, Error>, u64) {
        self.call_of("acme", method)
    }

    fn call_of(&self, tenant: &str, method: Method) -> (Result<Response, Error>, u64) {
        let tenant = self.client.tenant(tenant).unwrap();
        let mut call = Box::pin(tenant.request(method, "/rates").send());
        let nano = Duration::from_nanos(1);
        for seconds in 0..1000 {
            if let Some(outcome) = (&mut call).now_or_never() {
                return (outcome, seconds);
            }
            self.clock.advance(Duration::from_secs(1) - nano);
            assert!((&mut call).now_or_never().is_none(), "before its time");
            self.clock.advance(nano);
        }
        panic!("the call does not end");
    }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_unix_seconds(NOW)))
}

fn late(error: &Error) -> (Awaited, Stage) {
    match error.kind() {
        ErrorKind::Deadline(awaited) => (*awaited, error.stage()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_is_waited_for_thirty_seconds() {
    for method in [Method::POST, Method::GET] {
        let silent = |request: &Outgoing| if is_token(request) { token("DPoP") } else { Reply::Never };
        let world = World::new(clock(), Box::new(silent));
        let (outcome, seconds) = world.call(method);
        assert_eq!(
            (late(&outcome.unwrap_err()), seconds),
            ((Awaited::Answer, Stage::MaybeSent), 30)
        );
        assert_eq!(world.sent().len(), 2, "not repeated: the server may be busy with it");
    }
}

#[test]
fn a_body_that_drips_in_ends_with_the_attempt() {
    let clock = clock();
    let dripping = Arc::clone(&clock);
    let server = move |request: &Outgoing| match is_token(request) {
        true => token("DPoP"),
        false => Reply::Now(answer(200, Drip::body(&dripping))),
    };
    let world = World::new(clock, Box::new(server));
    let (outcome, seconds) = world.call(Method::POST);
    // The head came, so the carrier has decided.
    assert_eq!(
        (late(&outcome.unwrap_err()), seconds),
        ((Awaited::Answer, Stage::Answered), 30)
    );
}

#[test]
fn a_token_is_waited_for_ten_seconds_silent_or_dripping() {
    for drips in [false, true] {
        let clock = clock();
        let dripping = Arc::clone(&clock);
        let server = move |request: &Outgoing| {
            assert!(is_token(request));
            if drips {
                Reply::Now(answer(200, Drip::body(&dripping)))
            } else {
                Reply::Never
            }
        };
        let world = World::new(clock, Box::new(server));
        let (outcome, seconds) = world.call(Method::POST);
        // The carrier has not seen the call.
        assert_eq!(
            (late(&outcome.unwrap_err()), seconds),
            ((Awaited::Token, Stage::NotSent), 10)
        );
    }
}

#[test]
fn a_call_ends_after_sixty_seconds_wherever_it_is() {
    let patient = || {
        Limits::default()
            .attempt(Duration::MAX)
            .token_exchange(Duration::from_secs(600))
    };
    let silent = |request: &Outgoing| if is_token(request) { token("DPoP") } else { Reply::Never };
    let world = World::with(clock(), Box::new(silent), Dpop::es256(), patient(), None);
    let (outcome, seconds) = world.call(Method::POST);
    assert_eq!(
        (late(&outcome.unwrap_err()), seconds),
        ((Awaited::Call, Stage::MaybeSent), 60)
    );

    let world = World::with(clock(), Box::new(|_| Reply::Never), Bearer, patient(), None);
    let (outcome, seconds) = world.call(Method::POST);
    assert_eq!(
        (late(&outcome.unwrap_err()), seconds),
        ((Awaited::Call, Stage::NotSent), 60)
    );
}

#[test]
fn limits_are_what_they_are_set_to() {
    let silent = |request: &Outgoing| {
        if is_token(request) {
            token("bearer")
        } else {
            Reply::Never
        }
    };
    let limits = Limits::default().attempt(Duration::from_secs(3));
    let world = World::with(clock(), Box::new(silent), Bearer, limits, None);
    assert_eq!(world.call(Method::GET).1, 3);
    let limits = Limits::default().call(Duration::from_secs(2));
    let world = World::with(clock(), Box::new(silent), Bearer, limits, None);
    assert_eq!(world.call(Method::GET).1, 2);
    let limits = Limits::default().token_exchange(Duration::from_secs(1));
    let world = World::with(clock(), Box::new(|_| Reply::Never), Bearer, limits, None);
    assert_eq!(world.call(Method::GET).1, 1);
    let limits = Limits::default().answer(4).token_answer(1024);
    let five = |request: &Outgoing| match is_token(request) {
        true => token("bearer"),
        false => Reply::Now(answer(200, Bytes::from_static(b"12345"))),
    };
    let world = World::with(clock(), Box::new(five), Bearer, limits, None);
    assert_eq!(world.call(Method::GET).0.unwrap_err().code(), "answer_too_large");
}

/// A store whose key is in a box that does not answer.
#[derive(Debug)]
struct Deaf(KeyHandle);

#[derive(Debug)]
struct Mute;

impl Signer for Mute {
    fn sign<'a>(&'a self, _message: &'a [u8]) -> Signing<'a> {
        Signing::Later(Box::pin(pending()))
    }
}

#[async_trait]
impl KeyStore for Deaf {
    async fn active(&self, _owner: &Owner, _purpose: Purpose) -> Result<Option<KeyHandle>, KeyError> {
        Ok(Some(self.0.clone()))
    }

    async fn get(&self, _owner: &Owner, _key: &KeyId) -> Result<Option<KeyHandle>, KeyError> {
        Ok(Some(self.0.clone()))
    }

    async fn with_thumbprint(
        &self,
        _owner: &Owner,
        _purpose: Purpose,
        jkt: &Thumbprint,
    ) -> Result<Option<KeyHandle>, KeyError> {
        Ok(Some(self.0.clone()).filter(|key| key.jkt() == *jkt))
    }

    async fn create(&self, _owner: &Owner, _spec: KeySpec) -> Result<KeyHandle, KeyError> {
        Err(KeyError::StoreUnavailable)
    }

    async fn promote(&self, _: &Owner, _: &KeyId, _: Option<&KeyId>, _: Timestamp) -> Result<bool, KeyError> {
        Ok(false)
    }

    async fn retire(&self, _owner: &Owner, _key: &KeyId, _to: Retired) -> Result<bool, KeyError> {
        Ok(false)
    }
}

fn deaf(tenant: &str) -> Arc<dyn KeyStore> {
    let owner = Owner::from(ConnectionId::new(
        DeploymentId::default_deployment(),
        TenantId::new(tenant).unwrap().into(),
        CarrierId::new("carrier").unwrap(),
        Environment::Sandbox,
        AccountId::main(),
    ));
    let public = LocalKey::generate(Algorithm::Es256, Backend::default())
        .unwrap()
        .public()
        .clone();
    let id = KeyId::random().unwrap();
    Arc::new(Deaf(KeyHandle::new(owner, id, Purpose::Proof, public, Arc::new(Mute))))
}

#[test]
fn a_signature_that_does_not_come_ends_with_the_token_exchange() {
    let keys = deaf("acme");
    let limits = Limits::default();
    let world = World::with(clock(), Box::new(|_| Reply::Never), Dpop::es256(), limits, Some(keys));
    let (outcome, seconds) = world.call(Method::POST);
    let (awaited, stage) = late(&outcome.unwrap_err());
    assert!(matches!(awaited, Awaited::Proof | Awaited::Token));
    assert_eq!((stage, seconds), (Stage::NotSent, 10));
    assert!(world.sent().is_empty(), "a token is not asked for without a proof");
}

#[test]
fn a_key_of_another_owner_is_not_used() {
    let world = World::with(
        clock(),
        Box::new(|_| Reply::Never),
        Dpop::es256(),
        Limits::default(),
        Some(deaf("other")),
    );
    let (outcome, _) = world.call(Method::POST);
    let error = outcome.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Key(KeyError::WrongOwner)));
    assert!(world.sent().is_empty());
}

/// The `iat` of every proof to the API, less the clock's seconds.
fn dated(sent: &[Outgoing], now: i64) -> Vec<i64> {
    let iat = |request: &Outgoing| {
        let proof = request.headers.get("dpop").unwrap().to_str().unwrap();
        let payload = URL_SAFE_NO_PAD.decode(proof.split('.').nth(1).unwrap()).unwrap();
        serde_json::from_slice::<Value>(&payload).unwrap()["iat"]
            .as_i64()
            .unwrap()
            - now
    };
    sent.iter().filter(|request| !is_token(request)).map(iat).collect()
}

/// An API that refuses every proof, and says that its clock differs by this much.
fn liar(clock: &Arc<ManualClock>, offset: &Arc<Mutex<i64>>) -> Server {
    let (clock, offset) = (Arc::clone(clock), Arc::clone(offset));
    Box::new(move |request| {
        if is_token(request) {
            return token("DPoP");
        }
        let theirs = clock.now().offset_seconds(*offset.lock().unwrap()).unix_seconds();
        let date = std::time::UNIX_EPOCH + Duration::from_secs(u64::try_from(theirs).unwrap_or(0));
        let mut refusal = answer(401, Body::empty());
        let headers = refusal.headers_mut();
        headers.insert("date", httpdate::fmt_http_date(date).parse().unwrap());
        headers.insert(
            "www-authenticate",
            HeaderValue::from_static(r#"DPoP error="invalid_dpop_proof""#),
        );
        Reply::Now(refusal)
    })
}

#[test]
fn no_date_of_a_server_moves_a_proof_out_of_its_bounds() {
    let (clock, offset) = (clock(), Arc::new(Mutex::new(0)));
    let world = World::new(clock.clone(), liar(&clock, &offset));
    let mut moved = 0;
    for claimed in [
        60,
        -300,
        61,
        -301,
        59,
        3600,
        -3600,
        10_000_000,
        -NOW,
        1,
        -1,
        30,
        7_000_000_000,
        -45,
        60,
        60,
        -300,
    ] {
        *offset.lock().unwrap() = claimed;
        let (outcome, _) = world.call(Method::GET);
        let error = outcome.unwrap_err();
        assert!(
            matches!(error.code(), "invalid_dpop_proof" | "clock_offset_refused"),
            "{claimed}: {error}"
        );
        if let ErrorKind::ClockOffsetRefused { offset_seconds } = error.kind() {
            assert_eq!(*offset_seconds, claimed);
        }
        let dated = dated(&world.sent(), clock.now().unix_seconds());
        assert!(dated.len() <= 2, "one repeat at most");
        assert!(
            dated.iter().all(|offset| (-300..=60).contains(offset)),
            "{claimed}: {dated:?}"
        );
        moved += usize::from(dated.last() == Some(&claimed));
        clock.advance(Duration::from_secs(1));
    }
    assert!(moved >= 7, "offsets within the bounds are followed: {moved}");
}

#[test]
fn an_offset_is_one_connections_and_is_forgotten_after_an_hour() {
    let (clock, offset) = (clock(), Arc::new(Mutex::new(-90)));
    let world = World::new(clock.clone(), liar(&clock, &offset));
    let dates = |tenant| {
        let _refused = world.call_of(tenant, Method::GET);
        dated(&world.sent(), clock.now().unix_seconds())
    };
    assert_eq!(dates("acme"), [0, -90]);
    assert_eq!(dates("acme"), [-90], "what was learned is kept");
    assert_eq!(dates("other"), [0, -90], "by this connection alone");
    clock.advance(Duration::from_secs(3599));
    assert_eq!(dates("acme"), [-90]);
    clock.advance(Duration::from_secs(1));
    assert_eq!(dates("acme"), [0, -90]);
}

#[test]
fn a_wall_clock_that_is_set_back_does_not_prolong_a_pause() {
    let clock = clock();
    let throttle = |request: &Outgoing| {
        if is_token(request) {
            return token("DPoP");
        }
        let mut refusal = answer(503, Body::empty());
        refusal
            .headers_mut()
            .insert("retry-after", HeaderValue::from_static("Fri, 31 Dec 9999 23:59:59 GMT"));
        Reply::Now(refusal)
    };
    let world = World::new(clock.clone(), Box::new(throttle));
    let error = world.call(Method::POST).0.unwrap_err();
    assert_eq!((error.code(), error.stage()), ("rate_limited", Stage::Answered));
    assert_eq!(error.response().unwrap().status(), 503);
    assert_eq!(error.retry_at(), Some(Timestamp::from_unix_seconds(NOW + 900)));
    world.sent();
    clock.set_wall(Timestamp::from_unix_seconds(NOW - 1_000_000));
    let error = world.call(Method::POST).0.unwrap_err();
    assert_eq!((error.code(), error.stage()), ("rate_limited", Stage::NotSent));
    assert_eq!(
        error.retry_at(),
        Some(Timestamp::from_unix_seconds(NOW - 1_000_000 + 900))
    );
    assert!(world.sent().is_empty());
    // Another tenant's connection is not closed by it.
    assert_eq!(
        world.call_of("other", Method::POST).0.unwrap_err().stage(),
        Stage::Answered
    );
    world.sent();
    clock.advance(Duration::from_secs(900));
    assert_eq!(world.call(Method::POST).0.unwrap_err().stage(), Stage::Answered);
    assert_eq!(world.sent().len(), 1);
}
