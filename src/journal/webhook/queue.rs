//! Events that wait to be delivered: so many, and no more.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::crypto;
use crate::jose::base64url;
use crate::journal::Event;

use super::body;

/// One delivery: the same each time that it is tried.
#[derive(Clone)]
pub(super) struct Message {
    pub(super) id: Arc<str>,
    pub(super) body: Bytes,
    /// How many dropped events it tells of.
    told: u64,
}

struct Waiting {
    event: Event,
    is_alert: bool,
}

pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    /// What has been tried.
    tried: Option<Message>,
    capacity: usize,
    /// Events that were dropped and not told of.
    dropped: u64,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            tried: None,
            capacity,
            dropped: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len() + usize::from(self.tried.is_some())
    }

    /// Queues an event. What is too much goes: the oldest that is no alert, or else this one if it is none, or else the oldest.
    pub(super) fn put(&mut self, event: &Event, is_alert: bool) {
        if self.len() >= self.capacity {
            self.drop_one();
            match self.waiting.iter().position(|waiting| !waiting.is_alert) {
                Some(routine) => drop(self.waiting.remove(routine)),
                None if !is_alert => return,
                None if self.waiting.pop_front().is_none() => return,
                None => {}
            }
        }
        self.waiting.push_back(Waiting {
            event: event.clone(),
            is_alert,
        });
    }

    /// The delivery that is next, which stays until it is [delivered](Self::delivered) or [given up](Self::give_up).
    pub(super) fn first(&mut self) -> Option<Message> {
        if self.tried.is_none() {
            let mut octets = [0; 16];
            // Without randomness there is no id; the event waits for a better time.
            crypto::random(&mut octets).ok()?;
            let next = self.waiting.pop_front()?;
            self.tried = Some(Message {
                id: format!("msg_{}", base64url::encode(&octets)).into(),
                body: body::of(&next.event, self.dropped).into(),
                told: self.dropped,
            });
        }
        self.tried.clone()
    }

    pub(super) fn delivered(&mut self, message: &Message) {
        if self.is_tried(message) {
            self.tried = None;
            self.dropped = self.dropped.saturating_sub(message.told);
        }
    }

    pub(super) fn give_up(&mut self, message: &Message) {
        self.set_aside(message);
        self.drop_one();
    }

    /// Others are next; this one is kept elsewhere.
    pub(super) fn set_aside(&mut self, message: &Message) {
        if self.is_tried(message) {
            self.tried = None;
        }
    }

    pub(super) fn drop_all(&mut self) {
        self.dropped = self.dropped.saturating_add(self.len() as u64);
        self.waiting.clear();
        self.tried = None;
    }

    pub(super) fn drop_one(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
    }

    fn is_tried(&self, message: &Message) -> bool {
        self.tried.as_ref().is_some_and(|tried| tried.id == message.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::journal::EventKind;

    fn event(seconds: i64) -> Event {
        Event {
            at: Timestamp::from_unix_seconds(seconds),
            connection: None,
            kind: EventKind::TokenRefused,
        }
    }

    #[test]
    fn routine_goes_before_alerts_and_old_before_new() {
        let mut queue = Queue::new(3);
        for (at, is_alert) in [(1, true), (2, false), (3, false), (4, true), (5, true), (6, false)] {
            queue.put(&event(at), is_alert);
        }
        let mut left = queue.waiting.iter().map(|waiting| waiting.event.at.unix_seconds());
        // 2 and 3 made room for 4 and 5, and 6 found none.
        assert_eq!(
            [left.next(), left.next(), left.next(), left.next()],
            [Some(1), Some(4), Some(5), None]
        );
        queue.put(&event(7), true);
        assert_eq!((queue.len(), queue.dropped), (3, 4));
        let first = queue.first().unwrap();
        assert!(String::from_utf8_lossy(&first.body).contains(r#""dropped":4"#));
        // One more goes while it is on its way: the next one tells of that.
        queue.put(&event(8), true);
        assert_eq!(queue.first().unwrap().id, first.id, "the same until it is delivered");
        queue.delivered(&first);
        queue.delivered(&first);
        assert_eq!(queue.dropped, 1);
        assert!(String::from_utf8_lossy(&queue.first().unwrap().body).contains(r#""dropped":1"#));
    }
}
