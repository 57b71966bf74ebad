//! What a carrier's refusal means: one type for the many forms that carriers give it.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode};
use serde_json::Value;

use crate::binding::Role;

mod scrub;

/// The longest body that an error is looked for in, in octets.
pub(crate) const MAX_ERROR_BODY: usize = 64 * 1024;

/// The longest code that is kept, in characters.
const MAX_CODE: usize = 64;

/// What a refusal means, in words that are the same for all carriers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// The request is not one that the carrier can carry out: a field is missing or wrong. User action: correct it.
    Invalid,
    /// The token is not good any more. The client has asked for another where that was allowed. User action: repeat, once.
    BadToken,
    /// Id, secret or key are not known to the carrier. User action: have the shipper enter them again.
    WrongCredentials,
    /// The credential is good and may not do this. User action: have the product or permission added at the carrier.
    NotEntitled,
    /// The carrier blocks the account or the address. User action: wait until it ends, or ask the carrier.
    Blocked,
    /// Too many requests. User action: repeat later.
    Throttled,
    /// There is no such shipment, label, place or route. User action: check what was asked for.
    NotFound,
    /// It was done already, or cannot be done in this state. User action: look up what there is.
    Conflict,
    /// The account has no means to pay. User action: tell the shipper.
    Payment,
    /// The carrier cannot answer now, or has failed. User action: look up what became of the request, then repeat.
    Unavailable,
    /// The profile does not know. User action: read the original answer.
    Unknown,
}

