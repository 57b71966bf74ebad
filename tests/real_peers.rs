//! The whole way of a call, against authorization and resource servers that other people wrote (`tests/peers/README.md`).
//!
//! What is asserted is what those servers saw: their logs show every proof and every certificate as it arrived.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // helpers of tests may stop them

mod support;

#[path = "real_peers/assertions.rs"]
mod assertions;
#[path = "real_peers/both.rs"]
mod both;
#[path = "real_peers/certificates.rs"]
mod certificates;
#[path = "real_peers/combinations.rs"]
mod combinations;
#[path = "real_peers/consent.rs"]
mod consent;
#[path = "real_peers/handshakes.rs"]
mod handshakes;
#[path = "real_peers/introspection.rs"]
mod introspection;
#[path = "real_peers/issuer.rs"]
mod issuer;
#[path = "real_peers/nonces.rs"]
mod nonces;
#[path = "real_peers/refusals.rs"]
mod refusals;
#[path = "real_peers/seen.rs"]
mod seen;
