//! Client certificates: connections and tickets belong to one, and end with it.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod identity_support;
mod transport_support;

use std::sync::Arc;
use std::time::Duration;

use identity_support::{Authority, Handshake, Seen, Server, TLS_1_2, TLS_1_3};
use rcgen::date_time_ymd;
use shipbound::clock::{ManualClock, Timestamp};
use shipbound::jose::Thumbprint;
use shipbound::transport::identity::ClientIdentity;
use shipbound::transport::reqwest::{ReqwestTransport, ReqwestTransportBuilder};
use shipbound::transport::{Route, Transport};
use transport_support::{allowing, failure, get, is, post, target};

/// All that client certificates have to do with: versions of TLS and of HTTP.
const WAYS: [(&[&rustls::SupportedProtocolVersion], &str); 4] = [
    (TLS_1_3, "h2"),
    (TLS_1_3, "http/1.1"),
    (TLS_1_2, "h2"),
    (TLS_1_2, "http/1.1"),
];

fn trusting(server: &Server, authority: &Authority) -> ReqwestTransportBuilder {
    allowing(server.address).only_roots_pem(authority.pem())
}

fn with(identity: &ClientIdentity) -> Route {
    Route::new().identity(identity.clone())
}

/// Sends a GET; gives the number of the connection and the certificate that the server saw on it.
async fn ask_for(
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

async fn ask(transport: &ReqwestTransport, server: &Server, route: &Route) -> (usize, Option<Thumbprint>) {
    ask_for(transport, server, "/", route).await
}

const fn full(x5t: Option<Thumbprint>) -> Handshake {
    Handshake { x5t, resumed: false }
}

const fn resumed(x5t: Option<Thumbprint>) -> Handshake {
    Handshake { x5t, resumed: true }
}

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

mod stored_keys {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Mutex;

    use async_trait::async_trait;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use rcgen::{PublicKeyData, SignatureAlgorithm};
    use shipbound::jose::{Algorithm, PublicJwk};
    use shipbound::keys::{KeyHandle, KeySpec, KeyStore, MemoryKeyStore, Purpose, Retired};
    use shipbound::owner::{DeploymentId, Owner};
    use shipbound::target::Target;
    use shipbound::target::danger::Loopback;
    use shipbound::transport::resolver::Lookup;

    use super::*;

    fn owner() -> Owner {
        Owner::Deployment(DeploymentId::default_deployment())
    }

    /// The public half of a store's key, as certificates hold it.
    struct Public {
        octets: Vec<u8>,
        algorithm: &'static SignatureAlgorithm,
    }

    impl Public {
        fn of(key: &PublicJwk) -> Self {
            let jwk: serde_json::Value = serde_json::from_str(&key.to_json()).unwrap();
            let member = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
            match key.algorithm() {
                Algorithm::Es256 => Self {
                    octets: [vec![4], member("x"), member("y")].concat(),
                    algorithm: &rcgen::PKCS_ECDSA_P256_SHA256,
                },
                Algorithm::Ed25519 => Self {
                    octets: member("x"),
                    algorithm: &rcgen::PKCS_ED25519,
                },
                // SEQUENCE of INTEGERs: a modulus of 2048 bits, with a zero before its first bit, and the exponent.
                _ => Self {
                    octets: [
                        &[0x30, 0x82, 1, 0x0a, 2, 0x82, 1, 1, 0][..],
                        &member("n"),
                        &[2, 3],
                        &member("e"),
                    ]
                    .concat(),
                    algorithm: &rcgen::PKCS_RSA_SHA256,
                },
            }
        }
    }

    impl PublicKeyData for Public {
        fn der_bytes(&self) -> &[u8] {
            &self.octets
        }

        fn algorithm(&self) -> &'static SignatureAlgorithm {
            self.algorithm
        }
    }

    async fn active(keys: &MemoryKeyStore, algorithm: Algorithm) -> KeyHandle {
        let spec = KeySpec {
            purpose: Purpose::Tls,
            algorithm,
        };
        let key = keys.create(&owner(), spec).await.unwrap();
        let before = keys.active(&owner(), Purpose::Tls).await.unwrap().map(|key| key.id());
        let until = Timestamp::from_unix_seconds(i64::MAX);
        let promoted = keys.promote(&owner(), &key.id(), before.as_ref(), until).await;
        assert!(promoted.unwrap());
        key
    }

    fn algorithms() -> Vec<Algorithm> {
        let mut all = vec![Algorithm::Es256, Algorithm::Ed25519];
        if cfg!(feature = "rsa") {
            all.push(Algorithm::Ps256);
        }
        all
    }

    #[tokio::test]
    async fn keys_of_a_store_sign_handshakes_until_they_are_closed() {
        let authority = Authority::new();
        let keys = MemoryKeyStore::new();
        for algorithm in algorithms() {
            for (versions, alpn) in WAYS {
                let key = active(&keys, algorithm).await;
                let certificate = authority.certify(&Public::of(key.public()), |_| ());
                let identity = ClientIdentity::from_key(&key, [&certificate]).unwrap();
                let x5t = Some(identity_support::thumbprint(&certificate));
                assert_eq!(Some(identity.x5t()), x5t);
                let server = Server::start(authority.config(versions, alpn, true)).await;
                let transport = trusting(&server, &authority).build().unwrap();
                let route = with(&identity);
                assert_eq!(ask(&transport, &server, &route).await, (1, x5t));
                assert_eq!(ask(&transport, &server, &route.clone().fresh()).await, (2, x5t));
                assert_eq!(server.handshakes(), [full(x5t), resumed(x5t)]);

                // Neither on connections that are open, nor with tickets, nor with signatures.
                assert!(keys.retire(&owner(), &key.id(), Retired::Compromised).await.unwrap());
                for route in [route.clone(), route.fresh()] {
                    let result = transport
                        .send(post(&target("https", server.address, "/"), "label"), &route)
                        .await;
                    assert_eq!(failure(result), is("Tls", "NotSent"));
                }
                assert_eq!(server.handshakes(), []);
                assert_eq!(transport.identities(), 0, "its pool is closed");
                while server.closed().await != 1 {}
            }
        }
    }

    /// Leads to this machine; once told to, closes a key first. It is asked when the pool is chosen and before there is a
    /// connection.
    #[derive(Debug)]
    struct Closing(Mutex<Option<KeyHandle>>);

    #[async_trait]
    impl Lookup for Closing {
        async fn lookup(&self, _host: &str) -> std::io::Result<Vec<IpAddr>> {
            if let Some(key) = self.0.lock().unwrap().take() {
                assert!(key.close(Retired::Compromised));
            }
            Ok(vec![Ipv4Addr::LOCALHOST.into()])
        }
    }

    #[tokio::test]
    async fn a_key_that_is_closed_while_a_connection_is_made_makes_none() {
        let authority = Authority::new();
        let keys = MemoryKeyStore::new();
        for (versions, alpn) in WAYS {
            for with_tickets in [true, false] {
                let key = active(&keys, Algorithm::Es256).await;
                let certificate = authority.certify(&Public::of(key.public()), |_| ());
                let identity = ClientIdentity::from_key(&key, [&certificate]).unwrap();
                let server = Server::start(authority.config(versions, alpn, true)).await;
                let host = format!("localhost:{}", server.address.port());
                let closing = Arc::new(Closing(Mutex::new(None)));
                let transport = ReqwestTransport::builder()
                    .allow_loopback(Loopback::exact(&host).unwrap())
                    .only_roots_pem(authority.pem())
                    .lookup(closing.clone())
                    .build()
                    .unwrap();
                let target =
                    Target::parse_allowing(&format!("https://{host}/"), &[Loopback::exact(&host).unwrap()]).unwrap();
                if with_tickets {
                    let answer = transport.send(get(&target), &with(&identity)).await.unwrap();
                    answer.into_body().read_to_limit(2).await.unwrap();
                    assert_eq!(server.handshakes().len(), 1);
                }
                *closing.0.lock().unwrap() = Some(key);
                let result = transport.send(post(&target, "label"), &with(&identity).fresh()).await;
                assert_eq!(failure(result), is("Tls", "NotSent"), "{alpn}, {with_tickets}");
                assert_eq!(server.handshakes(), []);
            }
        }
    }

    #[tokio::test]
    async fn a_server_without_the_keys_algorithm_sees_no_certificate() {
        let authority = Authority::new();
        let keys = MemoryKeyStore::new();
        let key = active(&keys, Algorithm::Ed25519).await;
        let certificate = authority.certify(&Public::of(key.public()), |_| ());
        let identity = ClientIdentity::from_key(&key, [&certificate]).unwrap();
        let server = Server::start(authority.config_of(TLS_1_3, "h2", false, identity_support::ecdsa_alone())).await;
        let transport = trusting(&server, &authority).build().unwrap();
        assert_eq!(ask(&transport, &server, &with(&identity)).await, (1, None));
    }
}
