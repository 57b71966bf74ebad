//! The key store whose records and sealed keys are in a database.

use std::sync::Arc;

use super::database::Database;
use super::keys::SqlKeyRecords;
use super::ledger::Ledger;
use crate::keys::{Authority, RecordedKeys};
use crate::store::seal::{SealedKeys, Sealer};

/// A [`KeyStore`](crate::keys::KeyStore) whose records are in a [`Database`], with the private halves sealed in them. Processes
/// of a deployment share it; the upkeep makes them follow each other.
///
/// ```
/// # use std::sync::Arc;
/// # use shipbound::journal::Journal;
/// # use shipbound::owner::DeploymentId;
/// # use shipbound::store::anchor::FileAnchor;
/// # use shipbound::store::seal::KekProvider;
/// use shipbound::store::sql::{Database, LedgerError, LedgerSetup, Sealing, SqlKeyStore};
///
/// # async fn open(keks: Arc<dyn KekProvider>, journal: Journal) -> Result<SqlKeyStore, LedgerError> {
/// let deployment = DeploymentId::default_deployment();
/// let database = Database::sqlite("/var/lib/platform/shipbound.db").build()?;
/// let sealing = Arc::new(Sealing::new(database.clone(), deployment.clone(), keks));
/// let anchor = Arc::new(FileAnchor::new("/var/lib/platform-anchor/shipbound.anchor"));
/// let setup = LedgerSetup::new(&database, &deployment, sealing.clone(), anchor, &journal);
/// let keys = SqlKeyStore::sealed(&database, &setup.open().await?, sealing);
/// # Ok(keys)
/// # }
/// ```
pub type SqlKeyStore = RecordedKeys<SqlKeyRecords, SealedKeys>;

impl SqlKeyStore {
    /// The keys of the ledger's deployment, sealed by `sealer`, with the database's clock, the default [`Authority`] and the
    /// ledger's journal. For other ones see [`RecordedKeys::new`].
    pub fn sealed(database: &Database, ledger: &Ledger, sealer: Arc<dyn Sealer>) -> Self {
        let records = Arc::new(SqlKeyRecords::new(database, ledger));
        let holder = Arc::new(SealedKeys::new(sealer));
        let keys = Self::new(records, holder, Arc::clone(database.clock()), Authority::default());
        keys.telling(Arc::new(ledger.journal().clone()))
    }
}