impl FaultKind {
    /// A short name for logs and metrics, `wrong_credentials` for instance. It does not change between patch releases.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::BadToken => "bad_token",
            Self::WrongCredentials => "wrong_credentials",
            Self::NotEntitled => "not_entitled",
            Self::Blocked => "blocked",
            Self::Throttled => "throttled",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Payment => "payment",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
        }
    }

    /// What a status means where no carrier says otherwise (RFC 9110 15).
    fn of_status(role: Role, status: StatusCode) -> Self {
        match status.as_u16() {
            401 if role == Role::AuthorizationServer => Self::WrongCredentials,
            400 | 405 | 406 | 411 | 413..=415 | 422 => Self::Invalid,
            401 => Self::BadToken,
            402 => Self::Payment,
            403 => Self::NotEntitled,
            404 | 410 => Self::NotFound,
            409 | 412 => Self::Conflict,
            429 => Self::Throttled,
            500..=599 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A carrier's refusal. The original answer stands beside it, in the response or error that this came with.
///
/// `Debug` and `Display` show kind and codes that the profile knows. Codes of other kinds and the message are texts that a
/// server chose: [`code`](Self::code) and [`message`](Self::message) give them.
#[derive(Clone, PartialEq, Eq)]
pub struct CarrierFault {
    kind: FaultKind,
    may_mean: Vec<FaultKind>,
    code: Option<Box<str>>,
    known_code: bool,
    message: Option<Box<str>>,
    retryable: bool,
    retry_after: Option<Duration>,
}

impl CarrierFault {
    /// What it means; the likeliest, where it can mean several things.
    pub fn kind(&self) -> FaultKind {
        self.kind
    }

    /// All that it can mean, the likeliest first: FedEx's 401 is an expired token, wrong credentials or a project that is not
    /// entitled.
    pub fn may_mean(&self) -> &[FaultKind] {
        &self.may_mean
    }

    /// The carrier's own code, `NOT.AUTHORIZED.ERROR` for instance: at most 64 characters of `A-Z a-z 0-9 . _ -`. Written by
    /// the server: not for logs unless [`has_known_code`](Self::has_known_code).
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// Whether the profile lists the code.
    pub fn has_known_code(&self) -> bool {
        self.known_code
    }

    /// The carrier's own words, scrubbed: what is quoted or in brackets, whatever looks like a number, also in groups, a key, an
    /// address of mail or of the web is `[..]`, and the text ends after 300 characters. Names may be left in it: for the shipper,
    /// not for logs.
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// Whether the same request may be sent again, since the carrier has not carried it out and refuses for a while only: it was
    /// throttled, or blocked for a time that is known. A server's failure is not, 503 among them, which gateways also give when a
    /// request has gone through: look the shipment up first. It is for requests that change nothing, or that have an idempotency
    /// key.
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// This fault, of an answer to a request that may or may not be carried out twice without harm.
    pub(crate) fn judged(mut self, status: StatusCode, again_is_safe: bool) -> Self {
        self.retryable = match self.kind {
            FaultKind::Throttled => true,
            FaultKind::Blocked => self.retry_after.is_some(),
            _ => again_is_safe && status == StatusCode::SERVICE_UNAVAILABLE,
        };
        self
    }

    /// That the request was carried out before cannot be ruled out.
    pub(crate) fn not_retryable(mut self) -> Self {
        self.retryable = false;
        self
    }

    /// How long the carrier wants to be left alone, where it or its profile says so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for CarrierFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        match &self.code {
            Some(code) if self.known_code => write!(f, " ({code})"),
            Some(_) => f.write_str(" (a code of its own)"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for CarrierFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CarrierFault({self})")
    }
}

/// Where a carrier writes its errors, and what they mean: plain values that its profile fills in.
///
/// ```
/// use shipbound::binding::Role;
/// use shipbound::exchange::fault::{FaultKind, FaultPlace, FaultShape};
///
/// let shape = FaultShape::at(FaultPlace::body("/errors/0/code", "/errors/0/message"))
///     .code("SHIPMENT.ACCOUNTNUMBER.UNAUTHORIZED", FaultKind::NotEntitled)
///     .status(Role::AuthorizationServer, 403, [FaultKind::Blocked]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultShape {
    /// Where code and message stand; the first place that holds either counts. After all of them the place that RFC 6749 5.2
    /// has is looked at. Default: that alone.
    pub places: Vec<FaultPlace>,
    /// What codes mean.
    pub codes: Vec<(Cow<'static, str>, FaultKind)>,
    /// Codes that are known and say no more than their status does: FedEx's `NOT.AUTHORIZED.ERROR`.
    pub vague: Vec<Cow<'static, str>>,
    /// What a status of a server can mean, the likeliest first, where the code does not tell. Default: as RFC 9110 has it.
    pub statuses: Vec<(Role, u16, Vec<FaultKind>)>,
}

impl FaultShape {
    /// Errors at this place.
    pub fn at(place: FaultPlace) -> Self {
        Self::default().or_at(place)
    }

    /// Errors at this place too.
    #[must_use]
    pub fn or_at(mut self, place: FaultPlace) -> Self {
        self.places.push(place);
        self
    }

    /// What a code means.
    #[must_use]
    pub fn code(mut self, code: impl Into<Cow<'static, str>>, kind: FaultKind) -> Self {
        self.codes.push((code.into(), kind));
        self
    }

    /// A code that is known, and whose status tells what it can mean.
    #[must_use]
    pub fn vague(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.vague.push(code.into());
        self
    }

    /// What a status of a server can mean, the likeliest first.
    #[must_use]
    pub fn status(mut self, role: Role, status: u16, kinds: impl IntoIterator<Item = FaultKind>) -> Self {
        self.statuses.push((role, status, kinds.into_iter().collect()));
        self
    }

    /// Reads a refusal; `None` for an answer that is none.
    pub(crate) fn read(
        &self,
        role: Role,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        retry_after: Option<Duration>,
    ) -> Option<CarrierFault> {
        let refused = status.is_client_error() || status.is_server_error();
        let (code, message) = self.texts(headers, body, refused);
        let code = code.map(name_of);
        if !refused && code.is_none() {
            return None;
        }
        let known = code.as_deref().and_then(|code| self.meaning(role, code));
        let by_status = self
            .statuses
            .iter()
            .find(|(of, number, _)| *of == role && *number == status.as_u16())
            .map(|(_, _, kinds)| kinds.as_slice())
            .filter(|kinds| !kinds.is_empty());
        let may_mean = match (known, by_status) {
            (Some(kind), _) => vec![kind],
            (None, Some(kinds)) => kinds.to_vec(),
            (None, None) => vec![FaultKind::of_status(role, status)],
        };
        let kind = may_mean.first().copied().unwrap_or(FaultKind::Unknown);
        let vague = |code: &str| self.vague.iter().any(|vague| *vague == code);
        Some(CarrierFault {
            kind,
            known_code: known.is_some() || code.as_deref().is_some_and(vague),
            retryable: false,
            retry_after,
            code: code.map(|code| legal(&code)).filter(|code| !code.is_empty()),
            message: message.map(|text| scrub::scrub(&text)).filter(|text| !text.is_empty()),
            may_mean,
        })
    }

    fn meaning(&self, role: Role, code: &str) -> Option<FaultKind> {
        let own = self
            .codes
            .iter()
            .find(|(known, _)| known == code)
            .map(|(_, kind)| *kind);
        let of_oauth = || {
            let known = OAUTH_CODES.iter().filter(|_| role == Role::AuthorizationServer);
            let mut known = known.filter(|(known, _)| *known == code);
            known.next().map(|(_, kind)| *kind)
        };
        own.or_else(of_oauth)
    }

    fn texts(&self, headers: &HeaderMap, body: &[u8], refused: bool) -> (Option<String>, Option<String>) {
        let wanted = refused && body.len() <= MAX_ERROR_BODY;
        let json: Option<Value> = wanted.then(|| serde_json::from_slice(body).ok()).flatten();
        for place in self.places.iter().chain(&OAUTH) {
            let (code, message) = match place {
                FaultPlace::Body { code, message } => {
                    let at = |pointer: &str| json.as_ref().and_then(|json| text_of(json.pointer(pointer)?));
                    (at(code), at(message))
                }
                FaultPlace::Headers { code, message } => {
                    let at = |name: &HeaderName| Some(headers.get(name)?.to_str().ok()?.to_owned());
                    (at(code), at(message))
                }
            };
            if code.is_some() || message.is_some() {
                return (code, message);
            }
        }
        (None, None)
    }
}

/// Where issuers write errors that keep to RFC 6749 5.2: looked at last.
const OAUTH: [FaultPlace; 1] = [FaultPlace::Body {
    code: Cow::Borrowed("/error"),
    message: Cow::Borrowed("/error_description"),
}];

/// What they mean.
const OAUTH_CODES: [(&str, FaultKind); 9] = [
    ("invalid_client", FaultKind::WrongCredentials),
    ("invalid_grant", FaultKind::BadToken),
    ("invalid_request", FaultKind::Invalid),
    ("invalid_scope", FaultKind::NotEntitled),
    ("access_denied", FaultKind::NotEntitled),
    ("unauthorized_client", FaultKind::NotEntitled),
    ("unsupported_grant_type", FaultKind::Invalid),
    ("slow_down", FaultKind::Throttled),
    ("temporarily_unavailable", FaultKind::Unavailable),
];

/// Where code and message of an error stand.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultPlace {
    /// In the JSON of the body, by JSON pointers (RFC 6901). A number counts as its digits; of a list its first text.
    Body {
        /// Of the code.
        code: Cow<'static, str>,
        /// Of the message.
        message: Cow<'static, str>,
    },
    /// In header fields, also of answers with another status than an error's.
    Headers {
        /// Of the code.
        code: HeaderName,
        /// Of the message.
        message: HeaderName,
    },
}

impl FaultPlace {
    /// At these pointers of the body.
    pub fn body(code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::Body {
            code: code.into(),
            message: message.into(),
        }
    }

    /// In these headers.
    pub const fn headers(code: HeaderName, message: HeaderName) -> Self {
        Self::Headers { code, message }
    }
}

/// A text, a number's digits, or the first of these in a list or object.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(all) => all.first().and_then(text_of),
        Value::Object(all) => all.values().next().and_then(text_of),
        Value::Null | Value::Bool(_) => None,
    }
}

