//! Accounts of what is counted by address. They are apart from those of connections, so that no number of connections takes
//! the room of what everybody needs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;

use crate::binding::Role;
use crate::clock::Monotonic;
use crate::owner::{CarrierId, Environment};
use crate::throttle::Demand;

use super::account::Account;
use super::lock;

/// How many accounts there can be. Applications have some dozens: carriers, environments and roles are theirs to name.
const ROOM: usize = 4096;

/// Which server's requests are counted together.
pub(super) type Server = (CarrierId, Environment, Role);

pub(super) fn server(demand: &Demand<'_>) -> Server {
    let connection = demand.connection;
    (connection.carrier().clone(), connection.environment(), demand.role)
}

#[derive(Default)]
pub(super) struct Addresses {
    accounts: Mutex<HashMap<Server, Arc<Mutex<Account>>, RandomState>>,
}

impl Addresses {
    pub(super) fn find(&self, server: &Server) -> Option<Arc<Mutex<Account>>> {
        lock(&self.accounts).get(server).cloned()
    }

    /// The account of this server, made if there is none; `None` where there is no room for it.
    pub(super) fn find_or_make(&self, server: Server, now: Monotonic) -> Option<Arc<Mutex<Account>>> {
        let mut accounts = lock(&self.accounts);
        if accounts.len() >= ROOM && !accounts.contains_key(&server) {
            accounts.retain(|_, account| !is_idle(account, now));
            if accounts.len() >= ROOM {
                return None;
            }
        }
        Some(Arc::clone(accounts.entry(server).or_default()))
    }

    /// The account of this server, for a block, which is kept in any case.
    pub(super) fn of_block(&self, server: Server) -> Arc<Mutex<Account>> {
        Arc::clone(lock(&self.accounts).entry(server).or_default())
    }

    pub(super) fn all(&self) -> Vec<(Server, Arc<Mutex<Account>>)> {
        let accounts = lock(&self.accounts);
        let each = accounts.iter();
        each.map(|(server, account)| (server.clone(), Arc::clone(account)))
            .collect()
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.accounts).len()
    }
}

/// One that somebody holds is not idle: he is about to write to it, and nobody else can come to hold it while the map is locked.
pub(super) fn is_idle(account: &mut Arc<Mutex<Account>>, now: Monotonic) -> bool {
    Arc::get_mut(account).is_some_and(|account| {
        let account = account.get_mut().unwrap_or_else(PoisonError::into_inner);
        account.is_idle(now)
    })
}
