//! Using a refresh token: claimed before it is sent, and its successor stored before anything else.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Grant, GrantError, GrantState, GrantStore, Record, Revision};
use crate::binding::Confirmation;
use crate::clock::{Clock, Monotonic, Timestamp};
use crate::owner::ConnectionId;
use crate::secret::RefreshToken;

/// Pauses between two looks at a store double from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What becomes of the previous refresh token when an issuer gives the next one. A fact about the issuer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rotation {
    /// It is dead at once: a lost answer costs the consent. The default, and right where nothing else is known.
    #[default]
    PreviousDies,
    /// It stays valid until the next one is used: a refresh token whose fate is not known is sent once more.
    PreviousStays,
}

/// The grants of an application: a [`GrantStore`] with the one right way to use it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Grants {
    store: Arc<dyn GrantStore>,
    clock: Arc<dyn Clock>,
    claim_for: Duration,
}

impl Grants {
    /// How long a claim lasts by default.
    pub const DEFAULT_CLAIM: Duration = Duration::from_secs(60);

    /// The grants in `store`, claimed by the time of `clock`.
    pub fn new(store: Arc<dyn GrantStore>, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            clock,
            claim_for: Self::DEFAULT_CLAIM,
        }
    }

    /// How long claims last. Default 60 s.
    ///
    /// The refresh token is given out in the first half. The second half must be longer than a token exchange may take
    /// (10 s by default) and than the clocks of two processes differ, together.
    #[must_use]
    pub fn claim_for(mut self, span: Duration) -> Self {
        self.claim_for = span;
        self
    }

    /// Stores a new consent in the place of whatever is there, in any state. What holders of earlier claims then report
    /// changes nothing.
    ///
    /// May be repeated: a grant that is the store's newest consent already (the same refresh token and the same time of
    /// consent) is left as it is, whatever has become of it since. Gives the consent's revision, as [`Grants::consent`] does.
    ///
    /// # Errors
    /// [`GrantError::Unavailable`]: stored or not, so repeat it. [`GrantError::Full`], [`GrantError::Randomness`]: not stored.
    pub async fn put(&self, connection: &ConnectionId, grant: Grant) -> Result<Revision, GrantError> {
        let consent = grant.consent();
        let kept = self.store.load(connection).await?;
        if kept.is_some_and(|kept| kept.consent == consent) {
            return Ok(consent);
        }
        let record = Record {
            revision: Revision::random()?,
            consent,
            state: GrantState::Ready(grant),
        };
        self.store.put(connection, &record).await?;
        Ok(consent)
    }

    /// Forgets the connection's grant: the shipper has left. `Ok(false)`: there was none. The issuer knows nothing of it;
    /// that is revocation (RFC 7009).
    ///
    /// # Errors
    /// [`GrantError::Unavailable`]: forgotten or not.
    pub async fn remove(&self, connection: &ConnectionId) -> Result<bool, GrantError> {
        self.store.remove(connection).await
    }

    /// Which consent the connection has. Access tokens of another one are not to be used any more; refreshes do not
    /// change it.
    ///
    /// # Errors
    /// [`GrantError::Missing`], [`GrantError::NeedsConsent`], [`GrantError::Unavailable`].
    pub async fn consent(&self, connection: &ConnectionId) -> Result<Revision, GrantError> {
        let record = self.store.load(connection).await?.ok_or(GrantError::Missing)?;
        match record.state {
            GrantState::Ready(_) | GrantState::Claimed { .. } => Ok(record.consent),
            GrantState::Ended => Err(GrantError::NeedsConsent),
        }
    }

    /// What the connection's refresh token is bound to (RFC 9449 5, RFC 8705 4); empty where it is not bound, or where there is
    /// none that can be used.
    ///
    /// # Errors
    /// [`GrantError::Unavailable`].
    pub async fn bound_to(&self, connection: &ConnectionId) -> Result<Arc<[Confirmation]>, GrantError> {
        let now = self.clock.now();
        let grant = match self.store.load(connection).await?.map(|record| record.state) {
            Some(GrantState::Ready(grant) | GrantState::Claimed { grant, .. }) => grant,
            Some(GrantState::Ended) | None => return Ok(Arc::default()),
        };
        Ok(match grant.expires_at {
            Some(end) if end <= now => Arc::default(),
            _ => grant.confirmations,
        })
    }

    /// See [`GrantStore::generation`].
    pub fn generation(&self) -> u64 {
        self.store.generation()
    }

    /// The right to use the connection's refresh token once. While another holder has it this waits, until `deadline`: looks
    /// again after 50 ms, then less often, at least once a second.
    ///
    /// Claim last, when all that the request needs is at hand. Dropped while it claims, this may leave the claim behind, as
    /// dropping a [`Claim`] does.
    ///
    /// # Errors
    /// [`GrantError::Missing`]; [`GrantError::NeedsConsent`], also when the refresh token's end has passed;
    /// [`GrantError::Uncertain`]; [`GrantError::Busy`] at the deadline; [`GrantError::Unavailable`],
    /// [`GrantError::Randomness`].
    pub async fn claim(
        &self,
        connection: &ConnectionId,
        rotation: Rotation,
        deadline: Monotonic,
    ) -> Result<Claim, GrantError> {
        let mut pause = FIRST_PAUSE;
        loop {
            let busy = match self.try_claim(connection, rotation).await {
                Err(busy @ GrantError::Busy { .. }) => busy,
                outcome => return outcome,
            };
            let now = self.clock.monotonic();
            if deadline <= now {
                return Err(busy);
            }
            self.clock.sleep_until(deadline.min(now + pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn try_claim(&self, connection: &ConnectionId, rotation: Rotation) -> Result<Claim, GrantError> {
        let before = self.store.load(connection).await?.ok_or(GrantError::Missing)?;
        // Read before the claim is written: the time that writing takes is the claim's own.
        let (now, monotonic) = (self.clock.now(), self.clock.monotonic());
        let (grant, second_chance) = claimable(&before.state, rotation, now)?;
        let until = now + self.claim_for;
        let claimed = Record {
            revision: Revision::random()?,
            consent: before.consent,
            state: GrantState::Claimed {
                grant: grant.clone(),
                until,
                second_chance,
            },
        };
        let claim = Claim {
            grant: grant.clone(),
            revision: claimed.revision,
            // Drawn now: when the answer is there, nothing but the store may fail.
            next: Revision::random()?,
            second_chance,
            use_until: (now + self.claim_for / 2, monotonic + self.claim_for / 2),
            ends: monotonic + self.claim_for,
            connection: connection.clone(),
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            before,
        };
        match self.store.replace(connection, claim.before.revision, &claimed).await {
            Ok(true) => Ok(claim),
            // Another was first.
            Ok(false) => Err(GrantError::Busy { until }),
            Err(error) => {
                // It may be written, though nothing will be sent. If this does not get through either the grant becomes
                // uncertain, which is what can be known about it.
                let _undone = self.store.replace(connection, claim.revision, &claim.before).await;
                Err(error)
            }
        }
    }
}

/// The grant, and whether claiming it now is its second chance.
fn claimable(state: &GrantState, rotation: Rotation, now: Timestamp) -> Result<(&Grant, bool), GrantError> {
    let (grant, second_chance) = match state {
        GrantState::Ready(grant) => (grant, false),
        GrantState::Claimed { until, .. } if now < *until => return Err(GrantError::Busy { until: *until }),
        GrantState::Claimed {
            grant,
            second_chance: false,
            ..
        } if rotation == Rotation::PreviousStays => (grant, true),
        GrantState::Claimed { .. } => return Err(GrantError::Uncertain),
        GrantState::Ended => return Err(GrantError::NeedsConsent),
    };
    if grant.expires_at.is_some_and(|end| end <= now) {
        return Err(GrantError::NeedsConsent);
    }
    Ok((grant, second_chance))
}

/// The right to use one refresh token once. How it ends:
///
/// | What happened | Ending |
/// |---|---|
/// | the issuer answered with tokens | [`settle`](Self::settle), before the access token is used |
/// | certainly nothing was sent, or the request was refused for another reason than the grant | [`release`](Self::release) |
/// | the issuer answered `invalid_grant` | [`end`](Self::end) |
/// | it was sent, and its connection ended without an answer | [`abandon`](Self::abandon) |
/// | it was sent, and no answer came in time | none: the claim is dropped |
///
/// Each ending is a compare-and-set on this very claim: when it is over nothing is changed, so that neither a late answer nor a
/// stale `invalid_grant` touches what others have stored since. Each repeats what it writes while the store is unavailable,
/// until the claim's time ends; whoever waits no longer drops the future.
///
/// A claim that is dropped without an ending, or in the middle of one, is what a crash leaves behind: the grant stays
/// claimed until its time has passed, and is uncertain then.
#[must_use = "a claim that is dropped makes the grant uncertain"]
pub struct Claim {
    grant: Grant,
    revision: Revision,
    /// The revision of whatever is stored in the place of this claim, the same for every repeat.
    next: Revision,
    second_chance: bool,
    use_until: (Timestamp, Monotonic),
    ends: Monotonic,
    /// What was there before, which [`Claim::release`] restores.
    before: Record,
    connection: ConnectionId,
    store: Arc<dyn GrantStore>,
    clock: Arc<dyn Clock>,
}

impl Claim {
    /// The refresh token, to be sent at once. Asked for again before each attempt.
    ///
    /// # Errors
    /// [`GrantError::ClaimOver`] in the second half of the claim's time, by wall or monotonic time: a holder that stood
    /// still must not send what another may be sending.
    pub fn refresh_token(&self) -> Result<&RefreshToken, GrantError> {
        let (wall, monotonic) = self.use_until;
        if self.clock.now() < wall && self.clock.monotonic() < monotonic {
            Ok(&self.grant.refresh_token)
        } else {
            Err(GrantError::ClaimOver)
        }
    }

    /// The scope as granted; a refresh may ask for it or for less (RFC 6749 6). `None` where it is not known.
    pub fn scope(&self) -> Option<&str> {
        self.grant.scope()
    }

    /// What the refresh token is bound to: these keys must be shown with it. Empty where it is not bound.
    pub fn confirmations(&self) -> &[Confirmation] {
        self.grant.confirmations()
    }

    /// Which consent it is; see [`Grants::consent`].
    pub fn consent(&self) -> Revision {
        self.before.consent
    }

    /// Whether the token may have been sent before, by a holder that never came back.
    pub fn is_second_chance(&self) -> bool {
        self.second_chance
    }

    /// The issuer answered: stores its next refresh token, or keeps the present one where it gave none (RFC 6749 6).
    /// `expires_at` is when the refresh token ends by this answer. Only after `Ok` the access token may be used.
    ///
    /// # Errors
    /// [`GrantError::ClaimOver`]: the tokens belong to a consent or a claim that was replaced, and are to be dropped.
    /// [`GrantError::Unavailable`]: the next refresh token is lost unless a write got through, and the grant uncertain.
    pub async fn settle(self, next: Option<RefreshToken>, expires_at: Option<Timestamp>) -> Result<(), GrantError> {
        let grant = self.grant.refreshed(next, expires_at);
        self.write(&self.next(GrantState::Ready(grant))).await
    }

    /// Certainly not used: all is as it was before the claim.
    ///
    /// # Errors
    /// [`GrantError::ClaimOver`], [`GrantError::Unavailable`].
    pub async fn release(self) -> Result<(), GrantError> {
        // The record of a holder that never came back gets its revision again: what it may still report counts again.
        self.write(&self.before).await
    }

    /// The issuer takes the refresh token no more (`invalid_grant`): the shipper must consent again.
    ///
    /// # Errors
    /// [`GrantError::ClaimOver`]: there is a new consent, or another holder; try again. [`GrantError::Unavailable`].
    pub async fn end(self) -> Result<(), GrantError> {
        self.write(&self.next(GrantState::Ended)).await
    }

    /// Sent, and no answer will come: uncertain at once, without waiting for the claim's time to pass. Where the request may
    /// still be on its way (a time limit ended the wait), drop the claim instead: the second chance is then given when the
    /// first request has had its time.
    ///
    /// # Errors
    /// [`GrantError::ClaimOver`], [`GrantError::Unavailable`].
    pub async fn abandon(self) -> Result<(), GrantError> {
        let abandoned = GrantState::Claimed {
            grant: self.grant.clone(),
            until: self.clock.now(),
            second_chance: self.second_chance,
        };
        self.write(&self.next(abandoned)).await
    }

    fn next(&self, state: GrantState) -> Record {
        Record {
            revision: self.next,
            consent: self.before.consent,
            state,
        }
    }

    /// Writes `record` in the place of this claim, and again while the store is unavailable.
    async fn write(&self, record: &Record) -> Result<(), GrantError> {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.try_write(record).await {
                Err(error @ GrantError::Unavailable) => error,
                outcome => return outcome,
            };
            let now = self.clock.monotonic();
            if self.ends <= now {
                return Err(error);
            }
            self.clock.sleep_until(self.ends.min(now + pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn try_write(&self, record: &Record) -> Result<(), GrantError> {
        if self.store.replace(&self.connection, self.revision, record).await? {
            return Ok(());
        }
        // Over, unless an earlier write got through without an answer.
        let kept = self.store.load(&self.connection).await?;
        if kept.is_some_and(|kept| kept.revision == record.revision) {
            return Ok(());
        }
        Err(GrantError::ClaimOver)
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("connection", &self.connection)
            .field("revision", &self.revision)
            .field("second_chance", &self.second_chance)
            .finish_non_exhaustive()
    }
}
