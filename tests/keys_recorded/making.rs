//! What signs with a key is made once, and what happens meanwhile is not missed.

use std::pin::pin;

use futures_util::FutureExt;
use futures_util::future::join_all;
use shipbound::jose::Algorithm;
use shipbound::keys::{
    Backend, Change, KeyError, KeyFilter, KeyListing, KeyRecords, KeyState, KeyStore, LocalKey, Material, Purpose,
    Retired,
};
use shipbound::secret::KeyMaterial;

use super::world::{Fault, PROOF, START, World, acme, owner, promoted, sign};

#[tokio::test]
async fn many_that_read_a_key_make_one_signer() {
    let world = World::new();
    let key = promoted(&world, &world.process(), None).await;
    let keys = world.process();
    let before = world.faults.signers();
    world.faults.gives.send_replace(false);
    let (acme, id) = (acme(), key.id());
    let mut dropped = Box::pin(keys.active(&acme, Purpose::Proof));
    assert!((&mut dropped).now_or_never().is_none());
    let mut readers = Box::pin(join_all((0..50).map(|_| keys.get(&acme, &id))));
    assert!((&mut readers).now_or_never().is_none());
    // Who began it goes away.
    drop(dropped);
    world.faults.gives.send_replace(true);
    let handles: Vec<_> = readers.await.into_iter().map(|read| read.unwrap().unwrap()).collect();
    assert_eq!(world.faults.signers(), before + 1);
    assert!(keys.retire(&acme, &id, Retired::Destroyed).await.unwrap());
    for handle in &handles {
        assert_eq!(handle.state(), KeyState::Destroyed);
    }
}

#[tokio::test]
async fn a_failure_is_shared_by_who_waited_and_remembered_by_nobody() {
    let world = World::new();
    let key = promoted(&world, &world.process(), None).await;
    let keys = world.process();
    keys.sync().await.unwrap();
    let before = world.faults.signers();
    world.faults.gives.send_replace(false);
    let (acme, id) = (acme(), key.id());
    let mut readers = Box::pin(join_all((0..10).map(|_| keys.get(&acme, &id))));
    assert!((&mut readers).now_or_never().is_none());
    world.faults.next([Fault::Refused]);
    world.faults.gives.send_replace(true);
    for read in readers.await {
        assert_eq!(read.unwrap_err(), KeyError::StoreUnavailable);
    }
    assert_eq!(world.faults.signers(), before + 1);
    sign(&keys.get(&acme, &id).await.unwrap().unwrap()).await.unwrap();
    assert_eq!(world.faults.signers(), before + 2);
}

#[tokio::test]
async fn what_another_process_does_while_a_signer_is_made_is_not_missed() {
    let world = World::new();
    let here = world.process();
    let key = promoted(&world, &here, None).await;
    for end in [false, true] {
        let keys = world.process();
        keys.sync().await.unwrap();
        world.faults.gives.send_replace(false);
        let acme = acme();
        let mut reading = pin!(keys.active(&acme, Purpose::Proof));
        // The record was read, and says that the key is active.
        assert!((&mut reading).now_or_never().is_none());
        if end {
            assert!(here.retire(&acme, &key.id(), Retired::Compromised).await.unwrap());
        }
        // The look knows of no handle that it could close.
        keys.sync().await.unwrap();
        world.faults.gives.send_replace(true);
        let read = reading.await.unwrap();
        assert_eq!(read.is_none(), end);
    }
}

#[tokio::test]
async fn a_key_that_is_sealed_anew_while_its_signer_is_made_signs() {
    for anew in [true, false] {
        let world = World::new();
        let key = promoted(&world, &world.process(), None).await;
        let keys = world.process();
        keys.sync().await.unwrap();
        world.faults.gives.send_replace(false);
        let acme = acme();
        let mut reading = pin!(keys.active(&acme, Purpose::Proof));
        assert!((&mut reading).now_or_never().is_none());
        if anew {
            let mut next = world.record(&key).await;
            let expected = next.record.revision;
            next.record.revision += 1;
            next.material = Some(Material::new("under another data key"));
            assert!(
                world
                    .records
                    .kept
                    .change(&acme, &[Change { expected, next }])
                    .await
                    .unwrap()
            );
        }
        // What was read does not open any more.
        world.faults.next([Fault::Mismatch]);
        world.faults.gives.send_replace(true);
        match reading.await {
            Ok(read) => {
                assert!(anew);
                sign(&read.unwrap()).await.unwrap();
            }
            Err(error) => assert_eq!((anew, error), (false, KeyError::Mismatch)),
        }
    }
}

