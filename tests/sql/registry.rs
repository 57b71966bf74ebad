//! Connections of a fleet in one database.

use std::sync::Arc;

use shipbound::act::Act;
use shipbound::chore::Chore;
use shipbound::client::PiiPolicy;
use shipbound::directory::{ConnectionStoreError, Directory, NotAdmitted, Settings, Standing};
use shipbound::owner::{AccountId, CarrierId, Environment, Region, TenantId};
use shipbound::registry::{NewConnection, Registry, RegistryError};
use shipbound::store::sql::SqlConnections;

use crate::world::{World, deployment};

fn act(reason: &str) -> Act {
    Act::new("maria@platform.example", reason, "OPS-1").unwrap()
}

fn new(tenant: &str) -> NewConnection {
    NewConnection::new(
        TenantId::new(tenant).unwrap(),
        &CarrierId::new("fedex").unwrap(),
        Environment::Sandbox,
    )
}

/// Another process's registry.
async fn open(world: &World) -> Result<Registry, RegistryError> {
    let database = world.database();
    let ledger = world.setup(&database).open().await.unwrap();
    Registry::builder(SqlConnections::new(&database, &ledger))
        .deployment(deployment())
        .open()
        .await
}

const ROLLED_BACK: RegistryError = RegistryError::Store(ConnectionStoreError::RolledBack);

on_all!(what_is_written_is_read_by_others);
async fn what_is_written_is_read_by_others(world: World) {
    let one = open(&world).await.unwrap();
    let two = open(&world).await.unwrap();
    let settled = new("acme")
        .account(AccountId::new("track").unwrap())
        .region(Region::new("eu").unwrap())
        .personal_paths(PiiPolicy::Refuse);
    let added = one
        .add(&settled, &act("a reason with \"quotes\" and \u{fc}"))
        .await
        .unwrap();
    assert_eq!(two.record(&added.connection).await.unwrap(), added);
    let listing = two.find(&added.connection).await.unwrap();
    assert_eq!(listing.region, Some(Region::new("eu").unwrap()));
    assert_eq!(listing.personal_paths, Some(PiiPolicy::Refuse));

    let suspended = one.suspend(&added.connection, &act("odd")).await.unwrap();
    two.round(&|| true).await;
    assert_eq!(two.known(&added.connection).unwrap().standing, Standing::Suspended);
    let resumed = two.resume(&suspended, &act("fine")).await.unwrap();
    assert_eq!(one.resume(&suspended, &act("late")).await, Err(RegistryError::Changed));
    let changed = two.change(&resumed, Settings::default(), &act("plain")).await.unwrap();
    assert_eq!(one.record(&added.connection).await.unwrap(), changed);
    assert!(changed.number > resumed.number && changed.revision == 3);
    assert_eq!(
        world
            .number("SELECT COUNT(*) FROM sb_acts WHERE what LIKE 'connection.%'")
            .await,
        4
    );
    assert_eq!(open(&world).await.unwrap().len(), 1);
    // Another deployment sees nothing of it.
    assert_eq!(one.add(&settled, &act("again")).await, Err(RegistryError::Exists));
    let look_alike = one.add(&new("ACME"), &act("other")).await.unwrap();
    assert_ne!(look_alike.connection, added.connection);
    assert_eq!(one.of_tenant(&TenantId::new("Acme").unwrap()).await.unwrap(), []);
}

on_all!(an_old_row_lifts_nothing);
async fn an_old_row_lifts_nothing(world: World) {
    let one = open(&world).await.unwrap();
    let record = one.add(&new("acme"), &act("signed up")).await.unwrap();
    one.add(&new("other"), &act("signed up")).await.unwrap();
    world.raw("CREATE TABLE old_rows AS SELECT * FROM sb_connections").await;
    one.suspend(&record.connection, &act("stolen")).await.unwrap();
    // Somebody who has the database puts the rows back as they were.
    world
        .raw("DELETE FROM sb_connections; INSERT INTO sb_connections SELECT * FROM old_rows")
        .await;
    assert_eq!(one.record(&record.connection).await, Err(ROLLED_BACK));
    assert_eq!(one.add(&new("acme"), &act("again")).await, Err(ROLLED_BACK));
    assert_eq!(open(&world).await.err(), Some(ROLLED_BACK));
    one.round(&|| true).await;
    assert_eq!(one.known(&record.connection).unwrap().standing, Standing::Suspended);
    let other = new("third");
    assert!(one.add(&other, &act("goes on")).await.is_ok());

    // Without its row the connection is not there, and is not added under its old name either.
    world.raw("DELETE FROM sb_connections").await;
    let two = open(&world).await.unwrap();
    assert_eq!(two.find(&record.connection).await, Err(NotAdmitted::Unknown));
    assert_eq!(two.add(&new("acme"), &act("again")).await, Err(ROLLED_BACK));
}

