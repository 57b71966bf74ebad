//! The whole key store: records, sealed keys, data keys and a KEK, put through the suite for key stores.

use std::sync::Arc;

use shipbound::clock::Clock;
use shipbound::conformance::{KeyStores, OpenKeys, key_store};
use shipbound::keys::{KeyError, KeyStore, Purpose, Retired};
use shipbound::store::seal::{KekId, KekSecret, LocalKek};
use shipbound::store::sql::{LedgerError, Sealing, SqlKeyStore};

use crate::keys::active_key;
use crate::world::{World, deployment, owner};

/// Another process's key store.
async fn opened(world: &World) -> Result<SqlKeyStore, LedgerError> {
    let clock: Arc<dyn Clock> = world.clock.clone();
    let database = world.timed(clock.clone());
    let kek = LocalKek::new(
        KekId::new("one").unwrap(),
        KekSecret::parse(&("71".repeat(31) + "00")).unwrap(),
    );
    let sealing = Sealing::new(database.clone(), deployment(), Arc::new(kek)).with_clock(clock);
    let sealing = Arc::new(sealing);
    let setup = world.setup(&database).with_sealer(sealing.clone());
    Ok(SqlKeyStore::sealed(&database, &setup.open().await?, sealing))
}

async fn the_suite_for_key_stores_passes(world: World) {
    let world = Arc::new(world);
    let clock = world.clock.clone();
    let open = move || {
        let world = world.clone();
        async move { OpenKeys::from(opened(&world).await.unwrap()) }
    };
    let report = key_store(&KeyStores::new(clock, open).of_one_deployment()).await;
    assert!(report.has_passed(), "{report}");
}
on_all!(the_suite_for_key_stores_passes);

async fn old_rows_of_sealed_keys_sign_nothing(world: World) {
    let here = opened(&world).await.unwrap();
    let key = active_key(&here, "acme").await;
    world.dump().await;
    assert!(
        here.retire(&owner("acme"), &key.id(), Retired::Compromised)
            .await
            .unwrap()
    );
    // The key's row alone.
    world
        .raw("DELETE FROM sb_keys; INSERT INTO sb_keys SELECT * FROM old_sb_keys")
        .await;
    for keys in [here, opened(&world).await.unwrap()] {
        let found = keys.active(&owner("acme"), Purpose::Proof).await.map(|_| ());
        assert_eq!(found, Err(KeyError::RolledBack));
    }
    // All of it.
    world.put_dump_back().await;
    assert!(matches!(opened(&world).await, Err(LedgerError::RolledBack(_))));
}
on_all!(old_rows_of_sealed_keys_sign_nothing);

async fn a_row_that_was_changed_by_hand_does_not_open(world: World) {
    let keys = opened(&world).await.unwrap();
    for (tenant, change) in [
        (
            "a",
            "UPDATE sb_keys SET state = 'active', revision = revision + 1 WHERE tenant = 'a'",
        ),
        ("b", "UPDATE sb_keys SET purpose = 'tls' WHERE tenant = 'b'"),
        (
            "c",
            "UPDATE sb_keys SET material = (SELECT material FROM sb_keys WHERE tenant = 'a') WHERE tenant = 'c'",
        ),
    ] {
        active_key(&keys, tenant).await;
        world.raw(change).await;
        let fresh = opened(&world).await.unwrap();
        let purpose = if tenant == "b" { Purpose::Tls } else { Purpose::Proof };
        let found = fresh.active(&owner(tenant), purpose).await.map(|_| ());
        assert_eq!(found, Err(KeyError::Mismatch), "{tenant}");
    }
}
on_all!(a_row_that_was_changed_by_hand_does_not_open);
