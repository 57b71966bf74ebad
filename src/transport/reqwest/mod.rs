//! [`ReqwestTransport`]: HTTP/1.1 and HTTP/2 over TLS, by `reqwest` and `rustls`.

mod builder;
mod clients;
mod failure;
#[cfg(feature = "mtls")]
mod pools;
#[cfg(feature = "mtls")]
mod tickets;

use std::fmt;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};

use ::reqwest::{Client, Request, Url};
use async_trait::async_trait;
use futures_util::future::{Either, select};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response};
use http_body_util::BodyExt;

pub use builder::{BuildError, ReqwestTransportBuilder, TlsVersion};

use self::builder::Blueprint;
use self::clients::Clients;
#[cfg(feature = "mtls")]
use self::pools::Pools;
#[cfg(feature = "mtls")]
use super::identity::ClientIdentity;
use super::{Body, Outgoing, Route, Stage, Transport, TransportError, TransportErrorKind};
use crate::clock::Clock;
use crate::target::danger::Loopback;
use crate::target::{Origin, Target};

/// The transport that comes with the crate. Cheap to clone; clones share connections.
///
/// Off, whatever features of `reqwest` other crates switch on: redirects, repeats, proxies of the environment,
/// decompression, cookies, referers, TLS 1.3 early data, `SSLKEYLOGFILE`. On: TLS 1.2 and 1.3 with certificates checked
/// against Mozilla's roots, HTTP/2 or HTTP/1.1 by ALPN, one pool of connections for all requests without a client
/// certificate, and a pool with resumption tickets of its own for each client certificate (RFC 8705). Names are resolved by the
/// system and every address is [judged](super::address) before it is connected to.
///
/// It must be used inside a tokio runtime with I/O and time enabled. Headers that it adds: `Host`, `Content-Length`,
/// `User-Agent` and `Accept: */*` where the request has none of its own.
///
/// The one repeat that remains is hyper's: a request that was given to a pooled connection and of which no octet had been
/// written when that connection turned out to be closed goes onto another one.
///
/// ```
/// use shipbound::transport::reqwest::ReqwestTransport;
///
/// let transport = ReqwestTransport::builder().user_agent("acme-shipping/2.1").build()?;
/// # Ok::<(), shipbound::transport::reqwest::BuildError>(())
/// ```
#[derive(Clone)]
pub struct ReqwestTransport(Arc<Inner>);

struct Inner {
    blueprint: Blueprint,
    /// For requests without a client certificate.
    clients: Clients,
    #[cfg(feature = "mtls")]
    identities: Pools,
    #[cfg(feature = "mtls")]
    pool_max_idle_per_host: usize,
    loopback: Vec<Loopback>,
    clock: Arc<dyn Clock>,
    origins: Origins,
}

impl ReqwestTransport {
    /// A builder with the defaults.
    pub fn builder() -> ReqwestTransportBuilder {
        ReqwestTransportBuilder::default()
    }

    /// How many client certificates have connections or resumption tickets here.
    #[cfg(feature = "mtls")]
    pub fn identities(&self) -> usize {
        self.0.identities.len()
    }

    /// The client for this route. It is owned by the request, which then finishes whatever becomes of the pool.
    fn client(&self, route: &Route) -> Result<Client, TransportError> {
        #[cfg(feature = "mtls")]
        if let Some(identity) = &route.identity {
            return self.client_of(identity, route.fresh);
        }
        let blueprint = &self.0.blueprint;
        self.0
            .clients
            .get(blueprint, blueprint.tls(), route.fresh)
            .map_err(|_| not_sent(TransportErrorKind::Other))
    }

    #[cfg(feature = "mtls")]
    fn client_of(&self, identity: &ClientIdentity, fresh: bool) -> Result<Client, TransportError> {
        // Open connections were made by a key that still signed, and would go on without it.
        if !identity.has_open_key() {
            self.0.identities.close(identity);
            return Err(not_sent(TransportErrorKind::Tls));
        }
        let Inner {
            identities,
            blueprint,
            clock,
            ..
        } = &*self.0;
        identities
            .of(identity, blueprint, self.0.pool_max_idle_per_host, &**clock)
            .and_then(|pool| pool.client(blueprint, fresh))
            .map_err(|_| not_sent(TransportErrorKind::Other))
    }

