//! Sender-constrained carrier tokens for Rust shipping services.
#![forbid(unsafe_code)]

pub mod clock;
pub mod owner;
pub mod secret;
