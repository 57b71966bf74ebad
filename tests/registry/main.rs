//! Connections at run time: real servers, real clients, a clock that the tests move.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

mod acts;
mod fleet;
mod killed;
mod reborn;
mod regions;
mod removal;
mod stores;
mod world;
