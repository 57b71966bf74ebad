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

    /// The digest of every part with its length: what a provider gives to its service as associated data (encryption context),
    /// so that nothing unwraps for anybody else.
    pub fn digest(&self) -> [u8; 32] {
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
///
/// # Writing one
///
/// - **An id is one version of one key, for ever.** Where a service rotates behind one name, the version belongs into the id;
///   where it does not tell versions apart, the name of the key is the id, and its own rotation stays off.
/// - **The context is authenticated** by the service ([`WrapContext::digest`] as encryption context or associated data), not
///   compared by us. One that takes none cannot be used as it is: seal `key` with AES-GCM under a key that the service wraps.
/// - **Refused is not Unavailable.** What does not open is [`KekError::Refused`], and is not tried again; a service that does
///   not answer, or throttles, is [`KekError::Unavailable`].
/// - **Bounded.** An answer, or an error, in seconds: by the time limits of the client that is called.
/// - **Quiet.** No key in errors, logs or `Debug`.
/// - **Rights.** The application, and nobody else, may encrypt and decrypt with this key, and do nothing else with it: who
///   deletes it destroys all that is sealed.
///
/// ```
/// use async_trait::async_trait;
/// use shipbound::store::seal::{DataKey, KekError, KekId, KekProvider, WrapContext, Wrapped};
/// # use zeroize::Zeroizing;
/// # #[derive(Debug)] struct CloudKms;
/// # enum KmsError { NotFound, InvalidCiphertext, Other }
/// # impl CloudKms {
/// #     async fn encrypt(&self, _: &str, _: &[u8], _: &str) -> Result<String, KmsError> { Err(KmsError::Other) }
/// #     async fn decrypt(&self, _: &str, _: &str, _: &str) -> Result<Zeroizing<[u8; 32]>, KmsError> { Err(KmsError::Other) }
/// # }
///
/// /// A key of a cloud, by the client that its vendor gives.
/// #[derive(Debug)]
/// struct CloudKek {
///     client: CloudKms,
///     key: KekId,
/// }
///
/// /// The encryption context is text.
/// fn text(context: &WrapContext<'_>) -> String {
///     context.digest().iter().map(|octet| format!("{octet:02x}")).collect()
/// }
///
/// fn category(error: KmsError) -> KekError {
///     match error {
///         KmsError::NotFound => KekError::Unknown,
///         KmsError::InvalidCiphertext => KekError::Refused,
///         KmsError::Other => KekError::Unavailable,
///     }
/// }
///
/// #[async_trait]
/// impl KekProvider for CloudKek {
///     async fn current(&self) -> Result<KekId, KekError> {
///         Ok(self.key.clone())
///     }
///
///     async fn wrap(&self, kek: &KekId, key: &DataKey, context: &WrapContext<'_>) -> Result<Wrapped, KekError> {
///         let sealed = self.client.encrypt(kek.as_str(), key.expose(), &text(context)).await;
///         Ok(Wrapped { kek: kek.clone(), text: sealed.map_err(category)? })
///     }
///
///     async fn unwrap(&self, wrapped: &Wrapped, context: &WrapContext<'_>) -> Result<DataKey, KekError> {
///         let opened = self.client.decrypt(wrapped.kek.as_str(), &wrapped.text, &text(context)).await;
///         Ok(DataKey::new(opened.map_err(category)?))
///     }
/// }
/// ```
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
