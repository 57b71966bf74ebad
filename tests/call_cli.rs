//! The example `call`, run as its users run it, against the third-party servers of `tests/peers` and the sandbox.
//!
//! `cargo test` builds the examples before it runs the tests, and puts them beside the tests' directory. `cargo test --test
//! call_cli` alone does not: run `cargo build --example call` (with the same features) before it.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // helpers of tests may stop them

mod support;

#[path = "call_cli/answers.rs"]
mod answers;
#[path = "call_cli/assertions.rs"]
mod assertions;
#[path = "call_cli/certificates.rs"]
mod certificates;
#[path = "call_cli/origins.rs"]
mod origins;
#[path = "call_cli/program.rs"]
mod program;
#[path = "call_cli/reload.rs"]
mod reload;
#[path = "call_cli/sandboxed.rs"]
mod sandboxed;
#[path = "call_cli/secrets.rs"]
mod secrets;
#[path = "call_cli/usage.rs"]
mod usage;
#[path = "call_cli/verbs.rs"]
mod verbs;
