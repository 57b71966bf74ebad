//! Instants of requests, and when another one fits between them.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::clock::Monotonic;
use crate::throttle::Limit;

/// At most so many requests in any span of time of this length. A span has its first instant and not its last one: two
/// requests that are exactly a window apart are not in one span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) requests: u32,
    pub(super) window: Duration,
}

impl Rate {
    pub(super) fn of(limit: &Limit) -> Self {
        Self {
            requests: limit.requests,
            window: limit.window,
        }
    }

    /// What of it one of so many processes gets, rounded down. Where that would be less than one request, it is one in a
    /// longer window: the same pace.
    pub(super) fn part(self, processes: NonZeroU32) -> Self {
        match self.requests / processes {
            0 => Self {
                requests: 1,
                window: rounded_up(self.window.saturating_mul(processes.get()), self.requests),
            },
            requests => Self { requests, ..self },
        }
    }

    /// What of it one tenant gets: a tenth, rounded down, but one.
    pub(super) fn share(self) -> Self {
        Self {
            requests: (self.requests / 10).max(1),
            ..self
        }
    }

    /// How far apart requests are that use it up evenly.
    pub(super) fn pace(self) -> Duration {
        rounded_up(self.window, self.requests)
    }
}

fn rounded_up(span: Duration, parts: u32) -> Duration {
    let part = span.checked_div(parts).unwrap_or(Duration::MAX);
    match part.saturating_mul(parts) < span {
        true => part + Duration::from_nanos(1),
        false => part,
    }
}

/// When requests were sent, or will be: in order, for as long as the longest window that was asked for.
///
/// A list of instants is exact, and serves limits of several windows at once. It has as many as were sent in the longest
/// window, and those to come.
#[derive(Debug, Default)]
pub(super) struct Log {
    sent: VecDeque<Monotonic>,
    keep: Duration,
}

impl Log {
    pub(super) fn len(&self) -> usize {
        self.sent.len()
    }

    /// The first instant from `from` at which one more request keeps to `rate`, whatever is put before or after it.
    pub(super) fn earliest(&self, from: Monotonic, rate: Rate) -> Monotonic {
        let Rate { requests, window } = rate;
        let requests = requests.max(1) as usize;
        // Each run of `requests` within a window keeps one more away from both its ends, by a window. Of runs that are over the
        // last one is the one that matters.
        let over = self.until(from);
        let firsts = self.sent.iter().skip(over.saturating_sub(requests));
        let lasts = firsts.clone().skip(requests - 1);
        let mut at = from;
        for (first, last) in firsts.zip(lasts) {
            if *last >= at + window {
                break;
            }
            if at < *first + window && last.saturating_since(*first) < window {
                at = *first + window;
            }
        }
        at
    }

    /// Adds a request, and forgets those that no span of at most `window` has together with one from `now` on.
    pub(super) fn add(&mut self, at: Monotonic, window: Duration, now: Monotonic) {
        self.keep = self.keep.max(window);
        while self.sent.front().is_some_and(|sent| *sent + self.keep <= now) {
            self.sent.pop_front();
        }
        self.sent.insert(self.until(at), at);
    }

    /// How many are to be sent after `now`.
    pub(super) fn waiting(&self, now: Monotonic) -> usize {
        self.sent.len() - self.until(now)
    }

    /// The last one that was sent until `now`.
    pub(super) fn last_until(&self, now: Monotonic) -> Option<Monotonic> {
        self.sent.get(self.until(now).checked_sub(1)?).copied()
    }

    /// How many were sent until `now` that are less than `window` before `from`, or later than it.
    pub(super) fn sent_since(&self, from: Monotonic, window: Duration, now: Monotonic) -> usize {
        let before = self.sent.partition_point(|sent| *sent + window <= from);
        self.until(now).saturating_sub(before)
    }

    /// How many are sent until `at`: mostly all, which costs no search.
    fn until(&self, at: Monotonic) -> usize {
        match self.sent.back() {
            Some(last) if *last > at => self.sent.partition_point(|sent| *sent <= at),
            _ => self.sent.len(),
        }
    }

