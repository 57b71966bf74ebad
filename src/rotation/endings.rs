//! What comes to its end by itself in a round, and what is kept from it: keys that have drained, and pending ones that nobody will
//! use.

use std::sync::Arc;
use std::time::Duration;

use crate::journal::KeyChange;
use crate::keys::{KeyFilter, KeyRecord, KeyState, Purpose, Retired};

use super::policy::earlier;
use super::round::{Leave, Pass, Round};
use super::step::Bench;

/// How long before a draining key ends it is found out whether a refresh token is bound to it.
const HOLD_BEFORE: Duration = Duration::from_secs(12 * 3600);

/// From when on no consent can be stored any more that began before a key was replaced.
const CONSENT: Duration = Duration::from_secs(3600);

impl Round {
    /// Draining keys that refresh tokens are bound to go on: consents that came while their keys were replaced.
    pub(super) async fn hold_draining(&self, bench: &Arc<Bench>, leave: &Leave<'_>) {
        let now = self.clock.now();
        let filter = KeyFilter::default()
            .for_purpose(Purpose::Proof)
            .in_state(KeyState::Draining)
            .drained_before(now + HOLD_BEFORE);
        self.each(bench, leave, Some(Pass::Held), filter, |key| async move {
            let Some(until) = key.drain_until.filter(|until| now < *until) else {
                return;
            };
            if key.state != KeyState::Draining || self.places().free.get(&key.id) == Some(&until) {
                return;
            }
            // A consent may still be on its way that began before the key was replaced.
            let is_settled = earlier(until, bench.policy.drain()) + CONSENT <= now;
            match bench.hold(&key, None).await {
                Ok(false) if is_settled => self.places().free(key.id, until),
                Ok(_) => {}
                Err((step, code)) => {
                    let step = step.as_str();
                    bench.tell(&key, KeyChange::RotationFailed { step, code }, None);
                }
            }
        })
        .await;
    }

    pub(super) async fn end_drained(&self, bench: &Arc<Bench>, leave: &Leave<'_>) {
        let filter = KeyFilter::default()
            .in_state(KeyState::Draining)
            .drained_before(self.clock.now());
        self.each(bench, leave, Some(Pass::Drained), filter, |key| async move {
            if key.state == KeyState::Draining && key.drain_until.is_some_and(|until| until < bench.clock.now()) {
                end(bench, &key).await;
            }
        })
        .await;
    }

    /// Pending proof keys that nobody will use any more.
    pub(super) async fn end_stale(&self, bench: &Arc<Bench>, leave: &Leave<'_>) {
        let filter = KeyFilter::default()
            .for_purpose(Purpose::Proof)
            .in_state(KeyState::Pending);
        self.each(bench, leave, Some(Pass::Stale), filter, |key| async move {
            if key.state == KeyState::Pending && bench.is_stale(&key) {
                end(bench, &key).await;
            }
        })
        .await;
    }
}

async fn end(bench: &Bench, key: &KeyRecord) {
    if let Err((step, code)) = bench.end(key, Retired::Destroyed, None).await {
        let step = step.as_str();
        bench.tell(key, KeyChange::RotationFailed { step, code }, None);
    }
}
