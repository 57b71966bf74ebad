//! Sends requests with bound tokens to any server: curl, with the token and the proofs made on the way.
//!
//! ```text
//! export CARRIER_SECRET=..
//! cargo run --example call -- --issuer https://auth.carrier.example --client-id acme --client-secret-env CARRIER_SECRET \
//!     --scope "ship:write ship:read" --binding dpop --body shipment.json POST https://api.carrier.example/ship/v1/shipments
//! ```
//!
//! `call probe`, `call revoke` and `call introspect` ask the issuer alone: what it can do, to revoke a token, what a token is
//! really bound to. Client certificates, assertions and the FAPI 2.0 profile are options of them all.
//!
//! `--help` lists the options. Credentials go to the issuer and to the origin of the URL, nowhere else. Secrets come from
//! the environment variables and files that are named; a token, a proof, an assertion, a key or a secret is never printed.

mod args;
mod check;
mod given;
mod identity;
mod line;
mod places;
mod send;
mod session;
mod usage;
mod verbs;

use std::io;
use std::process::ExitCode;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use args::{Args, Command, Verb};
use send::Requests;
use session::Session;
use usage::{USAGE, Usage};
use verbs::Verbs;

const BAD_USAGE: u8 = 2;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = match check::parse(lexopt::Parser::from_env()) {
        Ok(Command::Help) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Ok(Command::Run(args)) => run(&args).await,
        Err(usage) => Err(usage),
    };
    match outcome {
        Ok(Ok(true)) => ExitCode::SUCCESS,
        Ok(Ok(false)) => ExitCode::FAILURE,
        Ok(Err(error)) => {
            eprintln!("call: the output cannot be written: {error}");
            ExitCode::FAILURE
        }
        Err(usage) => {
            eprintln!("call: {usage}\nRun it with --help for all options.");
            ExitCode::from(BAD_USAGE)
        }
    }
}

/// Whether everything went as it must. What is wrong with files and variables is found before anything is sent.
async fn run(args: &Args) -> Result<io::Result<bool>, Usage> {
    let session = Session::new(args, start_logging()?).await?;
    let verbs = Verbs {
        session: &session,
        json: args.json,
    };
    Ok(match &args.verb {
        Verb::Send(sending) => Requests::new(&session, args, sending)?.run().await,
        Verb::Probe => verbs.probe().await,
        Verb::Revoke => verbs.revoke().await,
        Verb::Introspect => verbs.introspect().await,
    })
}

/// Writes events and the records of other crates to standard error where `RUST_LOG` asks for it, and says whether it does.
fn start_logging() -> Result<bool, Usage> {
    let Some(wanted) = identity::variable("RUST_LOG").filter(|wanted| !wanted.is_empty()) else {
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
