//! nShift's shipments of today with an order number that nobody has, as a shipping service would look for a lost one.
//!
//! `cargo run --example nshift` (`--help` for its options). With `NSHIFT_CLIENT_ID` and `NSHIFT_CLIENT_SECRET`, a client of the
//! portal with the scope for Shipment Data, in the environment it talks to nShift, otherwise to an imitation on this machine.

mod vendor;

use std::process::ExitCode;

use serde_json::json;
use shipbound::carriers;
use shipbound::client::{RequestBuilder, TenantClient};
use shipbound::owner::Environment;
use vendor::{Api, Variables};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let nshift = Api {
        name: "nshift",
        profile: carriers::nshift(Environment::Sandbox),
        variables: Variables {
            id: Some("NSHIFT_CLIENT_ID"),
            secret: "NSHIFT_CLIENT_SECRET",
            parts: &[],
        },
        question: shipments,
    };
    vendor::run("nshift", [nshift]).await
}

fn shipments(nshift: &TenantClient) -> RequestBuilder<'_> {
    let today = vendor::today();
    nshift
        .post("/track/shipmentdata/Operational/Shipments/ByOrderNumber")
        .json(&json!({
            "query": "none",
            "startDate": format!("{today}T00:00:00Z"),
            "endDate": format!("{today}T23:59:59Z"),
            "pageSize": 1,
            "pageIndex": 0,
            "installationTags": [],
            "actorTags": [],
            "carrierTags": [],
        }))
}
