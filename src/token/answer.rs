//! Reading the issuer's answer to a token request (RFC 6749 5.1 and 5.2), in the shapes that carriers give it.

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode};
use thiserror::Error;

use crate::binding::BindingKind;
use crate::clock::Timestamp;
use crate::error::OAuthCode;
use crate::exchange::quirks::{LifetimeAt, TokenAnswerShape};
use crate::json::{JsonError, Object, Value};
use crate::secret::RefreshToken;

use super::metadata::is_json;
use super::{AccessToken, MAX_TOKEN};

/// What is wrong with an issuer's answer. None of its text is kept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TokenAnswerError {
    /// Not 200, though no error either.
    #[error("the status is not 200")]
    Status,
    /// An error status without an OAuth error (RFC 6749 5.2): a gateway's page, perhaps.
    #[error("status {0} without an OAuth error")]
    Unexplained(StatusCode),
    /// Not `application/json`.
    #[error("not application/json")]
    ContentType,
    /// Not one JSON object.
    #[error("not one JSON object")]
    NotJson,
    /// A member occurs twice.
    #[error("a member occurs twice")]
    DuplicateMember,
    /// A member has the wrong JSON type.
    #[error("a member has the wrong type")]
    WrongType,
    /// No access token.
    #[error("no access token")]
    NoAccessToken,
    /// A token has characters that no header may hold.
    #[error("a token has characters that are not allowed")]
    TokenSyntax,
    /// The access token is longer than [`MAX_TOKEN`].
    #[error("the access token is longer than 16 KiB")]
    TokenTooLong,
    /// No `token_type`.
    #[error("no token_type")]
    NoTokenType,
    /// A `token_type` that cannot be used here: a DPoP token without a key, or an unknown type.
    #[error("a token_type that cannot be used")]
    UnusableTokenType,
    /// The answer declares an unbound token where a binding is required.
    #[error("the token is declared unbound")]
    Unbound,
    /// The lifetime is negative or not a number.
    #[error("the lifetime is not a number of seconds")]
    Lifetime,
    /// A scope that was asked for was not granted.
    #[error("a scope that was asked for was not granted")]
    ScopeNotGranted,
    /// A token and an error in one answer.
    #[error("a token and an error in one answer")]
    Contradictory,
    /// An OAuth error (RFC 6749 5.2).
    #[error("the issuer refuses: {0}")]
    OAuth(OAuthCode),
}

/// What an issuer granted.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) token: AccessToken,
    /// What the token is tied to, as far as the answer declares it.
    pub(crate) kind: BindingKind,
    /// As the issuer tells it; `None` where it tells nothing.
    pub(crate) lifetime: Option<Duration>,
    /// The granted scopes as the issuer writes them; `None` where it grants what was asked for.
    pub(crate) scope: Option<String>,
}

pub(crate) fn read(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    wanted: BindingKind,
    shape: &TokenAnswerShape,
    now: Timestamp,
) -> Result<Granted, TokenAnswerError> {
    if !status.is_success() {
        return Err(refusal(status, body));
    }
    if status != StatusCode::OK {
        return Err(TokenAnswerError::Status);
    }
    if let Some(name) = &shape.in_header {
        return in_header(headers, name, wanted, shape);
    }
    if !is_json(headers) {
        return Err(TokenAnswerError::ContentType);
    }
    let object = parse(body)?;
    let error = object.get("error").filter(|error| !error.is_null());
    let token = match (text(&object, &shape.access_token), error) {
        (Ok(Some(_)), Some(_)) => return Err(TokenAnswerError::Contradictory),
        (_, Some(error)) => {
            return Err(TokenAnswerError::OAuth(OAuthCode::new(
                error.as_str().ok_or(TokenAnswerError::WrongType)?,
            )));
        }
        (token, None) => token?
            .filter(|token| !token.is_empty())
            .ok_or(TokenAnswerError::NoAccessToken)?,
    };
    let token = access_token(token, shape)?;
    let kind = token_type(text(&object, "token_type")?, wanted, shape)?;
    refresh_token(&object)?;
    Ok(Granted {
        token,
        kind,
        lifetime: lifetime(&object, &shape.lifetime, now)?,
        scope: text(&object, "scope")?.map(str::to_owned),
    })
}

/// A token that a carrier gives in a header field. It says no type, so it is a bearer token.
fn in_header(
    headers: &HeaderMap,
    name: &HeaderName,
    wanted: BindingKind,
    shape: &TokenAnswerShape,
) -> Result<Granted, TokenAnswerError> {
    let mut fields = headers.get_all(name).iter();
    let token = match (fields.next(), fields.next()) {
        (Some(only), None) => only.to_str().map_err(|_illegal| TokenAnswerError::TokenSyntax)?,
        (None, _) => return Err(TokenAnswerError::NoAccessToken),
        (Some(_), Some(_)) => return Err(TokenAnswerError::DuplicateMember),
    };
    let lifetime = match shape.lifetime {
        LifetimeAt::Fixed(seconds) => Some(Duration::from_secs(u64::from(seconds))),
        LifetimeAt::Seconds(_) | LifetimeAt::UnixSeconds(_) => None,
    };
    Ok(Granted {
        token: access_token(token, shape)?,
        kind: token_type(Some("bearer"), wanted, shape)?,
        lifetime,
        scope: None,
    })
}

