//! Client certificates whose keys are in a key store: what signs handshakes, and what stops them.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod identity_support;
mod transport_support;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity_support::{Authority, Server, TLS_1_3, WAYS, ask, full, resumed, trusting, with};
use rcgen::{PublicKeyData, SignatureAlgorithm};
use shipbound::clock::Timestamp;
use shipbound::jose::{Algorithm, PublicJwk};
use shipbound::keys::{KeyHandle, KeySpec, KeyStore, MemoryKeyStore, Purpose, Retired};
use shipbound::owner::{DeploymentId, Owner};
use shipbound::target::Target;
use shipbound::target::danger::Loopback;
use shipbound::transport::Transport;
use shipbound::transport::identity::ClientIdentity;
use shipbound::transport::reqwest::ReqwestTransport;
use shipbound::transport::resolver::Lookup;
use transport_support::{failure, get, is, post, target};

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
