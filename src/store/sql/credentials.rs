//! Clients' credentials in the database, each sealed as a whole.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::acts::write_act;
use super::columns::{owner_key, owner_values};
use super::counters::next_number;
use super::error::{DatabaseError, SqlError};
use super::generation::Generation;
use super::ledger::{Dead, Ledger};
use super::lives::{self, Step};
use super::sealing::{Sealing, still_active};
use super::{Value, again};
use crate::act::Act;
use crate::chore::Chore;
use crate::credentials::{Credential, CredentialAdmin, CredentialError, CredentialStore};
use crate::owner::{ConnectionId, Owner};
use crate::store::seal::{MAX_VALUE, SealContext, SealError, Sealer, Table};

/// How often something is read or sealed anew when others change it meanwhile.
const TRIES: usize = 8;

const READ: &str =
    "SELECT revision, sealed FROM sb_credentials WHERE deployment = $1 AND owner = $2 AND sealed IS NOT NULL";

const WRITE: &str = "INSERT INTO sb_credentials \
    (deployment, owner, tenant, incarnation, carrier, environment, account, revision, sealed, changed_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (deployment, owner) \
    DO UPDATE SET revision = excluded.revision, sealed = excluded.sealed, changed_at = excluded.changed_at, \
    exposed = 0";

const DELETE: &str = "DELETE FROM sb_credentials WHERE deployment = $1 AND owner = $2";

/// A [`CredentialStore`] in SQLite or PostgreSQL. A credential is sealed with all that it holds, ids too, for its connection and
/// its revision, which is a number that the [`Ledger`] counts; one that was replaced or taken away is buried there, so that its row
/// is refused when somebody puts it back, also one that was deleted before. To put one adds a row to the ledger, two where there
/// was one before; to take it away adds one. The first change after a restored backup was accepted adds up to three more.
///
/// It serves the deployment of its [`Sealing`] and knows no connection of another. At most 47 KiB are sealed for a credential.
/// Credentials are read from the database whenever they are asked for, which is once for each token request.
///
/// Changes of this process take effect at once. For those of others run it as a [`Chore`] of the upkeep: it looks every five
/// seconds (settable) whether anything has changed.
///
/// ```
/// use std::sync::Arc;
///
/// use shipbound::store::sql::{Ledger, Sealing, SqlCredentialStore};
///
/// # fn store(sealing: Arc<Sealing>, ledger: &Ledger) {
/// let credentials = SqlCredentialStore::new(sealing, ledger);
/// # }
/// ```
pub struct SqlCredentialStore {
    sealing: Arc<Sealing>,
    ledger: Ledger,
    every: Duration,
    generation: Generation,
}

/// How a write in a transaction went.
enum Written {
    Done,
    /// The data key or the credential was replaced meanwhile: seal it anew.
    Stale,
}

impl SqlCredentialStore {
    /// Keeps credentials in the database of `sealing`, where `ledger` is as well.
    pub fn new(sealing: Arc<Sealing>, ledger: &Ledger) -> Self {
        sealing.bind(ledger);
        Self {
            sealing,
            ledger: ledger.clone(),
            every: Duration::from_secs(5),
            generation: Generation::of("credentials"),
        }
    }

    /// Looks this often whether other processes have changed anything. Default: 5 s.
    #[must_use]
    pub fn looking_every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Looks now whether other processes have changed anything.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn sync(&self) -> Result<(), DatabaseError> {
        let looked = self.generation.look(self.sealing.database(), self.sealing.deployment());
        Ok(looked.await?)
    }

    /// The revision and the sealed credential that stand in the row.
    async fn read(&self, owner: &Owner) -> Result<Option<(u64, String)>, SqlError> {
        let values = [owner.deployment().as_str().into(), owner_key(owner).into()];
        let rows = self.sealing.database().rows(READ, &values).await?;
        let read = |row: &super::Row| Ok((row.u64(0)?, row.text(1)?.to_owned()));
        rows.first().map(read).transpose()
    }

