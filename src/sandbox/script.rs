//! What the servers are told to answer next.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::canned::Canned;
use super::gate::Gate;
use crate::owner::TenantId;

/// Where a request arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Endpoint {
    /// The issuer's metadata (RFC 8414).
    Metadata,
    /// A token endpoint: the issuer's own, or a carrier's.
    Token,
    /// The revocation endpoint (RFC 7009).
    Revocation,
    /// The introspection endpoint (RFC 7662).
    Introspection,
    /// The pushed authorization request endpoint (RFC 9126).
    Par,
    /// The authorization endpoint: its page, and the decision that is made there.
    Authorization,
    /// Everything else: the carrier's API.
    Api,
}

/// Whose requests a script is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Who {
    /// Requests that no script of their own tenant answers, and those of nobody that is known.
    Anyone,
    /// Requests of this tenant alone: known by its client id at the issuer, by its token or credential at the API.
    Tenant(TenantId),
}

impl From<&TenantId> for Who {
    fn from(tenant: &TenantId) -> Self {
        Self::Tenant(tenant.clone())
    }
}

impl From<TenantId> for Who {
    fn from(tenant: TenantId) -> Self {
        Self::Tenant(tenant)
    }
}

/// One answer of a script: what is said, and how it travels.
///
/// What is said comes from the function that makes the answer, how it travels from the methods:
///
/// ```
/// use shipbound::sandbox::{Answer, Canned, Gate, Pace};
///
/// let gate = Gate::new();
/// let answers = [
///     Answer::nonce("n1"),                                   // challenge, with this nonce
///     Answer::normal().lost(),                               // processed, but the connection breaks before the answer
///     Answer::normal().cut_mid_body(),                       // half of the body, then the connection breaks
///     Answer::normal().slow(16, Pace::Gate(gate.clone())),   // 16 bytes each time that the gate lets go
///     Answer::invalid_proof().dated(-90),                    // `Date` 90 s behind
///     Answer::reply(Canned::text(502, "bad gateway")).held(&gate),
/// ];
/// # let _ = answers;
/// ```
#[derive(Clone, Debug)]
pub struct Answer {
    pub(super) says: Says,
    pub(super) travels: Travels,
}

/// What is said.
#[derive(Clone)]
pub(super) enum Says {
    Normal,
    Reply(Canned),
    Nonce(String),
    InvalidToken,
    InvalidProof,
    Unbound,
    TokenWith(serde_json::Value),
    RedirectWith(serde_json::Value),
    Nothing,
}

impl fmt::Debug for Says {
    /// Shows no text of the test's: it may be a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "Normal",
            Self::Reply(canned) => return fmt::Debug::fmt(canned, f),
            Self::Nonce(_) => "Nonce",
            Self::InvalidToken => "InvalidToken",
            Self::InvalidProof => "InvalidProof",
            Self::Unbound => "Unbound",
            Self::TokenWith(_) => "TokenWith",
            Self::RedirectWith(_) => "RedirectWith",
            Self::Nothing => "Nothing",
        })
    }
}

/// How it travels.
#[derive(Clone, Default)]
pub(super) struct Travels {
    pub(super) headers: Vec<(String, String)>,
    pub(super) nonce: Option<String>,
    pub(super) date_offset: i64,
    pub(super) gate: Option<Gate>,
    pub(super) drip: Option<(usize, Pace)>,
    pub(super) cut: bool,
    pub(super) lost: bool,
}

impl fmt::Debug for Travels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Travels")
            .field("headers", &names)
            .field("date_offset", &self.date_offset)
            .field("gate", &self.gate)
            .field("drip", &self.drip)
            .field("cut", &self.cut)
            .field("lost", &self.lost)
            .finish()
    }
}

/// What lets the next chunk of a slow answer go.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Pace {
    /// The test's signal, once for each chunk.
    Gate(Gate),
    /// The sandbox's clock, once in this time.
    Every(Duration),
}

