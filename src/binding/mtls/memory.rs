//! Certificates that the application puts there, one for each connection.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{PoisonError, RwLock};

use async_trait::async_trait;

use crate::owner::{AccountId, CarrierId, ConnectionId, Environment, Place, Tenant};
use crate::transport::identity::{ClientIdentity, IdentityError};

use super::CertificateSource;

/// Certificates in memory, put there by the application while the process runs: one for each connection, or one for several.
///
/// A connection that has none is refused with [`IdentityError::Missing`]. Nothing is looked at again by itself: the
/// application puts the next certificate there.
///
/// ```no_run
/// use shipbound::binding::mtls::MemoryCertificates;
/// use shipbound::owner::{CarrierId, Environment, TenantId};
/// use shipbound::secret::KeyMaterial;
/// use shipbound::transport::identity::ClientIdentity;
///
/// # fn add(certificate: &[u8], key: Vec<u8>) -> Result<(), Box<dyn std::error::Error>> {
/// let certificates = MemoryCertificates::new();
/// let identity = ClientIdentity::from_pem(certificate, &KeyMaterial::new(key))?;
/// certificates.put(TenantId::new("acme")?, &CarrierId::new("fedex")?, Environment::Production, identity);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct MemoryCertificates {
    identities: RwLock<HashMap<Place, ClientIdentity>>,
}

impl MemoryCertificates {
    /// An empty source.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the certificate of the tenant's main account, in the place of an older one. The older one is
    /// [retired](ClientIdentity::retire) at once, unless another connection still has it.
    ///
    /// The same certificate read anew (the same chain to the octet) changes nothing while the one that is there is usable:
    /// that one stays, with its connections and the tokens that are bound to it.
    pub fn put(
        &self,
        tenant: impl Into<Tenant>,
        carrier: &CarrierId,
        environment: Environment,
        identity: ClientIdentity,
    ) {
        self.put_account(tenant, carrier, environment, AccountId::main(), identity);
    }

    /// Like [`MemoryCertificates::put`], for one of the tenant's accounts.
    pub fn put_account(
        &self,
        tenant: impl Into<Tenant>,
        carrier: &CarrierId,
        environment: Environment,
        account: AccountId,
        identity: ClientIdentity,
    ) {
        let place = Place::new(tenant.into(), carrier, environment, account);
        let mut identities = self.identities.write().unwrap_or_else(PoisonError::into_inner);
        if identities
            .get(&place)
            .is_some_and(|held| held.is_usable() && held.shows_the_same_as(&identity))
        {
            return;
        }
        let old = identities.insert(place, identity);
        retire(old, &identities);
    }

    /// Takes a certificate away and retires it, unless another connection still has it. Tokens that are bound to a retired
    /// certificate are not used any more.
    pub fn remove(&self, connection: &ConnectionId) {
        let mut identities = self.identities.write().unwrap_or_else(PoisonError::into_inner);
        let old = identities.remove(&Place::of(connection));
        retire(old, &identities);
    }
}

/// Retires what has left its place, when nobody has it any more.
fn retire(old: Option<ClientIdentity>, still_there: &HashMap<Place, ClientIdentity>) {
    if let Some(old) = old
        && !still_there.values().any(|identity| *identity == old)
    {
        old.retire();
    }
}

#[async_trait]
impl CertificateSource for MemoryCertificates {
    async fn identity(&self, connection: &ConnectionId) -> Result<ClientIdentity, IdentityError> {
        let identities = self.identities.read().unwrap_or_else(PoisonError::into_inner);
        identities
            .get(&Place::of(connection))
            .cloned()
            .ok_or(IdentityError::Missing)
    }

    fn held(&self) -> Vec<ClientIdentity> {
        let identities = self.identities.read().unwrap_or_else(PoisonError::into_inner);
        let mut seen = HashSet::new();
        let distinct = identities.values().filter(|identity| seen.insert(identity.x5t()));
        distinct.cloned().collect()
    }
}

impl fmt::Debug for MemoryCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.identities.read().unwrap_or_else(PoisonError::into_inner).len();
        f.debug_struct("MemoryCertificates")
            .field("connections", &count)
            .finish()
    }
}
