//! Which clients are known.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::registration::Registration;
use crate::credentials::Credential;
use crate::owner::TenantId;
use crate::secret::ClientSecret;

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

    pub(super) fn tenant_of(&self, id: &str) -> Option<TenantId> {
        self.with(|clients| clients.get(id)?.tenant.clone())
    }
}
