//! Keys in the Transit engine of a real OpenBao server, which is sealed, restarted and tampered with.
#![cfg(feature = "transit")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod answers;
mod keys;
mod scene;
mod store;
#[cfg(feature = "sealed")]
mod wrapping;

#[path = "../support/held.rs"]
mod held;
#[path = "../support/openbao.rs"]
mod openbao;
