//! Records that stay in a part of the world.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::act::Act;
use crate::clock::Timestamp;
use crate::credentials::{Credential, CredentialAdmin, CredentialError, CredentialStore};
use crate::directory::{Directory, NotAdmitted};
use crate::grants::{GrantError, GrantStore, Record, Revision};
use crate::jose::Thumbprint;
use crate::keys::{KeyError, KeyFilter, KeyHandle, KeyId, KeyListing, KeyRecord, KeySpec, KeyStore, Purpose, Retired};
use crate::owner::{ConnectionId, Owner, Region};

/// One store for each region. What belongs to a connection is in the store of the connection's region and in no other: the
/// [directory](crate::directory) says which that is.
///
/// What belongs to the deployment itself stays in one region that is named. There is no default for connections: one without a
/// region, with a region that has no store here, or that the directory does not list, is refused.
///
/// It is a [`KeyStore`], a [`KeyListing`], a [`CredentialStore`], a [`CredentialAdmin`] or a [`GrantStore`] where its stores are.
/// It is no [chore](crate::chore::Chore): hand the store of each region to the upkeep.
///
/// A listing of all keys needs every region, since a page that left one out would look whole. So give each region a
/// [`Rotator`](crate::rotation::Rotator) of its own, of these parts and the region's listing, with the region's leadership: a
/// region that is down then keeps no other from rotating, nor from ending what was found compromised.
///
/// ```
/// # use std::sync::Arc;
/// use shipbound::directory::MemoryConnections;
/// use shipbound::keys::{KeyStore, MemoryKeyStore};
/// use shipbound::owner::Region;
/// use shipbound::registry::Registry;
/// use shipbound::store::Regional;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Arc::new(Registry::builder(MemoryConnections::new()).open().await?);
/// let (eu, us): (Arc<dyn KeyStore>, Arc<dyn KeyStore>) = (Arc::new(MemoryKeyStore::new()), Arc::new(MemoryKeyStore::new()));
/// let keys = Regional::new(registry, Region::new("eu")?, eu).and(Region::new("us")?, us);
/// # let _ = keys;
/// # Ok(())
/// # }
/// ```
pub struct Regional<S: ?Sized> {
    directory: Arc<dyn Directory>,
    home: Region,
    stores: BTreeMap<Region, Arc<S>>,
}

/// Why there is no store.
enum NoStore {
    /// The connection has none.
    NoRegion,
    /// It cannot be told which one.
    Unavailable,
}

impl<S: ?Sized> Regional<S> {
    /// The store of the region in which the deployment's own records stay. `directory` says where those of connections do.
    pub fn new(directory: Arc<dyn Directory>, home: Region, store: Arc<S>) -> Self {
        Self {
            directory,
            stores: BTreeMap::from([(home.clone(), store)]),
            home,
        }
    }

    /// With the store of another region.
    #[must_use]
    pub fn and(mut self, region: Region, store: Arc<S>) -> Self {
        self.stores.insert(region, store);
        self
    }

    async fn of(&self, connection: &ConnectionId) -> Result<&Arc<S>, NoStore> {
        let listing = match self.directory.known(connection) {
            Some(listing) => listing,
            None => match self.directory.find(connection).await {
                Ok(listing) => listing,
                Err(NotAdmitted::Unavailable) => return Err(NoStore::Unavailable),
                Err(_unknown) => return Err(NoStore::NoRegion),
            },
        };
        // Nobody says any more where the records of another incarnation are.
        let region = listing.region.filter(|_| listing.tenant == *connection.tenant());
        region
            .and_then(|region| self.stores.get(&region))
            .ok_or(NoStore::NoRegion)
    }

    async fn of_owner(&self, owner: &Owner) -> Result<&Arc<S>, KeyError> {
        let store = match owner.connection() {
            Some(connection) => self.of(connection).await,
            None => self.stores.get(&self.home).ok_or(NoStore::NoRegion),
        };
        store.map_err(|error| match error {
            NoStore::NoRegion => KeyError::NoRegion,
            NoStore::Unavailable => KeyError::StoreUnavailable,
        })
    }

    async fn of_credential(&self, connection: &ConnectionId) -> Result<&Arc<S>, CredentialError> {
        self.of(connection).await.map_err(|error| match error {
            NoStore::NoRegion => CredentialError::NoRegion,
            NoStore::Unavailable => CredentialError::Unavailable,
        })
    }

    async fn of_grant(&self, connection: &ConnectionId) -> Result<&Arc<S>, GrantError> {
        self.of(connection).await.map_err(|error| match error {
            NoStore::NoRegion => GrantError::NoRegion,
            NoStore::Unavailable => GrantError::Unavailable,
        })
    }
}

