//! The transport over TLS: versions, certificates, HTTP/2 and HTTP/1.1 by ALPN, fresh connections, logs.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod transport_support;

use std::io::Write;
use std::sync::{Arc, Mutex};

use http::{HeaderValue, Version};
use rcgen::date_time_ymd;
use shipbound::transport::reqwest::{ReqwestTransport, TlsVersion};
use shipbound::transport::{Route, Transport};
use transport_support::{
    Authority, BOTH, Raw, Secure, allowing, exemption, failure, get, is, post, read_request, target, write,
};

/// Sends a GET; gives version and number of the connection.
async fn ask(transport: &ReqwestTransport, server: &Secure, route: Route) -> (Version, String) {
    let answer = transport
        .send(get(&target("https", server.address, "/a?b")), &route)
        .await
        .unwrap();
    let number = answer.headers()["connection-number"].to_str().unwrap().to_owned();
    let version = answer.version();
    assert_eq!(answer.into_body().read_to_limit(2).await.unwrap(), "ok");
    (version, number)
}

#[tokio::test]
async fn alpn_chooses_the_version_and_fresh_routes_connect_anew() {
    let authority = Authority::new();
    for (alpn, version) in [
        (&["h2", "http/1.1"][..], Version::HTTP_2),
        (&["http/1.1"][..], Version::HTTP_11),
        (&[][..], Version::HTTP_11),
    ] {
        let mut server = Secure::start(authority.here().config(BOTH, alpn)).await;
        let transport = allowing(server.address)
            .only_roots_pem(authority.pem())
            .build()
            .unwrap();
        let on = |number: &str| (version, number.to_owned());
        assert_eq!(ask(&transport, &server, Route::new()).await, on("1"));
        assert_eq!(ask(&transport, &server, Route::new()).await, on("1"));
        assert_eq!(ask(&transport, &server, Route::new().fresh()).await, on("2"));
        assert_eq!(ask(&transport, &server, Route::new().fresh()).await, on("3"));
        assert_eq!(ask(&transport, &server, Route::new()).await, on("1"));
        // Two at once on fresh routes do not share a connection either.
        let (one, other) = tokio::join!(
            ask(&transport, &server, Route::new().fresh()),
            ask(&transport, &server, Route::new().fresh())
        );
        assert_ne!(one.1, other.1);
        let request = server.requests.recv().await.unwrap();
        assert_eq!(request.uri.path_and_query().unwrap().as_str(), "/a?b");
        let named = match version {
            Version::HTTP_2 => request.uri.authority().unwrap().to_string(),
            _ => request.headers["host"].to_str().unwrap().to_owned(),
        };
        assert_eq!(named, server.address.to_string());
    }
}

#[tokio::test]
async fn sessions_are_resumed_within_one_transport() {
    let authority = Authority::new();
    let mut server = Secure::start(authority.here().config(BOTH, &["h2"])).await;
    let build = || {
        allowing(server.address)
            .only_roots_pem(authority.pem())
            .build()
            .unwrap()
    };
    let (ours, other) = (build(), build());
    ask(&ours, &server, Route::new()).await;
    ask(&ours, &server, Route::new().fresh()).await;
    ask(&other, &server, Route::new()).await;
    let mut resumed = Vec::new();
    for _ in 0..3 {
        resumed.push(server.handshakes.try_recv().unwrap().resumed);
    }
    assert_eq!(resumed, [false, true, false]);
}

#[tokio::test]
async fn tls_1_2_is_spoken_unless_the_floor_is_higher() {
    let authority = Authority::new();
    let mut server = Secure::start(authority.here().config(&[&rustls::version::TLS12], &["h2"])).await;
    let builder = || allowing(server.address).only_roots_pem(authority.pem());
    ask(&builder().build().unwrap(), &server, Route::new()).await;
    assert_eq!(
        server.handshakes.recv().await.unwrap().version,
        rustls::ProtocolVersion::TLSv1_2
    );
    let strict = builder().min_tls(TlsVersion::Tls13).build().unwrap();
    let result = strict
        .send(get(&target("https", server.address, "/")), &Route::new())
        .await;
    assert_eq!(failure(result), is("Tls", "NotSent"));

    let mut server = Secure::start(authority.here().config(BOTH, &["h2"])).await;
    let builder = || allowing(server.address).only_roots_pem(authority.pem());
    ask(
        &builder().min_tls(TlsVersion::Tls13).build().unwrap(),
        &server,
        Route::new(),
    )
    .await;
    assert_eq!(
        server.handshakes.recv().await.unwrap().version,
        rustls::ProtocolVersion::TLSv1_3
    );
}

