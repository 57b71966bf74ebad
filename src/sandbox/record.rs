//! What arrived, and what became of it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Version, header};
use serde_json::Value;
use tokio::sync::watch;

use super::assertion::AssertionClaims;
use super::form;
use super::handshake::Peer;
use super::imitations::Imitation;
use super::script::Endpoint;
use crate::jose::Thumbprint;
use crate::owner::TenantId;

/// How many requests are kept, and how many octets of bodies; the oldest goes first.
const KEPT: usize = 65_536;
const KEPT_OCTETS: usize = 256 * 1024 * 1024;

/// What the sandbox made of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It has arrived and has no answer yet.
    Pending,
    /// Everything that was asked for was there and held.
    Accepted,
    /// Refused for this reason: the code of a proof's rejection, the part of an assertion that was wrong (`assertion_aud`), or
    /// an OAuth or carrier error code.
    Refused(String),
    /// A script answered without looking at it.
    Scripted,
}

/// What the proof that came along says, read without believing it: `None` where a member is absent or of another type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProofClaims {
    /// `jti`.
    pub jti: Option<String>,
    /// `htm`.
    pub htm: Option<String>,
    /// `htu`.
    pub htu: Option<String>,
    /// `iat`, seconds since 1970.
    pub iat: Option<i64>,
    /// `ath`.
    pub ath: Option<String>,
    /// `nonce`.
    pub nonce: Option<String>,
    /// Thumbprint of the header's `jwk` (RFC 7638, base64url).
    pub jkt: Option<String>,
    /// `alg` of the header.
    pub alg: Option<String>,
}

impl ProofClaims {
    fn read(proof: &str) -> Option<Self> {
        let mut segments = proof.split('.');
        let mut object = || -> Option<Value> {
            let bytes = URL_SAFE_NO_PAD.decode(segments.next()?).ok()?;
            serde_json::from_slice(&bytes).ok()
        };
        let (header, claims) = (object()?, object()?);
        let text = |name: &str| claims.get(name)?.as_str().map(str::to_owned);
        Some(Self {
            jti: text("jti"),
            htm: text("htm"),
            htu: text("htu"),
            iat: claims.get("iat").and_then(Value::as_i64),
            ath: text("ath"),
            nonce: text("nonce"),
            jkt: header.get("jwk").and_then(super::check::thumbprint_of),
            alg: header.get("alg").and_then(Value::as_str).map(str::to_owned),
        })
    }
}

/// A request as it came off the wire.
pub(super) struct Arrived {
    pub(super) endpoint: Endpoint,
    pub(super) origin: Arc<str>,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) peer: Arc<Peer>,
    pub(super) tenant: Option<TenantId>,
    pub(super) client: Option<String>,
    /// Who speaks to it.
    pub(super) imitation: &'static dyn Imitation,
    pub(super) proof: Option<ProofClaims>,
    pub(super) assertion: Option<AssertionClaims>,
}

impl Arrived {
    /// The URL that it was sent to, without the query.
    pub(super) fn uri(&self) -> String {
        format!("{}{}", self.origin, self.path)
    }

    pub(super) fn read_proof(headers: &HeaderMap) -> Option<ProofClaims> {
        ProofClaims::read(headers.get("dpop")?.to_str().ok()?)
    }
}

/// A request that arrived at the sandbox.
///
/// `Debug` shows neither header values nor the body; the methods do.
#[derive(Clone)]
pub struct Recorded {
    pub(super) arrived: Arc<Arrived>,
    verdict: Verdict,
    checks: Vec<&'static str>,
    status: Option<StatusCode>,
    nonce: Option<Arc<str>>,
}

impl Recorded {
    pub(super) fn new(arrived: Arc<Arrived>) -> Self {
        Self {
            arrived,
            verdict: Verdict::Pending,
            checks: Vec::new(),
            status: None,
            nonce: None,
        }
    }

    /// Where it arrived.
    pub fn endpoint(&self) -> Endpoint {
        self.arrived.endpoint
    }

    /// The origin that it arrived at, `https://127.0.0.1:40123` for instance.
    pub fn origin(&self) -> &str {
        &self.arrived.origin
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.arrived.method
    }

    /// The path as sent, without the query.
    pub fn path(&self) -> &str {
        &self.arrived.path
    }

    /// The query as sent, without `?`.
    pub fn query(&self) -> Option<&str> {
        self.arrived.query.as_deref()
    }

    /// HTTP/1.1 or HTTP/2.
    pub fn version(&self) -> Version {
        self.arrived.version
    }

