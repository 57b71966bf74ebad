//! How long to wait before the next try, and how what began together does not go on together.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// `first`, doubled for each of `failures` before, up to `longest`.
pub(crate) fn doubled(first: Duration, failures: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << failures.min(16)).min(longest)
}

/// A number from -1 to 1, another one each time. Not for secrets.
pub(crate) fn spread() -> f64 {
    let bits = std::hash::RandomState::new().build_hasher().finish();
    // 53 bits are what a float holds exactly.
    #[expect(clippy::cast_precision_loss, reason = "meant")]
    let unit = (bits >> 11) as f64 / (1_u64 << 53) as f64;
    unit.mul_add(2.0, -1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_end_at_the_longest() {
        let (first, longest) = (Duration::from_secs(5), Duration::from_secs(60));
        let pauses: Vec<_> = (0..6).map(|times| doubled(first, times, longest).as_secs()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
        assert_eq!(doubled(first, u32::MAX, longest), longest);
    }

    #[test]
    fn draws_differ_and_stay_in_range() {
        let drawn: Vec<f64> = (0..64).map(|_| spread()).collect();
        assert!(drawn.iter().all(|number| (-1.0..=1.0).contains(number)));
        assert!(drawn.iter().any(|number| *number < 0.0) && drawn.iter().any(|number| *number > 0.0));
    }
}
