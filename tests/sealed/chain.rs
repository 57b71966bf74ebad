//! The chain of what has ended, and who has read its secret by a stolen KEK.

use shipbound::owner::Owner;
use shipbound::store::seal::{DataKeyId, KekProvider, SealContext, Table, WrapContext, Wrapped, data_key_of, open};
use shipbound::store::sql::{LedgerError, Rollback};

use crate::forged::forged;
use crate::provider::{kek, keks};
use crate::scene::{Process, Scene, act};
use crate::world::deployment;

/// What whoever has `k1` and a copy of the database reads of the chain's secret.
async fn secret_by_k1(scene: &Scene) -> Vec<u8> {
    let sealed = scene.world.raw("SELECT secret FROM sb_ledger_heads").await.remove(0);
    let id: DataKeyId = data_key_of(&sealed).unwrap();
    let wrapped = format!("SELECT wrapped FROM sb_data_keys WHERE id = '{}'", id.as_uuid());
    let wrapped = Wrapped {
        kek: kek("k1"),
        text: scene.world.raw(&wrapped).await.remove(0),
    };
    let deployment = deployment();
    let context = WrapContext::new(&deployment, None, id);
    let key = keks(&["k1"]).unwrap(&wrapped, &context).await.unwrap();
    let owner = Owner::Deployment(deployment);
    let context = SealContext::new(&owner, Table::Ledger, 0);
    open(id, &key, &context, &sealed).unwrap().to_vec()
}

async fn secrets(scene: &Scene) -> i64 {
    let sql = "SELECT COUNT(*) FROM sb_ledger WHERE kind = 'secret'";
    scene.world.number(sql).await
}

async fn answer(process: &Process) {
    let ended = process.sealing.kek_stolen(&kek("k1"), &act(), &mut |_| ()).await;
    assert_eq!(ended.unwrap().left, 0);
}

on_both!(a_row_by_the_secret_from_before_a_theft_is_refused);
async fn a_row_by_the_secret_from_before_a_theft_is_refused(scene: Scene) {
    let before = scene.process(&["k1", "k2"]).await;
    let old = secret_by_k1(&scene).await;
    let process = scene.process(&["k2", "k1"]).await;
    answer(&process).await;
    // A process that was there follows.
    before.ledger.follow().await.unwrap();
    assert_eq!(before.ledger.at(), process.ledger.at());
    assert_eq!(secrets(&scene).await, 1);
    // Called again, there is no need for another one.
    answer(&process).await;
    assert_eq!(secrets(&scene).await, 1);

    let fresh = scene.process(&["k2"]).await;
    forged(&scene.world, &old, "key", "x").await;
    for process in [&before, &process, &fresh] {
        let followed = process.ledger.follow().await;
        assert_eq!(followed, Err(LedgerError::RolledBack(Rollback::Changed)));
    }
}

on_both!(a_secret_that_was_marked_and_not_renewed_is_renewed_by_the_next_call);
async fn a_secret_that_was_marked_and_not_renewed_is_renewed_by_the_next_call(scene: Scene) {
    scene.process(&["k1"]).await;
    let process = scene.process(&["k2", "k1"]).await;
    // Killed when all was marked.
    process.sealing.rotate_kek(&act()).await.unwrap();
    scene
        .world
        .raw("UPDATE sb_data_keys SET state = 'tainted'; UPDATE sb_keks SET state = 'compromised' WHERE id = 'k1'")
        .await;
    let (one, two) = (scene.process(&["k2", "k1"]).await, scene.process(&["k2", "k1"]).await);
    tokio::join!(answer(&one), answer(&two));
    // Two at once draw one each at most.
    assert!((1..=2).contains(&secrets(&scene).await));
    let fresh = scene.process(&["k2"]).await;
    // Who ended first has not followed the other to the end.
    let furthest = if one.ledger.at().rows > two.ledger.at().rows {
        &one
    } else {
        &two
    };
    assert_eq!(fresh.ledger.at(), furthest.ledger.at());
}