fn access_token(text: &str, shape: &TokenAnswerShape) -> Result<AccessToken, TokenAnswerError> {
    let token = match (text.len(), shape.any_characters) {
        (0, _) => return Err(TokenAnswerError::NoAccessToken),
        (1..=MAX_TOKEN, true) => AccessToken::of_any_characters(text),
        (1..=MAX_TOKEN, false) => AccessToken::new(text),
        _ => return Err(TokenAnswerError::TokenTooLong),
    };
    token.ok_or(TokenAnswerError::TokenSyntax)
}

/// What becomes of the refresh token by an answer that holds tokens.
#[derive(Debug)]
pub(crate) struct Successor {
    /// The next one; `None` where the present one stays (RFC 6749 6).
    pub(crate) refresh_token: Option<RefreshToken>,
    /// How long it lasts, where the issuer says so in a way that can be read (`refresh_token_expires_in`, as UPS and USPS
    /// write it).
    pub(crate) lifetime: Option<Duration>,
}

impl Successor {
    /// Reads it from an answer, whatever else may be wrong with that: the issuer has taken the refresh token by then. `None`
    /// for an answer that holds no tokens, or none that can be read.
    pub(super) fn read(status: StatusCode, body: &[u8], shape: &TokenAnswerShape, now: Timestamp) -> Option<Self> {
        if status != StatusCode::OK {
            return None;
        }
        let object = parse(body).ok()?;
        let next = refresh_token(&object).ok()?;
        let holds_tokens = next.is_some() || text(&object, &shape.access_token).ok()?.is_some();
        holds_tokens.then(|| Self {
            refresh_token: next.map(RefreshToken::new),
            lifetime: lifetime(&object, &LifetimeAt::Seconds("refresh_token_expires_in".into()), now)
                .ok()
                .flatten(),
        })
    }
}

/// The refresh token of an answer, in its characters (RFC 6749 A.17).
fn refresh_token(object: &Object) -> Result<Option<&str>, TokenAnswerError> {
    let token = text(object, "refresh_token")?.filter(|token| !token.is_empty());
    match token {
        Some(token) if !token.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) => Err(TokenAnswerError::TokenSyntax),
        token => Ok(token),
    }
}

/// What an answer with an error status says (RFC 6749 5.2).
pub(super) fn refusal(status: StatusCode, body: &[u8]) -> TokenAnswerError {
    let object = Object::parse(body).ok();
    match object
        .as_ref()
        .and_then(|object| object.get("error"))
        .and_then(Value::as_str)
    {
        Some(code) if !code.is_empty() => TokenAnswerError::OAuth(OAuthCode::new(code)),
        _ => TokenAnswerError::Unexplained(status),
    }
}

fn parse(body: &[u8]) -> Result<Object, TokenAnswerError> {
    Object::parse(body).map_err(|error| match error {
        JsonError::DuplicateMember => TokenAnswerError::DuplicateMember,
        _ => TokenAnswerError::NotJson,
    })
}

/// The text of a member; `None` where it is absent or null.
fn text<'a>(object: &'a Object, name: &str) -> Result<Option<&'a str>, TokenAnswerError> {
    match object.get(name) {
        None => Ok(None),
        Some(value) if value.is_null() => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or(TokenAnswerError::WrongType),
    }
}

/// RFC 9449 5 with RFC 6749 5.1: the type compares without case, and says whether the token is bound to the proof key. A token
/// that is bound to a certificate says `Bearer` (RFC 8705 3).
fn token_type(
    given: Option<&str>,
    wanted: BindingKind,
    shape: &TokenAnswerShape,
) -> Result<BindingKind, TokenAnswerError> {
    let given = match given.filter(|given| !given.is_empty()) {
        Some(given) => given,
        None if shape.token_type_optional => "bearer",
        None => return Err(TokenAnswerError::NoTokenType),
    };
    let is = |name: &str| given.eq_ignore_ascii_case(name);
    match wanted {
        BindingKind::Dpop | BindingKind::DpopMtls if is("dpop") => Ok(wanted),
        BindingKind::DpopMtls if is("bearer") => Ok(BindingKind::Mtls),
        BindingKind::Dpop | BindingKind::DpopMtls => Err(TokenAnswerError::Unbound),
        BindingKind::Bearer | BindingKind::Mtls if is("bearer") => Ok(wanted),
        BindingKind::Bearer | BindingKind::Mtls => Err(TokenAnswerError::UnusableTokenType),
    }
}

fn lifetime(object: &Object, at: &LifetimeAt, now: Timestamp) -> Result<Option<Duration>, TokenAnswerError> {
    let (name, since) = match at {
        LifetimeAt::Seconds(name) => (name, 0),
        LifetimeAt::UnixSeconds(name) => (name, u64::try_from(now.unix_seconds()).unwrap_or(0)),
        LifetimeAt::Fixed(seconds) => return Ok(Some(Duration::from_secs(u64::from(*seconds)))),
    };
    let seconds = match object.get(name) {
        None => return Ok(None),
        Some(value) if value.is_null() => return Ok(None),
        Some(value) => seconds(value).ok_or(TokenAnswerError::Lifetime)?,
    };
    Ok(Some(Duration::from_secs(seconds.saturating_sub(since))))
}

/// A count of seconds as issuers write it: an integer, a fraction (rounded down), or decimal digits in a string.
fn seconds(value: &Value) -> Option<u64> {
    if let Some(text) = value.as_str() {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        return digits.then(|| text.parse().unwrap_or(u64::MAX));
    }
    let number = value.as_number()?;
    if let Some(seconds) = number.as_u64() {
        return Some(seconds);
    }
    let seconds = number.as_f64();
    // The cast saturates, and rounds toward zero.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "meant, and checked to be positive"
    )]
    (seconds >= 0.0).then_some(seconds as u64)
}
