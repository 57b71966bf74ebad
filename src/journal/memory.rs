//! The newest events, kept in memory: for tests and for a status page.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::{Event, Sink};

/// Keeps the newest events, up to a number that is fixed at the start.
#[derive(Debug)]
pub struct MemorySink {
    events: Mutex<VecDeque<Event>>,
    capacity: usize,
}

impl MemorySink {
    /// Keeps the newest `capacity` events.
    pub fn new(capacity: usize) -> Self {
        Self {
            events: Mutex::new(VecDeque::new()),
            capacity,
        }
    }

    /// The events that are kept, the oldest first.
    pub fn events(&self) -> Vec<Event> {
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }
}

impl Default for MemorySink {
    /// Keeps 1 024 events.
    fn default() -> Self {
        Self::new(1024)
    }
}

impl Sink for MemorySink {
    fn record(&self, event: &Event) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if self.capacity == 0 {
            return;
        }
        while events.len() >= self.capacity {
            events.pop_front();
        }
        events.push_back(event.clone());
    }
}
