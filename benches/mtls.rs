//! What a client certificate costs: memory of its pool, its handshakes, and that there are no more of them than need be.
//!
//! ```text
//! cargo bench --bench mtls               # 3 minutes; ends with 1 when a goal is missed
//! cargo bench --bench mtls -- --quick
//! ```
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use std::alloc::System;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ED25519};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use shipbound::secret::KeyMaterial;
use shipbound::target::Target;
use shipbound::target::danger::Loopback;
use shipbound::transport::identity::ClientIdentity;
use shipbound::transport::reqwest::ReqwestTransport;
use shipbound::transport::resolver::Lookup;
use shipbound::transport::{Outgoing, Route, Transport};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MAX_BYTES: f64 = 12.0 * 1024.0;
const MAX_MILLISECONDS: f64 = 0.1;
const MAX_RESUMED: f64 = 0.65;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Without Cargo's `--bench`, under `cargo test --benches`, this only shows that everything works.
    let judged = arguments.iter().any(|one| one == "--bench");
    let quick = !judged || arguments.iter().any(|one| one == "--quick");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut goals = Goals::default();
    runtime.block_on(idle(if quick { 1_000 } else { 10_000 }, &mut goals));
    runtime.block_on(handshakes(if quick { 15 } else { 201 }, &mut goals));
    sequential(if quick { 100 } else { 1_000 }, &mut goals, &runtime);
    if judged && goals.missed > 0 {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

#[derive(Default)]
struct Goals {
    missed: usize,
}

impl Goals {
    fn at_most(&mut self, what: &str, found: f64, most: f64) {
        let met = found <= most;
        self.missed += usize::from(!met);
        println!(
            "goal: {what}: {found:.3}, at most {most}: {}",
            if met { "met" } else { "missed" }
        );
    }
}

/// Memory and time of identities that have a pool each and do nothing.
async fn idle(count: usize, goals: &mut Goals) {
    let authority = Authority::new();
    let server = Server::start(authority.config(&[&rustls::version::TLS13], "http/1.1", true), false).await;
    let transport = server
        .allowing()
        .only_roots_pem(authority.0.pem())
        .lookup(Arc::new(Nowhere))
        .build()
        .unwrap();
    let nowhere = Target::parse("https://api.carrier.example/").unwrap();
    // What the first use of anything makes is not counted.
    let first = Route::new().identity(authority.client(&KeyPair::generate().unwrap()));
    transport.send(get(&nowhere), &first).await.unwrap_err();
    call(&transport, &server, &first).await;

    let keys: Vec<(KeyPair, Vec<u8>)> = (0..count)
        .map(|_| {
            let key = KeyPair::generate().unwrap();
            let certificate = authority.certify(&key);
            (key, certificate)
        })
        .collect();
    println!("\n{count} identities (P-256), each");
    println!("{:<44} {:>12} {:>12} {:>10}", "", "allocated B", "resident B", "ms");
    let (read, routes) = grown("read from DER", count, async {
        keys.iter()
            .map(|(key, certificate)| Route::new().identity(identity(key, certificate)))
            .collect::<Vec<_>>()
    })
    .await;
    let (made, ()) = grown("pool, made for a request that fails", count, async {
        for route in &routes {
            transport.send(get(&nowhere), route).await.unwrap_err();
        }
    })
    .await;
    let (again, ()) = grown("the same request, with the pool there", count, async {
        for route in &routes {
            transport.send(get(&nowhere), route).await.unwrap_err();
        }
    })
    .await;
    let (used, ()) = grown("a request over TLS 1.3, connection closed", count, async {
        for route in &routes {
            call(&transport, &server, route).await;
        }
    })
    .await;
    assert_eq!(transport.identities(), count + 1);
    goals.at_most(
        "allocated bytes of an identity and its pool",
        read.allocated + made.allocated,
        MAX_BYTES,
    );
    goals.at_most(
        "resident bytes of an identity and its pool",
        read.resident + made.resident,
        MAX_BYTES,
    );
    goals.at_most(
        "milliseconds to make a pool",
        made.milliseconds - again.milliseconds,
        MAX_MILLISECONDS,
    );
    let tickets = used.allocated + again.allocated;
    goals.at_most(
        "allocated bytes with tickets of a server",
        read.allocated + made.allocated + tickets,
        MAX_BYTES,
    );
}

struct Grown {
    allocated: f64,
    resident: f64,
    milliseconds: f64,
}

/// What is held for each of `count` after `work`, and how long it took.
async fn grown<T>(what: &str, count: usize, work: impl Future<Output = T>) -> (Grown, T) {
    let (region, before, started) = (Region::new(ALLOCATOR), resident(), Instant::now());
    let result = work.await;
    let each = |all: f64| all / count as f64;
    let milliseconds = each(started.elapsed().as_secs_f64() * 1e3);
    let change = region.change();
    let found = Grown {
        allocated: each(change.bytes_allocated as f64 - change.bytes_deallocated as f64),
        resident: each(resident() - before),
        milliseconds,
    };
    println!(
        "{what:<44} {:>12.0} {:>12.0} {:>10.4}",
        found.allocated, found.resident, found.milliseconds
    );
    (found, result)
}

/// The resident set in bytes; 0 where the system does not say.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kibibytes.unwrap_or(0.0) * 1024.0
}