/// Of a code that is a URL, as the `type` of RFC 9457 is, its last segment.
fn name_of(code: String) -> String {
    match code.rsplit_once('/') {
        Some((before, name)) if before.starts_with("https://") => name.to_owned(),
        _ => code,
    }
}

fn legal(code: &str) -> Box<str> {
    let is_legal = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    code.chars()
        .take(MAX_CODE)
        .take_while(is_legal)
        .collect::<String>()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(shape: &FaultShape, role: Role, status: u16, body: &str) -> CarrierFault {
        let status = StatusCode::from_u16(status).unwrap();
        shape
            .read(role, status, &HeaderMap::new(), body.as_bytes(), None)
            .unwrap()
    }

    #[test]
    fn a_vague_code_is_known_and_means_what_its_status_means_there() {
        let shape = FaultShape::at(FaultPlace::body("/code", "/message"))
            .vague("FORBIDDEN")
            .status(Role::AuthorizationServer, 403, [FaultKind::Blocked]);
        let body = r#"{"code":"FORBIDDEN"}"#;
        let at_token = read(&shape, Role::AuthorizationServer, 403, body);
        let at_api = read(&shape, Role::ResourceServer, 403, body);
        assert_eq!(at_token.kind(), FaultKind::Blocked);
        assert_eq!(at_api.kind(), FaultKind::NotEntitled);
        assert_eq!(at_api.to_string(), "not_entitled (FORBIDDEN)");
        let unknown = read(&shape, Role::ResourceServer, 403, r#"{"code":"ELSE"}"#);
        assert!(!unknown.has_known_code());
    }

    #[test]
    fn a_code_that_is_a_url_goes_by_its_last_segment() {
        let shape =
            FaultShape::at(FaultPlace::body("/type", "/title")).code("401.0000007", FaultKind::WrongCredentials);
        let body = r#"{"type":"https://api.carrier.example/docs/errors/401.0000007","title":"Invalid credentials"}"#;
        let fault = read(&shape, Role::ResourceServer, 401, body);
        assert_eq!(fault.code(), Some("401.0000007"));
        assert_eq!(fault.may_mean(), [FaultKind::WrongCredentials]);
        let plain = read(&shape, Role::ResourceServer, 400, r#"{"type":"a/b"}"#);
        assert_eq!(plain.code(), Some("a"));
    }
}
