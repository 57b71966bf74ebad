//! What every replay log must do.

use std::fmt;
use std::sync::Arc;

use futures_util::future::{BoxFuture, join_all};

use super::{Doing, Found, Outcome, Report, Stores, demand};
use crate::clock::Timestamp;
use crate::crypto;
use crate::jose::Thumbprint;
use crate::verify::{ReplayEntry, ReplayLog, ReplayRefusal};

/// How a replay log is opened, for [`replay_log`].
pub struct ReplayLogs {
    opens: Stores<Arc<dyn ReplayLog>>,
    start: Timestamp,
    most: Option<usize>,
}

impl ReplayLogs {
    /// A log that `open` opens as a process does that begins at `start`: each time the same log. The suite's proofs are made
    /// in the hour after `start`.
    pub fn new<F, O>(start: Timestamp, open: F) -> Self
    where
        F: Fn() -> O + Send + Sync + 'static,
        O: Future<Output = Arc<dyn ReplayLog>> + Send + 'static,
    {
        Self {
            opens: Stores::new(open),
            start,
            most: None,
        }
    }

    /// The log forgets with its process: opened again it is another one.
    #[must_use]
    pub fn within_one_process(mut self) -> Self {
        self.opens = self.opens.within_one_process();
        self
    }

    /// The log holds at most this many live proofs of one key, which the suite then tries: a small number.
    #[must_use]
    pub fn with_limit(mut self, proofs_of_a_key: usize) -> Self {
        self.most = Some(proofs_of_a_key);
        self
    }

    /// `outage(true)` makes the log unreachable for all who have opened it, `outage(false)` reachable again.
    #[must_use]
    pub fn with_outage(mut self, outage: impl Fn(bool) -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        self.opens = self.opens.with_outage(outage);
        self
    }

    async fn two(&self) -> Result<[Log; 2], Found> {
        let (one, other) = self.opens.two().await;
        let key = fresh()?;
        Ok([one, other].map(|log| Log {
            log,
            key,
            start: self.start,
        }))
    }
}

impl fmt::Debug for ReplayLogs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayLogs")
            .field("start", &self.start)
            .field("is_shared", &self.opens.is_shared)
            .finish_non_exhaustive()
    }
}

/// Puts a [`ReplayLog`] through its checks.
///
/// | Check | What it demands, and why |
/// |---|---|
/// | `a proof counts once` | The second time it is refused, in every process, whoever the client is said to be (RFC 9449 11.1). |
/// | `proofs are told apart` | By key and `jti`, by octets: else a client whose `jti` looks like that of another is locked out. |
/// | `one of many counts` | Of any number of equal proofs at once, in two processes, exactly one: a look-up followed by a write lets two through. |
/// | `proofs are kept to their end` | Up to and including the time that the verifier names, also those that are dated ahead: one that is forgotten earlier counts twice. |
/// | `room comes back` | What has expired makes room, and a key that has no room is refused, without losing what it has. Left out where no limit was given. |
/// | `an outage refuses` | A log that cannot be asked takes nothing. Left out where there is no outage to be had. |
pub async fn replay_log(logs: &ReplayLogs) -> Report {
    let mut report = Report::default();
    report.run("a proof counts once", once(logs)).await;
    report.run("proofs are told apart", apart(logs)).await;
    report.run("one of many counts", one_of_many(logs)).await;
    report.run("proofs are kept to their end", kept(logs)).await;
    if let Some(most) = logs.most {
        report.run("room comes back", room(logs, most)).await;
    }
    if let Some(outage) = &logs.opens.outage {
        report.run("an outage refuses", unreachable(logs, outage)).await;
    }
    report
}

/// How long a verifier takes proofs, in seconds.
const AGE: i64 = 60;

const REPLAYED: Result<(), ReplayRefusal> = Err(ReplayRefusal::Replayed);

fn fresh() -> Result<Thumbprint, Found> {
    let mut octets = [0; 32];
    crypto::random(&mut octets)?;
    Ok(Thumbprint::from_bytes(octets))
}

/// The log as one process has it, and a key that no run has used before.
#[derive(Clone)]
struct Log {
    log: Arc<dyn ReplayLog>,
    key: Thumbprint,
    start: Timestamp,
}

impl Log {
    fn of(&self, key: Thumbprint) -> Self {
        Self { key, ..self.clone() }
    }

    /// Uses a proof that was made `made` seconds after the start, `now` seconds after it.
    async fn uses(&self, client: Option<&str>, jti: &str, made: i64, now: i64) -> Result<(), ReplayRefusal> {
        let entry = ReplayEntry {
            client,
            jkt: &self.key,
            jti,
            issued_at: self.start.offset_seconds(made),
        };
        let (now, end) = (self.start.offset_seconds(now), self.start.offset_seconds(made + AGE));
        self.log.check_and_insert(&entry, now, end).await
    }
}

