//! Connections at run time: real servers, real clients, a clock that the tests move.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

mod acts;
mod fleet;
mod killed;
mod others;
mod reborn;
mod regions;
mod removal;
mod side_by_side;
mod stores;
mod world;
