//! A UPS tracking call, as a shipping service would make it.
//!
//! With `UPS_CLIENT_ID` and `UPS_CLIENT_SECRET` in the environment it talks to UPS's test system (CIE), otherwise to an
//! imitation on this machine. UPS issues bearer tokens; shipbound guards them: they go to UPS's origins only, and into no log.

use std::error::Error;

use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::Value;
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
    let profile = carriers::ups(Environment::Sandbox);
    let parts = Parts::builder().keys(MemoryKeyStore::new());

    let from_environment = EnvCredentials::new().client(
        acme.clone(),
        profile.id(),
        Environment::Sandbox,
        "UPS_CLIENT_ID",
        "UPS_CLIENT_SECRET",
    );
    match from_environment {
        Ok(credentials) => {
            println!("UPS's test system");
            track(
                Client::builder(profile, &parts.credentials(credentials).build()?)
                    .binding(Bearer)
                    .build()?,
            )
            .await
        }
        Err(_not_set) => {
            println!("An imitation of UPS (UPS_CLIENT_ID and UPS_CLIENT_SECRET are not set)");
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
            track(
                Client::builder(imitation.profile(profile), &parts)
                    .binding(Bearer)
                    .build()?,
            )
            .await
        }
    }
}

async fn track(ups: Client) -> Result<(), Box<dyn Error>> {
    // UPS demands both headers here, and an id that is new for every call.
    let answer = ups
        .tenant("acme")?
        .get("/track/v1/details/1Z023E2X0214323462")
        .header(
            HeaderName::from_static("transid"),
            HeaderValue::from_str(&uuid::Uuid::new_v4().simple().to_string())?,
        )
        .header(
            HeaderName::from_static("transactionsrc"),
            HeaderValue::from_static("shipbound-example"),
        )
        .send()
        .await?;
    let body: Value = answer.json()?;
    println!(
        "{} after {} attempt(s): {body:#}",
        answer.status(),
        answer.report().attempts
    );
    // 404 is UPS's answer for a parcel that it does not know: the token was good.
    match answer.status() {
        status if status.is_success() || status == StatusCode::NOT_FOUND => Ok(()),
        _ => Err("UPS did not accept the question".into()),
    }
}
