//! Sealing with the data key of whoever a value belongs to.

use std::fmt;

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::context::SealContext;

/// Why a value could not be sealed or opened. Says nothing of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// It does not open here: moved from another row, put back from an older state, changed, or sealed under a data key that
    /// is gone. User action: treat it as an attack on the database, unless somebody restored a part of it.
    #[error("the sealed value does not open here")]
    Refused,
    /// Whoever has the data key (the database, the KEK's provider) does not answer. User action: look at its health.
    #[error("the data key is not available")]
    Unavailable,
    /// The value is larger than [`MAX_VALUE`](super::MAX_VALUE). User action: look for what does not belong into it.
    #[error("the value is too large to be sealed")]
    TooLarge,
    /// The system gave no randomness. User action: none in this process; look at the system.
    #[error("the system gave no randomness")]
    Randomness,
}

/// Seals and opens values with the data keys of their owners, wherever those are kept.
#[async_trait]
pub trait Sealer: fmt::Debug + Send + Sync {
    /// Seals a value for this context; makes the owner's data key where there is none.
    ///
    /// # Errors
    /// [`SealError::Unavailable`], [`SealError::TooLarge`], [`SealError::Randomness`]; [`SealError::Refused`] when the owner's
    /// data key does not open, or the owner is of a deployment that is not served here.
    async fn seal(&self, context: &SealContext<'_>, value: &[u8]) -> Result<String, SealError>;

    /// Opens a value that was sealed for exactly this context.
    ///
    /// # Errors
    /// [`SealError::Refused`], [`SealError::Unavailable`].
    async fn open(&self, context: &SealContext<'_>, sealed: &str) -> Result<Zeroizing<Vec<u8>>, SealError>;
}
