//! Sender-constrained carrier tokens for Rust shipping services.
#![forbid(unsafe_code)]

pub mod binding;
pub mod carriers;
pub mod client;
pub mod clock;
pub mod credentials;
mod crypto;
pub mod error;
pub mod exchange;
pub mod jose;
pub mod journal;
mod json;
pub mod keys;
pub mod owner;
pub mod parts;
pub mod rollout;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod secret;
pub mod target;
pub mod token;
pub mod transport;
pub mod verify;

pub use self::client::{CarrierClient, Client};
pub use self::error::{Error, ErrorKind};
pub use self::parts::Parts;