#[tokio::test]
async fn tls_1_1_is_refused() {
    // A ServerHello of TLS 1.1 with TLS_RSA_WITH_AES_128_CBC_SHA, and the alert that an old server sends.
    let hello = [&[0x16, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2][..], &[7; 32], &[0, 0, 0x2f, 0]].concat();
    let alert = vec![0x15, 3, 2, 0, 2, 2, 70];
    for said in [hello, alert] {
        let server = Raw::bind().await;
        let transport = allowing(server.address).build().unwrap();
        let serve = async {
            let mut stream = server.accept().await;
            write(&mut stream, &said).await;
            stream
        };
        let route = Route::new();
        let outgoing = post(&target("https", server.address, "/"), "label");
        let (result, _stream) = tokio::join!(transport.send(outgoing, &route), serve);
        assert_eq!(failure(result), is("Tls", "NotSent"));
    }
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_refused() {
    let server = Raw::bind().await;
    let transport = allowing(server.address).build().unwrap();
    let serve = async {
        let mut stream = server.accept().await;
        write(&mut stream, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        stream
    };
    let route = Route::new();
    let outgoing = post(&target("https", server.address, "/"), "label");
    let (result, _stream) = tokio::join!(transport.send(outgoing, &route), serve);
    assert_eq!(failure(result), is("Tls", "NotSent"));
}

#[tokio::test]
async fn certificates_are_checked() {
    let ours = Authority::new();
    let theirs = Authority::new();
    let past = |params: &mut rcgen::CertificateParams| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    };
    let future = |params: &mut rcgen::CertificateParams| {
        params.not_before = date_time_ymd(4000, 1, 1);
        params.not_after = date_time_ymd(4001, 1, 1);
    };
    let client_only = |params: &mut rcgen::CertificateParams| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    };
    for (what, identity) in [
        ("unknown CA", theirs.here()),
        ("another name", ours.identity(&["api.carrier.example"], |_| ())),
        ("another address", ours.identity(&["127.0.0.2"], |_| ())),
        ("expired", ours.identity(&["127.0.0.1"], past)),
        ("not yet valid", ours.identity(&["127.0.0.1"], future)),
        ("for clients", ours.identity(&["127.0.0.1"], client_only)),
    ] {
        let mut server = Secure::start(identity.config(BOTH, &["h2", "http/1.1"])).await;
        let transport = allowing(server.address).only_roots_pem(ours.pem()).build().unwrap();
        for route in [Route::new(), Route::new().fresh()] {
            let outgoing = post(&target("https", server.address, "/"), "label");
            let result = transport.send(outgoing, &route).await;
            assert_eq!(failure(result), is("Tls", "NotSent"), "{what}");
        }
        assert!(server.requests.try_recv().is_err(), "{what}");
    }
    // Added roots are trusted besides Mozilla's, and Mozilla's alone are not enough here.
    let server = Secure::start(ours.here().config(BOTH, &["h2"])).await;
    ask(
        &allowing(server.address).add_root_pem(ours.pem()).build().unwrap(),
        &server,
        Route::new(),
    )
    .await;
    let result = allowing(server.address)
        .build()
        .unwrap()
        .send(get(&target("https", server.address, "/")), &Route::new())
        .await;
    assert_eq!(failure(result), is("Tls", "NotSent"));
}

#[tokio::test]
async fn http_2_connections_that_break_are_reported() {
    let authority = Authority::new();
    let config = authority.here().config(BOTH, &["h2"]);
    let server = Raw::bind().await;
    let transport = allowing(server.address)
        .only_roots_pem(authority.pem())
        .build()
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let serve = async {
        let stream = acceptor.accept(server.accept().await).await.unwrap();
        let mut connection = h2_like::Connection::new(stream);
        connection.read_headers().await;
        // Dropped with the request unanswered.
    };
    let route = Route::new();
    let outgoing = post(&target("https", server.address, "/"), "label");
    let (result, ()) = tokio::join!(transport.send(outgoing, &route), serve);
    assert_eq!(failure(result), is("ConnectionLost", "MaybeSent"));
    assert!(server.untouched(), "the request was sent again");
}

/// Just enough of HTTP/2's framing to see a request come.
mod h2_like {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    pub(crate) struct Connection<S>(S);

    impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Connection<S> {
        pub(crate) fn new(stream: S) -> Self {
            Self(stream)
        }

        pub(crate) fn stream(&mut self) -> &mut S {
            &mut self.0
        }

        pub(crate) async fn read_headers(&mut self) -> Vec<u8> {
            let mut preface = [0; 24];
            self.0.read_exact(&mut preface).await.unwrap();
            assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
            // Empty SETTINGS.
            self.0.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
            loop {
                let mut head = [0; 9];
                self.0.read_exact(&mut head).await.unwrap();
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                let mut payload = vec![0; length as usize];
                self.0.read_exact(&mut payload).await.unwrap();
                if head[3] == 1 {
                    return payload;
                }
            }
        }
    }
}

