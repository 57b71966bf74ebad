//! The chain of what has ended, and whoever tampers with it.

use shipbound::act::Act;
use shipbound::keys::{KeyError, KeyState, KeyStore, Purpose, Retired};
use shipbound::store::anchor::EpochAnchor;
use shipbound::store::sql::{LedgerError, Rollback};

use crate::keys::active_key;
use crate::world::{Keys, Stuck, World, owner};

async fn compromise(keys: &Keys, tenant: &str) {
    let key = active_key(keys, tenant).await;
    assert!(
        keys.retire(&owner(tenant), &key.id(), Retired::Compromised)
            .await
            .unwrap()
    );
}

/// The row of `acme`'s key as it was before it was compromised, put back by somebody who has the database.
async fn with_old_row_put_back(world: &World, keys: &Keys) {
    let key = active_key(keys, "acme").await;
    world.raw("CREATE TABLE old AS SELECT * FROM sb_keys").await;
    assert!(
        keys.retire(&owner("acme"), &key.id(), Retired::Compromised)
            .await
            .unwrap()
    );
    world
        .raw("DELETE FROM sb_keys; INSERT INTO sb_keys SELECT * FROM old")
        .await;
    assert_eq!(world.raw("SELECT state FROM sb_keys").await, ["active"]);
}

async fn signs_not(keys: &Keys, id: &str) {
    match keys.active(&owner("acme"), Purpose::Proof).await {
        Ok(None) | Err(KeyError::RolledBack) => {}
        Ok(Some(handle)) => panic!("{id}: a dead key was given out: {:?}", handle.state()),
        Err(other) => panic!("{id}: {other}"),
    }
}

async fn an_old_row_put_back_is_refused(world: World) {
    let here = world.keys().await;
    let there = world.keys().await;
    with_old_row_put_back(&world, &here).await;
    for (process, id) in [
        (&here, "the same"),
        (&there, "one from before"),
        (&world.keys().await, "a new one"),
    ] {
        signs_not(process, id).await;
    }
    assert!(world.told().contains(&"row put back"));
}
on_all!(an_old_row_put_back_is_refused);

async fn an_old_row_put_back_without_its_tombstone_is_refused(world: World) {
    let here = world.keys().await;
    with_old_row_put_back(&world, &here).await;
    world.raw("DELETE FROM sb_ledger").await;
    signs_not(&here, "the same").await;
    let opened = world.ledger().await.unwrap_err();
    assert_eq!(opened, LedgerError::RolledBack(Rollback::Changed));
    assert_eq!(world.told().last(), Some(&"changed"));
}
on_all!(an_old_row_put_back_without_its_tombstone_is_refused);

async fn an_old_dump_put_back_stops_every_process(world: World) {
    let here = world.keys().await;
    let acme = active_key(&here, "acme").await;
    compromise(&here, "other").await;
    world.dump().await;
    let handle = here.active(&owner("acme"), Purpose::Proof).await.unwrap().unwrap();
    assert!(handle.sign(b"m").wait().await.is_ok());
    assert!(
        here.retire(&owner("acme"), &acme.id(), Retired::Compromised)
            .await
            .unwrap()
    );
    let there = world.keys().await;
    let zeta = active_key(&there, "zeta").await;
    world.put_dump_back().await;

    // A process that was there before finds it with its next look, and nothing signs any more, not even what is sound.
    assert_eq!(there.sync().await, Err(KeyError::RolledBack));
    assert!(zeta.sign(b"m").wait().await.is_err());
    for keys in [&here, &there] {
        for tenant in ["acme", "zeta", "other"] {
            let found = keys.active(&owner(tenant), Purpose::Proof).await.unwrap_err();
            assert_eq!(found, KeyError::RolledBack, "{tenant}");
        }
    }
    // A new one does not open.
    let opened = world.ledger().await.unwrap_err();
    assert_eq!(opened, LedgerError::RolledBack(Rollback::Behind));
    assert!(world.told().contains(&"behind"));
}
on_all!(an_old_dump_put_back_stops_every_process);

