//! The vectors of repeated requests, between a client and a server on real sockets, under a clock that stands still.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[path = "../support/scripted.rs"]
mod scripted;
mod sequence;
mod single;
mod world;

use serde_json::Value;

use sequence::sequence;
use world::Kind;

/// What cannot be reached, and why.
const NOT_APPLICABLE: [(&str, &str); 1] = [(
    "RS-06",
    "request bodies are whole buffers, so every body can be sent again",
)];

#[tokio::test]
async fn every_vector_of_retry_sequences() {
    let vectors: Value = serde_json::from_str(include_str!("../data/vectors.json")).unwrap();
    let all = vectors["retry_sequences"].as_array().unwrap();
    let mut ran = 0;
    for vector in all {
        match vector["id"].as_str().unwrap() {
            id if NOT_APPLICABLE.iter().any(|(listed, _)| *listed == id) => continue,
            "RS-16" => single::many_callers(vector).await,
            "RS-17" => single::a_cancelled_leader(vector).await,
            "RS-18" | "RS-19" => single::refreshes(vector).await,
            "RS-20" => single::a_revocation(vector).await,
            "RS-01" => {
                for kind in [Kind::Usual, Kind::Signed] {
                    sequence(vector, all, kind).await;
                }
            }
            _ if vector["expect"]["profile"] == "fedex" => sequence(vector, all, Kind::Fedex).await,
            _ => sequence(vector, all, Kind::Usual).await,
        }
        ran += 1;
    }
    assert_eq!((ran, ran + NOT_APPLICABLE.len()), (29, 30));
    assert_eq!(vectors["counts"]["retry_sequences"], all.len());
}
