//! How a ledger is opened: the whole chain is read, and compared with its anchor.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, RwLock};

use zeroize::Zeroizing;

use super::super::database::{Database, again};
use super::super::error::{DatabaseError, SqlError};
use super::super::sealing::still_active;
use super::super::value::Row;
use super::chain::{Followed, Secret};
use super::{Inner, Known, Ledger, LedgerError, Rollback};
use crate::crypto;
use crate::journal::{EventKind, Journal};
use crate::owner::{DeploymentId, Owner};
use crate::store::anchor::{Anchored, EpochAnchor};
use crate::store::seal::{SealContext, SealError, Sealer, Table};

/// How many rows are read at a time.
const PAGE: i64 = 5_000;

/// What a [`Ledger`] is opened with.
#[derive(Clone, Debug)]
pub struct LedgerSetup {
    pub(super) database: Database,
    pub(super) deployment: DeploymentId,
    pub(super) sealer: Arc<dyn Sealer>,
    pub(super) anchor: Arc<dyn EpochAnchor>,
    pub(super) journal: Journal,
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
        let mut head = match (self.head().await?, anchor) {
            (Some(head), _) => head,
            (None, None) => self.begin().await?,
            (None, Some(_)) => return Err(LedgerError::RolledBack(Rollback::Behind)),
        };
        let anchor = match anchor {
            // Another process may have begun the chain and its anchor since.
            None if head.rows > 0 => {
                let anchor = self.anchor.read().await?.ok_or(LedgerError::AnchorMissing)?;
                head = self.head().await?.ok_or(LedgerError::RolledBack(Rollback::Behind))?;
                Some(anchor)
            }
            other => other,
        };
        let known = self.secret(&head).await?;
        let (followed, at_anchor) = self.read(&known, &head, anchor.map(|anchor| anchor.rows)).await?;
        let at = followed.place.at;
        if let Some(anchor) = anchor {
            compare(&at, &anchor, at_anchor).map_err(LedgerError::RolledBack)?;
        }
        self.anchor.raise(&at).await.map_err(LedgerError::of_anchor)?;
        let ledger = self.ledger(known, followed, false);
        ledger.0.anchored.store(at.rows, Ordering::SeqCst);
        Ok(ledger)
    }

    pub(super) fn ledger(&self, known: Known, followed: Followed, restoring: bool) -> Ledger {
        Ledger(Arc::new(Inner {
            setup: self.clone(),
            known: RwLock::new(Arc::new(known)),
            followed: RwLock::new(followed),
            restoring,
            turn: tokio::sync::Mutex::new(()),
            anchored: AtomicU64::new(0),
            rolled_back: OnceLock::new(),
        }))
    }

    /// Reads the chain from its beginning to its head; the second is the MAC of the row with this number.
    pub(super) async fn read(
        &self,
        known: &Known,
        head: &Head,
        watched: Option<u64>,
    ) -> Result<(Followed, Option<[u8; 32]>), LedgerError> {
        let beginning = known.secret.beginning(&self.deployment);
        let beginning = beginning.ok_or(LedgerError::Seal(SealError::Refused))?;
        let mut seen = (watched == Some(0)).then_some(beginning.at.mac);
        let mut followed = Followed::from(beginning);
        let passed = |at: &Anchored| {
            if watched == Some(at.rows) {
                seen = Some(at.mac);
            }
        };
        self.advance(&known.secret, &mut followed, head, passed).await?;
        Ok((followed, seen))
    }

    /// Takes rows up to the head that was read, all of which must fit.
    pub(super) async fn advance(
        &self,
        secret: &Secret,
        followed: &mut Followed,
        head: &Head,
        mut passed: impl FnMut(&Anchored),
    ) -> Result<(), LedgerError> {
        const ROWS: &str = "SELECT n, kind, digest, mac FROM sb_ledger \
                            WHERE deployment = $1 AND n > $2 AND n <= $3 ORDER BY n LIMIT $4";
        let changed = LedgerError::RolledBack(Rollback::Changed);
        if head.rows < followed.place.at.rows {
            return Err(LedgerError::RolledBack(Rollback::Behind));
        }
        while followed.place.at.rows < head.rows {
            let page = [
                self.deployment.as_str().into(),
                followed.place.at.rows.into(),
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
                passed(&followed.place.at);
            }
        }
        if !crypto::constant_time_eq(&followed.place.at.mac, &head.mac) || head.last != head.rows {
            return Err(changed);
        }
        Ok(())
    }

    pub(super) async fn head(&self) -> Result<Option<Head>, SqlError> {
        const HEAD: &str = "SELECT n, mac, secret, \
                            (SELECT COALESCE(MAX(l.n), 0) FROM sb_ledger l WHERE l.deployment = h.deployment) \
                            FROM sb_ledger_heads h WHERE deployment = $1";
        let rows = self.database.rows(HEAD, &[self.deployment.as_str().into()]).await?;
        rows.first().map(Head::of).transpose()
    }

    /// Begins the chain, or finds that another process has.
    pub(super) async fn begin(&self) -> Result<Head, LedgerError> {
        const BEGIN: &str = "INSERT INTO sb_ledger_heads (deployment, n, mac, secret) VALUES ($1, 0, $2, $3) \
                             ON CONFLICT (deployment) DO NOTHING";
        let mut octets = Zeroizing::new(vec![0; 32]);
        crypto::random(&mut octets).map_err(|_failed| LedgerError::Randomness)?;
        let sealed = self.sealed(&octets).await?;
        let beginning = Secret::new(octets).and_then(|secret| secret.beginning(&self.deployment));
        let mac = beginning.ok_or(LedgerError::Randomness)?.at.mac;
        let values = [
            self.deployment.as_str().into(),
            (&mac[..]).into(),
            sealed.as_str().into(),
        ];
        again(|| async {
            let mut tx = self.database.begin().await?;
            // What is sealed under a data key that is being replaced would never be opened again.
            if !still_active(&mut tx, &self.deployment, &sealed).await? {
                return Err(SqlError::Unavailable);
            }
            tx.run(BEGIN, &values).await?;
            tx.commit().await
        })
        .await?;
        Ok(self.head().await?.ok_or(DatabaseError::Unknown)?)
    }

    pub(super) async fn secret(&self, head: &Head) -> Result<Known, LedgerError> {
        let owner = Owner::Deployment(self.deployment.clone());
        let octets = self.sealer.open(&context(&owner), &head.secret).await?;
        let secret = Secret::new(octets).ok_or(LedgerError::Seal(SealError::Refused))?;
        Ok(Known {
            sealed: head.secret.clone(),
            secret,
        })
    }

    pub(super) async fn sealed(&self, secret: &[u8]) -> Result<String, LedgerError> {
        let owner = Owner::Deployment(self.deployment.clone());
        Ok(self.sealer.seal(&context(&owner), secret).await?)
    }

    pub(super) fn tell(&self, why: Rollback) {
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
    if (at.epoch, at.rows) < (anchor.epoch, anchor.rows) {
        return Err(Rollback::Behind);
    }
    // A later epoch than the anchor's begins with a restored backup that somebody has not yet accepted to the end.
    if at.epoch > anchor.epoch || at_anchor != Some(anchor.mac) {
        return Err(Rollback::Forked);
    }
    Ok(())
}

/// What the database says of the end of the chain.
pub(super) struct Head {
    pub(super) rows: u64,
    pub(super) mac: Vec<u8>,
    /// What authenticates the rows, sealed.
    pub(super) secret: String,
    /// The number of the last row.
    pub(super) last: u64,
}

impl Head {
    pub(super) fn of(row: &Row) -> Result<Self, SqlError> {
        Ok(Self {
            rows: row.u64(0)?,
            mac: row.bytes(1)?.to_vec(),
            secret: row.text(2)?.to_owned(),
            last: row.u64(3)?,
        })
    }
}