    /// Which connection it came on: they are numbered from 1 in the order in which they were made.
    pub fn connection(&self) -> u64 {
        self.arrived.peer.connection
    }

    /// The thumbprint of the client certificate (`x5t#S256`, RFC 8705 3.1) which that connection showed, if it showed one.
    pub fn certificate(&self) -> Option<Thumbprint> {
        self.arrived.peer.certificate
    }

    /// Whether that connection resumed an earlier TLS session.
    pub fn resumed(&self) -> bool {
        self.arrived.peer.resumed
    }

    /// The header fields, credentials among them.
    pub fn headers(&self) -> &HeaderMap {
        &self.arrived.headers
    }

    /// A header field's first value, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.arrived.headers.get(name)?.to_str().ok()
    }

    /// The scheme of `Authorization`, as sent.
    pub fn scheme(&self) -> Option<&str> {
        self.header(header::AUTHORIZATION.as_str())?.split(' ').next()
    }

    /// The proof as sent: the value of the `DPoP` field.
    pub fn proof(&self) -> Option<&str> {
        self.header("dpop")
    }

    /// What that proof says.
    pub fn claims(&self) -> Option<&ProofClaims> {
        self.arrived.proof.as_ref()
    }

    /// What the assertion says that came along: the client's (`client_assertion`), else the one that is the grant
    /// (`assertion`).
    pub fn assertion(&self) -> Option<&AssertionClaims> {
        self.arrived.assertion.as_ref()
    }

    /// The body.
    pub fn body(&self) -> &Bytes {
        &self.arrived.body
    }

    /// The body read as JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.arrived.body).ok()
    }

    /// The body's form field of this name (`application/x-www-form-urlencoded`), the first where there are several.
    pub fn form(&self, name: &str) -> Option<String> {
        form::parse(&self.arrived.body)
            .into_iter()
            .find_map(|(field, value)| (field == name).then_some(value))
    }

    /// The client that it came from: by what it claims at the issuer, by its token or its credential at the API.
    pub fn client_id(&self) -> Option<&str> {
        self.arrived.client.as_deref()
    }

    /// The tenant whose client that is.
    pub fn tenant(&self) -> Option<&TenantId> {
        self.arrived.tenant.as_ref()
    }

    /// What was made of it.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Whether it was accepted.
    pub fn accepted(&self) -> bool {
        self.verdict == Verdict::Accepted
    }

    /// The checks that were made and passed, in order: `signature`, `htm`, `htu`, `iat`, `jti`, `nonce`, `ath`, `cnf`; then
    /// `x5t` where the token is bound to a client certificate.
    pub fn checks(&self) -> &[&'static str] {
        &self.checks
    }

    /// The status of the answer; `None` while there is none, or when the connection was broken instead.
    pub fn status(&self) -> Option<u16> {
        self.status.map(|status| status.as_u16())
    }

    /// The nonce that the answer gave out: the value of its only `DPoP-Nonce` field.
    pub fn nonce_given(&self) -> Option<&str> {
        self.nonce.as_deref()
    }
}

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded")
            .field("endpoint", &self.arrived.endpoint)
            .field("method", &self.arrived.method)
            .field("path", &self.arrived.path)
            .field("version", &self.arrived.version)
            .field("connection", &self.arrived.peer.connection)
            .field("client", &self.arrived.client)
            .field(
                "headers",
                &self
                    .arrived
                    .headers
                    .keys()
                    .map(header::HeaderName::as_str)
                    .collect::<Vec<_>>(),
            )
            .field("body_bytes", &self.arrived.body.len())
            .field("verdict", &self.verdict)
            .field("checks", &self.checks)
            .field("status", &self.status())
            .finish()
    }
}

/// What the servers made of a request, to be kept beside it.
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    pub(super) checks: Vec<&'static str>,
}

impl Judged {
    pub(super) fn accepted(checks: Vec<&'static str>) -> Self {
        Self {
            verdict: Verdict::Accepted,
            checks,
        }
    }

    pub(super) fn refused(reason: &str) -> Self {
        Self {
            verdict: Verdict::Refused(reason.to_owned()),
            checks: Vec::new(),
        }
    }

    pub(super) fn scripted() -> Self {
        Self {
            verdict: Verdict::Scripted,
            checks: Vec::new(),
        }
    }
}

#[derive(Default)]
struct Kept {
    /// Number of the first request that is kept.
    first: u64,
    requests: VecDeque<Recorded>,
    /// Octets of their bodies.
    octets: usize,
}

