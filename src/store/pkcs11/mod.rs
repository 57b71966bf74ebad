//! Keys on PKCS#11 tokens.

mod failure;
#[cfg(feature = "sealed")]
mod kek;
mod module;
mod objects;
mod sessions;
mod token;

pub use self::failure::Pkcs11Failure;
#[cfg(feature = "sealed")]
pub use self::kek::Pkcs11Kek;
pub use self::token::{Pkcs11Token, Pkcs11TokenBuilder, TokenName};

use crate::keys::RecordedKeys;

/// Keys of connections on a token, their records in `R`.
pub type Pkcs11KeyStore<R> = RecordedKeys<R, Pkcs11Token>;
