//! Every carrier that has a profile, in one table: by what it knows its callers, what tokens are bound to, how long they live;
//! then, tried: the credential, a business call, and a call that the carrier throttles.
//!
//! `cargo run --example carriers` (`--json` for one JSON object a line). Nobody real is called: the carriers are imitations on
//! this machine, and those that are not imitated get the answers that stand beside their call in `calls.rs`.

mod calls;
mod output;
mod tried;

use std::error::Error;
use std::process::ExitCode;

use output::Output;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let json = match (arguments.next().as_deref(), arguments.next()) {
        (None, None) => false,
        (Some("--json"), None) => true,
        _ => {
            eprintln!("usage: carriers [--json]");
            return ExitCode::from(2);
        }
    };
    match run(Output::new(json)).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("carriers: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(mut out: Output) -> Result<bool, Box<dyn Error>> {
    out.head();
    for call in calls::all()? {
        out.row(&tried::tried(call).await?);
    }
    Ok(out.summary())
}
