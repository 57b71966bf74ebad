//! What is printed of a call: never a token, a proof or a secret.

use std::error::Error as _;
use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;
use shipbound::Error;
use shipbound::binding::{BindingKind, Confirmation};
use shipbound::client::{Report, Response};
use shipbound::transport::Stage;

/// One call's line, as `--json` prints it.
#[derive(Serialize)]
pub(crate) struct Line {
    /// Of the API's last answer; null where none came.
    status: Option<u16>,
    token_type: Option<&'static str>,
    binding: &'static str,
    attempts: u32,
    nonce_retries: u32,
    renewals: u32,
    jkt: Option<String>,
    x5t: Option<String>,
    token_us: u64,
    proof_us: u64,
    exchange_us: u64,
    stage: &'static str,
    error: Option<&'static str>,
}

impl Line {
    /// `binding` is what was asked for: what a call is bound by that got no token.
    pub(crate) fn new(outcome: &Result<Response, Error>, binding: &'static str) -> Self {
        let none = Report::default();
        let report = match outcome {
            Ok(response) => response.report(),
            Err(error) => error.report().unwrap_or(&none),
        };
        let stage = outcome.as_ref().map_or_else(Error::stage, |_| Stage::Answered);
        Self {
            status: answer(outcome).map(|answer| answer.status().as_u16()),
            token_type: report.binding.map(token_type),
            binding: report.binding.map_or(binding, BindingKind::as_str),
            attempts: report.attempts,
            nonce_retries: report.nonce_retries,
            renewals: report.renewals,
            jkt: report.jkt.map(|jkt| jkt.to_string()),
            x5t: report.x5t.map(|x5t| x5t.to_string()),
            token_us: micros(report.token_wait),
            proof_us: micros(report.proof_time),
            exchange_us: micros(report.total),
            stage: stage_name(stage),
            error: outcome.as_ref().err().map(Error::code),
        }
    }

    /// Whether the call had an answer 2xx, and nothing was wrong with it.
    pub(crate) fn is_good(&self) -> bool {
        self.error.is_none() && self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self
            .status
            .map_or_else(|| "---".to_owned(), |status| status.to_string());
        let millis = |us: u64| format!("{}.{:03} ms", us / 1000, us % 1000);
        write!(
            f,
            "{status}  {:6}  attempts {}  nonce retries {}  renewals {}  token {:>12}  proofs {:>10}  all {:>12}",
            self.token_type.unwrap_or("-"),
            self.attempts,
            self.nonce_retries,
            self.renewals,
            millis(self.token_us),
            millis(self.proof_us),
            millis(self.exchange_us),
        )?;
        if let Some(x5t) = &self.x5t {
            write!(f, "  x5t {x5t}")?;
        }
        match self.error {
            Some(error) => write!(f, "  {error}"),
            None => Ok(()),
        }
    }
}

/// The API's last answer.
pub(crate) fn answer(outcome: &Result<Response, Error>) -> Option<&Response> {
    match outcome {
        Ok(response) => Some(response),
        Err(error) => error.response(),
    }
}

/// What went wrong, whose fault it is and what to do, for a person to read.
pub(crate) fn explain(error: &Error) -> String {
    let mut text = format!("error    {}: {error}", error.code());
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(&format!("\ncause    {next}"));
        cause = next.source();
    }
    let stage = stage_name(error.stage());
    format!(
        "{text}\nstage    {stage}\nculprit  {}\nadvice   {}",
        error.culprit().as_str(),
        error.advice()
    )
}

/// One JSON object on a line of standard output.
pub(crate) fn print_json(value: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    writeln!(out)?;
    out.flush()
}

pub(crate) fn print_text(text: &impl fmt::Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// The proof key's thumbprint and the client certificate's.
pub(crate) fn thumbprints(of: &[Confirmation]) -> (Option<String>, Option<String>) {
    of.iter().fold((None, None), |(jkt, x5t), one| match one {
        Confirmation::Jkt(one) => (Some(one.to_string()), x5t),
        Confirmation::X5t(one) => (jkt, Some(one.to_string())),
        _ => (jkt, x5t),
    })
}

pub(crate) fn token_type(binding: BindingKind) -> &'static str {
    match binding {
        BindingKind::Dpop | BindingKind::DpopMtls => "DPoP",
        _ => "Bearer",
    }
}

pub(crate) fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::NotSent => "not_sent",
        Stage::MaybeSent => "maybe_sent",
        Stage::Answered => "answered",
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