    async fn follow(&self) -> Result<(), CredentialError> {
        let followed = self.ledger.follow().await;
        followed.map_err(|error| of_sql(error.into_sql()))
    }

    async fn try_write(&self, owner: &Owner, step: Step, sealed: &str, act: &Act) -> Result<Written, SqlError> {
        let dead = |number| Dead::credential(owner, number);
        let (deployment, now) = (owner.deployment(), self.sealing.clock().now());
        let mut tx = self.sealing.database().begin().await?;
        // Locks all credentials of the deployment against other writers, until the commit.
        next_number(&mut tx, deployment, self.generation.name()).await?;
        if !still_active(&mut tx, deployment, sealed).await? || !step.is_due(&self.ledger, &mut tx, dead).await? {
            tx.rollback().await;
            return Ok(Written::Stale);
        }
        let mut values: Vec<Value> = owner_values(owner).into();
        values.extend([step.to().into(), sealed.into(), now.unix_micros().into()]);
        tx.run(WRITE, &values).await?;
        write_act(&mut tx, deployment, "put-credential", Some(owner), act, now).await?;
        step.bury(&self.ledger, &mut tx, dead).await?;
        tx.commit().await?;
        Ok(Written::Done)
    }

    /// `None`: another one was put or taken away meanwhile.
    async fn try_remove(&self, owner: &Owner, step: Step, act: &Act) -> Result<Option<bool>, SqlError> {
        let dead = |number| Dead::credential(owner, number);
        let (deployment, now) = (owner.deployment(), self.sealing.clock().now());
        let mut tx = self.sealing.database().begin().await?;
        next_number(&mut tx, deployment, self.generation.name()).await?;
        if !step.is_due(&self.ledger, &mut tx, dead).await? {
            tx.rollback().await;
            return Ok(None);
        }
        let [place @ .., _, _, _, _, _] = owner_values(owner);
        if tx.run(DELETE, &place).await? == 0 && !step.leads_on() {
            tx.rollback().await;
            return Ok(Some(false));
        }
        write_act(&mut tx, deployment, "remove-credential", Some(owner), act, now).await?;
        step.bury(&self.ledger, &mut tx, dead).await?;
        tx.commit().await?;
        Ok(Some(true))
    }

    /// After a write of which it is known that it was done, or not known.
    async fn settle(&self, owner: &Owner, what: &'static str, act: &Act) -> Result<(), CredentialError> {
        self.generation.grow();
        self.ledger.settle().await.map_err(|_| CredentialError::Unavailable)?;
        self.sealing.tell(Some(owner), what, act);
        Ok(())
    }

    fn is_ours(&self, connection: &ConnectionId) -> bool {
        connection.deployment() == self.sealing.deployment()
    }

    fn failed(&self, error: SqlError) -> CredentialError {
        // Done or not: what was read before is looked at again.
        self.generation.grow();
        of_sql(error)
    }
}

#[async_trait]
impl CredentialStore for SqlCredentialStore {
    async fn credential(&self, connection: &ConnectionId) -> Result<Credential, CredentialError> {
        if !self.is_ours(connection) {
            return Err(CredentialError::Missing);
        }
        let owner = Owner::Connection(connection.clone());
        let mut put_back = None;
        for _ in 0..TRIES {
            let Some((revision, sealed)) = self.read(&owner).await.map_err(of_sql)? else {
                return Err(CredentialError::Missing);
            };
            // The same row again, and dead before: it was not replaced while it was read.
            if put_back == Some(revision) {
                return Err(CredentialError::RolledBack);
            }
            let is_now = lives::is_now(&self.ledger, revision, |number| Dead::credential(&owner, number));
            if !is_now.await.map_err(of_sql)? {
                put_back = Some(revision);
                continue;
            }
            let context = SealContext::new(&owner, Table::Credentials, revision);
            return match self.sealing.open(&context, &sealed).await {
                Ok(octets) => Credential::read(&octets).ok_or(CredentialError::Unavailable),
                // Under a data key that was replaced while it was read, or changed behind our back.
                Err(SealError::Refused) if self.read(&owner).await.map_err(of_sql)? != Some((revision, sealed)) => {
                    continue;
                }
                Err(SealError::Refused) => Err(CredentialError::RolledBack),
                Err(_) => Err(CredentialError::Unavailable),
            };
        }
        Err(CredentialError::Unavailable)
    }

