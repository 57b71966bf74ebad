//! Sends requests with bound tokens to any server: curl, with the token and the proofs made on the way.
//!
//! ```text
//! export CARRIER_SECRET=..
//! cargo run --example call -- --issuer https://auth.carrier.example --client-id acme --client-secret-env CARRIER_SECRET \
//!     --scope "ship:write ship:read" --binding dpop --body shipment.json POST https://api.carrier.example/ship/v1/shipments
//! ```
//!
//! `--help` lists the options. Credentials go to the issuer and to the origin of the URL, nowhere else. The secret comes
//! from the environment variable that is named; a token, a proof or the secret is never printed.

mod args;
mod line;

use std::fs;
use std::io::Write;
use std::process::ExitCode;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::{CONTENT_TYPE, HeaderValue};
use shipbound::carriers::CarrierProfile;
use shipbound::client::{Client, Response, TenantClient};
use shipbound::credentials::{Credential, MemoryCredentials};
use shipbound::journal::tracing::TracingSink;
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::{CarrierId, Environment, TenantId};
use shipbound::transport::reqwest::ReqwestTransport;
use shipbound::{Error, Parts};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use args::{Args, Command, USAGE, Usage};
use line::Line;

const BAD_USAGE: u8 = 2;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let call = match args::parse(lexopt::Parser::from_env()) {
        Ok(Command::Help) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Ok(Command::Call(args)) => Call::new(&args).map(|call| (call, args)),
        Err(usage) => Err(usage),
    };
    match call {
        Ok((call, args)) => match call.run(&args).await {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("call: the output cannot be written: {error}");
                ExitCode::FAILURE
            }
        },
        Err(usage) => {
            eprintln!("call: {usage}\nRun it with --help for all options.");
            ExitCode::from(BAD_USAGE)
        }
    }
}

/// What all requests of a command line have in common.
struct Call {
    tenant: TenantClient,
    body: Option<(Bytes, HeaderValue)>,
}

impl Call {
    fn new(args: &Args) -> Result<Self, Usage> {
        let logs = start_logging()?;
        let body = args.body.as_ref().map(|path| read("--body", path)).transpose()?;
        let tenant = TenantId::new("call").map_err(|error| Usage(error.to_string()))?;
        let carrier = CarrierId::new("call").map_err(|error| Usage(error.to_string()))?;

        let base = args.url.origin().to_string();
        let token_at = args.token_at.clone();
        let mut profile = CarrierProfile::custom(carrier.clone(), Environment::Sandbox, base, token_at)
            .client_auth(args.auth.clone())
            .token_request(args.request.clone());
        profile = args.origins.iter().fold(profile, CarrierProfile::allow_origin);
        profile = args
            .loopback
            .iter()
            .cloned()
            .fold(profile, CarrierProfile::allow_loopback);

        let mut transport = ReqwestTransport::builder();
        if let Some(path) = &args.ca {
            transport = transport.add_root_pem(read("--ca", path)?);
        }
        for loopback in &args.loopback {
            transport = transport.allow_loopback(loopback.clone());
        }
        let transport = transport.build().map_err(|error| Usage(format!("--ca: {error}")))?;

        let credentials = MemoryCredentials::new();
        let credential = Credential::new(&*args.client_id, secret(&args.secret_variable)?);
        credentials.put(tenant.clone(), &carrier, Environment::Sandbox, credential);
        let mut parts = Parts::builder()
            .keys(MemoryKeyStore::new())
            .credentials(credentials)
            .transport(transport);
        if logs {
            parts = parts.sink(TracingSink);
        }
        let client = parts
            .build()
            .and_then(|parts| args.binding.apply(Client::builder(profile, &parts)).build())
            .map_err(|error| Usage(line::explain(&error)))?;
        Ok(Self {
            tenant: client.for_tenant(tenant),
            body: body.map(|body| {
                let json = serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok();
                let media = if json {
                    "application/json"
                } else {
                    "application/octet-stream"
                };
                (Bytes::from(body), HeaderValue::from_static(media))
            }),
        })
    }

    async fn send(&self, args: &Args) -> Result<Response, Error> {
        let mut request = self.tenant.request(args.method.clone(), args.url.as_str());
        if let Some((body, media)) = &self.body {
            request = request.header(CONTENT_TYPE, media.clone()).body(body.clone());
        }
        request.send().await
    }

    /// Whether every answer was 2xx.
    async fn run(&self, args: &Args) -> std::io::Result<bool> {
        let calls = stream::iter(0..args.repeat).map(|_| self.send(args));
        let mut outcomes = calls.buffer_unordered(args.concurrency);
        let mut good = true;
        while let Some(outcome) = outcomes.next().await {
            let line = Line::new(&outcome, args.binding.name());
            good &= line.is_good();
            if args.json {
                let mut out = std::io::stdout().lock();
                serde_json::to_writer(&mut out, &line)?;
                writeln!(out)?;
                out.flush()?;
            } else {
                print(&line, &outcome, args.repeat == 1)?;
            }
        }
        Ok(good)
    }
}

/// One request shows the answer's body alone on standard output, as curl does; several show a line each.
fn print(line: &Line, outcome: &Result<Response, Error>, single: bool) -> std::io::Result<()> {
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    if single {
        writeln!(err, "{line}")?;
    } else {
        writeln!(out, "{line}")?;
    }
    if let Err(error) = outcome {
        writeln!(err, "{}", line::explain(error))?;
    }
    if let (true, Some(answer)) = (single, line::answer(outcome)) {
        out.write_all(answer.body())?;
    }
    out.flush()
}

fn read(option: &str, path: &std::path::Path) -> Result<Vec<u8>, Usage> {
    fs::read(path).map_err(|error| Usage(format!("{option}: {} cannot be read: {error}", path.display())))
}

fn secret(name: &str) -> Result<String, Usage> {
    match variable(name) {
        Some(secret) if !secret.is_empty() => Ok(secret),
        _ => Err(Usage(format!(
            "the environment variable {name} is not set, is empty, or is not UTF-8"
        ))),
    }
}

/// Writes events and the records of other crates to standard error where `RUST_LOG` asks for it, and says whether it does.
fn start_logging() -> Result<bool, Usage> {
    let Some(wanted) = variable("RUST_LOG").filter(|wanted| !wanted.is_empty()) else {
        return Ok(false);
    };
    let targets: Targets = wanted
        .parse()
        .map_err(|_| Usage("RUST_LOG is a level, or target=level,..".into()))?;
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    Ok(tracing_subscriber::registry()
        .with(layer)
        .with(targets)
        .try_init()
        .is_ok())
}

#[expect(clippy::disallowed_methods, reason = "the user of this program names the variables")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
