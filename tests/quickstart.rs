//! The example `quickstart`: it must notice when a check is missing, and be quick.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is wrong"
)]

mod support;

use std::collections::BTreeMap;
use std::process::Output;

use serde_json::Value;
use support::examples::example;

fn run(arguments: &[&str]) -> (Output, Vec<Value>) {
    let output = example("quickstart").args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    (output, lines)
}

/// The thief's attempts, and whether each was refused.
fn thefts(lines: &[Value]) -> BTreeMap<String, bool> {
    let thefts = lines.iter().filter(|line| line["event"] == "theft");
    thefts
        .map(|line| {
            (
                line["attempt"].as_str().unwrap().to_owned(),
                line["refused"].as_bool().unwrap(),
            )
        })
        .collect()
}

#[test]
fn both_shippers_are_served_and_every_theft_is_refused_by_the_server() {
    let (output, lines) = run(&["--json"]);
    assert_eq!(output.status.code(), Some(0));
    let shipments: Vec<_> = lines.iter().filter(|line| line["event"] == "shipment").collect();
    assert_eq!(shipments.len(), 2);
    assert_ne!(shipments[0]["jkt"], shipments[1]["jkt"]);
    for shipment in shipments {
        assert_eq!(shipment["status"], 201);
        assert_eq!(shipment["scheme"], "DPoP");
        let checked: Vec<_> = shipment["checked"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c.as_str().unwrap())
            .collect();
        assert_eq!(checked, ["signature", "htm", "htu", "iat", "jti", "ath", "cnf"]);
    }
    for theft in lines.iter().filter(|line| line["event"] == "theft") {
        assert_eq!(theft["status"], 401, "{theft}");
        assert!(
            ["invalid_token", "invalid_dpop_proof"].contains(&theft["error"].as_str().unwrap()),
            "{theft}"
        );
    }
    assert_eq!(thefts(&lines).len(), 6);
    let summary = lines.last().unwrap();
    assert_eq!((&summary["event"], &summary["ok"]), (&"summary".into(), &true.into()));
}

#[test]
fn each_check_that_is_left_out_lets_a_theft_through_and_is_noticed() {
    let stopped_by = [
        ("jti", "captured_proof_again"),
        ("htu", "proof_at_another_url"),
        ("ath", "proof_for_another_token"),
        ("cnf", "token_with_another_key"),
        ("signature", "proof_with_forged_signature"),
    ];
    for (check, theft) in stopped_by {
        let (output, lines) = run(&["--json", "--without-check", check]);
        assert_eq!(output.status.code(), Some(1), "{check}");
        assert!(!thefts(&lines)[theft], "{check}");
        assert_eq!(lines.last().unwrap()["ok"], false, "{check}");
    }
}

#[test]
fn the_text_is_short_and_says_how_it_ended() {
    let (output, _) = run(&[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(
        text.lines().count() < 30 && text.lines().all(|line| line.len() <= 100),
        "{text}"
    );
    assert!(
        text.ends_with("2 labels bought, 6 thefts refused, 0 succeeded: as it must be\n"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "no colour where there is no terminal");
}

#[test]
fn bad_usage_is_told_apart() {
    assert_eq!(run(&["--without-check", "everything"]).0.status.code(), Some(2));
    assert_eq!(run(&["--yes"]).0.status.code(), Some(2));
}
