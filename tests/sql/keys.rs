//! The records of keys, through the key store that is made of them.

use shipbound::clock::Timestamp;
use shipbound::jose::Algorithm;
use shipbound::keys::{
    KeyError, KeyFilter, KeyHandle, KeyListing, KeyRecords, KeySpec, KeyState, KeyStore, Purpose, Retired,
};
use shipbound::owner::TenantId;
use sqlx::Connection as _;

use crate::world::{Kind, World, owner};

const PROOF: KeySpec = KeySpec {
    purpose: Purpose::Proof,
    algorithm: Algorithm::Es256,
};
const NEVER: Timestamp = Timestamp::from_unix_seconds(4_000_000_000);

pub(crate) async fn active_key(keys: &dyn KeyStore, tenant: &str) -> KeyHandle {
    let key = keys.create(&owner(tenant), PROOF).await.unwrap();
    assert!(keys.promote(&owner(tenant), &key.id(), None, NEVER).await.unwrap());
    key
}

async fn what_one_process_writes_the_other_reads(world: World) {
    let (here, there) = (world.keys().await, world.keys().await);
    let key = active_key(&here, "acme").await;
    let seen = there.active(&owner("acme"), Purpose::Proof).await.unwrap().unwrap();
    assert_eq!((seen.id(), seen.jkt()), (key.id(), key.jkt()));
    assert!(seen.sign(b"m").wait().await.is_ok());
    // Another owner does not see it, by whatever name.
    for other in ["acm", "ACME", "acme2"] {
        assert!(there.active(&owner(other), Purpose::Proof).await.unwrap().is_none());
        assert!(there.get(&owner(other), &key.id()).await.unwrap().is_none());
    }
    // A successor: the first drains, in both processes.
    let next = there.create(&owner("acme"), PROOF).await.unwrap();
    assert!(
        there
            .promote(&owner("acme"), &next.id(), Some(&key.id()), NEVER)
            .await
            .unwrap()
    );
    here.sync().await.unwrap();
    assert_eq!(key.state(), KeyState::Draining);
    // An end in one process ends it in the other.
    assert!(
        here.retire(&owner("acme"), &key.id(), Retired::Destroyed)
            .await
            .unwrap()
    );
    there.sync().await.unwrap();
    assert!(seen.sign(b"m").wait().await.is_err());
    assert_eq!(world.number("SELECT COUNT(*) FROM sb_ledger").await, 1);
}
on_all!(what_one_process_writes_the_other_reads);

async fn of_two_promotions_at_once_one_is_done(world: World) {
    let (here, there) = (world.keys().await, world.keys().await);
    for tenant in ["a", "b", "c", "d", "e"] {
        let (one, two) = (
            here.create(&owner(tenant), PROOF).await.unwrap().id(),
            there.create(&owner(tenant), PROOF).await.unwrap().id(),
        );
        let owner = owner(tenant);
        let (first, second) = tokio::join!(
            here.promote(&owner, &one, None, NEVER),
            there.promote(&owner, &two, None, NEVER)
        );
        assert_ne!(first.unwrap(), second.unwrap(), "one of them was first");
        let active = "SELECT COUNT(*) FROM sb_keys WHERE state = 'active' AND tenant =";
        assert_eq!(world.number(&format!("{active} '{tenant}'")).await, 1);
    }
}
on_all!(of_two_promotions_at_once_one_is_done);

async fn records_are_listed_in_pages_and_by_filter(world: World) {
    let keys = world.keys().await;
    for tenant in ["a", "b", "c"] {
        let first = active_key(&keys, tenant).await;
        let next = keys.create(&owner(tenant), PROOF).await.unwrap();
        assert!(
            keys.promote(&owner(tenant), &next.id(), Some(&first.id()), NEVER)
                .await
                .unwrap()
        );
    }
    let records = world.records().await;
    let all = records.list(&KeyFilter::default(), None, 100).await.unwrap();
    assert_eq!(all.len(), 6);
    assert!(all.is_sorted_by_key(|record| record.id));
    let mut paged = Vec::new();
    while let page = records
        .list(&KeyFilter::default(), paged.last().copied(), 4)
        .await
        .unwrap()
        && !page.is_empty()
    {
        paged.extend(page.iter().map(|record| record.id));
    }
    assert_eq!(paged, all.iter().map(|record| record.id).collect::<Vec<_>>());
    let of_b = KeyFilter::default().of_tenant(TenantId::new("b").unwrap());
    for filter in [
        of_b.clone(),
        of_b.clone().in_state(KeyState::Active),
        of_b.in_state(KeyState::Active).in_state(KeyState::Pending),
        KeyFilter::default().of_owner(owner("c")).in_state(KeyState::Draining),
        KeyFilter::default().with_id(all[3].id),
        KeyFilter::default().for_purpose(Purpose::Tls),
        KeyFilter::default().activated_before(all[0].activated_at.unwrap()),
        KeyFilter::default().activated_before(NEVER),
        KeyFilter::default().in_state(KeyState::Compromised),
    ] {
        let found = records.list(&filter, None, 100).await.unwrap();
        let found: Vec<_> = found.iter().map(|record| record.id).collect();
        let expected = all.iter().filter(|record| filter.takes(record)).map(|record| record.id);
        assert_eq!(found, expected.collect::<Vec<_>>(), "{filter:?}");
    }
}
on_all!(records_are_listed_in_pages_and_by_filter);