/// What everything in this thread logged.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn trace_logs_show_nothing_of_a_request_on_either_version() {
    for alpn in ["h2", "http/1.1"] {
        let authority = Authority::new();
        let config = authority.here().config(BOTH, &[alpn]);
        // The server has its own thread, so that only the client's side is logged.
        let (ready, address) = std::sync::mpsc::channel();
        let (done, stop) = tokio::sync::oneshot::channel::<()>();
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let server = Secure::start(config).await;
                ready.send(server.address).unwrap();
                let _done = stop.await;
            });
        });
        let address = address.recv().unwrap();
        let logged = Logged::default();
        let writer = logged.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let transport = ReqwestTransport::builder()
                    .allow_loopback(exemption(address))
                    .only_roots_pem(authority.pem())
                    .build()
                    .unwrap();
                let mut outgoing = post(&target("https", address, "/PLANTED-PATH?PLANTED-QUERY"), "PLANTED-BODY");
                for name in ["authorization", "dpop"] {
                    let mut value = HeaderValue::from_static("PLANTED-VALUE");
                    value.set_sensitive(true);
                    outgoing.headers.insert(name, value);
                }
                let shown = format!("{transport:?} {outgoing:?}");
                assert!(!shown.contains("PLANTED"), "{shown}");
                transport.send(outgoing, &Route::new()).await.unwrap();
            });
        });
        done.send(()).unwrap();
        server.join().unwrap();
        let text = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("TRACE hyper"), "{alpn}: nothing was logged");
        assert_eq!(alpn == "h2", text.contains("h2::"), "{alpn}");
        for line in text.lines() {
            assert!(!line.contains("PLANTED"), "{alpn}: {line}");
        }
    }
}

#[tokio::test]
async fn sensitive_headers_stay_out_of_http_2_compression_tables() {
    // `authorization` is number 23 of the static table (RFC 7541 appendix A): "never indexed" and "not
    // indexed here".
    for (sensitive, field) in [(true, &[0x1f, 0x08][..]), (false, &[0x0f, 0x08][..])] {
        let authority = Authority::new();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(authority.here().config(BOTH, &["h2"])));
        let server = Raw::bind().await;
        let transport = allowing(server.address)
            .only_roots_pem(authority.pem())
            .build()
            .unwrap();
        let mut outgoing = get(&target("https", server.address, "/"));
        let mut value = HeaderValue::from_static("DPoP 0123456789");
        value.set_sensitive(sensitive);
        outgoing.headers.insert(http::header::AUTHORIZATION, value);
        let serve = async {
            let stream = acceptor.accept(server.accept().await).await.unwrap();
            h2_like::Connection::new(stream).read_headers().await
        };
        let route = Route::new();
        let (_lost, block) = tokio::join!(transport.send(outgoing, &route), serve);
        assert!(
            block.windows(field.len()).any(|window| window == field),
            "{sensitive}: {block:x?}"
        );
    }
}

#[tokio::test]
async fn a_post_is_not_repeated_when_http_2_says_it_was_not_processed() {
    let authority = Authority::new();
    let config = authority.here().config(BOTH, &["h2"]);
    let server = Raw::bind().await;
    let transport = allowing(server.address)
        .only_roots_pem(authority.pem())
        .build()
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let serve = async {
        use tokio::io::AsyncWriteExt;
        let stream = acceptor.accept(server.accept().await).await.unwrap();
        let mut connection = h2_like::Connection::new(stream);
        connection.read_headers().await;
        // RST_STREAM of stream 1 with REFUSED_STREAM.
        let refused = [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7];
        connection.stream().write_all(&refused).await.unwrap();
        connection.stream().flush().await.unwrap();
        connection
    };
    let route = Route::new();
    let outgoing = post(&target("https", server.address, "/"), "label");
    let (result, _connection) = tokio::join!(transport.send(outgoing, &route), serve);
    assert_eq!(failure(result), is("ConnectionLost", "MaybeSent"));
    assert!(server.untouched(), "the request was sent again");
}

#[tokio::test]
async fn an_http_1_post_is_cut_within_tls() {
    let authority = Authority::new();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(authority.here().config(BOTH, &["http/1.1"])));
    let server = Raw::bind().await;
    let transport = allowing(server.address)
        .only_roots_pem(authority.pem())
        .build()
        .unwrap();
    let serve = async {
        let mut stream = acceptor.accept(server.accept().await).await.unwrap();
        read_request(&mut stream).await;
    };
    let route = Route::new();
    let outgoing = post(&target("https", server.address, "/"), "label");
    let (result, ()) = tokio::join!(transport.send(outgoing, &route), serve);
    assert_eq!(failure(result), is("ConnectionLost", "MaybeSent"));
}
