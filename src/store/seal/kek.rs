//! What data keys are wrapped under.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::data_key::{DataKey, DataKeyId};
use crate::crypto::Digest;
use crate::owner::{DeploymentId, Tenant};

/// The id of a key-encryption key, 1 to 128 characters of `A-Z a-z 0-9 . _ - :`. Names one version of one key for ever.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KekId(Arc<str>);

impl KekId {
    /// The id with this text.
    ///
    /// # Errors
    /// [`KekError::Invalid`] when it has other characters, or none, or more than 128.
    pub fn new(text: &str) -> Result<Self, KekError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':');
        if (1..=128).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(text.into()))
        } else {
            Err(KekError::Invalid(
                "its id has 1 to 128 characters of A-Z a-z 0-9 . _ - :",
            ))
        }
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// What a wrapped data key belongs to: it does not unwrap for anything else.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WrapContext<'a> {
    /// Of which deployment.
    pub deployment: &'a DeploymentId,
    /// Of which tenant; `None` for the deployment's own.
    pub tenant: Option<&'a Tenant>,
    /// Which data key.
    pub data_key: DataKeyId,
}

impl<'a> WrapContext<'a> {
    /// This data key of this tenant, or of the deployment itself.
    pub fn new(deployment: &'a DeploymentId, tenant: Option<&'a Tenant>, data_key: DataKeyId) -> Self {
        Self {
            deployment,
            tenant,
            data_key,
        }
    }

    /// The digest of every part with its length.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut parts = Digest::default();
        parts.text("shipbound wrap 1");
        parts.text(self.deployment.as_str());
        match self.tenant {
            None => parts.text("deployment"),
            Some(tenant) => {
                parts.text("tenant");
                parts.text(tenant.id().as_str());
                parts.bytes(tenant.incarnation().as_bytes());
            }
        }
        parts.bytes(self.data_key.as_uuid().as_bytes());
        parts.finish()
    }
}

/// A data key as the KEK has wrapped it, to be written down as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapped {
    /// Under which KEK.
    pub kek: KekId,
    /// What it was wrapped to.
    pub text: String,
}

/// Why a data key could not be wrapped or unwrapped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KekError {
    /// The provider has no KEK of this id (any more). User action: give it back its old KEK until re-wrapping has ended.
    #[error("no such KEK")]
    Unknown,
    /// The provider does not answer. User action: look at its health.
    #[error("the KEK's provider is not available")]
    Unavailable,
    /// The wrapped key does not unwrap in this context: it was moved, changed, or wrapped under another KEK of the same id.
    /// User action: treat it as an attack on the database, or restore the right KEK.
    #[error("the wrapped key does not open here")]
    Refused,
    /// A KEK that was handed in cannot be used. User action: as the text says.
    #[error("not a KEK: {0}")]
    Invalid(&'static str),
    /// The system gave no randomness. User action: none in this process; look at the system.
    #[error("the system gave no randomness")]
    Randomness,
}

/// Wraps the data keys of tenants: a KEK in the environment or a file (`LocalKek`), OpenBao's or Vault's Transit, an HSM, or
/// the service of a cloud, which anybody can write by this trait.
///
/// Called once for a tenant's first value and for each tenant in each process, not for each value.
#[async_trait]
pub trait KekProvider: fmt::Debug + Send + Sync {
    /// The KEK that new data keys are wrapped under.
    ///
    /// # Errors
    /// [`KekError::Unavailable`].
    async fn current(&self) -> Result<KekId, KekError>;

    /// Wraps a data key under this KEK.
    ///
    /// # Errors
    /// [`KekError`].
    async fn wrap(&self, kek: &KekId, key: &DataKey, context: &WrapContext<'_>) -> Result<Wrapped, KekError>;

    /// Unwraps a data key.
    ///
    /// # Errors
    /// [`KekError`].
    async fn unwrap(&self, wrapped: &Wrapped, context: &WrapContext<'_>) -> Result<DataKey, KekError>;
}