async fn whatever_is_done_to_the_chain_is_found(world: World) {
    let keys = world.keys().await;
    for tenant in ["a", "b", "c", "d"] {
        compromise(&keys, tenant).await;
    }
    world.dump().await;
    let swap = "UPDATE sb_ledger SET n = n + 100 WHERE n IN (2, 3); \
                UPDATE sb_ledger SET n = 2 WHERE n = 103; UPDATE sb_ledger SET n = 3 WHERE n = 102";
    let cut = "DELETE FROM sb_ledger WHERE n > 2; UPDATE sb_ledger_heads SET n = 2, \
               mac = (SELECT mac FROM sb_ledger WHERE n = 2)";
    for (id, tamper, found) in [
        (
            "deleted in the middle",
            "DELETE FROM sb_ledger WHERE n = 2",
            Rollback::Changed,
        ),
        (
            "deleted at the end",
            "DELETE FROM sb_ledger WHERE n = 4",
            Rollback::Changed,
        ),
        (
            "changed",
            "UPDATE sb_ledger SET digest = 'x' WHERE n = 2",
            Rollback::Changed,
        ),
        (
            "another kind",
            "UPDATE sb_ledger SET kind = 'consent' WHERE n = 2",
            Rollback::Changed,
        ),
        (
            "another MAC",
            "UPDATE sb_ledger SET mac = (SELECT mac FROM sb_ledger WHERE n = 1) WHERE n = 2",
            Rollback::Changed,
        ),
        ("reordered", swap, Rollback::Changed),
        ("cut short", cut, Rollback::Behind),
        (
            "cut to nothing",
            "DELETE FROM sb_ledger; DELETE FROM sb_ledger_heads",
            Rollback::Behind,
        ),
        (
            "a row after the end",
            "INSERT INTO sb_ledger SELECT deployment, 5, kind, 'x', mac FROM sb_ledger WHERE n = 4",
            Rollback::Changed,
        ),
        ("another head", "UPDATE sb_ledger_heads SET n = 9", Rollback::Changed),
        (
            "another beginning",
            "UPDATE sb_ledger SET deployment = 'other'; UPDATE sb_ledger_heads SET deployment = 'other'",
            Rollback::Behind,
        ),
    ] {
        world.raw(tamper).await;
        let opened = world.ledger().await.map(|_| ());
        assert_eq!(opened, Err(LedgerError::RolledBack(found)), "{id}");
        world.raw("DELETE FROM sb_ledger; DELETE FROM sb_ledger_heads").await;
        world.put_dump_back().await;
        assert!(world.ledger().await.is_ok(), "{id}: undone");
    }
}
on_all!(whatever_is_done_to_the_chain_is_found);

async fn a_fork_is_found(world: World) {
    let here = world.keys().await;
    compromise(&here, "a").await;
    world.dump().await;
    compromise(&here, "b").await;
    let anchored = world.anchor.read().await.unwrap().unwrap();
    let watching = world.ledger().await.unwrap();
    // The dump goes back, and a process whose anchor was put back as well goes on from there to the same length.
    world.put_dump_back().await;
    let fork = world.setup(&world.database());
    let other: std::sync::Arc<dyn EpochAnchor> = std::sync::Arc::new(shipbound::store::anchor::MemoryAnchor::new());
    let act = Act::new("eve", "none", "none").unwrap();
    let forked = fork.with_anchor(other).adopt(&act).await.unwrap();
    let database = world.database();
    let keys = world.keys_of(&database, &forked);
    compromise(&keys, "c").await;
    assert_eq!(forked.at().rows, anchored.rows);

    assert_eq!(watching.follow().await, Err(LedgerError::RolledBack(Rollback::Forked)));
    assert_eq!(
        watching.follow().await,
        Err(LedgerError::RolledBack(Rollback::Forked)),
        "for good"
    );
    let opened = world.ledger().await.unwrap_err();
    assert_eq!(opened, LedgerError::RolledBack(Rollback::Forked));
}
on_all!(a_fork_is_found);

