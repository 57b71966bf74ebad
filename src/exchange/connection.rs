//! What all exchanges of one connection share: its binding with the nonces it knows, learned clock offsets, pauses that
//! servers asked for, renewals that a 401 caused.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::binding::{Role, TokenBinding};
use crate::clock::Monotonic;
use crate::owner::ConnectionId;

use super::skew::SkewBook;

/// At most one renewal that a 401 caused in this time.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(60);

/// How long a credential that was not taken is not tried again; the time doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(5 * 60);
const LONGEST_PAUSE: Duration = Duration::from_secs(2 * 60 * 60);

#[derive(Debug)]
struct NotTaken {
    revision: u64,
    until: Monotonic,
    pause: Duration,
}

/// The revision of no credential.
const NONE: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) skew: SkewBook,
    binding: Mutex<Option<Arc<dyn TokenBinding>>>,
    /// Until when the API and the issuer are left alone, in milliseconds of monotonic time plus one; 0 for not at all. Not
    /// wall time: a clock that is set back would prolong the pause.
    api_pause: AtomicU64,
    issuer_pause: AtomicU64,
    /// When a 401 last caused a renewal, in milliseconds of monotonic time plus one; 0 for never.
    renewed: AtomicU64,
    /// The credential that the carrier did not take though it was to replace another.
    not_taken: Mutex<Option<Box<NotTaken>>>,
    /// The revision of the credential that was last asked with; [`NONE`] for none.
    asked_with: AtomicU64,
    /// How many calls are under way, and renewals beside calls.
    under_way: AtomicU32,
}

/// Something of the connection is under way.
#[must_use]
pub(crate) struct UnderWay(Arc<Connection>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Connection {
    pub(crate) fn new(id: ConnectionId) -> Self {
        Self {
            id,
            skew: SkewBook::default(),
            binding: Mutex::default(),
            api_pause: AtomicU64::new(0),
            issuer_pause: AtomicU64::new(0),
            renewed: AtomicU64::new(0),
            not_taken: Mutex::default(),
            asked_with: AtomicU64::new(NONE),
            under_way: AtomicU32::new(0),
        }
    }

    /// The binding for the next token: the one that the connection has, with the nonces it knows (RFC 9449 8.2), as long as
    /// its key is that of `bound`; else `bound`.
    pub(crate) fn bind(&self, bound: Arc<dyn TokenBinding>) -> Arc<dyn TokenBinding> {
        let mut last = self.binding.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(known) if same_key(&**known, &*bound) => Arc::clone(known),
            _ => {
                *last = Some(Arc::clone(&bound));
                bound
            }
        }
    }

    /// Something begins. Whoever it is looks *after* this whether the connection is let through: who removes a connection
    /// changes that first, and then looks what is under way. In one order of both (`SeqCst`) one of them sees the other.
    pub(crate) fn begin(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        UnderWay(Arc::clone(self))
    }

    /// How much is under way.
    pub(crate) fn under_way(&self) -> u32 {
        self.under_way.load(Ordering::SeqCst)
    }

    /// Forgets the binding with the nonces that it knows.
    pub(crate) fn unbind(&self) {
        let dropped = self.binding.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(dropped);
    }

    /// Whether the carrier did not take the credential of this revision, so that the one it replaces goes on.
    pub(crate) fn is_not_taken(&self, revision: u64, now: Monotonic) -> bool {
        let not_taken = self.not_taken();
        not_taken
            .as_ref()
            .is_some_and(|not_taken| not_taken.revision == revision && now < not_taken.until)
    }

    /// The carrier did not take the credential of this revision; `false` where that is known. It is tried again after a
    /// while, a longer one each time.
    pub(crate) fn took_not(&self, revision: u64, now: Monotonic) -> bool {
        let mut not_taken = self.not_taken();
        let before = not_taken.as_ref().filter(|not_taken| not_taken.revision == revision);
        let is_known = before.is_some();
        let pause = before.map_or(FIRST_PAUSE, |before| before.pause.saturating_mul(2).min(LONGEST_PAUSE));
        *not_taken = Some(Box::new(NotTaken {
            revision,
            until: now + pause,
            pause,
        }));
        !is_known
    }

    /// Whether a credential goes on because the carrier did not take the one that is to replace it.
    pub(crate) fn goes_back(&self, now: Monotonic) -> bool {
        self.not_taken().as_ref().is_some_and(|not_taken| now < not_taken.until)
    }

    /// A credential that was not taken is to be tried again; `false` where there is none.
    pub(crate) fn try_again(&self) -> bool {
        self.not_taken().take().is_some()
    }

    fn not_taken(&self) -> MutexGuard<'_, Option<Box<NotTaken>>> {
        self.not_taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The credential of this revision is asked with.
    pub(crate) fn asks_with(&self, revision: u64) {
        self.asked_with.store(revision, Ordering::Relaxed);
    }

    /// Whether another credential than that of this revision was asked with last.
    pub(crate) fn asked_with_other(&self, revision: u64) -> bool {
        ![NONE, revision].contains(&self.asked_with.load(Ordering::Relaxed))
    }

    fn pause(&self, role: Role) -> &AtomicU64 {
        match role {
            Role::AuthorizationServer => &self.issuer_pause,
            Role::ResourceServer => &self.api_pause,
        }
    }

    /// What is left of a pause that has not ended.
    pub(crate) fn paused(&self, role: Role, now: impl FnOnce() -> Monotonic) -> Option<Duration> {
        let until = self.pause(role).load(Ordering::Relaxed);
        if until == 0 {
            return None;
        }
        let left = until.saturating_sub(millis(now()));
        (left > 0).then(|| Duration::from_millis(left))
    }

    pub(crate) fn pause_until(&self, role: Role, until: Monotonic) {
        // Of two answers the longer pause counts, whichever comes last.
        self.pause(role).fetch_max(millis(until), Ordering::Relaxed);
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
}

fn millis(now: Monotonic) -> u64 {
    u64::try_from(now.since_origin().as_millis()).unwrap_or(u64::MAX - 1) + 1
}

fn same_key(one: &dyn TokenBinding, other: &dyn TokenBinding) -> bool {
    one.kind() == other.kind()
        && one.confirmations() == other.confirmations()
        && one.algorithm() == other.algorithm()
        && one.is_usable()
}
