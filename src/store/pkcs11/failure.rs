//! Why a token did not do what it was asked.

use cryptoki::error::{Error, RvError};
use thiserror::Error;

use crate::keys::KeyError;

/// Why the newest call to a token failed. Carries no text of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Pkcs11Failure {
    /// The module's library cannot be loaded, or does not initialise.
    ///
    /// User action: correct the path; look at the module's own configuration, its environment variables and its log.
    #[error("the PKCS#11 module cannot be loaded or initialised")]
    Module,
    /// No slot has a token with this label or serial number, or more than one has.
    ///
    /// User action: connect the token, correct its name, or name it by its serial number.
    #[error("there is not exactly one token of this name")]
    Token,
    /// The token does not take the PIN, or has locked it. It is not shown again, since a token locks itself after a few wrong
    /// ones.
    ///
    /// User action: [set](super::Pkcs11Token::set_pin) the right PIN; have it unlocked.
    #[error("the token does not take the PIN")]
    Pin,
    /// The token does not know the mechanism, the curve or the size of the key.
    ///
    /// User action: use a token that has CKM_ECDSA on P-256 (ES256), CKM_RSA_PKCS_PSS (PS256) or CKM_AES_GCM (data keys).
    #[error("the token does not know the mechanism")]
    Unsupported,
    /// All sessions are taken by calls that did not end in time.
    ///
    /// User action: look at the token's health and load; allow more [sessions](super::Pkcs11TokenBuilder::sessions).
    #[error("all sessions of the token are taken")]
    Busy,
    /// The token did not answer in time. The call may end later all the same.
    ///
    /// User action: look at the token's health; raise the [limit](super::Pkcs11TokenBuilder::limit).
    #[error("the token took too long")]
    Late,
    /// Any other failure of the token or of the way to it.
    ///
    /// User action: look at the token's and the module's log.
    #[error("the token failed")]
    Device,
}

/// How one call ended that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Session, login or handle are not good any more: to be made anew, and the call repeated.
    Stale,
    /// There is no such object.
    Missing,
    /// There is one, but not the one that is meant: two of a name, another public half, one that can be exported.
    Mismatch,
    /// The input does not belong to the key: it was changed, moved, or made with another one.
    Refused,
    Failed(Pkcs11Failure),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let Error::Pkcs11(value, _function) = error else {
            return Self::Failed(match error {
                Error::LibraryLoading(_) | Error::MissingSymbol(_) => Pkcs11Failure::Module,
                Error::NotSupported | Error::NullFunctionPointer => Pkcs11Failure::Unsupported,
                _ => Pkcs11Failure::Device,
            });
        };
        match value {
            RvError::SessionHandleInvalid
            | RvError::SessionClosed
            | RvError::UserNotLoggedIn
            | RvError::CryptokiNotInitialized
            | RvError::DeviceRemoved
            | RvError::TokenNotPresent
            | RvError::SlotIdInvalid
            | RvError::KeyHandleInvalid
            | RvError::ObjectHandleInvalid => Self::Stale,
            RvError::MechanismInvalid
            | RvError::MechanismParamInvalid
            | RvError::CurveNotSupported
            | RvError::KeySizeRange
            | RvError::DomainParamsInvalid
            | RvError::FunctionNotSupported => Self::Failed(Pkcs11Failure::Unsupported),
            RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange => Self::Refused,
            RvError::PinIncorrect
            | RvError::PinInvalid
            | RvError::PinLenRange
            | RvError::PinExpired
            | RvError::PinLocked
            | RvError::UserPinNotInitialized => Self::Failed(Pkcs11Failure::Pin),
            _ => Self::Failed(Pkcs11Failure::Device),
        }
    }
}

impl From<Fault> for KeyError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Missing => Self::Missing,
            Fault::Mismatch => Self::Mismatch,
            Fault::Stale | Fault::Refused | Fault::Failed(_) => Self::SignerFailed,
        }
    }
}
