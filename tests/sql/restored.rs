//! Backups that really were restored.

use std::sync::Arc;

use shipbound::act::Act;
use shipbound::keys::{KeyStore, Purpose, Retired};
use shipbound::store::anchor::{EpochAnchor, MemoryAnchor};
use shipbound::store::sql::{LedgerError, Rollback};

use crate::keys::active_key;
use crate::world::{World, owner};

fn act() -> Act {
    Act::new("maria", "the disk failed", "OPS-2").unwrap()
}

/// A deployment whose backup of a time ago was put back.
async fn restored(world: &World) {
    let keys = world.keys().await;
    for at in 0..130 {
        active_key(&keys, &format!("t{at}")).await;
    }
    let hash = "0".repeat(64);
    world
        .raw(&format!(
            "INSERT INTO sb_keks (deployment, id, state, revision, uses, changed_at) VALUES ('default', '{hash}', 'active', 0, 0, 0)"
        ))
        .await;
    // Consents of two shippers, whose owners' columns are those of their keys.
    world
        .raw(
            "INSERT INTO sb_grants (deployment, owner, tenant, incarnation, carrier, environment, account, revision, consent, life, \
             stage, until, second_chance, sealed, changed_at) SELECT deployment, owner, tenant, incarnation, carrier, \
             environment, account, 1, 2, 5, 'claimed', 3, 0, 'sealed', 4 FROM sb_keys WHERE tenant IN ('t1', 't2')",
        )
        .await;
    world.dump().await;
    let first = keys.active(&owner("t0"), Purpose::Proof).await.unwrap().unwrap();
    assert!(
        keys.retire(&owner("t0"), &first.id(), Retired::Compromised)
            .await
            .unwrap()
    );
    world.put_dump_back().await;
    let opened = world.ledger().await.unwrap_err();
    assert_eq!(opened, LedgerError::RolledBack(Rollback::Behind));
}

async fn a_restored_backup_is_accepted_with_all_keys_and_consents_ended(world: World) {
    restored(&world).await;
    let before = world.anchor.read().await.unwrap().unwrap();
    let report = world.setup(&world.database()).accept_restore(&act()).await.unwrap();
    assert_eq!((report.keys, report.grants), (130, 2));
    assert!(report.epoch > before.epoch);
    assert_eq!(
        world
            .number("SELECT COUNT(*) FROM sb_keys WHERE state <> 'destroyed'")
            .await,
        0
    );
    let ended =
        "SELECT COUNT(*) FROM sb_grants WHERE stage = 'ended' AND sealed IS NULL AND until IS NULL AND revision <> 1";
    assert_eq!(world.number(ended).await, 2);
    assert_eq!(world.raw("SELECT ticket FROM sb_acts").await, ["OPS-2"]);

    // The deployment goes on, with new keys.
    let keys = world.keys().await;
    assert!(keys.active(&owner("t0"), Purpose::Proof).await.unwrap().is_none());
    let key = active_key(&keys, "t0").await;
    assert!(key.sign(b"m").wait().await.is_ok());
    // The old state does not come back a second time.
    world.put_dump_back().await;
    assert!(world.ledger().await.is_err());
}
on_all!(a_restored_backup_is_accepted_with_all_keys_and_consents_ended);

async fn accepting_goes_on_after_a_kill(world: World) {
    restored(&world).await;
    let setup = world.setup(&world.database());
    let act = act();
    // Killed again and again, each time a little later: a future that is dropped does no more than a process that is killed.
    let mut polls = 1;
    let report = loop {
        let mut accepting = Box::pin(setup.accept_restore(&act));
        let mut left = polls;
        let outcome = std::future::poll_fn(|context| {
            if left == 0 {
                return std::task::Poll::Ready(None);
            }
            left -= 1;
            std::future::Future::poll(accepting.as_mut(), context).map(Some)
        })
        .await;
        match outcome {
            Some(Ok(report)) => break report,
            Some(Err(error)) => panic!("{error}"),
            // Nobody opens it half way.
            None => assert!(world.ledger().await.is_err(), "after {polls}"),
        }
        polls += 60;
    };
    assert_eq!(world.ledger().await.unwrap().at().epoch, report.epoch);
    assert_eq!(
        world
            .number("SELECT COUNT(*) FROM sb_keys WHERE state <> 'destroyed'")
            .await,
        0
    );
    let epochs = world
        .number("SELECT COUNT(*) FROM sb_ledger WHERE kind = 'epoch'")
        .await;
    assert_eq!(world.number("SELECT COUNT(*) FROM sb_acts").await, epochs);
}
on_all!(accepting_goes_on_after_a_kill);

