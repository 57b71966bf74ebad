//! METHOD URL: one request, many times, while certificates may change.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, future, stream};
use http::header::{CONTENT_TYPE, HeaderValue};
use shipbound::Error;
use shipbound::client::{Response, TenantClient};
use shipbound::transport::identity::IdentityError;
use tokio::sync::watch;

use crate::args::{Args, Sending};
use crate::identity;
use crate::line::{self, Line};
use crate::session::Session;
use crate::usage::Usage;

/// [`FileCertificates`](shipbound::binding::mtls::FileCertificates) leaves a file that was changed in its place for so long,
/// since its writer may not have come to an end. Whoever says when to read the files has put them there.
const SETTLED: Duration = Duration::from_secs(2);

pub(crate) struct Requests<'a> {
    session: &'a Session,
    sending: &'a Sending,
    tenant: TenantClient,
    body: Option<(Bytes, HeaderValue)>,
    binding: &'static str,
    json: bool,
}

impl<'a> Requests<'a> {
    pub(crate) fn new(session: &'a Session, args: &'a Args, sending: &'a Sending) -> Result<Self, Usage> {
        let body = sending.body.as_ref();
        let body = body.map(|path| identity::read("--body", path)).transpose()?;
        Ok(Self {
            session,
            sending,
            tenant: session.client.for_tenant(session.tenant().clone()),
            body: body.map(|body| {
                let json = serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok();
                let media = if json {
                    "application/json"
                } else {
                    "application/octet-stream"
                };
                (Bytes::from(body), HeaderValue::from_static(media))
            }),
            binding: args.binding.kind().as_str(),
            json: args.json,
        })
    }

    /// Whether every answer was 2xx, and newer certificates could be read where they were to be.
    pub(crate) async fn run(&self) -> io::Result<bool> {
        let (answers, answered) = watch::channel(0);
        let (good, reloaded) = future::join(self.send_all(answers), self.reload(answered)).await;
        if let Err(error) = reloaded {
            eprintln!("call: --reload-cert-after: {}", identity::explain(error));
            return good.map(|_| false);
        }
        good
    }

    async fn send_all(&self, answers: watch::Sender<usize>) -> io::Result<bool> {
        let Sending {
            repeat, concurrency, ..
        } = *self.sending;
        let calls = stream::iter(0..repeat).map(|_| self.send());
        let mut outcomes = calls.buffer_unordered(concurrency);
        let mut good = true;
        while let Some(outcome) = outcomes.next().await {
            let line = Line::new(&outcome, self.binding);
            good &= line.is_good();
            if self.json {
                line::print_json(&line)?;
            } else {
                print(&line, &outcome, repeat == 1)?;
            }
            answers.send_modify(|count| *count += 1);
        }
        Ok(good)
    }

    async fn send(&self) -> Result<Response, Error> {
        let Sending { method, url, .. } = self.sending;
        let mut request = self.tenant.request(method.clone(), url.as_str());
        if let Some((body, media)) = &self.body {
            request = request.header(CONTENT_TYPE, media.clone()).body(body.clone());
        }
        request.send().await
    }

    /// Looks for a newer certificate after each answer from that one on which was asked for, until there is one: the two
    /// files may be replaced one after the other. Ends with the requests.
    async fn reload(&self, mut answered: watch::Receiver<usize>) -> Result<(), IdentityError> {
        let (Some(after), Some(certificates)) = (self.sending.reload_after, &self.session.certificates) else {
            return Ok(());
        };
        let mut last = Ok(());
        let mut go_on = answered.wait_for(|count| *count >= after).await.is_ok();
        while go_on {
            match certificates.reload(self.session.clock.now() + SETTLED).await {
                Ok(exchanged) if !exchanged.is_empty() => return Ok(()),
                outcome => last = outcome.map(drop),
            }
            go_on = answered.changed().await.is_ok();
        }
        last
    }
}

/// One request shows the answer's body alone on standard output, as curl does; several show a line each.
fn print(line: &Line, outcome: &Result<Response, Error>, single: bool) -> io::Result<()> {
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
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
