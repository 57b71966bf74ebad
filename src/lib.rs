//! Sender-constrained carrier tokens for Rust shipping services.
#![forbid(unsafe_code)]

pub mod clock;
mod crypto;
pub mod jose;
mod json;
pub mod keys;
pub mod owner;
pub mod secret;
pub mod target;
pub mod transport;
pub mod verify;