/// The requests that are kept.
pub(super) struct Log {
    kept: Mutex<Kept>,
    /// How many have arrived since the start.
    arrived: watch::Sender<u64>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self {
            kept: Mutex::default(),
            arrived: watch::Sender::new(0),
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Kept) -> T) -> T {
        act(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn add(&self, request: Recorded) -> u64 {
        let number = self.with(|kept| {
            kept.octets = kept.octets.saturating_add(request.body().len());
            while (kept.requests.len() >= KEPT || kept.octets > KEPT_OCTETS)
                && let Some(oldest) = kept.requests.pop_front()
            {
                kept.octets = kept.octets.saturating_sub(oldest.body().len());
                kept.first = kept.first.saturating_add(1);
            }
            kept.requests.push_back(request);
            kept.first.saturating_add(kept.requests.len() as u64).saturating_sub(1)
        });
        self.arrived.send_modify(|arrived| *arrived = arrived.saturating_add(1));
        number
    }

    /// Adds what became of a request: the status and header fields of its answer, if it got one.
    pub(super) fn settle(&self, number: u64, judged: Judged, answer: Option<(StatusCode, &HeaderMap)>) {
        let nonce = answer.and_then(|(_, headers)| {
            let mut given = headers.get_all("dpop-nonce").iter();
            match (given.next(), given.next()) {
                (Some(nonce), None) => nonce.to_str().ok().map(Arc::from),
                _ => None,
            }
        });
        self.with(|kept| {
            let place = number
                .checked_sub(kept.first)
                .and_then(|place| usize::try_from(place).ok());
            if let Some(request) = place.and_then(|place| kept.requests.get_mut(place)) {
                request.verdict = judged.verdict;
                request.checks = judged.checks;
                request.status = answer.map(|(status, _)| status);
                request.nonce = nonce;
            }
        });
    }

    pub(super) fn all(&self, wanted: impl Fn(&Recorded) -> bool) -> Vec<Recorded> {
        self.with(|kept| {
            kept.requests
                .iter()
                .filter(|request| wanted(request))
                .cloned()
                .collect()
        })
    }

    pub(super) fn clear(&self) {
        self.with(|kept| {
            kept.first = kept.first.saturating_add(kept.requests.len() as u64);
            kept.requests.clear();
            kept.octets = 0;
        });
    }

    pub(super) async fn reached(&self, count: u64) {
        let mut arrived = self.arrived.subscribe();
        // The sender lives in `self`, so the channel cannot close meanwhile.
        let _seen = arrived.wait_for(|arrived| *arrived >= count).await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::imitations::plain::Plain;
    use super::*;

    fn request(path: String, body: Bytes) -> Recorded {
        Recorded::new(Arc::new(Arrived {
            endpoint: Endpoint::Api,
            origin: "https://127.0.0.1:1".into(),
            method: Method::GET,
            path,
            query: None,
            version: Version::HTTP_2,
            headers: HeaderMap::new(),
            body,
            peer: Arc::new(Peer::plain(1)),
            tenant: None,
            client: None,
            imitation: &Plain,
            proof: None,
            assertion: None,
        }))
    }

    #[test]
    fn the_oldest_requests_go_and_the_others_are_still_settled() {
        let log = Log::new();
        let numbers: Vec<u64> = (0..=KEPT)
            .map(|n| log.add(request(n.to_string(), Bytes::new())))
            .collect();
        let all = log.all(|_| true);
        assert_eq!((all.len(), all[0].path()), (KEPT, "1"));
        log.settle(numbers[0], Judged::scripted(), None);
        log.settle(
            numbers[1],
            Judged::scripted(),
            Some((StatusCode::OK, &HeaderMap::new())),
        );
        log.clear();
        let number = log.add(request("last".into(), Bytes::new()));
        log.settle(numbers[2], Judged::refused("late"), None);
        log.settle(
            number,
            Judged::accepted(vec!["htm"]),
            Some((StatusCode::OK, &HeaderMap::new())),
        );
        let all = log.all(|_| true);
        assert_eq!(
            (all.len(), all[0].status(), all[0].checks()),
            (1, Some(200), &["htm"][..])
        );
    }

    #[test]
    fn bodies_are_kept_up_to_a_limit() {
        let log = Log::new();
        let body = Bytes::from(vec![0; KEPT_OCTETS / 4]);
        for n in 0..5 {
            log.add(request(n.to_string(), body.clone()));
        }
        let all = log.all(|_| true);
        assert_eq!((all.len(), all[0].path()), (4, "1"));
    }
}
