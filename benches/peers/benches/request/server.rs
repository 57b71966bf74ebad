//! The other side: a thread with a runtime of its own that answers everything and verifies nothing.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::cores;

/// What every request but one for a token is answered with: 70 bytes.
const ANSWER: &str = r#"{"rate":{"currency":"USD","total":"1234.56","service":"GROUND_SAVER"}}"#;

/// What a server is to do beyond answering.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Manner {
    /// TLS 1.3 in place of clear text.
    pub(crate) tls: bool,
    /// A `DPoP-Nonce` of its own with every answer.
    pub(crate) nonces: bool,
    /// Stay on the second core (see [`crate::cores`]).
    pub(crate) pinned: bool,
}

/// A running server; its thread ends with the process.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    manner: Manner,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl Server {
    /// Starts one on a port of its own.
    pub(crate) fn start(manner: Manner) -> Self {
        let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let certificate = issued.cert.der().clone();
        let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).expect("a PKCS#8 key");
        let config = rustls::ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .expect("a certificate with its key");
        let acceptor = manner.tls.then(|| TlsAcceptor::from(Arc::new(config)));

        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let address = listener.local_addr().expect("the port");
        std::thread::spawn(move || {
            if manner.pinned {
                cores::only(1);
            }
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(accept(listener, acceptor, manner));
        });
        Self {
            address,
            manner,
            certificate,
            pem: issued.cert.pem(),
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate in PEM.
    pub(crate) fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// `https://127.0.0.1:port` or without the `s`.
    pub(crate) fn origin(&self) -> String {
        let scheme = if self.manner.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The certificate that a client is to trust, DER.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }
}

async fn accept(listener: std::net::TcpListener, acceptor: Option<TlsAcceptor>, manner: Manner) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        match acceptor.clone() {
            None => drop(tokio::spawn(serve(stream, manner))),
            Some(acceptor) => drop(tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream, manner).await;
                }
            })),
        }
    }
}

fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    manner: Manner,
) -> impl Future<Output = ()> + Send {
    let service = service_fn(move |request| answer(request, manner));
    async move {
        // A connection that breaks is the client's to report.
        let _ = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }
}

async fn answer(request: Request<Incoming>, manner: Manner) -> Result<Response<Full<Bytes>>, Infallible> {
    static NONCE: AtomicU64 = AtomicU64::new(0);
    let (head, body) = request.into_parts();
    let _ = body.collect().await;
    let body = if head.uri.path().ends_with("/token") {
        token(head.headers.contains_key("dpop"))
    } else {
        Bytes::from_static(ANSWER.as_bytes())
    };
    let mut response = Response::new(Full::new(body));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if manner.nonces {
        let nonce = format!("nonce-{:026}", NONCE.fetch_add(1, Ordering::Relaxed));
        response
            .headers_mut()
            .insert("dpop-nonce", HeaderValue::try_from(nonce).expect("visible ASCII"));
    }
    Ok(response)
}

/// A token answer, bound if the request carried a proof.
fn token(bound: bool) -> Bytes {
    let token = shipbound_benches_peers::inputs::access_token();
    let kind = if bound { "DPoP" } else { "Bearer" };
    let answer = serde_json::json!({ "access_token": token, "token_type": kind, "expires_in": 36_000 });
    answer.to_string().into()
}
