//! One KEK takes another's place, beside everything that goes on meanwhile.

use std::sync::Arc;

use shipbound::journal::EventKind;
use shipbound::store::seal::{SealContext, SealError, Sealer, Table};
use shipbound::store::sql::{KekState, Rewrapped, SealingError};

use crate::provider::{Provider, kek};
use crate::scene::{Scene, act};
use crate::world::owner;

async fn seal(sealing: &dyn Sealer, tenant: &str) -> String {
    let owner = owner(tenant);
    sealing
        .seal(&SealContext::new(&owner, Table::Grants, 1), b"v")
        .await
        .unwrap()
}

async fn open(sealing: &dyn Sealer, tenant: &str, sealed: &str) -> Result<(), SealError> {
    let owner = owner(tenant);
    let opened = sealing
        .open(&SealContext::new(&owner, Table::Grants, 1), sealed)
        .await?;
    assert_eq!(opened.as_slice(), b"v");
    Ok(())
}

async fn under(scene: &Scene, kek: &str) -> i64 {
    scene
        .world
        .number(&format!("SELECT COUNT(*) FROM sb_data_keys WHERE kek = '{kek}'"))
        .await
}

on_both!(all_data_keys_come_under_the_new_kek_and_nothing_is_sealed_anew);
async fn all_data_keys_come_under_the_new_kek_and_nothing_is_sealed_anew(scene: Scene) {
    let before = scene.sealing(&["k1"]);
    let mut sealed = Vec::new();
    for number in 0..120 {
        sealed.push(seal(&before, &format!("t{number}")).await);
    }
    // Every process gets the new KEK; nothing changes by that.
    let sealing = scene.sealing(&["k2", "k1"]);
    seal(&sealing, "later").await;
    assert_eq!(under(&scene, "k1").await, 121);
    assert!(sealing.rotate_kek(&act()).await.unwrap());
    assert!(!sealing.rotate_kek(&act()).await.unwrap());
    assert_eq!(sealing.kek_state(&kek("k1")).await.unwrap(), Some(KekState::Retiring));
    assert_eq!(sealing.kek_state(&kek("k2")).await.unwrap(), Some(KekState::Active));
    seal(&sealing, "new").await;
    assert_eq!(under(&scene, "k2").await, 1);

    let mut told = Vec::new();
    let ended = sealing
        .rewrap(&act(), &mut |so_far: Rewrapped| told.push((so_far.done, so_far.left)))
        .await
        .unwrap();
    assert_eq!((ended.done, ended.left), (121, 0));
    assert_eq!(told, [(100, 21), (121, 0), (121, 0)]);
    assert_eq!(under(&scene, "k1").await, 0);
    assert_eq!(sealing.kek_state(&kek("k1")).await.unwrap(), Some(KekState::Retired));
    assert_eq!(sealing.rewrap(&act(), &mut |_| ()).await.unwrap().done, 0);

    // The old KEK is not needed any more, and what was sealed before is as it was.
    let after = scene.sealing(&["k2"]);
    for (number, sealed) in sealed.iter().enumerate() {
        open(&after, &format!("t{number}"), sealed).await.unwrap();
    }
    let acts = scene.world.raw("SELECT what FROM sb_acts ORDER BY what").await;
    assert_eq!(acts, ["retire-kek", "rotate-kek"]);
    let events = scene.world.events.events();
    let told = events.iter().filter_map(|event| match &event.kind {
        EventKind::Acted { what, act } => Some((*what, act.ticket().to_owned())),
        _ => None,
    });
    let expected = [("rotate-kek", "OPS-1".to_owned()), ("retire-kek", "OPS-1".to_owned())];
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

on_both!(a_tenant_made_in_the_middle_is_not_left_under_the_old_kek);
async fn a_tenant_made_in_the_middle_is_not_left_under_the_old_kek(scene: Scene) {
    seal(&scene.sealing(&["k1"]), "first").await;
    // This process has wrapped a new tenant's data key under k1, and stands still before it writes it down.
    let provider = Arc::new(Provider::new(&["k1", "k2"]));
    provider.stop_next_wrap();
    let (seen, slow) = (
        provider.seen.clone(),
        Arc::new(scene.sealing_of(&scene.world.database(), provider)),
    );
    let making = tokio::spawn({
        let slow = slow.clone();
        async move { seal(&*slow, "second").await }
    });
    seen.stopped.notified().await;
    let sealing = scene.sealing(&["k2", "k1"]);
    sealing.rotate_kek(&act()).await.unwrap();
    assert_eq!(sealing.rewrap(&act(), &mut |_| ()).await.unwrap().left, 0);
    assert_eq!(sealing.kek_state(&kek("k1")).await.unwrap(), Some(KekState::Retired));
    seen.go_on.notify_one();
    let sealed = making.await.unwrap();
    assert_eq!(under(&scene, "k1").await, 0);
    assert_eq!(under(&scene, "k2").await, 2);
    open(&scene.sealing(&["k2"]), "second", &sealed).await.unwrap();
}

on_both!(rewrapping_stands_still_while_the_kek_is_rotated_again);
async fn rewrapping_stands_still_while_the_kek_is_rotated_again(scene: Scene) {
    let sealed = seal(&scene.sealing(&["k1"]), "acme").await;
    scene.sealing(&["k2", "k1"]).rotate_kek(&act()).await.unwrap();
    // Wrapped under k2 and not yet written down, while k2 is retired itself.
    let provider = Arc::new(Provider::new(&["k2", "k1", "k3"]));
    provider.stop_next_wrap();
    let (seen, slow) = (
        provider.seen.clone(),
        Arc::new(scene.sealing_of(&scene.world.database(), provider)),
    );
    let wrapping = tokio::spawn({
        let slow = slow.clone();
        async move { slow.rewrap(&act(), &mut |_| ()).await.unwrap() }
    });
    seen.stopped.notified().await;
    let last = scene.sealing(&["k3", "k2", "k1"]);
    last.rotate_kek(&act()).await.unwrap();
    assert_eq!(last.rewrap(&act(), &mut |_| ()).await.unwrap().left, 0);
    seen.go_on.notify_one();
    assert_eq!(wrapping.await.unwrap().left, 0);
    assert_eq!(
        (
            under(&scene, "k1").await,
            under(&scene, "k2").await,
            under(&scene, "k3").await
        ),
        (0, 0, 1)
    );
    open(&scene.sealing(&["k3"]), "acme", &sealed).await.unwrap();
}

on_both!(two_processes_wrap_anew_beside_tenants_that_are_made);
async fn two_processes_wrap_anew_beside_tenants_that_are_made(scene: Scene) {
    let before = Arc::new(scene.sealing(&["k1", "k2"]));
    for number in 0..60 {
        seal(&*before, &format!("t{number}")).await;
    }
    let [one, two] = [(); 2].map(|()| Arc::new(scene.sealing(&["k2", "k1"])));
    one.rotate_kek(&act()).await.unwrap();
    let wrap = |sealing: Arc<shipbound::store::sql::Sealing>| {
        tokio::spawn(async move { sealing.rewrap(&act(), &mut |_| ()).await.unwrap() })
    };
    let (wrapping_one, wrapping_two) = (wrap(one), wrap(two));
    for number in 60..90 {
        seal(&*before, &format!("t{number}")).await;
    }
    let (one, two) = (wrapping_one.await.unwrap(), wrapping_two.await.unwrap());
    // Each was done once.
    assert_eq!(one.done + two.done, 60);
    assert_eq!((under(&scene, "k1").await, under(&scene, "k2").await), (0, 90));
    assert_eq!(before.kek_state(&kek("k1")).await.unwrap(), Some(KekState::Retired));
}

on_both!(a_kek_that_was_in_use_before_is_not_taken_again);
async fn a_kek_that_was_in_use_before_is_not_taken_again(scene: Scene) {
    seal(&scene.sealing(&["k1"]), "acme").await;
    let next = scene.sealing(&["k2", "k1"]);
    next.rotate_kek(&act()).await.unwrap();
    let back = scene.sealing(&["k1", "k2"]);
    assert_eq!(
        back.rotate_kek(&act()).await.unwrap_err(),
        SealingError::NotNew(KekState::Retiring)
    );
    assert_eq!(next.kek_state(&kek("k2")).await.unwrap(), Some(KekState::Active));
    next.rewrap(&act(), &mut |_| ()).await.unwrap();
    assert_eq!(
        back.rotate_kek(&act()).await.unwrap_err(),
        SealingError::NotNew(KekState::Retired)
    );
    // A process that does not have the new KEK makes nothing, and opens nothing that is wrapped under it.
    let old = scene.sealing(&["k1"]);
    let other = owner("other");
    let context = SealContext::new(&other, Table::Grants, 1);
    assert_eq!(old.seal(&context, b"v").await.unwrap_err(), SealError::Unavailable);
}

on_both!(one_changed_row_does_not_keep_the_others_and_is_not_forgotten);
async fn one_changed_row_does_not_keep_the_others_and_is_not_forgotten(scene: Scene) {
    let before = scene.sealing(&["k1"]);
    for number in 0..5 {
        seal(&before, &format!("t{number}")).await;
    }
    scene
        .world
        .raw("UPDATE sb_data_keys SET wrapped = 'x' WHERE tenant = 't2'")
        .await;
    let sealing = scene.sealing(&["k2", "k1"]);
    sealing.rotate_kek(&act()).await.unwrap();
    let broken = sealing.rewrap(&act(), &mut |_| ()).await.unwrap_err();
    assert!(matches!(broken, SealingError::Broken(_)), "{broken:?}");
    assert_eq!((under(&scene, "k1").await, under(&scene, "k2").await), (1, 4));
    assert_eq!(sealing.kek_state(&kek("k1")).await.unwrap(), Some(KekState::Retiring));
}

on_both!(rows_that_cannot_be_read_stop_nothing_behind_them_and_keep_their_kek);
async fn rows_that_cannot_be_read_stop_nothing_behind_them_and_keep_their_kek(scene: Scene) {
    const FIRST: &str = "00000000-0000-0000-0000-000000000000";
    let before = scene.sealing(&["k1"]);
    let mut sealed = Vec::new();
    // More than one page of them.
    for number in 0..103 {
        sealed.push(seal(&before, &format!("t{number}")).await);
    }
    let id = scene
        .world
        .raw("SELECT id FROM sb_data_keys WHERE tenant = 't1'")
        .await
        .remove(0);
    let world = &scene.world;
    let raw = |sql: String| async move { world.raw(&sql).await };
    raw(format!(
        "UPDATE sb_data_keys SET tenant = '?', id = '{FIRST}' WHERE tenant = 't1'"
    ))
    .await;
    raw("UPDATE sb_data_keys SET incarnation = 'x' WHERE tenant = 't2'".to_owned()).await;
    let sealing = scene.sealing(&["k2", "k1"]);
    sealing.rotate_kek(&act()).await.unwrap();
    let mut last = Rewrapped::default();
    for done in [101, 0] {
        let broken = sealing.rewrap(&act(), &mut |so_far| last = so_far).await.unwrap_err();
        // The first of them is named.
        let SealingError::Broken(broken) = broken else {
            panic!("{broken:?}")
        };
        assert_eq!(broken.as_uuid().to_string(), FIRST);
        assert_eq!((last.done, last.left), (done, 2));
        assert_eq!((under(&scene, "k1").await, under(&scene, "k2").await), (2, 101));
        assert_eq!(sealing.kek_state(&kek("k1")).await.unwrap(), Some(KekState::Retiring));
    }
    // Mended they go as well, and their KEK ends.
    raw(format!(
        "UPDATE sb_data_keys SET tenant = 't1', id = '{id}' WHERE id = '{FIRST}'"
    ))
    .await;
    raw(format!(
        "UPDATE sb_data_keys SET incarnation = '{}' WHERE tenant = 't2'",
        uuid::Uuid::nil()
    ))
    .await;
    let mended = sealing.rewrap(&act(), &mut |_| ()).await.unwrap();
    assert_eq!((mended.done, mended.left), (2, 0));
    assert_eq!(sealing.kek_state(&kek("k1")).await.unwrap(), Some(KekState::Retired));
    let after = scene.sealing(&["k2"]);
    for (number, sealed) in sealed.iter().enumerate() {
        open(&after, &format!("t{number}"), sealed).await.unwrap();
    }
}
