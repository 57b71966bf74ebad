//! One round of what is due: drained keys end, old ones get successors, and somebody is told.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use uuid::Uuid;

use crate::clock::{Clock, Monotonic, Timestamp, within};
use crate::journal::{EventKind, KeyChange};
use crate::keys::{KeyFilter, KeyRecord, KeyState, Purpose, Retired};
use crate::leader::Leadership;
use crate::owner::Environment;

use super::forced::{Finished, pages};
use super::policy::{earlier, span};
use super::step::{Bench, Errand};
use super::{Outcome, Why};

/// What leaders lead in.
const TASK: &str = "rotation";

/// How long a lead lasts beyond the pause between rounds.
const LEAD: Duration = Duration::from_secs(120);

/// How long the store of leads may take.
const LEAD_ANSWER: Duration = Duration::from_secs(10);

/// A lead is prolonged when this much of its time has passed.
const PROLONG: Duration = Duration::from_secs(30);

/// How often alerts are looked for.
const ALERTS: Duration = Duration::from_secs(3600);

/// Between two reminders of the same.
const DAILY: Duration = Duration::from_secs(86_400);

/// When this process looked last. What was told before is not told again.
#[derive(Debug, Default)]
pub(super) struct Looked {
    for_held: Option<Timestamp>,
    for_alerts: Option<Timestamp>,
}

/// Who does rounds, and how.
pub(super) struct Round {
    leadership: Option<Arc<dyn Leadership>>,
    process: Uuid,
    clock: Arc<dyn Clock>,
    at_once: usize,
    led: Mutex<Option<Monotonic>>,
}

/// Whether a round goes on: asked between keys.
struct Leave<'a> {
    round: &'a Round,
    every: Duration,
    until: Monotonic,
    goes_on: &'a (dyn Fn() -> bool + Send + Sync),
}

