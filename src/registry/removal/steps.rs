//! The steps of a removal. Each may be repeated, and may be done by several processes at once.

use std::time::Duration;

use super::Remover;
use super::report::{Removal, Step, StepReport};
use crate::client::Client;
use crate::clock::within;
use crate::directory::{ConnectionRecord, Standing};
use crate::keys::{KeyError, KeyFilter, KeyId, Retired};
use crate::owner::{ConnectionId, Owner};

/// How often is looked whether calls have ended.
const LOOK: Duration = Duration::from_millis(20);

/// How long one request to a store may take.
const STORE: Duration = Duration::from_secs(10);

/// How many keys are listed at a time.
const PAGE: usize = 64;

/// How often keys are listed until there are none: who goes on making them is none of ours.
const LISTINGS: usize = 8;

/// How much longer than they take to follow other processes are waited for: their clocks differ, and what they write takes its time.
const GRACE: Duration = Duration::from_secs(5);

impl Remover {
    pub(super) async fn steps(&self, record: &ConnectionRecord) -> Removal {
        let connection = &record.connection;
        self.announce(record).await;
        let mut removal = Removal {
            connection: connection.clone(),
            finished: false,
            steps: vec![self.calls(record).await],
        };
        let told = self.tell(record).await;
        let (tokens, record) = self.told_by_all(record, told).await;
        removal.steps.push(tokens);
        let Some(record) = &record else {
            return removal;
        };
        if record.standing == Standing::Removed {
            // Somebody else has done the rest.
            self.registry.take(record);
            removal.steps.push(self.forget(connection));
            removal.steps.push(self.fingerprints(connection).await);
            self.registry.left(connection);
            removal.finished = true;
            return removal;
        }
        let stored = [
            self.grant(connection).await,
            self.destroyed(connection).await,
            self.credential(record).await,
        ];
        let is_gone = stored.iter().all(|step| step.remained == 0);
        removal.steps.extend(stored);
        removal.steps.push(self.forget(connection));
        if !is_gone {
            return removal;
        }
        removal.steps.push(self.fingerprints(connection).await);
        let data_key = self.data_key(record).await;
        let is_erased = data_key.remained == 0;
        removal.steps.push(data_key);
        if !is_erased {
            return removal;
        }
        let ended = self.registry.end_removal(record).await;
        let tombstone = StepReport::new(Step::Tombstone).taken(ended.map(|()| true).map_err(|_error| "registry"));
        removal.finished = tombstone.remained == 0;
        removal.steps.push(tombstone);
        if removal.finished {
            self.registry.left(connection);
        }
        removal
    }

    /// Does away with what this process has of a connection that was removed: by others, while it did not follow.
    pub(super) async fn left_over(&self, record: &ConnectionRecord) -> Removal {
        let connection = &record.connection;
        let mut removal = Removal {
            connection: connection.clone(),
            finished: true,
            steps: Vec::new(),
        };
        if !self.registry.left(connection) && !self.holds(connection) {
            self.forget(connection);
            return removal;
        }
        // Keys and credential are gone where this process was not waited for: then the report, and an event, say that the issuer
        // was not told.
        removal.steps.push(self.tell(record).await.step);
        removal.steps.push(self.forget(connection));
        let fingerprints = self.fingerprints(connection).await;
        if fingerprints.code == Some("registry") {
            self.registry.take_up(connection.clone());
        }
        removal.steps.push(fingerprints);
        removal
    }

    /// Waits for calls in this process, and for other processes to know that they are not to call any more.
    async fn calls(&self, record: &ConnectionRecord) -> StepReport {
        let clock = &*self.parts.clock;
        // From its begin on, so that whoever goes on with it does not wait anew.
        let until = record.changed_at + self.drain;
        let told = record.changed_at + self.registry.others_follow_within();
        let mut most = 0;
        loop {
            let running = self.under_way(&record.connection);
            most = most.max(running);
            let others_know = !self.registry.is_shared() || told + GRACE <= clock.now();
            let is_late = until <= clock.now();
            if (running == 0 || is_late) && others_know {
                let step = StepReport {
                    done: u64::from(most.saturating_sub(running)),
                    ..StepReport::new(Step::Calls)
                };
                return match running {
                    0 => step,
                    running => step.remains(running.into(), "under_way"),
                };
            }
            clock.sleep_until(clock.monotonic() + LOOK).await;
        }
    }

