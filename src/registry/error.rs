//! Why an act on a connection was not done.

use thiserror::Error;

use crate::directory::ConnectionStoreError;

/// Why an act on a connection was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The tenant has this connection already. User action: none, or change the one there is.
    #[error("the connection is there already")]
    Exists,
    /// There is no such connection. User action: read the tenant's records; an id that differs in case, and another incarnation,
    /// are other tenants.
    #[error("there is no such connection")]
    Unknown,
    /// Somebody else has changed the connection since the record was read, or it does not stand as the act needs it. Nothing was
    /// done. User action: read the record again, with who changed it and why, and decide anew.
    #[error("the connection was changed meanwhile")]
    Changed,
    /// The connection is being removed. User action: wait until it is removed; then it may be added anew.
    #[error("the connection is being removed")]
    Removing,
    /// This version cannot read the connection's record, so nothing is done with it. User action: mend the row, or do it with the newer
    /// version that has written it.
    #[error("the connection's record cannot be read")]
    Unreadable,
    /// Others kept changing the tenant's connections. Nothing was done. User action: repeat.
    #[error("the tenant's connections keep changing")]
    Contended,
    /// The tenant has as many records as it may, removed connections among them. User action: look why connections are added
    /// and removed again and again.
    #[error("the tenant has {limit} records of connections, and may not have more")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The store cannot do it. User action: see the cause; where it is not available the act was done or not: read the record.
    #[error(transparent)]
    Store(#[from] ConnectionStoreError),
    /// The system gave no randomness. User action: none in this process; look at the system.
    #[error("the system gave no randomness")]
    Randomness,
}
