//! Judges requests with DPoP proofs: one JSON object on each line of standard input, one verdict on each line of output.
//!
//! ```text
//! cargo run --example verify_proof < requests.jsonl
//! ```
//!
//! A line is `{"id": .., "input": {"role": "rs" | "as", "method": .., "url": .., "now": seconds, "headers": [[name, value],
//! ..], "token": {"active": .., "cnf": {..}}, "policy": {..}, "expected_nonces": [..], "tls_client_cert_x5t": ..,
//! "prior": [..]}}`; `id` is handed back. The verdict is `{"id": .., "outcome": "accept" | "reject", "error": null |
//! "E_.."}`. Every line has a verifier of its own, with its clock at `now`.
//!
//! Exit status 0 when every line was judged; 1 when one was not a request at all (its `outcome` is `error`), or when
//! reading or writing failed.

use std::io::{BufRead, Write};
use std::process::ExitCode;

use serde::Serialize;
use serde_json::Value;

#[path = "verify_proof/frame.rs"]
mod frame;

use frame::Verdict;

#[derive(Serialize)]
struct Line<'a> {
    id: &'a Value,
    outcome: &'a str,
    error: Option<&'a str>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("verify_proof: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every line was judged.
async fn run() -> std::io::Result<bool> {
    let mut input = std::io::stdin().lock();
    let mut output = std::io::stdout().lock();
    let mut line = Vec::new();
    let mut all = true;
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let request = serde_json::from_slice(&line).unwrap_or(Value::Null);
        let member = |name: &str| request.get(name).unwrap_or(&Value::Null);
        let (outcome, error) = match frame::judge(member("input")).await {
            Ok(Verdict::Accepted) => ("accept", None),
            Ok(Verdict::Rejected { code, .. }) => ("reject", Some(code)),
            Err(_) if request.is_null() => ("error", Some("not JSON")),
            Err(problem) => ("error", Some(problem)),
        };
        all &= outcome != "error";
        let id = member("id");
        serde_json::to_writer(&mut output, &Line { id, outcome, error })?;
        writeln!(output)?;
    }
    output.flush()?;
    Ok(all)
}
