//! One certificate of a Vault server, and the flight that fetches the next one.
//!
//! A flight belongs to its slot, not to the caller that began it: whoever waits drives it, so a caller that is cancelled
//! takes nothing with it. At most one is in the air.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

use crate::clock::{Monotonic, Timestamp};
use crate::pause::doubled;
use crate::transport::identity::ClientIdentity;

use super::super::Exchanged;
use super::failure::VaultFailure;

/// The first pause after a failure; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A certificate, and from when on the next one is asked for.
#[derive(Clone, Debug)]
pub(super) struct Issued {
    pub(super) identity: ClientIdentity,
    pub(super) renew_from: Timestamp,
}

impl Issued {
    /// Whether it is valid and nobody has retired it.
    fn is_good(&self, now: Timestamp) -> bool {
        self.identity.check_valid(now).is_ok() && !self.identity.is_retired()
    }
}

pub(super) type Outcome = Result<Issued, VaultFailure>;
pub(super) type Flight = Shared<BoxFuture<'static, Outcome>>;

/// Failures in a row, and until when nothing is asked after the last.
#[derive(Debug, Default)]
pub(super) struct Pause {
    failures: u32,
    last: Option<(VaultFailure, Monotonic)>,
}

impl Pause {
    /// The failure, while it is not yet time to ask again.
    pub(super) fn holds(&self, now: Monotonic) -> Option<VaultFailure> {
        self.last.filter(|(_, until)| now < *until).map(|(failure, _)| failure)
    }

    /// The last failure, unless a later request went well.
    pub(super) fn last(&self) -> Option<VaultFailure> {
        self.last.map(|(failure, _)| failure)
    }

    pub(super) fn begin(&mut self, failure: VaultFailure, now: Monotonic) {
        // Requests that were on their way together fail together.
        if self.holds(now).is_some() {
            return;
        }
        let pause = doubled(FIRST_PAUSE, self.failures, LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.last = Some((failure, now + pause));
    }
}

#[derive(Default)]
pub(super) struct Slot(Mutex<State>);

#[derive(Default)]
struct State {
    issued: Option<Issued>,
    /// Whether somebody has asked for what is there. What nobody asks for is not renewed.
    asked: bool,
    /// What was exchanged and not yet reported.
    exchanged: Option<Exchanged>,
    flight: Option<InTheAir>,
    flights: u64,
    /// Why the last flight brought nothing.
    failed: Option<VaultFailure>,
    /// After a failure that no other connection would meet.
    pause: Pause,
}

struct InTheAir {
    number: u64,
    flight: Flight,
    /// From when on a flight that nobody drives is given up: what is left of its time would be too short for another caller.
    stale: Monotonic,
    /// By when it would have ended if anyone had driven it.
    overdue: Monotonic,
}

impl InTheAir {
    fn is_good(&self, now: Monotonic) -> bool {
        let is_driven = || self.flight.strong_count().is_some_and(|holders| holders > 1);
        now <= self.overdue && (now <= self.stale || is_driven())
    }
}

impl Slot {
    /// The certificate, unless it is let go because nobody asks for it.
    pub(super) fn kept(&self, now: Timestamp) -> Option<ClientIdentity> {
        let state = self.lock();
        let issued = state.issued.as_ref();
        issued
            .filter(|issued| state.asked || now < issued.renew_from)
            .map(|issued| issued.identity.clone())
    }

    /// The certificate for somebody who asks for it, while it is valid and nobody has retired it.
    pub(super) fn ask(&self, now: Timestamp) -> Option<ClientIdentity> {
        let mut state = self.lock();
        let issued = state.issued.as_ref().filter(|issued| issued.is_good(now))?;
        let identity = issued.identity.clone();
        state.asked = true;
        Some(identity)
    }

    /// Somebody has asked for the certificate that has just come.
    pub(super) fn asked(&self) {
        self.lock().asked = true;
    }

    /// Whether there is a certificate that is asked for, and it is time for the next.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let state = self.lock();
        let issued = state.issued.as_ref().filter(|_| state.asked);
        issued.is_some_and(|issued| now >= issued.renew_from || issued.identity.is_retired())
    }

    /// Whether there is a certificate. One that is `distrusted` is retired.
    pub(super) fn holds(&self, distrusted: bool) -> bool {
        let state = self.lock();
        if distrusted && let Some(issued) = &state.issued {
            issued.identity.retire();
        }
        state.issued.is_some()
    }

    /// Drops a certificate that has come to its end and that nobody asked for.
    pub(super) fn drop_idle(&self, now: Timestamp) {
        let mut state = self.lock();
        if !state.asked
            && let Some(ended) = state.issued.take_if(|issued| !issued.is_good(now))
        {
            ended.identity.retire();
        }
    }

    /// Whether nothing would be lost with it.
    pub(super) fn is_empty(&self, now: Monotonic) -> bool {
        let state = self.lock();
        state.issued.is_none()
            && state.pause.holds(now).is_none()
            && state.flight.as_ref().is_none_or(|flight| !flight.is_good(now))
    }

    pub(super) fn take_exchanged(&self) -> Option<Exchanged> {
        self.lock().exchanged.take()
    }

    pub(super) fn failure(&self) -> Option<VaultFailure> {
        self.lock().failed
    }

    /// The flight in the air, or the one that `begin` gives with what is left of its time being half of `limit`.
    pub(super) fn board(
        &self,
        now: Monotonic,
        limit: Duration,
        begin: impl FnOnce() -> Result<BoxFuture<'static, Outcome>, VaultFailure>,
    ) -> Result<(u64, Flight), VaultFailure> {
        let mut state = self.lock();
        if let Some(flying) = state.flight.as_ref().filter(|flight| flight.is_good(now)) {
            return Ok((flying.number, flying.flight.clone()));
        }
        if let Some(failure) = state.pause.holds(now) {
            return Err(failure);
        }
        let flight = begin()?.shared();
        state.flights += 1;
        let number = state.flights;
        state.flight = Some(InTheAir {
            number,
            flight: flight.clone(),
            stale: now + limit / 2,
            overdue: now + limit,
        });
        Ok((number, flight))
    }

    /// Takes the outcome over, once per flight: by the first of those who waited, who is told so.
    pub(super) fn land(&self, number: u64, outcome: &Outcome, now: Monotonic) -> bool {
        let mut state = self.lock();
        if state.flight.as_ref().is_none_or(|flight| flight.number != number) {
            return false;
        }
        state.flight = None;
        state.failed = outcome.as_ref().err().copied();
        match outcome {
            Ok(new) => {
                state.pause = Pause::default();
                state.asked = false;
                if let Some(old) = state.issued.replace(new.clone()) {
                    old.identity.retire();
                    state.exchanged = Some(Exchanged::new(old.identity, new.identity.clone()));
                }
            }
            Err(failure) if failure.is_of_the_server() => {}
            Err(failure) => state.pause.begin(*failure, now),
        }
        true
    }

    /// Retires what it holds; a flight in the air is for those who wait for it alone.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.flight = None;
        if let Some(held) = state.issued.take() {
            held.identity.retire();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("issued", &self.lock().issued)
            .finish_non_exhaustive()
    }
}
