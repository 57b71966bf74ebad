//! What has ended stays ended.
//!
//! Whoever can write to the database, or restores a backup of it, could put an old row back: a compromised key, a credential
//! that was replaced, a connection before it was suspended. So every end is written into a chain. Row *n* has
//! `HMAC(k, mac of row n-1 ‖ n ‖ kind ‖ digest)` with a secret *k* that stands sealed in the database, so that no row can be left
//! out, changed, put elsewhere or added by anybody else. What is missing at its end shows by the [anchor](crate::store::anchor),
//! which says outside of the database how far the chain has come.
//!
//! A row is written in the transaction of what it ends. The anchor is raised after that, and only then is it answered for. A crash
//! between the two leaves a whole chain that is ahead of its anchor: it is taken, and the anchor raised.

mod chain;
mod restore;

use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;
use zeroize::Zeroizing;

pub(crate) use self::chain::Dead;
use self::chain::{Followed, Secret};
pub use self::restore::Restored;
use super::database::{Database, Tx};
use super::error::{DatabaseError, SqlError};
use super::value::Row;
use crate::chore::Chore;
use crate::crypto;
use crate::journal::{EventKind, Journal};
use crate::owner::{DeploymentId, Owner};
use crate::store::anchor::{AnchorError, Anchored, EpochAnchor};
use crate::store::seal::{SealContext, SealError, Sealer, Table};

/// How many rows are read at a time.
const PAGE: i64 = 5_000;

/// Why a ledger cannot be opened or followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The database shows another state than it has shown before. Nothing that depends on it is given out.
    ///
    /// User action: if somebody restored a backup, accept it ([`LedgerSetup::accept_restore`]); else treat it as an attack on the
    /// database.
    #[error("the database's state was rolled back: {0}")]
    RolledBack(Rollback),
    /// The chain has rows, and there is no anchor that says how far it had come.
    ///
    /// User action: find the anchor (is the path right, the volume mounted?). If it is lost, make sure that the database is the
    /// newest there is, and take its state as it is ([`LedgerSetup::adopt`]).
    #[error("the anchor is missing")]
    AnchorMissing,
    /// The anchor cannot be read or raised. User action: as [`AnchorError`] says.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The secret of the chain cannot be sealed or opened. User action: as [`SealError`] says.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The database. User action: as [`DatabaseError`] says.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The system gave no randomness. User action: none in this process; look at the system.
    #[error("the system gave no randomness")]
    Randomness,
}

impl From<SqlError> for LedgerError {
    fn from(error: SqlError) -> Self {
        Self::Database(error.into())
    }
}

/// In which way the state is not the one that was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Rollback {
    /// The chain ends before the place that it had come to: a backup, or rows that were deleted at its end.
    #[error("it is an older one")]
    Behind,
    /// The chain was as long before, with other rows: a backup that was written to.
    #[error("it went on another way")]
    Forked,
    /// A row is missing in the middle, was changed, or belongs to no chain of this deployment. That cannot be accepted: restore a
    /// backup that is whole, and accept that.
    #[error("a row was changed")]
    Changed,
}

impl Rollback {
    const fn code(self) -> &'static str {
        match self {
            Self::Behind => "behind",
            Self::Forked => "forked",
            Self::Changed => "changed",
        }
    }
}

/// What a [`Ledger`] is opened with.
#[derive(Clone, Debug)]
pub struct LedgerSetup {
    database: Database,
    deployment: DeploymentId,
    sealer: Arc<dyn Sealer>,
    anchor: Arc<dyn EpochAnchor>,
    journal: Journal,
}

impl LedgerSetup {
    /// The chain of `deployment` in `database`, its secret sealed by `sealer`, its anchor in `anchor`. A rollback is told to
    /// `journal`.
    pub fn new(
        database: &Database,
        deployment: &DeploymentId,
        sealer: Arc<dyn Sealer>,
        anchor: Arc<dyn EpochAnchor>,
        journal: &Journal,
    ) -> Self {
        Self {
            database: database.clone(),
            deployment: deployment.clone(),
            sealer,
            anchor,
            journal: journal.clone(),
        }
    }

    /// With this sealer in the place of the other one.
    #[must_use]
    pub fn with_sealer(mut self, sealer: Arc<dyn Sealer>) -> Self {
        self.sealer = sealer;
        self
    }

    /// With this anchor in the place of the other one.
    #[must_use]
    pub fn with_anchor(mut self, anchor: Arc<dyn EpochAnchor>) -> Self {
        self.anchor = anchor;
        self
    }

