//! One program for all targets: `SHIPBOUND_FUZZ` names the one to run. Built with `--cfg fuzzing` it is libFuzzer, and writes
//! the target's seeds to the directory that `SHIPBOUND_FUZZ_SEEDS` names before it starts; built without, it runs the
//! target once on each file of its command line.
#![cfg_attr(fuzzing, no_main)]

use std::sync::OnceLock;

use shipbound_tests_fuzz::{TARGETS, Target};

#[expect(
    clippy::disallowed_methods,
    reason = "libFuzzer leaves no other way to hand something over"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn target() -> &'static Target {
    static TARGET: OnceLock<&Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = variable("SHIPBOUND_FUZZ");
        let known = TARGETS.iter().find(|target| Some(target.name) == name.as_deref());
        known.unwrap_or_else(|| {
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            eprintln!("SHIPBOUND_FUZZ is to be one of: {}", names.join(" "));
            std::process::exit(2)
        })
    })
}

#[cfg(fuzzing)]
fn write_seeds() {
    let target = target();
    let Some(directory) = variable("SHIPBOUND_FUZZ_SEEDS") else {
        return;
    };
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{} has no seeds", target.name);
    for (number, seed) in seeds.iter().enumerate() {
        std::fs::write(format!("{directory}/seed-{number:03}"), seed).unwrap();
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(init: write_seeds(), |data: &[u8]| (target().run)(data));

#[cfg(not(fuzzing))]
fn main() {
    for file in std::env::args_os().skip(1) {
        println!("{}: {}", target().name, file.display());
        (target().run)(&std::fs::read(file).unwrap());
    }
}