    fn generation(&self) -> u64 {
        self.generation.get()
    }
}

#[async_trait]
impl CredentialAdmin for SqlCredentialStore {
    async fn put_credential(
        &self,
        connection: &ConnectionId,
        credential: Credential,
        act: &Act,
    ) -> Result<(), CredentialError> {
        if !self.is_ours(connection) {
            return Err(CredentialError::Unavailable);
        }
        let owner = Owner::Connection(connection.clone());
        let octets = credential
            .write(MAX_VALUE)
            .ok_or(CredentialError::TooLarge { limit: MAX_VALUE })?;
        for _ in 0..TRIES {
            self.follow().await?;
            let step = Step::begin(&self.ledger, |number| Dead::credential(&owner, number));
            let context = SealContext::new(&owner, Table::Credentials, step.to());
            let sealed = self
                .sealing
                .seal(&context, &octets)
                .await
                .map_err(|_| CredentialError::Unavailable)?;
            match again(|| self.try_write(&owner, step, &sealed, act)).await {
                Ok(Written::Done) => return self.settle(&owner, "put-credential", act).await,
                Ok(Written::Stale) => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Err(CredentialError::Unavailable)
    }

    async fn remove_credential(&self, connection: &ConnectionId, act: &Act) -> Result<bool, CredentialError> {
        if !self.is_ours(connection) {
            return Ok(false);
        }
        let owner = Owner::Connection(connection.clone());
        for _ in 0..TRIES {
            self.follow().await?;
            let step = Step::end(&self.ledger, |number| Dead::credential(&owner, number));
            match again(|| self.try_remove(&owner, step, act)).await {
                // Perhaps it is a repeat, after one that could not raise the anchor.
                Ok(Some(false)) => {
                    let settled = self.ledger.settle().await;
                    return settled.map(|()| false).map_err(|_| CredentialError::Unavailable);
                }
                Ok(Some(true)) => return self.settle(&owner, "remove-credential", act).await.map(|()| true),
                Ok(None) => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Err(CredentialError::Unavailable)
    }

    async fn erase_data_key(&self, connection: &ConnectionId, act: &Act) -> Result<bool, CredentialError> {
        if !self.is_ours(connection) {
            return Ok(false);
        }
        let owner = Owner::Connection(connection.clone());
        let erased = self.sealing.erase(&self.ledger, &owner, act).await.map_err(of_sql)?;
        // Also after nothing was done: perhaps it is a repeat, after one that could not raise the anchor.
        self.ledger.settle().await.map_err(|_| CredentialError::Unavailable)?;
        if erased {
            self.sealing.tell(Some(&owner), "erase-data-key", act);
        }
        Ok(erased)
    }
}

#[async_trait]
impl Chore for SqlCredentialStore {
    fn every(&self) -> Duration {
        self.every
    }

    async fn round(&self, _goes_on: &(dyn Fn() -> bool + Send + Sync)) {
        // A database that does not answer shows by the next credential that is asked for.
        let _looked = self.sync().await;
    }
}

fn of_sql(error: SqlError) -> CredentialError {
    match error {
        SqlError::RolledBack => CredentialError::RolledBack,
        _ => CredentialError::Unavailable,
    }
}

impl fmt::Debug for SqlCredentialStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlCredentialStore")
            .field("sealing", &self.sealing)
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}