async fn of_two_who_accept_at_once_one_begins_the_epoch(world: World) {
    restored(&world).await;
    let act = act();
    let setups = [world.setup(&world.database()), world.setup(&world.database())];
    let both = tokio::join!(setups[0].accept_restore(&act), setups[1].accept_restore(&act));
    let (one, other) = (both.0.unwrap(), both.1.unwrap());
    assert_eq!(one.epoch, other.epoch);
    assert_eq!((one.keys + other.keys, one.grants + other.grants), (130, 2));
    assert_eq!(
        world
            .number("SELECT COUNT(*) FROM sb_ledger WHERE kind = 'epoch'")
            .await,
        1
    );
    assert_eq!(world.number("SELECT COUNT(*) FROM sb_acts").await, 1);
    assert_eq!(world.ledger().await.unwrap().at().epoch, one.epoch);
}
on_all!(of_two_who_accept_at_once_one_begins_the_epoch);

/// Database and anchor come back from copies, the anchor from the older one.
async fn an_anchor_that_is_older_than_the_database_is_no_half_done_acceptance(world: World) {
    restored(&world).await;
    let old = Arc::new(MemoryAnchor::new());
    old.raise(&world.anchor.read().await.unwrap().unwrap()).await.unwrap();
    let setup = world.setup(&world.database());
    let first = setup.accept_restore(&act()).await.unwrap().epoch;
    // A backup that ends with what the old anchor does not know.
    world.dump().await;
    active_key(&world.keys().await, "t0").await;

    let setup = setup.with_anchor(old.clone());
    assert_eq!(
        setup.open().await.unwrap_err(),
        LedgerError::RolledBack(Rollback::Forked)
    );
    let second = setup.accept_restore(&act()).await.unwrap();
    assert_eq!((second.keys, second.epoch > first), (1, true));
    assert_eq!(setup.open().await.unwrap().at().epoch, second.epoch);

    world.put_dump_back().await;
    let third = setup.accept_restore(&act()).await.unwrap();
    assert!(third.epoch > second.epoch);
    assert_eq!(setup.open().await.unwrap().at().epoch, third.epoch);
}
on_all!(an_anchor_that_is_older_than_the_database_is_no_half_done_acceptance);

/// What cannot be read ends without being read.
async fn rows_that_cannot_be_read_are_no_obstacle(world: World) {
    restored(&world).await;
    world
        .raw("UPDATE sb_keys SET jkt = '?' WHERE tenant = 't3'; UPDATE sb_grants SET carrier = '?' WHERE tenant = 't1'")
        .await;
    let report = world.setup(&world.database()).accept_restore(&act()).await.unwrap();
    assert_eq!((report.keys, report.grants), (130, 2));
    let living = "SELECT (SELECT COUNT(*) FROM sb_keys WHERE state <> 'destroyed') \
                  + (SELECT COUNT(*) FROM sb_grants WHERE stage <> 'ended')";
    assert_eq!(world.number(living).await, 0);
}
on_all!(rows_that_cannot_be_read_are_no_obstacle);

async fn a_chain_that_was_changed_is_not_accepted(world: World) {
    let keys = world.keys().await;
    for tenant in ["a", "b"] {
        let key = active_key(&keys, tenant).await;
        assert!(
            keys.retire(&owner(tenant), &key.id(), Retired::Destroyed)
                .await
                .unwrap()
        );
    }
    world.raw("DELETE FROM sb_ledger WHERE n = 1").await;
    let accepted = world.setup(&world.database()).accept_restore(&act()).await;
    assert_eq!(accepted, Err(LedgerError::RolledBack(Rollback::Changed)));
}
on_all!(a_chain_that_was_changed_is_not_accepted);
