//! The end of keys, at every step at which something may fail.

use std::cell::Cell;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use shipbound::chore::Chore;
use shipbound::keys::{
    KeyEnds, KeyError, KeyHandle, KeyId, KeyRecord, KeyRecords, KeyState, KeyStore, Purpose, Retired,
};

use super::world::{Fault, Keys, PROOF, START, World, acme, owner, promoted, sign};

#[tokio::test]
async fn retiring_closes_here_first_and_is_made_good_when_the_store_is_back() {
    let world = World::new();
    let keys = world.process();
    let key = promoted(&world, &keys, None).await;
    world.faults.always(Fault::Refused);
    let retired = keys.retire(&acme(), &key.id(), Retired::Compromised).await;
    assert_eq!(retired, Err(KeyError::StoreUnavailable));
    assert_eq!(key.state(), KeyState::Compromised);
    let id = key.id();
    // Nobody holds it any more, and nobody gets it again.
    drop(key);
    world.faults.always(Fault::None);
    assert!(keys.active(&acme(), Purpose::Proof).await.unwrap().is_none());
    let stored = world.records.kept.load(&acme(), &id).await.unwrap().unwrap();
    assert_eq!(stored.record.state, KeyState::Compromised);
    assert!(stored.material.is_none() && world.holder.kept.is_empty());
    // There is room for another.
    promoted(&world, &keys, None).await;
}

