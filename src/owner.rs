//! Whose key, token or nonce it is.
//!
//! Nothing usable is looked up without an [`Owner`]. Ids are compared by bytes and never folded, trimmed or joined into
//! text, so that no two owners can be made to look alike.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;
use uuid::Uuid;

use crate::crypto::Digest;

/// Why a text cannot be an id.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("an id has 1 to 128 characters of A-Z a-z 0-9 . _ -")]
#[non_exhaustive]
pub struct InvalidId;

macro_rules! id_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id with this text.
            ///
            /// # Errors
            /// [`InvalidId`] unless the text has 1 to 128 characters of `A-Z a-z 0-9 . _ -`. Map the application's own
            /// ids to that alphabet by an encoding without collisions (hexadecimal, say), not by replacing characters.
            pub fn new(text: &str) -> Result<Self, InvalidId> {
                let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
                if (1..=128).contains(&text.len()) && text.bytes().all(legal) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidId)
                }
            }

            /// The id's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }
    };
}

id_text! {
    /// A shipper that the application serves.
    TenantId
}
id_text! {
    /// A carrier, `fedex` for instance.
    CarrierId
}
id_text! {
    /// One of several accounts that a tenant has with a carrier; [`AccountId::main`] where there is one.
    AccountId
}
id_text! {
    /// The deployment that this process belongs to: two deployments that share a store share nothing in it.
    DeploymentId
}

id_text! {
    /// A part of the world in which a connection's records stay: `eu`, for instance. What it means is the deployment's to say.
    Region
}

impl CarrierId {
    /// The id of a profile of this crate; a test looks at each of them.
    pub(crate) fn of_profile(text: &'static str) -> Self {
        Self(Arc::from(text))
    }
}

impl AccountId {
    /// The account `main`, used where a tenant has one account with a carrier.
    pub fn main() -> Self {
        Self(Arc::from("main"))
    }
}

impl DeploymentId {
    /// The deployment `default`.
    pub fn default_deployment() -> Self {
        Self(Arc::from("default"))
    }
}

/// A shipper, and which holder of that id is meant.
///
/// When an id is given to a new customer after the old one has left, the new one gets another incarnation: no key or token
/// of the old one can then be found. Applications that never use an id again keep the default, the nil UUID.
///
/// ```
/// use shipbound::owner::{Tenant, TenantId};
///
/// let tenant = Tenant::from(TenantId::new("acme")?);
/// assert!(tenant.incarnation().is_nil());
/// # Ok::<(), shipbound::owner::InvalidId>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tenant {
    id: TenantId,
    incarnation: Uuid,
}

impl Tenant {
    /// The tenant with this id and incarnation.
    pub fn new(id: TenantId, incarnation: Uuid) -> Self {
        Self { id, incarnation }
    }

    /// The tenant's id.
    pub fn id(&self) -> &TenantId {
        &self.id
    }

    /// Which holder of the id this is.
    pub fn incarnation(&self) -> Uuid {
        self.incarnation
    }
}

impl From<TenantId> for Tenant {
    fn from(id: TenantId) -> Self {
        Self {
            id,
            incarnation: Uuid::nil(),
        }
    }
}

/// Whether a connection leads to a carrier's sandbox or to the real thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Environment {
    /// The carrier's test system.
    Sandbox,
    /// The carrier's live system: calls cost money.
    Production,
}

impl Environment {
    /// `sandbox` or `production`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Production => "production",
        }
    }
}

/// One tenant's account with one carrier in one environment, in one deployment. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ConnectionId(Arc<Parts>);

#[derive(PartialEq, Eq, Hash)]
struct Parts {
    deployment: DeploymentId,
    tenant: Tenant,
    carrier: CarrierId,
    environment: Environment,
    account: AccountId,
}

impl ConnectionId {
    /// The connection with these parts.
    pub fn new(
        deployment: DeploymentId,
        tenant: Tenant,
        carrier: CarrierId,
        environment: Environment,
        account: AccountId,
    ) -> Self {
        Self(Arc::new(Parts {
            deployment,
            tenant,
            carrier,
            environment,
            account,
        }))
    }

    /// The deployment.
    pub fn deployment(&self) -> &DeploymentId {
        &self.0.deployment
    }

    /// The tenant.
    pub fn tenant(&self) -> &Tenant {
        &self.0.tenant
    }

    /// The carrier.
    pub fn carrier(&self) -> &CarrierId {
        &self.0.carrier
    }

