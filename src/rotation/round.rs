//! One round of what is due, pass by pass: old keys get successors. What ends is in `endings`, who is told in `ages`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use uuid::Uuid;

use crate::clock::{Clock, EvenClock, Monotonic, Timestamp, within};
use crate::journal::{EventKind, KeyChange};
use crate::keys::{KeyFilter, KeyId, KeyRecord, KeyState};
use crate::leader::Leadership;
use crate::owner::Environment;

use super::ages::Looked;
use super::forced::{Finished, pages};
use super::policy::{earlier, span};
use super::step::{Bench, Errand};
use super::{Outcome, Why};

/// What leaders lead in.
const TASK: &str = "rotation";

/// How long a lead lasts beyond the pause between rounds.
const LEAD: Duration = Duration::from_secs(120);

/// What each pass of a round may take at least, however long the others took.
const SHARE: Duration = Duration::from_secs(30);

/// How far in the future a key must have been promoted before a clock is to blame.
const AHEAD: Duration = Duration::from_secs(3600);

/// How many keys that stay are remembered, and how many that nothing is bound to.
const MOST_KEPT: usize = 100_000;

/// How long a key that stays is left alone: to find out costs a look at its grant.
const KEPT_FOR: Duration = Duration::from_secs(3600);

/// How long the store of leads may take.
const LEAD_ANSWER: Duration = Duration::from_secs(10);

/// A lead is prolonged when this much of its time has passed.
const PROLONG: Duration = Duration::from_secs(30);

/// Between two reminders of the same.
pub(super) const DAILY: Duration = Duration::from_secs(86_400);

/// What a round does, one after the other. Each goes on where it ended in the round before, and has a share of the time: keys
/// whose steps take for ever about hold up no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pass {
    Held,
    Drained,
    Stale,
    Due(Environment),
    FromTheFuture,
}

/// What is remembered from one round to the next.
#[derive(Default)]
pub(super) struct Places {
    /// Behind which key a pass goes on.
    of: HashMap<Pass, KeyId>,
    /// Due keys that stay, and when that was found out.
    kept: HashMap<KeyId, Timestamp>,
    /// Draining keys that no refresh token is bound to, and until when they drain: none will be.
    pub(super) free: HashMap<KeyId, Timestamp>,
}

/// Who does rounds, and how.
pub(super) struct Round {
    leadership: Option<Arc<dyn Leadership>>,
    process: Uuid,
    pub(super) clock: Arc<dyn Clock>,
    at_once: usize,
    /// What durable ends go by.
    even: EvenClock,
    places: Mutex<Places>,
    led: Mutex<Option<Monotonic>>,
}

/// Whether a pass goes on: asked between keys.
pub(super) struct Leave<'a> {
    round: &'a Round,
    every: Duration,
    until: Monotonic,
    needs_lead: bool,
    goes_on: &'a (dyn Fn() -> bool + Send + Sync),
}

impl Leave<'_> {
    pub(super) async fn goes_on(&self) -> bool {
        (self.goes_on)()
            && self.round.clock.monotonic() < self.until
            && (!self.needs_lead || self.round.leads(self.every).await == Some(true))
    }
}

impl Round {
    pub(super) fn new(
        leadership: Option<Arc<dyn Leadership>>,
        process: Uuid,
        clock: Arc<dyn Clock>,
        at_once: usize,
    ) -> Self {
        Self {
            leadership,
            process,
            even: EvenClock::new(Arc::clone(&clock)),
            clock,
            at_once,
            places: Mutex::default(),
            led: Mutex::default(),
        }
    }