    /// Reads the whole chain, checks every row and compares it with the anchor. The first process of a deployment begins the
    /// chain.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn open(&self) -> Result<Ledger, LedgerError> {
        self.database.require_schema().await?;
        // The anchor first: it never is ahead of a chain that is read after it.
        let anchor = self.anchor.read().await?;
        let opened = self.opened(anchor).await;
        if let Err(LedgerError::RolledBack(why)) = opened {
            self.tell(why);
        }
        opened
    }

    async fn opened(&self, anchor: Option<Anchored>) -> Result<Ledger, LedgerError> {
        let head = match (self.head().await?, anchor) {
            (Some(head), _) => head,
            (None, None) => self.begin().await?,
            (None, Some(_)) => return Err(LedgerError::RolledBack(Rollback::Behind)),
        };
        let anchor = match anchor {
            // Another process may have begun the chain and its anchor since.
            None if head.rows > 0 => Some(self.anchor.read().await?.ok_or(LedgerError::AnchorMissing)?),
            other => other,
        };
        let secret = self.secret(&head).await?;
        let (followed, at_anchor) = self.read(&secret, anchor.map(|anchor| anchor.rows)).await?;
        if let Some(anchor) = anchor {
            compare(&followed.at, &anchor, at_anchor).map_err(LedgerError::RolledBack)?;
        }
        self.anchor.raise(&followed.at).await?;
        Ok(self.ledger(secret, followed))
    }

    fn ledger(&self, secret: Secret, followed: Followed) -> Ledger {
        Ledger(Arc::new(Inner {
            setup: self.clone(),
            secret,
            followed: RwLock::new(followed),
            turn: tokio::sync::Mutex::new(()),
            rolled_back: OnceLock::new(),
        }))
    }

    /// Reads the chain from its beginning to its head; the second is the MAC of the row with this number.
    async fn read(&self, secret: &Secret, watched: Option<u64>) -> Result<(Followed, Option<[u8; 32]>), LedgerError> {
        let beginning = secret.beginning(&self.deployment);
        let mut seen = (watched == Some(0)).then_some(beginning.mac);
        let mut followed = Followed::from(beginning);
        let head = self.head().await?.ok_or(LedgerError::RolledBack(Rollback::Changed))?;
        let passed = |at: &Anchored| {
            if watched == Some(at.rows) {
                seen = Some(at.mac);
            }
        };
        self.advance(secret, &mut followed, &head, passed).await?;
        Ok((followed, seen))
    }

    /// Takes rows up to the head that was read, all of which must fit.
    async fn advance(
        &self,
        secret: &Secret,
        followed: &mut Followed,
        head: &Head,
        mut passed: impl FnMut(&Anchored),
    ) -> Result<(), LedgerError> {
        const ROWS: &str = "SELECT n, kind, digest, mac FROM sb_ledger \
                            WHERE deployment = $1 AND n > $2 AND n <= $3 ORDER BY n LIMIT $4";
        let changed = LedgerError::RolledBack(Rollback::Changed);
        if head.rows < followed.at.rows {
            return Err(LedgerError::RolledBack(Rollback::Behind));
        }
        while followed.at.rows < head.rows {
            let page = [
                self.deployment.as_str().into(),
                followed.at.rows.into(),
                head.rows.into(),
                PAGE.into(),
            ];
            let rows = self.database.rows(ROWS, &page).await?;
            if rows.is_empty() {
                return Err(changed);
            }
            for row in &rows {
                if !followed.take(secret, row).unwrap_or(false) {
                    return Err(changed);
                }
                passed(&followed.at);
            }
        }
        if !crypto::constant_time_eq(&followed.at.mac, &head.mac) || head.last != head.rows {
            return Err(changed);
        }
        Ok(())
    }

    async fn head(&self) -> Result<Option<Head>, SqlError> {
        const HEAD: &str = "SELECT n, mac, secret, \
                            (SELECT COALESCE(MAX(l.n), 0) FROM sb_ledger l WHERE l.deployment = h.deployment) \
                            FROM sb_ledger_heads h WHERE deployment = $1";
        let rows = self.database.rows(HEAD, &[self.deployment.as_str().into()]).await?;
        rows.first().map(Head::of).transpose()
    }

    /// Begins the chain, or finds that another process has.
    async fn begin(&self) -> Result<Head, LedgerError> {
        let mut octets = Zeroizing::new(vec![0; 32]);
        crypto::random(&mut octets).map_err(|_failed| LedgerError::Randomness)?;
        let owner = Owner::Deployment(self.deployment.clone());
        let sealed = self.sealer.seal(&context(&owner), &octets).await?;
        let secret = Secret::new(octets).ok_or(LedgerError::Randomness)?;
        let values = [
            self.deployment.as_str().into(),
            (&secret.beginning(&self.deployment).mac[..]).into(),
            sealed.into(),
        ];
        let insert = "INSERT INTO sb_ledger_heads (deployment, n, mac, secret) VALUES ($1, 0, $2, $3) \
                      ON CONFLICT (deployment) DO NOTHING";
        self.database.run(insert, &values).await?;
        Ok(self.head().await?.ok_or(DatabaseError::Unknown)?)
    }

    async fn secret(&self, head: &Head) -> Result<Secret, LedgerError> {
        let owner = Owner::Deployment(self.deployment.clone());
        let octets = self.sealer.open(&context(&owner), &head.secret).await?;
        Secret::new(octets).ok_or(LedgerError::Seal(SealError::Refused))
    }

    fn tell(&self, why: Rollback) {
        self.journal.record_at_large(EventKind::StateRolledBack {
            deployment: self.deployment.clone(),
            code: why.code(),
        });
    }
}

