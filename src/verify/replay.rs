//! Remembering which proofs were used (RFC 9449 11.1).

use std::fmt;

use async_trait::async_trait;
use thiserror::Error;

use crate::clock::Timestamp;
use crate::jose::Thumbprint;

/// A proof that passed every other check, as a replay log sees it.
#[derive(Clone, Copy, Debug)]
pub struct ReplayEntry<'a> {
    /// The client that the access token was issued to, where the service knows it. For quotas, not part of the identity.
    pub client: Option<&'a str>,
    /// The thumbprint of the proof's key. With `jti` it is the identity of the proof.
    pub jkt: &'a Thumbprint,
    /// The proof's id, 1 to 256 octets without control characters (by default).
    pub jti: &'a str,
    /// The proof's `iat`.
    pub issued_at: Timestamp,
}

/// Why a replay log did not take a proof. Each of these refuses the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReplayRefusal {
    /// The log has this proof.
    #[error("the proof was used before")]
    Replayed,
    /// The proof is from before the log started, so the log cannot know whether it was used.
    #[error("the proof is from before the replay log started")]
    BeforeStart,
    /// The key or the client has as many live proofs as it may have, or the log is full.
    #[error("no room for another proof of this key or client")]
    Quota,
    /// The clock went back to where entries are no longer kept.
    #[error("the clock was set back")]
    ClockMovedBack,
    /// The log could not be asked.
    #[error("the replay log is unavailable")]
    Unavailable,
}

/// Remembers used proofs, across all instances of a service if it has several.
///
/// One verb, and it is atomic: of any number of equal entries that arrive at once exactly one is taken. An implementation
/// that cannot decide refuses. Over a shared store that is one `SET key NX` with an expiry at `expires_at`, and never a
/// look-up followed by a write.
#[async_trait]
pub trait ReplayLog: fmt::Debug + Send + Sync {
    /// Takes the entry, or says why not. The entry is kept up to and including `expires_at`, which is `iat` plus the
    /// greatest age and not the time of arrival plus anything: a proof from the future lives longer.
    ///
    /// # Errors
    /// [`ReplayRefusal`]; the verifier then refuses the request.
    async fn check_and_insert(
        &self,
        entry: &ReplayEntry<'_>,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), ReplayRefusal>;
}
