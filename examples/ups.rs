//! A UPS tracking call, as a shipping service would make it.
//!
//! `cargo run --example ups` (`--help` for its options). With `UPS_CLIENT_ID` and `UPS_CLIENT_SECRET` in the environment it
//! talks to UPS's test system (CIE), otherwise to an imitation on this machine. For shippers who consent see `onboard`.

mod vendor;

use std::process::ExitCode;

use shipbound::carriers;
use shipbound::client::{RequestBuilder, TenantClient};
use shipbound::owner::Environment;
use vendor::{Api, Variables};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let ups = Api {
        name: "ups",
        profile: carriers::ups(Environment::Sandbox),
        variables: Variables {
            id: Some("UPS_CLIENT_ID"),
            secret: "UPS_CLIENT_SECRET",
            parts: &[],
        },
        question: parcel,
    };
    vendor::run("ups", [ups]).await
}

/// UPS wants two headers here that name the call; the profile has them set.
fn parcel(ups: &TenantClient) -> RequestBuilder<'_> {
    ups.get("/track/v1/details/1Z023E2X0214323462")
}
