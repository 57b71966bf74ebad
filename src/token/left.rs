//! Flights that their callers have left: a caller may go away while its token request is under way.
//!
//! The next caller drives such a flight on. Where none comes in time it would be given up, and with it an answer that may hold
//! the only good refresh token. So the upkeep, where there is one, is told and brings it home.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::slot::Slot;
use crate::exchange::connection::UnderWay;

/// How many slots wait to be looked at; beyond that the oldest is left to itself.
const MOST: usize = 4096;

#[derive(Default)]
pub(crate) struct LeftFlights {
    /// How many look after them.
    watchers: AtomicUsize,
    /// Held, so that a slot that gives way to others in the cache is still brought home.
    slots: Mutex<VecDeque<Left>>,
    told: Notify,
}

/// A slot whose flight was left.
pub(crate) struct Left {
    pub(crate) slot: Arc<Slot>,
    /// From before its last caller went on: whoever removes the connection waits for what the flight brings.
    _begun: UnderWay,
}

impl LeftFlights {
    pub(super) fn add(&self, slot: &Arc<Slot>) {
        if self.watchers.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut slots = self.lock();
        if slots.iter().any(|waiting| Arc::ptr_eq(&waiting.slot, slot)) {
            return;
        }
        if slots.len() >= MOST {
            slots.pop_front();
        }
        slots.push_back(Left {
            slot: Arc::clone(slot),
            _begun: slot.connection.begin(),
        });
        drop(slots);
        self.told.notify_one();
    }

    /// Somebody takes what is added, until what this gives is dropped.
    pub(crate) fn watch(&self) -> Watching<'_> {
        self.watchers.fetch_add(1, Ordering::AcqRel);
        Watching(self)
    }

    /// Waits until there is something.
    pub(crate) async fn told(&self) {
        self.told.notified().await;
    }

    /// What was added, without flights that somebody drives by now: whoever leaves such a one adds its slot again.
    pub(crate) fn take(&self) -> Vec<Left> {
        let slots = std::mem::take(&mut *self.lock());
        slots.into_iter().filter(|left| !left.slot.is_awaited()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Left>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody looks after flights that were left.
pub(crate) struct Watching<'a>(&'a LeftFlights);

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        if self.0.watchers.fetch_sub(1, Ordering::AcqRel) == 1 {
            let unwatched = std::mem::take(&mut *self.0.lock());
            drop(unwatched);
        }
    }
}

impl fmt::Debug for LeftFlights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeftFlights")
            .field("watchers", &self.watchers)
            .finish_non_exhaustive()
    }
}
