//! Which connections there are now: what clients ask before they call for a tenant.
//!
//! Without a directory a client calls for every tenant that there is a credential for. With one
//! ([`PartsBuilder::directory`](crate::parts::PartsBuilder::directory)) it calls for connections that the directory lists and
//! that nobody has suspended. [`Registry`](crate::registry::Registry) is one.

mod memory;
mod personal;
mod records;

use std::fmt;

use async_trait::async_trait;
use thiserror::Error;

use crate::owner::{ConnectionId, Region, Tenant};

pub use self::memory::MemoryConnections;
pub use self::personal::PiiPolicy;
pub(crate) use self::records::is_same_place;
pub use self::records::{ConnectionRecord, ConnectionStore, ConnectionStoreError, Settings, Untold};

/// How a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Standing {
    /// Its calls are let through.
    Active,
    /// Its calls are refused until it is resumed. What it has, stays.
    Suspended,
    /// It is being removed: its calls are refused, and what it has is taken away.
    Removing,
    /// It was removed, which is final. Its record is kept, so that none of an older state brings it back.
    Removed,
    /// Its record cannot be read by this version, so its calls are refused. Others go on.
    Unreadable,
}

impl Standing {
    /// `active`, `suspended`, `removing`, `removed` or `unreadable`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Removing => "removing",
            Self::Removed => "removed",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What a directory lists at a place, which is a tenant's id with a carrier, an environment and an account.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// Whose connection it is now: the id with its present incarnation.
    pub tenant: Tenant,
    /// How it stands.
    pub standing: Standing,
    /// What becomes of personal paths in its proofs; `None` where the client's own choice holds.
    pub personal_paths: Option<PiiPolicy>,
    /// Where its records stay; `None` where it was not said.
    pub region: Option<Region>,
}

impl Listing {
    /// An active connection of this tenant, with no settings of its own.
    pub fn active(tenant: Tenant) -> Self {
        Self {
            tenant,
            standing: Standing::Active,
            personal_paths: None,
            region: None,
        }
    }

    /// Whether a call of `connection` is let through.
    ///
    /// # Errors
    /// [`NotAdmitted`] says why it is not.
    pub fn admit(&self, connection: &ConnectionId) -> Result<(), NotAdmitted> {
        if self.tenant != *connection.tenant() {
            return Err(NotAdmitted::Incarnation);
        }
        match self.standing {
            Standing::Active => Ok(()),
            Standing::Suspended => Err(NotAdmitted::Suspended),
            Standing::Removing => Err(NotAdmitted::Removing),
            Standing::Removed => Err(NotAdmitted::Unknown),
            Standing::Unreadable => Err(NotAdmitted::Unreadable),
        }
    }
}

/// Why a connection's call is refused before anything is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotAdmitted {
    /// Nobody has added this connection, or it was removed. User action: add it to the registry; an id that differs in case is
    /// another tenant.
    #[error("there is no such connection")]
    Unknown,
    /// Somebody has suspended the connection. User action: find out why in the registry's record, then resume it there.
    #[error("the connection is suspended")]
    Suspended,
    /// The connection is being removed. User action: none; once it is removed it may be added anew.
    #[error("the connection is being removed")]
    Removing,
    /// The id belongs to another incarnation of the tenant by now: another customer, perhaps. User action: call for the present
    /// one with [`Client::tenant`](crate::Client::tenant), if that is who is meant.
    #[error("the tenant's id belongs to another incarnation now")]
    Incarnation,
    /// This version cannot read the connection's record, or one of its tenant's. User action: mend the row, or call with the newer
    /// version that has written it.
    #[error("the connection's record cannot be read")]
    Unreadable,
    /// It cannot be told whether the connection may call: its store does not answer, or has not for too long. User action: mend
    /// the registry's store; calls go on by themselves.
    #[error("it cannot be told whether the connection may call")]
    Unavailable,
}

impl NotAdmitted {
    /// A short name for logs and metrics, `connection_suspended` for instance. It does not change between patch releases.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unknown => "connection_unknown",
            Self::Suspended => "connection_suspended",
            Self::Removing => "connection_removing",
            Self::Incarnation => "connection_incarnation",
            Self::Unreadable => "connection_unreadable",
            Self::Unavailable => "connection_unavailable",
        }
    }
}

/// Tells which connections there are, and how they stand.
///
/// Both look-ups are by place: the incarnation of the connection that is asked about does not count. Whoever asks compares it
/// with that of the answer.
///
/// # Writing one
///
/// - [`generation`](Self::generation) moves *after* the change can be seen by [`known`](Self::known), with an ordering of at
///   least `SeqCst`: who removes a connection counts its calls next, and relies on it that a call which was not counted yet
///   sees the change.
/// - Who cannot tell whether a connection may call says [`NotAdmitted::Unavailable`].
#[async_trait]
pub trait Directory: fmt::Debug + Send + Sync {
    /// What is listed at the place of `connection`, as far as this process knows. Nobody is asked, nothing is waited for.
    /// `None`: not known here, or not known any more for sure.
    fn known(&self, connection: &ConnectionId) -> Option<Listing>;

    /// As [`Directory::known`], and asks where it is not known here. Bounded in time.
    ///
    /// # Errors
    /// [`NotAdmitted::Unknown`] where there is none, [`NotAdmitted::Unavailable`] where that cannot be told.
    async fn find(&self, connection: &ConnectionId) -> Result<Listing, NotAdmitted>;

    /// A number that moves whenever a connection that was let through is not any more, or something else of one has changed. It
    /// is looked at on every call, so it must be as cheap as an atomic load. New connections need not move it. 0 counts as 1.
    fn generation(&self) -> u32;
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::owner::{AccountId, CarrierId, DeploymentId, Environment, TenantId};

    #[test]
    fn who_is_not_listed_as_that_incarnation_and_active_is_not_let_through() {
        let tenant = |incarnation| Tenant::new(TenantId::new("acme").unwrap(), incarnation);
        let connection = |incarnation| {
            ConnectionId::new(
                DeploymentId::default_deployment(),
                tenant(incarnation),
                CarrierId::new("ups").unwrap(),
                Environment::Sandbox,
                AccountId::main(),
            )
        };
        let mut listing = Listing::active(tenant(Uuid::max()));
        assert_eq!(listing.admit(&connection(Uuid::max())), Ok(()));
        assert_eq!(listing.admit(&connection(Uuid::nil())), Err(NotAdmitted::Incarnation));
        for (standing, refused) in [
            (Standing::Suspended, NotAdmitted::Suspended),
            (Standing::Removing, NotAdmitted::Removing),
            (Standing::Removed, NotAdmitted::Unknown),
            (Standing::Unreadable, NotAdmitted::Unreadable),
        ] {
            listing.standing = standing;
            assert_eq!(listing.admit(&connection(Uuid::max())), Err(refused));
        }
    }
}