#[tokio::test]
async fn a_stranger_closes_nothing() {
    let world = World::new();
    let keys = world.process();
    let key = promoted(&world, &keys, None).await;
    for fault in [Fault::None, Fault::Refused] {
        world.faults.always(fault);
        let stranger = keys.retire(&owner("globex"), &key.id(), Retired::Compromised).await;
        assert_ne!(stranger, Ok(true));
        world.faults.always(Fault::None);
        sign(&key).await.unwrap();
        let (id, state) = (key.id(), KeyState::Active);
        let read = keys.active(&acme(), Purpose::Proof).await.unwrap().unwrap();
        assert_eq!((read.id(), read.state()), (id, state));
    }
    // Nor when no handle is there, in whose place a stranger's word would stand.
    let id = key.id();
    drop(key);
    world.faults.always(Fault::Refused);
    assert!(keys.retire(&owner("globex"), &id, Retired::Compromised).await.is_err());
    world.faults.always(Fault::None);
    sign(&keys.get(&acme(), &id).await.unwrap().unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_handle_that_was_closed_outside_is_retired_when_it_is_read() {
    let world = World::new();
    let keys = world.process();
    let key = promoted(&world, &keys, None).await;
    key.close(Retired::Compromised);
    assert!(keys.active(&acme(), Purpose::Proof).await.unwrap().is_none());
    assert_eq!(world.state(&key).await, KeyState::Compromised);
    promoted(&world, &keys, None).await;
}

#[tokio::test]
async fn a_destroyed_key_may_become_compromised_and_never_back() {
    let world = World::new();
    let keys = world.process();
    let key = promoted(&world, &keys, None).await;
    assert!(keys.retire(&acme(), &key.id(), Retired::Destroyed).await.unwrap());
    let ended_at = world.record(&key).await.record.ended_at;
    world.clock.advance(Duration::from_secs(1));
    assert!(keys.retire(&acme(), &key.id(), Retired::Compromised).await.unwrap());
    assert_eq!(key.state(), KeyState::Compromised);
    assert!(!keys.retire(&acme(), &key.id(), Retired::Destroyed).await.unwrap());
    let record = world.record(&key).await.record;
    assert_eq!((record.state, record.ended_at), (KeyState::Compromised, ended_at));
    assert_eq!(ended_at, Some(START));
}

#[tokio::test]
async fn a_private_half_that_cannot_be_destroyed_is_destroyed_later() {
    let world = World::new();
    let keys = world.process();
    let key = promoted(&world, &keys, None).await;
    // The record, the change, and then the holder.
    world.faults.next([Fault::None, Fault::None, Fault::Refused]);
    assert!(keys.retire(&acme(), &key.id(), Retired::Destroyed).await.unwrap());
    assert!(world.record(&key).await.material.is_some());
    assert_eq!(world.holder.kept.len(), 1);
    assert_eq!(keys.tidy(10, &|| true).await, Ok(1));
    assert!(world.record(&key).await.material.is_none());
    assert!(world.holder.kept.is_empty());
    assert_eq!(keys.tidy(10, &|| true).await, Ok(0));
}

#[tokio::test]
async fn a_holder_whose_keys_go_with_the_record_is_asked_nothing_more() {
    let world = World::keeping(false);
    let keys = world.process();
    let key = promoted(&world, &keys, None).await;
    assert!(keys.retire(&acme(), &key.id(), Retired::Destroyed).await.unwrap());
    assert!(world.record(&key).await.material.is_none());
    assert_eq!(world.holder.kept.len(), 1, "this holder only says so");
}

#[tokio::test]
async fn tidying_ends_what_is_over_and_nothing_else() {
    let world = World::new();
    let keys = world.process();
    let old = promoted(&world, &keys, None).await;
    let new = promoted(&world, &keys, Some(&old)).await;
    let pending = keys.create(&acme(), PROOF).await.unwrap();
    assert_eq!(keys.tidy(10, &|| true).await, Ok(0));
    world.clock.advance(Duration::from_secs(3_599));
    assert_eq!(keys.tidy(10, &|| true).await, Ok(0));
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(keys.tidy(10, &|| false).await, Ok(0), "the upkeep stops");
    assert_eq!(keys.tidy(10, &|| true).await, Ok(1));
    let ended = world.record(&old).await;
    assert_eq!(ended.record.state, KeyState::Destroyed);
    assert!(ended.material.is_none());
    world.clock.advance(Duration::from_secs(90 * 86_400 - 3_601));
    assert_eq!(keys.tidy(10, &|| true).await, Ok(0));
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(keys.tidy(10, &|| true).await, Ok(1));
    assert_eq!(world.state(&pending).await, KeyState::Destroyed);
    assert_eq!(pending.state(), KeyState::Destroyed, "its handle, too");
    sign(&new).await.unwrap();
}

/// Who is told of ends.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<(KeyId, KeyState)>>);

impl KeyEnds for Told {
    fn destroyed(&self, key: &KeyRecord) {
        self.0.lock().unwrap().push((key.id, key.state));
    }
}

#[tokio::test]
async fn what_tidying_ends_is_told_once_by_the_process_that_ended_it() {
    let world = World::new();
    let (told, other) = (Arc::new(Told::default()), Arc::new(Told::default()));
    let keys = world.process().telling(told.clone()).telling(other.clone());
    let elsewhere = world.process().telling(other.clone());
    let old = promoted(&world, &keys, None).await;
    let new = promoted(&world, &keys, Some(&old)).await;
    assert!(keys.retire(&acme(), &new.id(), Retired::Destroyed).await.unwrap());
    let pending = keys.create(&acme(), PROOF).await.unwrap();
    for process in [&keys, &elsewhere] {
        assert_eq!(process.tidy(10, &|| true).await, Ok(0));
    }
    world.clock.advance(Duration::from_secs(3_600));
    keys.tidy(10, &|| true).await.unwrap();
    elsewhere.tidy(10, &|| true).await.unwrap();
    assert_eq!(*told.0.lock().unwrap(), [(old.id(), KeyState::Draining)]);
    world.clock.advance(Duration::from_secs(90 * 86_400));
    elsewhere.tidy(10, &|| true).await.unwrap();
    keys.tidy(10, &|| true).await.unwrap();
    assert_eq!(*other.0.lock().unwrap(), [(pending.id(), KeyState::Pending)]);
    assert_eq!(told.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_round_of_tidying_is_bounded_and_the_next_one_goes_on() {
    let world = World::new();
    let keys = world.process();
    let mut living = Vec::new();
    let mut last = promoted(&world, &keys, None).await;
    for _ in 0..25 {
        let next = promoted(&world, &keys, Some(&last)).await;
        living.push(std::mem::replace(&mut last, next));
        // Such as never are over stand between them.
        keys.create(&acme(), PROOF).await.unwrap();
    }
    world.clock.advance(Duration::from_secs(3_600));
    let mut rounds = Vec::new();
    while world.holder.kept.len() > 26 {
        rounds.push(keys.tidy(10, &|| true).await.unwrap());
        assert!(rounds.len() < 20, "{rounds:?}");
    }
    assert!(rounds.iter().all(|done| *done <= 10), "{rounds:?}");
    assert_eq!(rounds.iter().sum::<usize>(), 25);
    sign(&last).await.unwrap();
}

#[tokio::test]
async fn a_private_half_that_never_goes_holds_up_no_other_and_no_look() {
    let world = World::new();
    let keys = world.process();
    for _ in 0..9 {
        let key = promoted(&world, &keys, None).await;
        world.faults.next([Fault::None, Fault::None, Fault::Refused]);
        assert!(keys.retire(&acme(), &key.id(), Retired::Destroyed).await.unwrap());
    }
    // The records to be ended, those to be wiped, and then the first ones of these.
    let (none, refused) = (Fault::None, Fault::Refused);
    world.faults.next([none, none, refused, refused, refused]);
    assert_eq!(keys.tidy(3, &|| true).await, Ok(0));
    for left in [6, 3] {
        assert_eq!(keys.tidy(3, &|| true).await, Ok(3));
        assert_eq!(world.holder.kept.len(), left);
    }
    // All were tried, and the first ones once more. One hangs, in a round of the upkeep.
    assert_eq!(keys.tidy(3, &|| true).await, Ok(0));
    world.faults.next([none, none, none, Fault::Hangs]);
    {
        let mut round = pin!(keys.round(&|| true));
        assert!((&mut round).now_or_never().is_none());
        world.clock.advance(keys.every());
        round.await;
    }
    assert_eq!(world.holder.kept.len(), 3);
    assert_eq!(keys.tidy(3, &|| true).await, Ok(2));
    assert_eq!(keys.tidy(3, &|| true).await, Ok(1));
    assert!(world.holder.kept.is_empty());
}

#[tokio::test]
async fn two_processes_tidy_at_once() {
    let world = World::new();
    let (one, other) = (world.process(), world.process());
    let mut last = promoted(&world, &one, None).await;
    for _ in 0..20 {
        last = promoted(&world, &one, Some(&last)).await;
    }
    world.clock.advance(Duration::from_secs(3_600));
    let all = || true;
    let (a, b) = tokio::join!(one.tidy(100, &all), other.tidy(100, &all));
    assert_eq!(a.unwrap() + b.unwrap(), 20);
    assert_eq!(world.holder.kept.len(), 1);
    sign(&last).await.unwrap();
}

/// What a process does to keys, from the first to the last step, unless something fails. `making` is true where a key is
/// made that is not written down yet.
async fn life(world: &World, keys: &Keys, making: &Cell<bool>) -> Result<(), KeyError> {
    let make = async || {
        making.set(true);
        let made = keys.create(&acme(), PROOF).await?;
        making.set(false);
        Ok::<KeyHandle, KeyError>(made)
    };
    let first = make().await?;
    keys.promote(&acme(), &first.id(), None, START).await?;
    let second = make().await?;
    let until = START.offset_seconds(3_600);
    keys.promote(&acme(), &second.id(), Some(&first.id()), until).await?;
    let third = make().await?;
    keys.promote(&acme(), &third.id(), Some(&second.id()), until).await?;
    keys.retire(&acme(), &second.id(), Retired::Destroyed).await?;
    world.clock.advance(Duration::from_secs(3_600));
    keys.tidy(10, &|| true).await?;
    Ok(())
}

#[tokio::test]
async fn a_crash_at_any_step_loses_no_key_and_leaves_none_for_ever() {
    for fault in [Fault::Refused, Fault::Lost] {
        let mut steps = 0;
        loop {
            let world = World::new();
            let crashed = world.process();
            crashed.sync().await.unwrap();
            // Everything after that step is lost with the process.
            let faults = (0..steps).map(|_| Fault::None).chain([fault]);
            world.faults.next(faults);
            world.faults.always(Fault::Refused);
            let making = Cell::new(false);
            let went = life(&world, &crashed, &making).await;
            let was_met = world.faults.next.lock().unwrap().is_empty();
            drop(crashed);
            world.faults.next([]);
            world.faults.always(Fault::None);

            let later = world.process();
            let active = later.active(&acme(), Purpose::Proof).await.unwrap();
            if let Some(active) = &active {
                sign(active).await.unwrap();
            }
            check_end(&world, &later, active, making.get()).await;
            if went.is_ok() && !was_met {
                break;
            }
            steps += 1;
            assert!(steps < 200);
        }
        assert!(steps > 15, "{steps}");
    }
}

/// After a while, one key is left: the one that is active. (And one in the device, if the process died when it had made it
/// and not yet written down.)
async fn check_end(world: &World, keys: &Keys, active: Option<KeyHandle>, was_making: bool) {
    world.clock.advance(Duration::from_secs(91 * 86_400));
    for _ in 0..4 {
        keys.tidy(10, &|| true).await.unwrap();
    }
    let left = world.holder.kept.len() - usize::from(active.is_some());
    assert!(left <= usize::from(was_making), "{left}");
    let living = shipbound::keys::KeyFilter::default()
        .in_state(KeyState::Pending)
        .in_state(KeyState::Active)
        .in_state(KeyState::Draining);
    let living = shipbound::keys::KeyListing::list(keys, &living, None, 10)
        .await
        .unwrap();
    let living: Vec<_> = living.iter().map(|record| record.id).collect();
    assert_eq!(living, active.iter().map(KeyHandle::id).collect::<Vec<_>>());
    if let Some(active) = active {
        sign(&active).await.unwrap();
    }
}
