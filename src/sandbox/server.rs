//! Listeners, connections, and the way of one request through the sandbox.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::accounts::Accounts;
use super::assertion::{AssertionClaims, Used};
use super::authority::Authority;
use super::authorization::Authorizations;
use super::body::{Cut, ReplyBody};
use super::builder::{SandboxError, Settings};
use super::canned::{Canned, Routes};
use super::check::{Checker, refused_proof};
use super::clients::Clients;
use super::form::Fields;
use super::handshake::{Handshakes, Peer};
use super::imitations::limits::Limits;
use super::locate::{fields, locate};
use super::metadata::Overrides;
use super::record::{Arrived, Judged, Log, Recorded};
use super::registration::Registration;
use super::registry::{Payments, TokenPaths, Tokens};
use super::script::{Endpoint, Says, Scripts, Travels};
use super::seed::Seed;
use super::{Sandbox, api, client_auth, issuer, tls};
use crate::clock::{Clock, Monotonic, Timestamp};

/// The largest request body that is taken.
pub(super) const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// The servers' clock: the one that was handed in, off by a settable number of seconds.
#[derive(Debug)]
pub(super) struct ServerClock {
    inner: Arc<dyn Clock>,
    offset: AtomicI64,
}

impl ServerClock {
    pub(super) fn skew(&self, seconds: i64) {
        self.offset.store(seconds, Ordering::SeqCst);
    }
}

impl Clock for ServerClock {
    fn now(&self) -> Timestamp {
        self.inner.now().offset_seconds(self.offset.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Monotonic {
        self.inner.monotonic()
    }

    fn sleep_until(&self, deadline: Monotonic) -> BoxFuture<'static, ()> {
        self.inner.sleep_until(deadline)
    }
}

/// What both servers and the handle share.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) clock: Arc<ServerClock>,
    /// The issuer's identifier: its origin and path.
    pub(super) issuer: String,
    /// The origin of the API.
    pub(super) api: String,
    /// The origin of the mTLS host, if there is one.
    pub(super) mtls: Option<String>,
    pub(super) authority: Authority,
    pub(super) metadata: Overrides,
    pub(super) handshakes: Handshakes,
    pub(super) token_paths: TokenPaths,
    pub(super) seed: Seed,
    pub(super) clients: Clients,
    pub(super) accounts: Accounts,
    pub(super) tokens: Tokens,
    pub(super) payments: Payments,
    pub(super) assertions: Used,
    pub(super) authorizations: Authorizations,
    pub(super) log: Log,
    pub(super) scripts: Scripts,
    pub(super) routes: Routes,
    pub(super) limits: Limits,
    pub(super) issuer_checks: Checker,
    pub(super) api_checks: Checker,
    connections: AtomicU64,
}

/// One listening port, and what is served there.
pub(super) struct Place {
    pub(super) origin: Arc<str>,
    pub(super) issuer: bool,
    pub(super) api: bool,
}

/// What came of one request, before it travels.
pub(super) struct Outcome {
    pub(super) canned: Canned,
    pub(super) judged: Judged,
}

impl Outcome {
    pub(super) fn accepted(canned: Canned, checks: Vec<&'static str>) -> Self {
        Self {
            canned,
            judged: Judged::accepted(checks),
        }
    }

    pub(super) fn refused(canned: Canned, reason: &str) -> Self {
        Self {
            canned,
            judged: Judged::refused(reason),
        }
    }
}

