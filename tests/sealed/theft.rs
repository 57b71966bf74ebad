//! A KEK is in foreign hands.

use std::sync::Arc;

use shipbound::clock::Timestamp;
use shipbound::credentials::{Credential, CredentialAdmin, CredentialStore};
use shipbound::grants::{Grant, Grants};
use shipbound::jose::Algorithm;
use shipbound::keys::{KeyError, KeySpec, KeyStore, Purpose};
use shipbound::store::seal::{
    KekProvider, SealContext, SealError, Sealer, Table, WrapContext, Wrapped, data_key_of, open,
};
use shipbound::store::sql::{Database, KekState, Resealed, SealingError};

use crate::provider::{kek, keks};
use crate::scene::{Process, Scene, act, connection};
use crate::world::{Kind, deployment, owner};

const AT: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

pub(crate) async fn fill(scene: &Scene, process: &Process, tenant: &str) {
    let (owner, connection) = (owner(tenant), connection(tenant));
    let spec = KeySpec {
        purpose: Purpose::Proof,
        algorithm: Algorithm::Es256,
    };
    let key = process.keys.create(&owner, spec).await.unwrap();
    process.keys.promote(&owner, &key.id(), None, AT).await.unwrap();
    let credential = Credential::new(tenant, "s");
    process
        .credentials
        .put_credential(&connection, credential, &act())
        .await
        .unwrap();
    let grants = Grants::new(process.grants.clone(), scene.world.clock.clone());
    grants.put(&connection, Grant::new(tenant, AT)).await.unwrap();
}

async fn all_is_there(scene: &Scene, process: &Process, tenant: &str) {
    let (owner, connection) = (owner(tenant), connection(tenant));
    let key = process.keys.active(&owner, Purpose::Proof).await.unwrap().unwrap();
    key.sign(b"message").wait().await.unwrap();
    let credential = process.credentials.credential(&connection).await.unwrap();
    assert_eq!(credential.client_id(), tenant);
    let grants = Grants::new(process.grants.clone(), scene.world.clock.clone());
    grants.consent(&connection).await.unwrap();
}

on_both!(everything_is_under_new_data_keys_and_the_stolen_kek_opens_nothing);
async fn everything_is_under_new_data_keys_and_the_stolen_kek_opens_nothing(scene: Scene) {
    let before = scene.process(&["k1"]).await;
    for number in 0..3 {
        fill(&scene, &before, &format!("t{number}")).await;
    }
    // What the thief has: the KEK and a copy of the database.
    let columns = "tenant || '|' || incarnation || '|' || id || '|' || wrapped";
    let wrapped = scene.world.raw(&format!("SELECT {columns} FROM sb_data_keys")).await;
    scene.world.clock.advance(std::time::Duration::from_secs(60));

    let after = scene.process(&["k2", "k1"]).await;
    assert_eq!(
        after
            .sealing
            .kek_stolen(&kek("k3"), &act(), &mut |_| ())
            .await
            .unwrap_err(),
        SealingError::UnknownKek
    );
    let ended = after
        .sealing
        .kek_stolen(&kek("k1"), &act(), &mut |_: Resealed| ())
        .await
        .unwrap();
    // Three tenants with three values each, and the deployment itself, whose ledger has another secret.
    assert_eq!((ended.done, ended.left, ended.values, ended.refused), (4, 0, 9, 0));
    assert_eq!(
        after.sealing.kek_state(&kek("k1")).await.unwrap(),
        Some(KekState::Compromised)
    );
    assert_eq!(
        after.sealing.kek_state(&kek("k2")).await.unwrap(),
        Some(KekState::Active)
    );
    assert_eq!(
        scene
            .world
            .number("SELECT COUNT(*) FROM sb_data_keys WHERE kek = 'k1'")
            .await,
        0
    );

    // Without the stolen KEK everything goes on.
    let clean = scene.process(&["k2"]).await;
    for number in 0..3 {
        all_is_there(&scene, &clean, &format!("t{number}")).await;
    }
    // The thief's data keys open nothing of what stands there now.
    let thief = keks(&["k1"]);
    let sealed = scene.world.raw("SELECT sealed FROM sb_credentials").await;
    for row in &wrapped {
        let [tenant, _, id, text] = row.split('|').collect::<Vec<_>>()[..] else {
            panic!()
        };
        let id = shipbound::store::seal::DataKeyId::from_uuid(id.parse().unwrap());
        let of = (!tenant.is_empty()).then(|| connection(tenant).tenant().clone());
        let wrapped = Wrapped {
            kek: kek("k1"),
            text: text.to_owned(),
        };
        let deployment = deployment();
        let key = thief
            .unwrap(&wrapped, &WrapContext::new(&deployment, of.as_ref(), id))
            .await
            .unwrap();
        for sealed in &sealed {
            assert_ne!(data_key_of(sealed).unwrap(), id);
            let owner = owner("t0");
            assert_eq!(
                open(id, &key, &SealContext::new(&owner, Table::Credentials, 0), sealed).unwrap_err(),
                SealError::Refused
            );
        }
    }
    // Nor does a row that the thief writes, under a data key of his own choice.
    let (id, own) = shipbound::store::seal::DataKey::random().unwrap();
    let (victim, deployment) = (owner("t0"), deployment());
    let tenant = connection("t0").tenant().clone();
    let wrapped = thief
        .wrap(&kek("k1"), &own, &WrapContext::new(&deployment, Some(&tenant), id))
        .await
        .unwrap();
    let id_text = id.as_uuid();
    scene
        .world
        .raw(&format!(
            "INSERT INTO sb_data_keys SELECT deployment, tenant, incarnation, '{id_text}', 'k1', '{}', 'old', created_at \
             FROM sb_data_keys WHERE tenant = 't0'",
            wrapped.text
        ))
        .await;
    let context = SealContext::new(&victim, Table::Grants, 1);
    let forged = shipbound::store::seal::seal(id, &own, &context, b"forged").unwrap();
    assert_eq!(
        after.sealing.open(&context, &forged).await.unwrap_err(),
        SealError::Refused
    );
}

