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

mod anchoring;
mod chain;
mod renew;
mod restore;
mod setup;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

pub(crate) use self::chain::{Dead, Digested};
use self::chain::{Followed, Place, Secret};
pub use self::restore::Restored;
pub use self::setup::LedgerSetup;
use super::database::Tx;
use super::error::{DatabaseError, SqlError};
use crate::chore::Chore;
use crate::journal::{EventKind, Journal};
use crate::owner::DeploymentId;
use crate::store::anchor::{AnchorError, Anchored};
use crate::store::seal::SealError;

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

impl LedgerError {
    /// An anchor at the same place of another chain says what the chain itself cannot.
    pub(super) fn of_anchor(error: AnchorError) -> Self {
        match error {
            AnchorError::Forked => Self::RolledBack(Rollback::Forked),
            other => Self::Anchor(other),
        }
    }

    /// What a store makes of it that has written nothing.
    pub(crate) fn into_sql(self) -> SqlError {
        match self {
            Self::RolledBack(_) => SqlError::RolledBack,
            _ => SqlError::Unavailable,
        }
    }
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

/// The chain of ended things of one deployment, followed by this process. Cheap to clone.
///
/// Keeps 16 octets in memory for everything that has ended, so that what this process has once seen end stays so whatever is
/// deleted from the database: some 10 MB for 400 000.
///
/// Once it finds the chain rolled back it refuses everything, until it is opened again.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

/// A ledger for what the ledger itself has: it goes with the last store that follows it.
#[derive(Default)]
pub(super) struct WeakLedger(Weak<Inner>);

impl WeakLedger {
    pub(super) fn get(&self) -> Option<Ledger> {
        self.0.upgrade().map(Ledger)
    }
}

struct Inner {
    setup: LedgerSetup,
    known: RwLock<Arc<Known>>,
    followed: RwLock<Followed>,
    /// Whether this process is the one that accepts a restored backup.
    restoring: bool,
    /// One follows at a time.
    turn: tokio::sync::Mutex<()>,
    /// Up to which row this process knows the anchor to be raised.
    anchored: AtomicU64,
    /// What was found once holds for good.
    rolled_back: OnceLock<Rollback>,
}

/// What authenticates the rows, and as which sealed value it stands in the database.
struct Known {
    sealed: String,
    secret: Secret,
}

impl Ledger {
    /// The deployment whose chain it is.
    pub fn deployment(&self) -> &DeploymentId {
        &self.0.setup.deployment
    }

    pub(super) fn downgrade(&self) -> WeakLedger {
        WeakLedger(Arc::downgrade(&self.0))
    }

    /// How far this process has followed the chain.
    pub fn at(&self) -> Anchored {
        self.followed().place.at
    }

    /// The epochs that restored backups have begun, in order: none, usually.
    pub(super) fn epochs(&self) -> Vec<u64> {
        self.followed().epochs.clone()
    }

    /// The epoch of now, if a restored backup has begun it.
    pub(crate) fn restored_epoch(&self) -> Option<u64> {
        self.followed().epochs.last().copied()
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
        let place = self.followed().place;
        let at = place.at;
        if at.rows == head.rows && at.mac[..] == head.mac && head.last == head.rows {
            // Sealed anew it is opened here: a transaction that buries holds a connection, and opening may need another one.
            let _whoever_buries_is_told = self.known(&head).await;
            return Ok(());
        }
        if at.rows == head.rows {
            return Err(self.found(Rollback::Forked));
        }
        let known = self.known(&head).await?;
        // Only what is new is kept apart until it has been checked.
        let mut new = Followed::from(place);
        let advanced = self.0.setup.advance(&known.secret, &mut new, &head, |_| ()).await;
        if let Err(LedgerError::RolledBack(why)) = advanced {
            return Err(self.found(why));
        }
        advanced?;
        // A backup is accepted while nobody has the chain open.
        if new.place.at.epoch != at.epoch && !self.0.restoring {
            return Err(self.found(Rollback::Forked));
        }
        self.0
            .followed
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .go_on(new);
        Ok(())
    }

    /// What authenticates the rows up to this head: opened anew where it was sealed anew.
    async fn known(&self, head: &setup::Head) -> Result<Arc<Known>, LedgerError> {
        let before = self.known_now();
        if before.sealed == head.secret {
            return Ok(before);
        }
        let known = Arc::new(self.0.setup.secret(head).await?);
        // Another one may have read a newer head meanwhile.
        let before = self.known_now();
        if before.secret.octets().starts_with(known.secret.octets()) {
            return Ok(known);
        }
        // Secrets are only added.
        if !known.secret.octets().starts_with(before.secret.octets()) {
            return Err(self.found(Rollback::Changed));
        }
        *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&known);
        Ok(known)
    }

