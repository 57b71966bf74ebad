//! Answers made in advance, and the routes that give them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Serialize;

use super::record::Recorded;

/// A whole answer: status, header fields, body.
///
/// ```
/// use shipbound::sandbox::Canned;
///
/// let label = Canned::json(200, &serde_json::json!({"trackingNumber": "794600000001"}));
/// let page = Canned::text(503, "<html>down for maintenance</html>").header("content-type", "text/html");
/// # let _ = (label, page);
/// ```
#[derive(Clone)]
pub struct Canned {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Canned {
    /// An answer without a body. A number that is no HTTP status (100 to 999) becomes 500.
    pub fn empty(status: u16) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// An answer whose body is `value` as JSON. A value that cannot be written as JSON becomes an empty 500.
    pub fn json<T: Serialize + ?Sized>(status: u16, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::bytes(status, "application/json", body),
            Err(_) => Self::empty(500),
        }
    }

    /// An answer whose body is `text`, as `text/plain`.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self::bytes(status, "text/plain; charset=utf-8", text.into())
    }

    /// An answer with these bytes and this `Content-Type`.
    pub fn bytes(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        let mut canned = Self::empty(status).header("content-type", content_type);
        canned.body = body.into();
        canned
    }

    /// Sets a header field. What HTTP does not allow as a name or value is left out.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_bytes(value.as_bytes()),
        ) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Adds a header field beside others of the same name, two `DPoP-Nonce` fields for instance.
    #[must_use]
    pub fn and_header(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_bytes(value.as_bytes()),
        ) {
            self.headers.append(name, value);
        }
        self
    }

    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            self.headers.insert(name, value);
        }
        self
    }

    pub(super) fn no_store(self) -> Self {
        self.with(header::CACHE_CONTROL, "no-store")
    }
}

impl fmt::Debug for Canned {
    /// Shows neither header values nor the body: a canned token answer holds a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canned")
            .field("status", &self.status.as_u16())
            .field(
                "headers",
                &self.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            )
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

type Responder = Arc<dyn Fn(&Recorded) -> Canned + Send + Sync>;

/// What answers on one method and path.
#[derive(Clone)]
pub(super) struct Route {
    method: Method,
    pattern: Vec<String>,
    responder: Responder,
    /// Whether a token is asked for.
    pub(super) guarded: bool,
}

impl Route {
    pub(super) fn answer(&self, request: &Recorded) -> Canned {
        (self.responder)(request)
    }

    fn matches(&self, method: &Method, path: &str) -> bool {
        let mut pattern = self.pattern.iter();
        let mut segments = path.split('/');
        self.method == *method
            && loop {
                match (pattern.next(), segments.next()) {
                    (None, None) => break true,
                    (Some(wanted), Some(segment))
                        if wanted == segment || is_wildcard(wanted) && !segment.is_empty() => {}
                    _ => break false,
                }
            }
    }
}

fn is_wildcard(segment: &str) -> bool {
    segment.starts_with('{') && segment.ends_with('}')
}

/// The routes that users added; the newest that fits is taken.
#[derive(Default)]
pub(super) struct Routes(Mutex<Vec<Route>>);

impl Routes {
    pub(super) fn add(&self, method: Method, path: &str, guarded: bool, responder: Responder) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Route {
            method,
            pattern: path.split('/').map(str::to_owned).collect(),
            responder,
            guarded,
        });
    }

    pub(super) fn find(&self, method: &Method, path: &str) -> Option<Route> {
        let routes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        routes.iter().rev().find(|route| route.matches(method, path)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str, method: Method, path: &str) -> bool {
        let routes = Routes::default();
        routes.add(Method::GET, pattern, true, Arc::new(|_| Canned::empty(200)));
        routes.find(&method, path).is_some()
    }

    #[test]
    fn a_wildcard_stands_for_one_segment() {
        assert!(found("/track/{number}", Method::GET, "/track/1Z"));
        for path in ["/track/", "/track", "/track/1Z/2", "/tracks/1Z"] {
            assert!(!found("/track/{number}", Method::GET, path), "{path}");
        }
        assert!(!found("/track/{number}", Method::POST, "/track/1Z"));
    }

    #[test]
    fn debug_shows_no_body() {
        let canned = Canned::text(200, "secret-token").header("dpop-nonce", "secret-nonce");
        assert!(!format!("{canned:?}").contains("secret"));
    }
}
