//! Mutual TLS from end to end: clients with certificates, real servers that write down what they were shown.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[path = "../identity_support/mod.rs"]
mod identity_support;
#[path = "../transport_support/mod.rs"]
mod transport_support;

mod calls;
mod refused;
mod reload;
mod stored;
mod tenants;
mod world;
