//! What can go wrong with keys.

use thiserror::Error;

use super::{KeyState, Purpose};
use crate::jose::Algorithm;

/// Why a key could not be used, made or kept. Says nothing of the key itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The owner has no such key, or the key belongs to somebody else.
    ///
    /// User action: create a key for this owner, or read the active one again.
    #[error("no such key")]
    Missing,
    /// A handle was used for an owner that it does not belong to.
    ///
    /// User action: a bug in the caller: fetch the handle by the owner that it is used for.
    #[error("the key belongs to another owner")]
    WrongOwner,
    /// A handle was used for something that its key was not made for.
    ///
    /// User action: create a key with the purpose that is needed.
    #[error("the key was made for {found}, not for {wanted}")]
    WrongPurpose {
        /// What it was to be used for.
        wanted: Purpose,
        /// What it was made for.
        found: Purpose,
    },
    /// The key does not sign in the state that it is in: not yet promoted, drained, destroyed or compromised.
    ///
    /// User action: read the active key again; promote the key if it is pending.
    #[error("the key does not sign: it is {state:?}")]
    Closed {
        /// The key's state.
        state: KeyState,
    },
    /// The key could not be stored durably, so nothing may be bound to it.
    ///
    /// User action: look at the store (space, rights, quorum) and create the key again.
    #[error("the key could not be stored")]
    NotPersisted,
    /// The key store does not answer.
    ///
    /// User action: look at the store's health; calls for this owner go on when it is back.
    #[error("the key store is not available")]
    StoreUnavailable,
    /// The connection has no region, or one that has no store here ([`Regional`](crate::store::Regional)).
    ///
    /// User action: hand in the region's store, or add the connection with a region.
    #[error("there is no store for the connection's region")]
    NoRegion,
    /// The store shows an older state than it has shown before (`StateRolledBack`): a row or a dump was put back. Nothing signs.
    ///
    /// User action: if somebody restored a backup, follow the guide's chapter on restoring; else treat it as an attack on the
    /// database.
    #[error("the store's state was rolled back")]
    RolledBack,
    /// The store holds as many keys as it may.
    ///
    /// User action: retire keys that nobody needs, or give the store a higher limit.
    #[error("the key store is full: its limit is {limit} keys")]
    Full {
        /// The limit that was reached: that of one owner or of the whole store.
        limit: usize,
    },
    /// The store has had this key before: it belongs to an owner or was compromised.
    ///
    /// User action: make a new key. A key has one owner and is never used again once compromised.
    #[error("the store has had this key before")]
    Duplicate,
    /// Other processes promoted their keys first, time and again.
    ///
    /// User action: make sure that all processes of this deployment allow the same algorithms.
    #[error("other processes keep replacing this key")]
    Contended,
    /// The algorithm is not available.
    ///
    /// User action: as the hint says.
    #[error("{} is not available: {hint}", algorithm.name())]
    Unsupported {
        /// The algorithm that was asked for.
        algorithm: Algorithm,
        /// What to do about it.
        hint: &'static str,
    },
    /// A signer gave a signature that the handle's public key does not verify: its private key is another one by now, or the
    /// signature has the wrong form.
    ///
    /// User action: make sure that the signer (HSM, Vault) is pinned to one version of one key, and create a key anew.
    #[error("the signature does not belong to the key")]
    Mismatch,
    /// The key that was handed in is not acceptable.
    ///
    /// User action: see [`KeyImportError`].
    #[error("the key was refused: {0}")]
    Invalid(KeyImportError),
    /// The system gave no randomness.
    ///
    /// User action: none in this process; look at the system. Nothing that needs a key can go on.
    #[error("the system gave no randomness")]
    Randomness,
    /// The key could not be generated or written out.
    ///
    /// User action: try again; if it stays, report the platform that it happens on.
    #[error("the key operation failed")]
    OperationFailed,
    /// The signer could not sign.
    ///
    /// User action: look at the HSM's or the service's health; for a key in this process, report it.
    #[error("signing failed")]
    SignerFailed,
}

