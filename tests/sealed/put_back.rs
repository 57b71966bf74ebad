//! Rows of data keys that have ended, put back by somebody who may write to the database and knows what they hold.

use shipbound::chore::Chore;
use shipbound::credentials::{Credential, CredentialAdmin, CredentialError, CredentialStore};
use shipbound::jose::Algorithm;
use shipbound::keys::{KeyError, KeyHolder, KeyId, KeyRecords, KeySpec, Purpose};
use shipbound::store::seal::{
    self, DataKey, DataKeyId, KekProvider, SealContext, SealError, Sealer, Table, WrapContext, Wrapped, data_key_of,
};
use shipbound::store::sql::SealingError;

use crate::provider::{kek, keks};
use crate::scene::{Process, Scene, act, connection};
use crate::world::{deployment, owner};

async fn put(process: &Process, tenant: &str, secret: &str) -> Result<(), CredentialError> {
    let credential = Credential::new(tenant, secret);
    process
        .credentials
        .put_credential(&connection(tenant), credential, &act())
        .await
}

/// What whoever has `k1` and a copy of the database has of the tenant's data key.
async fn known_to_the_thief(scene: &Scene, tenant: &str) -> (DataKeyId, DataKey) {
    let column = async |name: &str| {
        let sql = format!("SELECT {name} FROM sb_data_keys WHERE tenant = '{tenant}'");
        scene.world.raw(&sql).await.remove(0)
    };
    let id = DataKeyId::from_uuid(column("id").await.parse().unwrap());
    let wrapped = Wrapped {
        kek: kek("k1"),
        text: column("wrapped").await,
    };
    let (deployment, of) = (deployment(), connection(tenant).tenant().clone());
    let context = WrapContext::new(&deployment, Some(&of), id);
    (id, keks(&["k1"]).unwrap(&wrapped, &context).await.unwrap())
}

/// The thief puts the old rows back, so that they are used for new values and the new ones are not.
async fn put_back(scene: &Scene) {
    scene
        .world
        .raw(
            "UPDATE sb_data_keys SET state = 'old' WHERE tenant = 'acme'; \
             INSERT INTO sb_data_keys SELECT * FROM old WHERE tenant = 'acme'",
        )
        .await;
}

on_both!(a_data_key_that_was_replaced_and_is_put_back_is_not_used);
async fn a_data_key_that_was_replaced_and_is_put_back_is_not_used(scene: Scene) {
    let first = scene.process(&["k1"]).await;
    put(&first, "acme", "one").await.unwrap();
    let (id, key) = known_to_the_thief(&scene, "acme").await;
    // From now on its row can be unwrapped without the stolen KEK.
    let here = scene.process(&["k2", "k1"]).await;
    here.sealing.rotate_kek(&act()).await.unwrap();
    here.sealing.rewrap(&act(), &mut |_| ()).await.unwrap();
    let there = scene.process(&["k2", "k1"]).await;
    assert!(there.credentials.credential(&connection("acme")).await.is_ok());
    let held = there.sealing.held();
    scene.world.raw("CREATE TABLE old AS SELECT * FROM sb_data_keys").await;
    let stolen = kek("k1");
    let ended = here.sealing.kek_stolen(&stolen, &act(), &mut |_| ()).await.unwrap();
    assert_eq!((ended.done, ended.left), (2, 0));
    put_back(&scene).await;

    let (acme, fresh) = (owner("acme"), scene.process(&["k2"]).await);
    let context = SealContext::new(&acme, Table::Credentials, 1);
    let forged = seal::seal(id, &key, &context, b"forged").unwrap();
    for process in [&here, &there, &fresh] {
        assert!(put(process, "acme", "two").await.is_err());
        assert_eq!(process.sealing.seal(&context, b"v").await, Err(SealError::Refused));
        // What stands there is under the new data key.
        assert!(process.credentials.credential(&connection("acme")).await.is_ok());
        let opened = process.sealing.open(&context, &forged).await;
        assert_eq!(opened.unwrap_err(), SealError::Refused);
        // A process that holds it lets it go.
        process.sealing.round(&|| true).await;
    }
    // The ledger's own, the new one, and not the old one.
    assert_eq!((held, there.sealing.held()), (2, 2));
    let sealed = scene.world.raw("SELECT sealed FROM sb_credentials").await;
    assert!(sealed.iter().all(|sealed| data_key_of(sealed) != Ok(id)));
    assert!(scene.world.told().contains(&"row put back"));

    // Called again it takes the row away.
    let again = here.sealing.kek_stolen(&stolen, &act(), &mut |_| ()).await.unwrap();
    assert_eq!((again.done, again.left), (0, 0));
    for process in [&here, &there, &fresh] {
        put(process, "acme", "three").await.unwrap();
    }
}

