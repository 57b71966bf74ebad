//! Transactions that stand still in the middle, on a real PostgreSQL, while something else goes on.

use std::sync::Arc;

use futures_util::future::join_all;
use shipbound::credentials::{Credential, CredentialAdmin, CredentialStore};
use shipbound::grants::{Grant, Grants};
use shipbound::jose::Algorithm;
use shipbound::keys::{KeyError, KeySpec, KeyStore, Purpose};
use shipbound::store::seal::{SealContext, Sealer, Table};
use shipbound::store::sql::{Exposed, KekState};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};

use crate::provider::{Provider, kek};
use crate::scene::{Scene, act, connection};
use crate::world::{Kind, owner};

const AT: shipbound::clock::Timestamp = shipbound::clock::Timestamp::from_unix_seconds(1_800_000_000);

/// A transaction of another process that has done these statements and stands still.
struct Paused(PgConnection);

impl Paused {
    async fn after(scene: &Scene, statements: &str) -> Self {
        let mut connection = PgConnection::connect(scene.world.direct()).await.unwrap();
        let begun = sqlx::raw_sql(AssertSqlSafe(format!("BEGIN; {statements}")));
        begun.execute(&mut connection).await.unwrap();
        Self(connection)
    }

    async fn commit(mut self) {
        sqlx::raw_sql("COMMIT").execute(&mut self.0).await.unwrap();
    }
}

