//! Refresh tokens in the database, sealed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::columns::{owner_key, owner_values};
use super::counters::next_number;
use super::database::Tx;
use super::error::{DatabaseError, SqlError};
use super::generation::Generation;
use super::grant_rows::{self, Kept, Next, Stage};
use super::ledger::{Dead, Ledger};
use super::lives::{self, Step};
use super::sealing::{Sealing, is_moved, still_active};
use super::{Value, again};
use crate::chore::Chore;
use crate::grants::{GrantError, GrantState, GrantStore, Record, Revision};
use crate::owner::{ConnectionId, Owner};
use crate::store::seal::{MAX_VALUE, SealContext, SealError, Sealer, Table};

/// How often something is read or sealed anew when others change it meanwhile.
const TRIES: usize = 8;

const READ: &str = "SELECT revision, stage, consent, life, until, second_chance, sealed, exposed FROM sb_grants \
    WHERE deployment = $1 AND owner = $2";

const INSERT: &str = "INSERT INTO sb_grants (deployment, owner, tenant, incarnation, carrier, environment, account, \
    revision, stage, consent, life, until, second_chance, sealed, changed_at, exposed) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";

const UPDATE: &str = "UPDATE sb_grants SET revision = $3, stage = $4, consent = $5, life = $6, until = $7, \
    second_chance = $8, sealed = $9, changed_at = $10, exposed = $11 WHERE deployment = $1 AND owner = $2";

const DELETE: &str = "DELETE FROM sb_grants WHERE deployment = $1 AND owner = $2";

/// A [`GrantStore`] in SQLite or PostgreSQL. A refresh token is sealed for its connection, its revision, its consent and how the
/// grant stands; a consent that was replaced, ended or removed is buried in the [`Ledger`], which counts them, so that a row of it
/// that somebody puts back counts as ended, also one that was deleted before. To put a consent adds a row to the ledger, two where
/// there was one before; its end adds one. The first change after a restored backup was accepted adds up to three more.
///
/// It serves the deployment of its [`Sealing`] and knows no connection of another. An older row of the *same* consent is not
/// known as such: its refresh token was used before, which issuers that rotate refuse.
///
/// Changes of this process take effect at once. For those of others run it as a [`Chore`] of the upkeep: it looks every five
/// seconds (settable) whether a consent has come or gone.
///
/// ```
/// use std::sync::Arc;
///
/// use shipbound::clock::SystemClock;
/// use shipbound::grants::Grants;
/// use shipbound::store::sql::{Ledger, Sealing, SqlGrantStore};
///
/// # fn store(sealing: Arc<Sealing>, ledger: &Ledger) {
/// let store = Arc::new(SqlGrantStore::new(sealing, ledger));
/// let grants = Grants::new(store, Arc::new(SystemClock::new()));
/// # }
/// ```
pub struct SqlGrantStore {
    sealing: Arc<Sealing>,
    ledger: Ledger,
    every: Duration,
    generation: Generation,
}

/// How a write in a transaction went.
enum Written {
    /// Done; whether a consent came or went by it.
    Done(bool),
    /// There is another record than the expected one, or none.
    Other,
    /// The data key or the consent was replaced meanwhile, or the row marked: seal it anew.
    Stale,
}