impl Answer {
    fn says(says: Says) -> Self {
        Self {
            says,
            travels: Travels::default(),
        }
    }

    /// The request is served as if there were no script.
    pub fn normal() -> Self {
        Self::says(Says::Normal)
    }

    /// This, without looking at the request.
    pub fn reply(canned: Canned) -> Self {
        Self::says(Says::Reply(canned))
    }

    /// An empty answer with this status, without looking at the request.
    pub fn status(status: u16) -> Self {
        Self::reply(Canned::empty(status))
    }

    /// A nonce challenge (RFC 9449 8 and 9): `use_dpop_nonce` with this nonce. A proof that carries it is accepted from
    /// then on. A value that HTTP allows but RFC 9449 does not (`a b`) is sent as it is.
    pub fn nonce(nonce: impl Into<String>) -> Self {
        Self::says(Says::Nonce(nonce.into()))
    }

    /// The token is refused: 401 with `invalid_token`, in the carrier's own form. At a token endpoint the client is refused.
    pub fn invalid_token() -> Self {
        Self::says(Says::InvalidToken)
    }

    /// The proof is refused: `invalid_dpop_proof`.
    pub fn invalid_proof() -> Self {
        Self::says(Says::InvalidProof)
    }

    /// Token endpoint: the request is served, but the token is bound to nothing and declared so, whatever was proved.
    pub fn unbound() -> Self {
        Self::says(Says::Unbound)
    }

    /// Token endpoint: 200 with exactly this text as JSON body. No token is issued.
    pub fn token_body(text: impl Into<String>) -> Self {
        Self::reply(Canned::bytes(200, "application/json", text.into()).no_store())
    }

    /// Token endpoint: the request is served, then members of the answer are replaced by those of `members` (a JSON object;
    /// `null` removes one). The token stays usable: for odd `expires_in`, `token_type` or `scope`.
    pub fn token_with(members: serde_json::Value) -> Self {
        Self::says(Says::TokenWith(members))
    }

    /// Authorization endpoint: the request is served, then parameters of the redirect that comes of it are replaced by those of
    /// `parameters` (a JSON object of texts; `null` removes one): another `iss` or `state`, or none.
    pub fn redirect_with(parameters: serde_json::Value) -> Self {
        Self::says(Says::RedirectWith(parameters))
    }

    /// 421: this connection does not lead to the right server (RFC 9110 15.5.20). Not processed.
    pub fn misdirected() -> Self {
        Self::status(421)
    }

    /// This status with `Retry-After`.
    pub fn retry_after(status: u16, value: &str) -> Self {
        Self::reply(Canned::empty(status).header("retry-after", value))
    }

    /// 307 to this place.
    pub fn redirect(location: &str) -> Self {
        Self::reply(Canned::empty(307).header("location", location))
    }

    /// The connection breaks after the request was read; nothing was processed.
    pub fn drop_before_answer() -> Self {
        Self::says(Says::Nothing)
    }

    /// Adds a header field beside those that the answer has.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.travels.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives this nonce for the next request, in the place of the server's own if it gives one. It counts from then on.
    #[must_use]
    pub fn next_nonce(mut self, nonce: &str) -> Self {
        self.travels.nonce = Some(nonce.to_owned());
        self
    }

    /// Moves the answer's `Date` by this many seconds.
    #[must_use]
    pub fn dated(mut self, offset_seconds: i64) -> Self {
        self.travels.date_offset = offset_seconds;
        self
    }

    /// Holds the answer back until the gate lets it go. The request has arrived by then, and is not processed before.
    #[must_use]
    pub fn held(mut self, gate: &Gate) -> Self {
        self.travels.gate = Some(gate.clone());
        self
    }

    /// Sends the body in pieces of `chunk` bytes (at least one), each when `pace` lets it go.
    #[must_use]
    pub fn slow(mut self, chunk: usize, pace: Pace) -> Self {
        self.travels.drip = Some((chunk.max(1), pace));
        self
    }

