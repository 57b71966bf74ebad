//! Flights that their callers have left: a caller may go away while its token request is under way.
//!
//! The next caller drives such a flight on. Where none comes in time it would be given up, and with it an answer that may hold
//! the only good refresh token. So the upkeep, where there is one, is told and brings it home.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::slot::Slot;

/// How many slots wait to be looked at; beyond that the oldest is left to itself.
const MOST: usize = 4096;

#[derive(Default)]
pub(crate) struct LeftFlights {
    /// Whether anybody looks after them.
    watched: AtomicBool,
    /// Held, so that a slot that gives way to others in the cache is still brought home.
    slots: Mutex<VecDeque<Arc<Slot>>>,
    told: Notify,
}

impl LeftFlights {
    pub(super) fn add(&self, slot: &Arc<Slot>) {
        if !self.watched.load(Ordering::Acquire) {
            return;
        }
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MOST {
            slots.pop_front();
        }
        slots.push_back(Arc::clone(slot));
        drop(slots);
        self.told.notify_one();
    }

    /// From now on somebody takes what is added.
    pub(crate) fn watch(&self) {
        self.watched.store(true, Ordering::Release);
    }

    /// Waits until there is something.
    pub(crate) async fn told(&self) {
        self.told.notified().await;
    }

    pub(crate) fn take(&self) -> Vec<Arc<Slot>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.drain(..).collect()
    }
}

impl fmt::Debug for LeftFlights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeftFlights")
            .field("watched", &self.watched)
            .finish_non_exhaustive()
    }
}
