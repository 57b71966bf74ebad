//! Rotations that end at every step: the next process takes up what is there.

use std::sync::Arc;

use futures_util::future::join_all;
use shipbound::journal::KeyChange;
use shipbound::keys::{KeyFilter, KeyState, Purpose};
use shipbound::rotation::{Rotator, Selection, Why};

use crate::stops::{Stop, Stopping};
use crate::world::{DAY, HOUR, LATE, World, act, production, round, world};

/// Runs a round of a process that ends at step `at`.
async fn stopped_round(world: &World, at: usize, stop: Stop) -> bool {
    let stopping = Arc::new(Stopping::new(world.keys(), at, stop));
    let rotator = world.rotator_of(stopping.clone()).build().unwrap();
    tokio::select! {
        () = round(&rotator) => false,
        () = stopping.stopped.notified() => true,
    }
}

#[tokio::test]
async fn a_process_that_ends_at_any_step_leaves_nothing_undone() {
    for purpose in [Purpose::Proof, Purpose::ClientAssertion] {
        for stop in [Stop::Before, Stop::After] {
            for at in 0..2 {
                let world = world();
                let acme = production("acme");
                let old = world.key(&acme, purpose).await;
                world.clock.advance(LATE);
                let mut stopped = stopped_round(&world, at, stop).await;
                if purpose == Purpose::ClientAssertion && at == 1 {
                    // The second step comes a day later.
                    assert!(!stopped);
                    world.clock.advance(DAY - HOUR);
                    world.clock.advance(HOUR);
                    stopped = stopped_round(&world, 0, stop).await;
                }
                assert!(stopped, "{purpose} {stop:?} {at}");
                // Whatever was done: there is one key that signs, and it is not lost.
                world.active(&acme).await;

                // The next process.
                let rotator = world.rotator();
                round(&rotator).await;
                if purpose == Purpose::ClientAssertion {
                    world.clock.advance(DAY);
                    round(&rotator).await;
                }
                let active = world.active(&acme).await;
                assert_ne!(active.id, old.id(), "{purpose} {stop:?} {at}");
                assert_eq!(world.of(&acme, KeyState::Draining).await.len(), 1);
                let made = world.all(KeyFilter::default().of_owner(acme.clone())).await;
                assert_eq!(made.len(), 2, "a pending key that is there is used: {made:?}");
                assert!(world.of(&acme, KeyState::Pending).await.is_empty());
            }
        }
    }
}

#[tokio::test]
async fn a_process_that_ends_while_it_destroys_is_followed_by_one_that_does() {
    for stop in [Stop::Before, Stop::After] {
        let world = world();
        let acme = production("acme");
        world.key(&acme, Purpose::Proof).await;
        world.clock.advance(LATE);
        round(&world.rotator()).await;
        world.clock.advance(2 * DAY);
        // A process believes its clock after a while.
        let stopping = Arc::new(Stopping::new(world.keys(), 0, stop));
        let first = world.rotator_of(stopping.clone()).build().unwrap();
        let next = world.rotator();
        round(&next).await;
        assert_eq!(world.of(&acme, KeyState::Draining).await.len(), 1);
        world.clock.advance(HOUR);
        tokio::select! {
            () = round(&first) => panic!("it stops"),
            () = stopping.stopped.notified() => {}
        }
        round(&next).await;
        assert!(world.of(&acme, KeyState::Draining).await.is_empty());
        assert_eq!(world.of(&acme, KeyState::Destroyed).await.len(), 1);
        world.active(&acme).await;
    }
}

#[tokio::test]
async fn a_store_that_fails_or_loses_its_answer_is_tried_again() {
    for stop in [Stop::Refused, Stop::Unanswered, Stop::Panics] {
        for at in 0..2 {
            let world = world();
            let acme = production("acme");
            let old = world.key(&acme, Purpose::Proof).await;
            world.clock.advance(LATE);
            let stopping = Arc::new(Stopping::new(world.keys(), at, stop));
            let rotator = world.rotator_of(stopping).build().unwrap();
            round(&rotator).await;
            let told = |wanted: &str| {
                world.count(|change| matches!(change, KeyChange::RotationFailed { code, .. } if *code == wanted))
            };
            match stop {
                Stop::Panics => assert_eq!(told("panicked"), 1),
                _ => assert_eq!(told("store_unavailable"), 1),
            }
            round(&rotator).await;
            assert_ne!(world.active(&acme).await.id, old.id(), "{stop:?} {at}");
            assert!(world.of(&acme, KeyState::Pending).await.is_empty(), "{stop:?} {at}");
        }
    }
}