async fn a_thumbprint_that_has_ended_is_never_taken_again(world: World) {
    let keys = world.keys().await;
    let key = active_key(&keys, "acme").await;
    let records = world.records().await;
    let stored = records.load(&owner("acme"), &key.id()).await.unwrap().unwrap();
    assert!(
        keys.retire(&owner("acme"), &key.id(), Retired::Compromised)
            .await
            .unwrap()
    );
    // Somebody deletes the row and hands the key in anew.
    world.raw("DELETE FROM sb_keys").await;
    assert_eq!(records.insert(&stored).await, Err(KeyError::Duplicate));
    // A living one is not taken twice either, and not for another deployment's owner.
    let living = active_key(&keys, "zeta").await;
    let stored = records.load(&owner("zeta"), &living.id()).await.unwrap().unwrap();
    assert_eq!(records.insert(&stored).await, Err(KeyError::Duplicate));
}
on_all!(a_thumbprint_that_has_ended_is_never_taken_again);

async fn an_owner_has_64_living_keys_at_most(world: World) {
    let keys = world.keys().await;
    for _ in 0..64 {
        keys.create(&owner("acme"), PROOF).await.unwrap();
    }
    let full = keys.create(&owner("acme"), PROOF).await.unwrap_err();
    assert_eq!(full, KeyError::Full { limit: 64 });
    assert!(keys.create(&owner("zeta"), PROOF).await.is_ok());
}
on_all!(an_owner_has_64_living_keys_at_most);

async fn numbers_of_changes_are_committed_in_their_order(world: World) {
    let records = [world.records().await, world.records().await];
    let keys = [world.keys().await, world.keys().await];
    let (mut number, none) = records[0].moved(None).await.unwrap();
    assert!(none.is_empty());
    let writers = (0..20).map(|at| {
        let keys = &keys[at % 2];
        async move { active_key(keys, &format!("t{at}")).await.id() }
    });
    let mut seen = std::collections::HashSet::new();
    let mut writing = Box::pin(futures_util::future::join_all(writers));
    let written = loop {
        let look = records[1].moved(Some(number));
        let (looked, done) = match futures_util::future::select(&mut writing, Box::pin(look)).await {
            futures_util::future::Either::Left((written, look)) => (look.await.unwrap(), Some(written)),
            futures_util::future::Either::Right((looked, _)) => (looked.unwrap(), None),
        };
        number = looked.0;
        seen.extend(looked.1.iter().map(|moved| moved.id));
        if let Some(written) = done {
            break written;
        }
    };
    let (_, last) = records[1].moved(Some(number)).await.unwrap();
    seen.extend(last.iter().map(|moved| moved.id));
    assert!(written.iter().all(|id| seen.contains(id)), "a change was passed over");
}
on_all!(numbers_of_changes_are_committed_in_their_order);

/// SQLite has one writer at a time. Those of a process wait for their turn without a connection, so that readers have one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_wait_keep_no_reader_waiting() {
    let world = World::new(Kind::Sqlite).await;
    let keys = world.keys().await;
    let key = active_key(&keys, "acme").await;
    // Another process writes, and stands still.
    let mut other = sqlx::SqliteConnection::connect(world.direct()).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let writers: Vec<_> = (0..8)
        .map(|number| {
            let keys = keys.clone();
            tokio::spawn(async move { keys.create(&owner(&format!("t{number}")), PROOF).await.map(drop) })
        })
        .collect();
    for _ in 0..200 {
        let read = keys.active(&owner("acme"), Purpose::Proof).await.unwrap();
        assert_eq!(read.map(|read| read.id()), Some(key.id()));
    }
    assert!(writers.iter().all(|writer| !writer.is_finished()));
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
}