#[async_trait]
impl<S: KeyStore + ?Sized> KeyStore for Regional<S> {
    async fn active(&self, owner: &Owner, purpose: Purpose) -> Result<Option<KeyHandle>, KeyError> {
        self.of_owner(owner).await?.active(owner, purpose).await
    }

    async fn get(&self, owner: &Owner, key: &KeyId) -> Result<Option<KeyHandle>, KeyError> {
        self.of_owner(owner).await?.get(owner, key).await
    }

    async fn with_thumbprint(
        &self,
        owner: &Owner,
        purpose: Purpose,
        jkt: &Thumbprint,
    ) -> Result<Option<KeyHandle>, KeyError> {
        let store = self.of_owner(owner).await?;
        store.with_thumbprint(owner, purpose, jkt).await
    }

    async fn create(&self, owner: &Owner, spec: KeySpec) -> Result<KeyHandle, KeyError> {
        self.of_owner(owner).await?.create(owner, spec).await
    }

    async fn promote(
        &self,
        owner: &Owner,
        key: &KeyId,
        replaces: Option<&KeyId>,
        drain_until: Timestamp,
    ) -> Result<bool, KeyError> {
        let store = self.of_owner(owner).await?;
        store.promote(owner, key, replaces, drain_until).await
    }

    async fn prolong(&self, owner: &Owner, key: &KeyId, drain_until: Timestamp) -> Result<bool, KeyError> {
        self.of_owner(owner).await?.prolong(owner, key, drain_until).await
    }

    async fn retire(&self, owner: &Owner, key: &KeyId, to: Retired) -> Result<bool, KeyError> {
        self.of_owner(owner).await?.retire(owner, key, to).await
    }
}

#[async_trait]
impl<S: KeyListing + ?Sized> KeyListing for Regional<S> {
    /// The keys of one owner are listed where they are, all others in every region, and not at all where one does not answer.
    async fn list(&self, filter: &KeyFilter, after: Option<KeyId>, most: usize) -> Result<Vec<KeyRecord>, KeyError> {
        if let Some(owner) = &filter.owner {
            return self.of_owner(owner).await?.list(filter, after, most).await;
        }
        let mut found = Vec::new();
        for store in self.stores.values() {
            found.extend(store.list(filter, after, most).await?);
        }
        found.sort_by_key(|record| record.id);
        found.truncate(most);
        Ok(found)
    }
}

#[async_trait]
impl<S: CredentialStore + ?Sized> CredentialStore for Regional<S> {
    async fn credential(&self, connection: &ConnectionId) -> Result<Credential, CredentialError> {
        self.of_credential(connection).await?.credential(connection).await
    }

    fn generation(&self) -> u64 {
        let each = self.stores.values().map(|store| store.generation());
        each.fold(0, u64::wrapping_add)
    }
}

#[async_trait]
impl<S: CredentialAdmin + ?Sized> CredentialAdmin for Regional<S> {
    async fn put_credential(
        &self,
        connection: &ConnectionId,
        credential: Credential,
        act: &Act,
    ) -> Result<(), CredentialError> {
        let store = self.of_credential(connection).await?;
        store.put_credential(connection, credential, act).await
    }

    async fn remove_credential(&self, connection: &ConnectionId, act: &Act) -> Result<bool, CredentialError> {
        let store = self.of_credential(connection).await?;
        store.remove_credential(connection, act).await
    }

    async fn erase_data_key(&self, connection: &ConnectionId, act: &Act) -> Result<bool, CredentialError> {
        let store = self.of_credential(connection).await?;
        store.erase_data_key(connection, act).await
    }
}

#[async_trait]
impl<S: GrantStore + ?Sized> GrantStore for Regional<S> {
    async fn load(&self, connection: &ConnectionId) -> Result<Option<Record>, GrantError> {
        self.of_grant(connection).await?.load(connection).await
    }

    async fn put(&self, connection: &ConnectionId, record: &Record) -> Result<(), GrantError> {
        self.of_grant(connection).await?.put(connection, record).await
    }

    async fn replace(
        &self,
        connection: &ConnectionId,
        expected: Revision,
        record: &Record,
    ) -> Result<bool, GrantError> {
        let store = self.of_grant(connection).await?;
        store.replace(connection, expected, record).await
    }

    async fn remove(&self, connection: &ConnectionId) -> Result<bool, GrantError> {
        self.of_grant(connection).await?.remove(connection).await
    }

    fn generation(&self) -> u64 {
        let each = self.stores.values().map(|store| store.generation());
        each.fold(0, u64::wrapping_add)
    }
}

impl<S: ?Sized> fmt::Debug for Regional<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Regional")
            .field("home", &self.home)
            .field("regions", &self.stores.keys())
            .finish_non_exhaustive()
    }
}
