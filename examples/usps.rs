//! USPS's city of a ZIP Code, as a shipping service would ask for it.
//!
//! `cargo run --example usps` (`--help` for its options). With `USPS_CLIENT_ID` and `USPS_CLIENT_SECRET` in the environment it
//! talks to USPS's test environment (TEM), otherwise to an imitation on this machine. USPS counts 60 calls an hour. For
//! shippers who consent see `onboard`.

mod vendor;

use std::process::ExitCode;

use shipbound::carriers;
use shipbound::client::{RequestBuilder, TenantClient};
use shipbound::owner::Environment;
use vendor::{Api, Variables};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let usps = Api {
        name: "usps",
        profile: carriers::usps(Environment::Sandbox),
        variables: Variables {
            id: Some("USPS_CLIENT_ID"),
            secret: "USPS_CLIENT_SECRET",
            parts: &[],
        },
        question: city,
    };
    vendor::run("usps", [usps]).await
}

fn city(usps: &TenantClient) -> RequestBuilder<'_> {
    usps.get("/addresses/v3/city-state?ZIPCode=30022")
}
