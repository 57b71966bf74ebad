//! What can go wrong with KEKs.

use thiserror::Error;

use super::keks::KekState;
use crate::store::seal::{DataKeyId, KekError, SealError};
use crate::store::sql::{DatabaseError, LedgerError, SqlError};

/// Why a KEK could not be rotated, or data keys not be wrapped anew. Whatever was done stays done: call it again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SealingError {
    /// The database. User action: see [`DatabaseError`].
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The provider of KEKs. User action: see [`KekError`].
    #[error(transparent)]
    Kek(#[from] KekError),
    /// The provider's current KEK cannot become the active one, since it was one before. User action: give the provider a new
    /// KEK under a new id.
    #[error("the provider's current KEK is {0:?} and cannot become the active one")]
    NotNew(KekState),
    /// This wrapped data key, perhaps others, does not open or cannot be read (all zeros: nor can its id): its row was changed. All others are done. User action: restore the
    /// row from a backup; what is sealed under that data key cannot be read without it.
    #[error("a wrapped data key does not open")]
    Broken(DataKeyId),
    /// No data key of this deployment was ever wrapped under this KEK. User action: look for the right id, and whether this is
    /// the right deployment and database.
    #[error("the database does not know this KEK")]
    UnknownKek,
    /// No ledger is bound, where it is written down which data keys have ended, or nobody has it any more. Nothing was done. User
    /// action: open the stores with this sealing ([`SqlStores::open`](crate::store::sql::SqlStores::open)) or
    /// [bind](crate::store::sql::Sealing::bind) a ledger, keep it, and call it again.
    #[error("no ledger is bound")]
    NoLedger,
    /// The ledger. User action: see [`LedgerError`].
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<SealError> for SealingError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Randomness => Self::Kek(KekError::Randomness),
            SealError::Refused => Self::Kek(KekError::Refused),
            SealError::Unavailable | SealError::TooLarge => Self::Kek(KekError::Unavailable),
        }
    }
}

impl From<SqlError> for SealingError {
    fn from(error: SqlError) -> Self {
        Self::Database(error.into())
    }
}

/// What sealing says of a database that does not answer.
pub(super) fn unavailable(_error: SqlError) -> SealError {
    SealError::Unavailable
}

pub(super) fn of_kek(error: &KekError) -> SealError {
    match error {
        KekError::Refused => SealError::Refused,
        KekError::Randomness => SealError::Randomness,
        KekError::Unknown | KekError::Unavailable | KekError::Invalid(_) => SealError::Unavailable,
    }
}
