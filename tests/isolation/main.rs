//! No tenant ever meets another's key, token or nonce: what the servers saw is attributed and judged, and the judgement is
//! shown to find every way of mixing tenants up that is tried here.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod judge;
mod look_alikes;
mod many;
mod mutants;
mod world;