async fn once(logs: &ReplayLogs) -> Outcome {
    let [one, other] = logs.two().await?;
    one.uses(Some("client"), "j", 1, 1).await?;
    for (log, client) in [
        (&one, Some("client")),
        (&other, Some("client")),
        (&one, Some("other")),
        (&other, None),
    ] {
        demand(log.uses(client, "j", 1, 2).await == REPLAYED, "a proof counted twice")?;
    }
    // Its time of making is no part of what it is.
    demand(
        other.uses(Some("client"), "j", 2, 2).await == REPLAYED,
        "a jti counted twice for one key",
    )?;
    if logs.opens.is_shared {
        let [later, _] = logs.two().await?;
        let again = later.of(one.key).uses(Some("client"), "j", 1, 3).await;
        demand(again == REPLAYED, "a proof counted twice, since a process began later")?;
    }
    Ok(())
}

async fn apart(logs: &ReplayLogs) -> Outcome {
    let [one, other] = logs.two().await?;
    let long = "j".repeat(256);
    for jti in [
        "j",
        "J",
        "j ",
        "j.",
        "j:j",
        "jj",
        "%6a",
        "\u{e9}",
        "e\u{301}",
        long.as_str(),
    ] {
        let taken = one.uses(Some("client"), jti, 1, 1).await;
        demand(taken.is_ok(), format!("{jti:?} was taken for another jti"))?;
    }
    let mut octets = *one.key.as_bytes();
    if let Some(last) = octets.last_mut() {
        *last ^= 1;
    }
    let neighbour = other.of(Thumbprint::from_bytes(octets));
    demand(
        neighbour.uses(Some("client"), "j", 1, 1).await.is_ok(),
        "one key's jti was taken for another's",
    )
}

async fn one_of_many(logs: &ReplayLogs) -> Outcome {
    let [one, other] = logs.two().await?;
    for round in 0..8 {
        let jti = format!("round {round}");
        let race = (0..16).map(|rival| {
            let (log, jti) = (if rival % 2 == 0 { one.clone() } else { other.clone() }, jti.clone());
            async move { log.uses(Some("client"), &jti, 1, 1).await }
        });
        let mut taken = 0;
        for answer in join_all(race).await {
            match answer {
                Ok(()) => taken += 1,
                Err(ReplayRefusal::Replayed) => {}
                // One that could not be decided was not taken.
                Err(ReplayRefusal::Unavailable) => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }
        demand(taken == 1, format!("{taken} of 16 equal proofs at once counted"))?;
    }
    Ok(())
}

async fn kept(logs: &ReplayLogs) -> Outcome {
    let [one, other] = logs.two().await?;
    one.uses(None, "now", 10, 10).await?;
    one.uses(None, "ahead", 20, 10).await?;
    for now in [11, 40, 69, 70] {
        demand(
            other.uses(None, "now", 10, now).await == REPLAYED,
            format!("a proof was forgotten {} s after it was used", now - 10),
        )?;
    }
    for now in [71, 79, 80] {
        demand(
            one.uses(None, "ahead", 20, now).await == REPLAYED,
            "a proof that is dated ahead was forgotten before its end",
        )?;
    }
    Ok(())
}

async fn room(logs: &ReplayLogs, most: usize) -> Outcome {
    let [one, other] = logs.two().await?;
    for number in 0..most {
        one.uses(Some("client"), &number.to_string(), 100, 100).await?;
    }
    let beyond = other.uses(Some("client"), "beyond", 100, 101).await;
    demand(
        beyond == Err(ReplayRefusal::Quota),
        "a log took more proofs than it has room for",
    )?;
    for number in [0, most.saturating_sub(1)] {
        let again = other.uses(Some("client"), &number.to_string(), 100, 160).await;
        demand(again == REPLAYED, "a full log forgot a proof")?;
    }
    // Two minutes later all of them have expired.
    let later = one.uses(Some("client"), "beyond", 280, 280).await;
    demand(later.is_ok(), "expired proofs make no room")
}

async fn unreachable(logs: &ReplayLogs, outage: &Doing<bool>) -> Outcome {
    let [one, other] = logs.two().await?;
    one.uses(Some("client"), "before", 300, 300).await?;
    outage(true).await;
    let mut answers = Vec::new();
    for log in [&one, &other] {
        answers.push(log.uses(Some("client"), "before", 300, 301).await);
        answers.push(log.uses(Some("client"), "meanwhile", 300, 301).await);
    }
    outage(false).await;
    demand(
        answers.iter().all(Result::is_err),
        "a log that cannot be asked took a proof",
    )?;
    demand(
        one.uses(Some("client"), "before", 300, 302).await == REPLAYED,
        "a proof was forgotten in an outage",
    )
}
