//! Mutual TLS (RFC 8705): tokens that are worth something only on a connection which showed the right client certificate.
//!
//! `cargo run --example mtls` (`--json` for one JSON object a line). The carrier is a sandbox on this machine: a real server
//! that asks for client certificates and compares each with the token's. What is printed about connections, certificates and
//! tickets is read from the server's side.

mod exchange;
mod output;
mod shippers;
mod thief;

use std::error::Error;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Method;
use serde_json::json;
use shipbound::sandbox::{Canned, Check, Sandbox};

use output::Output;

const SHIPMENTS: &str = "/v1/shipments";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some((json, without)) = arguments() else {
        eprintln!("usage: mtls [--json]");
        return ExitCode::from(2);
    };
    match run(Output::new(json), without).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mtls: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(mut out: Output, without: Option<Check>) -> Result<bool, Box<dyn Error>> {
    // HTTP/1.1 alone, so that a server can say `Connection: close`, and tickets are seen at work.
    let mut sandbox = Sandbox::builder().mtls(true).http2(false);
    if let Some(check) = without {
        sandbox = sandbox.without(check);
    }
    let sandbox = sandbox.start().await?;
    let labels = AtomicU64::new(794_600_012_345);
    sandbox.route_with(Method::POST, SHIPMENTS, move |_request| {
        let number = labels.fetch_add(1, Ordering::Relaxed).to_string();
        Canned::json(201, &json!({ "trackingNumber": number }))
    });

    out.title(
        "the shippers",
        "acme has a secret and a certificate, globex its certificate alone (tls_client_auth)",
    );
    let shippers = shippers::Shippers::new(&sandbox)?;
    shippers.buy(&sandbox, &mut out).await?;

    out.title("both bindings", "acme's key and acme's certificate, for one token");
    shippers.buy_with_both(&sandbox, &mut out).await?;

    out.title(
        "no tokens",
        "a carrier that goes by the certificate alone, as BNSF does",
    );
    shippers.ask_without_tokens(&sandbox, &mut out).await?;

    out.title(
        "the handshakes",
        "connections and tickets of the two shippers, as the server saw them",
    );
    for connections in shippers.connections(&sandbox) {
        out.connections(&connections);
    }

    out.title(
        "the thief",
        "she has read acme's token in a log, and has a certificate of her own",
    );
    for theft in thief::thefts(&sandbox).await? {
        out.theft(&theft);
    }

    out.title(
        "the exchange",
        "initech's certificate is renewed in its file while calls go on",
    );
    out.exchange(&exchange::exchange(&sandbox).await?);
    sandbox.shutdown().await;
    Ok(out.summary())
}

/// `--json`, and the hidden `--without-check certificate` that shows what the check is for: the thief then gets through.
fn arguments() -> Option<(bool, Option<Check>)> {
    use lexopt::prelude::{Long, ValueExt};
    let (mut json, mut without) = (false, None);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next().ok()? {
        match argument {
            Long("json") => json = true,
            Long("without-check") => {
                without = match parser.value().ok()?.string().ok()?.as_str() {
                    "certificate" => Some(Check::Certificate),
                    _ => return None,
                };
            }
            _ => return None,
        }
    }
    Some((json, without))
}
