//! A clock for clients that are to wait their turns without waiting.
#![allow(dead_code, unreachable_pub)]

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use shipbound::clock::{Clock, ManualClock, Monotonic, Timestamp};

/// The longest that a request waits for its turn unless it is told otherwise (`Limits::turn`).
const TURN: Duration = Duration::from_secs(8);

/// A clock that stands still, and jumps to the end of a wait that somebody really waits for. Deadlines are later than
/// that, where the client's limits are [`Patient::FAR`], and do not come.
#[derive(Debug)]
pub struct Patient(Arc<ManualClock>);

impl Patient {
    /// A limit of a client that is far off, also after it has waited its turn a few times.
    pub const FAR: Duration = Duration::from_secs(300);

    pub fn of(clock: &Arc<ManualClock>) -> Self {
        Self(Arc::clone(clock))
    }
}

impl Clock for Patient {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn monotonic(&self) -> Monotonic {
        self.0.monotonic()
    }

    fn sleep_until(&self, deadline: Monotonic) -> BoxFuture<'static, ()> {
        if deadline.saturating_since(self.0.monotonic()) > TURN {
            return self.0.sleep_until(deadline);
        }
        let clock = Arc::clone(&self.0);
        Box::pin(async move { clock.advance(deadline.saturating_since(clock.monotonic())) })
    }
}
