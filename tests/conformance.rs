//! The suites for stores: every store of this crate passes them, and each broken one is found out.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[path = "conformance/broken_keys.rs"]
mod broken_keys;
#[path = "conformance/broken_others.rs"]
mod broken_others;
#[path = "conformance/stores.rs"]
mod stores;
