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

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Routine,
    Reminder,
    Alert,
}

struct Waiting {
    event: Event,
    rank: Rank,
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

    /// Queues an event. What is too much goes: the oldest of the lowest rank, or this one if its rank is lower. Routine is below
    /// alerts that only remind, and these are below the others.
    pub(super) fn put(&mut self, event: &Event, is_alert: bool) {
        let rank = match is_alert {
            false => Rank::Routine,
            true if body::is_reminder(&event.kind) => Rank::Reminder,
            true => Rank::Alert,
        };
        if self.len() >= self.capacity {
            self.drop_one();
            let lowest = self.waiting.iter().map(|waiting| waiting.rank).min();
            match lowest {
                Some(lowest) if lowest <= rank => {
                    let first = self.waiting.iter().position(|waiting| waiting.rank == lowest);
                    drop(first.and_then(|first| self.waiting.remove(first)));
                }
                _ => return,
            }
        }
        self.waiting.push_back(Waiting {
            event: event.clone(),
            rank,
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
    fn reminders_go_before_other_alerts() {
        let reminder = |seconds| Event {
            kind: EventKind::CertificateDue {
                x5t: crate::jose::Thumbprint::from_bytes([1; 32]),
                age: std::time::Duration::ZERO,
                due: Timestamp::from_unix_seconds(0),
                overdue: false,
            },
            ..event(seconds)
        };
        let mut queue = Queue::new(2);
        queue.put(&event(1), true);
        for at in 2..100 {
            queue.put(&reminder(at), true);
        }
        queue.put(&event(100), true);
        queue.put(&reminder(101), true);
        let left: Vec<_> = queue
            .waiting
            .iter()
            .map(|waiting| waiting.event.at.unix_seconds())
            .collect();
        assert_eq!(left, [1, 100]);
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
