//! Whether a key may sign: one atomic number that only ever grows.

use super::sync::{AtomicU8, Ordering};

/// Where a key is in its life. A key never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum KeyState {
    /// Made and stored, not yet in use: it does not sign.
    Pending,
    /// In use: new tokens are bound to it.
    Active,
    /// Replaced: it signs for the tokens that are still bound to it, and no new token is.
    Draining,
    /// At its end: it never signs again.
    Destroyed,
    /// Said to be in foreign hands: it never signs again, and what is bound to it is not to be trusted.
    Compromised,
}

impl KeyState {
    const fn rank(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Active => 1,
            Self::Draining => 2,
            Self::Destroyed => 3,
            Self::Compromised => 4,
        }
    }

    const fn of_rank(rank: u8) -> Self {
        match rank {
            0 => Self::Pending,
            1 => Self::Active,
            2 => Self::Draining,
            3 => Self::Destroyed,
            _ => Self::Compromised,
        }
    }
}

/// The state of one key, shared by everything that can sign with it.
#[derive(Debug)]
pub(crate) struct Gate(AtomicU8);

impl Gate {
    pub(crate) fn new(state: KeyState) -> Self {
        Self(AtomicU8::new(state.rank()))
    }

    pub(crate) fn state(&self) -> KeyState {
        KeyState::of_rank(self.0.load(Ordering::SeqCst))
    }

    /// One step of a living key: `from` to `to`, or nothing if the key is not (or no longer) in `from`.
    pub(crate) fn step(&self, from: KeyState, to: KeyState) -> bool {
        debug_assert!(from < to, "a key never goes back");
        self.0
            .compare_exchange(from.rank(), to.rank(), Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// Ends the key in `end`. What is worse stays: a compromised key does not become a destroyed one. `true` if this call
    /// changed the state.
    pub(crate) fn close(&self, end: KeyState) -> bool {
        debug_assert!(end >= KeyState::Destroyed, "a gate closes at the end of a key's life");
        self.0.fetch_max(end.rank(), Ordering::SeqCst) < end.rank()
    }
}
