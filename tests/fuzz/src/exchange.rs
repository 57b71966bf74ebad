//! What issuers and carriers answer, through a client whose transport hands out answers from the input.
//!
//! An input is an octet of options and then answers, with [`BETWEEN`] between them. An answer is a line with the status,
//! header fields line by line, an empty line, and the body.

use std::collections::{HashSet, VecDeque};
use std::error::Error as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use serde_json::{Value, json};
use shipbound::binding::bearer::Bearer;
use shipbound::binding::dpop::Dpop;
use shipbound::binding::nonce::{MAX_NONCE, Nonce};
use shipbound::carriers::{CarrierFault, CarrierProfile, FaultKind, FaultPlace, FaultShape};
use shipbound::clock::{Clock, ManualClock, Timestamp};
use shipbound::credentials::{Credential, MemoryCredentials};
use shipbound::exchange::quirks::{BodyCode, LifetimeAt, Quirks};
use shipbound::jose::{Algorithm, ath};
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::{CarrierId, Environment, TenantId};
use shipbound::token::TokenAt;
use shipbound::transport::{Body, Outgoing, Route, Transport, TransportError};
use shipbound::{Client, Error, Parts};

use crate::{cut, header_lines};

/// Stands between answers: no JSON text and no header field can hold it.
pub(crate) const BETWEEN: u8 = 0x1e;

const TOKEN: &str = "the-token-of-the-sandbox-0123456789~";
const SECRET: &str = "the-secret-of-the-shipper-0123456789";
const ISSUER: &str = "https://auth.carrier.example";
const API: &str = "https://api.carrier.example";
const NOW: i64 = 1_800_000_000;

/// The header fields of one answer.
pub(crate) fn nonce(data: &[u8]) {
    let headers = header_lines(data.split(|byte| *byte == b'\n'));
    if let Ok(Some(nonce)) = Nonce::from_headers(&headers) {
        let text = nonce.as_str();
        assert!((1..=MAX_NONCE).contains(&text.len()));
        assert!(
            text.bytes()
                .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
        );
        assert_eq!(serde_json::to_string(text).unwrap(), format!("\"{text}\""));
        assert_eq!(headers.get_all("dpop-nonce").iter().count(), 1);
    }
}

/// Answers of the API alone are the input's.
pub(crate) fn challenge(data: &[u8]) {
    run(data, &[Kind::Api]);
}

/// Answers of the token endpoint alone are the input's.
pub(crate) fn token_answer(data: &[u8]) {
    run(data, &[Kind::Token]);
}

/// The issuer's metadata alone are the input's.
pub(crate) fn metadata(data: &[u8]) {
    run(data, &[Kind::Metadata]);
}

/// Every answer is the input's.
pub(crate) fn exchange(data: &[u8]) {
    run(data, &[Kind::Metadata, Kind::Token, Kind::Api]);
}

/// Refusals of the API, which the profile reads.
pub(crate) fn fault(data: &[u8]) {
    let Some((options, answer)) = data.split_first() else {
        return;
    };
    // A bearer token, by `GET`: the first answer is the call's.
    run(&[&[options & !3 | 9], answer].concat(), &[Kind::Api]);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Metadata,
    Token,
    Api,
}

#[derive(Clone, Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn read(text: &[u8]) -> Self {
        let (head, body) = cut(text, b"\n\n");
        let mut lines = head.split(|byte| *byte == b'\n');
        let status = lines.next().and_then(|line| StatusCode::from_bytes(line).ok());
        Self {
            status: status.unwrap_or(StatusCode::OK),
            headers: header_lines(lines),
            body: Bytes::copy_from_slice(body),
        }
    }

    fn usual(kind: Kind) -> Self {
        let body = match kind {
            Kind::Metadata => json!({ "issuer": ISSUER, "token_endpoint": format!("{ISSUER}/token") }),
            Kind::Token => json!({ "access_token": TOKEN, "token_type": "DPoP", "expires_in": 3600 }),
            Kind::Api => json!({ "labels": [] }),
        };
        Self::read(format!("200\ncontent-type: application/json\n\n{body}").as_bytes())
    }
}

/// Hands out answers, and holds every request against what the client promises.
#[derive(Debug)]
struct Script {
    from_input: &'static [Kind],
    bearer: bool,
    clock: Arc<ManualClock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    answers: VecDeque<Answer>,
    seen: Vec<(Kind, StatusCode)>,
    ids: HashSet<String>,
    /// Nonces by the origin that gave them and whether that was an API's answer.
    nonces: HashSet<(bool, String, String)>,
}

