//! Certificates whose keys are in a key store.

use std::sync::Arc;

use shipbound::ErrorKind;
use shipbound::binding::mtls::Mtls;
use shipbound::clock::Timestamp;
use shipbound::keys::{Backend, KeyError, KeyHandle, KeyStore, LocalKey, MemoryKeyStore, Purpose, Retired};
use shipbound::owner::{DeploymentId, Owner};
use shipbound::sandbox::{ClientCertificate, Endpoint, Sandbox};
use shipbound::secret::KeyMaterial;
use shipbound::transport::Stage;
use shipbound::transport::identity::{ClientIdentity, IdentityError};

use crate::world::{Make, client, connection, ship, start};

async fn stored(keys: &MemoryKeyStore, owner: &Owner, certificate: &ClientCertificate) -> (KeyHandle, ClientIdentity) {
    let pem = KeyMaterial::new(certificate.key_pem().as_bytes());
    let key = LocalKey::from_pem(&pem, Backend::default()).unwrap();
    let key = keys.import(owner, Purpose::Tls, key).unwrap();
    let end = Timestamp::from_unix_seconds(i64::MAX);
    assert!(keys.promote(owner, &key.id(), None, end).await.unwrap());
    let identity = ClientIdentity::from_key(&key, [certificate.der()]).unwrap();
    (key, identity)
}

#[tokio::test]
async fn a_key_of_the_store_signs_handshakes_until_it_is_compromised() {
    let sandbox = start(Sandbox::builder()).await;
    let certificate = sandbox.client_certificate("acme").unwrap();
    let keys = Arc::new(MemoryKeyStore::new());
    let owner = Owner::from(connection("acme"));
    let (key, identity) = stored(&keys, &owner, &certificate).await;
    let make = Make {
        keys: keys.clone(),
        ..Make::usual()
    };
    let client = client(&sandbox, Mtls::new(identity), make);
    for _ in 0..2 {
        assert_eq!(ship(&client, "acme").await.unwrap(), 201);
    }
    let calls = sandbox.requests_at(Endpoint::Api);
    assert!(calls.iter().all(|call| call.certificate() == Some(certificate.x5t())));

    assert!(keys.retire(&owner, &key.id(), Retired::Compromised).await.unwrap());
    sandbox.clear();
    let error = ship(&client, "acme").await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Identity(IdentityError::KeyClosed)),
        "{error}"
    );
    assert_eq!(error.stage(), Stage::NotSent);
    assert!(sandbox.requests().is_empty());
    assert!(sandbox.handshakes().is_empty());
}

/// Whatever a source hands out: with another connection's key nothing is shown to anyone.
#[tokio::test]
async fn a_key_of_another_owner_is_refused_before_anything_is_sent() {
    let sandbox = start(Sandbox::builder()).await;
    for owner in [
        Owner::from(connection("globex")),
        Owner::from(connection("Acme")),
        Owner::Deployment(DeploymentId::default_deployment()),
    ] {
        let certificate = sandbox.client_certificate("acme").unwrap();
        let (_, identity) = stored(&MemoryKeyStore::new(), &owner, &certificate).await;
        let client = client(&sandbox, Mtls::new(identity), Make::usual());
        let error = ship(&client, "acme").await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Key(KeyError::WrongOwner)), "{error}");
        assert_eq!(error.stage(), Stage::NotSent);
    }
    assert!(
        sandbox
            .requests()
            .iter()
            .all(|request| request.endpoint() == Endpoint::Metadata)
    );
    assert!(
        sandbox
            .handshakes()
            .iter()
            .all(|handshake| handshake.certificate().is_none())
    );
}
