//! Keeping the anchor where the chain is, and seeing when both go different ways.

use std::sync::atomic::Ordering;

use super::{Ledger, LedgerError, Rollback};
use crate::store::anchor::Anchored;

impl Ledger {
    /// Raises the anchor to where this process has followed the chain, if it has not done so.
    pub(crate) async fn anchor(&self) -> Result<(), LedgerError> {
        if self.0.anchored.load(Ordering::SeqCst) < self.at().rows {
            self.check_anchor().await?;
        }
        Ok(())
    }

    /// Compares the anchor with the chain, and raises it. Once the database has fallen back it would otherwise be walked over: by
    /// a chain that has become longer on another way.
    pub(super) async fn check_anchor(&self) -> Result<(), LedgerError> {
        let setup = &self.0.setup;
        let anchor = setup.anchor.read().await?;
        if let Some(anchor) = &anchor {
            // It is raised after a commit, so a chain that is read after it has come as far.
            if is_past(anchor, &self.at()) {
                self.follow().await?;
            }
            let at = self.at();
            if is_past(anchor, &at) {
                return Err(self.found(Rollback::Behind));
            }
            // A restored backup that is being accepted need not contain the anchor's row.
            if anchor.epoch == at.epoch && self.mac_at(anchor.rows).await? != Some(anchor.mac) {
                return Err(self.found(Rollback::Forked));
            }
        }
        let at = self.at();
        if anchor != Some(at) {
            let raised = setup.anchor.raise(&at).await.map_err(LedgerError::of_anchor);
            if let Err(LedgerError::RolledBack(why)) = raised {
                return Err(self.found(why));
            }
            raised?;
        }
        self.0.anchored.fetch_max(at.rows, Ordering::SeqCst);
        Ok(())
    }

    /// The MAC of a row that this process has come by.
    async fn mac_at(&self, rows: u64) -> Result<Option<[u8; 32]>, LedgerError> {
        let recent = self.followed().mac_at(rows);
        if recent.is_some() {
            return Ok(recent);
        }
        // Long ago: the chain is read again, and has to lead to where this process is.
        let (setup, at) = (&self.0.setup, self.at());
        let head = setup.head().await?.ok_or(LedgerError::RolledBack(Rollback::Behind))?;
        let known = self.known(&head).await?;
        let (_, here) = setup.read(&known, &head, Some(at.rows)).await?;
        let (_, there) = setup.read(&known, &head, Some(rows)).await?;
        Ok(there.filter(|_| here == Some(at.mac)))
    }
}

fn is_past(anchor: &Anchored, at: &Anchored) -> bool {
    (anchor.epoch, anchor.rows) > (at.epoch, at.rows)
}
