//! One HTTP/1.1 server on loopback that is an issuer at `/token` and `/revoke`, and a carrier's API everywhere else. It records every
//! request and answers what it is told to; where it is told nothing, it gives a new token or an empty JSON object.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::collections::VecDeque;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName};
use serde_json::Value;
use shipbound::clock::{Clock, ManualClock};
use shipbound::target::danger::Loopback;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// Which half of the server a request went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    Issuer,
    Api,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// The connection it came on, counted from 1.
    pub connection: usize,
    pub lane: Lane,
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().map(|value| value.to_str().unwrap());
        assert!(values.next().is_none(), "two {name}");
        value
    }

    /// The claims of the request's proof.
    pub fn claims(&self) -> Option<Value> {
        Some(part(self.header("dpop")?, 1))
    }

    /// The key of the request's proof.
    pub fn jwk(&self) -> Option<Value> {
        Some(part(self.header("dpop")?, 0)["jwk"].take())
    }

    /// The claims of the request's client assertion.
    pub fn assertion(&self) -> Option<Value> {
        Some(part(&self.parameter("client_assertion")?, 1))
    }

    /// A parameter of the request's form.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let mut found = form_urlencoded::parse(self.body.as_bytes()).filter(|(known, _)| known == name);
        let value = found.next().map(|(_, value)| value.into_owned());
        assert!(found.next().is_none(), "two {name}");
        value
    }

    pub fn nonce(&self) -> Option<String> {
        self.claims()?["nonce"].as_str().map(str::to_owned)
    }
}

/// A part of a JWS in compact form.
fn part(jws: &str, number: usize) -> Value {
    let octets = URL_SAFE_NO_PAD.decode(jws.split('.').nth(number).unwrap()).unwrap();
    serde_json::from_slice(&octets).unwrap()
}

/// What a request is answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// The server's clock less the client's.
    pub date_offset_seconds: i64,
    /// Not before this is notified.
    pub after: Option<Arc<Notify>>,
    /// Instead of an answer the connection is closed.
    pub hang_up: bool,
}

impl Answer {
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: String::new(),
            date_offset_seconds: 0,
            after: None,
            hang_up: false,
        }
    }

    pub fn json(status: u16, body: impl Into<String>) -> Self {
        let body = body.into();
        Self {
            body,
            ..Self::status(status)
        }
        .header("content-type", "application/json")
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn hang_up() -> Self {
        let hang_up = true;
        Self {
            hang_up,
            ..Self::status(500)
        }
    }

    pub fn after(mut self, signal: &Arc<Notify>) -> Self {
        self.after = Some(Arc::clone(signal));
        self
    }
}

#[derive(Debug)]
struct State {
    clock: Arc<ManualClock>,
    token_type: &'static str,
    queues: Mutex<[VecDeque<Answer>; 2]>,
    seen: Mutex<Vec<Request>>,
    tokens: watch::Sender<usize>,
    arrived: watch::Sender<usize>,
}

/// The server; it ends with its runtime.
#[derive(Debug)]
pub struct Scripted {
    pub address: SocketAddr,
    state: Arc<State>,
}

impl Scripted {
    /// A server whose tokens have this type.
    pub async fn start(clock: &Arc<ManualClock>, token_type: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            clock: Arc::clone(clock),
            token_type,
            queues: Mutex::default(),
            seen: Mutex::default(),
            tokens: watch::Sender::new(0),
            arrived: watch::Sender::new(0),
        });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            for connection in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, connection, Arc::clone(&shared)));
            }
        });
        Self { address, state }
    }

    pub fn loopback(&self) -> Loopback {
        Loopback::exact(&self.address.to_string()).unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next answer of this half.
    pub fn answer(&self, lane: Lane, answer: Answer) {
        self.state.queues.lock().unwrap()[lane as usize].push_back(answer);
    }

    /// Drops the answers that nobody has come for.
    pub fn unscript(&self) {
        *self.state.queues.lock().unwrap() = Default::default();
    }

    /// A token as the server gives it where it is told nothing else.
    pub fn token(&self) -> Answer {
        self.token_with(None)
    }

    /// The same with a refresh token beside it.
    pub fn token_with(&self, refresh_token: Option<&str>) -> Answer {
        self.state.token(refresh_token)
    }

    /// The requests since the last look.
    pub fn seen(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.seen.lock().unwrap())
    }

    /// Waits until so many requests have arrived in all.
    pub async fn arrived(&self, count: usize) {
        self.state
            .arrived
            .subscribe()
            .wait_for(|now| *now >= count)
            .await
            .unwrap();
    }

    /// How many requests have arrived in all.
    pub fn count(&self) -> usize {
        *self.state.arrived.borrow()
    }
}

impl State {
    fn token(&self, refresh_token: Option<&str>) -> Answer {
        let mut number = 0;
        self.tokens.send_modify(|tokens| {
            *tokens += 1;
            number = *tokens;
        });
        let kind = self.token_type;
        let next = refresh_token.map_or(String::new(), |next| format!(r#","refresh_token":"{next}""#));
        let body = format!(r#"{{"access_token":"token-{number}","token_type":"{kind}","expires_in":3600{next}}}"#);
        Answer::json(200, body)
    }

    fn next(&self, lane: Lane) -> Answer {
        let told = self.queues.lock().unwrap()[lane as usize].pop_front();
        told.unwrap_or_else(|| match lane {
            Lane::Issuer => self.token(None),
            Lane::Api => Answer::json(200, "{}"),
        })
    }
}

async fn serve(mut stream: TcpStream, connection: usize, state: Arc<State>) {
    let mut unread = Vec::new();
    while let Some(request) = read(&mut stream, &mut unread, connection).await {
        let answer = state.next(request.lane);
        state.seen.lock().unwrap().push(request);
        state.arrived.send_modify(|count| *count += 1);
        if let Some(signal) = &answer.after {
            signal.notified().await;
        }
        if answer.hang_up {
            return;
        }
        let date = state
            .clock
            .now()
            .offset_seconds(answer.date_offset_seconds)
            .unix_seconds();
        let date = std::time::UNIX_EPOCH + Duration::from_secs(u64::try_from(date).unwrap());
        let mut text = format!(
            "HTTP/1.1 {} X\r\nDate: {}\r\n",
            answer.status,
            httpdate::fmt_http_date(date)
        );
        for (name, value) in &answer.headers {
            write!(text, "{name}: {value}\r\n").unwrap();
        }
        write!(text, "Content-Length: {}\r\n\r\n{}", answer.body.len(), answer.body).unwrap();
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The next request; `None` when the client has closed the connection.
async fn read(stream: &mut TcpStream, unread: &mut Vec<u8>, connection: usize) -> Option<Request> {
    loop {
        if let Some((request, length)) = parse(unread, connection) {
            unread.drain(..length);
            return Some(request);
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(count @ 1..) => unread.extend_from_slice(&chunk[..count]),
            _ => return None,
        }
    }
}

fn parse(octets: &[u8], connection: usize) -> Option<(Request, usize)> {
    let end = octets.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&octets[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap().split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.to_str().unwrap().parse().unwrap());
    let body = octets.get(end + 4..end + 4 + length)?;
    let lane = match &*path {
        "/token" | "/revoke" => Lane::Issuer,
        _ => Lane::Api,
    };
    let body = String::from_utf8(body.to_vec()).unwrap();
    let request = Request {
        connection,
        lane,
        method,
        path,
        headers,
        body,
    };
    Some((request, end + 4 + length))
}
