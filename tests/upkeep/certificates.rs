//! Certificates that change under way, and those that end.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use shipbound::Client;
use shipbound::binding::mtls::{CertificateSource, Exchanged, FileCertificates, Mtls};
use shipbound::clock::{Clock, Timestamp};
use shipbound::journal::EventKind;
use shipbound::owner::ConnectionId;
use shipbound::rotation::RotationPolicy;
use shipbound::sandbox::{CertificateFor, ClientCertificate, Endpoint, Registration, Sandbox};
use shipbound::transport::identity::{ClientIdentity, IdentityError};

use crate::world::{NOW, acme, run, world};

/// Files of one certificate, as something outside puts them there: both at once.
struct Files(PathBuf);

impl Files {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("upkeep-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// One file with certificate and key, exchanged by a rename.
    fn put(&self, certificate: &ClientCertificate) -> PathBuf {
        let (next, path) = (self.0.join("next.pem"), self.0.join("tls.pem"));
        fs::write(&next, format!("{}{}", certificate.pem(), certificate.key_pem())).unwrap();
        fs::rename(&next, &path).unwrap();
        path
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn a_certificate_that_was_renewed_is_shown_and_its_predecessors_token_is_not_used_again() {
    let files = Files::new();
    let world = world(
        Sandbox::builder().mtls(true),
        |sandbox| {
            let first = sandbox.client_certificate("acme").unwrap();
            let path = files.put(&first);
            sandbox.register(
                Registration::secret("acme", sandbox.credential(&acme()).client_secret().unwrap().clone())
                    .tenant(&acme())
                    .certificate_bound_tokens(),
            );
            let source = FileCertificates::open(&path, &path, NOW).unwrap();
            Box::new(|builder| builder.binding(Mtls::new(source)))
        },
        |profile| profile,
    )
    .await;
    assert_eq!(world.ship().await.unwrap(), 201);
    let first = world.sandbox.requests_at(Endpoint::Api)[0].certificate().unwrap();

    let second = world.sandbox.client_certificate("acme").unwrap();
    files.put(&second);
    let upkeep = run(world.upkeep());
    let exchanged = |kind: &EventKind| matches!(kind, EventKind::CertificateExchanged { old, new, .. } if *old == first && *new == second.x5t());
    world.move_until(|world| world.events(exchanged) == 1).await;
    assert!(world.client.lease(&acme().into()).is_none());
    assert_eq!(world.ship().await.unwrap(), 201);
    upkeep.end().await;

    let calls = world.sandbox.requests_at(Endpoint::Api);
    let shown: Vec<_> = calls.iter().map(|call| call.certificate().unwrap()).collect();
    assert_eq!(shown, [first, second.x5t()]);
    assert_eq!(world.sandbox.token_requests(), 2);
}

#[tokio::test]
async fn a_certificate_that_cannot_be_taken_is_told_of_and_the_old_one_goes_on() {
    let files = Files::new();
    let world = world(
        Sandbox::builder().mtls(true),
        |sandbox| {
            let path = files.put(&sandbox.client_certificate("acme").unwrap());
            let source = FileCertificates::open(&path, &path, NOW).unwrap();
            Box::new(|builder| builder.binding(Mtls::new(source)))
        },
        |profile| profile,
    )
    .await;
    assert_eq!(world.ship().await.unwrap(), 201);
    let expired = CertificateFor::from("acme").valid(NOW.offset_seconds(-86_400), NOW.offset_seconds(-1));
    files.put(&world.sandbox.client_certificate(expired).unwrap());
    let upkeep = run(world.upkeep());
    let not_taken = |kind: &EventKind| matches!(kind, EventKind::CertificateNotTaken { code: "expired" });
    world.move_until(|world| world.events(not_taken) > 0).await;
    assert_eq!(world.ship().await.unwrap(), 201);
    upkeep.end().await;
    assert_eq!(world.sandbox.token_requests(), 1);
}

#[tokio::test]
async fn the_end_of_a_certificate_is_told_of_in_time() {
    let world = world(
        Sandbox::builder().mtls(true),
        |sandbox| {
            let days = CertificateFor::from("acme").valid(NOW, NOW.offset_seconds(40 * 86_400));
            let identity = sandbox.client_certificate(days).unwrap().identity().unwrap();
            Box::new(|builder| builder.binding(Mtls::new(identity)))
        },
        |profile| profile,
    )
    .await;
    let upkeep = run(world.upkeep().reload_every(Duration::from_secs(3600)));
    world.sleeping(1).await;
    let ending = |kind: &EventKind| matches!(kind, EventKind::CertificateEnding { .. });
    // A quarter of its life is left, a tenth, a day, nothing.
    for (warnings, days) in [(1, 30), (2, 36), (3, 39), (4, 40)] {
        let told = |world: &crate::world::World| world.events(ending) == warnings;
        world.stride_until(Duration::from_secs(600), told).await;
        let passed = world.clock.now().seconds_since(NOW) / 86_400;
        assert_eq!(passed, days, "warning {warnings}");
    }
    upkeep.end().await;
}

/// A source that holds a certificate, and whose reload never ends well.
#[derive(Debug)]
struct Broken {
    identity: ClientIdentity,
    panics: bool,
    looks: Arc<AtomicU32>,
}

#[async_trait]
impl CertificateSource for Broken {
    async fn identity(&self, _connection: &ConnectionId) -> Result<ClientIdentity, IdentityError> {
        Ok(self.identity.clone())
    }

    async fn reload(&self, _now: Timestamp) -> Result<Vec<Exchanged>, IdentityError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        assert!(!self.panics, "a source that panics");
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_source_that_hangs_or_panics_holds_up_no_other() {
    let files = Files::new();
    let world = world(
        Sandbox::builder().mtls(true),
        |sandbox| {
            let path = files.put(&sandbox.client_certificate("acme").unwrap());
            let source = FileCertificates::open(&path, &path, NOW).unwrap();
            Box::new(|builder| builder.binding(Mtls::new(source)))
        },
        |profile| profile,
    )
    .await;
    let looks = [Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0))];
    let mut upkeep = shipbound::upkeep::Upkeep::new(&world.parts);
    for (panics, looks) in [false, true].into_iter().zip(&looks) {
        let broken = Broken {
            identity: world.sandbox.client_certificate("acme").unwrap().identity().unwrap(),
            panics,
            looks: Arc::clone(looks),
        };
        let client = Client::builder(shipbound::CarrierClient::carrier(&world.client).clone(), &world.parts);
        upkeep = upkeep.client(&client.binding(Mtls::new(broken)).build().unwrap());
    }
    let upkeep = run(upkeep.client(&world.client));
    let not_taken = |world: &crate::world::World, wanted: &str| {
        world.events(|kind| matches!(kind, EventKind::CertificateNotTaken { code } if *code == wanted))
    };
    world
        .move_until(|world| not_taken(world, "deadline") > 1 && not_taken(world, "panicked") > 1)
        .await;
    files.put(&world.sandbox.client_certificate("acme").unwrap());
    let exchanged = |kind: &EventKind| matches!(kind, EventKind::CertificateExchanged { .. });
    world.move_until(|world| world.events(exchanged) == 1).await;
    assert!(looks.iter().all(|looks| looks.load(Ordering::Relaxed) > 1));
    let ended = std::pin::pin!(upkeep.end());
    let moving = std::pin::pin!(world.move_until(|_| false));
    futures_util::future::select(ended, moving).await;
}

#[tokio::test]
async fn a_certificate_is_held_to_the_policys_maximum_however_long_it_is_valid() {
    let world = world(
        Sandbox::builder().mtls(true),
        |sandbox| {
            let years = CertificateFor::from("acme").valid(NOW, NOW.offset_seconds(700 * 86_400));
            let identity = sandbox.client_certificate(years).unwrap().identity().unwrap();
            Box::new(|builder| builder.binding(Mtls::new(identity)))
        },
        |profile| profile,
    )
    .await;
    let upkeep = world.upkeep().reload_every(Duration::from_secs(3600));
    let upkeep = run(upkeep.rotation_policy(RotationPolicy::default()));
    world.sleeping(1).await;
    // Seven days in the sandbox: a quarter left, a day left, over, and over for a day.
    for (count, hours, is_over) in [(1, 126, false), (2, 144, false), (3, 168, true), (4, 192, true)] {
        let told = |kind: &EventKind| matches!(kind, EventKind::CertificateDue { .. });
        world
            .stride_until(Duration::from_secs(60), |world| world.events(told) == count)
            .await;
        let passed = world.clock_seconds() / 3_600;
        assert!((hours..=hours + 2).contains(&passed), "{passed}");
        let events = world.sink.events();
        let last = events.iter().rev().find_map(|event| match event.kind {
            EventKind::CertificateDue { overdue, due, .. } => Some((overdue, due)),
            _ => None,
        });
        assert_eq!(last, Some((is_over, NOW.offset_seconds(7 * 86_400))));
    }
    upkeep.end().await;
    assert_eq!(
        world.events(|kind| matches!(kind, EventKind::CertificateEnding { .. })),
        0
    );
}