    /// The environment.
    pub fn environment(&self) -> Environment {
        self.0.environment
    }

    /// The account.
    pub fn account(&self) -> &AccountId {
        &self.0.account
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionId")
            .field("deployment", &self.0.deployment)
            .field("tenant", &self.0.tenant.id)
            .field("incarnation", &self.0.tenant.incarnation)
            .field("carrier", &self.0.carrier)
            .field("environment", &self.0.environment)
            .field("account", &self.0.account)
            .finish()
    }
}

/// A connection without its deployment: what a store in memory keeps things by, since it serves the process that fills it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    tenant: Tenant,
    carrier: CarrierId,
    environment: Environment,
    account: AccountId,
}

impl Place {
    pub(crate) fn new(tenant: Tenant, carrier: &CarrierId, environment: Environment, account: AccountId) -> Self {
        Self {
            tenant,
            carrier: carrier.clone(),
            environment,
            account,
        }
    }

    pub(crate) fn of(connection: &ConnectionId) -> Self {
        Self::new(
            connection.tenant().clone(),
            connection.carrier(),
            connection.environment(),
            connection.account().clone(),
        )
    }
}

/// What every key, token, nonce, budget and breaker belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Owner {
    /// A tenant's connection to a carrier.
    Connection(ConnectionId),
    /// The deployment itself: keys that the library owns.
    Deployment(DeploymentId),
}

impl Owner {
    /// The deployment.
    pub fn deployment(&self) -> &DeploymentId {
        match self {
            Self::Connection(connection) => connection.deployment(),
            Self::Deployment(deployment) => deployment,
        }
    }

    /// The connection; `None` for the deployment's own.
    pub fn connection(&self) -> Option<&ConnectionId> {
        match self {
            Self::Connection(connection) => Some(connection),
            Self::Deployment(_) => None,
        }
    }

    /// Every part, each with its length, so that no two owners give the same.
    pub(crate) fn digest_into(&self, digest: &mut Digest) {
        match self {
            Self::Deployment(deployment) => {
                digest.text("deployment");
                digest.text(deployment.as_str());
            }
            Self::Connection(connection) => {
                digest.text("connection");
                digest.text(connection.deployment().as_str());
                digest.text(connection.tenant().id().as_str());
                digest.bytes(connection.tenant().incarnation().as_bytes());
                digest.text(connection.carrier().as_str());
                digest.text(connection.environment().as_str());
                digest.text(connection.account().as_str());
            }
        }
    }
}

impl From<ConnectionId> for Owner {
    fn from(connection: ConnectionId) -> Self {
        Self::Connection(connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_outside_the_alphabet_are_refused() {
        for text in [
            "",
            "a:b",
            "a|b",
            "a/../b",
            "a\0",
            "a\u{1f}b",
            "a\r\nDEL x",
            "\u{e9}",
            "e\u{301}",
            "*",
            "a b",
        ] {
            assert_eq!(TenantId::new(text), Err(InvalidId), "{text:?}");
            assert_eq!(CarrierId::new(text), Err(InvalidId), "{text:?}");
        }
        assert_eq!(TenantId::new(&"a".repeat(129)), Err(InvalidId));
        assert!(TenantId::new(&"a".repeat(128)).is_ok());
    }

    #[test]
    fn every_part_of_a_connection_separates() {
        let id = |deployment: &str, tenant: &str, incarnation, carrier: &str, environment, account: &str| {
            ConnectionId::new(
                DeploymentId::new(deployment).unwrap(),
                Tenant::new(TenantId::new(tenant).unwrap(), incarnation),
                CarrierId::new(carrier).unwrap(),
                environment,
                AccountId::new(account).unwrap(),
            )
        };
        let base = id("d", "t", Uuid::nil(), "c", Environment::Sandbox, "main");
        assert_eq!(base, id("d", "t", Uuid::nil(), "c", Environment::Sandbox, "main"));
        for other in [
            id("e", "t", Uuid::nil(), "c", Environment::Sandbox, "main"),
            id("d", "T", Uuid::nil(), "c", Environment::Sandbox, "main"),
            id("d", "t", Uuid::max(), "c", Environment::Sandbox, "main"),
            id("d", "t", Uuid::nil(), "C", Environment::Sandbox, "main"),
            id("d", "t", Uuid::nil(), "c", Environment::Production, "main"),
            id("d", "t", Uuid::nil(), "c", Environment::Sandbox, "track"),
        ] {
            assert_ne!(base, other);
        }
    }
}