    fn under_way(&self, connection: &ConnectionId) -> u32 {
        // Clients that share a cache share what is under way.
        let each = self
            .of(connection)
            .map(|client| client.pipeline().parts.tokens.under_way(connection));
        each.max().unwrap_or(0)
    }

    async fn grant(&self, connection: &ConnectionId) -> StepReport {
        let step = StepReport::new(Step::Grant);
        match &self.parts.grants {
            Some(grants) => step.taken(self.in_time(grants.remove(connection)).await),
            None => step,
        }
    }

    async fn credential(&self, record: &ConnectionRecord) -> StepReport {
        let removed = self.credentials.remove_credential(&record.connection, &record.act);
        StepReport::new(Step::Credential).taken(self.in_time(removed).await)
    }

    async fn data_key(&self, record: &ConnectionRecord) -> StepReport {
        let erased = self.credentials.erase_data_key(&record.connection, &record.act);
        StepReport::new(Step::DataKey).taken(self.in_time(erased).await)
    }

    /// Destroys the connection's keys, until a listing has none: whoever was just making one may not have known of the removal.
    async fn destroyed(&self, connection: &ConnectionId) -> StepReport {
        let mut step = StepReport::new(Step::Keys);
        for _listing in 0..LISTINGS {
            let before = step.done;
            step = self.destroyed_as_listed(connection, step).await;
            if step.remained > 0 || step.done == before {
                return step;
            }
        }
        step.remains(1, "keys_are_made")
    }

    async fn destroyed_as_listed(&self, connection: &ConnectionId, mut step: StepReport) -> StepReport {
        let owner = Owner::Connection(connection.clone());
        let filter = KeyFilter::default().of_owner(connection.clone());
        let mut after: Option<KeyId> = None;
        loop {
            let Ok(page) = self.in_time(self.keys.list(&filter, after, PAGE)).await else {
                return step.remains(1, "key_listing");
            };
            let Some(last) = page.last() else { return step };
            after = Some(last.id);
            for key in page.iter().filter(|key| !key.has_ended()) {
                let retired = self.parts.keys.retire(&owner, &key.id, Retired::Destroyed);
                step = match self.in_time(retired).await {
                    Ok(_destroyed_or_was) => step.taken(Ok(true)),
                    Err(code) => step.remains(1, code),
                };
            }
        }
    }

    /// Drops what this process has of the connection.
    pub(super) fn forget(&self, connection: &ConnectionId) -> StepReport {
        let mut step = StepReport::new(Step::Memory);
        for client in self.of(connection) {
            client.pipeline().purge(connection.tenant());
            step.done += 1;
        }
        step
    }

    async fn fingerprints(&self, connection: &ConnectionId) -> StepReport {
        let step = StepReport::new(Step::Fingerprints);
        match self.registry.is_last(connection).await {
            Ok(true) if self.parts.fingerprints.erase(connection.tenant()) => step.taken(Ok(true)),
            Ok(true) => step.remains(1, "no_salts"),
            Ok(false) => step,
            Err(_unavailable) => step.remains(1, "registry"),
        }
    }

    pub(super) fn of<'a>(&'a self, connection: &'a ConnectionId) -> impl Iterator<Item = &'a Client> {
        self.clients.iter().filter(|client| client.serves(connection))
    }

    /// A store's answer, or a short name of why there is none.
    async fn in_time<T, E: Coded>(&self, asked: impl Future<Output = Result<T, E>>) -> Result<T, &'static str> {
        let clock = &*self.parts.clock;
        match within(clock, clock.monotonic() + STORE, asked).await {
            Some(outcome) => outcome.map_err(|error| error.code()),
            None => Err("deadline"),
        }
    }
}

/// An error of a store, as a report shows it.
trait Coded {
    fn code(&self) -> &'static str;
}

impl Coded for KeyError {
    fn code(&self) -> &'static str {
        "key_store"
    }
}

impl Coded for crate::credentials::CredentialError {
    fn code(&self) -> &'static str {
        "credential_store"
    }
}

impl Coded for crate::grants::GrantError {
    fn code(&self) -> &'static str {
        "grant_store"
    }
}
