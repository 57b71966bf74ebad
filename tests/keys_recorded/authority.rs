//! A handle signs while its process knows how things stand.

use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use shipbound::chore::Chore;
use shipbound::clock::Clock;
use shipbound::keys::{KeyError, KeyState, KeyStore, Purpose, Retired, Signing};

use super::world::{Fault, START, World, acme, promoted, sign};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn who_has_looked_signs_at_once_and_who_has_not_looks_first() {
    let world = World::new();
    let keys = world.process();
    let key = promoted(&world, &keys, None).await;
    assert_eq!(world.faults.looks(), 1, "before the first handle");
    world.clock.advance(59 * SECOND);
    assert!(matches!(key.sign(b"m"), Signing::Now(Ok(_))));
    world.clock.advance(SECOND);
    assert!(matches!(key.sign(b"m"), Signing::Later(_)));
    // A hundred at once look once.
    for signed in join_all((0..100).map(|_| sign(&key))).await {
        signed.unwrap();
    }
    assert_eq!(world.faults.looks(), 2);
    assert!(matches!(key.sign(b"m"), Signing::Now(Ok(_))));
    // The machine was suspended: the wall clock alone has moved.
    world.clock.set_wall(world.clock.now().offset_seconds(60));
    assert!(matches!(key.sign(b"m"), Signing::Later(_)));
    sign(&key).await.unwrap();
    assert_eq!(world.faults.looks(), 3);
    // And set back, the other one counts.
    world.clock.set_wall(START.offset_seconds(-86_400));
    assert!(matches!(key.sign(b"m"), Signing::Now(Ok(_))));
    world.clock.advance(60 * SECOND);
    sign(&key).await.unwrap();
    assert_eq!(world.faults.looks(), 4);
}

#[tokio::test]
async fn what_another_process_did_is_known_after_the_next_look() {
    let world = World::new();
    let (here, there) = (world.process(), world.process());
    let key = promoted(&world, &here, None).await;
    let copy = there.active(&acme(), Purpose::Proof).await.unwrap().unwrap();
    assert!(here.retire(&acme(), &key.id(), Retired::Compromised).await.unwrap());
    // Not yet, and then by whoever signs.
    sign(&copy).await.unwrap();
    world.clock.advance(60 * SECOND);
    let closed = Err(KeyError::Closed {
        state: KeyState::Compromised,
    });
    assert_eq!(sign(&copy).await, closed);

    let key = promoted(&world, &here, None).await;
    let copy = there.get(&acme(), &key.id()).await.unwrap().unwrap();
    let next = promoted(&world, &here, Some(&key)).await;
    let late = there.get(&acme(), &next.id()).await.unwrap().unwrap();
    assert!(here.retire(&acme(), &next.id(), Retired::Destroyed).await.unwrap());
    there.sync().await.unwrap();
    assert_eq!((copy.state(), late.state()), (KeyState::Draining, KeyState::Destroyed));
    sign(&copy).await.unwrap();
    world.clock.advance(3_600 * SECOND);
    assert_eq!(copy.state(), KeyState::Destroyed);
}

#[tokio::test]
async fn an_outage_does_not_stop_keys_until_the_last_look_is_too_old() {
    let world = World::new();
    let keys = world.process();
    let key = promoted(&world, &keys, None).await;
    world.faults.always(Fault::Refused);
    world.clock.advance(60 * SECOND);
    sign(&key).await.unwrap();
    let looks = world.faults.looks();
    // Nobody looks within the pause, and so nobody waits.
    world.clock.advance(SECOND * 49 / 10);
    assert!(matches!(key.sign(b"m"), Signing::Now(Ok(_))));
    assert_eq!(world.faults.looks(), looks);
    world.clock.advance(SECOND / 10);
    assert!(matches!(key.sign(b"m"), Signing::Later(_)));
    sign(&key).await.unwrap();
    assert_eq!(world.faults.looks(), looks + 1);
    // A quarter of an hour after the last look that went well.
    world.clock.advance(Duration::from_secs(15 * 60 - 65) - SECOND / 1_000);
    sign(&key).await.unwrap();
    world.clock.advance(SECOND / 1_000);
    assert!(matches!(key.sign(b"m"), Signing::Now(Err(KeyError::StoreUnavailable))));
    world.clock.advance(5 * SECOND);
    assert_eq!(sign(&key).await, Err(KeyError::StoreUnavailable));
    world.faults.always(Fault::None);
    assert_eq!(sign(&key).await, Err(KeyError::StoreUnavailable), "within the pause");
    world.clock.advance(5 * SECOND);
    sign(&key).await.unwrap();
}

