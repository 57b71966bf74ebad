//! The carriers of a ShipEngine account, as a shipping service would ask for them.
//!
//! `cargo run --example shipengine` (`--help` for its options). With `SHIPENGINE_API_KEY`, a sandbox key, in the environment it
//! talks to ShipEngine, otherwise to an imitation on this machine. The key goes into `API-Key`, which callers cannot set.

mod vendor;

use std::process::ExitCode;

use shipbound::carriers;
use shipbound::client::{RequestBuilder, TenantClient};
use shipbound::owner::Environment;
use vendor::{Api, Variables};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let shipengine = Api {
        name: "shipengine",
        profile: carriers::shipengine(Environment::Sandbox),
        variables: Variables {
            id: None,
            secret: "SHIPENGINE_API_KEY",
            parts: &[],
        },
        question: own_carriers,
    };
    vendor::run("shipengine", [shipengine]).await
}

fn own_carriers(shipengine: &TenantClient) -> RequestBuilder<'_> {
    shipengine.get("/v1/carriers")
}
