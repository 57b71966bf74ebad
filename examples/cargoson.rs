//! Cargoson's services, as a shipping service would ask for them.
//!
//! `cargo run --example cargoson` (`--help` for its options). With `CARGOSON_API_KEY`, one of the staging system, in the
//! environment it talks to that, otherwise to an imitation on this machine. The key goes as `Bearer` with each call, and the
//! API's version in `Accept`; the profile has both set.

mod vendor;

use std::process::ExitCode;

use shipbound::carriers;
use shipbound::client::{RequestBuilder, TenantClient};
use shipbound::owner::Environment;
use vendor::{Api, Variables};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cargoson = Api {
        name: "cargoson",
        profile: carriers::cargoson(Environment::Sandbox),
        variables: Variables {
            id: None,
            secret: "CARGOSON_API_KEY",
            parts: &[],
        },
        question: services,
    };
    vendor::run("cargoson", [cargoson]).await
}

fn services(cargoson: &TenantClient) -> RequestBuilder<'_> {
    cargoson.get("/services/list")
}
