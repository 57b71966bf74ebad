//! Rotation that somebody asked for: many keys, some at a time, past failures.

use std::collections::HashSet;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};

use crate::clock::Timestamp;
use crate::journal::{EventKind, RotationRun};
use crate::keys::{KeyFilter, KeyId, KeyRecord, KeyState, Purpose};
use crate::owner::Owner;

use super::step::{Bench, Errand};
use super::{Outcome, Selection, Step, Why};

/// How many records one page has.
pub(super) const PAGE: usize = 500;

/// How far a run has come, told after each key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Progress {
    /// How many keys were looked at without a failure, this one among them.
    pub done: u64,
    /// How many could not be rotated.
    pub failed: u64,
    /// How many are left, by the count at the start of the run.
    pub left: u64,
    /// The key, and whose it is; `None` for a certificate, and where the keys cannot be listed (any more), which ends the run.
    pub key: Option<(Owner, KeyId)>,
    /// What became of it.
    pub outcome: Outcome,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finished {
    /// How many keys have a successor now, or have ended as compromised.
    pub rotated: u64,
    /// How many could not be rotated.
    pub failed: u64,
    /// How many are held by a refresh token that is bound to them.
    pub held: u64,
    /// How many have a successor that is published and not yet promoted.
    pub published: u64,
    /// How many stay because issuers learn their successors by hand.
    pub by_hand: u64,
    /// How many another process rotated first.
    pub overtaken: u64,
    /// How many are of connections that are being removed, or are not listed.
    pub removed: u64,
}

impl Finished {
    pub(super) fn count(&mut self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Rotated { .. } | Outcome::Ended => &mut self.rotated,
            Outcome::Published { .. } => &mut self.published,
            Outcome::Held => &mut self.held,
            Outcome::ByHand => &mut self.by_hand,
            Outcome::Overtaken => &mut self.overtaken,
            Outcome::Removed => &mut self.removed,
            Outcome::Failed { .. } => &mut self.failed,
        };
        *counter += 1;
    }

    /// Whether something happened that the journal is to hear of.
    pub(super) fn is_something(&self) -> bool {
        self.rotated + self.failed > 0
    }

    pub(super) fn event(&self, errand: &Errand) -> EventKind {
        EventKind::RotationRun(RotationRun {
            rotated: self.rotated,
            failed: self.failed,
            held: self.held,
            waiting: self.published,
            act: errand.act.clone(),
        })
    }

    fn done(&self) -> u64 {
        self.rotated + self.held + self.published + self.by_hand + self.overtaken + self.removed
    }
}

/// A rotation that somebody asked for: a stream of [`Progress`], which does something while it is polled.
///
/// Dropped in the middle, it leaves what is done done; [`Rotator::resume`](super::Rotator::resume) goes on with the rest.
#[must_use = "nothing is rotated before it is polled"]
pub struct Rotating {
    began: Timestamp,
    counts: Arc<Mutex<Finished>>,
    progress: BoxStream<'static, Progress>,
}

impl Rotating {
    /// When the run began: what [`Rotator::resume`](super::Rotator::resume) wants to know. Keep it for that.
    pub fn began(&self) -> Timestamp {
        self.began
    }

    /// Rotates all that is left.
    pub async fn finish(mut self) -> Finished {
        while self.progress.next().await.is_some() {}
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream for Rotating {
    type Item = Progress;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Progress>> {
        self.progress.poll_next_unpin(context)
    }
}

impl fmt::Debug for Rotating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rotating")
            .field("began", &self.began)
            .field("counts", &self.counts.lock().unwrap_or_else(PoisonError::into_inner))
            .finish_non_exhaustive()
    }
}

/// Begins a run. `others` are outcomes of what is no key of the store: certificates.
pub(super) fn run(
    bench: Arc<Bench>,
    selection: &Selection,
    errand: Errand,
    at_once: usize,
    others: BoxStream<'static, Outcome>,
) -> Rotating {
    let began = errand.began;
    let chosen = Arc::new(Chosen {
        filter: filter(selection, &errand),
        began,
        why: errand.why,
        successors: Mutex::default(),
    });
    let counts = Arc::new(Mutex::new(Finished::default()));
    let tally = Tally {
        counts: Arc::clone(&counts),
        left: 0,
    };
    let of_keys = {
        let (bench, chosen, errand) = (Arc::clone(&bench), Arc::clone(&chosen), errand.clone());
        let clock = Arc::clone(&bench.clock);
        pages(Arc::clone(&bench), chosen.filter.clone(), None)
            .flat_map(|page| match page {
                Ok(keys) => stream::iter(keys.into_iter().map(Ok).collect::<Vec<_>>()),
                Err(failed) => stream::iter(vec![Err(failed)]),
            })
            .filter_map(move |key| {
                let takes = key.as_ref().map_or(true, |key| chosen.takes(key, clock.now()));
                let chosen = Arc::clone(&chosen);
                async move { takes.then_some((chosen, key)) }
            })
            .map(move |(chosen, key)| one(Arc::clone(&bench), errand.clone(), chosen, key))
            .buffer_unordered(at_once)
            .filter_map(|done| async move { done })
            .boxed()
    };
    let all = others.map(|outcome| (None, outcome)).chain(of_keys);
    let progress = {
        let (bench, chosen) = (Arc::clone(&bench), Arc::clone(&chosen));
        stream::once(async move { chosen.count(&bench).await }).flat_map({
            let all = Mutex::new(Some(all));
            move |left| {
                let all = all.lock().unwrap_or_else(PoisonError::into_inner).take();
                let tally = Tally { left, ..tally.clone() };
                stream::iter(all)
                    .flatten()
                    .map(move |(key, outcome)| tally.progress(key, outcome))
            }
        })
    };
    let end = {
        let counts = Arc::clone(&counts);
        stream::once(async move {
            let counts = *counts.lock().unwrap_or_else(PoisonError::into_inner);
            bench.journal.record_at_large(counts.event(&errand));
        })
    };
    Rotating {
        began,
        counts,
        progress: progress.chain(end.filter_map(|()| async { None })).boxed(),
    }
}

