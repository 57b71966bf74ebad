//! Sources of client certificates: files, memory, and a real OpenBao server.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod files;
mod memory;
mod vault_faults;
mod vault_server;

#[path = "../support/openbao.rs"]
mod openbao;

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair, date_time_ymd};
use shipbound::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, TenantId};
use shipbound::secret::KeyMaterial;
use shipbound::transport::identity::ClientIdentity;

/// A certificate and its key, in PEM.
#[derive(Clone)]
struct Pair {
    certificate: String,
    key: String,
}

impl Pair {
    /// One that signs itself, valid for long.
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        change(&mut params);
        Self {
            certificate: params.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// One that another signed, whose certificate comes after it.
    fn chained() -> Self {
        let authority = KeyPair::generate().unwrap();
        let authority = CertifiedIssuer::self_signed(CertificateParams::new(Vec::new()).unwrap(), authority).unwrap();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(Vec::new())
            .unwrap()
            .signed_by(&key, &authority)
            .unwrap();
        Self {
            certificate: own.pem() + &authority.pem(),
            key: key.serialize_pem(),
        }
    }

    fn valid(from: (i32, u8), until: (i32, u8)) -> Self {
        Self::with(|params| {
            params.not_before = date_time_ymd(from.0, from.1, 1);
            params.not_after = date_time_ymd(until.0, until.1, 1);
        })
    }

    fn identity(&self) -> ClientIdentity {
        ClientIdentity::from_pem(self.certificate.as_bytes(), &KeyMaterial::new(self.key.as_bytes())).unwrap()
    }

    /// Whether it is the certificate of this identity.
    fn is(&self, identity: &ClientIdentity) -> bool {
        self.identity().x5t() == identity.x5t()
    }
}

fn carrier() -> CarrierId {
    CarrierId::new("acme-freight").unwrap()
}

/// A tenant's main account.
fn connection(tenant: &str) -> ConnectionId {
    ConnectionId::new(
        DeploymentId::default_deployment(),
        TenantId::new(tenant).unwrap().into(),
        carrier(),
        Environment::Sandbox,
        AccountId::main(),
    )
}
