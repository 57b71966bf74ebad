//! How often something of an owner has begun and ended, as the ledger counts it.
//!
//! The number of now is the first one that the ledger has not buried. It is even where there is nothing, odd where there is
//! something, and part of what a row is sealed for. Whatever begins or ends buries all numbers before the one that it leads to,
//! whether or not a row is there: one that somebody had deleted before has ended when it is put back.
//!
//! A number says in which epoch it was come to. Where a restored backup has begun another one the count goes on in it, so that what
//! was written since the backup was made, and is lost, never has a number of now again.

use super::database::Tx;
use super::error::SqlError;
use super::ledger::{Dead, Ledger};

/// The low bits of a number are the count. Those above are the epoch, less one: the first has the counts themselves.
const COUNT_BITS: u32 = 32;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

/// From the number of now to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    from: u64,
    /// The same, or where the count goes on in a later epoch.
    first: u64,
    to: u64,
}

impl Step {
    /// Something new begins in the place of what there is, as far as this process has followed the ledger: follow it first.
    pub(super) fn begin(ledger: &Ledger, dead: impl Fn(u64) -> Dead) -> Self {
        Self::begin_at(now(ledger, dead), ledger.at().epoch)
    }

    /// What there is ends, as far as this process has followed the ledger. Where there is nothing it leads nowhere.
    pub(super) fn end(ledger: &Ledger, dead: impl Fn(u64) -> Dead) -> Self {
        Self::end_at(now(ledger, dead), ledger.at().epoch)
    }

    fn begin_at(now: u64, epoch: u64) -> Self {
        let first = in_epoch(epoch, now);
        let to = first.saturating_add(if is_there(first) { 2 } else { 1 });
        Self { from: now, first, to }
    }

    fn end_at(now: u64, epoch: u64) -> Self {
        let first = if is_there(now) { in_epoch(epoch, now) } else { now };
        let to = first.saturating_add(u64::from(is_there(now)));
        Self { from: now, first, to }
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
        for number in self.leaves() {
            ledger.bury(tx, &dead(number)).await?;
        }
        Ok(())
    }

    fn leaves(self) -> impl Iterator<Item = u64> {
        // Of an epoch that is over nothing has a number of now: the first that is not buried is one where there is nothing.
        let over = match self.from == self.first {
            true => self.from,
            false => (self.from | 1).saturating_add(1),
        };
        (self.from..over).chain(self.first..self.to)
    }
}

/// The number of now. Looks up some twice as many digests in memory as the count has binary digits.
fn now(ledger: &Ledger, dead: impl Fn(u64) -> Dead) -> u64 {
    now_of(&ledger.epochs(), |number| ledger.has_seen_end(&dead(number)))
}

/// Whether this is the number of now, so that a row with it counts. The row was read before. Follows the ledger.
pub(super) async fn is_now(
    ledger: &Ledger,
    number: u64,
    dead: impl Fn(u64) -> Dead + Send + Sync,
) -> Result<bool, SqlError> {
    let has_ended = ledger.is_dead(&dead(number)).await?;
    Ok(!has_ended && is_now_here(ledger, number, dead))
}

/// The same as far as this process has followed the ledger.
pub(super) fn is_now_here(ledger: &Ledger, number: u64, dead: impl Fn(u64) -> Dead) -> bool {
    // Whoever came to a number has buried the one before it, in the same transaction.
    let has_begun = match count(number) {
        0 => number == 0,
        _ => ledger.has_seen_end(&dead(number - 1)),
    };
    has_begun && !ledger.has_seen_end(&dead(number))
}

/// Whether the number was come to in the epoch of now.
pub(super) fn is_of_this_epoch(ledger: &Ledger, life: u64) -> bool {
    number(ledger.at().epoch, count(life)) == life
}

/// Where a step from the number of now begins.
fn in_epoch(epoch: u64, now: u64) -> u64 {
    match number(epoch, count(now)) {
        same if same == now => now,
        later => later | 1,
    }
}

fn number(epoch: u64, count: u64) -> u64 {
    // Epochs that do not fit, after some five hundred restores, have the last one's numbers.
    let epoch = epoch.saturating_sub(1).min(u64::MAX >> COUNT_BITS);
    epoch << COUNT_BITS | count & COUNT
}

