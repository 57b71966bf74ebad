//! The example `mtls`: it must notice when the check of certificates is missing.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is wrong"
)]

mod support;

use std::collections::BTreeSet;
use std::process::Output;

use serde_json::{Value, json};
use support::examples::example;

fn run(arguments: &[&str]) -> (Output, Vec<Value>) {
    let output = example("mtls").args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    (output, lines)
}

fn events<'a>(lines: &'a [Value], event: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

#[test]
fn each_shipper_has_connections_and_tickets_of_its_own_and_the_thief_gets_nothing() {
    let (output, lines) = run(&["--json"]);
    assert_eq!(output.status.code(), Some(0));
    let shipments = events(&lines, "shipment");
    let told = |name: &str| -> Vec<_> { shipments.iter().map(|line| line[name].clone()).collect() };
    assert_eq!(told("status"), [201; 5]);
    assert_eq!(told("tenant"), ["acme", "globex", "acme", "globex", "acme"]);
    assert_eq!(told("handshake"), ["full", "full", "resumed", "resumed", "resumed"]);
    assert_eq!(told("scheme"), ["Bearer", "Bearer", "Bearer", "Bearer", "DPoP"]);
    for bound in &shipments[..4] {
        assert_eq!(bound["checked"], json!(["x5t"]));
    }
    let checked = json!(["signature", "htm", "htu", "iat", "jti", "ath", "cnf", "x5t"]);
    assert_eq!(shipments[4]["checked"], checked);

    let [acme, globex] = events(&lines, "connections")[..] else {
        panic!("{lines:?}")
    };
    assert_ne!(acme["x5t"], globex["x5t"]);
    let numbers = |one: &Value| -> BTreeSet<_> {
        let handshakes = one["handshakes"].as_array().unwrap().iter();
        handshakes
            .map(|handshake| handshake["connection"].as_u64().unwrap())
            .collect()
    };
    assert!(numbers(acme).is_disjoint(&numbers(globex)));
    for (name, own) in [("acme", acme), ("globex", globex)] {
        for call in lines.iter().filter(|line| line["tenant"] == name) {
            assert_eq!(call["x5t"], own["x5t"], "{call}");
        }
    }

    for theft in events(&lines, "theft") {
        assert_eq!(
            (&theft["status"], &theft["error"]),
            (&json!(401), &json!("invalid_token"))
        );
    }
    assert_eq!(events(&lines, "theft").len(), 4);
    assert_eq!(events(&lines, "call_without_token").len(), 2);
    assert_eq!(lines.last().unwrap()["ok"], true);
}

#[test]
fn a_certificate_is_exchanged_while_calls_go_on() {
    let (_, lines) = run(&["--json"]);
    let [exchange] = events(&lines, "exchange")[..] else {
        panic!("{lines:?}")
    };
    assert_ne!(exchange["old_x5t"], exchange["new_x5t"]);
    assert!(exchange["calls"].as_u64().unwrap() >= 20);
    assert_eq!(exchange["failed"], 0);
    assert_eq!(exchange["new_resumed"], false);
    assert_eq!(exchange["calls_with_old_token_since"], 0);
    assert_eq!(exchange["tokens"], 2);
}

#[test]
fn without_the_check_the_thief_gets_through_and_that_is_noticed() {
    let (output, lines) = run(&["--json", "--without-check", "certificate"]);
    assert_eq!(output.status.code(), Some(1));
    let summary = lines.last().unwrap();
    assert_eq!(summary["thefts"], 4);
    assert_eq!(summary["ok"], false);
    // Nothing else is what it is found out by.
    for (name, value) in [
        ("shipments", json!(5)),
        ("shippers_apart", json!(true)),
        ("exchanged", json!(true)),
    ] {
        assert_eq!(summary[name], value, "{name}");
    }
}

#[test]
fn the_text_is_short_and_says_how_it_ended() {
    let (output, _) = run(&[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(
        text.lines().count() < 40 && text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
    assert!(
        text.ends_with("5 labels bought, 4 thefts refused, 0 succeeded: as it must be\n"),
        "{text}"
    );
}

#[test]
fn bad_usage_is_told_apart() {
    assert_eq!(run(&["--without-check", "jti"]).0.status.code(), Some(2));
    assert_eq!(run(&["--yes"]).0.status.code(), Some(2));
}
