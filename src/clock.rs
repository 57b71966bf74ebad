//! Time, as something that is handed in.
//!
//! Everything in this crate that asks for the time asks a [`Clock`]: tests move a [`ManualClock`], applications use
//! [`SystemClock`]. Wall time ([`Timestamp`]) goes into proofs and records; monotonic time ([`Monotonic`]) decides when a
//! token, a deadline or a cool-down ends, so that a clock that is set back cannot bring a dead token to life.

mod even;

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::ops::{Add, Sub};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{BoxFuture, Either, select};
use tokio::sync::oneshot;

pub(crate) use self::even::EvenClock;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// A point in wall time, in microseconds since 1970-01-01T00:00:00Z, leap seconds ignored (RFC 7519 `NumericDate`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const UNIX_EPOCH: Self = Self(0);

    /// The point `seconds` after the epoch; saturates where microseconds no longer fit (some 292 000 years away).
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(MICROS_PER_SECOND))
    }

    /// The point `micros` microseconds after the epoch.
    pub const fn from_unix_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Whole seconds since the epoch, rounded down: what goes into `iat`.
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SECOND)
    }

    /// Microseconds since the epoch.
    pub const fn unix_micros(self) -> i64 {
        self.0
    }

    /// Seconds from `earlier` to `self`, rounded down; negative when `self` is the earlier one.
    pub const fn seconds_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0).div_euclid(MICROS_PER_SECOND)
    }

    /// This point moved by `seconds`, which may be negative.
    #[must_use]
    pub const fn offset_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(MICROS_PER_SECOND)))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, to the second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.unix_seconds();
        match time::OffsetDateTime::from_unix_timestamp(seconds)
            .ok()
            .and_then(|at| at.format(&time::format_description::well_known::Rfc3339).ok())
        {
            Some(text) => f.write_str(&text),
            None => write!(f, "{seconds} s after 1970"),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A point on a [`Clock`]'s monotonic axis: the time since that clock's own origin. Points of two clocks don't compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(Duration);

impl Monotonic {
    /// The clock's origin.
    pub const ORIGIN: Self = Self(Duration::ZERO);

    /// The point `span` after the clock's origin.
    pub const fn from_origin(span: Duration) -> Self {
        Self(span)
    }

    /// The time since the clock's origin.
    pub const fn since_origin(self) -> Duration {
        self.0
    }

    /// The time from `earlier` to `self`, zero when `self` is the earlier one.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Monotonic {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

impl Sub<Duration> for Monotonic {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span))
    }
}

/// Where the time comes from.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The wall time.
    fn now(&self) -> Timestamp;

    /// The monotonic time. Never goes back; read once on every use of a cached token, so it should be cheap.
    fn monotonic(&self) -> Monotonic;

    /// Ends at `deadline` or soon after it, at once if that has passed.
    fn sleep_until(&self, deadline: Monotonic) -> BoxFuture<'static, ()>;
}

/// What `future` yields, or `None` when the deadline comes first. A future that is ready at once costs no timer.
pub(crate) async fn within<F: Future>(clock: &dyn Clock, deadline: Monotonic, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    if let Poll::Ready(output) = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
        return Some(output);
    }
    match select(future, clock.sleep_until(deadline)).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

/// The operating system's clocks and tokio's timer.
///
/// [`Clock::sleep_until`] must be awaited inside a tokio runtime whose timer is enabled.
///
/// On Linux monotonic time stands still while the machine is suspended.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: std::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic origin is now.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the system's clock is read"
    )]
    pub fn new() -> Self {
        Self {
            origin: std::time::Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the system's clock is read"
)]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => Timestamp::UNIX_EPOCH + since,
            Err(before) => Timestamp(i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros)),
        }
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic(self.origin.elapsed())
    }

    fn sleep_until(&self, deadline: Monotonic) -> BoxFuture<'static, ()> {
        let left = deadline.saturating_since(self.monotonic());
        Box::pin(async move {
            if !left.is_zero() {
                tokio::time::sleep(left).await;
            }
        })
    }
}

