//! Why there is no refresh token to use.

use thiserror::Error;

use crate::clock::Timestamp;

/// Why a grant cannot be used or stored. Says nothing of the refresh token itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GrantError {
    /// The store has none for this connection. User action: ask the shipper for consent and put what it gives; an id that
    /// differs in case, or another incarnation, is another shipper.
    #[error("the shipper has not consented for this connection")]
    Missing,
    /// The consent was withdrawn or has ended. User action: ask the shipper for consent again.
    #[error("the shipper's consent has ended")]
    NeedsConsent,
    /// The refresh token was claimed by a process that never said what became of it. It may be spent, and its successor was
    /// not stored. User action: ask the shipper for consent again; look for processes that end, or stand still, while they
    /// refresh. If their holder was only slow, the grant heals by itself.
    #[error("it is not known whether the refresh token is spent")]
    Uncertain,
    /// Another process or task uses the refresh token. User action: none; repeat at that time, or before.
    #[error("the refresh token is in use until {until} at the latest")]
    Busy {
        /// When its time ends.
        until: Timestamp,
    },
    /// The claim is over: its time has passed, or a new consent or another holder has taken its place. Nothing was changed.
    /// User action: none; the next claim sees how the grant stands. If it returns, claim for longer.
    #[error("the claim of the refresh token is over")]
    ClaimOver,
    /// The store holds as many grants as it may. User action: remove grants that nobody needs, or give the store a higher
    /// limit.
    #[error("the grant store is full: its limit is {limit} grants")]
    Full {
        /// The limit that was reached.
        limit: usize,
    },
    /// The connection has no region, or one that has no store here ([`Regional`](crate::store::Regional)). User action: hand in
    /// the region's store, or add the connection with a region.
    #[error("there is no store for the connection's region")]
    NoRegion,
    /// The store does not answer, or not as it should. What was to be written may be written. User action: mend the store.
    #[error("the grant store is not available")]
    Unavailable,
    /// The system gave no randomness. User action: none in this process; look at the system.
    #[error("the system gave no randomness")]
    Randomness,
}