fn context(owner: &Owner) -> SealContext<'_> {
    SealContext::new(owner, Table::Ledger, 0)
}

/// Whether the chain has come as far as its anchor, on the same way.
fn compare(at: &Anchored, anchor: &Anchored, at_anchor: Option<[u8; 32]>) -> Result<(), Rollback> {
    if at.epoch < anchor.epoch || (at.epoch == anchor.epoch && at.rows < anchor.rows) {
        return Err(Rollback::Behind);
    }
    // A later epoch began with a restored backup, which need not contain the anchor's row.
    if at.epoch == anchor.epoch && at_anchor != Some(anchor.mac) {
        return Err(Rollback::Forked);
    }
    Ok(())
}

/// What the database says of the end of the chain.
pub(crate) struct Head {
    rows: u64,
    mac: Vec<u8>,
    secret: String,
    /// The number of the last row.
    last: u64,
}

impl Head {
    fn of(row: &Row) -> Result<Self, SqlError> {
        Ok(Self {
            rows: row.u64(0)?,
            mac: row.bytes(1)?.to_vec(),
            secret: row.text(2)?.to_owned(),
            last: row.u64(3)?,
        })
    }
}

/// The chain of ended things of one deployment, followed by this process. Cheap to clone.
///
/// Keeps 16 octets in memory for everything that has ended, so that what this process has once seen end stays so whatever is
/// deleted from the database: some 10 MB for 400 000.
///
/// Once it finds the chain rolled back it refuses everything, until it is opened again.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    setup: LedgerSetup,
    secret: Secret,
    followed: RwLock<Followed>,
    /// One follows at a time.
    turn: tokio::sync::Mutex<()>,
    /// What was found once holds for good.
    rolled_back: OnceLock<Rollback>,
}

impl Ledger {
    /// The deployment whose chain it is.
    pub fn deployment(&self) -> &DeploymentId {
        &self.0.setup.deployment
    }

    /// How far this process has followed the chain.
    pub fn at(&self) -> Anchored {
        self.followed().at
    }

    /// Learns what other processes have ended since the last look.
    ///
    /// # Errors
    /// [`LedgerError::RolledBack`], from then on always; [`LedgerError::Database`].
    pub async fn follow(&self) -> Result<(), LedgerError> {
        let _turn = self.0.turn.lock().await;
        if let Some(why) = self.0.rolled_back.get() {
            return Err(LedgerError::RolledBack(*why));
        }
        let Some(head) = self.0.setup.head().await? else {
            return Err(self.found(Rollback::Behind));
        };
        let at = self.followed().at;
        if at.rows == head.rows && at.mac[..] == head.mac && head.last == head.rows {
            return Ok(());
        }
        if at.rows == head.rows {
            return Err(self.found(Rollback::Forked));
        }
        // Only what is new is kept apart until it has been checked.
        let mut new = Followed::from(at);
        let advanced = self.0.setup.advance(&self.0.secret, &mut new, &head, |_| ()).await;
        if let Err(LedgerError::RolledBack(why)) = advanced {
            return Err(self.found(why));
        }
        advanced?;
        let mut followed = self.0.followed.write().unwrap_or_else(PoisonError::into_inner);
        followed.at = new.at;
        followed.dead.extend(new.dead);
        Ok(())
    }

