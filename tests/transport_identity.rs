//! Client certificates: connections and tickets belong to one, and end with it.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod identity_support;
mod transport_support;

use std::sync::Arc;
use std::time::Duration;

use identity_support::{Authority, Seen, Server, TLS_1_3, WAYS, ask, ask_for, full, resumed, trusting, with};
use rcgen::date_time_ymd;
use rustls::pki_types::pem::PemObject;
use rustls::sign::SingleCertAndKey;
use shipbound::clock::{ManualClock, Timestamp};
use shipbound::transport::identity::ClientIdentity;
use shipbound::transport::{Route, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use transport_support::{failure, get, is, post, target};

#[tokio::test]
async fn two_identities_and_none_share_neither_connections_nor_tickets() {
    let authority = Authority::new();
    for (versions, alpn) in WAYS {
        let server = Server::start(authority.config(versions, alpn, false)).await;
        let transport = trusting(&server, &authority).build().unwrap();
        let (a, b) = (authority.client(), authority.client());
        let shown = [Some(a.x5t()), Some(b.x5t()), None];
        let routes = [with(&a), with(&b), Route::new()];
        let mut seen = Seen::default();
        for _ in 0..3 {
            for (route, x5t) in routes.iter().zip(shown) {
                let (number, found) = ask(&transport, &server, route).await;
                assert_eq!(found, x5t);
                seen.on(number, x5t);
            }
        }
        // One handshake each, however many requests, and nobody resumed another's session.
        assert_eq!(server.handshakes(), shown.map(full));
        // New connections resume, each as itself.
        for _ in 0..2 {
            for (route, x5t) in routes.iter().zip(shown) {
                let (number, found) = ask(&transport, &server, &route.clone().fresh()).await;
                assert_eq!(found, x5t);
                seen.on(number, x5t);
            }
            assert_eq!(server.handshakes(), shown.map(resumed), "{alpn}");
        }
        // Many at a time.
        let (route_a, route_b) = (&routes[0], &routes[1]);
        let (one, two, three, four) = tokio::join!(
            ask(&transport, &server, route_a),
            ask(&transport, &server, route_b),
            ask(&transport, &server, route_a),
            ask(&transport, &server, &routes[2]),
        );
        for ((number, found), x5t) in [(one, shown[0]), (two, shown[1]), (three, shown[0]), (four, shown[2])] {
            assert_eq!(found, x5t);
            seen.on(number, x5t);
        }
        assert_eq!(transport.identities(), 2);
    }
}

/// What a transport of the application's own does with the identity of a route: a handshake, and one request.
async fn by_hand(server: &Server, authority: &Authority, identity: &ClientIdentity) -> String {
    let mut roots = rustls::RootCertStore::empty();
    let root = rustls::pki_types::CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
    roots.add(root).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified_key())));
    let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(server.address.ip().into(), stream).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_transport_of_ones_own_shows_the_certificate() {
    let authority = Authority::new();
    let server = Server::start(authority.config(TLS_1_3, "http/1.1", true)).await;
    let (one, other) = (authority.client(), authority.client());
    for identity in [&one, &other] {
        let x5t = Some(identity.x5t());
        let answer = by_hand(&server, &authority, identity).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(server.handshakes(), [full(x5t)]);
    }
    assert_eq!(one.number(), one.clone().number());
    assert_ne!(one.number(), other.number());
    one.retire();
    assert!(!one.is_usable() && other.is_usable());
    assert!(trusting(&server, &authority).build().unwrap().shows_certificates());
}

#[tokio::test]
async fn one_certificate_read_twice_is_two_identities() {
    let authority = Authority::new();
    let server = Server::start(authority.config(TLS_1_3, "h2", true)).await;
    let transport = trusting(&server, &authority).build().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = authority.certify(&key, |_| ());
    let read = || {
        let key = shipbound::secret::KeyMaterial::new(key.serialize_der());
        ClientIdentity::from_der([&certificate], &key).unwrap()
    };
    let (one, other) = (read(), read());
    assert_eq!(one.x5t(), other.x5t());
    assert_eq!(ask(&transport, &server, &with(&one)).await, (1, Some(one.x5t())));
    assert_eq!(ask(&transport, &server, &with(&other)).await, (2, Some(one.x5t())));
    assert_eq!(
        ask(&transport, &server, &with(&one.clone())).await,
        (1, Some(one.x5t()))
    );
}

