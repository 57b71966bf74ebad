//! What all exchanges of one connection share: learned clock offsets, pauses that servers asked for, renewals that a 401
//! caused.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::binding::Role;
use crate::clock::{Monotonic, Timestamp};
use crate::owner::ConnectionId;

use super::skew::SkewBook;

/// At most one renewal that a 401 caused in this time.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) skew: SkewBook,
    /// Until when the API and the issuer are left alone, in microseconds of wall time; 0 for not at all.
    api_pause: AtomicI64,
    issuer_pause: AtomicI64,
    /// When a 401 last caused a renewal, in milliseconds of monotonic time plus one; 0 for never.
    renewed: AtomicU64,
}

impl Connection {
    pub(crate) fn new(id: ConnectionId) -> Self {
        Self {
            id,
            skew: SkewBook::default(),
            api_pause: AtomicI64::new(0),
            issuer_pause: AtomicI64::new(0),
            renewed: AtomicU64::new(0),
        }
    }

    fn pause(&self, role: Role) -> &AtomicI64 {
        match role {
            Role::AuthorizationServer => &self.issuer_pause,
            Role::ResourceServer => &self.api_pause,
        }
    }

    /// The end of a pause that has not come.
    pub(crate) fn paused(&self, role: Role, now: impl FnOnce() -> Timestamp) -> Option<Timestamp> {
        let until = self.pause(role).load(Ordering::Relaxed);
        if until == 0 {
            return None;
        }
        let until = Timestamp::from_unix_micros(until);
        (now() < until).then_some(until)
    }

    pub(crate) fn pause_until(&self, role: Role, until: Timestamp) {
        self.pause(role).store(until.unix_micros(), Ordering::Relaxed);
    }

    /// Takes the right to a renewal that a 401 asks for; false when one was taken within the last minute.
    pub(crate) fn claim_renewal(&self, now: Monotonic) -> bool {
        let now = millis(now);
        self.renewed
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
                (last == 0 || now.saturating_sub(last) >= RENEWAL_INTERVAL.as_millis() as u64).then_some(now)
            })
            .is_ok()
    }

    /// How long until a renewal that a 401 asks for is allowed again; zero when it is.
    pub(crate) fn renewal_wait(&self, now: Monotonic) -> Duration {
        match self.renewed.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            last => RENEWAL_INTERVAL.saturating_sub(Duration::from_millis(millis(now).saturating_sub(last))),
        }
    }
}

fn millis(now: Monotonic) -> u64 {
    u64::try_from(now.since_origin().as_millis()).unwrap_or(u64::MAX - 1) + 1
}
