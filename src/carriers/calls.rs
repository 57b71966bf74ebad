//! Calls that a profile knows by name: the one that shows whether a credential works, the one that tells what became of a
//! shipment, those that end and make credentials.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, Method, StatusCode};

/// A cheap call that changes nothing and is answered only to who has a good credential.
///
/// ```
/// use shipbound::carriers::TestCall;
///
/// let look = TestCall::get("/api/track/v1/details/1Z999AA10123456784").proved_by(404);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TestCall {
    /// Its method.
    pub method: Method,
    /// Path and query, as a caller would give them. `{today}` in it stands for the day, as `YYYY-MM-DD`.
    pub path: Cow<'static, str>,
    /// Its JSON body; `{today}` as in the path.
    pub body: Option<Cow<'static, str>>,
    /// Its headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Which statuses show a good credential besides 2xx: 404 where the carrier looks for the shipment only then.
    pub proved_by: Vec<StatusCode>,
}

impl TestCall {
    /// A `GET` of this path.
    pub fn get(path: impl Into<Cow<'static, str>>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            body: None,
            headers: Vec::new(),
            proved_by: Vec::new(),
        }
    }

    /// A `POST` of this JSON to this path.
    pub fn post(path: impl Into<Cow<'static, str>>, body: impl Into<Cow<'static, str>>) -> Self {
        Self {
            method: Method::POST,
            body: Some(body.into()),
            ..Self::get(path)
        }
    }

    /// With this header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// This status shows a good credential, too. A number that is no status is left out.
    #[must_use]
    pub fn proved_by(mut self, status: u16) -> Self {
        self.proved_by.extend(StatusCode::from_u16(status).ok());
        self
    }
}

/// How to find out what became of a request whose answer was lost ([`Stage::MaybeSent`](crate::transport::Stage::MaybeSent)).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LookUp {
    /// By this call, with something that the application chose and sent along.
    Call {
        /// Its method.
        method: Method,
        /// Its route, as in [`Route::template`](super::Route::template), with the query that is needed.
        route: Cow<'static, str>,
        /// What it asks by, and what its answers mean.
        by: Cow<'static, str>,
    },
    /// By sending the request again with the same idempotency key: it is carried out once.
    Repeat,
    /// There is no such call: this is what can be done instead.
    None {
        /// What can be done.
        instead: Cow<'static, str>,
    },
}

impl Default for LookUp {
    /// Nothing is known.
    fn default() -> Self {
        Self::None {
            instead: Cow::Borrowed("nothing is known of this carrier: ask it"),
        }
    }
}

/// How a credential is revoked and replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replacement {
    /// By which call a token or key is ended; `None` where there is none.
    pub revoke: Option<(Method, Cow<'static, str>)>,
    /// By which call a new key is made; `None` where there is none.
    pub replace: Option<(Method, Cow<'static, str>)>,
    /// What a person does, step by step, in the order of an incident.
    pub steps: Vec<Cow<'static, str>>,
}

impl Replacement {
    /// By hand, in these steps.
    pub fn by_hand(steps: impl IntoIterator<Item = &'static str>) -> Self {
        Self {
            steps: steps.into_iter().map(Cow::Borrowed).collect(),
            ..Self::default()
        }
    }

    /// Ended by this call.
    #[must_use]
    pub fn revoked_by(mut self, method: Method, route: impl Into<Cow<'static, str>>) -> Self {
        self.revoke = Some((method, route.into()));
        self
    }

    /// Made by this call.
    #[must_use]
    pub fn replaced_by(mut self, method: Method, route: impl Into<Cow<'static, str>>) -> Self {
        self.replace = Some((method, route.into()));
        self
    }
}

/// A header by which a carrier knows a request again. The client sets it where the caller does not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TracingHeader {
    /// Its name.
    pub name: HeaderName,
    /// What is put into it.
    pub value: TracingValue,
}

impl TracingHeader {
    /// An id that is new for every call: 32 hexadecimal digits.
    pub const fn call_id(name: HeaderName) -> Self {
        Self {
            name,
            value: TracingValue::CallId,
        }
    }

    /// The same text for all calls: who sends them.
    pub const fn constant(name: HeaderName, value: HeaderValue) -> Self {
        Self {
            name,
            value: TracingValue::Constant(value),
        }
    }
}

/// What a tracing header holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TracingValue {
    /// An id that is new for every call, and the same for its repeats: 32 hexadecimal digits.
    CallId,
    /// The same for all calls.
    Constant(HeaderValue),
}