impl SqlGrantStore {
    /// Keeps grants in the database of `sealing`, where `ledger` is as well.
    pub fn new(sealing: Arc<Sealing>, ledger: &Ledger) -> Self {
        sealing.bind(ledger);
        Self {
            sealing,
            ledger: ledger.clone(),
            every: Duration::from_secs(5),
            generation: Generation::of("grants"),
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

    async fn read(&self, owner: &Owner) -> Result<Option<Kept>, SqlError> {
        let rows = self.sealing.database().rows(READ, &place(owner)).await?;
        rows.first().map(Kept::read).transpose()
    }

    /// The record of a row, or that it is of no use because it was changed while it was read.
    async fn record(&self, owner: &Owner, kept: &Kept) -> Result<Option<Record>, GrantError> {
        let Kept {
            revision,
            stage,
            sealed,
            ..
        } = kept;
        let record = |state| Record {
            revision: Revision::from_u64(*revision),
            consent: Revision::from_u64(stage.consent),
            state,
        };
        if stage.has_ended() {
            return Ok(Some(record(GrantState::Ended)));
        }
        let same = || async { Ok::<_, GrantError>(self.read(owner).await.map_err(of_sql)?.as_ref() == Some(kept)) };
        let is_now = lives::is_now(&self.ledger, stage.life, |number| Dead::consent(owner, number));
        if !is_now.await.map_err(of_sql)? || !lives::is_of_this_epoch(&self.ledger, stage.life) {
            // Put back, unless it was replaced since.
            return Ok(same().await?.then(|| record(GrantState::Ended)));
        }
        let (text, sealed) = (stage.text(), sealed.as_deref().ok_or(GrantError::Unavailable)?);
        match self.sealing.open(&context(owner, *revision, &text), sealed).await {
            Ok(octets) => {
                let state = grant_rows::read(&octets).and_then(|grant| stage.state(grant));
                state.map(record).map(Some).ok_or(GrantError::Unavailable)
            }
            Err(SealError::Refused) if !same().await? => Ok(None),
            Err(SealError::Randomness) => Err(GrantError::Randomness),
            Err(_) => Err(GrantError::Unavailable),
        }
    }

    async fn sealed(&self, owner: &Owner, record: &Record, life: u64) -> Result<Next, GrantError> {
        let stage = Stage::of(&record.state, record.consent.as_u64(), life);
        let revision = record.revision.as_u64();
        let octets = grant_rows::write(&record.state, MAX_VALUE).map_err(of_sql)?;
        let sealed = match octets {
            None => None,
            Some(octets) => {
                let text = stage.text();
                let sealed = self.sealing.seal(&context(owner, revision, &text), &octets).await;
                Some(sealed.map_err(of_seal)?)
            }
        };
        Ok(Next {
            revision,
            stage,
            sealed,
            exposed: false,
        })
    }

    /// Whether a thief may have read the refresh token of `record`: the one of the row before, which was marked or comes from under
    /// a data key that was replaced. `None`: the row was changed meanwhile.
    async fn stays_exposed(
        &self,
        owner: &Owner,
        before: &Kept,
        next: &Next,
        record: &Record,
    ) -> Result<Option<bool>, GrantError> {
        if next.sealed.is_none() || !(before.exposed || is_moved(before.sealed.as_deref(), next.sealed.as_deref())) {
            return Ok(Some(false));
        }
        Ok(match self.record(owner, before).await {
            Ok(Some(before)) => Some(grant_rows::token(&before.state) == grant_rows::token(&record.state)),
            Ok(None) => None,
            // Nobody can tell, and a new refresh token is not to be lost.
            Err(_) => Some(true),
        })
    }

    async fn follow(&self) -> Result<(), GrantError> {
        self.ledger.follow().await.map_err(|_| GrantError::Unavailable)
    }

    /// Where a record leads by which a consent begins or ends, as far as this process has followed the ledger.
    fn step(&self, owner: &Owner, record: &Record) -> Step {
        let dead = |number| Dead::consent(owner, number);
        match record.state {
            GrantState::Ended => Step::end(&self.ledger, dead),
            _ => Step::begin(&self.ledger, dead),
        }
    }

    /// Whether a row is of a consent that has not ended, as far as this process knows.
    fn lives(&self, owner: &Owner, stage: &Stage) -> bool {
        !stage.has_ended()
            && lives::is_now_here(&self.ledger, stage.life, |number| Dead::consent(owner, number))
            && lives::is_of_this_epoch(&self.ledger, stage.life)
    }

    async fn try_put(&self, owner: &Owner, step: Step, next: &Next) -> Result<Written, SqlError> {
        let mut tx = self.sealing.database().begin().await?;
        // Locks consents of the deployment against others that come and go, until the commit.
        next_number(&mut tx, owner.deployment(), self.generation.name()).await?;
        if !self.may_write(&mut tx, owner, Some(step), next).await? {
            tx.rollback().await;
            return Ok(Written::Stale);
        }
        match self.locked(&mut tx, owner).await? {
            None => {
                let mut values: Vec<Value> = owner_values(owner).into();
                values.extend(self.values(next));
                tx.run(INSERT, &values).await?;
            }
            Some(_) => self.update(&mut tx, owner, next).await?,
        }
        self.bury(&mut tx, owner, step).await?;
        tx.commit().await?;
        Ok(Written::Done(true))
    }

    async fn try_replace(
        &self,
        owner: &Owner,
        step: Option<Step>,
        before: &Kept,
        next: &Next,
    ) -> Result<Written, SqlError> {
        let mut tx = self.sealing.database().begin().await?;
        if step.is_some() {
            next_number(&mut tx, owner.deployment(), self.generation.name()).await?;
        }
        if !self.may_write(&mut tx, owner, step, next).await? {
            tx.rollback().await;
            return Ok(Written::Stale);
        }
        let now = self.locked(&mut tx, owner).await?;
        let Some(now) = now.filter(|now| now.revision == before.revision) else {
            tx.rollback().await;
            return Ok(Written::Other);
        };
        // Revisions return when a claim is released, so it may be another consent with the same.
        if now.stage.life != before.stage.life || now.exposed != before.exposed {
            tx.rollback().await;
            return Ok(Written::Stale);
        }
        self.update(&mut tx, owner, next).await?;
        if let Some(step) = step {
            self.bury(&mut tx, owner, step).await?;
        }
        tx.commit().await?;
        Ok(Written::Done(step.is_some()))
    }

    async fn try_remove(&self, owner: &Owner, step: Step) -> Result<Written, SqlError> {
        let mut tx = self.sealing.database().begin().await?;
        next_number(&mut tx, owner.deployment(), self.generation.name()).await?;
        if !self.is_due(&mut tx, owner, step).await? {
            tx.rollback().await;
            return Ok(Written::Stale);
        }
        if tx.run(DELETE, &place(owner)).await? == 0 && !step.leads_on() {
            tx.rollback().await;
            return Ok(Written::Other);
        }
        self.bury(&mut tx, owner, step).await?;
        tx.commit().await?;
        Ok(Written::Done(true))
    }

    /// The row, locked until the commit.
    async fn locked(&self, tx: &mut Tx, owner: &Owner) -> Result<Option<Kept>, SqlError> {
        const HOLD: &str = "UPDATE sb_grants SET revision = revision WHERE deployment = $1 AND owner = $2";
        tx.run(HOLD, &place(owner)).await?;
        let rows = tx.rows(READ, &place(owner)).await?;
        rows.first().map(Kept::read).transpose()
    }

    async fn may_write(&self, tx: &mut Tx, owner: &Owner, step: Option<Step>, next: &Next) -> Result<bool, SqlError> {
        let active = match &next.sealed {
            Some(sealed) => still_active(tx, owner.deployment(), sealed).await?,
            None => true,
        };
        match step {
            Some(step) if active => self.is_due(tx, owner, step).await,
            _ => Ok(active),
        }
    }

    async fn is_due(&self, tx: &mut Tx, owner: &Owner, step: Step) -> Result<bool, SqlError> {
        let dead = |number| Dead::consent(owner, number);
        step.is_due(&self.ledger, tx, dead).await
    }

    async fn update(&self, tx: &mut Tx, owner: &Owner, next: &Next) -> Result<(), SqlError> {
        let mut values: Vec<Value> = place(owner).into();
        values.extend(self.values(next));
        tx.run(UPDATE, &values).await?;
        Ok(())
    }

    async fn bury(&self, tx: &mut Tx, owner: &Owner, step: Step) -> Result<(), SqlError> {
        let dead = |number| Dead::consent(owner, number);
        step.bury(&self.ledger, tx, dead).await
    }

    fn values(&self, next: &Next) -> [Value; 9] {
        let stage = &next.stage;
        [
            next.revision.into(),
            stage.name.into(),
            stage.consent.into(),
            stage.life.into(),
            stage.until.into(),
            i64::from(stage.second_chance).into(),
            next.sealed.as_deref().into(),
            self.sealing.clock().now().unix_micros().into(),
            i64::from(next.exposed).into(),
        ]
    }

    /// After a write by which a consent came or went.
    async fn settle(&self) -> Result<(), GrantError> {
        self.generation.grow();
        self.anchored().await
    }

    async fn anchored(&self) -> Result<(), GrantError> {
        self.ledger.settle().await.map_err(|_| GrantError::Unavailable)
    }

    /// After a write by which nothing came or went. Perhaps the end is a repeat, after one that could not raise the anchor.
    async fn replaced(&self, record: &Record, done: bool) -> Result<bool, GrantError> {
        if let GrantState::Ended = record.state {
            self.anchored().await?;
        }
        Ok(done)
    }

    fn failed(&self, error: SqlError) -> GrantError {
        // Done or not: what was learnt before is looked at again.
        self.generation.grow();
        of_sql(error)
    }

    fn owner(&self, connection: &ConnectionId) -> Option<Owner> {
        (connection.deployment() == self.sealing.deployment()).then(|| Owner::Connection(connection.clone()))
    }
}

#[async_trait]
impl GrantStore for SqlGrantStore {
    async fn load(&self, connection: &ConnectionId) -> Result<Option<Record>, GrantError> {
        let Some(owner) = self.owner(connection) else {
            return Ok(None);
        };
        for _ in 0..TRIES {
            let Some(kept) = self.read(&owner).await.map_err(of_sql)? else {
                return Ok(None);
            };
            if let Some(record) = self.record(&owner, &kept).await? {
                return Ok(Some(record));
            }
        }
        Err(GrantError::Unavailable)
    }

    async fn put(&self, connection: &ConnectionId, record: &Record) -> Result<(), GrantError> {
        let owner = self.owner(connection).ok_or(GrantError::Unavailable)?;
        for _ in 0..TRIES {
            self.follow().await?;
            let step = self.step(&owner, record);
            let next = self.sealed(&owner, record, step.to()).await?;
            match again(|| self.try_put(&owner, step, &next)).await {
                Ok(Written::Done(_)) => return self.settle().await,
                // Another's first record of this connection.
                Ok(_) | Err(SqlError::Conflict) => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Err(GrantError::Unavailable)
    }

    async fn replace(
        &self,
        connection: &ConnectionId,
        expected: Revision,
        record: &Record,
    ) -> Result<bool, GrantError> {
        let Some(owner) = self.owner(connection) else {
            return Ok(false);
        };
        for _ in 0..TRIES {
            let before = self.read(&owner).await.map_err(of_sql)?;
            let Some(before) = before.filter(|before| before.revision == expected.as_u64()) else {
                return self.replaced(record, false).await;
            };
            // What others have ended, before this row was read or since.
            self.follow().await?;
            let lives = !matches!(record.state, GrantState::Ended);
            let has_lived = self.lives(&owner, &before.stage);
            if lives && !has_lived && !before.stage.has_ended() {
                // Its consent was withdrawn: the row is there again because somebody put it back.
                return Ok(false);
            }
            let step = (lives != has_lived).then(|| self.step(&owner, record));
            let life = step.map_or(before.stage.life, Step::to);
            let mut next = self.sealed(&owner, record, life).await?;
            let Some(exposed) = self.stays_exposed(&owner, &before, &next, record).await? else {
                continue;
            };
            next.exposed = exposed;
            match again(|| self.try_replace(&owner, step, &before, &next)).await {
                Ok(Written::Done(true)) => return self.settle().await.map(|()| true),
                Ok(Written::Done(false)) => return self.replaced(record, true).await,
                Ok(Written::Other) => return self.replaced(record, false).await,
                Ok(Written::Stale) => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Err(GrantError::Unavailable)
    }

    async fn remove(&self, connection: &ConnectionId) -> Result<bool, GrantError> {
        let Some(owner) = self.owner(connection) else {
            return Ok(false);
        };
        for _ in 0..TRIES {
            self.follow().await?;
            let step = Step::end(&self.ledger, |number| Dead::consent(&owner, number));
            match again(|| self.try_remove(&owner, step)).await {
                // Perhaps it is a repeat, after one that could not raise the anchor.
                Ok(Written::Other) => return self.anchored().await.map(|()| false),
                Ok(Written::Done(_)) => return self.settle().await.map(|()| true),
                Ok(Written::Stale) => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Err(GrantError::Unavailable)
    }

    fn generation(&self) -> u64 {
        self.generation.get()
    }
}

#[async_trait]
impl Chore for SqlGrantStore {
    fn every(&self) -> Duration {
        self.every
    }

    async fn round(&self, _goes_on: &(dyn Fn() -> bool + Send + Sync)) {
        // A database that does not answer shows by the next grant that is claimed.
        let _looked = self.sync().await;
    }
}

fn place(owner: &Owner) -> [Value; 2] {
    [owner.deployment().as_str().into(), owner_key(owner).into()]
}

fn context<'a>(owner: &'a Owner, revision: u64, stage: &'a str) -> SealContext<'a> {
    let mut context = SealContext::new(owner, Table::Grants, revision);
    context.stage = Some(stage);
    context
}

fn of_sql(_error: SqlError) -> GrantError {
    GrantError::Unavailable
}

fn of_seal(error: SealError) -> GrantError {
    match error {
        SealError::Randomness => GrantError::Randomness,
        _ => GrantError::Unavailable,
    }
}

impl fmt::Debug for SqlGrantStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlGrantStore")
            .field("sealing", &self.sealing)
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}
