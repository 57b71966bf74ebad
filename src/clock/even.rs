//! A wall clock that is believed for what cannot be undone.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Clock, Monotonic, Timestamp};

/// How long the wall clock must have gone evenly: a time server has put it right by then.
const EVENLY: Duration = Duration::from_secs(5 * 60);

/// By how much it may differ from the monotonic clock between two looks, in microseconds: time servers slew.
const SLEWED: u64 = 60 * 1_000_000;

/// Gives the wall time once that has gone with the monotonic clock of this process for five minutes. A clock that starts wrong,
/// or jumps, moves nothing that is durable until somebody could put it right.
#[derive(Debug)]
pub(crate) struct EvenClock {
    clock: Arc<dyn Clock>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    wall: Timestamp,
    at: Monotonic,
    evenly_since: Monotonic,
}

impl EvenClock {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let (wall, at) = (clock.now(), clock.monotonic());
        Self {
            clock,
            seen: Mutex::new(Seen {
                wall,
                at,
                evenly_since: at,
            }),
        }
    }

    /// The wall time; `None` while it is not to be believed.
    pub(crate) fn now(&self) -> Option<Timestamp> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (wall, at) = (self.clock.now(), self.clock.monotonic());
        let expected = seen.wall + at.saturating_since(seen.at);
        if wall.unix_micros().abs_diff(expected.unix_micros()) > SLEWED {
            seen.evenly_since = at;
        }
        (seen.wall, seen.at) = (wall, at);
        (at.saturating_since(seen.evenly_since) >= EVENLY).then_some(wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_clock_that_starts_or_jumps_is_believed_later() {
        let start = Timestamp::from_unix_seconds(1_800_000_000);
        let manual = Arc::new(ManualClock::at(start));
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&manual);
        let even = EvenClock::new(clock);
        assert_eq!(even.now(), None);
        manual.advance(EVENLY);
        assert_eq!(even.now(), Some(start + EVENLY));
        // Two days ahead for a minute.
        manual.set_wall(start.offset_seconds(2 * 86_400));
        assert_eq!(even.now(), None);
        manual.advance(Duration::from_secs(60));
        assert_eq!(even.now(), None);
        manual.set_wall(start.offset_seconds(360));
        assert_eq!(even.now(), None);
        manual.advance(EVENLY);
        assert_eq!(even.now(), Some(start.offset_seconds(660)));
    }
}