/// Until so many others of this database wait for a lock.
async fn waiting(scene: &Scene, count: i64) {
    let waiting = "SELECT COUNT(*)::text FROM pg_stat_activity \
                   WHERE wait_event_type = 'Lock' AND datname = current_database()";
    for _ in 0..2_000 {
        if scene.world.number(waiting).await >= count {
            return;
        }
    }
    panic!("nobody waits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_key_that_is_being_written_down_is_wrapped_anew_as_well() {
    let scene = Scene::new(Kind::Postgres).await;
    let first = scene.sealing(&["k1"]);
    let acme = owner("acme");
    let context = SealContext::new(&acme, Table::Grants, 1);
    first.seal(&context, b"v").await.unwrap();
    // What making a data key does, up to its commit. (The wrapped text is another tenant's, and does not matter.)
    let paused = Paused::after(
        &scene,
        "UPDATE sb_keks SET uses = uses + 1 WHERE id = 'k1' AND state = 'active'; \
         INSERT INTO sb_data_keys SELECT deployment, 'late', incarnation, '00000000-0000-0000-0000-000000000001', kek, \
         wrapped, state, created_at FROM sb_data_keys WHERE tenant = 'acme'",
    )
    .await;
    let sealing = Arc::new(scene.sealing(&["k2", "k1"]));
    let rotating = tokio::spawn({
        let sealing = sealing.clone();
        async move { sealing.rotate_kek(&act()).await.unwrap() }
    });
    waiting(&scene, 1).await;
    assert!(!rotating.is_finished());
    paused.commit().await;
    assert!(rotating.await.unwrap());
    // Nothing under the old KEK is overlooked: the late one is looked at, and being another's it does not open.
    let broken = sealing.rewrap(&act(), &mut |_| ()).await.unwrap_err();
    assert!(broken.to_string().contains("does not open"));
    assert_eq!(sealing.kek_state(&kek("k1")).await.unwrap(), Some(KekState::Retiring));
    scene.world.raw("DELETE FROM sb_data_keys WHERE tenant = 'late'").await;
    assert_eq!(sealing.rewrap(&act(), &mut |_| ()).await.unwrap().left, 0);
    assert_eq!(sealing.kek_state(&kek("k1")).await.unwrap(), Some(KekState::Retired));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sealed_before_a_theft_and_is_written_after_it_is_sealed_again() {
    let scene = Scene::new(Kind::Postgres).await;
    let slow = Arc::new(scene.process(&["k1", "k2"]).await);
    let acme = connection("acme");
    let spec = KeySpec {
        purpose: Purpose::Proof,
        algorithm: Algorithm::Es256,
    };
    let grants = |process: &crate::scene::Process| Grants::new(process.grants.clone(), scene.world.clock.clone());
    slow.credentials
        .put_credential(&acme, Credential::new("id", "one"), &act())
        .await
        .unwrap();
    grants(&slow).put(&acme, Grant::new("r1", AT)).await.unwrap();
    slow.keys.create(&owner("acme"), spec).await.unwrap();

    // Each of three writers has sealed under the old data key, and waits for its turn to write.
    let paused = Paused::after(&scene, "SELECT value FROM sb_counters FOR UPDATE").await;
    let putting = tokio::spawn({
        let (slow, acme) = (slow.clone(), acme.clone());
        async move {
            slow.credentials
                .put_credential(&acme, Credential::new("id", "two"), &act())
                .await
        }
    });
    waiting(&scene, 1).await;
    let consenting = tokio::spawn({
        let (grants, acme) = (grants(&slow), acme.clone());
        async move { grants.put(&acme, Grant::new("r2", AT)).await }
    });
    waiting(&scene, 2).await;
    let thief = scene.process(&["k2", "k1"]).await;
    let other = Arc::new(scene.process(&["k1", "k2"]).await);
    let making = tokio::spawn({
        let other = other.clone();
        async move { other.keys.create(&owner("acme"), spec).await.map(|_| ()) }
    });
    waiting(&scene, 3).await;
    let ended = thief.sealing.kek_stolen(&kek("k1"), &act(), &mut |_| ()).await.unwrap();
    assert_eq!((ended.left, ended.refused), (0, 0));
    paused.commit().await;

    putting.await.unwrap().unwrap();
    consenting.await.unwrap().unwrap();
    // A key is made anew by whoever wanted it.
    assert_eq!(making.await.unwrap().unwrap_err(), KeyError::NotPersisted);
    other.keys.create(&owner("acme"), spec).await.unwrap();
    let clean = scene.process(&["k2"]).await;
    let credential = clean.credentials.credential(&acme).await.unwrap();
    assert_eq!(credential.client_secret().unwrap().expose(), "two");
    grants(&clean).consent(&acme).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_being_written_when_a_theft_is_marked_is_exposed() {
    let scene = Scene::new(Kind::Postgres).await;
    let (slow, acme) = (Arc::new(scene.process(&["k1", "k2"]).await), connection("acme"));
    let one = Credential::new("id", "one");
    slow.credentials.put_credential(&acme, one, &act()).await.unwrap();
    // The put has its data key's row, and waits for the credential's.
    let paused = Paused::after(&scene, "SELECT owner FROM sb_credentials FOR UPDATE").await;
    let putting = tokio::spawn({
        let (slow, acme) = (slow.clone(), acme.clone());
        let two = Credential::new("id", "two");
        async move { slow.credentials.put_credential(&acme, two, &act()).await }
    });
    waiting(&scene, 1).await;
    let thief = Arc::new(scene.process(&["k2", "k1"]).await);
    let marking = tokio::spawn({
        let thief = thief.clone();
        async move { thief.sealing.kek_stolen(&kek("k1"), &act(), &mut |_| ()).await }
    });
    waiting(&scene, 2).await;
    paused.commit().await;
    putting.await.unwrap().unwrap();
    assert_eq!(marking.await.unwrap().unwrap().left, 0);
    let exposed = thief.sealing.exposed(&kek("k1"), None, 10).await.unwrap();
    assert_eq!(exposed, [Exposed::Credential(owner("acme"))]);
    // The next one nobody has read.
    let three = Credential::new("id", "three");
    slow.credentials.put_credential(&acme, three, &act()).await.unwrap();
    assert!(thief.sealing.exposed(&kek("k1"), None, 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_is_made_during_a_theft_is_not_under_the_stolen_kek() {
    let scene = Scene::new(Kind::Postgres).await;
    scene.process(&["k1"]).await;
    let provider = Arc::new(Provider::new(&["k1", "k2"]));
    provider.stop_next_wrap();
    let seen = provider.seen.clone();
    let slow = Arc::new(scene.sealing_of(&scene.world.database(), provider));
    let making = tokio::spawn({
        let slow = slow.clone();
        async move {
            let acme = owner("acme");
            slow.seal(&SealContext::new(&acme, Table::Grants, 1), b"v")
                .await
                .unwrap()
        }
    });
    seen.stopped.notified().await;
    let after = scene.process(&["k2", "k1"]).await;
    after.sealing.kek_stolen(&kek("k1"), &act(), &mut |_| ()).await.unwrap();
    seen.go_on.notify_one();
    let sealed = making.await.unwrap();
    assert_eq!(
        scene
            .world
            .number("SELECT COUNT(*) FROM sb_data_keys WHERE kek = 'k1'")
            .await,
        0
    );
    let acme = owner("acme");
    let clean = scene.sealing(&["k2"]);
    assert!(
        clean
            .open(&SealContext::new(&acme, Table::Grants, 1), &sealed)
            .await
            .is_ok()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_theft_goes_on_where_marking_was_killed_and_all_are_served_meanwhile() {
    let scene = Scene::new(Kind::Postgres).await;
    let first = scene.sealing(&["k1"]);
    // More than one page of them.
    let tenants: Vec<_> = (0..520).map(|number| owner(&format!("t{number}"))).collect();
    let context = |of| SealContext::new(of, Table::Grants, 1);
    let contexts: Vec<_> = tenants.iter().map(context).collect();
    let seals = contexts.iter().map(|context| first.seal(context, b"v"));
    let sealed: Vec<_> = join_all(seals).await.into_iter().map(Result::unwrap).collect();
    let process = Arc::new(scene.process(&["k2", "k1"]).await);
    let before = scene.world.raw("SELECT id FROM sb_data_keys ORDER BY id").await;
    let last = before.last().unwrap();
    let paused = Paused::after(
        &scene,
        &format!("SELECT id FROM sb_data_keys WHERE id = '{last}' FOR UPDATE"),
    )
    .await;
    let stopped = tokio::spawn(async move {
        let process = process;
        process.sealing.kek_stolen(&kek("k1"), &act(), &mut |_| ()).await
    });
    waiting(&scene, 1).await;
    let tainted = "SELECT COUNT(*) FROM sb_data_keys WHERE state = 'tainted'";
    assert_eq!(scene.world.number(tainted).await, 500);
    let other = scene.sealing(&["k2", "k1"]);
    assert_eq!(other.kek_state(&kek("k1")).await.unwrap(), Some(KekState::Retiring));
    let opens = contexts.iter().zip(&sealed);
    let opened = join_all(opens.map(|(context, sealed)| other.open(context, sealed))).await;
    assert!(opened.iter().all(Result::is_ok));
    let late = owner("late");
    other.seal(&context(&late), b"v").await.unwrap();
    assert_eq!(
        scene
            .world
            .raw("SELECT kek FROM sb_data_keys WHERE tenant = 'late'")
            .await,
        ["k2"]
    );
    stopped.abort();
    assert!(stopped.await.unwrap_err().is_cancelled());
    paused.commit().await;

    let next = scene.process(&["k2", "k1"]).await;
    let ended = next.sealing.kek_stolen(&kek("k1"), &act(), &mut |_| ()).await.unwrap();
    // The late one was marked as well, being there when it began anew.
    assert_eq!((ended.done, ended.left), (before.len() as u64 + 1, 0));
    assert_eq!(
        next.sealing.kek_state(&kek("k1")).await.unwrap(),
        Some(KekState::Compromised)
    );
    let left = scene.world.raw("SELECT id FROM sb_data_keys").await;
    assert!(left.iter().all(|id| !before.contains(id)));
    let acts = "SELECT COUNT(*) FROM sb_acts WHERE what = 'kek-stolen'";
    assert_eq!(scene.world.number(acts).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_leaves_a_data_key_that_was_made_after_it_had_locked_the_others() {
    let scene = Scene::new(Kind::Postgres).await;
    let (first, acme) = (scene.sealing(&["k1"]), owner("acme"));
    let context = SealContext::new(&acme, Table::Grants, 1);
    first.seal(&context, b"old").await.unwrap();
    let (erasing, other) = (scene.process(&["k1"]).await, scene.process(&["k1"]).await);
    // As a theft has it that is being answered: the next value has a new data key.
    let taint = "UPDATE sb_data_keys SET state = 'tainted' WHERE tenant = 'acme'";
    scene.world.raw(taint).await;
    // The erasure has locked what there is, and looks whether a value is left.
    let paused = Paused::after(&scene, "LOCK TABLE sb_grants IN ACCESS EXCLUSIVE MODE").await;
    let erasure = tokio::spawn(async move {
        let (connection, by) = (connection("acme"), act());
        erasing.credentials.erase_data_key(&connection, &by).await.unwrap()
    });
    waiting(&scene, 1).await;
    let sealed = other.sealing.seal(&context, b"new").await.unwrap();
    paused.commit().await;
    assert!(erasure.await.unwrap());
    let states = "SELECT state FROM sb_data_keys WHERE tenant = 'acme'";
    assert_eq!(scene.world.raw(states).await, ["active"]);
    let opened = scene.process(&["k1"]).await.sealing.open(&context, &sealed).await;
    assert_eq!(opened.unwrap().as_slice(), b"new");
}
