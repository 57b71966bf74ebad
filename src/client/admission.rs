//! Whether a tenant may call, and which incarnation of it is meant: what the directory says, where there is one.

use std::time::Duration;

use crate::clock::within;
use crate::directory::{Listing, NotAdmitted};
use crate::error::{Error, ErrorKind};
use crate::owner::{ConnectionId, Tenant, TenantId};

use super::pipeline::Pipeline;

/// How long a directory may look for a connection that this process does not know.
const FIND: Duration = Duration::from_secs(10);

impl Pipeline {
    /// What the directory lists at the place of `connection`, asked where it is not known here; `None` without a directory.
    pub(super) async fn listed(&self, connection: impl FnOnce() -> ConnectionId) -> Result<Option<Listing>, Error> {
        let Some(directory) = &self.parts.directory else {
            return Ok(None);
        };
        let connection = connection();
        let listing = match directory.known(&connection) {
            Some(listing) => Ok(listing),
            None => {
                let clock = &*self.parts.clock;
                let found = within(clock, clock.monotonic() + FIND, directory.find(&connection));
                found.await.unwrap_or(Err(NotAdmitted::Unavailable))
            }
        };
        listing
            .map(Some)
            .map_err(|refused| Error::before(ErrorKind::Connection(refused)))
    }

    /// Whether calls of this tenant, in this incarnation, are let through.
    pub(super) async fn admit(&self, tenant: &Tenant) -> Result<(), Error> {
        let connection = || self.scope.connection(tenant);
        match self.listed(connection).await? {
            Some(listing) => listing
                .admit(&connection())
                .map_err(|refused| Error::before(ErrorKind::Connection(refused))),
            None => Ok(()),
        }
    }

    /// The present incarnation of the tenant with this id, as far as this process knows it.
    pub(super) fn present(&self, id: &TenantId) -> Option<Tenant> {
        let tenant = Tenant::from(id.clone());
        match &self.parts.directory {
            Some(directory) => Some(directory.known(&self.scope.connection(&tenant))?.tenant),
            None => Some(tenant),
        }
    }

    /// The present incarnation of the tenant with this id, asked for where this process does not know it.
    pub(super) async fn find(&self, id: &TenantId) -> Result<Tenant, Error> {
        let tenant = Tenant::from(id.clone());
        let listing = self.listed(|| self.scope.connection(&tenant)).await?;
        Ok(listing.map_or(tenant, |listing| listing.tenant))
    }
}
