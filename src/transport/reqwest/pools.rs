//! A pool of connections for each client certificate.
//!
//! A connection shows one certificate, and so does a ticket: a session that is resumed counts as the certificate of the
//! handshake that it comes from, whatever a resolver would show by now. So a certificate has its own TLS configuration, its
//! own tickets and its own HTTP client; roots, verifier and algorithms are shared.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ::reqwest::Client;
use hashbrown::HashMap;

use super::super::identity::{ClientIdentity, Retirement};
use super::builder::{Blueprint, BuildError};
use super::clients::Clients;
use super::tickets;
use crate::clock::{Clock, Monotonic};

/// How many pools that lie idle one request closes: some more than one request can open.
const CLOSED_AT_ONCE: usize = 8;

/// The pools of a transport. What is idle is closed by the requests that come; nothing runs in the background.
pub(super) struct Pools {
    limit: usize,
    /// After this time without a request a pool goes. Its connections are closed by then, tickets are all that it had left.
    idle: Duration,
    /// How stale a pool's time of use may be, so that not every request moves it to the end of the order.
    slack: Duration,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    pools: HashMap<u64, Entry, foldhash::fast::RandomState>,
    /// Least recently used first.
    order: BTreeSet<(Monotonic, u64)>,
}

struct Entry {
    pool: Arc<Pool>,
    used: Monotonic,
}

/// The HTTP clients of one certificate.
pub(super) struct Pool {
    tls: rustls::ClientConfig,
    clients: Clients,
}

impl Pool {
    fn new(blueprint: &Blueprint, identity: &ClientIdentity, idle: usize) -> Result<Self, BuildError> {
        let tls = tickets::config(blueprint.tls(), identity);
        Ok(Self {
            clients: Clients::new(blueprint.client(tls.clone(), idle)?),
            tls,
        })
    }

    /// The client for ordinary requests, or the one whose connections are used once.
    pub(super) fn client(&self, blueprint: &Blueprint, fresh: bool) -> Result<Client, BuildError> {
        self.clients.get(blueprint, &self.tls, fresh)
    }
}

impl Pools {
    pub(super) fn new(limit: usize, idle: Duration) -> Self {
        Self {
            limit,
            idle,
            slack: idle / 16,
            state: Arc::default(),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        lock(&self.state).pools.len()
    }

    /// Closes the pool of this certificate. Requests on their way finish.
    pub(super) fn close(&self, identity: &ClientIdentity) {
        self.state.retired(identity.number());
    }

    /// The pool of this certificate, with up to `idle` unused connections per origin where it has to be made.
    ///
    /// That of a retired certificate is not kept: what is still to be sent with it gets connections of its own, which close
    /// after it.
    pub(super) fn of(
        &self,
        identity: &ClientIdentity,
        blueprint: &Blueprint,
        idle: usize,
        clock: &dyn Clock,
    ) -> Result<Arc<Pool>, BuildError> {
        let number = identity.number();
        let now = clock.monotonic();
        let (found, closed) = {
            let mut state = lock(&self.state);
            let closed = state.close_idle(now, self.idle.saturating_add(self.slack));
            (state.touch(number, now, self.slack), closed)
        };
        // Sockets are closed without the lock.
        drop(closed);
        if let Some(pool) = found {
            return Ok(pool);
        }
        let made = Arc::new(Pool::new(blueprint, identity, idle)?);
        if identity.is_retired() || self.limit == 0 {
            return Ok(made);
        }
        let (pool, closed) = lock(&self.state).insert(number, made, now, self.limit);
        drop(closed);
        let state: Weak<dyn Retirement> = Arc::downgrade(&(Arc::clone(&self.state) as Arc<dyn Retirement>));
        identity.on_retirement(state);
        Ok(pool)
    }
}

impl Retirement for Mutex<State> {
    fn retired(&self, number: u64) {
        let closed = lock(self).remove(number);
        drop(closed);
    }
}

impl State {
    fn touch(&mut self, number: u64, now: Monotonic, slack: Duration) -> Option<Arc<Pool>> {
        let entry = self.pools.get_mut(&number)?;
        if now.saturating_since(entry.used) > slack {
            self.order.remove(&(entry.used, number));
            entry.used = now;
            self.order.insert((now, number));
        }
        Some(Arc::clone(&entry.pool))
    }

    /// Keeps the pool that was there first where two requests made one at a time.
    fn insert(&mut self, number: u64, made: Arc<Pool>, now: Monotonic, limit: usize) -> (Arc<Pool>, Option<Arc<Pool>>) {
        if let Some(entry) = self.pools.get(&number) {
            return (Arc::clone(&entry.pool), Some(made));
        }
        let oldest = (self.pools.len() >= limit)
            .then(|| self.order.first().copied())
            .flatten();
        let closed = oldest.and_then(|(_, oldest)| self.remove(oldest));
        self.order.insert((now, number));
        self.pools.insert(
            number,
            Entry {
                pool: Arc::clone(&made),
                used: now,
            },
        );
        (made, closed)
    }

    fn close_idle(&mut self, now: Monotonic, after: Duration) -> Vec<Arc<Pool>> {
        let mut closed = Vec::new();
        while let Some((used, number)) = self.order.first().copied()
            && now.saturating_since(used) >= after
            && closed.len() < CLOSED_AT_ONCE
        {
            closed.extend(self.remove(number));
        }
        closed
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Pool>> {
        let entry = self.pools.remove(&number)?;
        self.order.remove(&(entry.used, number));
        Some(entry.pool)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