#[tokio::test]
async fn a_pending_key_that_nobody_came_back_for_does_not_stay() {
    let world = world();
    let acme = production("acme");
    let old = world.key(&acme, Purpose::Proof).await;
    world.clock.advance(LATE);
    assert!(stopped_round(&world, 1, Stop::Before).await);
    let [left] = &world.of(&acme, KeyState::Pending).await[..] else {
        panic!("one is pending")
    };
    // Nobody looks for two days: it is not used any more, and goes.
    world.clock.advance(2 * DAY);
    let rotator = world.rotator();
    round(&rotator).await;
    let active = world.active(&acme).await;
    assert!(active.id != old.id() && active.id != left.id);
    world.clock.advance(HOUR);
    round(&rotator).await;
    assert!(world.of(&acme, KeyState::Pending).await.is_empty());
    let ended = world.of(&acme, KeyState::Destroyed).await;
    assert_eq!(ended.iter().map(|key| key.id).collect::<Vec<_>>(), [left.id]);
}

#[tokio::test]
async fn a_compromise_that_is_interrupted_anywhere_is_ended_by_the_next_process() {
    for stop in [Stop::Before, Stop::After] {
        for at in 0..3 {
            let world = world();
            let acme = production("acme");
            let old = world.key(&acme, Purpose::Proof).await;
            world.clock.advance(DAY);
            let stopping = Arc::new(Stopping::new(world.keys(), at, stop));
            let first = world.rotator_of(stopping.clone()).build().unwrap();
            let run = first.rotate(Selection::All, Why::Compromised, &act());
            let began = run.began();
            world.clock.advance(HOUR);
            tokio::select! {
                finished = run.finish() => panic!("{finished:?}"),
                () = stopping.stopped.notified() => {}
            }
            world.clock.advance(HOUR);
            let again = world.rotator().resume(Selection::All, Why::Compromised, &act(), began);
            assert_eq!(again.finish().await.failed, 0);
            let active = world.active(&acme).await;
            assert_ne!(active.id, old.id());
            let ended = world.of(&acme, KeyState::Compromised).await;
            assert_eq!(
                ended.iter().map(|key| key.id).collect::<Vec<_>>(),
                [old.id()],
                "{stop:?} {at}"
            );
        }
    }
}

#[tokio::test]
async fn many_rotators_at_once_leave_one_key() {
    for shift in 0..20 {
        let world = world();
        let owners: Vec<_> = (0..10).map(|number| production(&format!("t{number}"))).collect();
        for owner in &owners {
            world.key(owner, Purpose::Proof).await;
        }
        world.clock.advance(LATE);
        let rotators: Vec<Rotator> = (0..4)
            .map(|_| {
                let keys = Stopping::new(world.keys(), usize::MAX, Stop::Before);
                world.rotator_of(Arc::new(keys)).build().unwrap()
            })
            .collect();
        join_all(rotators.iter().enumerate().map(|(number, rotator)| async move {
            for _ in 0..number * shift {
                tokio::task::yield_now().await;
            }
            round(rotator).await;
            let _forced = rotator.rotate(Selection::All, Why::Routine, &act()).finish().await;
        }))
        .await;
        for owner in &owners {
            let active = world.active(owner).await;
            assert!(active.activated_at.unwrap() > crate::world::NOW);
        }
        world.clock.advance(2 * DAY);
        round(&rotators[0]).await;
        round(&rotators[0]).await;
        let left = KeyFilter::default()
            .in_state(KeyState::Pending)
            .in_state(KeyState::Draining);
        assert!(world.all(left).await.is_empty());
    }
}