pub(super) async fn start(settings: Settings) -> Result<Sandbox, SandboxError> {
    let runtime = tokio::runtime::Handle::try_current().map_err(|_| SandboxError::NoRuntime)?;
    let authority = Authority::new()?;
    let tls = match settings.tls {
        true => Some(tls::make(&authority, &settings)?),
        false => None,
    };
    let scheme = if settings.tls { "https" } else { "http" };
    let bind = async || -> Result<(TcpListener, String), SandboxError> {
        let failed = |error: std::io::Error| SandboxError::Listen(error.kind());
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .await
            .map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok((listener, format!("{scheme}://{address}")))
    };

    let usual = tls.as_ref().map(|tls| &tls.usual);
    let mut listeners = Vec::new();
    let (first, issuer_origin) = bind().await?;
    let api_origin = match settings.separate {
        true => {
            let (second, origin) = bind().await?;
            listeners.push((second, place(&origin, false, true), usual));
            origin
        }
        false => issuer_origin.clone(),
    };
    listeners.push((first, place(&issuer_origin, true, !settings.separate), usual));
    let mtls_origin = match (&tls, settings.mtls) {
        (Some(tls), true) => {
            let (third, origin) = bind().await?;
            listeners.push((third, place(&origin, true, true), Some(&tls.mutual)));
            Some(origin)
        }
        _ => None,
    };

    let mut origins = vec![issuer_origin.as_str(), api_origin.as_str()];
    origins.extend(mtls_origin.as_deref());
    let clock = Arc::new(ServerClock {
        inner: settings.clock.clone(),
        offset: AtomicI64::new(0),
    });
    let shared = Arc::new(Shared {
        issuer: format!("{issuer_origin}{}", settings.issuer_path),
        api: api_origin.clone(),
        mtls: mtls_origin.clone(),
        authority,
        metadata: Overrides::new(settings.metadata_with.clone()),
        handshakes: Handshakes::default(),
        token_paths: TokenPaths::new(&settings.token_paths),
        seed: Seed::new().map_err(|_| SandboxError::Random)?,
        clients: Clients::default(),
        accounts: Accounts::default(),
        tokens: Tokens::default(),
        payments: Payments::default(),
        assertions: Used::default(),
        authorizations: Authorizations::default(),
        log: Log::new(),
        scripts: Scripts::default(),
        routes: Routes::default(),
        limits: Limits::default(),
        issuer_checks: Checker::new(settings.issuer_nonces, &settings.without, &clock, &origins)?,
        api_checks: Checker::new(settings.api_nonces, &settings.without, &clock, &origins)?,
        connections: AtomicU64::new(0),
        clock,
        settings,
    });
    for (id, secret) in &shared.settings.clients {
        shared.clients.put(Registration::secret(id, secret.clone()));
    }

    let stop = watch::Sender::new(false);
    let tasks = listeners
        .into_iter()
        .map(|(listener, place, acceptor)| {
            runtime.spawn(listen(
                listener,
                acceptor.cloned(),
                shared.clone(),
                Arc::new(place),
                stop.subscribe(),
            ))
        })
        .collect();
    Ok(Sandbox { shared, stop, tasks })
}

fn place(origin: &str, issuer: bool, api: bool) -> Place {
    Place {
        origin: origin.into(),
        issuer,
        api,
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A closed channel means that the handle is gone, which stops the servers as well.
    let _told = stop.wait_for(|stop| *stop).await;
}

/// Accepts connections until told to stop; all of them end with it.
async fn listen(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    place: Arc<Place>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let number = shared.connections.fetch_add(1, Ordering::SeqCst).saturating_add(1);
                    connections.spawn(connection(stream, tls.clone(), shared.clone(), place.clone(), number));
                }
                // No file descriptors left, for instance: others get their turn.
                Err(_) => tokio::task::yield_now().await,
            },
        }
    }
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, shared: Arc<Shared>, place: Arc<Place>, number: u64) {
    // Without it small answers wait for acknowledgements; a failure costs speed alone.
    let _slower = stream.set_nodelay(true);
    match tls {
        None => serve(stream, false, shared, place, Peer::plain(number)).await,
        Some(tls) => {
            // A client that does not trust the authority ends here.
            let Ok(stream) = tls.accept(stream).await else { return };
            let tls = stream.get_ref().1;
            let peer = Peer::of(number, tls);
            shared.handshakes.add(&place.origin, &peer, tls);
            let http2 = tls.alpn_protocol() == Some(b"h2");
            serve(stream, http2, shared, place, peer).await;
        }
    }
}

async fn serve<S>(stream: S, http2: bool, shared: Arc<Shared>, place: Arc<Place>, peer: Peer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = Arc::new(Notify::new());
    let peer = Arc::new(peer);
    let service = {
        let broken = broken.clone();
        service_fn(move |request| answer(shared.clone(), place.clone(), peer.clone(), broken.clone(), request))
    };
    let stream = TokioIo::new(stream);
    // Clients that go away make errors here, which are theirs.
    if http2 {
        let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service);
        tokio::select! { _ = serving => {}, () = broken.notified() => {} }
    } else {
        let serving = hyper::server::conn::http1::Builder::new().serve_connection(stream, service);
        tokio::select! { _ = serving => {}, () = broken.notified() => {} }
    }
}