#[tokio::test]
async fn after_a_change_of_certificates_nothing_shows_the_old_one() {
    let authority = Authority::new();
    for (versions, alpn) in WAYS {
        let server = Server::start(authority.config(versions, alpn, true)).await;
        let transport = trusting(&server, &authority).build().unwrap();
        let old = authority.client();
        // One to get tickets, one that is under way when the change comes.
        ask(&transport, &server, &with(&old)).await;
        let old_route = with(&old);
        let under_way = ask_for(&transport, &server, "/held", &old_route);
        let change = async {
            server.held().await;
            server.handshakes();
            old.retire();
            assert!(old.is_retired());
            assert_eq!(transport.identities(), 0);
            let new = authority.client();
            ask(&transport, &server, &with(&new)).await;
            ask(&transport, &server, &with(&new).fresh()).await;
            ask(&transport, &server, &with(&new)).await;
            let x5t = Some(new.x5t());
            assert_eq!(server.handshakes(), [full(x5t), resumed(x5t)], "{alpn}");
            server.release();
        };
        let ((number, found), ()) = tokio::join!(under_way, change);
        assert_eq!(
            (number, found),
            (1, Some(old.x5t())),
            "what was under way goes on where it was"
        );
        // Its connection, and no other, closes after it.
        while server.closed().await != 1 {}

        // What else is sent with the old one gets a connection of its own, without its old tickets; nothing is kept of it.
        let (number, found) = ask(&transport, &server, &with(&old)).await;
        assert_eq!(found, Some(old.x5t()));
        assert_eq!(server.handshakes(), [full(found)]);
        while server.closed().await != number {}
        assert_eq!(transport.identities(), 1);
    }
}

#[tokio::test]
async fn an_answer_that_is_being_read_survives_its_pool() {
    let authority = Authority::new();
    for (versions, alpn) in WAYS {
        let server = Server::start(authority.config(versions, alpn, true)).await;
        let transport = trusting(&server, &authority).build().unwrap();
        let identity = authority.client();
        let answer = transport
            .send(get(&target("https", server.address, "/")), &with(&identity))
            .await
            .unwrap();
        identity.retire();
        assert_eq!(answer.into_body().read_to_limit(2).await.unwrap(), "ok");
        assert_eq!(server.closed().await, 1);
    }
}

#[tokio::test]
async fn the_number_of_pools_has_a_bound() {
    let authority = Authority::new();
    for (versions, alpn) in WAYS {
        let server = Server::start(authority.config(versions, alpn, true)).await;
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix_seconds(1_800_000_000)));
        let transport = trusting(&server, &authority)
            .clock(clock.clone())
            .max_identities(2)
            .build()
            .unwrap();
        let [a, b, c] = [authority.client(), authority.client(), authority.client()];
        // `a` is made first and used last.
        for identity in [&a, &b, &a] {
            ask(&transport, &server, &with(identity)).await;
            clock.advance(Duration::from_secs(10));
        }
        ask(&transport, &server, &with(&c)).await;
        assert_eq!(transport.identities(), 2);
        assert_eq!(server.closed().await, 2, "{alpn}");
        assert_eq!(ask(&transport, &server, &with(&a)).await.0, 1);
        server.handshakes();
        // Its tickets went with it.
        assert_eq!(ask(&transport, &server, &with(&b)).await, (4, Some(b.x5t())));
        assert_eq!(server.handshakes(), [full(Some(b.x5t()))]);
        assert_eq!(transport.identities(), 2);

        // A retired one makes room for others.
        b.retire();
        assert_eq!(transport.identities(), 1);
    }
}

