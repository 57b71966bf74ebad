//! How long this process goes on with what it knows of its keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, Monotonic, Timestamp};
use crate::keys::KeyError;

/// How often a process looks what others did to its keys, and how long it signs when it cannot look.
///
/// ```
/// use std::time::Duration;
/// use shipbound::keys::Authority;
///
/// let authority = Authority::default().lasting(Duration::from_secs(5 * 60));
/// assert_eq!(authority.look_every, Duration::from_secs(60));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Authority {
    /// The age, by the wall or by the monotonic clock, at which the last look is too old to sign by. Default 60 s.
    pub look_every: Duration,
    /// How long the last look that succeeded is good for while the store does not answer. Default 15 min.
    pub lasts: Duration,
    /// How long a look may take, and how long nobody looks after one that failed. Default 5 s.
    pub pause: Duration,
}

impl Default for Authority {
    fn default() -> Self {
        Self {
            look_every: Duration::from_secs(60),
            lasts: Duration::from_secs(15 * 60),
            pause: Duration::from_secs(5),
        }
    }
}

impl Authority {
    /// Looks when the last look is older than this. A key that was ended in another process signs here no longer than that
    /// after its end, while the store answers.
    #[must_use]
    pub fn looking_every(mut self, span: Duration) -> Self {
        self.look_every = span;
        self
    }

    /// Signs as long as this without the store. A key that was ended in another process signs here no longer than that after
    /// its end.
    #[must_use]
    pub fn lasting(mut self, span: Duration) -> Self {
        self.lasts = span;
        self
    }

    /// Looks take no longer than this, and follow a failed one no sooner.
    #[must_use]
    pub fn pausing(mut self, span: Duration) -> Self {
        self.pause = span;
        self
    }
}

/// Whether keys may sign by what is known.
pub(super) enum Standing {
    /// They may.
    Known,
    /// A look comes first.
    LookDue,
    /// They may not, and a look just failed.
    Refused(KeyError),
}

/// When a look was begun, and what was known then.
pub(super) struct Begun {
    wall: Timestamp,
    monotonic: Monotonic,
    rolled_back: u32,
}

impl Begun {
    /// When a look that began so has taken its time.
    pub(super) fn ends(&self, watch: &Watch) -> Monotonic {
        self.monotonic + watch.authority.pause
    }
}

/// When was last looked, and how that went. Read on every signature: two clocks and some atomics.
pub(super) struct Watch {
    pub(super) clock: Arc<dyn Clock>,
    authority: Authority,
    /// When the last look that succeeded began, in microseconds. Both clocks count: the monotonic one may stand still while
    /// the machine is suspended, and the wall clock may be set back.
    good_wall: AtomicI64,
    good_monotonic: AtomicU64,
    /// When the last look began or ended.
    tried: AtomicU64,
    /// Whether the last look failed.
    failing: AtomicBool,
    /// How often the store has shown an older state, since a look found all well.
    rolled_back: AtomicU32,
}

impl Watch {
    pub(super) fn new(clock: Arc<dyn Clock>, authority: Authority) -> Self {
        Self {
            clock,
            authority,
            // As if the last look were ages ago.
            good_wall: AtomicI64::new(i64::MIN),
            good_monotonic: AtomicU64::new(0),
            tried: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            rolled_back: AtomicU32::new(0),
        }
    }

    pub(super) fn standing(&self) -> Standing {
        let (age, monotonic) = self.age();
        let rolled_back = self.is_rolled_back();
        if age < self.authority.look_every && !rolled_back {
            return Standing::Known;
        }
        let since = micros(monotonic).saturating_sub(self.tried.load(Ordering::Acquire));
        let pausing = self.failing.load(Ordering::Acquire) && Duration::from_micros(since) < self.authority.pause;
        match pausing {
            false => Standing::LookDue,
            true => self.verdict().map_or_else(Standing::Refused, |()| Standing::Known),
        }
    }

    /// Whether keys may sign, whatever the last look said.
    pub(super) fn verdict(&self) -> Result<(), KeyError> {
        if self.is_rolled_back() {
            Err(KeyError::RolledBack)
        } else if self.age().0 < self.authority.lasts {
            Ok(())
        } else {
            Err(KeyError::StoreUnavailable)
        }
    }

    /// A look begins.
    pub(super) fn begin(&self) -> Begun {
        let begun = Begun {
            wall: self.clock.now(),
            monotonic: self.clock.monotonic(),
            rolled_back: self.rolled_back.load(Ordering::Acquire),
        };
        self.tried.store(micros(begun.monotonic), Ordering::Release);
        begun
    }

    /// The look that began so has found all well. What was found meanwhile by others stays.
    pub(super) fn succeeded(&self, begun: &Begun) {
        let _found_meanwhile =
            self.rolled_back
                .compare_exchange(begun.rolled_back, 0, Ordering::AcqRel, Ordering::Relaxed);
        self.good_monotonic.store(micros(begun.monotonic), Ordering::Release);
        self.good_wall.store(begun.wall.unix_micros(), Ordering::Release);
        self.failing.store(false, Ordering::Release);
    }

    pub(super) fn failed(&self) {
        self.tried.store(micros(self.clock.monotonic()), Ordering::Release);
        self.failing.store(true, Ordering::Release);
    }

    /// The store has shown an older state than before.
    pub(super) fn rolled_back(&self) {
        self.rolled_back.fetch_add(1, Ordering::AcqRel);
    }

    fn is_rolled_back(&self) -> bool {
        self.rolled_back.load(Ordering::Acquire) > 0
    }

    /// How old the last look that succeeded is, by the clock that says more, and the time.
    fn age(&self) -> (Duration, Monotonic) {
        let wall = self.clock.now().unix_micros();
        let wall = wall.saturating_sub(self.good_wall.load(Ordering::Acquire));
        let monotonic = self.clock.monotonic();
        let axis = micros(monotonic).saturating_sub(self.good_monotonic.load(Ordering::Acquire));
        let age = u64::try_from(wall).unwrap_or(0).max(axis);
        (Duration::from_micros(age), monotonic)
    }
}

fn micros(point: Monotonic) -> u64 {
    u64::try_from(point.since_origin().as_micros()).unwrap_or(u64::MAX)
}