    pub(super) async fn go(
        &self,
        bench: &Arc<Bench>,
        looked: &Mutex<Looked>,
        every: Duration,
        goes_on: &(dyn Fn() -> bool + Send + Sync),
    ) {
        let end = self.clock.monotonic() + every;
        // The time that is left, in equal parts for the passes that are left.
        let share = |passes: u32, needs_lead| {
            let now = self.clock.monotonic();
            Leave {
                round: self,
                every,
                until: now + (end.saturating_since(now) / passes).max(SHARE),
                needs_lead,
                goes_on,
            }
        };
        if !goes_on() {
            return;
        }
        let began = self.clock.now();
        let lead = self.leads(every).await;
        if lead != Some(true) {
            if lead.is_none() {
                bench
                    .journal
                    .record_at_large(EventKind::RotationBlind { code: "lead_unknown" });
            }
            self.forgotten(bench, &share(1, false), looked, began).await;
            return;
        }
        let mut counts = Finished::default();
        let errand = Errand {
            why: Why::Routine,
            act: None,
            began,
        };
        // As the store's own tidying: a clock that is ahead for a while ends nothing.
        if self.even.now().is_some() {
            self.hold_draining(bench, &share(7, true)).await;
            self.end_drained(bench, &share(6, true)).await;
            self.end_stale(bench, &share(5, true)).await;
        }
        for (environment, passes) in [(Environment::Sandbox, 4), (Environment::Production, 3)] {
            let youngest = earlier(began, bench.policy.youngest(environment));
            let filter = KeyFilter::default()
                .in_state(KeyState::Active)
                .in_environment(environment)
                .activated_before(youngest);
            self.rotate(
                bench,
                &share(passes, true),
                (Pass::Due(environment), filter),
                &errand,
                &mut counts,
            )
            .await;
        }
        let filter = KeyFilter::default()
            .in_state(KeyState::Active)
            .activated_since(began + AHEAD);
        self.rotate(
            bench,
            &share(2, true),
            (Pass::FromTheFuture, filter),
            &errand,
            &mut counts,
        )
        .await;
        if counts.is_something() {
            bench.journal.record_at_large(counts.event(&errand));
        }
        self.tell_ages(bench, &share(1, true), looked, began).await;
        if !goes_on() {
            self.resign().await;
        }
    }

    /// Gives up the lead, if this process has it.
    pub(super) async fn resign(&self) {
        let led = self.led().take();
        if let (Some(leadership), Some(_)) = (&self.leadership, led) {
            let resigned = leadership.resign(TASK, self.process);
            // Whoever cannot be told waits for the lead's end.
            let _told = within(&*self.clock, self.clock.monotonic() + LEAD_ANSWER, resigned).await;
        }
    }

    /// Takes or prolongs the lead where there is one to take. In doubt (`None`) nobody leads.
    async fn leads(&self, every: Duration) -> Option<bool> {
        let Some(leadership) = &self.leadership else {
            return Some(true);
        };
        let now = self.clock.monotonic();
        if self.led().is_some_and(|led| now < led + PROLONG) {
            return Some(true);
        }
        let led = leadership.lead(TASK, self.process, self.clock.now(), every + LEAD);
        let leads = within(&*self.clock, now + LEAD_ANSWER, led).await.and_then(Result::ok);
        *self.led() = (leads == Some(true)).then_some(now);
        leads
    }

    async fn rotate(
        &self,
        bench: &Arc<Bench>,
        leave: &Leave<'_>,
        (pass, filter): (Pass, KeyFilter),
        errand: &Errand,
        counts: &mut Finished,
    ) {
        let now = errand.began;
        let counted = Mutex::new(counts);
        self.each(bench, leave, Some(pass), filter, |key| {
            let counted = &counted;
            async move {
                let is_ahead = pass == Pass::FromTheFuture && key.activated_at.is_some_and(|at| at >= now + AHEAD);
                let is_due = is_ahead || bench.policy.begins(&key).is_some_and(|begins| begins <= now);
                if !is_due || key.state != KeyState::Active {
                    return;
                }
                let before = self.places().kept.get(&key.id).copied();
                if before.is_some_and(|before| before <= now && span(before, now) < KEPT_FOR) {
                    return;
                }
                if let (true, Some(promoted)) = (is_ahead, key.activated_at) {
                    bench.tell(&key, KeyChange::FromTheFuture { promoted }, None);
                }
                let outcome = match bench.policy.rotates(key.purpose) {
                    true => bench.succeed(&key, errand).await,
                    false => Outcome::ByHand,
                };
                if outcome == Outcome::Held {
                    remind(bench, &key, before, now);
                }
                self.places().keep(key.id, &outcome, now);
                lock(counted).count(&outcome);
            }
        })
        .await;
    }