async fn one(
    bench: Arc<Bench>,
    errand: Errand,
    chosen: Arc<Chosen>,
    key: Result<KeyRecord, (Step, &'static str)>,
) -> Option<(Option<(Owner, KeyId)>, Outcome)> {
    let key = match key {
        Ok(key) => key,
        Err((step, code)) => {
            bench.journal.record_at_large(EventKind::RotationBlind { code });
            return Some((None, Outcome::Failed { step, code }));
        }
    };
    if key.has_ended() {
        match bench.is_unfilled(&key).await {
            Ok(true) => {}
            Ok(false) => return None,
            Err((step, code)) => return Some((Some((key.owner, key.id)), Outcome::Failed { step, code })),
        }
    }
    let outcome = match errand.why {
        Why::Routine => bench.succeed(&key, &errand).await,
        Why::Compromised => bench.compromise(&key, &errand).await,
    };
    if let Outcome::Rotated { successor } = outcome {
        chosen.successors().insert(successor);
    }
    Some((Some((key.owner, key.id)), outcome))
}

/// The pages of what `filter` takes behind `after`, until an empty one or one that cannot be had: a store may give less than it
/// is asked for.
pub(super) fn pages(
    bench: Arc<Bench>,
    filter: KeyFilter,
    after: Option<KeyId>,
) -> impl Stream<Item = Result<Vec<KeyRecord>, (Step, &'static str)>> + Send {
    stream::unfold(Some(after), move |at| {
        let (bench, filter) = (Arc::clone(&bench), filter.clone());
        async move {
            let at = at?;
            let page = bench.page(&filter, at, PAGE).await;
            let last = match &page {
                Ok(keys) => Some(keys.last()?.id),
                Err(_) => None,
            };
            // A listing that does not come forward would never end.
            let next = last.filter(|last| at.is_none_or(|at| at < *last)).map(Some);
            Some((page, next))
        }
    })
}

/// Which keys a run is about.
struct Chosen {
    filter: KeyFilter,
    began: Timestamp,
    why: Why,
    /// The keys that this run promoted: where time stands still they look as if they had been there before.
    successors: Mutex<HashSet<KeyId>>,
}

impl Chosen {
    /// Whether the key was there when the run began, and is one that this kind of run is about. One from the future was made by
    /// a clock that was ahead, nobody knows when.
    fn takes(&self, key: &KeyRecord, now: Timestamp) -> bool {
        if !self.filter.takes(key) || self.successors().contains(&key.id) {
            return false;
        }
        let is_older = |at: Timestamp| at <= self.began || at > now;
        match self.why {
            Why::Routine => key.activated_at.is_some_and(is_older) && key.purpose != Purpose::Tls,
            Why::Compromised => match key.state {
                KeyState::Pending => key.created_at != self.began && is_older(key.created_at),
                // It ended in this run, which may have failed to make a successor.
                KeyState::Compromised => key.ended_at.is_some_and(|at| at >= self.began),
                _ => is_older(key.created_at),
            },
        }
    }

    async fn count(&self, bench: &Arc<Bench>) -> u64 {
        let mut count = 0;
        let mut pages = Box::pin(pages(Arc::clone(bench), self.filter.clone(), None));
        while let Some(Ok(page)) = pages.next().await {
            let now = bench.clock.now();
            let takes = |key: &&KeyRecord| !key.has_ended() && self.takes(key, now);
            count += page.iter().filter(takes).count() as u64;
        }
        count
    }

    fn successors(&self) -> std::sync::MutexGuard<'_, HashSet<KeyId>> {
        self.successors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn filter(selection: &Selection, errand: &Errand) -> KeyFilter {
    let all = KeyFilter::default();
    let filter = match selection {
        Selection::Connection(connection) => all.of_owner(connection.clone()),
        Selection::Tenant(tenant) => all.of_tenant(tenant.clone()),
        Selection::Key(key) => all.with_id(*key),
        Selection::Purpose(purpose) => all.for_purpose(*purpose),
        Selection::All => all,
    };
    match errand.why {
        Why::Routine => filter.in_state(KeyState::Active),
        Why::Compromised => filter
            .in_state(KeyState::Pending)
            .in_state(KeyState::Active)
            .in_state(KeyState::Draining)
            .in_state(KeyState::Compromised),
    }
}

#[derive(Clone)]
struct Tally {
    counts: Arc<Mutex<Finished>>,
    left: u64,
}

impl Tally {
    fn progress(&self, key: Option<(Owner, KeyId)>, outcome: Outcome) -> Progress {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.count(&outcome);
        let (done, failed) = (counts.done(), counts.failed);
        Progress {
            done,
            failed,
            left: self.left.saturating_sub(done + failed),
            key,
            outcome,
        }
    }
}
