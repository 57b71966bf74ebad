//! What is written down is sealed: values, data keys, and the stores that keep them.

#![cfg(feature = "sealed")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // helpers of tests may stop them

#[path = "sealed/headers.rs"]
mod headers;
#[path = "sealed/local_kek.rs"]
mod local_kek;
#[path = "sealed/matrix.rs"]
mod matrix;
#[path = "sealed/owners.rs"]
mod owners;
