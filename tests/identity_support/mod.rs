//! Servers on loopback that ask for client certificates, and write down which ones they were shown.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderValue, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, PublicKeyData,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use shipbound::jose::Thumbprint;
use shipbound::secret::KeyMaterial;
use shipbound::transport::identity::ClientIdentity;
use shipbound::transport::reqwest::{ReqwestTransport, ReqwestTransportBuilder};
use shipbound::transport::{Route, Transport};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

use crate::transport_support::{allowing, get, target};

pub const TLS_1_2: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];
pub const TLS_1_3: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// Issues certificates, to clients and to servers.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        Self::named("ours")
    }

    pub fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A client's certificate for this public key.
    pub fn certify(&self, key: &impl PublicKeyData, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        params.signed_by(key, &self.0).unwrap().der().to_vec()
    }

    /// A new client.
    pub fn client(&self) -> ClientIdentity {
        self.client_with(|_| ())
    }

    pub fn client_with(&self, change: impl FnOnce(&mut CertificateParams)) -> ClientIdentity {
        let key = KeyPair::generate().unwrap();
        let certificate = self.certify(&key, change);
        ClientIdentity::from_der([certificate], &KeyMaterial::new(key.serialize_der())).unwrap()
    }

    /// What a server at `127.0.0.1` needs that asks for certificates of this authority; `required`: and insists.
    pub fn config(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        alpn: &str,
        required: bool,
    ) -> rustls::ServerConfig {
        self.config_of(versions, alpn, required, rustls::crypto::aws_lc_rs::default_provider())
    }

    pub fn config_of(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        alpn: &str,
        required: bool,
        provider: rustls::crypto::CryptoProvider,
    ) -> rustls::ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let provider = Arc::new(provider);
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let verifier = if required {
            verifier
        } else {
            verifier.allow_unauthenticated()
        };
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                vec![CertificateDer::from(certificate.der().to_vec())],
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        config
    }
}

/// Takes signatures with ECDSA and no others.
pub fn ecdsa_alone() -> rustls::crypto::CryptoProvider {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    let ecdsa = provider.signature_verification_algorithms.mapping;
    let ecdsa: Vec<_> = ecdsa
        .iter()
        .filter(|(scheme, _)| *scheme == rustls::SignatureScheme::ECDSA_NISTP256_SHA256)
        .copied()
        .collect();
    provider.signature_verification_algorithms.mapping = Vec::leak(ecdsa);
    provider
}

/// A handshake as the server saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    pub x5t: Option<Thumbprint>,
    pub resumed: bool,
}

/// A server. Each answer says on which connection, counted from 1, and with which certificate it came. A request for `/held`
/// is answered when [`Server::release`] is called.
pub struct Server {
    pub address: SocketAddr,
    closed: tokio::sync::Mutex<mpsc::UnboundedReceiver<usize>>,
    held: tokio::sync::Mutex<mpsc::UnboundedReceiver<()>>,
    handshakes: Arc<Mutex<Vec<Handshake>>>,
    gate: Arc<Semaphore>,
}

#[derive(Clone)]
struct Shared {
    acceptor: tokio_rustls::TlsAcceptor,
    connections: Arc<AtomicUsize>,
    handshakes: Arc<Mutex<Vec<Handshake>>>,
    closed: mpsc::UnboundedSender<usize>,
    held: mpsc::UnboundedSender<()>,
    gate: Arc<Semaphore>,
}

impl Server {
    pub async fn start(config: rustls::ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (closing, closed) = mpsc::unbounded_channel();
        let (holding, held) = mpsc::unbounded_channel();
        let shared = Shared {
            acceptor: tokio_rustls::TlsAcceptor::from(Arc::new(config)),
            connections: Arc::default(),
            handshakes: Arc::default(),
            closed: closing,
            held: holding,
            gate: Arc::new(Semaphore::new(0)),
        };
        let (handshakes, gate) = (Arc::clone(&shared.handshakes), Arc::clone(&shared.gate));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Self {
            address,
            closed: closed.into(),
            held: held.into(),
            handshakes,
            gate,
        }
    }

    /// The handshakes since the last time.
    pub fn handshakes(&self) -> Vec<Handshake> {
        std::mem::take(&mut self.handshakes.lock().unwrap())
    }

