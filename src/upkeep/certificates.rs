//! Client certificates that change, and those that end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::binding::mtls::CertificateSource;
use crate::client::Client;
use crate::clock::Timestamp;
use crate::jose::Thumbprint;
use crate::journal::EventKind;
use crate::parts::Parts;
use crate::transport::identity::ClientIdentity;

use super::Worker;

/// When a certificate's end is told of: at this share of its life that is left, in percent, yet not sooner than this long before
/// its end; and when it has ended.
const WARNINGS: [(u32, Duration); 4] = [
    (25, Duration::from_secs(30 * 86_400)),
    (10, Duration::from_secs(7 * 86_400)),
    (3, Duration::from_secs(86_400)),
    (0, Duration::ZERO),
];

/// Reloads the sources of these clients, and drops the tokens of what they exchanged.
pub(super) async fn watch(worker: &Worker, parts: &Parts, clients: &[Client], interval: Duration) {
    let mut sources: Vec<&Arc<dyn CertificateSource>> = Vec::new();
    for client in clients {
        if let Some(source) = client.pipeline().source.strategy.certificates()
            && !sources.iter().any(|known| Arc::ptr_eq(known, source))
        {
            sources.push(source);
        }
    }
    if sources.is_empty() {
        return;
    }
    let mut warned = Warned::default();
    loop {
        let now = parts.clock.now();
        for source in &sources {
            reload(&***source, parts, now).await;
        }
        let held: Vec<_> = sources.iter().flat_map(|source| source.held()).collect();
        for identity in warned.due(&held, now) {
            parts.journal.record_at_large(EventKind::CertificateEnding {
                x5t: identity.x5t(),
                not_after: identity.not_after(),
            });
        }
        if !worker.pause(interval).await {
            return;
        }
    }
}

async fn reload(source: &dyn CertificateSource, parts: &Parts, now: Timestamp) {
    match source.reload(now).await {
        Ok(exchanged) if exchanged.is_empty() => {}
        Ok(exchanged) => {
            // The source has retired the old ones, so that no call uses their tokens any more; now they go.
            parts.tokens.purge();
            for one in exchanged {
                parts.journal.record_at_large(EventKind::CertificateExchanged {
                    old: one.old.x5t(),
                    new: one.new.x5t(),
                    not_after: one.new.not_after(),
                });
            }
        }
        Err(error) => parts
            .journal
            .record_at_large(EventKind::CertificateNotTaken { code: error.code() }),
    }
}

/// How many warnings there have been of each certificate.
#[derive(Default)]
struct Warned(HashMap<Thumbprint, usize>);

impl Warned {
    /// The certificates of which there is to be a warning now. One is given once for each of [`WARNINGS`] that it has passed
    /// since the last look.
    fn due<'a>(&mut self, held: &'a [ClientIdentity], now: Timestamp) -> Vec<&'a ClientIdentity> {
        self.0
            .retain(|x5t, _| held.iter().any(|identity| identity.x5t() == *x5t));
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
