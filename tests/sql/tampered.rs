//! Rows that somebody takes away, puts back or writes by hand, and databases that fall back under processes that run.

use shipbound::act::Act;
use shipbound::chore::Chore;
use shipbound::clock::Timestamp;
use shipbound::keys::{KeyError, KeyRecords, KeyStore, Purpose, Retired};
use shipbound::store::anchor::{Anchored, EpochAnchor};
use shipbound::store::sql::{LedgerError, Rollback};

use crate::forged::{forged, octets_of};
use crate::keys::active_key;
use crate::world::{World, owner};

async fn a_key_that_ended_elsewhere_stops_though_its_old_row_is_put_back(world: World) {
    let (here, there) = (world.keys().await, world.keys().await);
    let key = active_key(&here, "acme").await;
    let held = there.get(&owner("acme"), &key.id()).await.unwrap().unwrap();
    there.sync().await.unwrap();
    world.raw("CREATE TABLE old AS SELECT * FROM sb_keys").await;
    assert!(
        here.retire(&owner("acme"), &key.id(), Retired::Compromised)
            .await
            .unwrap()
    );
    // Before the other process has looked: with the old number, so that nothing seems to have moved.
    world
        .raw("DELETE FROM sb_keys; INSERT INTO sb_keys SELECT * FROM old")
        .await;
    assert!(held.sign(b"m").wait().await.is_ok(), "it has not looked yet");
    for _ in 0..2 {
        let _looked = there.sync().await;
        assert!(held.sign(b"m").wait().await.is_err());
    }
}
on_all!(a_key_that_ended_elsewhere_stops_though_its_old_row_is_put_back);

/// Keys of a deployment whose database fell back to before two of them were found compromised, under a process that was there.
async fn fallen_back(world: &World) -> (crate::world::Keys, Vec<shipbound::keys::KeyId>) {
    let lagging = world.keys().await;
    let mut ids = Vec::new();
    for at in 0..6 {
        ids.push(active_key(&lagging, &format!("t{at}")).await.id());
    }
    world.dump().await;
    let other = world.keys().await;
    for (at, id) in ids.iter().enumerate().take(2) {
        assert!(
            other
                .retire(&owner(&format!("t{at}")), id, Retired::Compromised)
                .await
                .unwrap()
        );
    }
    world.put_dump_back().await;
    (lagging, ids)
}

async fn the_anchor_is_not_walked_over_by_a_chain_on_another_way(world: World) {
    let (lagging, ids) = fallen_back(&world).await;
    let anchor = world.anchor.read().await.unwrap();
    for (at, id) in ids.iter().enumerate().take(6).skip(2) {
        let ended = lagging.retire(&owner(&format!("t{at}")), id, Retired::Destroyed).await;
        assert_eq!(ended, Err(KeyError::RolledBack), "{at}");
    }
    assert_eq!(world.anchor.read().await.unwrap(), anchor);
    assert_eq!(world.told(), ["behind"]);
    assert!(world.ledger().await.is_err());
}
on_all!(the_anchor_is_not_walked_over_by_a_chain_on_another_way);

async fn a_chain_that_grew_past_its_anchor_on_another_way_is_found(world: World) {
    // Each process writes one end before it finds out: the third comes past the anchor.
    let mut processes = vec![world.keys().await, world.keys().await, world.keys().await];
    let (last, ids) = fallen_back(&world).await;
    processes.push(last);
    let anchor = world.anchor.read().await.unwrap();
    for (process, at) in processes.iter().zip(2..) {
        let ended = process
            .retire(&owner(&format!("t{at}")), &ids[at], Retired::Destroyed)
            .await;
        assert_eq!(ended, Err(KeyError::RolledBack), "{at}");
    }
    assert_eq!(world.anchor.read().await.unwrap(), anchor);
    assert!(world.told().contains(&"forked"), "{:?}", world.told());
    let opened = world.ledger().await.unwrap_err();
    assert_eq!(opened, LedgerError::RolledBack(Rollback::Forked));
}
on_all!(a_chain_that_grew_past_its_anchor_on_another_way_is_found);

async fn the_chore_finds_a_chain_that_is_behind_its_anchor(world: World) {
    let ledger = world.ledger().await.unwrap();
    let at = ledger.at();
    world.anchor.raise(&Anchored { rows: 3, ..at }).await.unwrap();
    ledger.round(&|| true).await;
    assert_eq!(world.told(), ["behind"]);
    assert_eq!(ledger.follow().await, Err(LedgerError::RolledBack(Rollback::Behind)));
}
on_all!(the_chore_finds_a_chain_that_is_behind_its_anchor);

/// The chain's secret, which a test's sealer does not hide.
pub(crate) fn secret_of(sealed: &str) -> Vec<u8> {
    octets_of(sealed.rsplit('|').next().unwrap())
}

async fn an_epoch_that_nobody_accepted_is_refused(world: World) {
    let keys = world.keys().await;
    let (one, two) = (active_key(&keys, "t0").await, active_key(&keys, "t1").await);
    assert!(keys.retire(&owner("t0"), &one.id(), Retired::Destroyed).await.unwrap());
    world.dump().await;
    let running = world.ledger().await.unwrap();
    assert!(
        keys.retire(&owner("t1"), &two.id(), Retired::Compromised)
            .await
            .unwrap()
    );
    world.put_dump_back().await;
    let secret = secret_of(&world.raw("SELECT secret FROM sb_ledger_heads").await[0]);
    forged(&world, &secret, "epoch", "2").await;
    assert_eq!(running.follow().await, Err(LedgerError::RolledBack(Rollback::Forked)));
    let opened = world.ledger().await.unwrap_err();
    assert_eq!(opened, LedgerError::RolledBack(Rollback::Forked));
    // Somebody who accepts it as a backup ends what lives.
    let act = Act::new("maria", "restored", "OPS-3").unwrap();
    let restored = world.setup(&world.database()).accept_restore(&act).await.unwrap();
    assert_eq!(restored.keys, 1);
    let keys = world.keys().await;
    assert!(keys.active(&owner("t1"), Purpose::Proof).await.unwrap().is_none());
}
on_all!(an_epoch_that_nobody_accepted_is_refused);

