//! What an issuer says of a token (RFC 7662): for clients that want to be sure that a token is bound, and for services that
//! are called with one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use thiserror::Error as ThisError;

use crate::binding::{BindingKind, Confirmation, Role};
use crate::clock::{Monotonic, Timestamp};
use crate::error::{Awaited, Error, ErrorKind};
use crate::exchange::connection::Connection;
use crate::jose::Thumbprint;
use crate::journal::EventKind;
use crate::json::{Object, Value};
use crate::transport::Stage;

use super::answer::{TokenAnswerError, refusal};
use super::form::Form;
use super::lease::Lease;
use super::metadata::{IssuerEndpoint, is_json};
use super::source::{Prepared, TokenSource};

/// An active token, as its issuer describes it.
///
/// ```
/// use http::{HeaderMap, HeaderValue, StatusCode, header};
/// use shipbound::clock::Timestamp;
/// use shipbound::token::introspection::Introspection;
///
/// let mut headers = HeaderMap::new();
/// headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
/// let body = br#"{"active":true,"exp":1800000100,"cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}"#;
/// let token = Introspection::read(StatusCode::OK, &headers, body, Timestamp::from_unix_seconds(1_800_000_000))?;
/// assert_eq!(token.confirmations().len(), 1);
/// # Ok::<(), shipbound::token::introspection::IntrospectionError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Introspection {
    confirmations: Vec<Confirmation>,
    expires_at: Option<Timestamp>,
    client_id: Option<String>,
    scope: Option<String>,
    audience: Vec<String>,
}

/// Why an answer about a token does not let the token be used. Whoever asks must then refuse the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum IntrospectionError {
    /// Not 200, not `application/json`, or not one JSON object. User action: look at the issuer.
    #[error("the issuer's answer about the token cannot be read")]
    Unreadable,
    /// The token is not active: expired, revoked, of another issuer, or the answer does not say `true` (RFC 7662 2.2). User
    /// action: ask for a new token.
    #[error("the token is not active")]
    Inactive,
    /// A member has the wrong type. User action: look at the issuer.
    #[error("a member has the wrong type")]
    WrongType,
    /// `cnf` has members that cannot be understood, or none: no key equals it. User action: look at the issuer.
    #[error("the confirmation cannot be understood")]
    Confirmation,
    /// `token_type` says one thing and `cnf` another (RFC 9449 6.2). User action: look at the issuer.
    #[error("the token's type and its confirmation contradict each other")]
    Contradictory,
}

impl Introspection {
    /// Reads an answer of an introspection endpoint.
    ///
    /// # Errors
    /// [`IntrospectionError`] for everything that is not an active token with a confirmation that can be understood, or none.
    pub fn read(
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Self, IntrospectionError> {
        if status != StatusCode::OK || !is_json(headers) {
            return Err(IntrospectionError::Unreadable);
        }
        let answer = Object::parse(body).map_err(|_category| IntrospectionError::Unreadable)?;
        if answer.get("active").and_then(Value::as_bool) != Some(true) {
            return Err(IntrospectionError::Inactive);
        }
        let expires_at = match member(&answer, "exp") {
            None => None,
            Some(exp) => Some(seconds(exp).ok_or(IntrospectionError::WrongType)?),
        };
        if expires_at.is_some_and(|end| now >= end) {
            return Err(IntrospectionError::Inactive);
        }
        let confirmations = match member(&answer, "cnf") {
            None => Vec::new(),
            Some(cnf) => confirmations(cnf)?,
        };
        let has_jkt = Confirmation::jkt(&confirmations).is_some();
        if let Some(token_type) = text(&answer, "token_type")?
            && token_type.eq_ignore_ascii_case("dpop") != has_jkt
        {
            return Err(IntrospectionError::Contradictory);
        }
        Ok(Self {
            confirmations,
            expires_at,
            client_id: text(&answer, "client_id")?.map(str::to_owned),
            scope: text(&answer, "scope")?.map(str::to_owned),
            audience: audience(&answer)?,
        })
    }

    /// What the token is bound to; empty for a token that anyone may use who has it.
    pub fn confirmations(&self) -> &[Confirmation] {
        &self.confirmations
    }

    /// When the token ends, where the issuer says so.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// The client that the token was issued to, where the issuer says so.
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// The scopes, separated by spaces, where the issuer says them.
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    /// For whom the token is (`aud`), where the issuer says so. A service refuses a token that is for others (RFC 9700 2.3).
    pub fn audience(&self) -> &[String] {
        &self.audience
    }

    /// Until when this answer may be believed by whoever keeps it for `ttl`: never beyond the token's end (RFC 7662 4). A
    /// revocation is seen that much later.
    pub fn good_until(&self, now: Timestamp, ttl: Duration) -> Timestamp {
        let kept = now + ttl;
        self.expires_at.map_or(kept, |end| end.min(kept))
    }

    /// Whether the token is bound, and to nothing but what `held` has.
    pub fn is_bound_to(&self, held: &[Confirmation]) -> bool {
        !self.confirmations.is_empty() && self.confirmations.iter().all(|one| held.contains(one))
    }
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspection")
            .field("confirmations", &self.confirmations)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// The members of `cnf` (RFC 7800 3.1). One that is not known here is a confirmation that nobody can check.
fn confirmations(cnf: &Value) -> Result<Vec<Confirmation>, IntrospectionError> {
    let cnf = cnf.as_object().ok_or(IntrospectionError::Confirmation)?;
    let thumbprint = |value: &Value| value.as_str().and_then(Thumbprint::from_base64url);
    let known = |name: &str, value: &Value| match name {
        "jkt" => thumbprint(value).map(Confirmation::Jkt),
        "x5t#S256" => thumbprint(value).map(Confirmation::X5t),
        _ => None,
    };
    let read: Option<Vec<_>> = cnf.iter().map(|(name, value)| known(name, value)).collect();
    read.filter(|read| !read.is_empty())
        .ok_or(IntrospectionError::Confirmation)
}

fn member<'a>(answer: &'a Object, name: &str) -> Option<&'a Value> {
    answer.get(name).filter(|value| !value.is_null())
}