#[derive(Clone, Debug)]
struct Scripted(Arc<Script>);

#[async_trait]
impl Transport for Scripted {
    async fn send(&self, request: Outgoing, _route: &Route) -> Result<http::Response<Body>, TransportError> {
        let script = &*self.0;
        let origin = request.target.origin().to_string();
        assert!([ISSUER, API].contains(&origin.as_str()), "sent to {origin}");
        let kind = if request.method == Method::GET && request.target.path().starts_with("/.well-known/") {
            Kind::Metadata
        } else if request
            .headers
            .get("content-type")
            .is_some_and(|value| value == "application/x-www-form-urlencoded")
        {
            Kind::Token
        } else {
            Kind::Api
        };
        let state = &mut *script.state.lock().unwrap();
        script.check(kind, &origin, &request, state);
        let scripted = script
            .from_input
            .contains(&kind)
            .then(|| state.answers.pop_front())
            .flatten();
        let answer = scripted.unwrap_or_else(|| Answer::usual(kind));
        if let Ok(Some(nonce)) = Nonce::from_headers(&answer.headers) {
            state
                .nonces
                .insert((kind == Kind::Api, origin, nonce.as_str().to_owned()));
        }
        state.seen.push((kind, answer.status));
        let mut response = http::Response::new(Body::from(answer.body));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }
}

impl Script {
    fn check(&self, kind: Kind, origin: &str, request: &Outgoing, state: &mut State) {
        let authorization = request
            .headers
            .get("authorization")
            .map(|value| value.to_str().unwrap());
        let proof = request.headers.get("dpop").map(|value| value.to_str().unwrap());
        let token = match (kind, authorization) {
            (Kind::Metadata, None) | (Kind::Token, _) => None,
            (Kind::Api, Some(text)) => {
                assert_eq!(origin, API);
                let (scheme, token) = text.split_once(' ').expect("a scheme");
                assert_eq!(scheme, if self.bearer { "Bearer" } else { "DPoP" });
                Some(token)
            }
            other => panic!("{other:?}"),
        };
        let Some(proof) = proof else {
            assert!(self.bearer || kind == Kind::Metadata, "{kind:?} without a proof");
            return;
        };
        assert!(!self.bearer && kind != Kind::Metadata, "{kind:?} with a proof");
        // The signature is looked at elsewhere: it would take most of the time here.
        let claims = proof.split('.').nth(1).expect("three segments");
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        assert_eq!(claims["htm"], request.method.as_str());
        assert_eq!(claims["htu"], request.target.htu());
        assert_eq!(claims.get("ath").and_then(Value::as_str), token.map(ath).as_deref());
        assert!(
            state.ids.insert(claims["jti"].as_str().unwrap().to_owned()),
            "a jti twice"
        );
        let ahead = claims["iat"].as_i64().unwrap() - self.clock.now().unix_seconds();
        assert!((-301..=61).contains(&ahead), "{ahead} s");
        if let Some(nonce) = claims.get("nonce") {
            let page = (kind == Kind::Api, origin.to_owned(), nonce.as_str().unwrap().to_owned());
            assert!(state.nonces.contains(&page), "{page:?} was not given");
        }
    }
}

fn run(data: &[u8], from_input: &'static [Kind]) {
    let Some((options, answers)) = data.split_first() else {
        return;
    };
    let bearer = options & 1 != 0;
    let clock = Arc::new(ManualClock::at(Timestamp::from_unix_seconds(NOW)));
    let script = Arc::new(Script {
        from_input,
        bearer,
        clock: Arc::clone(&clock),
        state: Mutex::new(State {
            answers: answers
                .split(|byte| *byte == BETWEEN)
                .take(16)
                .map(Answer::read)
                .collect(),
            ..State::default()
        }),
    });
    let client = client(*options, &clock, &script);
    let shipper = client.tenant("acme").unwrap();
    let method = if options & 2 == 0 { Method::GET } else { Method::POST };
    for _ in 0..2 {
        let before = script.state.lock().unwrap().seen.len();
        let call = shipper.request(method.clone(), "/ship/v1?x=1").body("{}").send();
        let outcome = call.now_or_never().expect("nothing waits while answers come at once");
        let state = script.state.lock().unwrap();
        let seen = &state.seen[before..];
        let of = |wanted: Kind| seen.iter().filter(move |(kind, _)| *kind == wanted);
        assert!(of(Kind::Api).count() <= 3 && seen.len() <= 15, "{seen:?}");
        for (at, (_, status)) in of(Kind::Api).enumerate() {
            let last = at + 1 == of(Kind::Api).count();
            assert!(last || matches!(status.as_u16(), 401 | 421), "repeated after {seen:?}");
        }
        match outcome {
            Ok(response) => {
                let last = of(Kind::Api).next_back().map(|(_, status)| *status);
                assert_eq!(Some(response.status()), last);
                let refused = response.status().is_client_error() || response.status().is_server_error();
                assert!(
                    response.fault().is_some() || !refused,
                    "a refusal that is read by nobody"
                );
                response.fault().into_iter().for_each(check_fault);
            }
            Err(error) => {
                error.fault().into_iter().for_each(check_fault);
                check_error(&error);
            }
        }
        drop(state);
        clock.advance(Duration::from_secs(40));
    }
}

