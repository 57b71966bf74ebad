//! Removing a connection: nothing of it is left that anybody could use.

mod report;
mod rounds;
mod steps;
mod telling;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Registry, RegistryError};
use crate::act::Act;
#[cfg(doc)]
use crate::chore::Chore;
use crate::client::Client;
use crate::credentials::CredentialAdmin;
use crate::directory::{ConnectionRecord, Standing};
use crate::journal::EventKind;
use crate::keys::KeyListing;
use crate::owner::{ConnectionId, TenantId};
use crate::parts::Parts;

use self::rounds::Turns;

pub use self::report::{Removal, Step, StepReport};

/// Removes connections, with all that they have.
///
/// In this order: the connection is written down as being removed, so that no new call goes out anywhere; calls under way end;
/// the issuers are told of its tokens; the shipper's consent, its keys, its credential, and what this process holds in memory
/// are done away with; it is written down as removed, which is final.
///
/// Each step may be repeated. A removal that could not be ended, or whose process ended, goes on with [`Remover::resume`]: by the
/// next process, too. So a remover is a [`Chore`] that each process of a fleet runs in its
/// [`Upkeep`](crate::upkeep::Upkeep), every 5 s. Removals of one carrier and environment go on eight at a time, those of others
/// beside them.
///
/// # Tokens of other processes
///
/// Each process tells the issuers of the tokens that it has itself. A process that has some writes so into the connection's
/// record: keys and credential, which it takes to tell, stay until none is left that tells, at most for
/// [`revoke_within`](Self::revoke_within) from the removal's begin. Who was killed before it told is waited for as long, and is in the
/// report as what remained. Not waited for is a process that does not run its remover, or that does not follow within twice
/// the registry's interval since it is cut off from the store: when it learns of the end it drops its tokens, and tries to tell.
///
/// ```no_run
/// # use std::sync::Arc;
/// use shipbound::act::Act;
/// use shipbound::registry::{Registry, Remover};
/// # use shipbound::{Client, Parts, credentials::CredentialAdmin, keys::KeyListing, owner::ConnectionId};
///
/// # async fn remove(registry: Arc<Registry>, parts: Parts, keys: Arc<dyn KeyListing>, credentials: Arc<dyn CredentialAdmin>,
/// #     fedex: Client, ups: Client, connection: ConnectionId) -> Result<(), Box<dyn std::error::Error>> {
/// let remover = Remover::new(registry, &parts, keys, credentials).client(&fedex).client(&ups);
/// let act = Act::new("maria@platform.example", "shipper closed the account", "OPS-4711")?;
/// let removal = remover.remove(&connection, &act).await?;
/// for step in &removal.steps {
///     println!("{}: {} done, {} remained", step.step.as_str(), step.done, step.remained);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Remover {
    registry: Arc<Registry>,
    parts: Parts,
    clients: Vec<Client>,
    keys: Arc<dyn KeyListing>,
    credentials: Arc<dyn CredentialAdmin>,
    drain: Duration,
    revoke_within: Duration,
    turns: Turns,
}

impl Remover {
    /// A remover of the connections of `registry`. Keys are destroyed in the key store of `parts`, which `keys` lists, consents
    /// in their grant store, and credentials through `credentials`.
    pub fn new(
        registry: Arc<Registry>,
        parts: &Parts,
        keys: Arc<dyn KeyListing>,
        credentials: Arc<dyn CredentialAdmin>,
    ) -> Self {
        Self {
            registry,
            parts: parts.clone(),
            clients: Vec::new(),
            keys,
            credentials,
            drain: Duration::from_secs(60),
            revoke_within: Duration::from_secs(10 * 60),
            turns: Turns::default(),
        }
    }

    /// Revokes tokens through this client too: there should be one for each carrier, environment and account.
    #[must_use]
    pub fn client(mut self, client: &Client) -> Self {
        self.clients.push(client.clone());
        self
    }

