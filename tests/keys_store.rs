//! The store in memory: owners, promotion, draining, limits.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use shipbound::clock::{ManualClock, Timestamp};
use shipbound::jose::Algorithm;
use shipbound::keys::{
    Backend, KeyError, KeyHandle, KeySpec, KeyState, KeyStore, LocalKey, MemoryKeyStore, Purpose, Retired,
};
use shipbound::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, Owner, Tenant, TenantId};
use shipbound::secret::KeyMaterial;
use tokio::sync::Barrier;
use uuid::Uuid;

const START: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
const PROOF: KeySpec = KeySpec {
    purpose: Purpose::Proof,
    algorithm: Algorithm::Es256,
};

fn tenant(name: &str, incarnation: Uuid) -> Owner {
    Owner::Connection(ConnectionId::new(
        DeploymentId::default_deployment(),
        Tenant::new(TenantId::new(name).unwrap(), incarnation),
        CarrierId::new("ups").unwrap(),
        Environment::Production,
        AccountId::main(),
    ))
}

fn acme() -> Owner {
    tenant("acme", Uuid::nil())
}

fn store() -> (Arc<ManualClock>, MemoryKeyStore) {
    let clock = Arc::new(ManualClock::at(START));
    (clock.clone(), MemoryKeyStore::with_clock(clock))
}

async fn sign(key: &KeyHandle) -> Result<(), KeyError> {
    let signature = key.sign(b"m").wait().await?;
    key.public().verify(b"m", signature.as_bytes()).unwrap();
    Ok(())
}

/// A key that was made and promoted in place of `replaces`.
async fn promoted(keys: &MemoryKeyStore, owner: &Owner, replaces: Option<&KeyHandle>, until: Timestamp) -> KeyHandle {
    let key = keys.create(owner, PROOF).await.unwrap();
    let replaces = replaces.map(KeyHandle::id);
    assert!(keys.promote(owner, &key.id(), replaces.as_ref(), until).await.unwrap());
    key
}

#[tokio::test]
async fn a_key_is_kept_before_it_signs_and_signs_once_promoted() {
    let (_clock, keys) = store();
    let key = keys.create(&acme(), PROOF).await.unwrap();
    assert_eq!(key.check(&acme(), Purpose::Proof), Ok(()));
    assert!(keys.active(&acme(), Purpose::Proof).await.unwrap().is_none());
    assert_eq!(keys.get(&acme(), &key.id()).await.unwrap().unwrap().jkt(), key.jkt());
    assert_eq!(
        sign(&key).await,
        Err(KeyError::Closed {
            state: KeyState::Pending
        })
    );
    assert!(keys.promote(&acme(), &key.id(), None, START).await.unwrap());
    // The handle from before the promotion and a new one are one key.
    sign(&key).await.unwrap();
    let active = keys.active(&acme(), Purpose::Proof).await.unwrap().unwrap();
    assert_eq!((active.id(), active.state()), (key.id(), KeyState::Active));
    assert!(keys.active(&acme(), Purpose::ClientAssertion).await.unwrap().is_none());
    // Once is enough.
    assert!(!keys.promote(&acme(), &key.id(), Some(&key.id()), START).await.unwrap());
    sign(&key).await.unwrap();
}

#[tokio::test]
async fn nobody_reaches_the_key_of_another_owner() {
    let (_clock, keys) = store();
    let key = promoted(&keys, &acme(), None, START).await;
    let pending = keys.create(&acme(), PROOF).await.unwrap();
    for other in [
        tenant("Acme", Uuid::nil()),
        tenant("acme", Uuid::max()),
        Owner::Deployment(DeploymentId::default_deployment()),
    ] {
        assert!(keys.active(&other, Purpose::Proof).await.unwrap().is_none());
        assert!(keys.get(&other, &key.id()).await.unwrap().is_none());
        assert_eq!(
            keys.promote(&other, &pending.id(), Some(&key.id()), START).await,
            Err(KeyError::Missing)
        );
        assert!(!keys.retire(&other, &key.id(), Retired::Compromised).await.unwrap());
    }
    sign(&key).await.unwrap();
    assert_eq!(pending.state(), KeyState::Pending);
}

