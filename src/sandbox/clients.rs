//! Which clients are known, and what tests do to them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Sandbox;
use super::registration::Registration;
use super::registry::{BoundTo, Grant};
use crate::credentials::Credential;
use crate::owner::TenantId;
use crate::secret::{ClientSecret, RefreshToken};

impl Sandbox {
    /// The credential of the tenant's client, whose id is the tenant's own: as it was [registered](Sandbox::register), else
    /// with a secret from the first call on, and the same ever after.
    pub fn credential(&self, tenant: &TenantId) -> Credential {
        self.shared.clients.ensure(tenant.as_str(), tenant, self.new_secret())
    }

    /// Registers one more client of a tenant, or gives a client another secret and tenant.
    pub fn add_client(&self, tenant: &TenantId, id: &str, secret: ClientSecret) -> Credential {
        self.register(Registration::secret(id, secret).tenant(tenant))
    }

    /// Gives the tenant's client a new secret: the old one is refused from now on. Its API keys are refused as well; new ones
    /// come from [`credential_for`](Self::credential_for).
    pub fn rotate_secret(&self, tenant: &TenantId) -> Credential {
        self.shared.accounts.forget_keys(tenant.as_str());
        self.add_client(tenant, tenant.as_str(), self.new_secret())
    }

    fn new_secret(&self) -> ClientSecret {
        ClientSecret::new(self.shared.seed.secret(32))
    }

    /// A refresh token for the tenant's client, as a shipper's consent would have made one.
    pub fn refresh_token(&self, tenant: &TenantId) -> RefreshToken {
        let client = self.credential(tenant);
        let token = RefreshToken::new(self.shared.seed.secret(32));
        let grant = Grant {
            client: client.client_id().to_owned(),
            scope: None,
            family: self.shared.tokens.new_family(),
            bound_to: BoundTo::default(),
            count: 0,
            expires: None,
            successor: None,
        };
        self.shared.tokens.put_grant(&token, grant);
        token
    }

    /// Revokes every access token of the tenant, without telling it. Gives their number.
    pub fn revoke_tokens(&self, tenant: &TenantId) -> usize {
        self.shared.tokens.revoke_tenant(tenant)
    }
}

/// The registered clients, by id.
#[derive(Default)]
pub(super) struct Clients(Mutex<HashMap<String, Arc<Registration>>>);

impl Clients {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<String, Arc<Registration>>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The tenant's client of this id, made with `secret` where there is none.
    pub(super) fn ensure(&self, id: &str, tenant: &TenantId, secret: ClientSecret) -> Credential {
        self.with(|clients| {
            clients
                .entry(id.to_owned())
                .or_insert_with(|| Arc::new(Registration::secret(id, secret).tenant(tenant)))
                .credential()
        })
    }

    pub(super) fn put(&self, registration: Registration) {
        self.with(|clients| clients.insert(registration.client_id.clone(), Arc::new(registration)));
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<Registration>> {
        self.with(|clients| clients.get(id).cloned())
    }

    /// The client whose secret this is. All are compared, each in constant time.
    pub(super) fn with_secret(&self, secret: &str) -> Option<String> {
        self.with(|clients| {
            let mut found = None;
            for client in clients.values().filter(|client| client.has_secret(secret)) {
                found = Some(client.client_id.clone());
            }
            found
        })
    }

    pub(super) fn tenant_of(&self, id: &str) -> Option<TenantId> {
        self.with(|clients| clients.get(id)?.tenant.clone())
    }
}