/// Requests on new connections, with a full handshake, with a resumed one and without TLS, in turns. What a handshake takes is
/// what the request takes beyond one without TLS.
async fn handshakes(rounds: usize, goals: &mut Goals) {
    println!("\nA GET over HTTP/1.1 on a new connection, {rounds} rounds in turns, median microseconds");
    println!(
        "{:<20} {:>9} {:>9} {:>9} {:>20}",
        "", "plain", "full", "resumed", "resumed / full"
    );
    for (version, tls) in [
        ("TLS 1.3", &rustls::version::TLS13),
        ("TLS 1.2", &rustls::version::TLS12),
    ] {
        for (name, key) in [
            ("P-256", KeyPair::generate().unwrap()),
            ("Ed25519", KeyPair::generate_for(&PKCS_ED25519).unwrap()),
            (
                "RSA 2048",
                KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap(),
            ),
        ] {
            let authority = Authority::new();
            let versions: &[&'static SupportedProtocolVersion] = &[tls];
            let servers = [
                Server::plain().await,
                Server::start(authority.config(versions, "http/1.1", false), true).await,
                Server::start(authority.config(versions, "http/1.1", true), true).await,
            ];
            let route = Route::new().identity(authority.client(&key)).fresh();
            let transports = servers
                .each_ref()
                .map(|server| server.allowing().only_roots_pem(authority.0.pem()).build().unwrap());
            for (transport, server) in transports.iter().zip(&servers) {
                call(transport, server, &route).await;
            }
            let mut figures = [Vec::new(), Vec::new(), Vec::new()];
            for round in 0..rounds {
                for turn in 0..3 {
                    let case = (round + turn) % 3;
                    let started = Instant::now();
                    call(&transports[case], &servers[case], &route).await;
                    figures[case].push(started.elapsed().as_secs_f64() * 1e6);
                }
            }
            assert_eq!(servers[1].resumed.load(Ordering::SeqCst), 0);
            assert_eq!(servers[2].resumed.load(Ordering::SeqCst), rounds);
            let [plain, full, resumed] = figures.map(median);
            let ratio = (resumed - plain) / (full - plain);
            let what = format!("{version}, {name}");
            println!("{what:<20} {plain:>9.0} {full:>9.0} {resumed:>9.0} {ratio:>20.3}");
            if (version, name) == ("TLS 1.3", "P-256") {
                goals.at_most("handshake resumed to full, TLS 1.3 with P-256", ratio, MAX_RESUMED);
            }
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One handshake, however many requests follow each other.
///
/// Judged with the client on one thread. On several, a request may come before hyper has put the HTTP/1.1 connection of the
/// one before it back, and connects beside it; that happens with any client that hyper is in, and is shown.
fn sequential(calls: usize, goals: &mut Goals, threads: &tokio::runtime::Runtime) {
    println!("\nHandshakes of {calls} requests that follow each other");
    let one_thread = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for alpn in ["h2", "http/1.1"] {
        let authority = Authority::new();
        for (judged, runtime) in [(true, &one_thread), (false, threads)] {
            let config = authority.config(&[&rustls::version::TLS13, &rustls::version::TLS12], alpn, true);
            let server = threads.block_on(threads.spawn(Server::start(config, true))).unwrap();
            let transport = server.allowing().only_roots_pem(authority.0.pem()).build().unwrap();
            let route = Route::new().identity(authority.client(&KeyPair::generate().unwrap()));
            runtime.block_on(async {
                for _ in 0..calls {
                    call(&transport, &server, &route).await;
                }
            });
            let handshakes = server.full.load(Ordering::SeqCst) + server.resumed.load(Ordering::SeqCst);
            if judged {
                goals.at_most(&format!("handshakes over {alpn}"), handshakes as f64, 1.0);
            } else {
                println!("handshakes over {alpn}, client on two threads: {handshakes}");
            }
        }
    }
}

async fn call(transport: &ReqwestTransport, server: &Server, route: &Route) {
    let answer = transport.send(get(&server.target), route).await.unwrap();
    assert_eq!(answer.into_body().read_to_limit(2).await.unwrap(), "ok");
}

fn get(target: &Target) -> Outgoing {
    Outgoing {
        method: Method::GET,
        target: target.clone(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
    }
}

/// Knows no name, so that a request ends before it has a connection.
#[derive(Debug)]
struct Nowhere;

#[async_trait]
impl Lookup for Nowhere {
    async fn lookup(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(Vec::new())
    }
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn certify(&self, key: &KeyPair) -> Vec<u8> {
        let params = CertificateParams::new(Vec::new()).unwrap();
        params.signed_by(key, &self.0).unwrap().der().to_vec()
    }

    fn client(&self, key: &KeyPair) -> ClientIdentity {
        identity(key, &self.certify(key))
    }

    /// A server that insists on certificates of this authority, and lets sessions be resumed or not.
    fn config(&self, versions: &[&'static SupportedProtocolVersion], alpn: &str, resumes: bool) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = CertificateDer::from(params.signed_by(&key, &self.0).unwrap().der().to_vec());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                vec![certificate],
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        if !resumes {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        config
    }
}

fn identity(key: &KeyPair, certificate: &[u8]) -> ClientIdentity {
    ClientIdentity::from_der([certificate], &KeyMaterial::new(key.serialize_der())).unwrap()
}

/// Counts handshakes, and answers `ok`.
struct Server {
    target: Target,
    address: SocketAddr,
    full: Arc<AtomicUsize>,
    resumed: Arc<AtomicUsize>,
}

impl Server {
    async fn start(config: ServerConfig, keep_alive: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let server = Self::at("https", address);
        let counts = (Arc::clone(&server.full), Arc::clone(&server.resumed));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (acceptor, counts) = (acceptor.clone(), counts.clone());
                tokio::spawn(async move {
                    let stream = acceptor.accept(stream).await.unwrap();
                    let tls = stream.get_ref().1;
                    let count = match tls.handshake_kind() {
                        Some(rustls::HandshakeKind::Resumed) => &counts.1,
                        _ => &counts.0,
                    };
                    count.fetch_add(1, Ordering::SeqCst);
                    let http2 = tls.alpn_protocol() == Some(b"h2");
                    let service = service_fn(answer);
                    let stream = TokioIo::new(stream);
                    if http2 {
                        let _cut = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                            .serve_connection(stream, service)
                            .await;
                    } else {
                        let _cut = hyper::server::conn::http1::Builder::new()
                            .keep_alive(keep_alive)
                            .serve_connection(stream, service)
                            .await;
                    }
                });
            }
        });
        server
    }

    /// A server without TLS.
    async fn plain() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                tokio::spawn(async move {
                    let _cut = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service_fn(answer))
                        .await;
                });
            }
        });
        Self::at("http", address)
    }

    fn at(scheme: &str, address: SocketAddr) -> Self {
        Self {
            target: Target::parse_allowing(&format!("{scheme}://{address}/"), &[exemption(address)]).unwrap(),
            address,
            full: Arc::default(),
            resumed: Arc::default(),
        }
    }

    fn allowing(&self) -> shipbound::transport::reqwest::ReqwestTransportBuilder {
        ReqwestTransport::builder().allow_loopback(exemption(self.address))
    }
}

async fn answer(_request: http::Request<hyper::body::Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"ok"))))
}

fn exemption(address: SocketAddr) -> Loopback {
    Loopback::exact(&address.to_string()).unwrap()
}