fn client(options: u8, clock: &Arc<ManualClock>, script: &Arc<Script>) -> Client {
    let carrier = CarrierId::new("carrier").unwrap();
    let at = if script.from_input.contains(&Kind::Metadata) {
        TokenAt::Issuer(ISSUER.to_owned())
    } else {
        TokenAt::Endpoint(format!("{ISSUER}/token"))
    };
    let mut quirks = Quirks::default();
    if options & 4 != 0 {
        quirks.not_processed = vec![BodyCode::new("/errors/0/code", "NOT.AUTHORIZED.ERROR")];
        quirks.token_answer.token_type_optional = true;
        quirks.token_answer.lifetime = LifetimeAt::unix_seconds("expires_at");
    }
    let mut profile = CarrierProfile::custom(carrier.clone(), Environment::Sandbox, API, at).quirks(quirks);
    if options & 8 != 0 {
        let [code, text] = ["x-code", "x-text"].map(HeaderName::from_static);
        let shape = FaultShape::at(FaultPlace::body("/errors/0/code", "/errors/0/message"))
            .or_at(FaultPlace::headers(code, text))
            .code("KNOWN", FaultKind::Conflict);
        profile = profile.faults(shape);
    }
    let credentials = MemoryCredentials::new();
    let shipper = TenantId::new("acme").unwrap();
    credentials.put(shipper, &carrier, Environment::Sandbox, Credential::new("id", SECRET));
    let parts = Parts::builder()
        .token_capacity(1)
        .keys(MemoryKeyStore::with_clock(Arc::clone(clock) as Arc<dyn Clock>))
        .credentials(credentials)
        .clock(Arc::clone(clock) as Arc<dyn Clock>)
        .transport(Scripted(Arc::clone(script)))
        .build()
        .unwrap();
    let builder = Client::builder(profile, &parts);
    if script.bearer {
        builder.binding(Bearer).build()
    } else {
        builder
            .binding(Dpop::preferring([Algorithm::Es256, Algorithm::Ed25519]))
            .build()
    }
    .unwrap()
}

/// What a fault says is short and has no secret in it, and what it shows is the profile's own.
fn check_fault(fault: &CarrierFault) {
    let message = fault.message().unwrap_or_default();
    assert!(
        message.chars().count() <= 300 && !message.chars().any(char::is_control),
        "{message:?}"
    );
    assert!(!message.contains(TOKEN) && !message.contains(SECRET), "{message}");
    let words: Vec<&str> = message.split(' ').collect();
    let digits = |word: &&str| word.chars().filter(char::is_ascii_digit).count();
    let long = words
        .chunk_by(|one, other| digits(one) > 0 && digits(other) > 0)
        .find(|run| run.iter().map(digits).sum::<usize>() > 4);
    assert_eq!(long, None, "digits that may be a number of somebody's");
    assert!(
        !message.contains(['"', '`', '<', '@', '\u{ab}', '\u{201e}']),
        "{message}"
    );
    let code = fault.code().unwrap_or_default();
    assert!(
        code.len() <= 64
            && code
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    );
    assert_eq!(fault.may_mean().first(), Some(&fault.kind()));
    let shown = format!("{fault} {fault:?}");
    assert!(fault.has_known_code() || !shown.contains("KNOWN"), "{shown}");
}

/// No error shows a token or a secret, however deep one looks.
fn check_error(error: &Error) {
    let mut shown = format!(
        "{error} {error:?} {} {} {:?}",
        error.code(),
        error.advice(),
        error.culprit()
    );
    let mut cause = error.source();
    while let Some(error) = cause {
        shown.push_str(&format!(" {error} {error:?}"));
        cause = error.source();
    }
    assert!(!shown.contains(TOKEN) && !shown.contains(SECRET), "{shown}");
    if let Some(at) = error.retry_at() {
        assert!(at.unix_seconds() >= NOW, "{at}");
    }
}
