//! Connections of a fleet in one database.

use std::sync::Arc;

use shipbound::act::Act;
use shipbound::chore::Chore;
use shipbound::client::PiiPolicy;
use shipbound::clock::SystemClock;
use shipbound::directory::{ConnectionStore, ConnectionStoreError, Directory, NotAdmitted, Settings, Standing};
use shipbound::journal::{EventKind, Journal, Sink};
use shipbound::owner::{AccountId, CarrierId, Environment, Region, TenantId};
use shipbound::registry::{NewConnection, Registry, RegistryError};
use shipbound::store::sql::SqlConnections;

use crate::forged::forged;
use crate::tampered::secret_of;
use crate::world::{Kind, World, deployment};

pub(crate) fn act(reason: &str) -> Act {
    Act::new("maria@platform.example", reason, "OPS-1").unwrap()
}

pub(crate) fn new(tenant: &str) -> NewConnection {
    NewConnection::new(
        TenantId::new(tenant).unwrap(),
        &CarrierId::new("fedex").unwrap(),
        Environment::Sandbox,
    )
}

/// Another process's registry.
pub(crate) async fn open(world: &World) -> Result<Registry, RegistryError> {
    let database = world.database();
    let ledger = world.setup(&database).open().await.unwrap();
    let sink: Arc<dyn Sink> = world.events.clone();
    Registry::builder(SqlConnections::new(&database, &ledger))
        .deployment(deployment())
        .journal(Journal::new(Arc::new(SystemClock::new()), [sink]))
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
    ] {
        world.raw(&format!("UPDATE sb_connections SET {change}")).await;
        let opened = open(&world).await.err();
        assert_eq!(opened, Some(ROLLED_BACK), "{change}");
        world
            .raw("DELETE FROM sb_connections; INSERT INTO sb_connections SELECT * FROM sound")
            .await;
        assert!(open(&world).await.is_ok(), "{change}: undone");
    }
    assert!(world.told().contains(&"row put back"));
}

on_all!(a_row_that_cannot_be_read_costs_its_connection_alone);
/// Malformed, or of a newer version: one connection stands still, the others go on.
async fn a_row_that_cannot_be_read_costs_its_connection_alone(world: World) {
    let one = open(&world).await.unwrap();
    let record = one.add(&new("acme"), &act("signed up")).await.unwrap();
    let other = one.add(&new("other"), &act("signed up")).await.unwrap();
    let mut number = i64::try_from(other.number).unwrap();
    for change in [
        "state = 'frozen'",
        "settings = '{'",
        r#"settings = REPLACE(settings, '{"actor"', '{"personal_paths":"shred","actor"')"#,
        "settings = REPLACE(settings, 'maria@platform.example', '')",
    ] {
        world.raw("CREATE TABLE sound AS SELECT * FROM sb_connections").await;
        number += 1;
        world
            .raw(&format!(
                "UPDATE sb_connections SET {change}, changed = {number} WHERE tenant = 'acme'; \
                 UPDATE sb_counters SET value = {number} WHERE name = 'connections'"
            ))
            .await;
        for registry in [&one, &open(&world).await.unwrap()] {
            registry.round(&|| true).await;
            let listing = registry.find(&record.connection).await.unwrap();
            assert_eq!(listing.standing, Standing::Unreadable, "{change}");
            assert_eq!(listing.admit(&record.connection), Err(NotAdmitted::Unreadable));
            assert_eq!(
                registry.find(&other.connection).await.unwrap().standing,
                Standing::Active
            );
            let listed = registry.list(0, 10).await.unwrap();
            assert!(listed.iter().any(|listed| listed.standing == Standing::Unreadable));
            // Nothing is done with it.
            let connection = &record.connection;
            let refused = Some(RegistryError::Unreadable);
            assert_eq!(registry.suspend(connection, &act("odd")).await.err(), refused);
            assert_eq!(registry.add(&new("acme"), &act("again")).await.err(), refused);
        }
        // What others do goes on being followed.
        let two = open(&world).await.unwrap();
        let suspended = one.suspend(&other.connection, &act("odd")).await.unwrap();
        two.round(&|| true).await;
        assert_eq!(two.find(&other.connection).await.unwrap().standing, Standing::Suspended);
        let resumed = one.resume(&suspended, &act("fine")).await.unwrap();
        number = i64::try_from(resumed.number).unwrap();
        // The newer version, or somebody by hand, makes it good.
        world
            .raw(
                "DELETE FROM sb_connections WHERE tenant = 'acme'; \
                 INSERT INTO sb_connections SELECT * FROM sound WHERE tenant = 'acme'; DROP TABLE sound",
            )
            .await;
        assert_eq!(
            open(&world)
                .await
                .unwrap()
                .find(&record.connection)
                .await
                .unwrap()
                .standing,
            Standing::Active
        );
    }
    let told = world.events.events();
    assert!(
        told.iter()
            .any(|event| matches!(event.kind, EventKind::ConnectionUnreadable { .. }))
    );
}

