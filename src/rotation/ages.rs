//! Somebody is told how old keys are.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::journal::KeyChange;
use crate::keys::{KeyFilter, KeyRecord, KeyState};
use crate::owner::Environment;

use super::policy::{earlier, span};
use super::round::{DAILY, Leave, Round, lock};
use super::step::Bench;

/// How often alerts are looked for.
const ALERTS: Duration = Duration::from_secs(3600);

/// How long after its time a key may wait for its rotation before somebody is reminded of it.
const PATIENCE: Duration = Duration::from_secs(3600);

/// When this process looked last. What was told before is not told again.
#[derive(Debug, Default)]
pub(super) struct Looked {
    for_alerts: Option<Timestamp>,
    for_forgotten: Option<Timestamp>,
}

impl Round {
    /// Tells of keys that have come to an age since this process looked last, every hour.
    pub(super) async fn tell_ages(
        &self,
        bench: &Arc<Bench>,
        leave: &Leave<'_>,
        looked: &Mutex<Looked>,
        now: Timestamp,
    ) {
        let before = lock(looked).for_alerts;
        if is_time(before, now) && leave.goes_on().await && self.alert(bench, leave, before, now).await {
            lock(looked).for_alerts = Some(now);
        }
    }

    /// Tells of keys that are too old by a day and more, once a day, whoever leads: where nobody does, nobody else would.
    pub(super) async fn forgotten(
        &self,
        bench: &Arc<Bench>,
        leave: &Leave<'_>,
        looked: &Mutex<Looked>,
        now: Timestamp,
    ) {
        let before = lock(looked).for_forgotten;
        if !is_time(before, now) {
            return;
        }
        for environment in [Environment::Sandbox, Environment::Production] {
            let filter = KeyFilter::default()
                .in_state(KeyState::Active)
                .in_environment(environment)
                .activated_before(just_after(earlier(now, bench.policy.maximum(environment) + DAILY)));
            let all = self.each(bench, leave, None, filter, |key| async move {
                tell_age(bench, &key, None, (before, now));
            });
            if !all.await {
                return;
            }
        }
        lock(looked).for_forgotten = Some(now);
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
                    .each(bench, leave, None, filter, |key| async move {
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
}

/// Whether ages are to be looked at again.
fn is_time(before: Option<Timestamp>, now: Timestamp) -> bool {
    before.is_none_or(|before| span(before, now) >= ALERTS || now < before)
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
    // What is rotated in time is nobody's to look at.
    let is_expected = |own: Timestamp| bench.policy.rotates(key.purpose) && now < own + PATIENCE;
    if now < due && bench.policy.due(key).is_some_and(is_expected) {
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
