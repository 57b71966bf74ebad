//! A shipper connects an account at a carrier: consent by authorization code, from the button to the first labels.
//!
//! `cargo run --example onboard`, then open the address that it prints; Ctrl-C ends it. In UPS's place `--carrier usps` has
//! USPS, and `--carrier issuer` a carrier with an OAuth issuer of its own (pushed requests, tokens bound to a key).
//! `--wait-for-one` ends with the first consent that was given or refused, `--json` prints one JSON object a line. Carrier and
//! issuer are a sandbox on this machine.

mod carrier;
mod output;
mod pages;
mod session;
mod web;

use std::error::Error;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use shipbound::clock::{Clock, SystemClock};
use tokio::net::TcpListener;

use carrier::{Carrier, Which};
use output::Output;
use web::App;

/// How long connections of browsers may keep the end waiting.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(arguments) = Arguments::read() else {
        eprintln!("usage: onboard [--carrier ups|usps|issuer] [--wait-for-one] [--json]");
        return ExitCode::from(2);
    };
    match run(arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("onboard: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<bool, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    // What browsers are sent back to is never taken from a request's `Host`.
    let own = format!("http://{}", listener.local_addr()?);
    let carrier = Carrier::start(arguments.carrier, &format!("{own}/callback")).await?;
    let out = Arc::new(Output::new(arguments.json));
    let app = Arc::new(App::new(carrier, Arc::clone(&out))?);
    out.listening(&own, app.carrier.name());

    let served = axum::serve(listener, web::routes(&app));
    if !arguments.wait_for_one {
        served.await?;
        return Ok(true);
    }
    let ended = Arc::clone(&app);
    let served = served.with_graceful_shutdown(async move { ended.one_has_ended().await });
    let overtime = async {
        app.one_has_ended().await;
        let clock = SystemClock::new();
        clock.sleep_until(clock.monotonic() + LAST_ANSWERS).await;
    };
    if let Either::Left((outcome, _)) = select(pin!(served.into_future()), pin!(overtime)).await {
        outcome?;
    }
    Ok(out.summary(&app.carrier.seen()))
}

struct Arguments {
    carrier: Which,
    wait_for_one: bool,
    json: bool,
}

impl Arguments {
    fn read() -> Option<Self> {
        use lexopt::prelude::{Long, ValueExt};
        let mut arguments = Self {
            carrier: Which::Ups,
            wait_for_one: false,
            json: false,
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next().ok()? {
            match argument {
                Long("carrier") => {
                    arguments.carrier = match parser.value().ok()?.string().ok()?.as_str() {
                        "ups" => Which::Ups,
                        "usps" => Which::Usps,
                        "issuer" => Which::Issuer,
                        _ => return None,
                    };
                }
                Long("wait-for-one") => arguments.wait_for_one = true,
                Long("json") => arguments.json = true,
                _ => return None,
            }
        }
        Some(arguments)
    }
}
