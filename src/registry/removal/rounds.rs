//! Removals side by side: no carrier's issuer that hangs keeps those of others.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{Either, join_all, select};
use futures_util::{StreamExt, stream};

use super::Remover;
use super::report::Removal;
use crate::chore::Chore;
use crate::directory::ConnectionRecord;
use crate::owner::{CarrierId, ConnectionId, Environment};

/// How many removals go on at a time at one carrier, in one environment.
const AT_ONCE: usize = 8;

/// Which removals had a turn, so that those that have waited longest come first. As many as go on.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    last: u64,
    of: HashMap<ConnectionId, u64>,
}

impl Turns {
    /// Takes a turn.
    fn take(&self, connection: &ConnectionId) {
        let mut taken = self.lock();
        taken.last += 1;
        let turn = taken.last;
        taken.of.insert(connection.clone(), turn);
    }

    /// Those that had no turn first, then those whose turn was longest ago. Others are forgotten.
    fn order(&self, connections: &mut [ConnectionId]) {
        let mut taken = self.lock();
        let listed: HashSet<&ConnectionId> = connections.iter().collect();
        taken.of.retain(|connection, _| listed.contains(connection));
        drop(listed);
        connections.sort_by_key(|connection| taken.of.get(connection).copied().unwrap_or(0));
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remover {
    pub(super) async fn resume_while(&self, goes_on: &(dyn Fn() -> bool + Send + Sync)) -> Vec<Removal> {
        // First of all: whoever ends a removal waits for those that it knows to have tokens.
        self.announce_all().await;
        let mut connections = self.registry.removing();
        self.turns.order(&mut connections);
        let mut carriers: HashMap<(CarrierId, Environment), Vec<ConnectionId>> = HashMap::new();
        for connection in connections {
            let carrier = (connection.carrier().clone(), connection.environment());
            carriers.entry(carrier).or_default().push(connection);
        }
        let of_each = carriers.into_values().map(|connections| async move {
            let each = connections.into_iter().map(|connection| async move {
                if !goes_on() {
                    return None;
                }
                self.turns.take(&connection);
                // A store that does not answer does the next time.
                let record = self.registry.record(&connection).await.ok()?;
                Some(self.run(&record).await)
            });
            stream::iter(each).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await
        });
        let work = pin!(join_all(of_each));
        let announcing = pin!(async {
            let clock = &*self.parts.clock;
            loop {
                clock.sleep_until(clock.monotonic() + self.every()).await;
                self.announce_all().await;
            }
        });
        // Removals that begin while an issuer hangs are announced in time, too.
        match select(work, announcing).await {
            Either::Left((removals, _)) => removals.into_iter().flatten().flatten().collect(),
            Either::Right((never, _)) => never,
        }
    }

    /// Goes on with these, some at a time; their reports in the same order.
    pub(super) async fn run_all(&self, records: &[ConnectionRecord]) -> Vec<Removal> {
        let each = records.iter().map(|record| self.run(record));
        stream::iter(each).buffered(AT_ONCE).collect().await
    }

    /// Writes down of all removals that this process has tokens of their connections, where it has.
    async fn announce_all(&self) {
        let mut connections = self.registry.removing();
        connections.retain(|connection| self.registry.is_shared() && self.holds(connection));
        let each = connections.into_iter().map(|connection| async move {
            if self.registry.has_announced(&connection) {
                return;
            }
            if let Ok(record) = self.registry.record(&connection).await {
                self.announce(&record).await;
            }
        });
        stream::iter(each).buffer_unordered(AT_ONCE).collect::<()>().await;
    }
}

#[async_trait]
impl Chore for Remover {
    fn every(&self) -> Duration {
        self.registry.every()
    }

    async fn round(&self, goes_on: &(dyn Fn() -> bool + Send + Sync)) {
        let _journaled = self.resume_while(goes_on).await;
    }
}