on_both!(what_is_under_a_data_key_that_has_ended_is_not_sealed_anew);
async fn what_is_under_a_data_key_that_has_ended_is_not_sealed_anew(scene: Scene) {
    let first = scene.process(&["k1"]).await;
    put(&first, "acme", "one").await.unwrap();
    let (id, key) = known_to_the_thief(&scene, "acme").await;
    let process = scene.process(&["k2", "k1"]).await;
    process.sealing.rotate_kek(&act()).await.unwrap();
    process.sealing.rewrap(&act(), &mut |_| ()).await.unwrap();
    scene.world.raw("CREATE TABLE old AS SELECT * FROM sb_data_keys").await;
    process
        .sealing
        .kek_stolen(&kek("k1"), &act(), &mut |_| ())
        .await
        .unwrap();
    // A credential of the thief's, in the place of the tenant's, and its data key where a second theft finds it.
    put_back(&scene).await;
    let revision = scene
        .world
        .number("SELECT CAST(revision AS TEXT) FROM sb_credentials")
        .await;
    let acme = owner("acme");
    let revision = u64::from_be_bytes(revision.to_be_bytes());
    let context = SealContext::new(&acme, Table::Credentials, revision);
    let octets = br#"{"client_id":"mallory","secret":"m","parts":{}}"#;
    let forged = seal::seal(id, &key, &context, octets).unwrap();
    scene
        .world
        .raw(&format!("UPDATE sb_credentials SET sealed = '{forged}'"))
        .await;
    let next = scene.process(&["k3", "k2"]).await;
    next.sealing.kek_stolen(&kek("k2"), &act(), &mut |_| ()).await.unwrap();
    let sealed = scene.world.raw("SELECT sealed FROM sb_credentials").await;
    assert_eq!(sealed, [forged]);
    let read = next.credentials.credential(&connection("acme")).await;
    assert_eq!(read.unwrap_err(), CredentialError::RolledBack);
}

on_both!(what_was_sealed_under_a_data_key_before_it_ended_is_not_written_after_it);
async fn what_was_sealed_under_a_data_key_before_it_ended_is_not_written_after_it(scene: Scene) {
    let slow = scene.process(&["k1", "k2"]).await;
    put(&slow, "acme", "one").await.unwrap();
    let spec = KeySpec {
        purpose: Purpose::Proof,
        algorithm: Algorithm::Es256,
    };
    let (acme, now) = (owner("acme"), shipbound::clock::Timestamp::from_unix_seconds(1));
    let id = KeyId::from_uuid("00000000-0000-4000-8000-000000000001".parse().unwrap());
    let stored = slow.holder.make(&acme, id, spec, now).await.unwrap();
    let process = scene.process(&["k2", "k1"]).await;
    process.sealing.rotate_kek(&act()).await.unwrap();
    process.sealing.rewrap(&act(), &mut |_| ()).await.unwrap();
    scene.world.raw("CREATE TABLE old AS SELECT * FROM sb_data_keys").await;
    process
        .sealing
        .kek_stolen(&kek("k1"), &act(), &mut |_| ())
        .await
        .unwrap();
    put_back(&scene).await;
    assert_eq!(slow.records.insert(&stored).await, Err(KeyError::NotPersisted));
}

on_both!(a_theft_is_not_answered_without_a_ledger);
async fn a_theft_is_not_answered_without_a_ledger(scene: Scene) {
    let process = scene.process(&["k1", "k2"]).await;
    put(&process, "acme", "one").await.unwrap();
    let alone = scene.sealing(&["k2", "k1"]);
    let refused = alone.kek_stolen(&kek("k1"), &act(), &mut |_| ()).await;
    assert_eq!(refused.unwrap_err(), SealingError::NoLedger);
    alone.bind(&process.ledger);
    assert_eq!(alone.kek_stolen(&kek("k1"), &act(), &mut |_| ()).await.unwrap().left, 0);
    // It goes with the last one who has it.
    drop(process);
    let refused = alone.kek_stolen(&kek("k1"), &act(), &mut |_| ()).await;
    assert_eq!(refused.unwrap_err(), SealingError::NoLedger);
}
