//! The examples as a user runs them: built binaries, next to the test's own.
#![allow(dead_code, clippy::expect_used, clippy::panic, reason = "test support")]

use std::process::Command;

/// The example `name`, with nothing of this process's environment that could change what it does.
pub(crate) fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("the test knows its own path");
    let profile = test
        .parent()
        .and_then(|deps| deps.parent())
        .expect("target/<profile>/deps/<test>");
    let program = profile
        .join("examples")
        .join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(
        program.exists(),
        "the example {name} is not built: `cargo test` builds it, `cargo build --examples` too"
    );
    let mut command = Command::new(program);
    // Somebody's credentials would have an example talk to a carrier.
    command.env_clear();
    command
}
