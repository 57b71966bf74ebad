//! The vectors of `client_proof_htu`: what a client takes as a URL, and the `htu` it signs.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use serde_json::Value;
use shipbound::target::Target;

#[test]
fn every_vector_of_client_proof_htu() {
    let vectors: Value = serde_json::from_str(include_str!("data/vectors.json")).unwrap();
    let cases = vectors["client_proof_htu"].as_array().unwrap();
    let mut ran = 0;
    for case in cases {
        let id = case["id"].as_str().unwrap();
        let url = case["input"]["request_url"].as_str().unwrap();
        match case["expect"]["outcome"].as_str().unwrap() {
            "accept" => {
                let target = Target::parse(url).unwrap_or_else(|error| panic!("{id}: {error}"));
                assert_eq!(target.htu(), case["expect"]["htu"].as_str().unwrap(), "{id}");
            }
            "reject" => assert!(Target::parse(url).is_err(), "{id}"),
            other => panic!("{id}: unknown outcome {other}"),
        }
        ran += 1;
    }
    assert_eq!(ran, 26);
    assert_eq!(vectors["counts"]["client_proof_htu"], ran);
}
