//! A list of EasyPost's addresses, one long, as a shipping service would ask for it.
//!
//! `cargo run --example easypost` (`--help` for its options). With `EASYPOST_API_KEY`, a test key, in the environment it talks
//! to EasyPost, otherwise to an imitation on this machine. One host has test and production: a production key is refused here
//! before it is sent.

mod vendor;

use std::process::ExitCode;

use shipbound::carriers;
use shipbound::client::{RequestBuilder, TenantClient};
use shipbound::owner::Environment;
use vendor::{Api, Variables};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let easypost = Api {
        name: "easypost",
        profile: carriers::easypost(Environment::Sandbox),
        variables: Variables {
            id: None,
            secret: "EASYPOST_API_KEY",
            parts: &[],
        },
        question: addresses,
    };
    vendor::run("easypost", [easypost]).await
}

fn addresses(easypost: &TenantClient) -> RequestBuilder<'_> {
    easypost.get("/addresses?page_size=1")
}