impl KeyError {
    /// A short name, for events and metrics: `missing`, `store_unavailable` and the like.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::WrongOwner => "wrong_owner",
            Self::WrongPurpose { .. } => "wrong_purpose",
            Self::Closed { .. } => "closed",
            Self::NotPersisted => "not_persisted",
            Self::StoreUnavailable => "store_unavailable",
            Self::RolledBack => "rolled_back",
            Self::NoRegion => "no_region",
            Self::Full { .. } => "full",
            Self::Duplicate => "duplicate",
            Self::Contended => "contended",
            Self::Unsupported { .. } => "unsupported",
            Self::Mismatch => "mismatch",
            Self::Invalid(_) => "invalid",
            Self::Randomness => "no_randomness",
            Self::OperationFailed => "operation_failed",
            Self::SignerFailed => "signer_failed",
        }
    }
}

impl From<KeyImportError> for KeyError {
    fn from(error: KeyImportError) -> Self {
        Self::Invalid(error)
    }
}

/// Why a private key was not taken in. A category only: no byte of the key, no text of a parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyImportError {
    /// The key is encrypted.
    ///
    /// User action: decrypt it first (`openssl pkey -in key.pem`), and keep the result in memory or a secret store.
    #[error("the key is encrypted")]
    Encrypted,
    /// The text is not one PEM block, or its label is not one of `PRIVATE KEY`, `EC PRIVATE KEY`, `RSA PRIVATE KEY`.
    ///
    /// User action: hand in one private key and nothing else; convert other formats with `openssl pkey`.
    #[error("the format is not known")]
    UnknownFormat,
    /// A public key or a certificate, or a JWK without `d`.
    ///
    /// User action: hand in the private key.
    #[error("there is no private key in it")]
    NotPrivate,
    /// The PEM, DER or JWK is damaged, cut short, or not in its canonical form.
    ///
    /// User action: export the key again.
    #[error("the encoding is damaged")]
    Malformed,
    /// Something follows after the key.
    ///
    /// User action: hand in one key and nothing else.
    #[error("something follows after the key")]
    TrailingData,
    /// The key is larger than 16 KiB.
    ///
    /// User action: hand in one private key and nothing else.
    #[error("the key is larger than 16 KiB")]
    TooLarge,
    /// The key's type or curve is none of P-256, Ed25519 and RSA, or it is marked for another algorithm or use.
    ///
    /// User action: make a P-256 key (`openssl ecparam -name prime256v1 -genkey`) or let the store create one.
    #[error("the key's type, curve or use is not supported")]
    UnsupportedKey,
    /// Keys of this type need a feature of this crate or another backend.
    ///
    /// User action: enable the feature `rsa` (RSA) or `aws-lc-rs` (Ed25519), and hand in `Backend::AwsLc`.
    #[error("keys of this type need the feature {feature} and its backend")]
    FeatureNeeded {
        /// The feature's name.
        feature: &'static str,
    },
    /// The RSA modulus has fewer than 2048 or more than 8192 bits.
    ///
    /// User action: make a key of 2048, 3072 or 4096 bits.
    #[error("an RSA key has 2048 to 8192 bits")]
    RsaSize,
    /// The public half is not a valid public key: a point off the curve, for instance.
    ///
    /// User action: treat the source of the key as broken; make a new key.
    #[error("the public half is not valid")]
    InvalidPublicKey,
    /// The public half does not belong to the private one.
    ///
    /// User action: treat the source of the key as broken; make a new key.
    #[error("public and private half do not belong together")]
    Mismatch,
    /// The private half is degenerate: zero, out of range, an even exponent, factors that do not fit.
    ///
    /// User action: treat the source of the key as broken; make a new key.
    #[error("the private half is not valid")]
    Degenerate,
}