on_all!(a_row_of_nobody_known_is_told_of_once_and_costs_its_tenant_alone);
/// Not even its connection can be read.
async fn a_row_of_nobody_known_is_told_of_once_and_costs_its_tenant_alone(world: World) {
    let one = open(&world).await.unwrap();
    let record = one.add(&new("acme"), &act("signed up")).await.unwrap();
    for change in ["environment = 'staging'", "account = 'other'"] {
        let other = one.add(&new(&change[..7]), &act("signed up")).await.unwrap();
        world.raw("CREATE TABLE sound AS SELECT * FROM sb_connections").await;
        world
            .raw(&format!("UPDATE sb_connections SET {change} WHERE tenant = 'acme'"))
            .await;
        let two = open(&world).await.unwrap();
        for _ in 0..3 {
            two.round(&|| true).await;
        }
        assert_eq!(two.find(&record.connection).await, Err(NotAdmitted::Unreadable));
        assert_eq!(two.find(&other.connection).await.unwrap().standing, Standing::Active);
        let unreadable = Some(RegistryError::Store(ConnectionStoreError::Unreadable));
        assert_eq!(two.add(&new("acme"), &act("again")).await.err(), unreadable);
        world
            .raw("DELETE FROM sb_connections; INSERT INTO sb_connections SELECT * FROM sound; DROP TABLE sound")
            .await;
    }
    let told = world.events.events();
    let told = told
        .iter()
        .filter(|event| matches!(event.kind, EventKind::ConnectionUnreadable { .. }));
    assert_eq!(told.count(), 2);
}

/// SQLite keeps what was written by hand, whatever it is.
#[tokio::test]
async fn a_column_of_another_type_costs_its_connection_alone() {
    let world = World::new(Kind::Sqlite).await;
    let one = open(&world).await.unwrap();
    let record = one.add(&new("acme"), &act("signed up")).await.unwrap();
    let other = one.add(&new("other"), &act("signed up")).await.unwrap();
    world.raw("CREATE TABLE sound AS SELECT * FROM sb_connections").await;
    for change in [
        "account = x'ff'",
        "tenant = x'ff'",
        "state = x'ff'",
        "settings = x'ff'",
        "settings = CAST(x'ff' AS TEXT)",
        "revision = 'first'",
        "changed_at = 1.5",
        "changed = changed + 0.5",
    ] {
        world
            .raw(&format!("UPDATE sb_connections SET {change} WHERE tenant = 'acme'"))
            .await;
        let two = open(&world).await.unwrap();
        let admitted = match two.find(&record.connection).await {
            Ok(listing) => listing.admit(&record.connection).map(|_| ()),
            Err(error) => Err(error),
        };
        assert!(admitted.is_err(), "{change}");
        assert_eq!(two.find(&other.connection).await.unwrap().standing, Standing::Active);
        if change.starts_with("changed =") {
            // A page of nothing but that leads nowhere, and is not the end.
            let unreadable = Some(RegistryError::Store(ConnectionStoreError::Unreadable));
            assert_eq!(two.list(0, 1).await.err(), unreadable);
        }
        world
            .raw("DELETE FROM sb_connections; INSERT INTO sb_connections SELECT * FROM sound")
            .await;
    }
}