#[tokio::test]
async fn promotion_is_both_or_neither() {
    let (_clock, keys) = store();
    let until = START.offset_seconds(60);
    let first = promoted(&keys, &acme(), None, until).await;
    let next = keys.create(&acme(), PROOF).await.unwrap();
    let stranger = keys.create(&acme(), PROOF).await.unwrap();
    for wrong in [None, Some(stranger.id()), Some(next.id())] {
        assert!(!keys.promote(&acme(), &next.id(), wrong.as_ref(), until).await.unwrap());
        assert_eq!((first.state(), next.state()), (KeyState::Active, KeyState::Pending));
    }
    assert!(
        keys.promote(&acme(), &next.id(), Some(&first.id()), until)
            .await
            .unwrap()
    );
    assert_eq!((first.state(), next.state()), (KeyState::Draining, KeyState::Active));
    // A key for another purpose is nobody's predecessor.
    let assertion = KeySpec {
        purpose: Purpose::ClientAssertion,
        ..PROOF
    };
    let assertion = keys.create(&acme(), assertion).await.unwrap();
    assert!(
        !keys
            .promote(&acme(), &assertion.id(), Some(&next.id()), until)
            .await
            .unwrap()
    );
    assert!(keys.promote(&acme(), &assertion.id(), None, until).await.unwrap());
    assert_eq!(next.state(), KeyState::Active);
}

