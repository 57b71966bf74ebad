//! Whether a connection's calls are let through, as far as this process knows, and what its lease remembers of it.

use crate::directory::NotAdmitted;
use crate::error::{Error, ErrorKind};
use crate::owner::ConnectionId;

use super::lease::Lease;
use super::source::TokenSource;

impl TokenSource {
    /// A number that moves whenever a connection may not be let through any more, this one or another; 0 where all are.
    #[inline]
    pub(crate) fn admission(&self) -> u32 {
        self.directory
            .as_ref()
            .map_or(0, |directory| directory.generation().max(1))
    }

    /// Whether the connection's calls are let through, as far as this process knows. Where it is not known here,
    /// [`Pipeline::admit`](crate::client::Pipeline) has asked before.
    pub(crate) fn admits(&self, connection: &ConnectionId) -> Result<(), Error> {
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        directory
            .known(connection)
            .ok_or(NotAdmitted::Unknown)
            .and_then(|listing| listing.admit(connection))
            .map_err(|refused| Error::before(ErrorKind::Connection(refused)))
    }

    /// As [`TokenSource::admits`], for the lease that a call is to go with. One look is enough until something changes.
    pub(crate) fn admits_with(&self, lease: &Lease) -> Result<(), Error> {
        // Read first: what changes while it is looked up is looked up again.
        let admission = self.admission();
        if !lease.is_admitted(admission) {
            self.admits(&lease.connection.id)?;
            lease.admit(admission);
        }
        Ok(())
    }
}
