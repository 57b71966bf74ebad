//! One key's steps: its successor is made, published where it must be, promoted; the old one drains and is destroyed.
//!
//! Each step is durable before the next is taken, and may be taken again: by this process after a crash, or by another one at
//! the same time.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use crate::act::Act;
use crate::binding::Confirmation;
use crate::clock::{Clock, Timestamp, within};
use crate::directory::Directory;
use crate::grants::Grants;
use crate::journal::{EventKind, Journal, KeyChange, KeyEvent};
use crate::keys::{
    HELD_FOR, KeyError, KeyFilter, KeyId, KeyListing, KeyRecord, KeySpec, KeyState, KeyStore, Purpose, Retired,
};
use crate::owner::Owner;

use super::policy::{RotationPolicy, earlier, span};
use super::{Outcome, Step, Why};

/// How long one step may wait for a store.
const STEP: Duration = Duration::from_secs(30);

/// A pending proof key that is older was left by a run that never came back, and is not used any more.
const USED_WITHIN: Duration = Duration::from_secs(12 * 3600);

/// From this age on such a key is destroyed: long after anybody would use it, however far clocks and pauses reach.
pub(super) const STALE: Duration = Duration::from_secs(24 * 3600);

/// How many pending keys of one owner are looked at.
const PENDING: usize = 64;

/// How often others may be quicker to end what is to be promoted where nothing is active.
const FILLS: usize = 3;

/// What rotation works with.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) keys: Arc<dyn KeyStore>,
    pub(super) listing: Arc<dyn KeyListing>,
    pub(super) grants: Option<Grants>,
    pub(super) directory: Option<Arc<dyn Directory>>,
    pub(super) journal: Journal,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) policy: RotationPolicy,
}

/// Why a key is rotated, and by whom.
#[derive(Clone, Debug)]
pub(super) struct Errand {
    pub(super) why: Why,
    /// `None` where the key is due.
    pub(super) act: Option<Act>,
    /// When the run began: with [`Why::Compromised`] nothing that is older is trusted.
    pub(super) began: Timestamp,
}