    /// Breaks the connection in the middle of the body.
    #[must_use]
    pub fn cut_mid_body(mut self) -> Self {
        self.travels.cut = true;
        self
    }

    /// The request is processed, then the connection breaks before anything of the answer was sent.
    #[must_use]
    pub fn lost(mut self) -> Self {
        self.travels.lost = true;
        self
    }
}

#[derive(Debug, Default)]
struct Queue {
    next: VecDeque<Answer>,
    always: Option<Answer>,
}

/// The scripts, each for one endpoint and one tenant or anyone.
#[derive(Debug, Default)]
pub(super) struct Scripts(Mutex<HashMap<(Endpoint, Who), Queue>>);

impl Scripts {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<(Endpoint, Who), Queue>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn add(&self, who: Who, endpoint: Endpoint, answers: impl IntoIterator<Item = Answer>) {
        self.with(|queues| queues.entry((endpoint, who)).or_default().next.extend(answers));
    }

    pub(super) fn always(&self, who: Who, endpoint: Endpoint, answer: Answer) {
        self.with(|queues| queues.entry((endpoint, who)).or_default().always = Some(answer));
    }

    pub(super) fn clear(&self) {
        self.with(HashMap::clear);
    }

    /// How many answers wait to be given.
    pub(super) fn left(&self) -> usize {
        self.with(|queues| queues.values().map(|queue| queue.next.len()).sum())
    }

    /// The tenant's own next answer, else the next for anyone, else what always holds, in the same order.
    pub(super) fn take(&self, tenant: Option<&TenantId>, endpoint: Endpoint) -> Option<Answer> {
        let own = tenant.map(|tenant| (endpoint, Who::from(tenant)));
        let anyone = (endpoint, Who::Anyone);
        self.with(|queues| {
            let keys = || own.iter().chain([&anyone]);
            for key in keys() {
                if let Some(answer) = queues.get_mut(key).and_then(|queue| queue.next.pop_front()) {
                    return Some(answer);
                }
            }
            keys().find_map(|key| queues.get(key)?.always.clone())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: &str) -> TenantId {
        TenantId::new(id).unwrap()
    }

    fn status(answer: Option<Answer>) -> Option<u16> {
        match answer?.says {
            Says::Reply(canned) => Some(canned.status.as_u16()),
            _ => None,
        }
    }

    #[test]
    fn a_script_serves_its_tenant_and_endpoint_alone() {
        let scripts = Scripts::default();
        let (a, b) = (tenant("a"), tenant("b"));
        scripts.add(Who::from(&a), Endpoint::Api, [Answer::status(500)]);
        assert!(scripts.take(Some(&b), Endpoint::Api).is_none());
        assert!(scripts.take(None, Endpoint::Api).is_none());
        assert!(scripts.take(Some(&a), Endpoint::Token).is_none());
        assert_eq!(status(scripts.take(Some(&a), Endpoint::Api)), Some(500));
        assert!(scripts.take(Some(&a), Endpoint::Api).is_none());
    }

    #[test]
    fn own_answers_come_first_then_anyones_then_what_always_holds() {
        let scripts = Scripts::default();
        let a = tenant("a");
        scripts.always(Who::Anyone, Endpoint::Api, Answer::status(503));
        scripts.add(Who::Anyone, Endpoint::Api, [Answer::status(502)]);
        scripts.add(Who::from(&a), Endpoint::Api, [Answer::status(500), Answer::status(501)]);
        assert_eq!(scripts.left(), 3);
        let order: Vec<_> = (0..5).map(|_| status(scripts.take(Some(&a), Endpoint::Api))).collect();
        assert_eq!(order, [Some(500), Some(501), Some(502), Some(503), Some(503)]);
        scripts.clear();
        assert!(scripts.take(Some(&a), Endpoint::Api).is_none());
    }
}
