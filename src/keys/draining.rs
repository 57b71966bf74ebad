//! How long a key goes on signing that another has replaced.

use std::time::Duration;

/// How long the old key signs beyond the longest lifetime of tokens: for token requests that are on their way while its successor
/// is promoted, and for processes that hear of that a little later.
const SETTLING: Duration = Duration::from_secs(5 * 60);

/// How far ahead a replaced key is held to which a refresh token is bound: whoever sees to that may be away for a day.
pub(crate) const HELD_FOR: Duration = Duration::from_secs(2 * 86_400);

/// How long a key signs beside its successor, where no token is trusted for longer than `longest_lifetime`.
pub(crate) fn drain(longest_lifetime: Duration) -> Duration {
    longest_lifetime.saturating_add(SETTLING)
}