impl Leave<'_> {
    async fn goes_on(&self) -> bool {
        (self.goes_on)() && self.round.clock.monotonic() < self.until && self.round.leads(self.every).await
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
            clock,
            at_once,
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
        let leave = Leave {
            round: self,
            every,
            until: self.clock.monotonic() + every,
            goes_on,
        };
        if !leave.goes_on().await {
            return;
        }
        let mut counts = Finished::default();
        let errand = Errand {
            why: Why::Routine,
            act: None,
            began: self.clock.now(),
        };
        self.end_drained(bench, &leave).await;
        self.end_stale(bench, &leave).await;
        let held_before = lock(looked).for_held.replace(errand.began);
        for environment in [Environment::Sandbox, Environment::Production] {
            self.rotate_due(bench, &leave, environment, (&errand, held_before), &mut counts)
                .await;
        }
        if counts.is_something() {
            bench.journal.record_at_large(counts.event(&errand));
        }
        let before = lock(looked).for_alerts;
        let is_time = before.is_none_or(|before| span(before, errand.began) >= ALERTS || errand.began < before);
        if is_time && leave.goes_on().await {
            let told = self.alert(bench, &leave, before, errand.began).await;
            if told {
                lock(looked).for_alerts = Some(errand.began);
            }
        }
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

    /// Takes or prolongs the lead where there is one to take. In doubt nobody leads.
    async fn leads(&self, every: Duration) -> bool {
        let Some(leadership) = &self.leadership else {
            return true;
        };
        let now = self.clock.monotonic();
        if self.led().is_some_and(|led| now < led + PROLONG) {
            return true;
        }
        let led = leadership.lead(TASK, self.process, self.clock.now(), every + LEAD);
        let leads = matches!(within(&*self.clock, now + LEAD_ANSWER, led).await, Some(Ok(true)));
        *self.led() = leads.then_some(now);
        leads
    }

    async fn end_drained(&self, bench: &Arc<Bench>, leave: &Leave<'_>) {
        let filter = KeyFilter::default()
            .in_state(KeyState::Draining)
            .drained_before(self.clock.now());
        self.each(bench, leave, filter, |key| async move {
            if key.state == KeyState::Draining && key.drain_until.is_some_and(|until| until < bench.clock.now()) {
                end(bench, &key).await;
            }
        })
        .await;
    }

    /// Pending proof keys that nobody will use any more.
    async fn end_stale(&self, bench: &Arc<Bench>, leave: &Leave<'_>) {
        let filter = KeyFilter::default()
            .for_purpose(Purpose::Proof)
            .in_state(KeyState::Pending);
        self.each(bench, leave, filter, |key| async move {
            if key.state == KeyState::Pending && bench.is_stale(&key) {
                end(bench, &key).await;
            }
        })
        .await;
    }

    async fn rotate_due(
        &self,
        bench: &Arc<Bench>,
        leave: &Leave<'_>,
        environment: Environment,
        (errand, held_before): (&Errand, Option<Timestamp>),
        counts: &mut Finished,
    ) {
        let now = errand.began;
        let filter = KeyFilter::default()
            .in_state(KeyState::Active)
            .in_environment(environment)
            .activated_before(earlier(now, bench.policy.youngest(environment)));
        let counted = Mutex::new(counts);
        self.each(bench, leave, filter, |key| {
            let counted = &counted;
            async move {
                let is_due = bench.policy.begins(&key).is_some_and(|begins| begins <= now);
                if !is_due || key.state != KeyState::Active || key.purpose == Purpose::Tls {
                    return;
                }
                let outcome = bench.succeed(&key, errand).await;
                if outcome == Outcome::Held {
                    remind(bench, &key, held_before, now);
                }
                lock(counted).count(&outcome);
            }
        })
        .await;
    }

    /// Tells of keys that have come to an age since `before`; `false` when not all were looked at.
    async fn alert(&self, bench: &Arc<Bench>, leave: &Leave<'_>, before: Option<Timestamp>, now: Timestamp) -> bool {
        for environment in [Environment::Sandbox, Environment::Production] {
            let life = bench.policy.maximum(environment);
            let mut ages = bench.policy.alert_ages(life);
            ages.push(life);
            let active = KeyFilter::default()
                .in_state(KeyState::Active)
                .in_environment(environment);
            let filters: Vec<_> = match before {
                // The first look of this process: all that are old enough for any.
                None => ages
                    .first()
                    .map(|first| active.activated_before(just_after(earlier(now, *first))))
                    .into_iter()
                    .collect(),
                Some(before) => ages
                    .iter()
                    .map(|age| {
                        let passed = active.clone().activated_before(just_after(earlier(now, *age)));
                        match *age == life {
                            // Those too old are told of every day.
                            true => passed,
                            false => passed.activated_since(earlier(before, *age)),
                        }
                    })
                    .collect(),
            };
            let last = filters.len().saturating_sub(1);
            for (index, filter) in filters.into_iter().enumerate() {
                let band = before.map(|_| (index, index == last));
                let all = self
                    .each(bench, leave, filter, |key| async move {
                        tell_age(bench, &key, band, (before, now));
                    })
                    .await;
                if !all {
                    return false;
                }
            }
        }
        true
    }

    /// Does something for each key that the filter takes; `false` when the round is to end before the last.
    async fn each<F: Future<Output = ()>>(
        &self,
        bench: &Arc<Bench>,
        leave: &Leave<'_>,
        filter: KeyFilter,
        work: impl Fn(KeyRecord) -> F,
    ) -> bool {
        let work = &work;
        let mut pages = Box::pin(pages(Arc::clone(bench), filter));
        while let Some(page) = pages.next().await {
            let keys = match page {
                Ok(keys) => keys,
                Err((_, code)) => {
                    bench.journal.record_at_large(EventKind::RotationBlind { code });
                    return false;
                }
            };
            let all = stream::iter(keys)
                .map(|key| async move {
                    let goes_on = leave.goes_on().await;
                    if goes_on {
                        work(key).await;
                    }
                    goes_on
                })
                .buffer_unordered(self.at_once)
                .all(|went_on| async move { went_on })
                .await;
            if !all {
                return false;
            }
        }
        true
    }

    fn led(&self) -> std::sync::MutexGuard<'_, Option<Monotonic>> {
        lock(&self.led)
    }
}

async fn end(bench: &Bench, key: &KeyRecord) {
    if let Err((step, code)) = bench.end(key, Retired::Destroyed, None).await {
        let step = step.as_str();
        bench.tell(key, KeyChange::RotationFailed { step, code }, None);
    }
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

/// Tells of a key's age if that has passed a threshold since `before`. `band` says which threshold is being looked at, and
/// whether it is the end: a key that has passed several is told of once.
fn tell_age(
    bench: &Bench,
    key: &KeyRecord,
    band: Option<(usize, bool)>,
    (before, now): (Option<Timestamp>, Timestamp),
) {
    let (Some(promoted), Some(due), true) = (key.activated_at, bench.policy.end(key), key.state == KeyState::Active)
    else {
        return;
    };
    let life = bench.policy.maximum(key.environment());
    let by = |at: Timestamp| match at < promoted {
        true => 0,
        false => bench.policy.alerts_by(span(promoted, at), life),
    };
    let passed = by(now);
    let is_of_band = band.is_none_or(|(index, is_end)| is_end || passed == index as u64 + 1);
    if passed <= before.map_or(0, by) || !is_of_band {
        return;
    }
    let age = span(promoted, now);
    let change = match now < due {
        true => KeyChange::DueSoon { age, due },
        false => KeyChange::Overdue { age, due },
    };
    bench.tell(key, change, None);
}

/// Filters are exclusive, and the instant itself counts.
fn just_after(instant: Timestamp) -> Timestamp {
    instant + Duration::from_micros(1)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
