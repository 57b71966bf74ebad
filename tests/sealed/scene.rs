//! A database of one test, and processes that keep sealed things in it.

use std::sync::Arc;

use shipbound::act::Act;
use shipbound::clock::Clock;
use shipbound::journal::{Journal, Sink};
use shipbound::keys::{Authority, RecordedKeys};
use shipbound::owner::ConnectionId;
use shipbound::store::anchor::EpochAnchor;
use shipbound::store::seal::{KekProvider, SealedKeys, Sealer};
use shipbound::store::sql::{Database, Ledger, LedgerSetup, Sealing, SqlCredentialStore, SqlGrantStore, SqlKeyRecords};

use crate::provider::Provider;
use crate::world::{Kind, World, deployment};

pub(crate) struct Scene {
    pub(crate) world: World,
}

/// What one process has.
pub(crate) struct Process {
    pub(crate) sealing: Arc<Sealing>,
    pub(crate) ledger: Ledger,
    pub(crate) credentials: Arc<SqlCredentialStore>,
    pub(crate) grants: Arc<SqlGrantStore>,
    pub(crate) records: Arc<SqlKeyRecords>,
    pub(crate) holder: Arc<SealedKeys>,
    pub(crate) keys: RecordedKeys<SqlKeyRecords, SealedKeys>,
}

impl Scene {
    pub(crate) async fn new(kind: Kind) -> Self {
        Self {
            world: World::new(kind).await,
        }
    }

    pub(crate) fn journal(&self) -> Journal {
        let sink: Arc<dyn Sink> = self.world.events.clone();
        Journal::new(self.world.clock.clone(), [sink])
    }

    /// A sealing of another process, with this provider.
    pub(crate) fn sealing_of(&self, database: &Database, provider: Arc<dyn KekProvider>) -> Sealing {
        Sealing::new(database.clone(), deployment(), provider)
            .with_clock(self.world.clock.clone())
            .with_journal(self.journal())
    }

    pub(crate) fn sealing(&self, names: &[&str]) -> Sealing {
        self.sealing_of(&self.world.database(), Arc::new(Provider::new(names)))
    }

    /// Another process, whose provider has these KEKs.
    pub(crate) async fn process(&self, names: &[&str]) -> Process {
        self.process_of(self.world.database(), names, self.world.anchor.clone())
            .await
    }

    /// The same, with this access to the database.
    pub(crate) async fn process_on(&self, database: Database, names: &[&str]) -> Process {
        self.process_of(database, names, self.world.anchor.clone()).await
    }

    /// The same, with this anchor.
    pub(crate) async fn process_with(&self, names: &[&str], anchor: Arc<dyn EpochAnchor>) -> Process {
        self.process_of(self.world.database(), names, anchor).await
    }

    async fn process_of(&self, database: Database, names: &[&str], anchor: Arc<dyn EpochAnchor>) -> Process {
        let sealing = Arc::new(self.sealing_of(&database, Arc::new(Provider::new(names))));
        let sealer: Arc<dyn Sealer> = sealing.clone();
        let setup = LedgerSetup::new(&database, &deployment(), sealer.clone(), anchor, &self.journal());
        let ledger = setup.open().await.unwrap();
        let clock: Arc<dyn Clock> = self.world.clock.clone();
        let (records, holder) = (
            Arc::new(SqlKeyRecords::new(&database, &ledger)),
            Arc::new(SealedKeys::new(sealer)),
        );
        Process {
            credentials: Arc::new(SqlCredentialStore::new(sealing.clone(), &ledger)),
            grants: Arc::new(SqlGrantStore::new(sealing.clone(), &ledger)),
            keys: RecordedKeys::new(records.clone(), holder.clone(), clock, Authority::default()),
            sealing,
            ledger,
            records,
            holder,
        }
    }
}

pub(crate) fn act() -> Act {
    Act::new("maria@platform.example", "because of the test", "OPS-1").unwrap()
}

pub(crate) fn connection(tenant: &str) -> ConnectionId {
    crate::world::owner(tenant).connection().unwrap().clone()
}