/// A step that failed.
pub(super) type Failed = (Step, &'static str);

impl Bench {
    /// One page of what `filter` takes.
    pub(super) async fn page(
        &self,
        filter: &KeyFilter,
        after: Option<KeyId>,
        most: usize,
    ) -> Result<Vec<KeyRecord>, Failed> {
        self.step(Step::List, self.listing.list(filter, after, most)).await
    }

    /// Gives the active `key` a successor, as far as that can be done now. Panics of what was handed in are failures of this key.
    pub(super) async fn succeed(&self, key: &KeyRecord, errand: &Errand) -> Outcome {
        self.guarded(key, errand, self.replace(key, errand)).await
    }

    /// Ends `key` as compromised; an active one gets a successor first, and ends also where it gets none. One that has ended is
    /// [made up for](Self::is_unfilled).
    pub(super) async fn compromise(&self, key: &KeyRecord, errand: &Errand) -> Outcome {
        match self.compromised(key, errand).await {
            // And needed none.
            Outcome::Removed => Outcome::Ended,
            outcome => outcome,
        }
    }

    async fn compromised(&self, key: &KeyRecord, errand: &Errand) -> Outcome {
        if key.has_ended() {
            return self.guarded(key, errand, self.fill(key, errand)).await;
        }
        let successor = match (key.state, key.purpose) {
            // A certificate's key has no successor without a certificate: that comes from its source.
            (KeyState::Active, Purpose::Proof | Purpose::ClientAssertion) => Some(self.succeed(key, errand).await),
            _ => None,
        };
        let ended = self.end(key, Retired::Compromised, errand.act.as_ref());
        let ended = self
            .guarded(key, errand, ended.map(|ended| ended.map(|_changed| Outcome::Ended)))
            .await;
        match (successor, ended) {
            (_, failed @ Outcome::Failed { .. }) => failed,
            // Whoever was first may have lost this key, which has ended now, and stand with nothing.
            (Some(Outcome::Overtaken), _) => self.guarded(key, errand, self.fill(key, errand)).await,
            (Some(successor), _) => successor,
            (None, ended) => ended,
        }
    }

    /// Promotes the owner's pending key that an issuer knows by now.
    pub(super) async fn promote_known(&self, owner: &Owner, id: KeyId, errand: &Errand) -> Outcome {
        let filter = KeyFilter::default().of_owner(owner.clone()).with_id(id);
        let key = match self.page(&filter, None, 1).await {
            Ok(page) => page.into_iter().next(),
            Err((step, code)) => return Outcome::Failed { step, code },
        };
        let Some(key) = key else {
            let (step, code) = (Step::List, KeyError::Missing.code());
            return Outcome::Failed { step, code };
        };
        let work = async {
            if !self.is_served(owner).await? {
                return Ok(Outcome::Removed);
            }
            let active = self.step(Step::Promote, self.keys.active(owner, key.purpose)).await?;
            let replaces = active.map(|active| active.id());
            let is_done = replaces == Some(key.id) || self.promote(&key, replaces, errand).await?;
            Ok(match is_done {
                true => Outcome::Rotated { successor: key.id },
                false => Outcome::Overtaken,
            })
        };
        self.guarded(&key, errand, work).await
    }

    /// Whether a key that ended as compromised left its owner without an active one: its successor could not be made.
    pub(super) async fn is_unfilled(&self, key: &KeyRecord) -> Result<bool, Failed> {
        // What drained, or never signed, had no place to fill.
        let was_active = key.activated_at.is_some() && key.drain_until.is_none();
        if !was_active || key.purpose == Purpose::Tls {
            return Ok(false);
        }
        let active = self.step(Step::Promote, self.keys.active(&key.owner, key.purpose));
        Ok(active.await?.is_none())
    }

    /// Ends a key, and tells of it. `false` where somebody else was first.
    pub(super) async fn end(&self, key: &KeyRecord, to: Retired, act: Option<&Act>) -> Result<bool, Failed> {
        let changed = self
            .step(Step::Retire, self.keys.retire(&key.owner, &key.id, to))
            .await?;
        if changed {
            let change = match to {
                Retired::Destroyed => KeyChange::Destroyed,
                Retired::Compromised => KeyChange::Compromised,
            };
            self.tell(key, change, act);
        }
        Ok(changed)
    }

    /// Whether a pending key was left by a run that never came back. A client-assertion key may wait for as long as it takes to
    /// register it.
    pub(super) fn is_stale(&self, key: &KeyRecord) -> bool {
        key.purpose == Purpose::Proof && key.created_at + STALE <= self.clock.now()
    }

    pub(super) fn tell(&self, key: &KeyRecord, change: KeyChange, act: Option<&Act>) {
        self.journal.record_of(&key.owner, || {
            EventKind::Key(KeyEvent {
                key: key.id,
                purpose: key.purpose,
                jkt: key.jkt(),
                change,
                act: act.cloned(),
            })
        });
    }

    pub(super) fn age(&self, key: &KeyRecord) -> Duration {
        span(key.activated_at.unwrap_or(key.created_at), self.clock.now())
    }

    async fn guarded(
        &self,
        key: &KeyRecord,
        errand: &Errand,
        work: impl Future<Output = Result<Outcome, Failed>>,
    ) -> Outcome {
        let outcome = AssertUnwindSafe(work).catch_unwind().await;
        let (step, code) = match outcome {
            Ok(Ok(outcome)) => return outcome,
            Ok(Err(failed)) => failed,
            Err(_panic) => (Step::Any, "panicked"),
        };
        let change = KeyChange::RotationFailed {
            step: step.as_str(),
            code,
        };
        self.tell(key, change, errand.act.as_ref());
        Outcome::Failed { step, code }
    }

    async fn replace(&self, key: &KeyRecord, errand: &Errand) -> Result<Outcome, Failed> {
        if errand.why == Why::Routine && !self.policy.rotates(key.purpose) {
            return Ok(Outcome::ByHand);
        }
        if errand.why == Why::Routine && self.is_held(key).await? {
            return Ok(Outcome::Held);
        }
        let Some(successor) = self.ready(key, errand).await? else {
            return Ok(Outcome::Removed);
        };
        let ahead = self.policy.publish_ahead();
        let signs_from = successor.created_at + ahead;
        if key.purpose == Purpose::ClientAssertion && errand.why == Why::Routine && self.clock.now() < signs_from {
            return Ok(Outcome::Published {
                successor: successor.id,
                signs_from,
            });
        }
        if self.promote(&successor, Some(key.id), errand).await? {
            if errand.why == Why::Routine {
                // A consent may have come in between. What cannot be found out now is by a later round, while the key drains.
                let _found_later = self.hold(key, errand.act.as_ref()).await;
            }
            return Ok(Outcome::Rotated {
                successor: successor.id,
            });
        }
        // Another was first, or an earlier try got through without an answer. What was made in vain is used by the next
        // rotation, or found stale: to destroy it now could meet its promotion by somebody else.
        let active = self
            .step(Step::Promote, self.keys.active(&key.owner, key.purpose))
            .await?;
        match active {
            Some(active) if active.id() == successor.id => Ok(Outcome::Rotated {
                successor: successor.id,
            }),
            // Somebody else ended the key as compromised too, before there was anything in its place.
            None if errand.why == Why::Compromised => self.fill(key, errand).await,
            _ => Ok(Outcome::Overtaken),
        }
    }

    /// Gives the owner of `key`, which has ended, an active key if there is none.
    async fn fill(&self, key: &KeyRecord, errand: &Errand) -> Result<Outcome, Failed> {
        for _attempt in 0..FILLS {
            let active = self.step(Step::Promote, self.keys.active(&key.owner, key.purpose));
            if active.await?.is_some() {
                return Ok(Outcome::Overtaken);
            }
            let Some(successor) = self.ready(key, errand).await? else {
                return Ok(Outcome::Removed);
            };
            if self.promote(&successor, None, errand).await? {
                return Ok(Outcome::Rotated {
                    successor: successor.id,
                });
            }
        }
        Err((Step::Promote, "none_active"))
    }

    /// Promotes a pending key; `false` where another was first.
    async fn promote(&self, successor: &KeyRecord, replaces: Option<KeyId>, errand: &Errand) -> Result<bool, Failed> {
        let drain_until = self.clock.now() + self.policy.drain();
        let promoted = self
            .keys
            .promote(&successor.owner, &successor.id, replaces.as_ref(), drain_until);
        match self.step(Step::Promote, promoted).await {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(failed @ (_, code)) if code == KeyError::Missing.code() => {
                return match self.end_lost(successor, errand).await? {
                    true => Err(failed),
                    false => Ok(false),
                };
            }
            Err(failed) => return Err(failed),
        }
        let change = KeyChange::Promoted { replaces, drain_until };
        self.tell(successor, change, errand.act.as_ref());
        Ok(true)
    }

    /// Ends a pending key that is listed and cannot be had: its private half is gone, and it would be chosen again and again.
    /// `false` where it is not pending any more: another process found it stale, or compromised.
    async fn end_lost(&self, pending: &KeyRecord, errand: &Errand) -> Result<bool, Failed> {
        let filter = KeyFilter::default()
            .of_owner(pending.owner.clone())
            .with_id(pending.id)
            .in_state(KeyState::Pending);
        if self.page(&filter, None, 1).await?.is_empty() {
            return Ok(false);
        }
        self.end(pending, Retired::Destroyed, errand.act.as_ref()).await?;
        Ok(true)
    }

    /// The oldest pending key that can take the place of `key`: all who look at the same time choose the same one.
    async fn successor(&self, key: &KeyRecord, errand: &Errand) -> Result<Option<KeyRecord>, Failed> {
        let filter = KeyFilter::default()
            .of_owner(key.owner.clone())
            .for_purpose(key.purpose)
            .in_state(KeyState::Pending);
        let now = self.clock.now();
        let fits = |pending: &KeyRecord| {
            pending.public.algorithm() == key.public.algorithm()
                && (key.purpose != Purpose::Proof || pending.created_at > earlier(now, USED_WITHIN))
                // Whoever has got at the store may have what was pending then.
                // A clock that was ahead says nothing of when.
                && (errand.why == Why::Routine || (errand.began..=now).contains(&pending.created_at))
        };
        let pending = self.page(&filter, None, PENDING).await?;
        Ok(pending
            .into_iter()
            .filter(fits)
            .min_by_key(|pending| (pending.created_at, pending.id)))
    }

    /// A pending key that is to take the place of `key`; `None` where its connection is to have none any more.
    async fn ready(&self, key: &KeyRecord, errand: &Errand) -> Result<Option<KeyRecord>, Failed> {
        if !self.is_served(&key.owner).await? {
            return Ok(None);
        }
        match self.successor(key, errand).await? {
            Some(pending) => Ok(Some(pending)),
            None => self.make(key, errand).await,
        }
    }

    async fn make(&self, key: &KeyRecord, errand: &Errand) -> Result<Option<KeyRecord>, Failed> {
        let spec = KeySpec {
            purpose: key.purpose,
            algorithm: key.public.algorithm(),
        };
        let made = self.step(Step::Create, self.keys.create(&key.owner, spec)).await?;
        made.check(&key.owner, key.purpose)
            .map_err(|error| (Step::Create, error.code()))?;
        let made = KeyRecord::pending(
            key.owner.clone(),
            made.id(),
            key.purpose,
            made.public().clone(),
            self.clock.now(),
        );
        self.tell(&made, KeyChange::Made, errand.act.as_ref());
        // A removal is written down before it lists keys. So it lists this one, or is seen here.
        match self.is_served(&key.owner).await {
            Ok(true) => {}
            gone => {
                self.end(&made, Retired::Destroyed, errand.act.as_ref()).await?;
                return gone.map(|_removed| None);
            }
        }
        // Another process may have made one at the same time: then both use the older one. The other is used by the next
        // rotation, or found stale.
        Ok(Some(self.successor(key, errand).await?.unwrap_or(made)))
    }

    /// Whether a refresh token is bound to the key, as those of public clients are (RFC 9449 5): it can be used with this key
    /// alone, and brings tokens that are bound to it.
    pub(super) async fn is_held(&self, key: &KeyRecord) -> Result<bool, Failed> {
        let (Purpose::Proof, Some(grants), Some(connection)) = (key.purpose, &self.grants, key.owner.connection())
        else {
            return Ok(false);
        };
        match self.in_time(Step::Grant, grants.bound_to(connection)).await? {
            Ok(bound) => Ok(bound.contains(&Confirmation::Jkt(key.jkt()))),
            Err(_unavailable) => Err((Step::Grant, "grants_unavailable")),
        }
    }

    /// Has a draining key go on signing where a refresh token is bound to it, and tells of that. `false` where none is.
    pub(super) async fn hold(&self, key: &KeyRecord, act: Option<&Act>) -> Result<bool, Failed> {
        if !self.is_held(key).await? {
            return Ok(false);
        }
        let until = self.clock.now() + HELD_FOR;
        self.tell(key, KeyChange::HeldByGrant { age: self.age(key) }, act);
        // A store that cannot lets the key come to its end: that the consent ends with it has been told.
        self.step(Step::Grant, self.keys.prolong(&key.owner, &key.id, until))
            .await?;
        Ok(true)
    }

    async fn step<T>(&self, step: Step, work: impl Future<Output = Result<T, KeyError>>) -> Result<T, Failed> {
        self.in_time(step, work).await?.map_err(|error| (step, error.code()))
    }

    /// What `work` gives, if it does before the step has taken too long.
    pub(super) async fn in_time<T>(&self, step: Step, work: impl Future<Output = T>) -> Result<T, Failed> {
        within(&*self.clock, self.clock.monotonic() + STEP, work)
            .await
            .ok_or((step, "deadline"))
    }
}