#[tokio::test]
async fn a_promotion_whose_predecessor_is_gone_asks_to_look_again() {
    let (_clock, keys) = store();
    let first = promoted(&keys, &acme(), None, START).await;
    let next = keys.create(&acme(), PROOF).await.unwrap();
    assert!(keys.retire(&acme(), &first.id(), Retired::Compromised).await.unwrap());
    assert!(
        !keys
            .promote(&acme(), &next.id(), Some(&first.id()), START)
            .await
            .unwrap()
    );
    assert!(keys.active(&acme(), Purpose::Proof).await.unwrap().is_none());
    assert!(keys.promote(&acme(), &next.id(), None, START).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_all_that_race_for_a_promotion_one_wins() {
    const RACERS: usize = 4;
    for round in 0..50 {
        let (_clock, keys) = store();
        let keys = Arc::new(keys);
        // Every other round there is a predecessor.
        let first = match round % 2 {
            0 => None,
            _ => Some(promoted(&keys, &acme(), None, START).await),
        };
        let replaces = first.as_ref().map(KeyHandle::id);
        let barrier = Arc::new(Barrier::new(RACERS));
        let mut racers = Vec::new();
        for _ in 0..RACERS {
            let (keys, barrier) = (Arc::clone(&keys), Arc::clone(&barrier));
            racers.push(tokio::spawn(async move {
                let key = keys.create(&acme(), PROOF).await.unwrap();
                barrier.wait().await;
                let until = START.offset_seconds(60);
                let won = keys
                    .promote(&acme(), &key.id(), replaces.as_ref(), until)
                    .await
                    .unwrap();
                (key, won)
            }));
        }
        let mut winners = Vec::new();
        for racer in racers {
            let (key, won) = racer.await.unwrap();
            assert_eq!(key.state() == KeyState::Active, won);
            assert_eq!(key.is_usable(), won);
            if won {
                winners.push(key.id());
            }
        }
        let active = keys.active(&acme(), Purpose::Proof).await.unwrap().unwrap();
        assert_eq!(winners, [active.id()]);
        if let Some(first) = first {
            assert_eq!(first.state(), KeyState::Draining);
        }
    }
}

#[tokio::test]
async fn a_replaced_key_signs_until_its_drain_ends_and_is_then_gone() {
    let (clock, keys) = store();
    let old = promoted(&keys, &acme(), None, START).await;
    let new = promoted(&keys, &acme(), Some(&old), START.offset_seconds(3_600)).await;
    clock.advance(Duration::from_secs(3_599));
    sign(&old).await.unwrap();
    assert!(keys.get(&acme(), &old.id()).await.unwrap().is_some());
    clock.set_wall(START);
    clock.advance(Duration::from_secs(1));
    assert_eq!(
        sign(&old).await,
        Err(KeyError::Closed {
            state: KeyState::Destroyed
        })
    );
    assert!(keys.get(&acme(), &old.id()).await.unwrap().is_none());
    assert_eq!(keys.len(), 1);
    sign(&new).await.unwrap();
}

#[tokio::test]
async fn retiring_closes_every_handle_that_was_given_out() {
    let (_clock, keys) = store();
    for end in [Retired::Destroyed, Retired::Compromised] {
        let key = promoted(&keys, &acme(), None, START).await;
        let again = keys.active(&acme(), Purpose::Proof).await.unwrap().unwrap();
        let by_id = keys.get(&acme(), &key.id()).await.unwrap().unwrap();
        assert!(keys.retire(&acme(), &key.id(), end).await.unwrap());
        for handle in [&key, &again, &by_id] {
            assert_eq!(sign(handle).await, Err(KeyError::Closed { state: end.into() }));
        }
        assert!(keys.active(&acme(), Purpose::Proof).await.unwrap().is_none());
        assert!(keys.get(&acme(), &key.id()).await.unwrap().is_none());
        assert!(!keys.retire(&acme(), &key.id(), end).await.unwrap());
        assert_eq!(
            keys.promote(&acme(), &key.id(), None, START).await,
            Err(KeyError::Missing)
        );
    }
    assert!(keys.is_empty());
}

#[tokio::test]
async fn limits_hold_and_ended_keys_make_room() {
    let (clock, keys) = store();
    let keys = keys.with_limits(3, 2);
    let (one, two, three) = (acme(), tenant("globex", Uuid::nil()), tenant("initech", Uuid::nil()));
    let old = promoted(&keys, &one, None, START).await;
    promoted(&keys, &one, Some(&old), START.offset_seconds(60)).await;
    assert_eq!(keys.create(&one, PROOF).await.unwrap_err(), KeyError::Full { limit: 2 });
    let last = keys.create(&two, PROOF).await.unwrap();
    assert_eq!(
        keys.create(&three, PROOF).await.unwrap_err(),
        KeyError::Full { limit: 3 }
    );
    let local = LocalKey::generate(Algorithm::Es256, Backend::default()).unwrap();
    assert_eq!(
        keys.import(&three, Purpose::Proof, local).unwrap_err(),
        KeyError::Full { limit: 3 }
    );
    assert_eq!(keys.len(), 3);
    // Another owner's drained key, which nobody has touched since, makes room.
    clock.advance(Duration::from_secs(60));
    keys.create(&three, PROOF).await.unwrap();
    assert_eq!(keys.len(), 3);
    // So does one that was closed by its handle.
    last.close(Retired::Destroyed);
    keys.create(&one, PROOF).await.unwrap();
    assert_eq!(keys.len(), 3);
}

#[tokio::test]
async fn an_imported_key_has_one_owner_and_does_not_come_back_when_compromised() {
    let (_clock, keys) = store();
    let pem = LocalKey::generate(Algorithm::Es256, Backend::default())
        .unwrap()
        .export_pkcs8_pem()
        .unwrap();
    let read = || LocalKey::from_pem(&KeyMaterial::new(pem.expose()), Backend::default()).unwrap();
    let key = keys.import(&acme(), Purpose::Proof, read()).unwrap();
    assert_eq!(key.state(), KeyState::Pending);
    let other = tenant("globex", Uuid::nil());
    for owner in [&acme(), &other] {
        assert_eq!(
            keys.import(owner, Purpose::Tls, read()).unwrap_err(),
            KeyError::Duplicate
        );
    }
    assert_eq!(keys.len(), 1);
    assert!(keys.retire(&acme(), &key.id(), Retired::Destroyed).await.unwrap());
    let key = keys.import(&other, Purpose::Proof, read()).unwrap();
    assert!(keys.promote(&other, &key.id(), None, START).await.unwrap());
    sign(&key).await.unwrap();
    assert!(keys.retire(&other, &key.id(), Retired::Compromised).await.unwrap());
    assert_eq!(
        keys.import(&other, Purpose::Proof, read()).unwrap_err(),
        KeyError::Duplicate
    );
}

#[cfg(feature = "rsa")]
#[tokio::test(flavor = "current_thread")]
async fn rsa_keys_are_made_off_the_async_thread() {
    use futures_util::FutureExt;

    let (_clock, keys) = store();
    let owner = acme();
    let spec = KeySpec {
        algorithm: Algorithm::Ps256,
        ..PROOF
    };
    let mut making = std::pin::pin!(keys.create(&owner, spec));
    // Made on this thread, the key would be there after one poll.
    assert!((&mut making).now_or_never().is_none());
    let probe = tokio::spawn(async { tokio::task::yield_now().await });
    probe.await.unwrap();
    let key = making.await.unwrap();
    assert!(keys.promote(&owner, &key.id(), None, START).await.unwrap());
    sign(&key).await.unwrap();
    assert_eq!(key.algorithm(), Algorithm::Ps256);
}

#[cfg(feature = "rsa")]
#[tokio::test]
async fn an_rs256_key_is_kept_for_client_assertions_alone() {
    let (_clock, keys) = store();
    let pem = LocalKey::generate(Algorithm::Ps256, Backend::default())
        .unwrap()
        .export_pkcs8_pem()
        .unwrap();
    let rs256 = || {
        let key = LocalKey::from_pem(&KeyMaterial::new(pem.expose()), Backend::default()).unwrap();
        key.into_rs256().unwrap()
    };
    let is_unsupported = |error| {
        let algorithm = Algorithm::Rs256;
        matches!(error, KeyError::Unsupported { algorithm: named, .. } if named == algorithm)
    };
    for purpose in [Purpose::Proof, Purpose::Tls] {
        assert!(is_unsupported(keys.import(&acme(), purpose, rs256()).unwrap_err()));
    }
    let spec = KeySpec {
        purpose: Purpose::ClientAssertion,
        algorithm: Algorithm::Rs256,
    };
    assert!(is_unsupported(keys.create(&acme(), spec).await.unwrap_err()));
    assert!(keys.is_empty());
    let key = keys.import(&acme(), Purpose::ClientAssertion, rs256()).unwrap();
    assert!(keys.promote(&acme(), &key.id(), None, START).await.unwrap());
    key.check(&acme(), Purpose::ClientAssertion).unwrap();
    assert_eq!(key.algorithm(), Algorithm::Rs256);
    sign(&key).await.unwrap();
    // The same key with the other algorithm is the same key.
    let again = LocalKey::from_pem(&KeyMaterial::new(pem.expose()), Backend::default()).unwrap();
    assert_eq!(
        keys.import(&acme(), Purpose::Proof, again).unwrap_err(),
        KeyError::Duplicate
    );
}

#[tokio::test]
async fn a_store_makes_its_keys_with_its_backend() {
    let (_clock, keys) = store();
    let keys = keys.with_backend(Backend::P256);
    let key = promoted(&keys, &acme(), None, START).await;
    let signature = || async { key.sign(b"m").wait().await.unwrap() };
    assert_eq!(signature().await, signature().await, "RFC 6979");
    let spec = KeySpec {
        algorithm: Algorithm::Ed25519,
        ..PROOF
    };
    assert!(matches!(
        keys.create(&acme(), spec).await,
        Err(KeyError::Unsupported {
            algorithm: Algorithm::Ed25519,
            ..
        })
    ));
    assert_eq!(keys.len(), 1);
    let shown = format!("{keys:?}");
    assert_eq!(shown, "MemoryKeyStore { backend: P256, keys: 1, .. }");
}
