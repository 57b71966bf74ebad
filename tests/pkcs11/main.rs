//! Keys on a PKCS#11 token: SoftHSM, behind a module that misbehaves when it is told to.
#![cfg(feature = "pkcs11")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod faults;
mod objects;
mod store;
#[cfg(feature = "sealed")]
mod wrapping;

#[path = "../support/held.rs"]
mod held;
#[path = "../support/softhsm.rs"]
mod softhsm;
