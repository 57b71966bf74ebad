//! One HTTP request out, one answer back.
//!
//! A [`Transport`] sends what it is given and hides nothing: it follows no redirect, repeats nothing, decodes nothing, adds
//! no credentials, uses no proxy that was not handed in. Deciding about repeats is the exchange's work, and it depends on
//! the [`Stage`] that an error names.

pub mod address;
mod body;
mod error;
#[cfg(feature = "mtls")]
pub mod identity;
#[cfg(feature = "reqwest")]
pub mod reqwest;
#[cfg(feature = "reqwest")]
pub mod resolver;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method};

pub use body::{Body, ReadError};
pub use error::{Stage, TransportError, TransportErrorKind};

use crate::target::Target;

/// One attempt: a request that goes on the wire once. Not `Clone`, since proofs in its headers are used once.
///
/// `Debug` shows method, origin, number of headers and size of the body.
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// Where to. The `Host` header (HTTP/2: `:authority`) comes from here.
    pub target: Target,
    /// The headers. Values that are secrets are to be marked [sensitive](http::HeaderValue::set_sensitive), so that HTTP
    /// stacks neither log them nor keep them in HTTP/2's compression tables.
    pub headers: HeaderMap,
    /// The whole body; empty for none.
    pub body: Bytes,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("method", &self.method)
            .field("target", &self.target)
            .field("headers", &self.headers.len())
            .field("body", &self.body.len())
            .finish()
    }
}

/// On which connection an attempt goes, and how long it may take.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Route {
    /// On a connection that shows this client certificate where the server asks for one, and that no request of another
    /// identity shares (RFC 8705). Default: a connection that shows none.
    #[cfg(feature = "mtls")]
    pub identity: Option<identity::ClientIdentity>,
    /// On a connection that has carried nothing before (RFC 9110 15.5.20, after a 421). Default: any that is open.
    pub fresh: bool,
    /// How long the attempt may take until the head of the answer has come; the body is not counted. Default: no limit
    /// beyond the transport's connect timeout.
    pub deadline: Option<Duration>,
}

impl Route {
    /// Any open connection, no limit of time.
    pub fn new() -> Self {
        Self::default()
    }

    /// This route on connections that show this client certificate.
    #[cfg(feature = "mtls")]
    #[must_use]
    pub fn identity(mut self, identity: identity::ClientIdentity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// This route on a connection that has carried nothing before.
    #[must_use]
    pub fn fresh(mut self) -> Self {
        self.fresh = true;
        self
    }

    /// This route with a limit of time until the head of the answer.
    #[must_use]
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = Some(limit);
        self
    }
}

/// Sends attempts. Implement it to bring an HTTP stack of your own.
///
/// An implementation must not follow redirects, repeat requests, decode content, take cookies or use ambient proxies; it must
/// send [`Target::path_and_query`] octet by octet, give back every status as an answer, and name the [`Stage`] of a failure
/// conservatively. Errors must not carry any of the request or of foreign error texts.
///
/// # Client certificates
///
/// A transport that takes `Route::identity` into account says so by [`Transport::shows_certificates`]; to one that does not,
/// nothing is handed over that needs a certificate. It must
///
/// - show that certificate, and no other, on the connection that the request goes on; `ClientIdentity::certified_key` is
///   what `rustls` needs for that;
/// - never let requests of two identities, or of one and none, share a connection or a resumption ticket: pools and tickets
///   are told apart by `ClientIdentity::number`;
/// - look at `ClientIdentity::is_usable` for each request, and once that is false close the identity's idle connections,
///   drop its tickets, and keep no connection for it. The request itself may be refused, as
///   [`TransportErrorKind::Tls`] and [`Stage::NotSent`].
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync {
    /// Sends one attempt and waits for the head of the answer.
    ///
    /// Dropping the future gives the attempt up; what had been sent by then may still be carried out by the other side.
    ///
    /// # Errors
    /// [`TransportError`] when no answer came. An answer of any status is `Ok`.
    async fn send(&self, request: Outgoing, route: &Route) -> Result<http::Response<Body>, TransportError>;

    /// Whether connections show the client certificate of their route, as said above. Default: they do not, and requests
    /// that need one fail before anything is sent.
    fn shows_certificates(&self) -> bool {
        false
    }
}