    /// Addresses in the URL go past the resolver, so they are judged here, as is what only an exemption allows.
    fn admit(&self, target: &Target) -> Result<(), TransportError> {
        let host = target.host();
        let special =
            !target.is_https() || host.starts_with('[') || host == "localhost" || host.parse::<Ipv4Addr>().is_ok();
        if special && !self.0.loopback.iter().any(|one| one.covers(host, target.port())) {
            return Err(not_sent(TransportErrorKind::AddressRefused));
        }
        Ok(())
    }
}

impl fmt::Debug for ReqwestTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestTransport")
            .field("loopback", &self.0.loopback)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for ReqwestTransport {
    async fn send(&self, request: Outgoing, route: &Route) -> Result<Response<Body>, TransportError> {
        self.admit(&request.target)?;
        let request = prepare(request, &self.0.origins)?;
        let client = self.client(route)?;
        let answer = pin!(client.execute(request));
        let answer = match route.deadline {
            None => answer.await,
            Some(limit) => {
                let deadline = self.0.clock.monotonic() + limit;
                match select(answer, self.0.clock.sleep_until(deadline)).await {
                    Either::Left((answer, _)) => answer,
                    Either::Right(_) => {
                        return Err(TransportError::new(TransportErrorKind::Timeout, Stage::MaybeSent));
                    }
                }
            }
        };
        let answer = answer.map_err(|error| failure::of_request(&error))?;
        let (mut parts, body) = Response::<::reqwest::Body>::from(answer).into_parts();
        // They hold the URL and reqwest's types.
        parts.extensions = http::Extensions::new();
        let body = Body::stream(body.map_err(|error| failure::of_body(&error)));
        Ok(Response::from_parts(parts, body))
    }

    fn shows_certificates(&self) -> bool {
        cfg!(feature = "mtls")
    }
}

const fn not_sent(kind: TransportErrorKind) -> TransportError {
    TransportError::new(kind, Stage::NotSent)
}

/// Headers by which a request could say where it goes or where it ends: the target and the body say that.
const FRAMING: [HeaderName; 9] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The most origins whose URLs are kept.
const MAX_ORIGINS: usize = 64;

/// URLs of origins: parsing the host again for each request would take longer than everything else that is done for it here.
#[derive(Default)]
pub(super) struct Origins(RwLock<Vec<(Origin, Url)>>);

impl Origins {
    /// The URL of `target`, provided that the URL parser leaves its text as it is.
    fn url(&self, target: &Target) -> Option<Url> {
        let mut url = self.root(target.origin())?;
        url.set_path(target.path());
        url.set_query(target.query());
        (url.as_str() == target.as_str()).then_some(url)
    }

    fn root(&self, origin: &Origin) -> Option<Url> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, url)) = known.iter().find(|(one, _)| one == origin) {
            return Some(url.clone());
        }
        drop(known);
        let url = Url::parse(&origin.to_string()).ok()?;
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_ORIGINS {
            known.remove(0);
        }
        known.push((origin.clone(), url.clone()));
        Some(url)
    }
}

fn prepare(outgoing: Outgoing, origins: &Origins) -> Result<Request, TransportError> {
    let Outgoing {
        method,
        target,
        headers,
        body,
    } = outgoing;
    if method == Method::CONNECT || has_framing(&headers) {
        return Err(not_sent(TransportErrorKind::Other));
    }
    let url = origins.url(&target).ok_or(not_sent(TransportErrorKind::Target))?;
    // Some servers refuse a POST that does not say that it is empty (RFC 9110 8.6).
    let says_empty = body.is_empty() && [Method::POST, Method::PUT, Method::PATCH].contains(&method);
    let mut request = Request::new(method, url);
    *request.headers_mut() = headers;
    if says_empty {
        request
            .headers_mut()
            .insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    if !body.is_empty() {
        *request.body_mut() = Some(body.into());
    }
    Ok(request)
}

fn has_framing(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| FRAMING.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_the_targets_text_and_few_origins_are_kept() {
        let origins = Origins::default();
        for number in 0..3 * MAX_ORIGINS {
            for tail in ["/", "/a/b%2Fc?x=1&y=%27", "/a//b;c=d?", "/..a/?q=/../"] {
                let target = Target::parse(&format!("https://h{number}.example:8443{tail}")).unwrap();
                assert_eq!(origins.url(&target).unwrap().as_str(), target.as_str());
            }
        }
        assert_eq!(origins.0.read().unwrap().len(), MAX_ORIGINS);
    }
}