/// A clock that stands still until it is moved: for tests of anything that waits or expires.
///
/// ```
/// use std::time::Duration;
/// use shipbound::clock::{Clock, ManualClock, Timestamp};
///
/// let clock = ManualClock::at(Timestamp::from_unix_seconds(1_800_000_000));
/// clock.advance(Duration::from_secs(90));
/// assert_eq!(clock.now().unix_seconds(), 1_800_000_090);
/// assert_eq!(clock.monotonic().since_origin(), Duration::from_secs(90));
/// ```
#[derive(Debug)]
pub struct ManualClock {
    state: Mutex<Manual>,
}

#[derive(Debug)]
struct Manual {
    now: Timestamp,
    monotonic: Monotonic,
    sleepers: BTreeMap<(Monotonic, u64), oneshot::Sender<()>>,
    next: u64,
}

impl ManualClock {
    /// A clock that shows `now`, with its monotonic axis at the origin.
    pub fn at(now: Timestamp) -> Self {
        Self {
            state: Mutex::new(Manual {
                now,
                monotonic: Monotonic::ORIGIN,
                sleepers: BTreeMap::new(),
                next: 0,
            }),
        }
    }

    /// Moves wall and monotonic time forward and wakes every sleeper whose deadline has come.
    pub fn advance(&self, span: Duration) {
        let mut state = self.lock();
        state.now = state.now + span;
        state.monotonic = state.monotonic + span;
        let due = (state.monotonic, u64::MAX);
        let later = state.sleepers.split_off(&due);
        for sleeper in std::mem::replace(&mut state.sleepers, later).into_values() {
            let _gone = sleeper.send(());
        }
    }

    /// Sets the wall time alone, as an administrator or a time server would: monotonic time does not move.
    pub fn set_wall(&self, now: Timestamp) {
        self.lock().now = now;
    }

    /// How many futures wait for a deadline that has not come.
    pub fn sleepers(&self) -> usize {
        let mut state = self.lock();
        state.sleepers.retain(|_, sleeper| !sleeper.is_closed());
        state.sleepers.len()
    }

    fn lock(&self) -> MutexGuard<'_, Manual> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    fn monotonic(&self) -> Monotonic {
        self.lock().monotonic
    }

    fn sleep_until(&self, deadline: Monotonic) -> BoxFuture<'static, ()> {
        let mut state = self.lock();
        if deadline <= state.monotonic {
            return Box::pin(std::future::ready(()));
        }
        let (wake, woken) = oneshot::channel();
        let ticket = state.next;
        state.next += 1;
        state.sleepers.insert((deadline, ticket), wake);
        Box::pin(async move {
            if woken.await.is_err() {
                // The clock is gone, so this deadline will never come.
                std::future::pending::<()>().await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn seconds_round_down_on_both_sides_of_the_epoch() {
        assert_eq!(Timestamp::from_unix_micros(1_999_999).unix_seconds(), 1);
        assert_eq!(Timestamp::from_unix_micros(-1).unix_seconds(), -1);
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(
            Timestamp::from_unix_seconds(i64::MAX) + Duration::MAX,
            Timestamp(i64::MAX)
        );
        assert_eq!(Timestamp::from_unix_seconds(i64::MIN), Timestamp(i64::MIN));
        assert_eq!(Monotonic::ORIGIN - Duration::from_secs(1), Monotonic::ORIGIN);
    }

    #[tokio::test]
    async fn sleepers_wake_in_order_of_their_deadlines_and_not_before() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let mut early = clock.sleep_until(Monotonic::from_origin(Duration::from_secs(1)));
        let mut late = clock.sleep_until(Monotonic::from_origin(Duration::from_secs(2)));
        assert_eq!(clock.sleepers(), 2);
        clock.advance(Duration::from_secs(1));
        (&mut early).await;
        assert!((&mut late).now_or_never().is_none());
        clock.advance(Duration::from_secs(1));
        late.await;
        assert_eq!(clock.sleepers(), 0);
    }

    #[test]
    fn setting_the_wall_does_not_move_the_axis() {
        let clock = ManualClock::at(Timestamp::from_unix_seconds(100));
        clock.set_wall(Timestamp::from_unix_seconds(10));
        assert_eq!((clock.now().unix_seconds(), clock.monotonic()), (10, Monotonic::ORIGIN));
    }

    #[test]
    fn a_timestamp_reads_as_rfc_3339() {
        assert_eq!(
            Timestamp::from_unix_seconds(1_800_000_000).to_string(),
            "2027-01-15T08:00:00Z"
        );
    }
}
