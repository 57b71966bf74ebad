//! Where client certificates come from.

use std::fmt;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::owner::ConnectionId;
use crate::transport::identity::{ClientIdentity, IdentityError};

/// Client certificates for connections, renewed while the process runs.
///
/// Implement it for a service of your own. What it hands out for one connection must stay the same [`ClientIdentity`] (a
/// clone, not one read anew) until the certificate changes: pools and tokens belong to it.
#[async_trait]
pub trait CertificateSource: fmt::Debug + Send + Sync {
    /// The certificate that new tokens of this connection are asked for with. Asked for each token request, so an answer
    /// from memory is wanted wherever there is one.
    ///
    /// # Errors
    /// [`IdentityError::Missing`] where the source has none for this connection, [`IdentityError::Unavailable`] where that
    /// cannot be told.
    async fn identity(&self, connection: &ConnectionId) -> Result<ClientIdentity, IdentityError>;

    /// Looks for newer certificates, puts them in the place of the old ones, and [retires](ClientIdentity::retire) those:
    /// what was exchanged, old and new. `now` decides what is due and which certificates are valid. To be called by
    /// `Upkeep` every so often; calling it when nothing has changed is cheap and gives an empty list.
    ///
    /// A source that cannot be read, or that holds something broken, keeps what it has.
    ///
    /// # Errors
    /// [`IdentityError`]: why the newer certificate was not taken.
    async fn reload(&self, _now: Timestamp) -> Result<Vec<Exchanged>, IdentityError> {
        Ok(Vec::new())
    }

    /// Asks for new certificates now, in the place of those that it holds for connections that `which` takes; `None` stands for
    /// one that serves all connections. With `distrusted` the old ones are [retired](ClientIdentity::retire) before that, and
    /// also where no new one comes. Each request has a limit of time. Gives how many were exchanged, which the next [`reload`](Self::reload) reports.
    ///
    /// Default: nothing, for sources whose certificates somebody else renews.
    ///
    /// # Errors
    /// [`IdentityError`]: why one of them could not be had; the others were exchanged.
    async fn renew(
        &self,
        _which: &(dyn for<'a> Fn(Option<&'a ConnectionId>) -> bool + Send + Sync),
        _distrusted: bool,
    ) -> Result<usize, IdentityError> {
        Ok(0)
    }

    /// The certificates that the source holds now, for warnings before they expire. Default: none, so no warnings.
    fn held(&self) -> Vec<ClientIdentity> {
        Vec::new()
    }
}

/// A certificate that took another's place.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Exchanged {
    /// The one that is retired.
    pub old: ClientIdentity,
    /// The one that new connections show.
    pub new: ClientIdentity,
}

impl Exchanged {
    /// `old` gave way to `new`.
    pub fn new(old: ClientIdentity, new: ClientIdentity) -> Self {
        Self { old, new }
    }
}

/// One certificate for all connections, for as long as the process runs.
#[async_trait]
impl CertificateSource for ClientIdentity {
    async fn identity(&self, _connection: &ConnectionId) -> Result<ClientIdentity, IdentityError> {
        Ok(self.clone())
    }

    fn held(&self) -> Vec<ClientIdentity> {
        vec![self.clone()]
    }
}
