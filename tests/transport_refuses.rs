//! What the transport does not send: to addresses inside, without an exemption, with framing of its own, with wrong settings.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod transport_support;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderName, HeaderValue, Method};
use shipbound::target::Target;
use shipbound::transport::reqwest::{BuildError, ReqwestTransport};
use shipbound::transport::resolver::Lookup;
use shipbound::transport::{Route, Transport};
use transport_support::lookups::Rebinding;
use transport_support::{Raw, allowing, exemption, failure, get, is, post, read_request, target, write};

/// Every name is this machine.
#[derive(Debug)]
struct Here(IpAddr);

#[async_trait]
impl Lookup for Here {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        match host {
            "gone.carrier.example" => Err(io::Error::other("PLANTED")),
            "none.carrier.example" => Ok(Vec::new()),
            _ => Ok(vec![self.0]),
        }
    }
}

#[tokio::test]
async fn names_that_lead_inside_are_refused() {
    let server = Raw::bind().await;
    let port = server.address.port();
    for inside in [
        "127.0.0.1",
        "::ffff:127.0.0.1",
        "169.254.169.254",
        "10.0.0.1",
        "0.0.0.0",
    ] {
        let transport = ReqwestTransport::builder()
            .lookup(Arc::new(Here(inside.parse().unwrap())))
            .allow_loopback(exemption(server.address))
            .build()
            .unwrap();
        let target = Target::parse(&format!("https://api.carrier.example:{port}/")).unwrap();
        for route in [Route::new(), Route::new().fresh()] {
            let result = transport.send(get(&target), &route).await;
            assert_eq!(failure(result), is("AddressRefused", "NotSent"), "{inside}");
        }
        for name in ["gone", "none"] {
            let target = Target::parse(&format!("https://{name}.carrier.example:{port}/")).unwrap();
            let result = transport.send(get(&target), &Route::new()).await;
            assert_eq!(failure(result), is("Resolve", "NotSent"));
        }
    }
    assert!(server.untouched());
}

#[tokio::test]
async fn a_name_that_moves_inside_is_refused_from_then_on() {
    let server = Raw::bind().await;
    let port = server.address.port();
    for inside in [
        "169.254.169.254",
        "127.0.0.1",
        "::1",
        "fd00:ec2::254",
        "64:ff9b::7f00:1",
    ] {
        let names = Arc::new(
            Rebinding::default()
                .name("moves.carrier.example", &[&[], &[inside]])
                .name("both.carrier.example", &[&[inside, inside]]),
        );
        let transport = ReqwestTransport::builder()
            .lookup(Arc::clone(&names) as Arc<dyn Lookup>)
            .allow_loopback(exemption(server.address))
            .build()
            .unwrap();
        let moves = Target::parse(&format!("https://moves.carrier.example:{port}/")).unwrap();
        let both = Target::parse(&format!("https://both.carrier.example:{port}/")).unwrap();
        let result = transport.send(get(&moves), &Route::new()).await;
        assert_eq!(failure(result), is("Resolve", "NotSent"), "{inside}");
        for route in [Route::new(), Route::new().fresh()] {
            for target in [&moves, &both] {
                let result = transport.send(get(target), &route).await;
                assert_eq!(failure(result), is("AddressRefused", "NotSent"), "{inside}");
            }
        }
        assert_eq!(names.asked().len(), 5, "an answer was kept");
    }
    assert!(server.untouched());
}

#[test]
fn addresses_are_no_endpoints_however_they_are_spelled() {
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "127.0.0.1.",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:a9fe:a9fe]",
        "[::]",
        "169.254.169.254",
        "0xa9fea9fe",
        "2852039166",
        "10.0.0.1",
        "8.8.8.8",
        "[2001:4860:4860::8888]",
        "localhost",
        "localhost.",
        "a.localhost",
        "%31%32%37.0.0.1",
        "①②⑦.0.0.1",
    ] {
        for rest in ["/token", ":443/token", ":8443/token", "/token?a=b"] {
            assert!(Target::parse(&format!("https://{host}{rest}")).is_err(), "{host}{rest}");
        }
    }
}

#[tokio::test]
async fn an_exemption_of_the_target_alone_is_not_enough() {
    let server = Raw::bind().await;
    let other = Raw::bind().await;
    for transport in [
        ReqwestTransport::builder().build().unwrap(),
        allowing(other.address).build().unwrap(),
    ] {
        for scheme in ["http", "https"] {
            let result = transport
                .send(get(&target(scheme, server.address, "/")), &Route::new())
                .await;
            assert_eq!(failure(result), is("AddressRefused", "NotSent"));
        }
    }
    assert!(server.untouched());
}

#[tokio::test]
async fn localhost_works_under_its_exemption() {
    let server = Raw::bind().await;
    let authority = format!("localhost:{}", server.address.port());
    let exempt = shipbound::target::danger::Loopback::exact(&authority).unwrap();
    let target = Target::parse_allowing(&format!("http://{authority}/"), std::slice::from_ref(&exempt)).unwrap();
    let transport = ReqwestTransport::builder()
        .allow_loopback(exempt)
        .lookup(Arc::new(Here("127.0.0.1".parse().unwrap())))
        .build()
        .unwrap();
    let serve = async {
        let mut stream = server.accept().await;
        let request = read_request(&mut stream).await;
        write(&mut stream, "HTTP/1.1 204 No Content\r\n\r\n").await;
        request
    };
    let route = Route::new();
    let (answer, request) = tokio::join!(transport.send(get(&target), &route), serve);
    answer.unwrap();
    assert!(request.contains(&format!("host: {authority}\r\n")), "{request}");
}

#[tokio::test]
async fn requests_that_frame_themselves_are_refused() {
    let server = Raw::bind().await;
    let transport = allowing(server.address).build().unwrap();
    let target = target("http", server.address, "/");
    for name in [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "te",
        "trailer",
    ] {
        let mut outgoing = post(&target, "label");
        outgoing
            .headers
            .insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        let result = transport.send(outgoing, &Route::new()).await;
        assert_eq!(failure(result), is("Other", "NotSent"), "{name}");
    }
    let mut outgoing = get(&target);
    outgoing.method = Method::CONNECT;
    let result = transport.send(outgoing, &Route::new()).await;
    assert_eq!(failure(result), is("Other", "NotSent"));
    assert!(server.untouched());
}

#[test]
fn wrong_settings_are_named() {
    let build = |change: fn(
        shipbound::transport::reqwest::ReqwestTransportBuilder,
    ) -> shipbound::transport::reqwest::ReqwestTransportBuilder| {
        change(ReqwestTransport::builder()).build().map(|_| ())
    };
    assert_eq!(build(|builder| builder), Ok(()));
    assert_eq!(build(|builder| builder.add_root_pem("no PEM")), Err(BuildError::Root));
    assert_eq!(build(|builder| builder.only_roots_pem("")), Err(BuildError::Root));
    assert_eq!(
        build(|builder| builder.add_root_pem("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")),
        Err(BuildError::Root)
    );
    assert_eq!(
        build(|builder| builder.user_agent("a\r\nb")),
        Err(BuildError::UserAgent)
    );
    for host in ["", "a:443", "https://a", "10.0.0.1", "localhost", "a/b", "a?"] {
        let built = ReqwestTransport::builder().allow_private_host(host).build();
        assert_eq!(built.map(|_| ()).unwrap_err(), BuildError::PrivateHost, "{host}");
    }
    assert!(
        ReqwestTransport::builder()
            .allow_private_host("A.example")
            .build()
            .is_ok()
    );
}
