//! How often something of an owner has begun and ended, as the ledger counts it.
//!
//! The number of now is the first one that the ledger has not buried. It is even where there is nothing, odd where there is
//! something, and part of what a row is sealed for. Whatever begins or ends buries all numbers before the one that it leads to,
//! whether or not a row is there: one that somebody had deleted before has ended when it is put back.

use super::database::Tx;
use super::error::SqlError;
use super::ledger::{Dead, Ledger};

/// From the number of now to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    from: u64,
    to: u64,
}

impl Step {
    /// Something new begins in the place of what there is.
    pub(super) fn begin(now: u64) -> Self {
        let to = now.saturating_add(if is_there(now) { 2 } else { 1 });
        Self { from: now, to }
    }

    /// What there is ends. Where there is nothing it leads nowhere.
    pub(super) fn end(now: u64) -> Self {
        let to = now.saturating_add(u64::from(is_there(now)));
        Self { from: now, to }
    }

    /// The number that it leads to.
    pub(super) fn to(self) -> u64 {
        self.to
    }

    /// Whether it ends or begins anything.
    pub(super) fn leads_on(self) -> bool {
        self.from != self.to
    }

    /// Whether it still begins at the number of now. In the writing transaction, under the lock that all take who bury such
    /// numbers.
    pub(super) async fn is_due(
        self,
        ledger: &Ledger,
        tx: &mut Tx,
        dead: impl Fn(u64) -> Dead + Send,
    ) -> Result<bool, SqlError> {
        Ok(!ledger.is_buried(tx, &dead(self.from)).await?)
    }

    /// Buries what it leaves behind. As [`Ledger::bury`].
    pub(super) async fn bury(
        self,
        ledger: &Ledger,
        tx: &mut Tx,
        dead: impl Fn(u64) -> Dead + Send,
    ) -> Result<(), SqlError> {
        for number in self.from..self.to {
            ledger.bury(tx, &dead(number)).await?;
        }
        Ok(())
    }
}

/// The number of now, as far as this process has followed the ledger: follow it first. Looks up some twice as many digests in
/// memory as the number has binary digits.
pub(super) fn now(ledger: &Ledger, dead: impl Fn(u64) -> Dead) -> u64 {
    first_not(|number| ledger.has_seen_end(&dead(number)))
}

/// Whether this is the number of now, so that a row with it counts. The row was read before. Follows the ledger.
pub(super) async fn is_now(
    ledger: &Ledger,
    number: u64,
    dead: impl Fn(u64) -> Dead + Send + Sync,
) -> Result<bool, SqlError> {
    let has_ended = ledger.is_dead(&dead(number)).await?;
    // Whoever began it has buried the one before it, in the same transaction. After a restored backup was accepted that is not so
    // of what was written since the backup.
    Ok(!has_ended
        && number
            .checked_sub(1)
            .is_none_or(|before| ledger.has_seen_end(&dead(before))))
}

fn is_there(number: u64) -> bool {
    number % 2 == 1
}

/// The first number that has not ended, where all before it have.
fn first_not(ended: impl Fn(u64) -> bool) -> u64 {
    if !ended(0) {
        return 0;
    }
    let (mut last, mut stride) = (0_u64, 1_u64);
    while ended(last.saturating_add(stride)) {
        last = last.saturating_add(stride);
        stride = stride.saturating_mul(2);
    }
    let mut first = last.saturating_add(stride);
    while first - last > 1 {
        let middle = last + (first - last) / 2;
        if ended(middle) {
            last = middle;
        } else {
            first = middle;
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn the_first_is_found_with_few_looks() {
        for first in (0..70).chain([1_000, 1 << 20, (1 << 20) + 1]) {
            let looks = Cell::new(0);
            let found = first_not(|number| {
                looks.set(looks.get() + 1);
                number < first
            });
            assert_eq!(found, first);
            assert!(looks.get() <= 3 + 2 * (u64::BITS - first.leading_zeros()), "{first}");
        }
    }

    #[test]
    fn what_is_there_is_odd() {
        let (mut now, mut there) = (0, false);
        for begins in [false, true, true, false, false, true, false] {
            let step = if begins { Step::begin(now) } else { Step::end(now) };
            assert_eq!(step.leads_on(), begins || there);
            (now, there) = (step.to(), begins);
            assert_eq!(is_there(now), there);
        }
    }
}