    /// Ends `dead` in the transaction of the caller, who calls [`settle`](Self::settle) after its commit and before it answers.
    /// Holds a lock on the end of the chain until then: do it last.
    pub(crate) async fn bury(&self, tx: &mut Tx, dead: &Dead) -> Result<(), SqlError> {
        const NEXT: &str = "UPDATE sb_ledger_heads SET n = n + 1 WHERE deployment = $1 RETURNING n - 1, mac";
        self.in_force()?;
        let deployment = self.deployment().as_str();
        let rows = tx.rows(NEXT, &[deployment.into()]).await?;
        let head = rows.first().ok_or(SqlError::RolledBack)?;
        let mut before = Anchored {
            epoch: 0,
            rows: head.u64(0)?,
            mac: head.bytes(1)?.try_into().map_err(|_other| SqlError::Malformed)?,
        };
        let at = self.followed().at;
        if before.rows < at.rows || (before.rows == at.rows && before.mac != at.mac) {
            return Err(SqlError::RolledBack);
        }
        // Rows of others since are checked when this process follows, before anybody is answered.
        before.epoch = at.epoch;
        let next = self.0.secret.after(&before, dead.kind, &dead.digest);
        let next = next.ok_or(SqlError::Malformed)?;
        let values = [
            deployment.into(),
            next.rows.into(),
            dead.kind.into(),
            dead.digest.as_str().into(),
            (&next.mac[..]).into(),
        ];
        let insert = "INSERT INTO sb_ledger (deployment, n, kind, digest, mac) VALUES ($1, $2, $3, $4, $5)";
        // There are no rows after the head, unless somebody has written one.
        let inserted = tx.run(insert, &values).await;
        inserted.map_err(|error| {
            if error == SqlError::Conflict {
                SqlError::RolledBack
            } else {
                error
            }
        })?;
        let head = [deployment.into(), (&next.mac[..]).into()];
        tx.run("UPDATE sb_ledger_heads SET mac = $2 WHERE deployment = $1", &head)
            .await?;
        Ok(())
    }

    /// After the commit of a transaction that has buried something: follows it and raises the anchor. An error says that what
    /// was buried is in the database, and that the anchor may not know of it yet.
    pub(crate) async fn settle(&self) -> Result<(), LedgerError> {
        self.follow().await?;
        let at = self.followed().at;
        Ok(self.0.setup.anchor.raise(&at).await?)
    }

    /// Whether it has ended: what this process has seen, and what the database says by now.
    pub(crate) async fn is_dead(&self, dead: &Dead) -> Result<bool, SqlError> {
        const ENDED: &str = "SELECT h.n, h.mac, CASE WHEN EXISTS (SELECT 1 FROM sb_ledger l \
                             WHERE l.deployment = h.deployment AND l.kind = $2 AND l.digest = $3) THEN 1 ELSE 0 END \
                             FROM sb_ledger_heads h WHERE h.deployment = $1";
        let deployment = self.deployment().as_str();
        let values = [deployment.into(), dead.kind.into(), dead.digest.as_str().into()];
        let rows = self.0.setup.database.rows(ENDED, &values).await?;
        let row = rows.first().ok_or_else(|| self.gone())?;
        self.look(row.u64(0)?, row.bytes(1)?).await?;
        Ok(row.int(2)? != 0 || self.has_seen_end(dead))
    }

    /// Whether this process has seen it end.
    pub(crate) fn has_seen_end(&self, dead: &Dead) -> bool {
        self.followed().dead.contains(&dead.mark())
    }

    /// Compares the head, which a store has read together with its rows, with what this process has seen.
    pub(crate) async fn look(&self, rows: u64, mac: &[u8]) -> Result<(), SqlError> {
        self.in_force()?;
        let at = self.followed().at;
        if rows == at.rows && mac == at.mac {
            return Ok(());
        }
        // Ahead, or rolled back, or read before this process went on: the database says which.
        match self.follow().await {
            Ok(()) if rows <= self.followed().at.rows => Ok(()),
            Ok(()) => Err(self.gone()),
            Err(LedgerError::RolledBack(_)) => Err(SqlError::RolledBack),
            Err(_) => Err(SqlError::Unavailable),
        }
    }

    /// A row was put back whose end stands in the chain: told to the journal. The chain itself is whole, so others go on.
    pub(crate) fn put_back(&self) -> SqlError {
        self.0.setup.journal.record_at_large(EventKind::StateRolledBack {
            deployment: self.deployment().clone(),
            code: "row put back",
        });
        SqlError::RolledBack
    }

    /// The head is not there.
    pub(crate) fn gone(&self) -> SqlError {
        self.found(Rollback::Behind);
        SqlError::RolledBack
    }

    fn followed(&self) -> RwLockReadGuard<'_, Followed> {
        self.0.followed.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_force(&self) -> Result<(), SqlError> {
        match self.0.rolled_back.get() {
            Some(_) => Err(SqlError::RolledBack),
            None => Ok(()),
        }
    }

    fn found(&self, why: Rollback) -> LedgerError {
        if self.0.rolled_back.set(why).is_ok() {
            self.0.setup.tell(why);
        }
        LedgerError::RolledBack(why)
    }
}

/// Follows every five seconds, so that a rollback is found where nothing is asked for, too.
#[async_trait]
impl Chore for Ledger {
    fn every(&self) -> Duration {
        Duration::from_secs(5)
    }

    async fn round(&self, _goes_on: &(dyn Fn() -> bool + Send + Sync)) {
        // A rollback is told where it is found; a database that does not answer is asked again.
        let _followed = self.follow().await;
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("deployment", self.deployment())
            .field("at", &self.at())
            .finish_non_exhaustive()
    }
}