#[tokio::test]
async fn with_no_pools_at_all_every_request_has_its_own_connection() {
    let authority = Authority::new();
    let server = Server::start(authority.config(TLS_1_3, "h2", true)).await;
    let transport = trusting(&server, &authority).max_identities(0).build().unwrap();
    let identity = authority.client();
    for number in 1..=3 {
        assert_eq!(
            ask(&transport, &server, &with(&identity)).await,
            (number, Some(identity.x5t()))
        );
        assert_eq!(server.closed().await, number);
    }
    assert_eq!(transport.identities(), 0);
}

#[tokio::test]
async fn a_pool_may_be_kept_for_ever() {
    let authority = Authority::new();
    let server = Server::start(authority.config(TLS_1_3, "http/1.1", true)).await;
    let transport = trusting(&server, &authority)
        .pool_idle_timeout(Duration::MAX)
        .build()
        .unwrap();
    let identity = authority.client();
    for _ in 0..2 {
        assert_eq!(
            ask(&transport, &server, &with(&identity)).await,
            (1, Some(identity.x5t()))
        );
    }
}

#[tokio::test]
async fn idle_pools_are_closed_by_later_requests() {
    let authority = Authority::new();
    for (versions, alpn) in WAYS {
        let server = Server::start(authority.config(versions, alpn, true)).await;
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix_seconds(1_800_000_000)));
        let transport = trusting(&server, &authority)
            .clock(clock.clone())
            .pool_idle_timeout(Duration::from_secs(160))
            .build()
            .unwrap();
        let idle: Vec<_> = (0..20).map(|_| authority.client()).collect();
        for identity in &idle {
            ask(&transport, &server, &with(identity)).await;
        }
        let (busy, held) = (authority.client(), authority.client());
        let route = with(&held);
        let under_way = ask_for(&transport, &server, "/held", &route);
        let later = async {
            server.held().await;
            ask(&transport, &server, &with(&busy)).await;
            // Just in time: nothing is closed before the timeout is over.
            clock.advance(Duration::from_secs(159));
            ask(&transport, &server, &with(&busy)).await;
            assert_eq!(transport.identities(), 22);
            clock.advance(Duration::from_secs(11));
            for left in [14, 6, 1] {
                ask(&transport, &server, &with(&busy)).await;
                assert_eq!(transport.identities(), left, "{alpn}");
            }
            for _ in 0..20 {
                assert!((1..=20).contains(&server.closed().await));
            }
            server.release();
        };
        let ((_, found), ()) = tokio::join!(under_way, later);
        assert_eq!(found, Some(held.x5t()), "what was under way goes on without its pool");
    }
}

#[tokio::test]
async fn sequential_calls_need_one_handshake() {
    let authority = Authority::new();
    for (versions, alpn) in WAYS {
        let server = Server::start(authority.config(versions, alpn, true)).await;
        let transport = trusting(&server, &authority).build().unwrap();
        let identity = authority.client();
        for _ in 0..50 {
            assert_eq!(
                ask(&transport, &server, &with(&identity)).await,
                (1, Some(identity.x5t()))
            );
        }
        assert_eq!(server.handshakes(), [full(Some(identity.x5t()))]);
    }
}

#[tokio::test]
async fn a_refused_certificate_is_told_apart() {
    let (authority, others) = (Authority::new(), Authority::named("others"));
    for (versions, alpn) in WAYS {
        // With TLS 1.3 the client has sent its request when the server looks at the certificate.
        let stage = if versions == TLS_1_3 { "MaybeSent" } else { "NotSent" };
        let server = Server::start(authority.config(versions, alpn, true)).await;
        let transport = trusting(&server, &authority).build().unwrap();
        let expired = authority.client_with(|params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        });
        for (what, route) in [
            ("unknown authority", with(&others.client())),
            ("expired", with(&expired)),
            ("none", Route::new()),
        ] {
            for route in [route.clone(), route.fresh()] {
                let outgoing = post(&target("https", server.address, "/"), "label");
                let result = transport.send(outgoing, &route).await;
                assert_eq!(failure(result), is("CertificateRefused", stage), "{what}, {alpn}");
            }
        }
        assert_eq!(server.handshakes(), []);
    }
}
