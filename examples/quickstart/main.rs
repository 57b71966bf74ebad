//! Two shippers buy a label each with tokens that are bound to their keys. Then a thief comes.
//!
//! `cargo run --example quickstart` (`--json` for one JSON object a line). The carrier is a sandbox on this machine: a real
//! server over TLS that checks every proof as RFC 9449 says. What is printed about it is read from its answers.

mod output;
mod thief;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Method;
use serde_json::json;
use shipbound::binding::dpop::Dpop;
use shipbound::carriers::CarrierProfile;
use shipbound::credentials::MemoryCredentials;
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::{CarrierId, Environment, TenantId};
use shipbound::sandbox::{Canned, Check, Endpoint, Sandbox};
use shipbound::token::TokenAt;
use shipbound::{Client, Parts};

use output::Output;

const SHIPMENTS: &str = "/v1/shipments";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some((json, without)) = arguments() else {
        eprintln!("usage: quickstart [--json]");
        return ExitCode::from(2);
    };
    match run(Output::new(json), without).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(mut out: Output, without: Option<Check>) -> Result<bool, Box<dyn Error>> {
    // The carrier, with the route that the shippers will call.
    let mut sandbox = Sandbox::builder();
    if let Some(check) = without {
        sandbox = sandbox.without(check);
    }
    let sandbox = sandbox.start().await?;
    let labels = AtomicU64::new(794_600_012_345);
    sandbox.route_with(Method::POST, SHIPMENTS, move |_request| {
        let number = labels.fetch_add(1, Ordering::Relaxed).to_string();
        Canned::json(201, &json!({ "trackingNumber": number }))
    });
    let profile = sandbox.profile(CarrierProfile::custom(
        CarrierId::new("acme-freight")?,
        Environment::Sandbox,
        "https://api.carrier.example",
        TokenAt::Issuer("https://auth.carrier.example".into()),
    ));

    // The application: credentials, keys, one client for all shippers.
    let shippers = ["acme", "globex"].map(TenantId::new);
    let credentials = MemoryCredentials::new();
    for shipper in shippers.iter().flatten() {
        credentials.put(
            shipper.clone(),
            profile.id(),
            Environment::Sandbox,
            sandbox.credential(shipper),
        );
    }
    let keys = Arc::new(MemoryKeyStore::new());
    let parts = Parts::builder()
        .shared_keys(keys.clone())
        .credentials(credentials)
        .transport(sandbox.transport()?)
        .build()?;
    let carrier = Client::builder(profile, &parts).binding(Dpop::es256()).build()?;

    out.title(
        "the shippers",
        "a token each, bound to a key each; every request carries a fresh proof",
    );
    for shipper in shippers.iter().flatten() {
        let body = json!({"shipper": shipper.as_str(), "weightGrams": 1200});
        let answer = carrier
            .for_tenant(shipper.clone())
            .post(SHIPMENTS)
            .json(&body)
            .send()
            .await?;
        let arrived = sandbox
            .requests_of(shipper)
            .into_iter()
            .rfind(|request| request.endpoint() == Endpoint::Api);
        out.shipment(shipper, &answer, arrived.as_ref().ok_or("the sandbox saw nothing")?);
    }

    let [acme, _] = shippers;
    let caught = thief::Caught::from(&sandbox, &carrier, &keys, &acme?).await?;
    out.title(
        "the thief",
        "she has read acme's token and proofs in a log, and has a key of her own",
    );
    for theft in thief::thefts(&sandbox, &caught).await? {
        out.theft(&theft);
    }
    sandbox.shutdown().await;
    Ok(out.summary())
}

/// `--json`, and the hidden `--without-check NAME` that shows what each check is for: the thief then gets through.
fn arguments() -> Option<(bool, Option<Check>)> {
    use lexopt::prelude::{Long, ValueExt};
    let (mut json, mut without) = (false, None);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next().ok()? {
        match argument {
            Long("json") => json = true,
            Long("without-check") => {
                without = Some(match parser.value().ok()?.string().ok()?.as_str() {
                    "jti" => Check::Jti,
                    "htu" => Check::Htu,
                    "ath" => Check::Ath,
                    "cnf" => Check::Cnf,
                    "signature" => Check::Signature,
                    _ => return None,
                });
            }
            _ => return None,
        }
    }
    Some((json, without))
}
