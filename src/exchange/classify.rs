//! What an answer means for the exchange: a pure function of what came back and what had been sent.

use std::time::Duration;

use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};

use crate::binding::nonce::Nonce;
use crate::binding::{BindingKind, Learned, Role};
use crate::clock::Timestamp;
use crate::error::ErrorKind;
use crate::json::Object;
use crate::throttle::{Block, CountedBy};

use super::challenge::{self, Challenge};
use super::fault::MAX_ERROR_BODY;
use super::quirks::BodyCode;
use super::skew;

/// The longest that a `Retry-After` closes a connection.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

/// An answer, and what is needed of the request to judge it.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) role: Role,
    pub(crate) binding: BindingKind,
    pub(crate) status: StatusCode,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
    /// What the binding took from the answer.
    pub(crate) learned: &'a Learned,
    /// The nonce that the proof held.
    pub(crate) sent: Option<&'a Nonce>,
    /// Whether this exchange has been repeated for a nonce before.
    pub(crate) nonce_tried: bool,
    /// Our clock when the head of the answer came, without any offset.
    pub(crate) now: Timestamp,
    /// The offset that the proof was made with.
    pub(crate) offset_seconds: i64,
    pub(crate) not_processed: &'a [BodyCode],
    pub(crate) not_processed_forbidden: &'a [BodyCode],
    /// Answers that mean a block.
    pub(crate) blocks: &'a [Block],
}

/// What to do about it.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// The answer is the caller's.
    Done,
    /// Repeat with this nonce.
    Nonce(Nonce),
    /// Repeat with a new token. Certain when the server says that the token is invalid; a carrier's own code for "not
    /// processed" may also mean that the credential is not entitled to this API.
    Renew { certain: bool },
    /// Give up, since the credential was refused; nothing says whether another token would do better.
    Doubt,
    /// Repeat with this offset of the server's clock from ours, in seconds.
    Skew(i64),
    /// Repeat on a fresh connection.
    Misdirected,
    /// Give up: the carrier blocks whoever it counts so, for this long.
    Blocked(CountedBy, Duration),
    /// Give up. The time is how long the server wants to be left alone, where it says so.
    Fail(ErrorKind, Option<Duration>),
}

pub(crate) fn classify(facts: &Facts<'_>) -> Verdict {
    let status = facts.status;
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return Verdict::Done;
    }
    if status.is_redirection() {
        return Verdict::Fail(ErrorKind::Redirect, None);
    }
    if let Some(block) = facts.blocks.iter().find(|block| is_block(block, facts)) {
        // What the carrier says itself may be longer.
        let said = retry_after(facts.headers, facts.now).unwrap_or_default();
        return Verdict::Blocked(block.counted_by, block.lasts.max(said));
    }
    match status {
        StatusCode::MISDIRECTED_REQUEST => Verdict::Misdirected,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Verdict::Fail(ErrorKind::RateLimited, retry_after(facts.headers, facts.now))
        }
        StatusCode::UNAUTHORIZED if facts.role == Role::ResourceServer => at_resource(facts),
        StatusCode::FORBIDDEN if says_one_of(facts.body, facts.not_processed_forbidden) => {
            Verdict::Renew { certain: false }
        }
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED if facts.role == Role::AuthorizationServer => {
            at_issuer(facts)
        }
        _ => Verdict::Done,
    }
}

/// RFC 9449 8: a challenge of the issuer stands in the body (RFC 6749 5.2), with some issuers in the header field alone.
fn at_issuer(facts: &Facts<'_>) -> Verdict {
    if !facts.binding.has_proof() {
        return Verdict::Done;
    }
    let body = Object::parse(facts.body).ok();
    let in_body = body
        .as_ref()
        .and_then(|body| body.get("error"))
        .and_then(|error| error.as_str());
    let challenges = challenge::parse(facts.headers).unwrap_or_default();
    match in_body.or_else(|| dpop_error(&challenges)) {
        Some("use_dpop_nonce") => nonce(facts),
        Some("invalid_dpop_proof") => proof_refused(facts),
        _ => Verdict::Done,
    }
}

