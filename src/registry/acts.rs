//! What is done with connections, each by compare-and-set.

use uuid::Uuid;

use super::{Registry, RegistryError};
use crate::act::Act;
use crate::crypto;
use crate::directory::PiiPolicy;
use crate::directory::{ConnectionRecord, Settings, Standing};
use crate::journal::ConnectionChange;
use crate::owner::{AccountId, CarrierId, ConnectionId, Environment, Region, Tenant, TenantId};

/// How often an act begins anew because others were first.
const TRIES: usize = 16;

/// How many processes are waited for that tell issuers of one connection's tokens.
const MOST_TELLING: usize = 256;

/// How many records one tenant's id may have, removed connections among them.
const MOST_OF_ONE: usize = 1024;

/// A connection that is to be added.
///
/// ```
/// use shipbound::owner::{AccountId, CarrierId, Environment, Region, TenantId};
/// use shipbound::registry::NewConnection;
///
/// let new = NewConnection::new(TenantId::new("acme")?, &CarrierId::new("fedex")?, Environment::Production)
///     .account(AccountId::new("track")?)
///     .region(Region::new("eu")?);
/// # Ok::<(), shipbound::owner::InvalidId>(())
/// ```
#[derive(Clone, Debug)]
pub struct NewConnection {
    tenant: TenantId,
    carrier: CarrierId,
    environment: Environment,
    account: AccountId,
    settings: Settings,
    region: Option<Region>,
}

impl NewConnection {
    /// A connection of this tenant's main account, with no settings and no region.
    pub fn new(tenant: TenantId, carrier: &CarrierId, environment: Environment) -> Self {
        Self {
            tenant,
            carrier: carrier.clone(),
            environment,
            account: AccountId::main(),
            settings: Settings::default(),
            region: None,
        }
    }

    /// For one of several accounts.
    #[must_use]
    pub fn account(mut self, account: AccountId) -> Self {
        self.account = account;
        self
    }

    /// Where its keys, credentials and grants stay ([`Regional`](crate::store::Regional)). It is not changed afterwards.
    #[must_use]
    pub fn region(mut self, region: Region) -> Self {
        self.region = Some(region);
        self
    }

    /// With an exception from what the client does with personal paths.
    #[must_use]
    pub fn personal_paths(mut self, policy: PiiPolicy) -> Self {
        self.settings = self.settings.personal_paths(policy);
        self
    }
}

impl Registry {
    /// Adds a connection. Its calls are let through at once in this process, and in others with their first call.
    ///
    /// Gives its record, with the tenant's [incarnation](super#incarnations).
    ///
    /// # Errors
    /// [`RegistryError::Exists`], [`RegistryError::Removing`], [`RegistryError::Unreadable`],
    /// [`RegistryError::TooMany`] (1024 of one tenant), [`RegistryError::Contended`], [`RegistryError::Store`]: added or not; a second try says [`RegistryError::Exists`] then.
    pub async fn add(&self, new: &NewConnection, act: &Act) -> Result<ConnectionRecord, RegistryError> {
        for _ in 0..TRIES {
            let known = self.of_tenant(&new.tenant).await?;
            let at_first = self.placed(new, Tenant::from(new.tenant.clone()));
            let mut there = known.iter().filter(|record| record.is_at(&at_first));
            match there.find(|record| record.standing != Standing::Removed) {
                Some(record) if record.standing == Standing::Removing => return Err(RegistryError::Removing),
                Some(record) if record.standing == Standing::Unreadable => return Err(RegistryError::Unreadable),
                Some(_) => return Err(RegistryError::Exists),
                None => {}
            }
            if known.len() >= MOST_OF_ONE {
                return Err(RegistryError::TooMany { limit: MOST_OF_ONE });
            }
            let tenant = Tenant::new(new.tenant.clone(), incarnation(&known, &at_first)?);
            let connection = self.placed(new, tenant);
            let now = self.clock.now();
            let record = ConnectionRecord::new(connection, new.settings, new.region.clone(), now, act.clone());
            let seen = known.iter().map(|record| record.number).max().unwrap_or(0);
            if let Some(number) = self.in_time(self.store.insert(&record, seen)).await? {
                return Ok(self.done(ConnectionChange::Added, ConnectionRecord { number, ..record }));
            }
        }
        Err(RegistryError::Contended)
    }

