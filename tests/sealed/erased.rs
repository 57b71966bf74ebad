//! A tenant of whom nothing is left has no data key.

use shipbound::credentials::{Credential, CredentialAdmin};
use shipbound::grants::{Grant, Grants};
use shipbound::jose::Algorithm;
use shipbound::keys::{KeySpec, KeyStore, Purpose, Retired};
use shipbound::store::seal::{SealContext, SealError, Sealer, Table};

use crate::scene::{Scene, act, connection};
use crate::world::owner;

const AT: shipbound::clock::Timestamp = shipbound::clock::Timestamp::from_unix_seconds(1_800_000_000);

on_both!(the_data_key_goes_with_the_last_value_and_does_not_come_back);
async fn the_data_key_goes_with_the_last_value_and_does_not_come_back(scene: Scene) {
    let (here, there) = (scene.process(&["k1"]).await, scene.process(&["k1"]).await);
    let (acme, of, by) = (connection("acme"), owner("acme"), act());
    let credentials = &here.credentials;
    let erased = async || credentials.erase_data_key(&acme, &by).await.unwrap();
    let data_keys = "SELECT COUNT(*) FROM sb_data_keys WHERE tenant = 'acme'";
    assert!(!erased().await, "there is none yet");
    for tenant in ["acme", "zeta"] {
        let credential = Credential::new("id", "s");
        let of = connection(tenant);
        credentials.put_credential(&of, credential, &by).await.unwrap();
    }
    let spec = KeySpec {
        purpose: Purpose::Proof,
        algorithm: Algorithm::Es256,
    };
    let key = here.keys.create(&of, spec).await.unwrap();
    let grants = Grants::new(here.grants.clone(), scene.world.clock.clone());
    grants.put(&acme, Grant::new("r", AT)).await.unwrap();
    let context = SealContext::new(&of, Table::Credentials, 1);
    let sealed = there.sealing.seal(&context, b"v").await.unwrap();
    scene.world.raw("CREATE TABLE old AS SELECT * FROM sb_data_keys").await;

    // One value of each kind is enough.
    assert!(!erased().await);
    assert!(credentials.remove_credential(&acme, &by).await.unwrap());
    assert!(!erased().await);
    grants.remove(&acme).await.unwrap();
    assert!(!erased().await);
    assert_eq!(scene.world.number(data_keys).await, 1);
    assert!(here.keys.retire(&of, &key.id(), Retired::Destroyed).await.unwrap());
    assert!(erased().await);
    assert_eq!(scene.world.number(data_keys).await, 0);
    assert!(!erased().await, "repeated");
    let others = "SELECT COUNT(*) FROM sb_data_keys WHERE tenant = 'zeta'";
    assert_eq!(scene.world.number(others).await, 1);
    let acts = "SELECT COUNT(*) FROM sb_acts WHERE what = 'erase-data-key'";
    assert_eq!(scene.world.number(acts).await, 1);

    // What was sealed with it does not open, also where the row is put back and where it is held.
    scene
        .world
        .raw("INSERT INTO sb_data_keys SELECT * FROM old WHERE tenant = 'acme'")
        .await;
    there.ledger.follow().await.unwrap();
    for process in [&here, &there, &scene.process(&["k1"]).await] {
        assert_eq!(
            process.sealing.open(&context, &sealed).await.unwrap_err(),
            SealError::Refused
        );
        assert_eq!(process.sealing.seal(&context, b"v").await, Err(SealError::Refused));
    }
    scene.world.raw("DELETE FROM sb_data_keys WHERE tenant = 'acme'").await;
    // He who comes back gets a new one.
    let (there, credential) = (&there.credentials, Credential::new("id", "s"));
    there.put_credential(&acme, credential, &by).await.unwrap();
    assert_eq!(scene.world.number(data_keys).await, 1);
}
