//! Private keys that stand sealed in their records.

use std::sync::Arc;

use shipbound::conformance::{self, KeyStores, OpenKeys};
use shipbound::jose::Algorithm;
use shipbound::keys::{
    Backend, KeyError, KeyHolder, KeyId, KeyRecord, KeySpec, KeyState, KeyStore, LocalKey, Material, Purpose, Retired,
    StoredKey,
};

use crate::scene::Scene;
use crate::world::owner;

const AT: shipbound::clock::Timestamp = shipbound::clock::Timestamp::from_unix_seconds(1_800_000_000);

fn spec(algorithm: Algorithm) -> KeySpec {
    KeySpec {
        purpose: Purpose::Proof,
        algorithm,
    }
}

async fn signs(holder: &dyn KeyHolder, stored: &StoredKey) -> Result<(), KeyError> {
    let signer = holder.signer(stored).await?;
    let signature = signer.sign(b"message").wait().await?;
    assert!(stored.record.public.verify(b"message", signature.as_bytes()).is_ok());
    Ok(())
}

fn next(record: &KeyRecord, state: KeyState) -> KeyRecord {
    let mut next = record.clone();
    (next.state, next.revision) = (state, record.revision + 1);
    next
}

on_both!(it_is_a_key_store);
async fn it_is_a_key_store(scene: Scene) {
    let clock = scene.world.clock.clone();
    let scene = Arc::new(scene);
    let stores = KeyStores::new(clock, {
        let scene = scene.clone();
        move || {
            let scene = scene.clone();
            async move { OpenKeys::from(scene.process(&["k1"]).await.keys) }
        }
    })
    .of_one_deployment();
    let report = conformance::key_store(&stores).await;
    assert!(report.has_passed(), "{report}");
}

on_both!(a_key_lives_in_the_database_and_signs_in_every_process);
async fn a_key_lives_in_the_database_and_signs_in_every_process(scene: Scene) {
    let (one, acme) = (scene.process(&["k1"]).await, owner("acme"));
    let key = one.keys.create(&acme, spec(Algorithm::Es256)).await.unwrap();
    assert!(one.keys.promote(&acme, &key.id(), None, AT).await.unwrap());
    let two = scene.process(&["k1"]).await;
    let active = two.keys.active(&acme, Purpose::Proof).await.unwrap().unwrap();
    let signature = active.sign(b"message").wait().await.unwrap();
    assert!(key.public().verify(b"message", signature.as_bytes()).is_ok());
    assert!(two.keys.retire(&acme, &key.id(), Retired::Destroyed).await.unwrap());
    let left = scene
        .world
        .number("SELECT COUNT(*) FROM sb_keys WHERE material IS NOT NULL")
        .await;
    assert_eq!(left, 0);
}

on_both!(every_algorithm_comes_back_with_its_backend);
async fn every_algorithm_comes_back_with_its_backend(scene: Scene) {
    let (process, acme) = (scene.process(&["k1"]).await, owner("acme"));
    for algorithm in [Algorithm::Es256, Algorithm::Ed25519, Algorithm::Ps256] {
        let id = KeyId::random().unwrap();
        let stored = process.holder.make(&acme, id, spec(algorithm), AT).await.unwrap();
        assert_eq!(stored.record.state, KeyState::Pending);
        signs(&*process.holder, &stored).await.unwrap();
    }
    let rsa = LocalKey::generate_rsa(shipbound::keys::RsaSize::Bits2048)
        .unwrap()
        .into_rs256()
        .unwrap();
    let id = KeyId::random().unwrap();
    let stored = process
        .holder
        .take(&acme, id, Purpose::ClientAssertion, rsa, AT)
        .await
        .unwrap();
    assert_eq!(stored.record.public.algorithm(), Algorithm::Rs256);
    signs(&*process.holder, &stored).await.unwrap();
}

on_both!(a_sealed_key_opens_for_its_own_record_alone);
async fn a_sealed_key_opens_for_its_own_record_alone(scene: Scene) {
    let process = scene.process(&["k1"]).await;
    let (holder, acme, other) = (&*process.holder, owner("acme"), owner("other"));
    let [one, two] = [KeyId::random().unwrap(), KeyId::random().unwrap()];
    let stored = holder.make(&acme, one, spec(Algorithm::Es256), AT).await.unwrap();
    let strange = holder.make(&other, two, spec(Algorithm::Es256), AT).await.unwrap();
    signs(holder, &stored).await.unwrap();

    let mut changed = Vec::new();
    let mut change = |change: &dyn Fn(&mut StoredKey)| {
        let mut stored = stored.clone();
        change(&mut stored);
        changed.push(stored);
    };
    change(&|stored| stored.record.owner = other.clone());
    change(&|stored| stored.record.purpose = Purpose::ClientAssertion);
    change(&|stored| stored.record.state = KeyState::Active);
    change(&|stored| stored.record.revision = 1);
    change(&|stored| stored.record.public = strange.record.public.clone());
    change(&|stored| stored.material = strange.material.clone());
    change(&|stored| stored.material = Some(Material::new("x")));
    for stored in &changed {
        assert_eq!(signs(holder, stored).await.unwrap_err(), KeyError::Mismatch);
    }
    let gone = StoredKey {
        material: None,
        ..stored.clone()
    };
    assert_eq!(signs(holder, &gone).await.unwrap_err(), KeyError::Missing);

    // Its next version opens as the next version, and the old one does not.
    let active = next(&stored.record, KeyState::Active);
    let material = holder.carry(&stored, &active).await.unwrap();
    let carried = StoredKey {
        record: active,
        material,
    };
    signs(holder, &carried).await.unwrap();
    let old = StoredKey {
        material: stored.material.clone(),
        ..carried.clone()
    };
    assert_eq!(signs(holder, &old).await.unwrap_err(), KeyError::Mismatch);
    // Not beside another key, and not past its end.
    let foreign = next(&strange.record, KeyState::Active);
    assert_eq!(holder.carry(&stored, &foreign).await.unwrap_err(), KeyError::Mismatch);
    for end in [KeyState::Destroyed, KeyState::Compromised] {
        assert_eq!(holder.carry(&carried, &next(&carried.record, end)).await.unwrap(), None);
    }
}

on_both!(the_backend_that_was_asked_for_makes_the_keys);
async fn the_backend_that_was_asked_for_makes_the_keys(scene: Scene) {
    let process = scene.process(&["k1"]).await;
    let holder = shipbound::store::seal::SealedKeys::new(process.sealing.clone()).with_backend(Backend::P256);
    let refused = holder
        .make(&owner("acme"), KeyId::random().unwrap(), spec(Algorithm::Ed25519), AT)
        .await;
    assert!(matches!(refused, Err(KeyError::Unsupported { .. })));
    let stored = holder
        .make(&owner("acme"), KeyId::random().unwrap(), spec(Algorithm::Es256), AT)
        .await
        .unwrap();
    // Whoever signs with another backend has the same key.
    signs(&*process.holder, &stored).await.unwrap();
    assert!(!format!("{holder:?} {stored:?}").contains("eyJ"));
}
