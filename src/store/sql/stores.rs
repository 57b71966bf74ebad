//! All stores of a deployment, opened together.

use std::sync::Arc;

use super::{
    Database, Ledger, LedgerError, LedgerSetup, Sealing, SqlConnections, SqlCredentialStore, SqlGrantStore,
    SqlKeyStore, SqlLeadership,
};
use crate::chore::Chore;
use crate::journal::Journal;
use crate::owner::DeploymentId;
use crate::store::anchor::EpochAnchor;
use crate::store::seal::KekProvider;

/// All stores of one deployment in one [`Database`], each as its own constructor makes it by default. For other options open
/// them one by one. The chapter [`running_it`](crate::guide::running_it) puts them to use.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SqlStores {
    /// Data keys, which seal the values of the others.
    pub sealing: Arc<Sealing>,
    /// What has ended.
    pub ledger: Ledger,
    /// Keys, sealed.
    pub keys: SqlKeyStore,
    /// Credentials of connections.
    pub credentials: Arc<SqlCredentialStore>,
    /// Refresh tokens.
    pub grants: Arc<SqlGrantStore>,
    /// Which connections there are.
    pub connections: SqlConnections,
    /// Which process leads.
    pub leadership: Arc<SqlLeadership>,
}

impl SqlStores {
    /// Opens the stores of `deployment` in `database`, which has been [migrated](Database::migrate). Data keys are wrapped by
    /// `keks`, `anchor` says how far the ledger has come, and `journal` hears what the stores tell.
    ///
    /// # Errors
    /// [`LedgerError`]: what the ledger finds when it is opened. The others are not opened then.
    pub async fn open(
        database: &Database,
        deployment: &DeploymentId,
        keks: Arc<dyn KekProvider>,
        anchor: Arc<dyn EpochAnchor>,
        journal: &Journal,
    ) -> Result<Self, LedgerError> {
        let sealing = Sealing::new(database.clone(), deployment.clone(), keks)
            .with_clock(Arc::clone(database.clock()))
            .with_journal(journal.clone());
        let sealing = Arc::new(sealing);
        let setup = LedgerSetup::new(database, deployment, sealing.clone(), anchor, journal);
        let ledger = setup.open().await?;
        sealing.bind(&ledger);
        Ok(Self {
            keys: SqlKeyStore::sealed(database, &ledger, sealing.clone()),
            credentials: Arc::new(SqlCredentialStore::new(sealing.clone(), &ledger)),
            grants: Arc::new(SqlGrantStore::new(sealing.clone(), &ledger)),
            connections: SqlConnections::new(database, &ledger),
            leadership: Arc::new(SqlLeadership::new(database, deployment)),
            sealing,
            ledger,
        })
    }

    /// The chores of these stores, for the [`Upkeep`](crate::upkeep::Upkeep): sealing, ledger, keys, credentials and grants.
    /// Connections are followed by their [`Registry`](crate::registry::Registry), which is a chore itself.
    pub fn chores(&self) -> Vec<Arc<dyn Chore>> {
        vec![
            self.sealing.clone(),
            Arc::new(self.ledger.clone()),
            Arc::new(self.keys.clone()),
            self.credentials.clone(),
            self.grants.clone(),
        ]
    }
}