#[tokio::test]
async fn a_key_that_is_retired_while_its_signer_is_made_does_not_sign() {
    for outage in [false, true] {
        let world = World::new();
        let key = promoted(&world, &world.process(), None).await;
        let keys = world.process();
        keys.sync().await.unwrap();
        world.faults.gives.send_replace(false);
        let acme = acme();
        let mut reading = Box::pin(keys.active(&acme, Purpose::Proof));
        assert!((&mut reading).now_or_never().is_none());
        if outage {
            world.faults.always(Fault::Refused);
        }
        let retired = keys.retire(&acme, &key.id(), Retired::Compromised).await;
        assert_eq!(retired.is_err(), outage);
        world.faults.always(Fault::None);
        world.faults.gives.send_replace(true);
        let read = reading.await.unwrap();
        assert!(read.is_none_or(|read| !read.is_usable()), "{outage}");
        assert!(keys.active(&acme, Purpose::Proof).await.unwrap().is_none());
        assert_eq!(world.state(&key).await, KeyState::Compromised);
    }
}

#[tokio::test]
async fn a_key_that_was_certainly_not_written_down_is_not_left_behind_and_one_that_may_have_been_signs() {
    let world = World::new();
    let keys = world.process();
    keys.sync().await.unwrap();
    for (fault, kept) in [(Fault::NotPersisted, 0), (Fault::Refused, 1), (Fault::Lost, 2)] {
        // The signer, and then the record.
        world.faults.next([Fault::None, fault]);
        let error = keys.create(&acme(), PROOF).await.unwrap_err();
        assert!(matches!(error, KeyError::NotPersisted | KeyError::StoreUnavailable));
        assert_eq!(world.holder.kept.len(), kept, "{fault:?}");
    }
    // One was written, though nobody knows.
    let pending = KeyFilter::default().of_owner(acme());
    let [record] = &keys.list(&pending, None, 10).await.unwrap()[..] else {
        panic!()
    };
    let promoted = keys.promote(&acme(), &record.id, None, START).await;
    assert_eq!(promoted, Ok(true));
    let active = keys.active(&acme(), Purpose::Proof).await.unwrap().unwrap();
    active.sign(b"m").wait().await.unwrap();
}

#[tokio::test]
async fn a_promotion_of_unknown_outcome_may_be_repeated() {
    let world = World::new();
    let keys = world.process();
    let old = promoted(&world, &keys, None).await;
    for (fault, again) in [(Fault::Refused, true), (Fault::Lost, false)] {
        let old = keys.active(&acme(), Purpose::Proof).await.unwrap().unwrap();
        let new = keys.create(&acme(), PROOF).await.unwrap();
        let until = START.offset_seconds(3_600);
        // Both records, and then the change.
        world.faults.next([Fault::None, Fault::None, fault]);
        let unknown = keys.promote(&acme(), &new.id(), Some(&old.id()), until).await;
        assert_eq!(unknown, Err(KeyError::StoreUnavailable));
        // Until it is known the old one signs.
        sign(&old).await.unwrap();
        assert_eq!(
            keys.promote(&acme(), &new.id(), Some(&old.id()), until).await,
            Ok(again)
        );
        let active = keys.active(&acme(), Purpose::Proof).await.unwrap().unwrap();
        assert_eq!(active.id(), new.id());
        sign(&new).await.unwrap();
        keys.sync().await.unwrap();
        assert_eq!(old.state(), KeyState::Draining);
    }
    sign(&old).await.unwrap();
}

#[tokio::test]
async fn an_imported_key_has_one_owner_and_never_comes_back() {
    let world = World::new();
    let keys = world.process();
    let pem = LocalKey::generate(Algorithm::Es256, Backend::default())
        .unwrap()
        .export_pkcs8_pem()
        .unwrap();
    let read = || LocalKey::from_pem(&KeyMaterial::new(pem.expose()), Backend::default()).unwrap();
    let key = keys.import(&acme(), Purpose::Proof, read()).await.unwrap();
    assert_eq!(key.state(), KeyState::Pending);
    assert!(keys.promote(&acme(), &key.id(), None, START).await.unwrap());
    for owner in [acme(), owner("globex")] {
        let again = keys.import(&owner, Purpose::Tls, read()).await;
        assert_eq!(again.unwrap_err(), KeyError::Duplicate);
    }
    sign(&key).await.unwrap();
    assert!(keys.retire(&acme(), &key.id(), Retired::Destroyed).await.unwrap());
    let again = keys.import(&owner("globex"), Purpose::Proof, read()).await;
    assert_eq!(again.unwrap_err(), KeyError::Duplicate);
    assert!(world.holder.kept.is_empty());
}

#[cfg(feature = "rsa")]
#[tokio::test]
async fn an_rs256_key_is_taken_for_client_assertions_alone() {
    let world = World::new();
    let keys = world.process();
    let key = LocalKey::generate(Algorithm::Ps256, Backend::default()).unwrap();
    let refused = keys.import(&acme(), Purpose::Proof, key.into_rs256().unwrap()).await;
    assert!(matches!(refused, Err(KeyError::Unsupported { .. })));
    let key = LocalKey::generate(Algorithm::Ps256, Backend::default()).unwrap();
    let key = keys
        .import(&acme(), Purpose::ClientAssertion, key.into_rs256().unwrap())
        .await
        .unwrap();
    assert!(keys.promote(&acme(), &key.id(), None, START).await.unwrap());
    sign(&key).await.unwrap();
}