async fn a_chain_that_is_ahead_of_its_anchor_is_taken(world: World) {
    let keys = world.keys().await;
    compromise(&keys, "a").await;
    let before = *world.anchor.read().await.unwrap().as_ref().unwrap();
    compromise(&keys, "b").await;
    // As a crash between commit and anchor leaves it.
    let low = std::sync::Arc::new(shipbound::store::anchor::MemoryAnchor::new());
    low.raise(&before).await.unwrap();
    let ledger = world
        .setup(&world.database())
        .with_anchor(low.clone())
        .open()
        .await
        .unwrap();
    assert_eq!(ledger.at().rows, 2);
    assert_eq!(low.read().await.unwrap().unwrap().rows, 2, "raised");
    assert!(world.told().is_empty());
}
on_all!(a_chain_that_is_ahead_of_its_anchor_is_taken);

async fn a_lost_anchor_is_adopted_by_name_alone(world: World) {
    let keys = world.keys().await;
    compromise(&keys, "a").await;
    let fresh = std::sync::Arc::new(shipbound::store::anchor::MemoryAnchor::new());
    let setup = world.setup(&world.database()).with_anchor(fresh.clone());
    assert_eq!(setup.open().await.unwrap_err(), LedgerError::AnchorMissing);
    let act = Act::new("maria", "the volume was lost", "OPS-1").unwrap();
    let ledger = setup.adopt(&act).await.unwrap();
    assert_eq!(fresh.read().await.unwrap().unwrap(), ledger.at());
    assert_eq!(world.raw("SELECT actor FROM sb_acts").await, ["maria"]);
    let told = world.events.events();
    assert!(matches!(
        told.last().unwrap().kind,
        shipbound::journal::EventKind::AnchorAdopted { .. }
    ));
    assert!(setup.open().await.is_ok());
}
on_all!(a_lost_anchor_is_adopted_by_name_alone);

async fn ends_of_two_processes_at_once_make_one_chain(world: World) {
    let (here, there) = (world.keys().await, world.keys().await);
    let ends = (0..12).map(|at| {
        let keys = if at % 2 == 0 { &here } else { &there };
        async move { compromise(keys, &format!("t{at}")).await }
    });
    futures_util::future::join_all(ends).await;
    let ledger = world.ledger().await.unwrap();
    assert_eq!(ledger.at().rows, 12);
    assert_eq!(world.anchor.read().await.unwrap().unwrap(), ledger.at());
    assert_eq!(
        world
            .number(&format!(
                "SELECT COUNT(*) FROM sb_keys WHERE state = '{}'",
                KeyState::Compromised.as_str()
            ))
            .await,
        12
    );
}
on_all!(ends_of_two_processes_at_once_make_one_chain);

/// Rows as the library would have written them, by somebody who knows the secret: as many as nobody would wait for.
async fn grown(world: &World, rows: u64) {
    let sealed = world.raw("SELECT secret FROM sb_ledger_heads").await.remove(0);
    let hex = sealed.rsplit('|').next().unwrap();
    let octet = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let secret: Vec<u8> = (0..64).step_by(2).map(octet).collect();
    let head = world.raw("SELECT CAST(n AS TEXT) FROM sb_ledger_heads").await.remove(0);
    let encode = if world.kind == crate::world::Kind::Sqlite {
        "hex(mac)"
    } else {
        "encode(mac, 'hex')"
    };
    let mac = world
        .raw(&format!("SELECT {encode} FROM sb_ledger_heads"))
        .await
        .remove(0);
    let mut mac: Vec<u8> = (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(&mac[at..at + 2], 16).unwrap())
        .collect();
    let first: u64 = head.parse().unwrap();
    let literal = |octets: &[u8]| {
        let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        if world.kind == crate::world::Kind::Sqlite {
            format!("x'{hex}'")
        } else {
            format!("'\\x{hex}'")
        }
    };
    let numbers: Vec<u64> = (first + 1..=first + rows).collect();
    for batch in numbers.chunks(10_000) {
        let mut values = Vec::new();
        for n in batch {
            let digest = format!("{n:064x}");
            let mut row = mac.clone();
            row.extend_from_slice(&n.to_be_bytes());
            for part in ["key", digest.as_str()] {
                row.extend_from_slice(&(part.len() as u64).to_be_bytes());
                row.extend_from_slice(part.as_bytes());
            }
            let mut keyed = <hmac::Hmac<sha2::Sha256> as hmac::KeyInit>::new_from_slice(&secret).unwrap();
            hmac::Mac::update(&mut keyed, &row);
            mac = hmac::Mac::finalize(keyed).into_bytes().to_vec();
            values.push(format!("('default', {n}, 'key', '{digest}', {})", literal(&mac)));
        }
        let values = values.join(",");
        world
            .raw(&format!(
                "INSERT INTO sb_ledger (deployment, n, kind, digest, mac) VALUES {values}"
            ))
            .await;
    }
    let (n, mac) = (first + rows, literal(&mac));
    world
        .raw(&format!("UPDATE sb_ledger_heads SET n = {n}, mac = {mac}"))
        .await;
}