#[tokio::test]
async fn a_machine_that_wakes_up_without_its_store_does_not_sign() {
    let world = World::new();
    let keys = world.process();
    let key = promoted(&world, &keys, None).await;
    world.faults.always(Fault::Refused);
    world.clock.set_wall(START.offset_seconds(15 * 60));
    assert_eq!(sign(&key).await, Err(KeyError::StoreUnavailable));
}

#[tokio::test]
async fn a_look_has_a_limit_and_who_leaves_it_holds_up_nobody() {
    let world = World::new();
    let keys = world.process();
    let key = promoted(&world, &keys, None).await;
    world.faults.always(Fault::Hangs);
    world.clock.advance(60 * SECOND);
    let looks = world.faults.looks();
    {
        let mut first = pin!(sign(&key));
        assert!((&mut first).now_or_never().is_none());
        let mut second = pin!(sign(&key));
        assert!((&mut second).now_or_never().is_none());
        assert_eq!(world.faults.looks(), looks + 1, "one look for both");
        world.clock.advance(5 * SECOND);
        first.await.unwrap();
        second.await.unwrap();
    }
    // One that its only caller has left has failed, too.
    world.clock.advance(5 * SECOND);
    let looks = world.faults.looks();
    assert!(sign(&key).now_or_never().is_none());
    assert_eq!(world.faults.looks(), looks + 1);
    assert!(matches!(key.sign(b"m"), Signing::Now(Ok(_))));
}

#[tokio::test]
async fn a_state_that_went_back_stops_all_keys_until_a_look_finds_all_well() {
    let world = World::new();
    let keys = world.process();
    let key = promoted(&world, &keys, None).await;
    // Found by a look.
    world.faults.always(Fault::RolledBack);
    assert_eq!(keys.sync().await, Err(KeyError::RolledBack));
    assert!(matches!(key.sign(b"m"), Signing::Now(Err(KeyError::RolledBack))));
    world.clock.advance(5 * SECOND);
    assert_eq!(sign(&key).await, Err(KeyError::RolledBack));
    // An outage does not heal it.
    world.faults.always(Fault::Refused);
    world.clock.advance(5 * SECOND);
    assert_eq!(sign(&key).await, Err(KeyError::RolledBack));
    world.faults.always(Fault::None);
    world.clock.advance(5 * SECOND);
    sign(&key).await.unwrap();
    // Found by whoever reads.
    world.faults.next([Fault::RolledBack]);
    assert_eq!(
        keys.active(&acme(), Purpose::Proof).await.unwrap_err(),
        KeyError::RolledBack
    );
    world.faults.always(Fault::Refused);
    assert_eq!(sign(&key).await, Err(KeyError::RolledBack));
    world.faults.always(Fault::None);
    keys.sync().await.unwrap();
    sign(&key).await.unwrap();
}

#[tokio::test]
async fn the_upkeep_looks_so_that_no_signature_waits() {
    let world = World::new();
    let keys = world.process();
    let key = promoted(&world, &keys, None).await;
    for _ in 0..30 {
        world.clock.advance(keys.every());
        keys.round(&|| true).await;
        assert!(matches!(key.sign(b"m"), Signing::Now(Ok(_))));
    }
}

#[tokio::test]
async fn no_handle_is_given_out_before_the_first_look() {
    let world = World::new();
    let keys = world.process();
    let key = promoted(&world, &keys, None).await;
    let later = world.process();
    world.faults.next([Fault::Refused]);
    assert_eq!(
        later.get(&acme(), &key.id()).await.unwrap_err(),
        KeyError::StoreUnavailable
    );
    assert!(later.get(&acme(), &key.id()).await.unwrap().is_some());
}