    /// Whether nothing in it matters from `now` on.
    pub(super) fn is_idle(&self, now: Monotonic) -> bool {
        self.sent.back().is_none_or(|sent| *sent + self.keep <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_origin(Duration::from_secs(seconds))
    }

    fn rate(requests: u32, seconds: u64) -> Rate {
        Rate {
            requests,
            window: Duration::from_secs(seconds),
        }
    }

    fn log(seconds: &[u64]) -> Log {
        let mut log = Log::default();
        for second in seconds {
            log.add(at(*second), Duration::from_secs(1000), at(0));
        }
        log
    }

    #[test]
    fn a_window_ends_before_the_instant_that_is_one_window_later() {
        let log = log(&[10, 10, 12]);
        assert_eq!(log.earliest(at(12), rate(3, 5)), at(15));
        assert_eq!(log.earliest(at(14), rate(3, 5)), at(15));
        assert_eq!(log.earliest(at(15), rate(3, 5)), at(15));
        assert_eq!(log.earliest(at(12), rate(4, 5)), at(12));
    }

    #[test]
    fn what_comes_before_a_place_leaves_room_for_it() {
        // A place at 10 s: one more within 5 s of it, on either side, would be two in a window.
        let log = log(&[10]);
        assert_eq!(log.earliest(at(5), rate(1, 5)), at(5));
        assert_eq!(log.earliest(at(6), rate(1, 5)), at(15));
        assert_eq!(log.earliest(at(6), rate(2, 5)), at(6));
    }

    #[test]
    fn a_gap_that_is_too_small_is_passed_over() {
        let log = log(&[0, 7, 20]);
        assert_eq!(log.earliest(at(1), rate(1, 5)), at(12));
        assert_eq!(log.earliest(at(16), rate(1, 5)), at(25));
    }

    #[test]
    fn no_window_is_no_limit() {
        assert_eq!(log(&[3, 3, 3]).earliest(at(3), rate(1, 0)), at(3));
    }

    #[test]
    fn it_forgets_what_is_a_window_old_and_keeps_what_is_not() {
        let mut log = Log::default();
        let window = Duration::from_secs(5);
        for second in 0..100 {
            log.add(at(second), window, at(second));
        }
        assert_eq!(log.len(), 5);
        log.add(at(110), window, at(103));
        assert_eq!((log.len(), log.waiting(at(103))), (2, 1));
        assert!(!log.is_idle(at(114)));
        assert!(log.is_idle(at(115)));
    }

    #[test]
    fn what_was_sent_lately_is_counted_without_what_is_to_come() {
        let log = log(&[0, 1, 5, 6, 9, 20]);
        let window = Duration::from_secs(5);
        assert_eq!(log.last_until(at(8)), Some(at(6)));
        assert_eq!(log.last_until(at(9)), Some(at(9)));
        assert_eq!(log.sent_since(at(0), window, at(0)), 1);
        assert_eq!(
            log.sent_since(at(6), window, at(6)),
            2,
            "the one at 1 s is a window ago"
        );
        assert_eq!(log.sent_since(at(5), window, at(10)), 4);
        assert_eq!(log.sent_since(at(19), window, at(19)), 0);
        assert_eq!(Log::default().last_until(at(9)), None);
    }

    #[test]
    fn parts_of_a_rate_never_add_up_to_more_than_it() {
        let eight = NonZeroU32::new(8).unwrap();
        assert_eq!(rate(119, 120).part(eight), rate(14, 120));
        assert_eq!(rate(119, 120).part(NonZeroU32::MIN), rate(119, 120));
        // 40 processes that send one every 14.3 s send 14 every 5 s.
        let small = rate(14, 5).part(NonZeroU32::new(40).unwrap());
        assert_eq!(small.requests, 1);
        assert!(small.window * 14 >= Duration::from_secs(5) * 40);
        assert!(small.window < Duration::from_millis(14_286));
        // What can be divided is, and not by a nanosecond more.
        assert_eq!(rate(1, 5).part(NonZeroU32::new(40).unwrap()), rate(1, 200));
    }

    #[test]
    fn a_tenant_gets_a_tenth_rounded_down_but_one() {
        assert_eq!(rate(119, 120).share(), rate(11, 120));
        assert_eq!(rate(14, 5).share(), rate(1, 5));
        assert_eq!(rate(3, 60).share(), rate(1, 60));
    }
}
