//! The upkeep, beside calls of a client: with real servers, on a clock that the tests move.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

mod certificates;
mod issuer;
mod tokens;
mod world;