fn count(number: u64) -> u64 {
    number & COUNT
}

fn is_there(number: u64) -> bool {
    number % 2 == 1
}

/// The number of now, where later epochs than the first have begun.
fn now_of(epochs: &[u64], ended: impl Fn(u64) -> bool) -> u64 {
    let mut now = first_not(0, &ended);
    for epoch in epochs {
        // Whoever took the count to this epoch has buried the last number in both.
        let entry = count(now).checked_sub(1).map(|last| number(*epoch, last));
        if let Some(entry) = entry.filter(|entry| ended(*entry)) {
            now = first_not(entry, &ended);
        }
    }
    now
}

/// The first number from `from` on that has not ended, where all before it have.
fn first_not(from: u64, ended: impl Fn(u64) -> bool) -> u64 {
    if !ended(from) {
        return from;
    }
    let (mut last, mut stride) = (from, 1_u64);
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
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_first_is_found_with_few_looks() {
        for from in [0, number(3, 7)] {
            for first in (0..70).chain([1_000, 1 << 20, (1 << 20) + 1]) {
                let looks = Cell::new(0);
                let found = first_not(from, |number| {
                    looks.set(looks.get() + 1);
                    number < from + first
                });
                assert_eq!(found, from + first);
                assert!(looks.get() <= 3 + 2 * (u64::BITS - first.leading_zeros()), "{first}");
            }
        }
    }

    /// A chain that is written to, and may fall back to where it was.
    #[derive(Clone, Default)]
    struct Chain {
        dead: HashSet<u64>,
        epochs: Vec<u64>,
    }

    impl Chain {
        fn now(&self) -> u64 {
            now_of(&self.epochs, |number| self.dead.contains(&number))
        }

        /// As [`is_now`].
        fn counts(&self, number: u64) -> bool {
            let dead = |number: u64| self.dead.contains(&number);
            !dead(number) && (number == 0 || count(number) > 0 && dead(number - 1))
        }

        fn step(&mut self, begins: bool) -> Step {
            let epoch = self.epochs.last().copied().unwrap_or(1);
            let step = match begins {
                true => Step::begin_at(self.now(), epoch),
                false => Step::end_at(self.now(), epoch),
            };
            self.dead.extend(step.leaves());
            step
        }
    }

    #[test]
    fn what_is_there_is_odd() {
        let mut chain = Chain::default();
        let mut there = false;
        for (at, begins) in [false, true, true, false, false, true, false, true]
            .into_iter()
            .enumerate()
        {
            if at == 6 {
                chain.epochs.push(4);
            }
            let step = chain.step(begins);
            assert_eq!(step.leads_on(), begins || there);
            there = begins;
            assert_eq!((chain.now(), is_there(chain.now())), (step.to(), there));
        }
    }

    #[test]
    fn no_row_of_a_lost_state_counts_again() {
        // However much there was when the backup was made, was lost, and came after it.
        for (before, lost) in (0..6).flat_map(|before| (1..6).map(move |lost| (before, lost))) {
            for removals in 2..5 {
                let mut chain = Chain::default();
                for at in 0..before {
                    chain.step(at % 3 != 2);
                }
                let mut branch = chain.clone();
                let steps = (0..lost).map(|at| branch.step(at % removals != 1));
                let lost: Vec<u64> = steps
                    .filter(|step| step.leads_on() && is_there(step.to()))
                    .map(Step::to)
                    .collect();
                let kept = chain.now();
                for epoch in [2, 5] {
                    chain.epochs.push(epoch);
                    assert!(epoch > 2 || chain.now() == kept, "the backup's own row counts");
                    for at in 0..9 {
                        let counts = lost.iter().find(|number| chain.counts(**number));
                        assert_eq!(counts, None, "{before} {lost:?} {removals}, epoch {epoch}, after {at}");
                        let step = chain.step(at % removals != 1);
                        assert_eq!(chain.now(), step.to());
                        assert!(!is_there(step.to()) || chain.counts(step.to()));
                    }
                }
            }
        }
    }
}