    fn known_now(&self) -> Arc<Known> {
        Arc::clone(&self.0.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends `dead` in the transaction of the caller, who calls [`settle`](Self::settle) after its commit and before it answers.
    /// Holds a lock on the end of the chain until then: do it last, and within [`again`](super::again).
    pub(crate) async fn bury(&self, tx: &mut Tx, dead: &Dead) -> Result<(), SqlError> {
        const NEXT: &str =
            "UPDATE sb_ledger_heads SET n = n + 1 WHERE deployment = $1 RETURNING n - 1, mac, secret, n - 1";
        self.in_force()?;
        let rows = tx.rows(NEXT, &[self.deployment().as_str().into()]).await?;
        let head = setup::Head::of(rows.first().ok_or(SqlError::RolledBack)?)?;
        let known = self.known_now();
        if known.sealed != head.secret {
            // Opening it may take a connection, and all that there are may be in transactions that wait for one more.
            tx.abandon().await;
            self.known(&head).await.map_err(LedgerError::into_sql)?;
            return Err(SqlError::Contended);
        }
        self.append(tx, &head, &known, dead).await
    }

    /// Writes the row after `head`, whose number has been taken.
    async fn append(&self, tx: &mut Tx, head: &setup::Head, known: &Known, dead: &Dead) -> Result<(), SqlError> {
        let deployment = self.deployment().as_str();
        let place = self.followed().place;
        let mac = head.mac[..].try_into().map_err(|_other| SqlError::Malformed)?;
        if head.rows < place.at.rows || (head.rows == place.at.rows && place.at.mac != mac) {
            return Err(SqlError::RolledBack);
        }
        // An epoch is told from all before it, by whoever has followed them.
        if dead.kind == chain::EPOCH && head.rows != place.at.rows {
            return Err(SqlError::Contended);
        }
        // Rows of others since are checked when this process follows, before anybody is answered.
        let at = Anchored {
            epoch: place.at.epoch,
            rows: head.rows,
            mac,
        };
        let before = Place {
            at,
            secret: known
                .secret
                .last()
                .saturating_sub(usize::from(dead.kind == chain::SECRET)),
        };
        let next = known.secret.after(&before, dead.kind, &dead.digest);
        let next = next.ok_or(SqlError::Malformed)?.at;
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
        self.anchor().await
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

    /// Whether it has been buried by whoever has committed before `tx` took its locks.
    pub(crate) async fn is_buried(&self, tx: &mut Tx, dead: &Dead) -> Result<bool, SqlError> {
        const BURIED: &str = "SELECT n FROM sb_ledger WHERE deployment = $1 AND kind = $2 AND digest = $3 LIMIT 1";
        let values = [
            self.deployment().as_str().into(),
            dead.kind.into(),
            dead.digest.as_str().into(),
        ];
        Ok(self.has_seen_end(dead) || !tx.rows(BURIED, &values).await?.is_empty())
    }

    /// Whether this process has seen it end.
    pub(crate) fn has_seen_end(&self, dead: &Dead) -> bool {
        self.followed().dead.contains(&dead.mark())
    }

    /// What this process has seen end, for many looks under one lock.
    pub(crate) fn seen(&self) -> Seen<'_> {
        Seen(self.followed())
    }

    /// Tells that the record with this number cannot be read so far that it is known whose it is.
    pub(crate) fn unreadable(&self, number: u64) {
        self.0
            .setup
            .journal
            .record_at_large(EventKind::ConnectionUnreadable { number });
    }

    /// Compares the head, which a store has read together with its rows, with what this process has seen.
    pub(crate) async fn look(&self, rows: u64, mac: &[u8]) -> Result<(), SqlError> {
        self.in_force()?;
        let at = self.at();
        if rows == at.rows && mac == at.mac {
            return Ok(());
        }
        // Ahead, or rolled back, or read before this process went on: the database says which.
        match self.follow().await {
            Ok(()) if rows <= self.at().rows => Ok(()),
            Ok(()) => Err(self.gone()),
            Err(LedgerError::RolledBack(_)) => Err(SqlError::RolledBack),
            Err(_) => Err(SqlError::Unavailable),
        }
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.0.setup.journal
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

/// What a process has seen end. Nothing is followed while it is held.
pub(crate) struct Seen<'a>(RwLockReadGuard<'a, Followed>);

impl Seen<'_> {
    pub(crate) fn has(&self, digest: &Digested) -> bool {
        self.0.dead.contains(&digest.mark())
    }
}

/// Follows every five seconds, so that a rollback is found where nothing is asked for, too, and helps with the anchor.
#[async_trait]
impl Chore for Ledger {
    fn every(&self) -> Duration {
        Duration::from_secs(5)
    }

    async fn round(&self, _goes_on: &(dyn Fn() -> bool + Send + Sync)) {
        // A rollback is told where it is found; a database that does not answer is asked again.
        if self.follow().await.is_ok() {
            let _checked = self.check_anchor().await;
        }
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
