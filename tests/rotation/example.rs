//! The example `rotate`: it rotates all keys, and notices when it does not.

use serde_json::Value;

use crate::support::examples::example;

fn run(arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
    let output = example("rotate").args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.code(), lines)
}

/// Sorted: a feature of some crate decides on the order.
fn members(summary: &Value) -> Vec<&str> {
    let mut members: Vec<_> = summary.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    members
}

#[test]
fn every_key_is_rotated_and_no_call_fails() {
    let (code, lines) = run(&["--json", "--keys", "500"]);
    assert_eq!(code, Some(0), "{lines:?}");
    let summary = lines.last().unwrap();
    assert_eq!(
        members(summary),
        ["failed", "keys", "ok", "p99_us_before", "p99_us_during", "rotated"]
    );
    assert_eq!(
        (&summary["keys"], &summary["rotated"], &summary["ok"]),
        (&500.into(), &500.into(), &true.into())
    );
    assert!(summary["p99_us_before"].as_u64() > Some(0) && summary["p99_us_during"].as_u64() > Some(0));
    let progress = lines.iter().filter(|line| line["event"] == "progress");
    assert!(progress.count() > 50);
}

#[test]
fn a_store_that_fails_is_noticed() {
    let (code, lines) = run(&["--json", "--keys", "200", "--break-store"]);
    assert_eq!(code, Some(1), "{lines:?}");
    let summary = lines.last().unwrap();
    assert_eq!((&summary["failed"], &summary["ok"]), (&4.into(), &false.into()));
}

#[test]
fn what_is_not_understood_is_refused() {
    for arguments in [&["--keys", "0"][..], &["--keys"], &["--store"], &["--what"]] {
        assert_eq!(run(arguments).0, Some(2), "{arguments:?}");
    }
}
