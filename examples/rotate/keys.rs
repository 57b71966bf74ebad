//! Where the keys are, and how they are made.

use std::error::Error;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use shipbound::clock::{Clock, Timestamp};
use shipbound::jose::Algorithm;
use shipbound::keys::{KeyListing, KeySpec, KeyStore, MemoryKeyStore, Purpose};
use shipbound::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, TenantId};

/// What `--store` takes.
pub(crate) const STORES: &str = if cfg!(feature = "sql") {
    "memory|sqlite:PATH"
} else {
    "memory"
};
pub(crate) const DEFAULT: &str = "memory";

/// A store, as who signs and as who rotates sees it.
pub(crate) struct Store {
    pub(crate) keys: Arc<dyn KeyStore>,
    pub(crate) listing: Arc<dyn KeyListing>,
}

pub(crate) async fn open(store: &str, clock: &Arc<dyn Clock>) -> Result<Store, Box<dyn Error>> {
    match store {
        "memory" => {
            let keys = Arc::new(MemoryKeyStore::with_clock(Arc::clone(clock)));
            Ok(Store {
                keys: Arc::clone(&keys) as Arc<dyn KeyStore>,
                listing: keys,
            })
        }
        #[cfg(feature = "sql")]
        _ if store.starts_with("sqlite:") => sqlite(store.trim_start_matches("sqlite:"), clock).await,
        _ => Err(format!("--store takes {STORES}").into()),
    }
}

/// Sealed, in a database that is not there yet, under a key that is gone with this process.
#[cfg(feature = "sql")]
async fn sqlite(path: &str, clock: &Arc<dyn Clock>) -> Result<Store, Box<dyn Error>> {
    use shipbound::journal::Journal;
    use shipbound::store::anchor::{EpochAnchor, MemoryAnchor};
    use shipbound::store::seal::{KekId, KekSecret, LocalKek, Sealer};
    use shipbound::store::sql::{Database, LedgerSetup, Sealing, SqlKeyStore};

    if std::fs::exists(path)? {
        return Err(format!("{path} is there already").into());
    }
    let random = || Ok::<_, Box<dyn Error>>(shipbound::keys::KeyId::random()?.as_uuid().simple().to_string());
    let kek = LocalKek::new(
        KekId::new("example")?,
        KekSecret::parse(&format!("{}{}", random()?, random()?))?,
    );
    let deployment = DeploymentId::default_deployment();
    let database = Database::sqlite(path).clock(Arc::clone(clock)).build()?;
    database.migrate().await?;
    let journal = Journal::new(Arc::clone(clock), []);
    let sealing = Arc::new(Sealing::new(database.clone(), deployment.clone(), Arc::new(kek)));
    let sealer: Arc<dyn Sealer> = sealing.clone();
    let anchor: Arc<dyn EpochAnchor> = Arc::new(MemoryAnchor::new());
    let ledger = LedgerSetup::new(&database, &deployment, sealer, anchor, &journal)
        .open()
        .await?;
    let keys = SqlKeyStore::sealed(&database, &ledger, sealing);
    Ok(Store {
        keys: Arc::new(keys.clone()),
        listing: Arc::new(keys),
    })
}

/// The connection of shipper `number`.
pub(crate) fn connection(number: usize) -> Result<ConnectionId, Box<dyn Error>> {
    Ok(ConnectionId::new(
        DeploymentId::default_deployment(),
        tenant(number)?.into(),
        CarrierId::new("acme-freight")?,
        Environment::Sandbox,
        AccountId::main(),
    ))
}

pub(crate) fn tenant(number: usize) -> Result<TenantId, Box<dyn Error>> {
    Ok(TenantId::new(&format!("shipper-{number}"))?)
}

/// An active key for each shipper from `first` on, up to `all`.
pub(crate) async fn make(store: &Store, first: usize, all: usize) -> Result<(), Box<dyn Error>> {
    let made = stream::iter(first..all).map(|number| {
        let keys = Arc::clone(&store.keys);
        async move {
            let owner = connection(number)?.into();
            let spec = KeySpec {
                purpose: Purpose::Proof,
                algorithm: Algorithm::Es256,
            };
            let key = keys.create(&owner, spec).await?;
            keys.promote(&owner, &key.id(), None, Timestamp::UNIX_EPOCH).await?;
            Ok::<_, Box<dyn Error>>(())
        }
    });
    made.buffer_unordered(16).try_collect::<()>().await
}
