//! Data keys that have ended: what the ledger says of them.

use std::sync::PoisonError;

use super::Sealing;
use crate::store::seal::{DataKeyId, SealError};
use crate::store::sql::Ledger;
use crate::store::sql::ledger::Dead;

impl Sealing {
    /// Has `ledger` say which data keys have ended, and writes down there which ones end. It has to be the ledger of the same
    /// deployment in the same database; another deployment's is not taken. The last one that was bound counts, as long as anybody
    /// has it.
    ///
    /// [`SqlStores`](crate::store::sql::SqlStores), [`SqlCredentialStore`](crate::store::sql::SqlCredentialStore) and
    /// [`SqlGrantStore`](crate::store::sql::SqlGrantStore) do it when they are opened. Who opens a
    /// [`SqlKeyStore`](crate::store::sql::SqlKeyStore) alone does it himself: else a data key that ended while this process held it is used
    /// until the database is asked the next time, and [`kek_stolen`](Self::kek_stolen) does nothing.
    pub fn bind(&self, ledger: &Ledger) {
        if *ledger.deployment() == self.deployment {
            *self.ledger.write().unwrap_or_else(PoisonError::into_inner) = ledger.downgrade();
        }
    }

    pub(super) fn ledger(&self) -> Option<Ledger> {
        self.ledger.read().unwrap_or_else(PoisonError::into_inner).get()
    }

    /// Whether this process has seen it end. Asks nobody: the ledger opens its own secret by this way while it follows the chain.
    pub(super) fn has_ended(&self, id: DataKeyId) -> bool {
        let ended = self
            .ledger()
            .is_some_and(|ledger| ledger.has_seen_end(&Dead::data_key(id)));
        if ended {
            self.held.forget(id);
        }
        ended
    }

    /// The row of a data key stands there that has ended: told to the journal.
    pub(super) fn put_back(&self) -> SealError {
        if let Some(ledger) = self.ledger() {
            let _told = ledger.put_back();
        }
        SealError::Refused
    }

    pub(super) fn drop_ended(&self) {
        let Some(ledger) = self.ledger() else { return };
        for id in self.held.ids() {
            if ledger.has_seen_end(&Dead::data_key(id)) {
                self.held.forget(id);
            }
        }
    }
}
