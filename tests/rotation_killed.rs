//! Processes that rotate keys in a database and are killed at every step: nothing is lost, and no call fails.
#![cfg(feature = "sql")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // helpers of tests may stop them
#![allow(dead_code)] // what other tests of databases have, and these do not need

#[path = "rotation/killed.rs"]
mod killed;
#[path = "support/postgres.rs"]
mod postgres;
#[path = "sealed/provider.rs"]
mod provider;
#[path = "rotation/steps.rs"]
mod steps;
#[path = "sql/world.rs"]
mod world;
