//! What several integration tests share. Each test binary uses a part of it, and may stop at the first thing that is wrong.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

pub mod examples;
pub mod marker;
pub mod peers;
pub mod shipper;
pub mod visitor;
