//! What is known of one budget: what was sent, who waits, whether the carrier blocks.

use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::clock::Monotonic;
use crate::owner::TenantId;

use super::log::{Log, Rate};

/// How long after its end a block is remembered at least, when nothing is sent.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// How many requests go out at once after a start, of which is not known what went out before it.
const HANDFUL: u32 = 5;

/// Of an address or of a connection.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) log: Log,
    pub(super) gate: Gate,
    /// What each tenant has sent of it, whatever its incarnation: who leaves and comes again has no new share. Only where a
    /// budget is shared.
    tenants: HashMap<TenantId, Log, RandomState>,
    /// A block that one tenant alone was told of.
    doubted: Option<Doubted>,
}

/// A block of the address that may be one tenant's own doing: nothing is sent for it, and everybody is kept away as soon as
/// another one is told the same.
#[derive(Debug)]
struct Doubted {
    tenant: TenantId,
    until: Monotonic,
}

impl Account {
    /// The first instant from `at` at which one more request keeps to `rate`, and to the pace after a block.
    pub(super) fn earliest(&self, at: Monotonic, rate: Rate) -> Monotonic {
        let at = self.log.earliest(at, rate);
        match self.gate.first {
            Some(first) if at < first + rate.window => self.evenly(at, rate.pace(), first + rate.window),
            _ => at,
        }
    }

    /// The first instant from `at` for one more request while it is not known what was sent before `start`: a handful at
    /// once, but no more than half, and then at half the pace until a window has passed.
    pub(super) fn earliest_after_start(&self, at: Monotonic, rate: Rate, start: Monotonic) -> Monotonic {
        let known = start + rate.window;
        if at >= known || self.log.len() < (rate.requests / 2).clamp(1, HANDFUL) as usize {
            return at;
        }
        self.evenly(at, rate.pace().saturating_mul(2), known)
    }

    /// The first instant from `at` that is so far from every other, or `until`.
    fn evenly(&self, at: Monotonic, apart: Duration, until: Monotonic) -> Monotonic {
        let one = Rate {
            requests: 1,
            window: apart,
        };
        self.log.earliest(at, one).min(until)
    }

    /// Adds a request that is counted here.
    pub(super) fn add(&mut self, at: Monotonic, window: Duration, now: Monotonic) {
        self.log.add(at, window, now);
        self.gate.sent(at);
    }

    /// How long requests of this tenant are shut out from `now` on.
    pub(super) fn shut_for(&self, tenant: &TenantId, now: Monotonic) -> Option<Duration> {
        let doubted = self.doubted.as_ref().filter(|doubted| doubted.tenant == *tenant);
        let doubted = doubted.and_then(|doubted| left(doubted.until, now));
        self.gate.shut_for(now).max(doubted)
    }

    /// A tenant was told of a block until then. It is everybody's where it is believed, where it stands already, or where another
    /// tenant was told the same and would be shut out still; otherwise it is this tenant's.
    pub(super) fn told(&mut self, tenant: &TenantId, believed: bool, now: Monotonic, until: Monotonic) {
        let before = self.doubted.take().filter(|before| before.until > now);
        let confirmed = before.as_ref().is_some_and(|before| before.tenant != *tenant);
        if believed || confirmed || self.gate.shut_for(now).is_some() {
            self.gate.shut(until);
            self.doubted = before;
            return;
        }
        self.doubted = Some(Doubted {
            tenant: tenant.clone(),
            until: before.map_or(until, |before| before.until.max(until)),
        });
    }

    pub(super) fn tenant(&self, tenant: &TenantId) -> Option<&Log> {
        self.tenants.get(tenant)
    }

    /// Adds a request to what a tenant has sent.
    pub(super) fn add_of(&mut self, tenant: &TenantId, at: Monotonic, window: Duration, now: Monotonic) {
        if let Some(log) = self.tenants.get_mut(tenant) {
            log.add(at, window, now);
            return;
        }
        // What is not idle has a request in the shared log, so this leaves no more than that has.
        if self.tenants.len() >= 2 * self.log.len() + 16 {
            self.tenants.retain(|_, log| !log.is_idle(now));
        }
        self.tenants.entry(tenant.clone()).or_default().add(at, window, now);
    }

    /// Whether it can be forgotten.
    pub(super) fn is_idle(&self, now: Monotonic) -> bool {
        self.log.is_idle(now)
            && self.gate.is_idle(now)
            && self.doubted.as_ref().is_none_or(|doubted| doubted.until <= now)
            && self.tenants.values().all(|log| log.is_idle(now))
    }
}

/// A carrier's block, and the first request after it.
#[derive(Debug, Default)]
pub(super) struct Gate {
    shut_until: Option<Monotonic>,
    /// The instant of the first request after the block: for a window from here there is no burst, since its answer may be
    /// that the gate is still shut.
    first: Option<Monotonic>,
}

impl Gate {
    pub(super) fn shut(&mut self, until: Monotonic) {
        self.shut_until = self.shut_until.max(Some(until));
        self.first = None;
    }

    /// How long it is shut from `now` on.
    pub(super) fn shut_for(&self, now: Monotonic) -> Option<Duration> {
        left(self.shut_until?, now)
    }

    fn sent(&mut self, at: Monotonic) {
        if self.shut_until.is_some() && self.first.is_none() {
            self.first = Some(at);
        }
    }

    fn is_idle(&self, now: Monotonic) -> bool {
        // Where a first one was sent, the log has it for as long as it matters.
        match self.shut_until {
            Some(until) => self.shut_for(now).is_none() && (self.first.is_some() || until + REMEMBERED <= now),
            None => true,
        }
    }
}

fn left(until: Monotonic, now: Monotonic) -> Option<Duration> {
    let left = until.saturating_since(now);
    (!left.is_zero()).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(5);

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_origin(Duration::from_secs(seconds))
    }

    #[test]
    fn there_are_no_more_tenants_than_twice_the_requests_that_count() {
        let mut account = Account::default();
        for number in 0..100_000_u32 {
            let tenant = TenantId::new(&format!("t{number}")).unwrap();
            let now = at(u64::from(number / 10));
            account.add(now, WINDOW, now);
            account.add_of(&tenant, now, WINDOW, now);
            assert!(account.tenants.len() <= 2 * 50 + 16, "{}", account.tenants.len());
        }
        assert!(!account.is_idle(at(10_000)));
        assert!(account.is_idle(at(10_004)));
    }

    #[test]
    fn a_block_is_remembered_until_something_was_sent_after_it_or_an_hour_has_passed() {
        let mut account = Account::default();
        account.gate.shut(at(600));
        account.gate.shut(at(10));
        assert_eq!(account.gate.shut_for(at(599)), Some(Duration::from_secs(1)));
        assert_eq!(account.gate.shut_for(at(600)), None);
        assert!(!account.is_idle(at(600 + 3599)));
        assert!(account.is_idle(at(600 + 3600)));
        account.add(at(700), WINDOW, at(700));
        assert!(!account.is_idle(at(704)));
        assert!(account.is_idle(at(705)));
    }
}