on_all!(of_many_processes_one_adds_and_each_resumption_counts_once);
async fn of_many_processes_one_adds_and_each_resumption_counts_once(world: World) {
    let mut processes = Vec::new();
    for _ in 0..4 {
        processes.push(Arc::new(open(&world).await.unwrap()));
    }
    let adding = processes.iter().map(|registry| {
        let registry = registry.clone();
        tokio::spawn(async move { registry.add(&new("acme"), &act("race")).await })
    });
    let mut added = Vec::new();
    for one in adding.collect::<Vec<_>>() {
        match one.await.unwrap() {
            Ok(record) => added.push(record),
            Err(error) => assert_eq!(error, RegistryError::Exists),
        }
    }
    assert_eq!(added.len(), 1);
    let suspending = processes.iter().map(|registry| {
        let (registry, connection) = (registry.clone(), added[0].connection.clone());
        tokio::spawn(async move { registry.suspend(&connection, &act("race")).await.unwrap() })
    });
    let mut suspended = Vec::new();
    for one in suspending.collect::<Vec<_>>() {
        suspended.push(one.await.unwrap());
    }
    assert!(suspended.iter().all(|one| *one == suspended[0] && one.revision == 1));
    let resuming = processes.iter().map(|registry| {
        let (registry, seen) = (registry.clone(), suspended[0].clone());
        tokio::spawn(async move { registry.resume(&seen, &act("race")).await.is_ok() })
    });
    let mut resumed = 0;
    for one in resuming.collect::<Vec<_>>() {
        resumed += u32::from(one.await.unwrap());
    }
    assert_eq!(resumed, 1);
    for registry in &processes {
        registry.round(&|| true).await;
        assert_eq!(registry.known(&added[0].connection).unwrap().standing, Standing::Active);
    }
}

on_all!(a_row_that_was_written_by_hand_is_refused);
async fn a_row_that_was_written_by_hand_is_refused(world: World) {
    let one = open(&world).await.unwrap();
    let record = one.add(&new("acme"), &act("signed up")).await.unwrap();
    one.suspend(&record.connection, &act("stolen")).await.unwrap();
    world.raw("CREATE TABLE sound AS SELECT * FROM sb_connections").await;
    for change in [
        "state = 'active'",
        "revision = 7",
        "changed = 9",
        "changed_at = 0",
        "settings = REPLACE(settings, 'maria', 'moria')",
        "account = 'other'",
    ] {
        world.raw(&format!("UPDATE sb_connections SET {change}")).await;
        let opened = open(&world).await.err();
        assert!(
            matches!(
                opened,
                Some(ROLLED_BACK | RegistryError::Store(ConnectionStoreError::Unavailable))
            ),
            "{change}: {opened:?}"
        );
        world
            .raw("DELETE FROM sb_connections; INSERT INTO sb_connections SELECT * FROM sound")
            .await;
        assert!(open(&world).await.is_ok(), "{change}: undone");
    }
    assert!(world.told().contains(&"row put back"));
}

on_all!(a_process_that_has_not_followed_is_not_kept_in_the_dark);
async fn a_process_that_has_not_followed_is_not_kept_in_the_dark(world: World) {
    let (one, two) = (open(&world).await.unwrap(), open(&world).await.unwrap());
    let record = one.add(&new("acme"), &act("signed up")).await.unwrap();
    two.round(&|| true).await;
    assert_eq!(two.known(&record.connection).unwrap().standing, Standing::Active);
    world.raw("CREATE TABLE old_rows AS SELECT * FROM sb_connections").await;
    let suspended = one.suspend(&record.connection, &act("stolen")).await.unwrap();
    world
        .raw("DELETE FROM sb_connections; INSERT INTO sb_connections SELECT * FROM old_rows")
        .await;
    // The other process, which knows the number of the old row already, reads nothing new.
    for _ in 0..2 {
        two.round(&|| true).await;
        assert_eq!(two.known(&record.connection).unwrap().standing, Standing::Suspended);
    }
    // Nor does it write over the row that was put back.
    assert!(two.change(&record, Settings::default(), &act("late")).await.is_err());
    assert_eq!(world.number("SELECT MAX(revision) FROM sb_connections").await, 0);
    drop(suspended);
}
