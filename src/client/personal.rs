//! Paths that say something of a person, and proofs: `htu` holds the whole path (RFC 9449 4.2), and proofs are logged by
//! servers that would not log paths.

use std::collections::HashMap;

use crate::directory::PiiPolicy;
use crate::owner::Tenant;

/// The policy of each connection of a client.
#[derive(Debug, Default)]
pub(super) struct Personal {
    policy: PiiPolicy,
    of: HashMap<Tenant, PiiPolicy>,
}

impl Personal {
    pub(super) fn set(&mut self, policy: PiiPolicy) {
        self.policy = policy;
    }

    pub(super) fn set_of(&mut self, tenant: Tenant, policy: PiiPolicy) {
        self.of.insert(tenant, policy);
    }

    pub(super) fn of(&self, tenant: &Tenant) -> PiiPolicy {
        // Mostly nobody has one of their own.
        match self.of.is_empty() {
            true => self.policy,
            false => self.of.get(tenant).copied().unwrap_or(self.policy),
        }
    }
}
