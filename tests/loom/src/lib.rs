//! The gate of `shipbound`'s keys, compiled from its own source against loom's atomics, and what must hold of it in every
//! interleaving of threads.
#![cfg(test)]

/// What the gate finds as its `sync` module: loom's atomics in place of the standard library's.
mod sync {
    pub(super) use loom::sync::atomic::{AtomicU8, Ordering};
}

#[path = "../../../src/keys/gate.rs"]
mod gate;

use std::sync::Arc;

use gate::{Gate, KeyState};
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

fn usable(gate: &Gate) -> bool {
    matches!(gate.state(), KeyState::Active | KeyState::Draining)
}

/// What `KeyHandle::sign` does: look, sign, look again. `sign` stands for the signature.
fn released(gate: &Gate, sign: impl FnOnce()) -> bool {
    if !usable(gate) {
        return false;
    }
    sign();
    usable(gate)
}

#[test]
fn no_signature_that_close_overtook_is_released() {
    loom::model(|| {
        let gate = Arc::new(Gate::new(KeyState::Active));
        let has_closed = Arc::new(AtomicBool::new(false));
        let closer = {
            let (gate, has_closed) = (Arc::clone(&gate), Arc::clone(&has_closed));
            thread::spawn(move || {
                gate.close(KeyState::Destroyed);
                has_closed.store(true, Ordering::Release);
            })
        };
        // Somebody learns, before the signature or while it is made, that close has returned.
        let before = has_closed.load(Ordering::Acquire);
        let mut meanwhile = false;
        let released = released(&gate, || meanwhile = has_closed.load(Ordering::Acquire));
        assert!(!(released && (before || meanwhile)));
        closer.join().unwrap();
        assert!(!usable(&gate));
    });
}

#[test]
fn nothing_reopens_a_closed_gate() {
    loom::model(|| {
        let gate = Arc::new(Gate::new(KeyState::Pending));
        let promoter = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || {
                let opened = gate.step(KeyState::Pending, KeyState::Active);
                let drained = gate.step(KeyState::Active, KeyState::Draining);
                assert!(opened || !drained, "what was not opened is not drained");
            })
        };
        assert!(gate.close(KeyState::Destroyed));
        assert!(!usable(&gate));
        promoter.join().unwrap();
        assert_eq!(gate.state(), KeyState::Destroyed);
    });
}

#[test]
fn compromised_wins_over_destroyed_in_any_order() {
    loom::model(|| {
        let gate = Arc::new(Gate::new(KeyState::Draining));
        let drained = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.close(KeyState::Destroyed))
        };
        assert!(gate.close(KeyState::Compromised), "the worse end always takes effect");
        assert_eq!(gate.state(), KeyState::Compromised);
        drained.join().unwrap();
        assert_eq!(gate.state(), KeyState::Compromised);
    });
}

#[test]
fn of_two_promotions_one_counts() {
    loom::model(|| {
        let gate = Arc::new(Gate::new(KeyState::Pending));
        let other = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.step(KeyState::Pending, KeyState::Active))
        };
        let own = gate.step(KeyState::Pending, KeyState::Active);
        assert!(own ^ other.join().unwrap());
        assert_eq!(gate.state(), KeyState::Active);
    });
}

#[test]
fn of_two_closings_one_changed_the_state() {
    loom::model(|| {
        let gate = Arc::new(Gate::new(KeyState::Active));
        let other = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.close(KeyState::Destroyed))
        };
        let own = gate.close(KeyState::Destroyed);
        assert!(own ^ other.join().unwrap());
    });
}