on_all!(what_issuers_have_not_heard_of_is_in_the_record);
/// What processes write down of their tokens while a connection is removed is read back, and is nobody's act.
async fn what_issuers_have_not_heard_of_is_in_the_record(world: World) {
    let one = open(&world).await.unwrap();
    let record = one.add(&new("acme"), &act("signed up")).await.unwrap();
    let database = world.database();
    let ledger = world.setup(&database).open().await.unwrap();
    let store = SqlConnections::new(&database, &ledger);
    let mut removing = record.next(record.changed_at, &act("left"));
    removing.standing = Standing::Removing;
    removing.number = store.replace(0, &removing).await.unwrap().unwrap();
    let acts = "SELECT COUNT(*) FROM sb_acts WHERE what LIKE 'connection.%'";
    assert_eq!(world.number(acts).await, 2);
    let mut telling = removing.clone();
    telling.revision += 1;
    telling.untold.telling = vec![u64::MAX, 1];
    telling.untold.lost = 3;
    telling.number = store.replace(removing.revision, &telling).await.unwrap().unwrap();
    assert_eq!(one.record(&record.connection).await.unwrap(), telling);
    assert_eq!(world.number(acts).await, 2);
    let mut told = telling.clone();
    told.revision += 1;
    told.untold.telling.clear();
    told.number = store.replace(telling.revision, &told).await.unwrap().unwrap();
    assert_eq!(one.record(&record.connection).await.unwrap(), told);
}

/// Writes into the chain how the one row reads, which is of acme's.
async fn forged_reads(world: &World) {
    let column = |name: &str| format!("SELECT CAST({name} AS TEXT) FROM sb_connections");
    let mut text = Vec::new();
    for name in ["state", "settings", "revision", "changed", "changed_at"] {
        text.push(world.raw(&column(name)).await.remove(0));
    }
    let number = |at: usize| text[at].parse::<u64>().unwrap().to_be_bytes();
    let (revision, changed, changed_at) = (number(2), number(3), number(4));
    let deployment = deployment();
    let parts: [&[u8]; 13] = [
        b"connection-reads",
        b"connection",
        deployment.as_str().as_bytes(),
        b"acme",
        &[0; 16],
        b"fedex",
        b"sandbox",
        b"main",
        text[0].as_bytes(),
        text[1].as_bytes(),
        &revision,
        &changed,
        &changed_at,
    ];
    let mut digest = <sha2::Sha256 as sha2::Digest>::new();
    for part in parts {
        sha2::Digest::update(&mut digest, (part.len() as u64).to_be_bytes());
        sha2::Digest::update(&mut digest, part);
    }
    let digest = sha2::Digest::finalize(digest);
    let hex: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
    let secret = secret_of(&world.raw("SELECT secret FROM sb_ledger_heads").await[0]);
    forged(world, &secret, "connection-reads", &hex).await;
}

on_all!(what_only_a_newer_version_knows_stays);
/// A program of the version before does not drop what it does not know.
async fn what_only_a_newer_version_knows_stays(world: World) {
    let one = open(&world).await.unwrap();
    let record = one.add(&new("acme"), &act("signed up")).await.unwrap();
    let suspended = one.suspend(&record.connection, &act("odd")).await.unwrap();
    world
        .raw(r#"UPDATE sb_connections SET settings = REPLACE(settings, '{"actor"', '{"newer":{"a":[1,"b"]},"actor"')"#)
        .await;
    // Not what somebody else has written there.
    let resumed = one.resume(&suspended, &act("fine")).await;
    assert_eq!(resumed.unwrap_err(), RegistryError::Changed);
    // The newer version writes it into the chain as well.
    forged_reads(&world).await;
    one.resume(&suspended, &act("fine")).await.unwrap();
    let settings = world.raw("SELECT settings FROM sb_connections").await;
    assert!(settings[0].contains(r#""newer":{"a":[1,"b"]}"#), "{settings:?}");
    assert!(
        settings[0].contains("fine") && !settings[0].contains("odd"),
        "{settings:?}"
    );
    let read = open(&world).await.unwrap().record(&record.connection).await.unwrap();
    assert_eq!((read.standing, read.act.reason()), (Standing::Active, "fine"));
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