    /// Does something for each key that the filter takes, from where `pass` ended the last time; `false` when it is to end
    /// before the last.
    pub(super) async fn each<F: Future<Output = ()>>(
        &self,
        bench: &Arc<Bench>,
        leave: &Leave<'_>,
        pass: Option<Pass>,
        filter: KeyFilter,
        work: impl Fn(KeyRecord) -> F,
    ) -> bool {
        let from = pass.and_then(|pass| self.places().of.remove(&pass));
        // What is behind the place, and then what is before it.
        for (after, last) in [(from, None), (None, from)] {
            let reached = Mutex::new(after);
            let all = self
                .stretch(bench, leave, (filter.clone(), last, &reached), &work)
                .await;
            if !all {
                if let (Some(pass), Some(reached)) = (pass, *lock(&reached)) {
                    self.places().of.insert(pass, reached);
                }
                return false;
            }
            if from.is_none() {
                break;
            }
        }
        true
    }

    /// Goes on behind the key in `reached`, and leaves the last one there that it began.
    async fn stretch<F: Future<Output = ()>>(
        &self,
        bench: &Arc<Bench>,
        leave: &Leave<'_>,
        (filter, last, reached): (KeyFilter, Option<KeyId>, &Mutex<Option<KeyId>>),
        work: &impl Fn(KeyRecord) -> F,
    ) -> bool {
        let after = *lock(reached);
        let mut pages = Box::pin(pages(Arc::clone(bench), filter, after));
        while let Some(page) = pages.next().await {
            let mut keys = match page {
                Ok(keys) => keys,
                Err((_, code)) => {
                    bench.journal.record_at_large(EventKind::RotationBlind { code });
                    return false;
                }
            };
            let listed = keys.len();
            keys.retain(|key| last.is_none_or(|last| key.id <= last));
            let is_last = keys.len() < listed;
            let all = stream::iter(keys)
                .map(|key| async move {
                    let goes_on = leave.goes_on().await;
                    if goes_on {
                        come_to(reached, key.id);
                        work(key).await;
                    }
                    goes_on
                })
                .buffer_unordered(self.at_once)
                // Those that have begun come to their end.
                .fold(true, |all, went_on| async move { all && went_on })
                .await;
            if !all {
                return false;
            }
            if is_last {
                break;
            }
        }
        true
    }

    pub(super) fn places(&self) -> std::sync::MutexGuard<'_, Places> {
        lock(&self.places)
    }

    fn led(&self) -> std::sync::MutexGuard<'_, Option<Monotonic>> {
        lock(&self.led)
    }
}

impl Places {
    /// Remembers a due key that stays, so that it is not looked at again in each round.
    fn keep(&mut self, key: KeyId, outcome: &Outcome, now: Timestamp) {
        if !matches!(outcome, Outcome::Held | Outcome::ByHand | Outcome::Removed) {
            self.kept.remove(&key);
            return;
        }
        if self.kept.len() >= MOST_KEPT && !self.kept.contains_key(&key) {
            self.kept.clear();
        }
        self.kept.insert(key, now);
    }

    pub(super) fn free(&mut self, key: KeyId, until: Timestamp) {
        if self.free.len() >= MOST_KEPT {
            self.free.clear();
        }
        self.free.insert(key, until);
    }
}

fn come_to(reached: &Mutex<Option<KeyId>>, key: KeyId) {
    let mut reached = lock(reached);
    *reached = (*reached).max(Some(key));
}

/// Tells of a key that is due and held, once a day.
fn remind(bench: &Bench, key: &KeyRecord, before: Option<Timestamp>, now: Timestamp) {
    let Some(due) = bench.policy.due(key) else { return };
    let days = |at: Timestamp| span(due, at).as_secs() / DAILY.as_secs();
    if before.is_none_or(|before| before < due || days(before) < days(now)) {
        let age = bench.age(key);
        bench.tell(key, KeyChange::HeldByGrant { age }, None);
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