    /// Changes the settings of the connection as `record` shows it.
    ///
    /// # Errors
    /// [`RegistryError::Changed`] when somebody was first, [`RegistryError::Removing`], [`RegistryError::Unknown`],
    /// [`RegistryError::Unreadable`], [`RegistryError::Store`].
    pub async fn change(
        &self,
        record: &ConnectionRecord,
        settings: Settings,
        act: &Act,
    ) -> Result<ConnectionRecord, RegistryError> {
        is_there(record)?;
        let next = ConnectionRecord {
            settings,
            ..record.next(self.clock.now(), act)
        };
        let written = self.replace(record, next, ConnectionChange::Changed).await?;
        written.ok_or(RegistryError::Changed)
    }

    /// Suspends the connection: its next call in this process is refused, in others within the time in which they follow. Tokens,
    /// keys and credentials stay. One that is suspended stays so, with the act that suspended it.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`], [`RegistryError::Removing`], [`RegistryError::Unreadable`], [`RegistryError::Contended`],
    /// [`RegistryError::Store`]: suspended or not; repeat it.
    pub async fn suspend(&self, connection: &ConnectionId, act: &Act) -> Result<ConnectionRecord, RegistryError> {
        for _ in 0..TRIES {
            let record = self.record(connection).await?;
            is_there(&record)?;
            if record.standing == Standing::Suspended {
                self.take(&record);
                return Ok(record);
            }
            let next = self.standing(&record, Standing::Suspended, act);
            if let Some(done) = self.replace(&record, next, ConnectionChange::Suspended).await? {
                return Ok(done);
            }
        }
        Err(RegistryError::Contended)
    }

    /// Resumes the connection, which was suspended as `record` shows it: a suspension by somebody else in the meantime stays. It
    /// goes on with the token that it had, if that is good.
    ///
    /// # Errors
    /// [`RegistryError::Changed`] when somebody was first, or the record shows no suspended connection;
    /// [`RegistryError::Removing`], [`RegistryError::Unknown`], [`RegistryError::Unreadable`], [`RegistryError::Store`].
    pub async fn resume(&self, record: &ConnectionRecord, act: &Act) -> Result<ConnectionRecord, RegistryError> {
        is_there(record)?;
        if record.standing != Standing::Suspended {
            return Err(RegistryError::Changed);
        }
        let next = self.standing(record, Standing::Active, act);
        let written = self.replace(record, next, ConnectionChange::Resumed).await?;
        written.ok_or(RegistryError::Changed)
    }

    /// Begins the connection's removal; one that has begun goes on under the act that began it. `Ok` of a removed connection
    /// says so.
    pub(super) async fn begin_removal(
        &self,
        connection: &ConnectionId,
        act: &Act,
    ) -> Result<ConnectionRecord, RegistryError> {
        for _ in 0..TRIES {
            let record = self.record(connection).await?;
            match is_there(&record) {
                Ok(()) => {}
                Err(unreadable @ RegistryError::Unreadable) => return Err(unreadable),
                Err(_begun) => {
                    self.take(&record);
                    return Ok(record);
                }
            }
            let next = self.standing(&record, Standing::Removing, act);
            if let Some(done) = self.replace(&record, next, ConnectionChange::Removing).await? {
                return Ok(done);
            }
        }
        Err(RegistryError::Contended)
    }