fn text<'a>(answer: &'a Object, name: &str) -> Result<Option<&'a str>, IntrospectionError> {
    match member(answer, name) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or(IntrospectionError::WrongType),
    }
}

/// One text or several (RFC 7662 2.2, RFC 7519 4.1.3).
fn audience(answer: &Object) -> Result<Vec<String>, IntrospectionError> {
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or(IntrospectionError::WrongType);
    match member(answer, "aud") {
        None => Ok(Vec::new()),
        Some(value) => match value.as_array() {
            Some(several) => several.iter().map(text).collect(),
            None => Ok(vec![text(value)?]),
        },
    }
}

fn seconds(value: &Value) -> Option<Timestamp> {
    let number = value.as_number()?;
    let seconds = number.as_i64().or_else(|| {
        // A fraction is rounded down: earlier is safer.
        let seconds = number.as_f64();
        #[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
        (seconds >= 0.0).then_some(seconds as i64)
    })?;
    Some(Timestamp::from_unix_seconds(seconds.clamp(0, 253_402_300_799)))
}

impl TokenSource {
    /// Asks the issuer about the token of `lease`.
    pub(crate) async fn introspect(
        self: &Arc<Self>,
        lease: &Lease,
        connection: &Arc<Connection>,
    ) -> Result<Introspection, Error> {
        let deadline = self.clock.monotonic() + self.limits.token_exchange;
        let told = async {
            let prepared = self.prepared(connection, deadline).await?;
            self.look_up(lease, &prepared, connection, deadline).await
        };
        self.in_time(deadline, Awaited::Answer, told).await
    }

    /// Makes sure that the token of `lease` is bound as it is used.
    pub(super) async fn confirm(
        &self,
        lease: &Lease,
        prepared: &Prepared<'_>,
        connection: &Arc<Connection>,
        deadline: Monotonic,
    ) -> Result<(), Error> {
        let told = self
            .look_up(lease, prepared, connection, deadline)
            .await
            .map_err(Error::not_sent)?;
        if lease.binding() == BindingKind::Bearer || told.is_bound_to(lease.confirmations()) {
            return Ok(());
        }
        self.journal.record(&connection.id, || EventKind::UnboundTokenRefused);
        Err(Error::before(ErrorKind::UnboundToken).of(Role::AuthorizationServer))
    }

    async fn look_up(
        &self,
        lease: &Lease,
        prepared: &Prepared<'_>,
        connection: &Connection,
        deadline: Monotonic,
    ) -> Result<Introspection, Error> {
        let failed = |kind| Error::new(kind, Stage::Answered).of(Role::AuthorizationServer);
        let token = lease
            .token()
            .ok_or_else(|| Error::before(ErrorKind::Build("there are no tokens to ask about")))?;
        let form = Form::new().with("token", token).with("token_type_hint", "access_token");
        let response = self
            .post(prepared, IssuerEndpoint::Introspection, form, connection, deadline)
            .await?;
        if response.status.is_client_error() || response.status.is_server_error() {
            let kind = match refusal(response.status, &response.body) {
                TokenAnswerError::OAuth(code) => ErrorKind::TokenRefused(code),
                other => ErrorKind::TokenAnswer(other),
            };
            return Err(failed(kind).with_answer(response));
        }
        Introspection::read(response.status, &response.headers, &response.body, self.clock.now())
            .map_err(|error| failed(ErrorKind::Introspection(error)).with_answer(response))
    }
}
