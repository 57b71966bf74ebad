//! A FedEx address check, as a shipping service would make it.
//!
//! With `FEDEX_CLIENT_ID` and `FEDEX_CLIENT_SECRET` (a sandbox project's) in the environment it talks to FedEx's sandbox,
//! otherwise to an imitation on this machine. FedEx issues bearer tokens; shipbound guards them: they go to FedEx's origins
//! only, and into no log.

use std::error::Error;

use serde_json::{Value, json};
use shipbound::binding::bearer::Bearer;
use shipbound::carriers;
use shipbound::credentials::{EnvCredentials, MemoryCredentials};
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::{Environment, TenantId};
use shipbound::sandbox::Sandbox;
use shipbound::{Client, Parts};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let acme = TenantId::new("acme")?;
    let profile = carriers::fedex(Environment::Sandbox);
    let parts = Parts::builder().keys(MemoryKeyStore::new());

    let from_environment = EnvCredentials::new().client(
        acme.clone(),
        profile.id(),
        Environment::Sandbox,
        "FEDEX_CLIENT_ID",
        "FEDEX_CLIENT_SECRET",
    );
    match from_environment {
        Ok(credentials) => {
            println!("FedEx's sandbox");
            check(
                Client::builder(profile, &parts.credentials(credentials).build()?)
                    .binding(Bearer)
                    .build()?,
            )
            .await
        }
        Err(_not_set) => {
            println!("An imitation of FedEx (FEDEX_CLIENT_ID and FEDEX_CLIENT_SECRET are not set)");
            let imitation = Sandbox::start().await?;
            let credentials = MemoryCredentials::new();
            credentials.put(
                acme.clone(),
                profile.id(),
                Environment::Sandbox,
                imitation.credential(&acme),
            );
            let parts = parts
                .credentials(credentials)
                .transport(imitation.transport()?)
                .build()?;
            check(
                Client::builder(imitation.profile(profile), &parts)
                    .binding(Bearer)
                    .build()?,
            )
            .await
        }
    }
}

async fn check(fedex: Client) -> Result<(), Box<dyn Error>> {
    let question = json!({
        "carrierCode": "FDXE",
        "countryCode": "US",
        "stateOrProvinceCode": "TN",
        "postalCode": "38017",
        "shipDate": "2026-12-01",
    });
    let answer = fedex
        .tenant("acme")?
        .post("/country/v1/postal/validate")
        .json(&question)
        .send()
        .await?;
    let body: Value = answer.json()?;
    println!(
        "{} after {} attempt(s): {body:#}",
        answer.status(),
        answer.report().attempts
    );
    if answer.status().is_success() {
        Ok(())
    } else {
        Err("FedEx did not accept the question".into())
    }
}
