//! Adding, changing, suspending and resuming while calls go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use shipbound::binding::dpop::Dpop;
use shipbound::client::PiiPolicy;
use shipbound::directory::{Directory, Listing, NotAdmitted, Settings, Standing};
use shipbound::error::Culprit;
use shipbound::journal::{ConnectionChange, EventKind};
use shipbound::owner::{ConnectionId, Tenant, TenantId};
use shipbound::registry::RegistryError;
use shipbound::transport::Stage;
use shipbound::{Client, ErrorKind, Parts};
use uuid::Uuid;

use crate::world::{act, new, tenant, world};

#[tokio::test]
async fn a_connection_that_is_added_calls_and_one_that_is_not_does_not() {
    let world = world().await;
    let refused = world.ship("acme").await.unwrap_err();
    assert!(
        matches!(refused.kind(), ErrorKind::Connection(NotAdmitted::Unknown)),
        "{refused}"
    );
    assert_eq!(
        (refused.stage(), refused.culprit()),
        (Stage::NotSent, Culprit::Configuration)
    );
    // One that was made before the connection is known finds it when it sends.
    let early = world.client.tenant("acme").unwrap();
    let record = world.add("acme").await;
    assert_eq!(world.ship("acme").await.unwrap(), 201);
    assert_eq!(early.post("/v1/shipments").send().await.unwrap().status(), 201);
    assert_eq!(record.connection.tenant().incarnation(), Uuid::nil());
    assert_eq!(
        world.registry.add(&new("acme"), &act("again")).await,
        Err(RegistryError::Exists)
    );
    // Nothing was sent for anybody else, and nobody else has a place in the cache.
    assert_eq!(world.refused("other").await, "connection_unknown");
    assert_eq!(world.parts.tokens().len(), 1);
    assert_eq!(world.sandbox.api_requests(), 2);
}

#[tokio::test]
async fn look_alikes_are_other_tenants() {
    let world = world().await;
    world.add("acme").await;
    for other in ["ACME", "Acme", "acme-", "acme.", "acm"] {
        assert_eq!(world.refused(other).await, "connection_unknown", "{other}");
        let record = world.registry.add(&new(other), &act("another")).await.unwrap();
        assert_eq!(world.refused(other).await, "credential", "{other}");
        world
            .registry
            .suspend(&record.connection, &act("that one"))
            .await
            .unwrap();
    }
    assert_eq!(world.ship("acme").await.unwrap(), 201);
    assert_eq!(TenantId::new("acme\u{200b}").ok(), None);
}

#[tokio::test]
async fn a_suspended_connection_is_refused_at_once_and_goes_on_with_its_token() {
    let world = world().await;
    let record = world.add("acme").await;
    world.add("other").await;
    assert_eq!(world.ship("acme").await.unwrap(), 201);
    assert_eq!(world.ship("other").await.unwrap(), 201);
    let before = (world.sandbox.token_requests(), world.sandbox.api_requests());
    let of_acme = world.client.tenant("acme").unwrap();

    let suspended = world
        .registry
        .suspend(&record.connection, &act("odd labels"))
        .await
        .unwrap();
    assert_eq!(world.refused("acme").await, "connection_suspended");
    let refused = of_acme.post("/v1/shipments").send().await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.stage()),
        ("connection_suspended", Stage::NotSent)
    );
    assert!(world.client.lease(of_acme.tenant()).is_none());
    assert_eq!(world.ship("other").await.unwrap(), 201);
    assert_eq!(world.sandbox.api_requests(), before.1 + 1);
    // The act of who was first stays.
    let again = world
        .registry
        .suspend(&record.connection, &act("me too"))
        .await
        .unwrap();
    assert_eq!(again, suspended);
    assert_eq!(
        world.registry.resume(&record, &act("no")).await,
        Err(RegistryError::Changed)
    );

    world.registry.resume(&suspended, &act("explained")).await.unwrap();
    assert_eq!(world.ship("acme").await.unwrap(), 201);
    assert_eq!(world.sandbox.token_requests(), before.0);
    let changes = world.sink.events().into_iter().filter_map(|event| match event.kind {
        EventKind::ConnectionChanged { change, revision, act } => Some((change, revision, act.reason().to_owned())),
        _ => None,
    });
    let changes: Vec<_> = changes.into_iter().filter(|(_, revision, _)| *revision > 0).collect();
    let expected = [
        (ConnectionChange::Suspended, 1, "odd labels".to_owned()),
        (ConnectionChange::Resumed, 2, "explained".to_owned()),
    ];
    assert_eq!(changes, expected);
    let written = world.registry.record(&record.connection).await.unwrap();
    assert_eq!((written.revision, written.act.ticket()), (2, "OPS-1"));
}

#[tokio::test]
async fn a_resumption_does_not_lift_a_suspension_that_it_has_not_seen() {
    let world = world().await;
    let record = world.add("acme").await;
    let first = world.registry.suspend(&record.connection, &act("first")).await.unwrap();
    world.registry.resume(&first, &act("fine")).await.unwrap();
    world
        .registry
        .suspend(&record.connection, &act("second"))
        .await
        .unwrap();
    assert_eq!(
        world.registry.resume(&first, &act("late")).await,
        Err(RegistryError::Changed)
    );
    assert_eq!(world.refused("acme").await, "connection_suspended");
}