/// Reads a request, records it, finds the answer (script first), and sends it on its way.
async fn answer(
    shared: Arc<Shared>,
    place: Arc<Place>,
    peer: Arc<Peer>,
    broken: Arc<Notify>,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Cut> {
    let (head, body) = request.into_parts();
    let (body, too_large) = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => (body.to_bytes(), false),
        Err(error) if error.is::<LengthLimitError>() => (Bytes::new(), true),
        Err(_) => return Err(Cut),
    };
    let path = head.uri.path().to_owned();
    let (endpoint, imitation) = locate(&shared, &place, &path);
    let (imitation, client, assertion) = match endpoint {
        Endpoint::Api => {
            let (imitation, client) = api::caller(&shared, imitation, &head);
            (imitation, client, None)
        }
        _ => {
            let fields = match endpoint {
                Endpoint::Authorization if body.is_empty() => Fields::of_query(head.uri.query()),
                _ => fields(&shared, imitation, &path, &head.headers, &body),
            };
            let assertion = fields.get("client_assertion").or(fields.get("assertion"));
            let assertion = assertion.and_then(AssertionClaims::read);
            let client = client_auth::claimed_client(&head.headers, &fields, assertion.as_ref())
                .or_else(|| shared.authorizations.client_of(fields.get("ticket")?))
                .or_else(|| shared.tokens.holder(fields.get("refresh_token")?));
            (imitation, client, assertion)
        }
    };
    let arrived = Arc::new(Arrived {
        endpoint,
        origin: place.origin.clone(),
        method: head.method,
        query: head.uri.query().map(str::to_owned),
        version: head.version,
        proof: Arrived::read_proof(&head.headers),
        assertion,
        headers: head.headers,
        body,
        peer,
        tenant: client.as_deref().and_then(|client| shared.clients.tenant_of(client)),
        client,
        imitation,
        path,
    });
    let recorded = Recorded::new(arrived.clone());
    let number = shared.log.add(recorded.clone());
    if too_large {
        let refused = Outcome::refused(Canned::empty(413), "body_too_large");
        return settle(&shared, (number, endpoint), refused, Travels::default(), &broken);
    }

    let (says, travels) = match shared.scripts.take(arrived.tenant.as_ref(), endpoint) {
        Some(answer) => (answer.says, answer.travels),
        None => (Says::Normal, Travels::default()),
    };
    if let Some(gate) = &travels.gate {
        gate.wait().await;
    }
    let scripted = |canned| {
        Ok(Outcome {
            canned,
            judged: Judged::scripted(),
        })
    };
    let outcome = match says {
        Says::Reply(canned) => scripted(canned),
        Says::Nonce(nonce) => scripted(shared.checks(endpoint).challenge(&arrived, &nonce)),
        Says::InvalidToken => scripted(api::invalid_token(&arrived)),
        Says::InvalidProof => scripted(refused_proof(&arrived, "invalid_dpop_proof")),
        Says::Nothing => Err(Cut),
        says @ (Says::Normal | Says::Unbound | Says::TokenWith(_) | Says::RedirectWith(_)) => Ok(match endpoint {
            Endpoint::Api => api::serve(&shared, &place, &recorded).await,
            _ => issuer::serve(&shared, &arrived, &says).await,
        }),
    };
    match outcome {
        Ok(outcome) => settle(&shared, (number, endpoint), outcome, travels, &broken),
        Err(cut) => {
            shared.log.settle(number, Judged::scripted(), None);
            broken.notify_one();
            Err(cut)
        }
    }
}

/// Completes an answer as the script says that it travels, and records it.
fn settle(
    shared: &Arc<Shared>,
    (number, endpoint): (u64, Endpoint),
    outcome: Outcome,
    travels: Travels,
    broken: &Arc<Notify>,
) -> Result<Response<ReplyBody>, Cut> {
    if let Some(nonce) = &travels.nonce {
        shared.checks(endpoint).admit(nonce);
    }
    if travels.lost {
        shared.log.settle(number, outcome.judged, None);
        broken.notify_one();
        return Err(Cut);
    }
    let mut canned = outcome.canned;
    if let Some(nonce) = &travels.nonce {
        canned = canned.header("dpop-nonce", nonce).no_store();
    }
    for (name, value) in &travels.headers {
        canned = canned.and_header(name, value);
    }
    shared
        .log
        .settle(number, outcome.judged, Some((canned.status, &canned.headers)));

    let body = match travels.drip {
        _ if travels.cut => ReplyBody::cut(canned.body, broken.clone()),
        Some((chunk, pace)) => ReplyBody::dripping(canned.body, chunk, pace, shared.clock.clone()),
        None => ReplyBody::whole(canned.body),
    };
    let mut response = Response::new(body);
    *response.status_mut() = canned.status;
    *response.headers_mut() = canned.headers;
    if let Ok(date) = HeaderValue::from_str(&http_date(shared.clock.now().offset_seconds(travels.date_offset))) {
        response.headers_mut().entry(header::DATE).or_insert(date);
    }
    Ok(response)
}

impl Shared {
    /// What the issuer's endpoints are below at the mTLS host.
    pub(super) fn mtls_issuer(&self) -> Option<String> {
        Some(format!("{}{}", self.mtls.as_ref()?, self.settings.issuer_path))
    }

    pub(super) fn checks(&self, endpoint: Endpoint) -> &Checker {
        match endpoint {
            Endpoint::Api => &self.api_checks,
            _ => &self.issuer_checks,
        }
    }
}

/// RFC 9110 5.6.7, for times between 1970 and 9999; others are moved there.
fn http_date(at: Timestamp) -> String {
    const LAST: i64 = 253_402_300_799;
    let seconds = u64::try_from(at.unix_seconds().clamp(0, LAST)).unwrap_or_default();
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// A JSON object with one or two members, as RFC 6749 5.2 has it.
pub(super) fn oauth_error(status: StatusCode, error: &str, description: &str) -> Canned {
    Canned::json(
        status.as_u16(),
        &serde_json::json!({"error": error, "error_description": description}),
    )
    .no_store()
}