/// RFC 9449 7.1 and 9, RFC 6750 3.1: only challenges of the scheme that the request used count.
fn at_resource(facts: &Facts<'_>) -> Verdict {
    let Some(challenges) = challenge::parse(facts.headers) else {
        return Verdict::Doubt;
    };
    let error = match facts.binding {
        BindingKind::Dpop | BindingKind::DpopMtls => dpop_error(&challenges),
        BindingKind::Bearer | BindingKind::Mtls => single_error(&challenges, "bearer"),
    };
    match error {
        Some("use_dpop_nonce") if facts.binding.has_proof() => nonce(facts),
        Some("invalid_dpop_proof") if facts.binding.has_proof() => proof_refused(facts),
        Some("invalid_token") => Verdict::Renew { certain: true },
        Some(_) => Verdict::Fail(ErrorKind::Unauthorized, None),
        None if says_not_processed(facts) => Verdict::Renew { certain: false },
        None => Verdict::Doubt,
    }
}

fn dpop_error(challenges: &[Challenge]) -> Option<&str> {
    single_error(challenges, "dpop")
}

/// The error that all challenges of a scheme agree on.
fn single_error<'a>(challenges: &'a [Challenge], scheme: &str) -> Option<&'a str> {
    let mut errors = challenges
        .iter()
        .filter(|c| c.scheme == scheme)
        .filter_map(|c| c.param("error"));
    let first = errors.next()?;
    errors.all(|other| other == first).then_some(first)
}

fn nonce(facts: &Facts<'_>) -> Verdict {
    match facts.learned {
        Learned::Nonce(nonce) if facts.sent == Some(nonce) => Verdict::Fail(ErrorKind::NonceLoop, None),
        Learned::Nonce(nonce) => Verdict::Nonce(nonce.clone()),
        Learned::Nothing | Learned::Refused(_) => Verdict::Fail(ErrorKind::NonceUnusable, None),
    }
}

/// Some servers say `invalid_dpop_proof` for a missing or old nonce too; and one whose clock differs refuses every proof.
/// When a nonce that the server gave has been tried, a new one beside the refusal is not why the proof was refused: servers
/// give one with every answer.
fn proof_refused(facts: &Facts<'_>) -> Verdict {
    if let Learned::Nonce(nonce) = facts.learned
        && facts.sent != Some(nonce)
        && !facts.nonce_tried
    {
        return Verdict::Nonce(nonce.clone());
    }
    let Some(theirs) = date(facts.headers) else {
        return Verdict::Fail(ErrorKind::ProofRefused, None);
    };
    let offset = theirs.unix_seconds().saturating_sub(facts.now.unix_seconds());
    if offset.abs_diff(facts.offset_seconds) < skew::NOTICED {
        Verdict::Fail(ErrorKind::ProofRefused, None)
    } else if skew::may_follow(offset) {
        Verdict::Skew(offset)
    } else {
        Verdict::Fail(ErrorKind::ClockOffsetRefused { offset_seconds: offset }, None)
    }
}

fn is_block(block: &Block, facts: &Facts<'_>) -> bool {
    block.role == facts.role
        && block.status == facts.status
        && block
            .code
            .as_ref()
            .is_none_or(|code| says_one_of(facts.body, std::slice::from_ref(code)))
}

fn says_not_processed(facts: &Facts<'_>) -> bool {
    says_one_of(facts.body, facts.not_processed)
}

fn says_one_of(body: &[u8], codes: &[BodyCode]) -> bool {
    // An error body is short; a long one is not worth a JSON tree of many times its size.
    if codes.is_empty() || body.len() > MAX_ERROR_BODY {
        return false;
    }
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(body) else {
        return false;
    };
    codes
        .iter()
        .any(|known| body.pointer(&known.pointer).and_then(|v| v.as_str()) == Some(&*known.code))
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(DATE)?.to_str().ok()?)
}

/// RFC 9110 10.2.3: seconds, or a date. No longer than the longest pause.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().unwrap_or(u64::MAX)
    } else {
        // By the server's own clock, where it shows it.
        let now = date(headers).unwrap_or(now);
        u64::try_from(http_date(text)?.unix_seconds().saturating_sub(now.unix_seconds())).unwrap_or(0)
    };
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

fn http_date(text: &str) -> Option<Timestamp> {
    let since = httpdate::parse_http_date(text)
        .ok()?
        .duration_since(std::time::UNIX_EPOCH)
        .ok()?;
    Some(Timestamp::UNIX_EPOCH + since)
}
