//! What is done again and again beside calls.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

/// Something that the [`Upkeep`](crate::upkeep::Upkeep) does again and again: learning what other processes changed, rotating
/// keys, delivering alerts.
///
/// A round fails never: what goes wrong is told to the journal by whoever it happens to, and is tried again in the next round.
/// A round is dropped when it takes longer than a minute past [`every`](Chore::every), and may be dropped at any await.
#[async_trait]
pub trait Chore: fmt::Debug + Send + Sync {
    /// How long after the end of one round the next one begins.
    fn every(&self) -> Duration;

    /// One round. `goes_on` turns false when the upkeep is to stop: a long round then ends at its next safe point.
    async fn round(&self, goes_on: &(dyn Fn() -> bool + Send + Sync));

    /// The upkeep stops, and no round follows: what other processes should not wait for is given up. Dropped when it takes
    /// longer than five seconds. Default: nothing.
    async fn stop(&self) {}
}