    /// Ends a removal: the record stays, as the connection's tombstone.
    pub(super) async fn end_removal(&self, record: &ConnectionRecord) -> Result<(), RegistryError> {
        let next = self.standing(record, Standing::Removed, &record.act);
        if self.replace(record, next, ConnectionChange::Removed).await?.is_some() {
            return Ok(());
        }
        // Another process may have done it.
        let now = self.record(&record.connection).await?;
        self.take(&now);
        match now.standing {
            Standing::Removed => Ok(()),
            _ => Err(RegistryError::Contended),
        }
    }

    /// Writes down whether this process tells the issuers of tokens of a connection that is removed, and of how many more none
    /// was told. That is no act: who began the removal, and when, stays. Gives the record as it stands.
    pub(super) async fn write_untold(
        &self,
        record: &ConnectionRecord,
        tells: bool,
        lost: u64,
    ) -> Result<ConnectionRecord, RegistryError> {
        let mut record = record.clone();
        for _ in 0..TRIES {
            let mut next = ConnectionRecord {
                revision: record.revision.saturating_add(1),
                ..record.clone()
            };
            let telling = &mut next.untold.telling;
            telling.retain(|process| *process != self.process);
            if tells && telling.len() < MOST_TELLING {
                telling.push(self.process);
            }
            next.untold.lost = next.untold.lost.saturating_add(lost);
            if record.standing != Standing::Removing || next.untold == record.untold {
                return Ok(record);
            }
            let written = self.in_time(self.store.replace(record.revision, &next)).await?;
            if let Some(number) = written {
                let next = ConnectionRecord { number, ..next };
                self.take(&next);
                return Ok(next);
            }
            record = self.record(&record.connection).await?;
        }
        Err(RegistryError::Contended)
    }

    fn placed(&self, new: &NewConnection, tenant: Tenant) -> ConnectionId {
        ConnectionId::new(
            self.deployment.clone(),
            tenant,
            new.carrier.clone(),
            new.environment,
            new.account.clone(),
        )
    }

    fn standing(&self, record: &ConnectionRecord, standing: Standing, act: &Act) -> ConnectionRecord {
        ConnectionRecord {
            standing,
            ..record.next(self.clock.now(), act)
        }
    }

    async fn replace(
        &self,
        record: &ConnectionRecord,
        next: ConnectionRecord,
        change: ConnectionChange,
    ) -> Result<Option<ConnectionRecord>, RegistryError> {
        let written = self.in_time(self.store.replace(record.revision, &next)).await?;
        Ok(written.map(|number| self.done(change, ConnectionRecord { number, ..next })))
    }

    fn done(&self, change: ConnectionChange, record: ConnectionRecord) -> ConnectionRecord {
        self.take(&record);
        self.asked.forget(&record.connection);
        self.note(change, &record);
        record
    }
}

fn is_there(record: &ConnectionRecord) -> Result<(), RegistryError> {
    match record.standing {
        Standing::Active | Standing::Suspended => Ok(()),
        Standing::Removing => Err(RegistryError::Removing),
        Standing::Removed => Err(RegistryError::Unknown),
        Standing::Unreadable => Err(RegistryError::Unreadable),
    }
}

/// Which holder of the id a connection at this place is added for, where its tenant has these records.
fn incarnation(known: &[ConnectionRecord], place: &ConnectionId) -> Result<Uuid, RegistryError> {
    if known.is_empty() {
        return Ok(Uuid::nil());
    }
    let mut present = known.iter().filter(|record| is_there(record).is_ok());
    let of_present = present.next().map(|record| record.connection.tenant().incarnation());
    let was_here = |incarnation: &Uuid| {
        let mut here = known.iter().filter(|record| record.is_at(place));
        here.any(|record| record.connection.tenant().incarnation() == *incarnation)
    };
    match of_present.filter(|incarnation| !was_here(incarnation)) {
        Some(incarnation) => Ok(incarnation),
        None => {
            let mut octets = [0; 16];
            crypto::random(&mut octets).map_err(|_failed| RegistryError::Randomness)?;
            Ok(uuid::Builder::from_random_bytes(octets).into_uuid())
        }
    }
}
