//! Keyed digests: records that can be matched with each other, but not read back.
//!
//! Addresses hold tracking numbers, and an unkeyed digest of a tracking number is found by trying them all. The key is
//! made by HKDF (RFC 5869) from a secret, a salt of the connection's tenant, the tenant and the month. So digests of two
//! tenants or two months say nothing of each other, and when a tenant's salt is gone nobody can tell any more what that
//! tenant's digests stand for, while those of the others can still be matched.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::crypto::{self, RandomFailed};
use crate::owner::{ConnectionId, Tenant};

/// The digest of something that must not be written down.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where the salts of tenants are kept. Who forgets a tenant's salt has erased what its fingerprints stand for.
///
/// Called on the path of calls, where the journal is heard: keep the salts in memory.
pub trait TenantSalts: fmt::Debug + Send + Sync {
    /// The tenant's salt, always the same until it is erased; `None` where there is none any more, or none can be had.
    fn salt(&self, tenant: &Tenant) -> Option<[u8; 16]>;

    /// Forgets the tenant's salt. `false`, the default: this store cannot.
    fn erase(&self, _tenant: &Tenant) -> bool {
        false
    }
}

/// Salts in memory, drawn when a tenant is first seen: fingerprints of this process alone.
#[derive(Default)]
pub struct MemorySalts(Mutex<HashMap<Tenant, [u8; 16]>>);

impl MemorySalts {
    /// No salts yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the tenant's salt. Fingerprints that were made with it cannot be matched with an address any more; later ones of
    /// the same tenant are made with a new salt.
    pub fn erase(&self, tenant: &Tenant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(tenant);
    }
}

impl TenantSalts for MemorySalts {
    fn salt(&self, tenant: &Tenant) -> Option<[u8; 16]> {
        let mut salts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(salt) = salts.get(tenant) {
            return Some(*salt);
        }
        let mut salt = [0; 16];
        crypto::random(&mut salt).ok()?;
        salts.insert(tenant.clone(), salt);
        Some(salt)
    }

    fn erase(&self, tenant: &Tenant) -> bool {
        Self::erase(self, tenant);
        true
    }
}

impl fmt::Debug for MemorySalts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemorySalts(redacted)")
    }
}

/// Makes fingerprints under one secret.
///
/// ```
/// use std::sync::Arc;
/// use shipbound::journal::fingerprint::{Fingerprints, MemorySalts};
///
/// let salts = Arc::new(MemorySalts::new());
/// let fingerprints = Fingerprints::new([7; 32]).salted(salts.clone());
/// // When a shipper wants to be forgotten: salts.erase(&tenant)
/// ```
#[derive(Clone)]
pub struct Fingerprints {
    secret: Zeroizing<[u8; 32]>,
    salts: Option<Arc<dyn TenantSalts>>,
}

impl Fingerprints {
    /// Under a secret that is handed in, so that several processes make the same fingerprints. All tenants' are erased with the
    /// secret, and one tenant's only where [salts](Self::salted) are handed in as well.
    pub fn new(secret: [u8; 32]) -> Self {
        Self {
            secret: Zeroizing::new(secret),
            salts: None,
        }
    }

    /// With salts of tenants, so that one tenant's fingerprints can be erased.
    #[must_use]
    pub fn salted(mut self, salts: Arc<dyn TenantSalts>) -> Self {
        self.salts = Some(salts);
        self
    }

    /// Erases what the tenant's fingerprints stand for. `false`: there are no salts, or they cannot be erased.
    pub fn erase(&self, tenant: &Tenant) -> bool {
        self.salts.as_ref().is_some_and(|salts| salts.erase(tenant))
    }

    /// Under a secret and salts of this process.
    pub(crate) fn random() -> Result<Self, RandomFailed> {
        let mut secret = Zeroizing::new([0; 32]);
        crypto::random(&mut secret[..])?;
        Ok(Self {
            secret,
            salts: Some(Arc::new(MemorySalts::new())),
        })
    }

    /// The fingerprint of `text` for this connection's tenant, in the month of `at`. `None` where the tenant's salt is erased or
    /// cannot be had.
    pub fn of(&self, connection: &ConnectionId, at: Timestamp, text: &str) -> Option<Fingerprint> {
        let tenant = connection.tenant();
        let salt = match &self.salts {
            Some(salts) => salts.salt(tenant)?,
            None => [0; 16],
        };
        let month = time::OffsetDateTime::from_unix_timestamp(at.unix_seconds())
            .map_or((0, 0), |date| (date.year(), u8::from(date.month())));
        let mut context = Vec::with_capacity(64);
        context.extend_from_slice(&month.0.to_be_bytes());
        context.push(month.1);
        context.extend_from_slice(tenant.incarnation().as_bytes());
        context.extend_from_slice(tenant.id().as_str().as_bytes());
        let key = crypto::hkdf_sha256(&self.secret[..], &salt, &context);
        Some(Fingerprint(crypto::hmac_sha256_128(&key[..], text.as_bytes())))
    }
}

impl fmt::Debug for Fingerprints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprints(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::owner::{AccountId, CarrierId, DeploymentId, Environment, TenantId};

    const MAY: Timestamp = Timestamp::from_unix_seconds(1_778_000_000);
    const JUNE: Timestamp = Timestamp::from_unix_seconds(1_781_000_000);
    const ADDRESS: &str = "https://a.example/track/1Z";

    fn connection(tenant: &str, incarnation: Uuid) -> ConnectionId {
        ConnectionId::new(
            DeploymentId::default_deployment(),
            Tenant::new(TenantId::new(tenant).unwrap(), incarnation),
            CarrierId::new("ups").unwrap(),
            Environment::Sandbox,
            AccountId::main(),
        )
    }

    #[test]
    fn tenants_incarnations_and_months_have_fingerprints_of_their_own() {
        let one = Fingerprints::new([7; 32]);
        let of = |tenant, incarnation, at| one.of(&connection(tenant, incarnation), at, ADDRESS).unwrap();
        let base = of("a", Uuid::nil(), MAY);
        assert_eq!(base, of("a", Uuid::nil(), MAY));
        for other in [
            of("b", Uuid::nil(), MAY),
            of("a", Uuid::max(), MAY),
            of("a", Uuid::nil(), JUNE),
        ] {
            assert_ne!(base, other);
        }
        assert_ne!(
            Fingerprints::new([8; 32]).of(&connection("a", Uuid::nil()), MAY, ADDRESS),
            Some(base)
        );
    }

    #[test]
    fn when_one_tenant_is_erased_the_others_can_still_be_matched() {
        let salts = Arc::new(MemorySalts::new());
        let fingerprints = Fingerprints::new([7; 32]).salted(salts.clone());
        let (a, b) = (connection("a", Uuid::nil()), connection("b", Uuid::nil()));
        let before = [&a, &b].map(|of| fingerprints.of(of, MAY, ADDRESS).unwrap());
        salts.erase(a.tenant());
        let after = [&a, &b].map(|of| fingerprints.of(of, MAY, ADDRESS).unwrap());
        assert_ne!(before[0], after[0]);
        assert_eq!(before[1], after[1]);
    }

    #[test]
    fn without_a_salt_there_is_no_fingerprint() {
        #[derive(Debug)]
        struct Erased;
        impl TenantSalts for Erased {
            fn salt(&self, _: &Tenant) -> Option<[u8; 16]> {
                None
            }
        }
        let fingerprints = Fingerprints::new([7; 32]).salted(Arc::new(Erased));
        assert_eq!(fingerprints.of(&connection("a", Uuid::nil()), MAY, ADDRESS), None);
    }
}
