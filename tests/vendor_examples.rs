//! The examples of single carriers, as a user without credentials runs them.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is wrong"
)]

mod support;

use std::process::Output;

use serde_json::Value;
use support::examples::example;

const ALL: [(&str, &[&str]); 12] = [
    ("fedex", &[]),
    ("ups", &[]),
    ("dhl", &["--api", "express"]),
    ("dhl", &["--api", "parcel-de"]),
    ("dhl", &["--api", "ecommerce-americas"]),
    ("dhl", &["--api", "tracking"]),
    ("dhl", &["--api", "parcel-nl"]),
    ("usps", &[]),
    ("easypost", &[]),
    ("shipengine", &[]),
    ("nshift", &[]),
    ("cargoson", &[]),
];

fn run(name: &str, arguments: &[&str], further: &[&str]) -> (Output, String) {
    let output = example(name).args(arguments).args(further).output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (output, text)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_says_that_it_talks_to_an_imitation_and_that_all_went_well() {
    for (name, api) in ALL {
        let (output, text) = run(name, api, &[]);
        assert_eq!(output.status.code(), Some(0), "{name} {api:?}: {text}");
        assert!(text.starts_with("An imitation of "), "{name} {api:?}: {text}");
        assert!(text.contains(" accepts this credential."), "{name} {api:?}: {text}");
        assert!(text.contains(" after 1 attempt(s)\n"), "{name} {api:?}: {text}");
        assert!(text.ends_with("\nas it must be\n"), "{name} {api:?}: {text}");
    }
}

#[test]
fn each_has_one_json_object_a_line_and_a_summary_at_the_end() {
    for (name, api) in ALL {
        let (output, text) = run(name, api, &["--json"]);
        assert_eq!(output.status.code(), Some(0), "{name} {api:?}: {text}");
        let lines = lines(&text);
        let events: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
        let all = ["carrier", "credential", "call", "look_up", "replacement", "summary"];
        assert_eq!(events, all, "{name} {api:?}");
        assert_eq!(lines[0]["imitation"], true);
        assert_eq!(lines[1]["standing"], "works");
        assert_eq!(lines[5]["ok"], true);
    }
}

#[test]
fn a_credential_that_has_ended_is_told_apart_from_a_failure() {
    for (name, api) in ALL {
        let (output, text) = run(name, api, &["--wrong-key", "--json"]);
        assert_eq!(output.status.code(), Some(1), "{name} {api:?}: {text}");
        let lines = lines(&text);
        let standing = lines[1]["standing"].as_str().unwrap();
        assert!(["wrong", "refused"].contains(&standing), "{name} {api:?}: {text}");
        assert_eq!((&lines[5]["call"], &lines[5]["ok"]), (&false.into(), &false.into()));
    }
}

#[test]
fn a_variable_that_is_missing_beside_others_is_named_and_nothing_is_asked() {
    let mut half = example("dhl");
    half.args(["--api", "parcel-de"])
        .env("DHL_PARCEL_DE_USERNAME", "somebody");
    let output = half.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("DHL_PARCEL_DE_CLIENT_SECRET") && output.stdout.is_empty(),
        "{said}"
    );
}

#[test]
fn usage_names_the_variables_and_bad_usage_is_told_apart() {
    for (name, api) in ALL {
        let (output, text) = run(name, &[], &["--help"]);
        assert_eq!(output.status.code(), Some(0), "{name}");
        assert!(text.contains("_KEY") || text.contains("_SECRET"), "{name}: {text}");
        assert_eq!(run(name, api, &["--no-such-option"]).0.status.code(), Some(2), "{name}");
    }
    assert_eq!(run("dhl", &["--api", "freight"], &[]).0.status.code(), Some(2));
    assert_eq!(run("ups", &["--api", "ups"], &[]).0.status.code(), Some(2));
}
