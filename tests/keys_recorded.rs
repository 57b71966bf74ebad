//! Recorded keys: what a process knows of its keys, and what no crash, outage or race may do.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[path = "keys_recorded/authority.rs"]
mod authority;
#[path = "keys_recorded/ends.rs"]
mod ends;
#[path = "keys_recorded/making.rs"]
mod making;
#[path = "keys_recorded/records.rs"]
mod records;
#[path = "keys_recorded/world.rs"]
mod world;
