//! Against a real OpenBao server.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use shipbound::Parts;
use shipbound::act::Act;
use shipbound::binding::mtls::CertificateSource;
use shipbound::binding::mtls::vault::{Subject, VaultFailure, VaultPki};
use shipbound::clock::{Clock, ManualClock, SystemClock};
use shipbound::credentials::MemoryCredentials;
use shipbound::keys::{MemoryKeyStore, Purpose};
use shipbound::rotation::{Rotator, Selection, Why};
use shipbound::transport::identity::{ClientIdentity, IdentityError};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::connection;
use super::openbao::OpenBao;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A clock that shows the time of the server until it is moved.
fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(SystemClock::new().now()))
}

/// Name and, in text, alternative names of an identity's certificate, as the server has stored it.
async fn stored(server: &OpenBao, identity: &ClientIdentity) -> (String, String) {
    let all = server.issued().await;
    let der = all
        .iter()
        .find(|der| URL_SAFE_NO_PAD.encode(Sha256::digest(der)) == identity.x5t().to_string())
        .expect("it is stored");
    let certificate = Certificate::from_der(der).unwrap();
    let subject = certificate.tbs_certificate().subject().to_string();
    (subject, String::from_utf8_lossy(der).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_connection_has_its_own_certificate_issued_once_and_exchanged_in_time() {
    let server = OpenBao::start().await;
    let (clock, token) = (clock(), server.token().await);
    let source = VaultPki::builder(server.address(), "pki", "carriers", token)
        .subject_of(|connection| {
            let tenant = connection.tenant().id();
            Subject::new(format!("{tenant}.shipper.example")).uri(format!("spiffe://shipper.example/{tenant}"))
        })
        .ttl(2 * HOUR)
        .build(server.transport(), clock.clone())
        .unwrap();
    assert_eq!((server.issue_requests(), source.held().len()), (0, 0));

    // Two hundred callers at a time, one request.
    let callers = (0..200).map(|_| {
        let source = source.clone();
        tokio::spawn(async move { source.identity(&connection("acme")).await.unwrap() })
    });
    let mut identities = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        identities.push(caller.await.unwrap());
    }
    let old = identities[0].clone();
    assert!(identities.iter().all(|identity| *identity == old));
    assert_eq!(server.issue_requests(), 1);
    let life = old.not_after().seconds_since(clock.now());
    assert!((7_190..=7_210).contains(&life), "{life} s");
    let (subject, text) = stored(&server, &old).await;
    assert_eq!(subject, "CN=acme.shipper.example");
    assert!(text.contains("spiffe://shipper.example/acme"));

    let other = source.identity(&connection("globex")).await.unwrap();
    assert_ne!(other.x5t(), old.x5t());
    assert_eq!(stored(&server, &other).await.0, "CN=globex.shipper.example");
    assert_eq!((server.issue_requests(), source.held().len()), (2, 2));

    // Handshakes are made with the keys that came, and each with its own.
    for (identity, name) in [(&old, "acme"), (&other, "globex")] {
        assert_eq!(server.log_in(identity).await, Some(format!("{name}.shipper.example")));
    }

    // Two thirds less the jitter: not yet. With it: both.
    clock.advance(2 * HOUR * 61 / 100);
    assert!(source.reload(clock.now()).await.unwrap().is_empty());
    assert_eq!(source.identity(&connection("acme")).await, Ok(old.clone()));
    assert_eq!(server.issue_requests(), 2);
    clock.advance(2 * HOUR * 11 / 100);
    // The server's certificates begin by its own clock, which has not moved.
    let exchanged = source.reload(clock.now()).await.unwrap();
    assert_eq!(server.issue_requests(), 4);
    assert_eq!(exchanged.len(), 2);
    for pair in &exchanged {
        assert!(pair.old.is_retired() && !pair.new.is_retired());
        assert!([&old, &other].contains(&&pair.old));
    }
    let new = source.identity(&connection("acme")).await.unwrap();
    assert!(exchanged.iter().any(|pair| pair.old == old && pair.new == new));
    assert!(source.reload(clock.now()).await.unwrap().is_empty());
    assert_eq!(server.issue_requests(), 4);
    assert_eq!(server.log_in(&new).await.as_deref(), Some("acme.shipper.example"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_role_refuses_one_connection_is_not_the_others_loss() {
    let server = OpenBao::start().await;
    let (clock, token) = (clock(), server.token().await);
    let source = VaultPki::builder(server.address(), "pki", "carriers", token)
        .subject_of(|connection| match connection.tenant().id().as_str() {
            "mallory" => "another.example".into(),
            tenant => format!("{tenant}.shipper.example").into(),
        })
        .build(server.transport(), clock.clone())
        .unwrap();
    for _ in 0..20 {
        let refused = source.identity(&connection("mallory")).await;
        assert_eq!(refused, Err(IdentityError::Unavailable));
    }
    assert_eq!(source.failure(&connection("mallory")), Some(VaultFailure::Refused));
    assert_eq!(server.issue_requests(), 1);
    source.identity(&connection("acme")).await.unwrap();
    assert_eq!(source.failure(&connection("acme")), None);
    assert_eq!(server.issue_requests(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_outlives_its_token_a_sealed_server_and_a_restart() {
    let mut server = OpenBao::start().await;
    let (clock, token) = (clock(), server.token().await);
    let source = VaultPki::builder(server.address(), "pki", "carriers", token.clone())
        .subject("all.shipper.example")
        .build(server.transport(), clock.clone())
        .unwrap();
    let here = connection("acme");
    let first = source.identity(&here).await.unwrap();
    assert_eq!(source.identity(&connection("globex")).await, Ok(first.clone()));
    assert_eq!(server.issue_requests(), 1);

    // The token is revoked: what there is goes on, and the server is asked once.
    server.revoke(&token).await;
    clock.advance(HOUR * 3 / 4);
    for _ in 0..5 {
        assert_eq!(source.reload(clock.now()).await.err(), Some(IdentityError::Unavailable));
        assert_eq!(source.failure(&here), Some(VaultFailure::Denied));
    }
    assert_eq!(server.issue_requests(), 2);
    assert_eq!(source.identity(&here).await, Ok(first.clone()));
    assert!(!first.is_retired());
    // When it has ended there is none.
    clock.advance(HOUR / 3);
    assert_eq!(source.identity(&here).await, Err(IdentityError::Unavailable));
    assert_eq!(source.failure(&here), Some(VaultFailure::Denied));

    // Another token is used at once. Certificates begin and end by the server's clock, which has not moved.
    clock.set_wall(SystemClock::new().now());
    source.set_token(server.token().await);
    clock.set_wall(clock.now().offset_seconds(45 * 60));
    let exchanged = source.reload(clock.now()).await.unwrap();
    assert_eq!((exchanged.len(), &exchanged[0].old), (1, &first));
    assert!(first.is_retired());
    let second = source.identity(&here).await.unwrap();
    assert_eq!(source.failure(&here), None);

    server.seal().await;
    second.retire();
    assert_eq!(source.reload(clock.now()).await.err(), Some(IdentityError::Unavailable));
    assert_eq!(source.failure(&here), Some(VaultFailure::Sealed));
    assert_eq!(source.identity(&here).await, Err(IdentityError::Unavailable));
    server.unseal().await;
    assert_eq!(
        source.identity(&here).await,
        Err(IdentityError::Unavailable),
        "not before the pause ends"
    );
    clock.advance(Duration::from_secs(1));
    let third = source.identity(&here).await.unwrap();
    assert_eq!(source.reload(clock.now()).await.unwrap().len(), 1);

    server.stop();
    third.retire();
    assert_eq!(source.reload(clock.now()).await.err(), Some(IdentityError::Unavailable));
    let failure = source.failure(&here);
    assert!(matches!(failure, Some(VaultFailure::Transport(_))), "{failure:?}");
    server.start_again().await;
    clock.advance(Duration::from_secs(1));
    assert_eq!(source.reload(clock.now()).await.unwrap().len(), 1);
    let fourth = source.identity(&here).await.unwrap();
    assert!(!fourth.is_retired() && fourth.x5t() != third.x5t());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_on_demand_has_certificates_issued_anew_for_those_that_it_is_about() {
    let server = OpenBao::start().await;
    let (clock, token) = (clock(), server.token().await);
    let source = VaultPki::builder(server.address(), "pki", "carriers", token)
        .subject_of(|connection| format!("{}.shipper.example", connection.tenant().id()).into())
        .build(server.transport(), clock.clone())
        .unwrap();
    let acme = source.identity(&connection("acme")).await.unwrap();
    let other = source.identity(&connection("globex")).await.unwrap();
    let keys = Arc::new(MemoryKeyStore::new());
    let parts = Parts::builder()
        .shared_keys(keys.clone())
        .credentials(MemoryCredentials::new())
        .clock(clock.clone())
        .build()
        .unwrap();
    let rotator = Rotator::builder(&parts, keys)
        .certificates(Arc::new(source.clone()))
        .build()
        .unwrap();
    let act = Act::new("maria", "a laptop was stolen", "SEC-12").unwrap();
    let tenant = Selection::Tenant(connection("acme").tenant().id().clone());

    let run = rotator.rotate(tenant, Why::Compromised, &act).finish().await;
    assert_eq!((run.rotated, run.failed, server.issue_requests()), (1, 0, 3));
    assert!(acme.is_retired() && !other.is_retired());
    let new = source.identity(&connection("acme")).await.unwrap();
    assert_eq!(server.log_in(&new).await.as_deref(), Some("acme.shipper.example"));
    assert_eq!(
        source.reload(clock.now()).await.unwrap().len(),
        1,
        "tokens of the old one are dropped"
    );

    // One that is not distrusted serves until its successor is there.
    let run = rotator
        .rotate(Selection::Purpose(Purpose::Tls), Why::Routine, &act)
        .finish()
        .await;
    assert_eq!((run.rotated, run.failed, server.issue_requests()), (2, 0, 5));
    assert!(other.is_retired() && new.is_retired());
    let run = rotator
        .rotate(Selection::Purpose(Purpose::Proof), Why::Compromised, &act)
        .finish()
        .await;
    assert_eq!((run.rotated, server.issue_requests()), (0, 5));
}
