//! What other processes do: followed again and again, and asked for where a connection is not known here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{Registry, STORE};
use crate::chore::Chore;
use crate::clock::{Monotonic, within};
use crate::directory::{ConnectionRecord, ConnectionStoreError, Directory, Listing, NotAdmitted, Standing};
use crate::journal::EventKind;
use crate::owner::{ConnectionId, Tenant};

/// How many records are read at a time.
const PAGE: usize = 2_000;

/// For how long the store is not asked again for a connection that it does not have.
const UNKNOWN_FOR: Duration = Duration::from_secs(1);

/// How many such connections are remembered.
const MOST_UNKNOWN: usize = 4_096;

/// For how long callers do not look again after a look in vain.
const IN_VAIN_FOR: Duration = Duration::from_secs(1);

/// When the store last told all there is, and until when nobody looks after it did not: in milliseconds of monotonic time.
#[derive(Debug, Default)]
pub(super) struct Freshness {
    at: AtomicU64,
    in_vain_until: AtomicU64,
}

impl Freshness {
    fn at(&self) -> Monotonic {
        Monotonic::from_origin(Duration::from_millis(self.at.load(Ordering::Acquire)))
    }

    fn since(&self, now: Monotonic) {
        self.at.fetch_max(millis(now), Ordering::AcqRel);
    }

    fn in_vain(&self, now: Monotonic) {
        self.in_vain_until
            .fetch_max(millis(now + IN_VAIN_FOR), Ordering::AcqRel);
    }

    fn was_in_vain(&self, now: Monotonic) -> bool {
        millis(now) < self.in_vain_until.load(Ordering::Acquire)
    }
}

fn millis(now: Monotonic) -> u64 {
    u64::try_from(now.since_origin().as_millis()).unwrap_or(u64::MAX)
}

/// Connections that the store did not have a moment ago.
#[derive(Debug, Default)]
pub(super) struct Asked(Mutex<HashMap<ConnectionId, Monotonic>>);

impl Asked {
    fn is_unknown(&self, place: &ConnectionId, now: Monotonic) -> bool {
        self.lock().get(place).is_some_and(|until| now < *until)
    }

    fn add(&self, place: ConnectionId, now: Monotonic) {
        let mut unknown = self.lock();
        if unknown.len() >= MOST_UNKNOWN {
            unknown.retain(|_, until| now < *until);
        }
        // Who asks for that many names is asked for no more of them than fit.
        if unknown.len() >= MOST_UNKNOWN {
            unknown.clear();
        }
        unknown.insert(place, now + UNKNOWN_FOR);
    }