/// While calls of many go on, none of a suspended connection reaches the carrier after `suspend` has returned.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_once_suspend_has_returned() {
    let world = world().await;
    let record = world.add("acme").await;
    assert_eq!(world.ship("acme").await.unwrap(), 201);
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let of_acme = world.client.tenant("acme").unwrap();
            tokio::spawn(async move {
                let mut sent = 0;
                loop {
                    match of_acme.post("/v1/shipments").send().await {
                        Ok(_) => sent += 1,
                        Err(error) => return (sent, error.code()),
                    }
                }
            })
        })
        .collect();
    let seen = world.sandbox.api_requests();
    while world.sandbox.api_requests() < seen + 40 {
        tokio::task::yield_now().await;
    }
    world.registry.suspend(&record.connection, &act("stop")).await.unwrap();
    assert_eq!(world.refused("acme").await, "connection_suspended");
    for caller in callers {
        assert_eq!(caller.await.unwrap().1, "connection_suspended");
    }
    let sent = world.sandbox.api_requests();
    for _ in 0..10 {
        assert_eq!(world.refused("acme").await, "connection_suspended");
    }
    assert_eq!(world.sandbox.api_requests(), sent);
}

#[tokio::test]
async fn settings_take_effect_with_the_next_call() {
    let world = world().await;
    let record = world.add("acme").await;
    world.add("other").await;
    // A path that the profile does not know may say something of a person.
    let refuse = Settings::default().personal_paths(PiiPolicy::Refuse);
    assert_eq!(world.ship("acme").await.unwrap(), 201);
    let changed = world.registry.change(&record, refuse, &act("privacy")).await.unwrap();
    assert_eq!(world.refused("acme").await, "personal_path");
    assert_eq!(world.ship("other").await.unwrap(), 201);
    assert_eq!(
        world.registry.change(&record, refuse, &act("late")).await,
        Err(RegistryError::Changed)
    );

    // The other way round, where the client refuses.
    let strict = Client::builder(world.profile.clone(), &world.parts)
        .binding(Dpop::es256())
        .personal_paths(PiiPolicy::Refuse)
        .build()
        .unwrap();
    let allow = Settings::default().personal_paths(PiiPolicy::Allow);
    world.registry.change(&changed, allow, &act("consented")).await.unwrap();
    let sent = |id: &str| strict.tenant(id).unwrap();
    assert_eq!(sent("acme").post("/v1/shipments").send().await.unwrap().status(), 201);
    let refused = sent("other").post("/v1/shipments").send().await.unwrap_err();
    assert_eq!(refused.code(), "personal_path");
}

#[tokio::test]
async fn a_credential_that_is_changed_serves_the_next_call() {
    let world = world().await;
    let record = world.add("acme").await;
    assert_eq!(world.ship("acme").await.unwrap(), 201);
    world.sandbox.rotate_secret(&tenant("acme"));
    world.give(&record.connection).await;
    assert_eq!(world.ship("acme").await.unwrap(), 201);
    assert_eq!(world.sandbox.token_requests(), 2);
}

#[tokio::test]
async fn another_incarnation_is_refused() {
    let world = world().await;
    world.add("acme").await;
    let other = Tenant::new(tenant("acme"), Uuid::max());
    let refused = world.ship_for(&other).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.stage()),
        ("connection_incarnation", Stage::NotSent)
    );
    assert_eq!(world.ship_for(&tenant("acme").into()).await.unwrap(), 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_add_one_does() {
    let world = world().await;
    let adding: Vec<_> = (0..16)
        .map(|_| {
            let registry = world.registry.clone();
            tokio::spawn(async move { registry.add(&new("acme"), &act("race")).await })
        })
        .collect();
    let mut added = 0;
    for one in adding {
        match one.await.unwrap() {
            Ok(_) => added += 1,
            Err(error) => assert_eq!(error, RegistryError::Exists),
        }
    }
    assert_eq!(added, 1);
    assert_eq!(world.registry.of_tenant(&tenant("acme")).await.unwrap().len(), 1);
}

/// A directory that suspends everybody right after it was asked whether something has changed.
#[derive(Debug)]
struct Late {
    armed: AtomicBool,
    suspended: AtomicBool,
}

#[async_trait]
impl Directory for Late {
    fn known(&self, connection: &ConnectionId) -> Option<Listing> {
        let mut listing = Listing::active(connection.tenant().clone());
        if self.suspended.load(Ordering::SeqCst) {
            listing.standing = Standing::Suspended;
        }
        Some(listing)
    }

    async fn find(&self, connection: &ConnectionId) -> Result<Listing, NotAdmitted> {
        self.known(connection).ok_or(NotAdmitted::Unknown)
    }

    fn generation(&self) -> u32 {
        let generation = 1 + u32::from(self.suspended.load(Ordering::SeqCst));
        if self.armed.swap(false, Ordering::SeqCst) {
            self.suspended.store(true, Ordering::SeqCst);
        }
        generation
    }
}

/// A call that has its token in hand when the connection is suspended is looked at once more, after it is counted.
#[tokio::test]
async fn between_the_look_and_the_call_nothing_slips_through() {
    let world = world().await;
    let directory = Arc::new(Late {
        armed: AtomicBool::new(false),
        suspended: AtomicBool::new(false),
    });
    let parts = Parts::builder()
        .shared_keys(world.keys.clone())
        .shared_credentials(world.credentials.clone())
        .directory(directory.clone())
        .transport(world.sandbox.transport().unwrap())
        .clock(world.clock.clone())
        .build()
        .unwrap();
    world.add("acme").await;
    let client = Client::builder(world.profile.clone(), &parts)
        .binding(Dpop::es256())
        .build()
        .unwrap();
    let of_acme = client.tenant("acme").unwrap();
    assert_eq!(of_acme.post("/v1/shipments").send().await.unwrap().status(), 201);
    let sent = world.sandbox.api_requests();
    directory.armed.store(true, Ordering::SeqCst);
    let refused = of_acme.post("/v1/shipments").send().await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.stage()),
        ("connection_suspended", Stage::NotSent)
    );
    assert_eq!(world.sandbox.api_requests(), sent);
}
