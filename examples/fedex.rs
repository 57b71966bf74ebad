//! A FedEx postal code check, as a shipping service would make it.
//!
//! `cargo run --example fedex` (`--help` for its options). With `FEDEX_CLIENT_ID` and `FEDEX_CLIENT_SECRET`, a sandbox
//! project's, in the environment it talks to FedEx's sandbox, otherwise to an imitation on this machine. FedEx issues bearer
//! tokens; shipbound guards them: they go to FedEx's origins only, and into no log.

mod vendor;

use std::process::ExitCode;

use serde_json::json;
use shipbound::carriers;
use shipbound::client::{RequestBuilder, TenantClient};
use shipbound::owner::Environment;
use vendor::{Api, Variables};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let fedex = Api {
        name: "fedex",
        profile: carriers::fedex(Environment::Sandbox),
        variables: Variables {
            id: Some("FEDEX_CLIENT_ID"),
            secret: "FEDEX_CLIENT_SECRET",
            parts: &[],
        },
        question: postal_code,
    };
    vendor::run("fedex", [fedex]).await
}

fn postal_code(fedex: &TenantClient) -> RequestBuilder<'_> {
    fedex.post("/country/v1/postal/validate").json(&json!({
        "carrierCode": "FDXE",
        "countryCode": "US",
        "stateOrProvinceCode": "TN",
        "postalCode": "38017",
        "shipDate": vendor::today(),
    }))
}
