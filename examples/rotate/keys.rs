//! Where the keys are, and how they are made.

use std::error::Error;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use shipbound::clock::{Clock, Timestamp};
use shipbound::jose::Algorithm;
use shipbound::keys::{KeyListing, KeySpec, KeyStore, MemoryKeyStore, Purpose};
use shipbound::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, TenantId};

/// What `--store` takes.
pub(crate) const STORES: &str = "memory";
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
        _ => Err(format!("--store takes {STORES}").into()),
    }
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