async fn a_renewed_secret_shuts_out_who_knows_the_old_one(world: World) {
    let (here, there) = (world.keys().await, world.keys().await);
    let (one, two) = (active_key(&here, "t0").await, active_key(&here, "t1").await);
    assert!(here.retire(&owner("t0"), &one.id(), Retired::Destroyed).await.unwrap());
    let old = secret_of(&world.raw("SELECT secret FROM sb_ledger_heads").await[0]);
    let ledger = world.ledger().await.unwrap();
    ledger.renew_secret().await.unwrap();
    ledger.renew_secret().await.unwrap();
    assert_eq!(world.anchor.read().await.unwrap().unwrap(), ledger.at());
    // Processes that were there go on, also with an end as the first thing that they do.
    assert!(
        there
            .retire(&owner("t1"), &two.id(), Retired::Compromised)
            .await
            .unwrap()
    );
    ledger.follow().await.unwrap();
    assert_eq!(world.ledger().await.unwrap().at(), ledger.at());
    let now = secret_of(&world.raw("SELECT secret FROM sb_ledger_heads").await[0]);
    assert_eq!((now.len(), &now[..32]), (96, &old[..]));
    forged(&world, &old, "key", "x").await;
    assert_eq!(ledger.follow().await, Err(LedgerError::RolledBack(Rollback::Changed)));
    let opened = world.ledger().await.unwrap_err();
    assert_eq!(opened, LedgerError::RolledBack(Rollback::Changed));
}
on_all!(a_renewed_secret_shuts_out_who_knows_the_old_one);

async fn a_key_whose_row_was_gone_when_it_ended_does_not_come_back(world: World) {
    let keys = world.keys().await;
    let key = active_key(&keys, "acme").await;
    world
        .raw("CREATE TABLE old AS SELECT * FROM sb_keys; DELETE FROM sb_keys")
        .await;
    for _ in 0..2 {
        let retired = keys.retire(&owner("acme"), &key.id(), Retired::Compromised).await;
        assert_eq!(retired, Ok(false), "there is no such key");
    }
    assert_eq!(world.number("SELECT COUNT(*) FROM sb_ledger").await, 1);
    assert_eq!(world.anchor.read().await.unwrap().unwrap().rows, 1);
    world.raw("INSERT INTO sb_keys SELECT * FROM old").await;
    for keys in [&keys, &world.keys().await] {
        let found = keys.active(&owner("acme"), Purpose::Proof).await;
        assert_eq!(found.map(|_| ()), Err(KeyError::RolledBack));
    }
}
on_all!(a_key_whose_row_was_gone_when_it_ended_does_not_come_back);

async fn a_row_alone_has_nothing_wiped(world: World) {
    let keys = world.keys().await;
    let key = active_key(&keys, "acme").await;
    let ended = active_key(&keys, "zeta").await;
    assert!(
        keys.retire(&owner("zeta"), &ended.id(), Retired::Destroyed)
            .await
            .unwrap()
    );
    let material = world
        .number("SELECT COUNT(*) FROM sb_keys WHERE material IS NULL")
        .await;
    world.raw("UPDATE sb_keys SET state = 'destroyed', ended_at = 0").await;
    keys.tidy(10, &|| true).await.unwrap();
    let records = world.records().await;
    assert!(records.to_be_wiped(10).await.unwrap().is_empty());
    let wiped = "SELECT COUNT(*) FROM sb_keys WHERE material IS NULL AND tenant = 'acme'";
    assert_eq!(world.number(wiped).await, 0);
    drop((key, material));
}
on_all!(a_row_alone_has_nothing_wiped);

async fn records_of_keys_that_ended_long_ago_are_forgotten_and_stay_dead(world: World) {
    let keys = world.keys().await;
    let (key, living) = (active_key(&keys, "acme").await, active_key(&keys, "zeta").await);
    let stored = world
        .records()
        .await
        .load(&owner("acme"), &key.id())
        .await
        .unwrap()
        .unwrap();
    assert!(
        keys.retire(&owner("acme"), &key.id(), Retired::Compromised)
            .await
            .unwrap()
    );
    let days = |days: u64| std::time::Duration::from_secs(days * 86_400);
    world.clock.advance(days(89));
    keys.tidy(10, &|| true).await.unwrap();
    assert_eq!(world.number("SELECT COUNT(*) FROM sb_keys").await, 2);
    world.clock.advance(days(2));
    keys.tidy(10, &|| true).await.unwrap();
    assert_eq!(world.raw("SELECT tenant FROM sb_keys").await, ["zeta"]);
    assert_eq!(world.records().await.insert(&stored).await, Err(KeyError::Duplicate));
    // One that has not been wiped stays, and so does one whose end the chain does not have.
    let records = world.records().await;
    world
        .raw("UPDATE sb_keys SET state = 'destroyed', ended_at = 0, material = NULL")
        .await;
    let never = Timestamp::from_unix_seconds(4_000_000_000);
    assert_eq!(records.forget(never, 10).await, Ok(0));
    drop(living);
}
on_all!(records_of_keys_that_ended_long_ago_are_forgotten_and_stay_dead);