    /// Waits for a connection to end; gives its number.
    pub async fn closed(&self) -> usize {
        self.closed.lock().await.recv().await.unwrap()
    }

    /// Waits for a request for `/held`.
    pub async fn held(&self) {
        self.held.lock().await.recv().await.unwrap();
    }

    /// Answers one request that is held.
    pub fn release(&self) {
        self.gate.add_permits(1);
    }
}

async fn serve(stream: TcpStream, shared: Shared) {
    let stream = match shared.acceptor.accept(stream).into_fallible().await {
        Ok(stream) => stream,
        Err((_refused, mut stream)) => {
            // Closing a socket with something left to read would take the alert back.
            let mut rest = Vec::new();
            let _cut = stream.read_to_end(&mut rest).await;
            return;
        }
    };
    let tls = stream.get_ref().1;
    let x5t = tls.peer_certificates().map(|chain| thumbprint(&chain[0]));
    let resumed = tls.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
    let http2 = tls.alpn_protocol() == Some(b"h2");
    let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
    shared.handshakes.lock().unwrap().push(Handshake { x5t, resumed });
    let closed = shared.closed.clone();
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let shared = shared.clone();
        async move {
            if request.uri().path() == "/held" {
                shared.held.send(()).unwrap();
                shared.gate.acquire().await.unwrap().forget();
            }
            let mut answer = Response::new(Full::new(Bytes::from_static(b"ok")));
            let headers = answer.headers_mut();
            headers.insert("connection-number", HeaderValue::from(number));
            if let Some(x5t) = x5t {
                headers.insert("x5t", HeaderValue::from_str(&x5t.to_string()).unwrap());
            }
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let stream = TokioIo::new(stream);
    if http2 {
        let _cut = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(stream, service)
            .await;
    } else {
        let _cut = hyper::server::conn::http1::Builder::new()
            .serve_connection(stream, service)
            .await;
    }
    let _ended = closed.send(number);
}

pub fn thumbprint(certificate: &[u8]) -> Thumbprint {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    Thumbprint::from_bytes(digest.as_ref().try_into().unwrap())
}

/// Which connections an identity was seen on.
#[derive(Default)]
pub struct Seen(HashMap<usize, Option<Thumbprint>>);

impl Seen {
    /// A connection belongs to whom it was seen with first.
    pub fn on(&mut self, number: usize, x5t: Option<Thumbprint>) {
        assert_eq!(
            *self.0.entry(number).or_insert(x5t),
            x5t,
            "connection {number} was shared"
        );
    }
}

/// All that client certificates have to do with: versions of TLS and of HTTP.
pub const WAYS: [(&[&rustls::SupportedProtocolVersion], &str); 4] = [
    (TLS_1_3, "h2"),
    (TLS_1_3, "http/1.1"),
    (TLS_1_2, "h2"),
    (TLS_1_2, "http/1.1"),
];

pub fn trusting(server: &Server, authority: &Authority) -> ReqwestTransportBuilder {
    allowing(server.address).only_roots_pem(authority.pem())
}

pub fn with(identity: &ClientIdentity) -> Route {
    Route::new().identity(identity.clone())
}

/// Sends a GET; gives the number of the connection and the certificate that the server saw on it.
pub async fn ask_for(
    transport: &ReqwestTransport,
    server: &Server,
    path: &str,
    route: &Route,
) -> (usize, Option<Thumbprint>) {
    let answer = transport
        .send(get(&target("https", server.address, path)), route)
        .await
        .unwrap();
    let header = |name| {
        answer
            .headers()
            .get(name)
            .map(|value: &http::HeaderValue| value.to_str().unwrap().to_owned())
    };
    let number = header("connection-number").unwrap().parse().unwrap();
    let x5t = header("x5t").map(|text| Thumbprint::from_base64url(&text).unwrap());
    assert_eq!(answer.into_body().read_to_limit(2).await.unwrap(), "ok");
    (number, x5t)
}

pub async fn ask(transport: &ReqwestTransport, server: &Server, route: &Route) -> (usize, Option<Thumbprint>) {
    ask_for(transport, server, "/", route).await
}

pub const fn full(x5t: Option<Thumbprint>) -> Handshake {
    Handshake { x5t, resumed: false }
}

pub const fn resumed(x5t: Option<Thumbprint>) -> Handshake {
    Handshake { x5t, resumed: true }
}
