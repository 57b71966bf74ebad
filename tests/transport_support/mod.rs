//! Servers on loopback that show what arrived, and say exactly what they are told to.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

pub mod lookups;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use shipbound::target::Target;
use shipbound::target::danger::Loopback;
use shipbound::transport::reqwest::{ReqwestTransport, ReqwestTransportBuilder};
use shipbound::transport::{Outgoing, TransportError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

pub fn exemption(address: SocketAddr) -> Loopback {
    Loopback::exact(&address.to_string()).unwrap()
}

pub fn allowing(address: SocketAddr) -> ReqwestTransportBuilder {
    ReqwestTransport::builder().allow_loopback(exemption(address))
}

pub fn target(scheme: &str, address: SocketAddr, path: &str) -> Target {
    Target::parse_allowing(&format!("{scheme}://{address}{path}"), &[exemption(address)]).unwrap()
}

pub fn get(target: &Target) -> Outgoing {
    Outgoing {
        method: Method::GET,
        target: target.clone(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
    }
}

pub fn post(target: &Target, body: &'static str) -> Outgoing {
    Outgoing {
        method: Method::POST,
        body: Bytes::from_static(body.as_bytes()),
        ..get(target)
    }
}

pub fn failure<T: std::fmt::Debug>(result: Result<T, TransportError>) -> (String, String) {
    let error = result.unwrap_err();
    (format!("{:?}", error.kind()), format!("{:?}", error.stage()))
}

pub fn is(kind: &str, stage: &str) -> (String, String) {
    (kind.to_owned(), stage.to_owned())
}

/// A server that speaks bytes: every connection is handed over as it comes.
pub struct Raw {
    pub address: SocketAddr,
    listener: TcpListener,
}

impl Raw {
    pub async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            address: listener.local_addr().unwrap(),
            listener,
        }
    }

    pub async fn accept(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }

    /// Answers every request on every connection with this status; gives the count of connections.
    pub fn answer_all(self, status: u16) -> Arc<AtomicUsize> {
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            loop {
                let mut stream = self.accept().await;
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    while stream.peek(&mut [0; 1]).await.is_ok_and(|ready| ready > 0) {
                        read_request(&mut stream).await;
                        write(&mut stream, format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n")).await;
                    }
                });
            }
        });
        connections
    }

    /// Whether no connection waits to be accepted.
    pub fn untouched(&self) -> bool {
        use futures_util::FutureExt;
        self.listener.accept().now_or_never().is_none()
    }
}

/// Reads a request's head and as much of a body as its `Content-Length` says.
pub async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&all).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).await.unwrap();
        assert!(count > 0, "the client closed the connection after {text:?}");
        all.extend_from_slice(&chunk[..count]);
    }
}

pub async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: impl AsRef<[u8]>) {
    stream.write_all(bytes.as_ref()).await.unwrap();
}

/// A certification authority of a test.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for `127.0.0.1`.
    pub fn here(&self) -> Identity {
        self.identity(&["127.0.0.1"], |_| ())
    }

    pub fn identity(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }
}

pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// A server's configuration with these versions and ALPN protocols.
    pub fn config(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        alpn: &[&str],
    ) -> rustls::ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

pub const BOTH: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// A handshake as the server saw it.
#[derive(Debug)]
pub struct Handshake {
    pub resumed: bool,
    pub version: rustls::ProtocolVersion,
}

/// An HTTPS server. Each answer says on which connection, counted from 1, it came.
pub struct Secure {
    pub address: SocketAddr,
    pub handshakes: mpsc::UnboundedReceiver<Handshake>,
    pub requests: mpsc::UnboundedReceiver<http::request::Parts>,
}

impl Secure {
    pub async fn start(config: rustls::ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let (shaken, handshakes) = mpsc::unbounded_channel();
        let (seen, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let connections = Arc::new(AtomicUsize::new(0));
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, shaken, seen) = (acceptor.clone(), shaken.clone(), seen.clone());
                let connections = Arc::clone(&connections);
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let tls = stream.get_ref().1;
                    let _closed = shaken.send(Handshake {
                        resumed: tls.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
                        version: tls.protocol_version().unwrap(),
                    });
                    let http2 = tls.alpn_protocol() == Some(b"h2");
                    let number = connections.fetch_add(1, Ordering::SeqCst) + 1;
                    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                        let _closed = seen.send(request.into_parts().0);
                        let mut answer = http::Response::new(Full::new(Bytes::from_static(b"ok")));
                        answer
                            .headers_mut()
                            .insert("connection-number", HeaderValue::from(number));
                        async move { Ok::<_, std::convert::Infallible>(answer) }
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
                });
            }
        });
        Self {
            address,
            handshakes,
            requests,
        }
    }
}