on_both!(a_theft_is_answered_beside_writers_and_by_two_at_once);
async fn a_theft_is_answered_beside_writers_and_by_two_at_once(scene: Scene) {
    let before = Arc::new(scene.process(&["k1", "k2"]).await);
    for number in 0..6 {
        fill(&scene, &before, &format!("t{number}")).await;
    }
    let stolen = |process: Process| {
        tokio::spawn(async move {
            // All of it: a ledger goes with the stores.
            let process = process;
            let ended = process.sealing.kek_stolen(&kek("k1"), &act(), &mut |_| ()).await;
            drop(process.ledger);
            ended.map(|ended| (ended.left, ended.refused))
        })
    };
    let (one, two) = (scene.process(&["k2", "k1"]).await, scene.process(&["k2", "k1"]).await);
    let (one, two) = (stolen(one), stolen(two));
    // A process that has all old data keys in memory goes on writing.
    let mut refused = 0;
    for number in 0..30 {
        let tenant = format!("t{}", number % 6);
        let credential = Credential::new(&tenant, "s");
        before
            .credentials
            .put_credential(&connection(&tenant), credential, &act())
            .await
            .unwrap();
        let spec = KeySpec {
            purpose: Purpose::ClientAssertion,
            algorithm: Algorithm::Es256,
        };
        match before.keys.create(&owner(&tenant), spec).await {
            Ok(_) => {}
            // Sealed just before its data key was replaced; made anew it goes.
            Err(KeyError::NotPersisted) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused < 30);
    assert_eq!(one.await.unwrap().unwrap(), (0, 0));
    assert_eq!(two.await.unwrap().unwrap(), (0, 0));
    let clean = scene.process(&["k2"]).await;
    for number in 0..6 {
        all_is_there(&scene, &clean, &format!("t{number}")).await;
    }
    // Nothing is left that is sealed under a data key that is gone.
    let known = scene.world.raw("SELECT id FROM sb_data_keys").await;
    for table in [
        "material FROM sb_keys WHERE material IS NOT NULL",
        "sealed FROM sb_credentials",
        "sealed FROM sb_grants",
    ] {
        for sealed in scene.world.raw(&format!("SELECT {table}")).await {
            assert!(known.contains(&data_key_of(&sealed).unwrap().as_uuid().to_string()));
        }
    }
}

on_both!(the_stolen_kek_is_not_taken_as_the_new_one);
async fn the_stolen_kek_is_not_taken_as_the_new_one(scene: Scene) {
    let process = scene.process(&["k1"]).await;
    let refused = process.sealing.kek_stolen(&kek("k1"), &act(), &mut |_| ()).await;
    assert_eq!(refused.unwrap_err(), SealingError::NotNew(KekState::Compromised));
    assert_eq!(
        process.sealing.kek_state(&kek("k1")).await.unwrap(),
        Some(KekState::Active)
    );
    fill(&scene, &process, "t0").await;
    all_is_there(&scene, &process, "t0").await;
}

on_both!(changed_rows_stop_nothing_behind_them);
async fn changed_rows_stop_nothing_behind_them(scene: Scene) {
    let process = scene.process(&["k1"]).await;
    for tenant in ["t0", "t1", "t2"] {
        fill(&scene, &process, tenant).await;
    }
    let raw = |sql: &'static str| scene.world.raw(sql);
    raw("UPDATE sb_credentials SET environment = 'x' WHERE tenant = 't0'").await;
    raw("UPDATE sb_data_keys SET tenant = '?', id = '00000000-0000-0000-0000-000000000000' WHERE tenant = 't1'").await;
    let process = scene.process(&["k2", "k1"]).await;
    let (mut last, stolen) = (Resealed::default(), kek("k1"));
    let ended = process
        .sealing
        .kek_stolen(&stolen, &act(), &mut |so_far| last = so_far)
        .await;
    assert!(matches!(ended, Err(SealingError::Broken(_))));
    // Of t0 all but its credential, and all of t2.
    assert_eq!((last.done, last.left, last.values, last.refused), (3, 1, 5, 1));
    all_is_there(&scene, &scene.process(&["k2"]).await, "t2").await;
}

on_both!(one_connection_is_enough_where_the_chains_secret_is_another);
async fn one_connection_is_enough_where_the_chains_secret_is_another(scene: Scene) {
    let database = match scene.world.kind {
        Kind::Sqlite => Database::sqlite(scene.world.path()),
        Kind::Postgres | Kind::Bounced => Database::postgres(scene.world.direct()),
    };
    let database = database.connections(1).build().unwrap();
    let (narrow, acme) = (scene.process_on(database, &["k1", "k2"]).await, connection("acme"));
    let put = async |secret| {
        let credential = Credential::new("id", secret);
        narrow.credentials.put_credential(&acme, credential, &act()).await
    };
    put("one").await.unwrap();
    let thief = scene.process(&["k2", "k1"]).await;
    thief.sealing.kek_stolen(&kek("k1"), &act(), &mut |_| ()).await.unwrap();
    // The credential before it is buried, under a secret that this process has to open first.
    put("two").await.unwrap();
}