    /// How long after the removal's begin calls under way are waited for. Default: 60 s.
    #[must_use]
    pub fn drain(mut self, limit: Duration) -> Self {
        self.drain = limit;
        self
    }

    /// How long after the removal's begin an issuer that could not be told is told again, here and in other processes, before the
    /// rest goes on without it: it takes keys and credential to tell. Default: 10 minutes. The same in each process of a fleet.
    #[must_use]
    pub fn revoke_within(mut self, span: Duration) -> Self {
        self.revoke_within = span;
        self
    }

    /// Removes a connection. May be repeated, and by any number of processes at once; one that has begun goes on under the act
    /// that began it.
    ///
    /// Takes as long as calls are waited for, and one request to the issuer for each token; in a fleet 15 s for other processes to
    /// learn of it, and at most 15 s more for those that have tokens.
    ///
    /// # Errors
    /// [`RegistryError`] when it could not be written down that the connection is being removed: nothing was done then, or
    /// [`Remover::resume`] goes on with it. What goes wrong later is in the [`Removal`].
    pub async fn remove(&self, connection: &ConnectionId, act: &Act) -> Result<Removal, RegistryError> {
        let record = self.registry.begin_removal(connection, act).await?;
        Ok(self.run(&record).await)
    }

    /// Removes all connections of this tenant's id that are there now. None of them calls any more before the first is done away
    /// with. What is added meanwhile belongs to a new holder of the id, and stays.
    ///
    /// # Errors
    /// As [`Remover::remove`]; repeat it.
    pub async fn remove_tenant(&self, tenant: &TenantId, act: &Act) -> Result<Vec<Removal>, RegistryError> {
        let mut records: Vec<ConnectionRecord> = Vec::new();
        loop {
            let known = self.registry.of_tenant(tenant).await?;
            // Another one of the same holder may have been added before the last of these was marked.
            let is_new = |record: &&ConnectionRecord| {
                let of = &record.connection;
                let mut begun = records.iter().map(|begun| &begun.connection);
                record.standing != Standing::Removed
                    && (records.is_empty() || begun.any(|begun| begun.tenant() == of.tenant()))
                    && !records.iter().any(|begun| begun.connection == *of)
            };
            let new: Vec<_> = known.iter().filter(is_new).collect();
            if new.is_empty() {
                break;
            }
            let mut begun = Vec::new();
            for record in new {
                begun.push(match record.standing {
                    // Whose report says so: the others are not to wait for it.
                    Standing::Unreadable => record.clone(),
                    _ => self.registry.begin_removal(&record.connection, act).await?,
                });
            }
            records.append(&mut begun);
        }
        Ok(self.run_all(&records).await)
    }

    /// Goes on with the removals that this process knows to have begun, by whomever; and with what this process still has of
    /// connections that others have removed. The report of each.
    pub async fn resume(&self) -> Vec<Removal> {
        self.resume_while(&|| true).await
    }

    async fn run(&self, record: &ConnectionRecord) -> Removal {
        let removal = match record.standing {
            Standing::Removing => self.steps(record).await,
            Standing::Removed => self.left_over(record).await,
            standing => Removal {
                connection: record.connection.clone(),
                finished: false,
                steps: match standing {
                    Standing::Unreadable => vec![StepReport::new(Step::Tombstone).remains(1, "unreadable")],
                    _ => Vec::new(),
                },
            },
        };
        if !removal.finished {
            let last = removal
                .steps
                .iter()
                .rev()
                .find_map(|step| Some((step.step, step.code?)));
            if let Some((step, code)) = last {
                self.parts
                    .journal
                    .record(&removal.connection, || EventKind::RemovalUnfinished {
                        step: step.as_str(),
                        code,
                    });
            }
        }
        removal
    }
}

impl fmt::Debug for Remover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remover")
            .field("registry", &self.registry)
            .field("clients", &self.clients.len())
            .finish_non_exhaustive()
    }
}
