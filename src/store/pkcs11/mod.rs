//! Keys on PKCS#11 tokens.

mod failure;
mod module;
mod objects;
mod sessions;
mod token;

pub use self::failure::Pkcs11Failure;
pub use self::token::{Pkcs11Token, Pkcs11TokenBuilder, TokenName};
