//! Client certificates that change, and those that end.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;

use crate::binding::mtls::CertificateSource;
use crate::client::Client;
use crate::clock::{Timestamp, within};
use crate::jose::Thumbprint;
use crate::journal::{EventKind, Journal};
use crate::rotation::{RotationPolicy, span};
use crate::token::cache::TokenCache;
use crate::transport::identity::ClientIdentity;

use super::{Worker, guarded};

/// How long one look at a source may take.
const LOOK: Duration = Duration::from_secs(30);

/// When a certificate's end is told of: at this share of its life that is left, in percent, yet not sooner than this long before
/// its end; and when it has ended.
const WARNINGS: [(u32, Duration); 4] = [
    (25, Duration::from_secs(30 * 86_400)),
    (10, Duration::from_secs(7 * 86_400)),
    (3, Duration::from_secs(86_400)),
    (0, Duration::ZERO),
];

/// Reloads the sources of these clients, each at its own pace, and drops the tokens of what they exchanged.
pub(super) async fn watch(
    worker: &Worker,
    (journal, policy): (&Journal, Option<&RotationPolicy>),
    clients: &[Client],
    interval: Duration,
) {
    let mut watched: Vec<Watched<'_>> = Vec::new();
    for client in clients {
        let pipeline = client.pipeline();
        let Some(source) = pipeline.source.strategy.certificates() else {
            continue;
        };
        let tokens = &pipeline.parts.tokens;
        let most = policy.map(|policy| policy.maximum(pipeline.profile().environment()));
        let known = watched.iter_mut().find(|known| Arc::ptr_eq(known.source, source));
        if let Some(known) = known {
            known.most = known.most.min(most);
        }
        match watched.iter_mut().find(|known| Arc::ptr_eq(known.source, source)) {
            Some(known) if known.tokens.iter().any(|cache| Arc::ptr_eq(cache, tokens)) => {}
            Some(known) => known.tokens.push(tokens),
            None => watched.push(Watched {
                source,
                tokens: vec![tokens],
                most,
                warned: Warned::default(),
                aged: Aged::default(),
            }),
        }
    }
    let loops = watched.into_iter().map(|mut one| async move {
        loop {
            guarded(one.look(worker, journal, policy)).await;
            if !worker.pause(interval).await {
                return;
            }
        }
    });
    join_all(loops).await;
}

/// One source, and the tokens of all clients that have it.
struct Watched<'a> {
    source: &'a Arc<dyn CertificateSource>,
    tokens: Vec<&'a Arc<TokenCache>>,
    /// How old its certificates get at most by the policy: of several environments the shorter time.
    most: Option<Duration>,
    warned: Warned,
    aged: Aged,
}

impl Watched<'_> {
    async fn look(&mut self, worker: &Worker, journal: &Journal, policy: Option<&RotationPolicy>) {
        let clock = &*worker.clock;
        let now = clock.now();
        let reloaded = AssertUnwindSafe(async { self.source.reload(now).await }).catch_unwind();
        match within(clock, clock.monotonic() + LOOK, reloaded).await {
            Some(Ok(Ok(exchanged))) if exchanged.is_empty() => {}
            Some(Ok(Ok(exchanged))) => {
                // No call uses the old ones' tokens any more, though a source forgot to retire them; now the tokens go.
                exchanged.iter().for_each(|one| one.old.retire());
                for tokens in &self.tokens {
                    tokens.purge();
                }
                for one in exchanged {
                    journal.record_at_large(EventKind::CertificateExchanged {
                        old: one.old.x5t(),
                        new: one.new.x5t(),
                        not_after: one.new.not_after(),
                    });
                }
            }
            Some(Ok(Err(error))) => not_taken(journal, error.code()),
            Some(Err(_panic)) => not_taken(journal, "panicked"),
            None => not_taken(journal, "deadline"),
        }
        let held = self.source.held();
        for identity in self.warned.due(&held, clock.now()) {
            journal.record_at_large(EventKind::CertificateEnding {
                x5t: identity.x5t(),
                not_after: identity.not_after(),
            });
        }
        if let (Some(policy), Some(most)) = (policy, self.most) {
            for event in self.aged.due(&held, (policy, most), clock.now()) {
                journal.record_at_large(event);
            }
        }
    }
}

fn not_taken(journal: &Journal, code: &'static str) {
    journal.record_at_large(EventKind::CertificateNotTaken { code });
}

/// How many warnings there have been of each certificate.
#[derive(Default)]
struct Warned(HashMap<Thumbprint, usize>);

impl Warned {
    /// The certificates of which there is to be a warning now. One is given once for each of [`WARNINGS`] that it has passed
    /// since the last look.
    fn due<'a>(&mut self, held: &'a [ClientIdentity], now: Timestamp) -> Vec<&'a ClientIdentity> {
        let still_held: HashSet<Thumbprint> = held.iter().map(ClientIdentity::x5t).collect();
        self.0.retain(|x5t, _| still_held.contains(x5t));
        let mut due = Vec::new();
        for identity in held {
            let passed = warnings(identity.not_before(), identity.not_after(), now);
            let given = self.0.entry(identity.x5t()).or_default();
            if passed > *given {
                *given = passed;
                due.push(identity);
            }
        }
        due
    }
}

/// How many alerts of the policy there have been of each certificate.
#[derive(Default)]
struct Aged(HashMap<Thumbprint, u64>);

impl Aged {
    /// What there is to tell now: each threshold that was passed since the last look once, the worst alone.
    fn due(
        &mut self,
        held: &[ClientIdentity],
        (policy, most): (&RotationPolicy, Duration),
        now: Timestamp,
    ) -> Vec<EventKind> {
        let still_held: HashSet<Thumbprint> = held.iter().map(ClientIdentity::x5t).collect();
        self.0.retain(|x5t, _| still_held.contains(x5t));
        let mut told = Vec::new();
        for identity in held {
            let age = span(identity.not_before(), now);
            let passed = policy.alerts_by(age, most);
            let given = self.0.entry(identity.x5t()).or_default();
            if passed > *given {
                *given = passed;
                told.push(EventKind::CertificateDue {
                    x5t: identity.x5t(),
                    age,
                    due: identity.not_before() + most,
                    overdue: age >= most,
                });
            }
        }
        told
    }
}

/// How many of [`WARNINGS`] there are to have been at this time.
fn warnings(not_before: Timestamp, not_after: Timestamp, now: Timestamp) -> usize {
    let seconds = |span: i64| Duration::from_secs(u64::try_from(span).unwrap_or(0));
    let life = seconds(not_after.seconds_since(not_before));
    let left = seconds(not_after.seconds_since(now));
    WARNINGS
        .iter()
        .filter(|(share, most)| left <= (life / 100 * *share).min(*most))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    #[test]
    fn long_lives_are_warned_of_by_days_and_short_ones_by_their_share() {
        let start = Timestamp::from_unix_seconds(1_800_000_000);
        let at = |seconds| start.offset_seconds(seconds);
        let year = |left: i64| warnings(start, at(365 * DAY), at(365 * DAY - left));
        assert_eq!(
            [31 * DAY, 30 * DAY, 8 * DAY, 7 * DAY, DAY, 1, 0, -1].map(year),
            [0, 1, 1, 2, 3, 3, 4, 4]
        );
        let hundred_minutes = |left: i64| warnings(start, at(6000), at(6000 - left));
        assert_eq!([1501, 1500, 600, 180, 1, 0].map(hundred_minutes), [0, 1, 2, 3, 3, 4]);
    }
}
