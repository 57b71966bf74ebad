//! One leader among the processes of a deployment: who does what only one should do at a time.
//!
//! A lead is a lease with an end. It saves work, it is no lock: a leader that stood still may believe that it still leads while
//! another does. So whatever a leader does must be safe when two do it at once.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use crate::clock::Timestamp;

/// It cannot be told who leads. User action: look at the store's health; nobody leads meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store that says who leads is not available")]
pub struct LeadUnknown;

/// Says who leads, by compare-and-set in a store that all processes of a deployment share.
#[async_trait]
pub trait Leadership: fmt::Debug + Send + Sync {
    /// Takes the lead in `task`, or prolongs it, for `lasts` from `now` on. `Ok(false)`: another process leads. Whose lead has
    /// ended by `now` leads no more.
    ///
    /// # Errors
    /// [`LeadUnknown`].
    async fn lead(&self, task: &str, process: Uuid, now: Timestamp, lasts: Duration) -> Result<bool, LeadUnknown>;

    /// Gives the lead up, so that another process need not wait for its end. `Ok(false)`: this process did not lead.
    ///
    /// # Errors
    /// [`LeadUnknown`].
    async fn resign(&self, task: &str, process: Uuid) -> Result<bool, LeadUnknown>;
}
