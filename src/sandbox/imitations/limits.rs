//! How often carriers may be asked, by the sandbox's clock.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Monotonic;

/// At most so many calls of a client in any span of this length.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Limit {
    /// What is counted: calls with the same words are counted together.
    pub(in crate::sandbox) what: String,
    pub(in crate::sandbox) most: usize,
    pub(in crate::sandbox) window: Duration,
}

impl Limit {
    pub(super) fn new(what: impl Into<String>, most: usize, window: Duration) -> Self {
        Self {
            what: what.into(),
            most,
            window,
        }
    }
}

/// How often a token endpoint may be asked from one address. Every caller of the sandbox has the same.
pub(in crate::sandbox) struct TokenLimit {
    /// How many requests in how long.
    pub(super) windows: [(usize, Duration); 2],
    /// How long an address is blocked that asks for more; a request meanwhile makes that longer.
    pub(super) block: Duration,
    /// What is said to it.
    pub(in crate::sandbox) blocked: fn() -> super::Canned,
}

/// Hits inside the longest window of a limit.
#[derive(Default)]
struct Hits(VecDeque<Monotonic>);

impl Hits {
    /// Forgets those that are out of the window or beyond what a limit asks for.
    fn forget(&mut self, now: Monotonic, longest: Duration, most: usize) {
        let over = |hits: &VecDeque<Monotonic>| {
            let first = hits.front();
            hits.len() > most || first.is_some_and(|first| now.saturating_since(*first) >= longest)
        };
        while over(&self.0) {
            self.0.pop_front();
        }
    }

    fn within(&self, now: Monotonic, window: Duration) -> usize {
        self.0
            .iter()
            .rev()
            .take_while(|hit| now.saturating_since(**hit) < window)
            .count()
    }
}

#[derive(Default)]
struct Addressed {
    hits: Hits,
    until: Option<Monotonic>,
}

#[derive(Default)]
struct State {
    /// By carrier.
    tokens: HashMap<&'static str, Addressed>,
    /// By carrier, client and what is counted.
    calls: HashMap<(&'static str, String, String), Hits>,
}

/// What was counted so far.
#[derive(Default)]
pub(in crate::sandbox) struct Limits(Mutex<State>);

impl Limits {
    /// Counts a token request and says whether the address is blocked.
    pub(in crate::sandbox) fn token_blocked(&self, carrier: &'static str, limit: &TokenLimit, now: Monotonic) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Addressed { hits, until } = state.tokens.entry(carrier).or_default();
        let longest = limit.windows.iter().map(|(_, window)| *window).max();
        let most = limit.windows.iter().map(|(most, _)| *most).max();
        hits.0.push_back(now);
        hits.forget(now, longest.unwrap_or_default(), most.unwrap_or_default() + 1);
        let over = limit
            .windows
            .iter()
            .any(|(most, window)| hits.within(now, *window) > *most);
        let blocked = over || until.is_some_and(|until| now < until);
        if blocked {
            *until = Some(now + limit.block);
        }
        blocked
    }

    /// Counts a client's call, and says how long the client has to wait where it is one too many for one of the limits. What is
    /// refused does not count.
    pub(in crate::sandbox) fn call_throttled(
        &self,
        carrier: &'static str,
        client: &str,
        limits: &[Limit],
        now: Monotonic,
    ) -> Option<Duration> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = |limit: &Limit| (carrier, client.to_owned(), limit.what.clone());
        let mut wait = None;
        for limit in limits {
            let hits = state.calls.entry(key(limit)).or_default();
            hits.forget(now, limit.window, limit.most);
            if let Some(first) = hits.0.front().filter(|_| hits.0.len() >= limit.most) {
                let left = limit.window.saturating_sub(now.saturating_since(*first));
                wait = wait.max(Some(left));
            }
        }
        if wait.is_none() {
            for limit in limits {
                state.calls.entry(key(limit)).or_default().0.push_back(now);
            }
        }
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::super::Canned;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_origin(Duration::from_secs(seconds))
    }

    fn limit() -> TokenLimit {
        TokenLimit {
            windows: [(15, 5 * SECOND), (120, 120 * SECOND)],
            block: 600 * SECOND,
            blocked: || Canned::empty(403),
        }
    }

    #[test]
    fn fifteen_token_requests_in_five_seconds_pass_and_the_next_blocks_for_ten_minutes() {
        let limits = Limits::default();
        let blocked = |seconds| limits.token_blocked("a", &limit(), at(seconds));
        assert!((0..15).all(|_| !blocked(0)));
        assert!(blocked(4));
        assert!(!limits.token_blocked("b", &limit(), at(4)), "another carrier");
        assert!(blocked(603), "extended by the request at 4 s");
        assert!(!blocked(603 + 600), "and by no other");
    }

    #[test]
    fn one_a_second_passes_for_ever_and_a_little_more_blocks_after_two_minutes() {
        let limits = Limits::default();
        assert!((0..600).all(|second| !limits.token_blocked("a", &limit(), at(second))));
        let limits = Limits::default();
        let when = |n: u64| Monotonic::from_origin(Duration::from_millis(n * 900));
        let blocked = (0..400).position(|n| limits.token_blocked("a", &limit(), when(n)));
        assert_eq!(blocked, Some(120));
    }

    #[test]
    fn calls_are_counted_for_each_client_and_each_kind() {
        let limits = Limits::default();
        let wait = |client, what, seconds| {
            let limit = Limit::new(what, 1400, 10 * SECOND);
            limits.call_throttled("fedex", client, &[limit], at(seconds))
        };
        assert!((0..1400).all(|_| wait("a", "x", 0).is_none()));
        assert_eq!(wait("a", "x", 9), Some(SECOND));
        assert_eq!(wait("b", "x", 9), None);
        assert_eq!(wait("a", "y", 9), None);
        assert_eq!(wait("a", "x", 10), None, "what was refused did not count");
    }

    #[test]
    fn the_longest_wait_is_told_and_a_refused_call_counts_nowhere() {
        let limits = Limits::default();
        let both = [Limit::new("second", 1, SECOND), Limit::new("day", 2, 100 * SECOND)];
        let wait = |seconds| limits.call_throttled("dhl", "a", &both, at(seconds));
        assert_eq!(wait(0), None);
        assert_eq!(wait(0), Some(SECOND));
        assert_eq!(wait(1), None);
        assert_eq!(wait(1), Some(99 * SECOND));
        assert_eq!(wait(100), None);
    }
}
