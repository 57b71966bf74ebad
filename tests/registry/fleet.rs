//! Several processes over one store.

use std::sync::atomic::Ordering;
use std::time::Duration;

use shipbound::ErrorKind;
use shipbound::chore::Chore;
use shipbound::directory::{Directory, NotAdmitted};
use shipbound::journal::EventKind;

use crate::stores::Flaky;
use crate::world::{act, new, world_on};

#[tokio::test]
async fn what_one_process_adds_the_other_finds_at_once_and_what_it_suspends_with_the_next_round() {
    let store = Flaky::default();
    let one = world_on(store.clone()).await;
    let two = one.another(store.clone()).await;
    let record = one.add("acme").await;
    assert_eq!(two.registry.len(), 0);
    assert_eq!(two.ship("acme").await.unwrap(), 201);

    one.registry.suspend(&record.connection, &act("stop")).await.unwrap();
    two.registry.round(&|| true).await;
    assert_eq!(two.refused("acme").await, "connection_suspended");
    assert!(two.client.lease(record.connection.tenant()).is_none());
}

#[tokio::test]
async fn names_that_nobody_has_are_asked_for_once_in_a_while() {
    let store = Flaky::default();
    let world = world_on(store.clone()).await;
    for _ in 0..20 {
        assert_eq!(world.refused("nobody").await, "connection_unknown");
    }
    assert_eq!(store.asked.load(Ordering::SeqCst), 1);
    // Added here it is known at once, by another process within a second.
    world.registry.add(&new("nobody"), &act("now")).await.unwrap();
    assert_eq!(world.refused("nobody").await, "credential");
    assert_eq!(world.refused("someone").await, "connection_unknown");
    let other = world.another(store.clone()).await;
    other.add("someone").await;
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.ship("someone").await.unwrap(), 201);
}

#[tokio::test]
async fn while_the_store_is_down_known_connections_go_on_and_then_none() {
    let store = Flaky::default();
    let world = world_on(store.clone()).await;
    let record = world.add("acme").await;
    assert_eq!(world.ship("acme").await.unwrap(), 201);
    store.down.store(true, Ordering::SeqCst);
    let minute = Duration::from_secs(60);
    for _ in 0..15 {
        world.registry.round(&|| true).await;
        assert_eq!(world.ship("acme").await.unwrap(), 201);
        world.clock.advance(minute);
    }
    let unknown = world.ship("other").await.unwrap_err();
    assert!(
        matches!(unknown.kind(), ErrorKind::Connection(NotAdmitted::Unavailable)),
        "{unknown}"
    );
    assert!(
        world
            .registry
            .suspend(&record.connection, &act("in vain"))
            .await
            .is_err()
    );

    world.clock.advance(minute);
    let sent = world.sandbox.api_requests();
    world.registry.round(&|| true).await;
    assert_eq!(world.refused("acme").await, "connection_unavailable");
    assert_eq!(world.sandbox.api_requests(), sent);
    assert_eq!(
        world.events(|kind| matches!(kind, EventKind::ConnectionsUnavailable)),
        1
    );
    assert_eq!(world.events(|kind| matches!(kind, EventKind::ConnectionsStale)), 1);
    // It heals within a second after the store does.
    store.down.store(false, Ordering::SeqCst);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.ship("acme").await.unwrap(), 201);
}

#[tokio::test]
async fn callers_who_come_together_share_a_look_also_one_in_vain() {
    let store = Flaky::default();
    let world = world_on(store.clone()).await;
    let connection = world.add("acme").await.connection;
    let find = |many: usize| {
        let each = (0..many).map(|_| {
            let (registry, connection) = (world.registry.clone(), connection.clone());
            tokio::spawn(async move { registry.find(&connection).await })
        });
        let each: Vec<_> = each.collect();
        let looked = store.looked.clone();
        async move {
            let before = looked.load(Ordering::SeqCst);
            let mut found = Vec::new();
            for one in each {
                found.push(one.await.unwrap());
            }
            (found, looked.load(Ordering::SeqCst) - before)
        }
    };
    world.registry.round(&|| true).await;
    world.clock.advance(Duration::from_secs(16 * 60));
    store.down.store(true, Ordering::SeqCst);
    let (found, looks) = find(5_000).await;
    assert!(found.iter().all(|found| *found == Err(NotAdmitted::Unavailable)));
    assert_eq!(looks, 1);
    // Within a second nobody looks again, and then one does.
    world.clock.advance(Duration::from_millis(999));
    assert_eq!(find(10).await.1, 0);
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(find(10).await.1, 1);
    store.down.store(false, Ordering::SeqCst);
    world.clock.advance(Duration::from_secs(1));
    let (found, looks) = find(5_000).await;
    assert!(found.iter().all(Result::is_ok));
    assert_eq!(looks, 1);
    // Nobody looks while what is known is fresh.
    assert_eq!(find(10).await.1, 0);
}

#[tokio::test]
async fn a_process_that_starts_knows_what_there_is() {
    let store = Flaky::default();
    let one = world_on(store.clone()).await;
    for number in 0..5_000 {
        let id = format!("t{number}");
        one.registry.add(&new(&id), &act("many")).await.unwrap();
    }
    let removed = one.registry.of_tenant(&crate::world::tenant("t7")).await.unwrap();
    one.remover()
        .remove(&removed[0].connection, &act("gone"))
        .await
        .unwrap();
    let two = one.another(store.clone()).await;
    assert_eq!(two.registry.len(), 4_999);
    let asked = store.asked.load(Ordering::SeqCst);
    assert_eq!(two.refused("t4999").await, "credential");
    assert_eq!(store.asked.load(Ordering::SeqCst), asked);
    assert_eq!(two.refused("t7").await, "connection_unknown");
}