    pub(super) fn forget(&self, connection: &ConnectionId) {
        self.lock().remove(&place_of(connection));
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ConnectionId, Monotonic>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection without its incarnation.
fn place_of(connection: &ConnectionId) -> ConnectionId {
    ConnectionId::new(
        connection.deployment().clone(),
        Tenant::from(connection.tenant().id().clone()),
        connection.carrier().clone(),
        connection.environment(),
        connection.account().clone(),
    )
}

impl Registry {
    /// Takes what was changed since the last time, by whomever.
    pub(super) async fn follow(&self) -> Result<(), ConnectionStoreError> {
        let _alone = self.following.lock().await;
        self.follow_alone().await
    }

    /// For callers who come together: the first one's look serves those who have waited for it, also where it was in vain.
    async fn follow_if_stale(&self) -> Result<(), NotAdmitted> {
        let looked = async {
            let _alone = self.following.lock().await;
            if !self.is_stale() {
                return true;
            }
            !self.freshness.was_in_vain(self.clock.monotonic()) && self.follow_alone().await.is_ok()
        };
        let now = self.clock.monotonic();
        if self.freshness.was_in_vain(now) {
            return Err(NotAdmitted::Unavailable);
        }
        match within(&*self.clock, now + STORE, looked).await {
            Some(true) => Ok(()),
            _ => {
                self.freshness.in_vain(self.clock.monotonic());
                Err(NotAdmitted::Unavailable)
            }
        }
    }

    async fn follow_alone(&self) -> Result<(), ConnectionStoreError> {
        let begun = self.clock.monotonic();
        self.take_changes().await.inspect_err(|_error| {
            // Before the next one has its turn.
            self.freshness.in_vain(self.clock.monotonic());
        })?;
        let ends = self.store.ends();
        if self.ends.swap(ends, Ordering::AcqRel) != ends {
            self.suspend_what_is_over().await?;
        }
        self.freshness.since(begun);
        self.is_told.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// What is known here may have been replaced by a record that somebody has taken away again, so that it is never read.
    async fn suspend_what_is_over(&self) -> Result<(), ConnectionStoreError> {
        let over = self
            .book
            .over(|connection, revision| self.store.has_seen_end(connection, revision));
        if over.is_empty() {
            return Ok(());
        }
        // Or it was replaced a moment ago.
        self.take_changes().await?;
        match self.book.suspend(&over) {
            true => Err(ConnectionStoreError::RolledBack),
            false => Ok(()),
        }
    }

    async fn take_changes(&self) -> Result<(), ConnectionStoreError> {
        // Somebody may have found a connection by asking before this: its end is to be known.
        let at_start = self.book.len() == 0;
        loop {
            let since = self.book.followed();
            let page = self.in_time(self.store.changes(&self.deployment, since, PAGE)).await?;
            for record in &page {
                // What ended before this process began is nothing that it has to know.
                if !(at_start && record.standing == Standing::Removed) {
                    self.take(record);
                }
                if record.standing == Standing::Unreadable {
                    let number = record.number;
                    self.journal
                        .record(&record.connection, || EventKind::ConnectionUnreadable { number });
                }
            }
            // A store may have left out what it cannot read, so a page that is not full is not the last one.
            let Some(last) = page.last() else { return Ok(()) };
            self.book.follow(last.number);
        }
    }

    /// Takes a record that was read or written.
    pub(super) fn take(&self, record: &ConnectionRecord) {
        if let Some(ended) = self.book.take(record) {
            self.ended.add(ended);
        }
    }

    fn is_stale(&self) -> bool {
        self.clock.monotonic().saturating_since(self.freshness.at()) > self.stale_after
    }

    /// Asks the store for the connections of a tenant that is not known here.
    async fn ask(&self, connection: &ConnectionId) -> Result<Listing, NotAdmitted> {
        let place = place_of(connection);
        if *connection.deployment() != self.deployment || self.asked.is_unknown(&place, self.clock.monotonic()) {
            return Err(NotAdmitted::Unknown);
        }
        let refused = |error| match error {
            ConnectionStoreError::Unreadable => NotAdmitted::Unreadable,
            _ => NotAdmitted::Unavailable,
        };
        let _turn = within(&*self.clock, self.clock.monotonic() + STORE, self.asking.acquire())
            .await
            .ok_or(NotAdmitted::Unavailable)?;
        // Another one may have asked meanwhile.
        if let Some(listing) = self.book.at(connection) {
            return Ok(listing);
        }
        let asked = self.store.of_tenant(&self.deployment, connection.tenant().id());
        let records = self.in_time(asked).await.map_err(refused)?;
        records.iter().for_each(|record| self.take(record));
        self.book.at(connection).ok_or_else(|| {
            self.asked.add(place, self.clock.monotonic());
            NotAdmitted::Unknown
        })
    }
}

#[async_trait]
impl Directory for Registry {
    fn known(&self, connection: &ConnectionId) -> Option<Listing> {
        let listing = self.book.at(connection)?;
        (!self.is_stale()).then_some(listing)
    }

    async fn find(&self, connection: &ConnectionId) -> Result<Listing, NotAdmitted> {
        if self.is_stale() {
            self.follow_if_stale().await?;
        }
        match self.known(connection) {
            Some(listing) => Ok(listing),
            None => self.ask(connection).await,
        }
    }

    fn generation(&self) -> u32 {
        self.book.generation()
    }
}

#[async_trait]
impl Chore for Registry {
    fn every(&self) -> Duration {
        self.follow_every
    }

    async fn round(&self, _goes_on: &(dyn Fn() -> bool + Send + Sync)) {
        if self.follow().await.is_ok() {
            return;
        }
        if !self.is_told.swap(true, Ordering::Relaxed) {
            self.journal.record_at_large(EventKind::ConnectionsUnavailable);
        }
        if self.is_stale() {
            // Tokens at hand are looked at again, and refused.
            self.book.move_on();
            self.journal.record_at_large(EventKind::ConnectionsStale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owner::{AccountId, CarrierId, DeploymentId, Environment, TenantId};

    #[test]
    fn names_that_are_asked_for_in_vain_take_bounded_memory() {
        let asked = Asked::default();
        let place = |number: usize| {
            ConnectionId::new(
                DeploymentId::default_deployment(),
                TenantId::new(&format!("t{number}")).unwrap().into(),
                CarrierId::new("ups").unwrap(),
                Environment::Sandbox,
                AccountId::main(),
            )
        };
        let now = Monotonic::ORIGIN;
        for number in 0..MOST_UNKNOWN {
            asked.add(place(number), now);
        }
        assert!(asked.len() == MOST_UNKNOWN && asked.is_unknown(&place(0), now));
        asked.add(place(MOST_UNKNOWN), now);
        assert!(asked.len() <= MOST_UNKNOWN && asked.is_unknown(&place(MOST_UNKNOWN), now));
        assert!(!asked.is_unknown(&place(MOST_UNKNOWN), now + UNKNOWN_FOR));
    }
}