async fn a_chain_of_many_pages_is_read_and_followed(world: World) {
    let watching = world.ledger().await.unwrap();
    grown(&world, 12_000).await;
    watching.follow().await.unwrap();
    assert_eq!(watching.at().rows, 12_000);
    let opened = world.ledger().await.unwrap();
    assert_eq!(opened.at(), watching.at());
    // One row in the last page.
    world.raw("UPDATE sb_ledger SET digest = 'x' WHERE n = 11999").await;
    assert_eq!(
        world.ledger().await.unwrap_err(),
        LedgerError::RolledBack(Rollback::Changed)
    );
}
on_all!(a_chain_of_many_pages_is_read_and_followed);

#[tokio::test]
async fn a_copy_of_the_file_that_is_put_back_is_found() {
    let world = World::new(crate::world::Kind::Sqlite).await;
    let keys = world.keys().await;
    active_key(&keys, "acme").await;
    drop(keys);
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    world.raw(checkpoint).await;
    let copy = world.path().with_extension("copy");
    std::fs::copy(world.path(), &copy).unwrap();
    let keys = world.keys().await;
    let key = keys.active(&owner("acme"), Purpose::Proof).await.unwrap().unwrap();
    assert!(
        keys.retire(&owner("acme"), &key.id(), Retired::Compromised)
            .await
            .unwrap()
    );
    drop(keys);
    world.raw(checkpoint).await;
    for beside in ["db-wal", "db-shm"] {
        let _gone = std::fs::remove_file(world.path().with_extension(beside));
    }
    std::fs::rename(&copy, world.path()).unwrap();
    assert_eq!(
        world.ledger().await.unwrap_err(),
        LedgerError::RolledBack(Rollback::Behind)
    );
}

async fn nothing_is_answered_for_before_the_anchor_knows_of_it(world: World) {
    let anchor = std::sync::Arc::new(Stuck::default());
    let database = world.database();
    let ledger = world.setup(&database).with_anchor(anchor.clone()).open().await.unwrap();
    let keys = world.keys_of(&database, &ledger);
    let key = active_key(&keys, "acme").await;
    anchor.stuck.store(true, std::sync::atomic::Ordering::SeqCst);
    let retired = keys.retire(&owner("acme"), &key.id(), Retired::Compromised).await;
    assert_eq!(retired, Err(KeyError::StoreUnavailable));
    assert!(key.sign(b"m").wait().await.is_err(), "closed all the same");
    assert_eq!(anchor.read().await.unwrap().unwrap().rows, 0);
    assert_eq!(world.raw("SELECT state FROM sb_keys").await, ["compromised"]);
    // Whoever asks again is not told before the anchor has heard of it.
    let retired = keys.retire(&owner("acme"), &key.id(), Retired::Compromised).await;
    assert_eq!(retired, Err(KeyError::StoreUnavailable));
    anchor.stuck.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(
        keys.retire(&owner("acme"), &key.id(), Retired::Compromised).await,
        Ok(false)
    );
    assert_eq!(anchor.read().await.unwrap().unwrap(), ledger.at());
    assert_eq!(ledger.at().rows, 1);
}
on_all!(nothing_is_answered_for_before_the_anchor_knows_of_it);
