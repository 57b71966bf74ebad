//! The one driver for requests that may have to be repeated: token requests, API calls and whatever else carries a proof.
//!
//! An exchange has at most three attempts and repeats once for each cause: a nonce challenge, a refused token, a clock
//! offset, a misdirected request (421), and for safe methods a lost connection. Every attempt has its own proof, made at
//! hand-over. A new thing to do about an answer is one more case in `classify` and here, nowhere else.

pub(crate) mod answer;
pub mod budget;
mod challenge;
mod classify;
pub(crate) mod connection;
pub mod fault;
pub mod quirks;
mod skew;
#[cfg(test)]
mod tests;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::ready;
use http::{HeaderMap, Method, StatusCode};

use crate::binding::nonce::Nonce;
use crate::binding::{Answered, Attempt, Learned, Role, TokenBinding};
use crate::clock::{Clock, Monotonic, Timestamp};
use crate::error::{Awaited, Error, ErrorKind};
use crate::journal::{AttemptRecord, EventKind, Journal, Repeat};
use crate::target::Target;
use crate::throttle::{Budget, Throttling};
#[cfg(feature = "mtls")]
use crate::transport::identity::IdentityError;
use crate::transport::{Body, Outgoing, ReadError, Route, Stage, Transport, TransportError, TransportErrorKind};

use self::answer::{Report, Response};
use self::budget::{MOST_ATTEMPTS, Spent};
use self::classify::{Facts, Verdict};
use self::connection::Connection;
use self::fault::{CarrierFault, FaultShape};
use self::quirks::BodyCode;

pub(crate) use crate::clock::within;

/// What an exchange works with.
#[derive(Debug)]
pub(crate) struct Env<'a> {
    pub(crate) clock: &'a dyn Clock,
    pub(crate) transport: &'a dyn Transport,
    pub(crate) journal: &'a Journal,
    pub(crate) connection: &'a Connection,
    /// Until when the exchange may last, and what the error says was waited for.
    pub(crate) deadline: Monotonic,
    pub(crate) awaited: Awaited,
    pub(crate) attempt_limit: Duration,
    pub(crate) answer_limit: usize,
    /// How the carrier throttles and fails.
    pub(crate) manner: Manner<'a>,
}

/// How a carrier throttles and fails, and who keeps count of requests to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner<'a> {
    pub(crate) faults: &'a FaultShape,
    pub(crate) throttling: &'a Throttling,
    pub(crate) budget: &'a dyn Budget,
    /// How long a request waits for its turn.
    pub(crate) patience: Duration,
}

/// One request without its proof, built anew for each attempt.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What is to be done by an exchange.
pub(crate) trait Errand: Send {
    fn role(&self) -> Role;
    fn method(&self) -> &Method;
    fn target(&self) -> &Target;
    fn binding(&self) -> &Arc<dyn TokenBinding>;
    /// base64url of the hash of the token that the request carries.
    fn ath(&self) -> Option<&str> {
        None
    }
    fn not_processed(&self) -> &[BodyCode] {
        &[]
    }
    /// How long it waits for its turn, where others of its client wait as long as `usual`.
    fn patience(&self, usual: Duration) -> Duration {
        usual
    }
    fn not_processed_forbidden(&self) -> &[BodyCode] {
        &[]
    }
    /// Whether the server carries the request out once however often it comes.
    fn is_idempotent(&self) -> bool {
        self.method().is_safe()
    }
    /// Whether it does no harm when it is carried out twice.
    fn is_harmless(&self) -> bool {
        self.is_idempotent()
    }
    /// The request of the next attempt, with its credential and without its proof.
    fn draft(&mut self) -> impl Future<Output = Result<Draft, Error>> + Send;
    /// Gets a new token in the place of the one that was refused; false where that is not possible or not allowed now.
    fn renew(&mut self) -> impl Future<Output = Result<bool, Error>> + Send {
        ready(Ok(false))
    }
    /// The renewed token was called invalid as well.
    fn refused_again(&mut self) {}
    /// The server refused the credential and did not say why.
    fn doubted(&mut self) {}
}

/// Runs `errand` to its end: an answer that is the caller's, or the error that ends it. What it took is written to `report`.
pub(crate) async fn drive<E: Errand>(env: &Env<'_>, errand: &mut E, report: &mut Report) -> Result<Response, Error> {
    let mut spent = Spent::default();
    let outcome = attempts(env, errand, report, &mut spent).await;
    // What became of a repeat says nothing of the attempt that was lost before it, unless the repeat was carried out.
    if !spent.lost_on_the_way || errand.method().is_safe() {
        return outcome;
    }
    match outcome {
        Ok(response) if response.status.is_success() => Ok(response),
        Ok(response) => {
            let error = Error::new(
                ErrorKind::OutcomeUnknown(TransportErrorKind::ConnectionLost),
                Stage::MaybeSent,
            );
            Err(error.of(errand.role()).with_answer(response).maybe_sent())
        }
        Err(error) => Err(error.maybe_sent()),
    }
}

async fn attempts<E: Errand>(
    env: &Env<'_>,
    errand: &mut E,
    report: &mut Report,
    spent: &mut Spent,
) -> Result<Response, Error> {
    let role = errand.role();
    let mut nonce: Option<Nonce> = None;
    let mut fresh = false;
    let mut cause: Option<Repeat> = None;
    loop {
        refuse_if_paused(env, role)?;
        turn::take(env, role, errand.patience(env.manner.patience), report).await?;
        let binding = Arc::clone(errand.binding());
        refuse_if_not_shown(env.transport, &*binding).map_err(|kind| Error::before(kind).of(role))?;
        // The nonce of a challenge is for the next attempt; what follows that uses the newest one that the binding knows.
        let challenged = nonce.take();
        let waiting = binding.turn(role, errand.target().origin(), challenged.as_ref());
        let Some((nonce_now, turn)) = within(env.clock, env.deadline, waiting).await else {
            return Err(Error::before(ErrorKind::Deadline(Awaited::Proof)).of(role));
        };
        // The requests that were waited for may have been told to pause. A proof is dated when it is sent, not before.
        refuse_if_paused(env, role)?;
        let Some(draft) = within(env.clock, env.deadline, errand.draft()).await else {
            return Err(Error::before(ErrorKind::Deadline(Awaited::Key)).of(role));
        };
        let draft = draft?;
        let started = env.clock.monotonic();
        let offset = env.connection.skew.offset(role, errand.target().origin(), started);
        let wall = env.clock.now();
        let attempt = Attempt {
            role,
            method: errand.method(),
            target: errand.target(),
            ath: errand.ath(),
            now: wall.offset_seconds(offset),
            nonce: nonce_now.as_ref(),
        };
        let mut outgoing = Outgoing {
            method: attempt.method.clone(),
            target: attempt.target.clone(),
            headers: draft.headers,
            body: draft.body,
        };
        let proof = match within(env.clock, env.deadline, binding.prove(&attempt)).await {
            Some(proof) => proof.map_err(|error| Error::before(ErrorKind::Key(error)).of(role))?,
            None => return Err(Error::before(ErrorKind::Deadline(Awaited::Proof)).of(role)),
        };
        let mut sent = None;
        if let Some(proof) = proof {
            sent = proof.nonce().cloned();
            proof.attach(&mut outgoing.headers);
            report.proof_time += env.clock.monotonic().saturating_since(started);
        }

        if env.clock.monotonic() >= env.deadline {
            return Err(Error::before(ErrorKind::Deadline(env.awaited)).of(role));
        }
        report.attempts += 1;
        let outcome = deliver(env, outgoing, &route(&*binding, fresh)).await;
        let finished = env.clock.monotonic();
        let record = |status: Option<StatusCode>, stage: Stage| {
            env.journal.record(&env.connection.id, || {
                EventKind::Attempt(AttemptRecord {
                    role,
                    origin: attempt.target.origin().clone(),
                    method: attempt.method.clone(),
                    status,
                    stage,
                    repeat: cause,
                    binding: binding.kind(),
                    took: finished.saturating_since(started),
                })
            });
        };

        let Answer { head, arrived, body } = match outcome {
            Ok(answer) => answer,
            Err(Failure::Transport(error)) => {
                record(None, error.stage());
                let repeatable = errand.is_idempotent() && error.stage() != Stage::Answered && passing(error.kind());
                if repeatable && !spent.lost && report.attempts < MOST_ATTEMPTS {
                    spent.lost = true;
                    spent.lost_on_the_way = error.stage() == Stage::MaybeSent;
                    cause = Some(Repeat::Lost);
                    continue;
                }
                let kind = match error.stage() {
                    Stage::NotSent => ErrorKind::NotDelivered(error.kind()),
                    _ => ErrorKind::OutcomeUnknown(error.kind()),
                };
                return Err(Error::new(kind, error.stage()).of(role));
            }
            Err(Failure::Deadline) => {
                record(None, Stage::MaybeSent);
                return Err(Error::new(late(env, finished), Stage::MaybeSent).of(role));
            }
        };
        record(Some(head.status), Stage::Answered);

        // What the head says holds, whatever becomes of the body.
        let learned = learn(env, &binding, &attempt, &head, sent.as_ref());
        drop(turn);
        let (body, broken) = match body {
            Ok(body) => (body, None),
            Err(Some(ReadError::TooLarge { .. })) => {
                (Bytes::new(), Some(ErrorKind::AnswerTooLarge { status: head.status }))
            }
            Err(Some(_)) => (Bytes::new(), Some(ErrorKind::AnswerIncomplete { status: head.status })),
            Err(None) => (Bytes::new(), Some(late(env, finished))),
        };
        let verdict = classify::classify(&Facts {
            role,
            binding: binding.kind(),
            status: head.status,
            headers: &head.headers,
            body: &body,
            learned: &learned,
            sent: sent.as_ref(),
            nonce_tried: spent.nonce,
            now: arrived,
            offset_seconds: offset,
            not_processed: errand.not_processed(),
            not_processed_forbidden: errand.not_processed_forbidden(),
            blocks: &env.manner.throttling.blocks,
        });
        let again_is_safe = errand.is_harmless() && !spent.lost_on_the_way;
        let fault = fault(env, role, &head, &body, (&verdict, arrived, again_is_safe));
        let response = Response {
            status: head.status,
            headers: head.headers,
            body,
            fault: fault.map(Box::new),
            report: Report::default(),
        };
        let fail =
            |kind: ErrorKind, response: Response| Err(Error::new(kind, Stage::Answered).of(role).with_answer(response));
        let again = report.attempts < MOST_ATTEMPTS;
        match verdict {
            Verdict::Done => match broken {
                None => return Ok(response),
                Some(kind) => return fail(kind, response),
            },
            Verdict::Nonce(challenged) => {
                if spent.nonce || !again {
                    return fail(ErrorKind::NonceLoop, response);
                }
                spent.nonce = true;
                report.nonce_retries += 1;
                nonce = Some(challenged);
                cause = Some(Repeat::Nonce);
            }
            Verdict::Renew { certain } => {
                if spent.renewal {
                    if certain {
                        errand.refused_again();
                    }
                    return fail(ErrorKind::Unauthorized, response);
                }
                spent.renewal = true;
                let renewed = again && {
                    let asked = env.clock.monotonic();
                    let renewed = errand.renew().await;
                    report.token_wait += env.clock.monotonic().saturating_since(asked);
                    renewed.map_err(|error| error.with_answer(response.clone()))?
                };
                if !renewed {
                    return fail(ErrorKind::Unauthorized, response);
                }
                report.renewals += 1;
                cause = Some(Repeat::Renewal);
            }
            Verdict::Skew(seconds) => {
                if spent.skew || !again {
                    return fail(ErrorKind::ProofRefused, response);
                }
                spent.skew = true;
                env.connection
                    .skew
                    .learn(role, errand.target().origin(), seconds, finished);
                env.journal.record(&env.connection.id, || EventKind::ClockOffset {
                    role,
                    offset_seconds: seconds,
                });
                cause = Some(Repeat::ClockOffset);
            }
            Verdict::Misdirected => {
                if spent.misdirected || !again {
                    return fail(ErrorKind::Misdirected, response);
                }
                spent.misdirected = true;
                fresh = true;
                cause = Some(Repeat::Misdirected);
            }
            Verdict::Doubt => {
                errand.doubted();
                return fail(ErrorKind::Unauthorized, response);
            }
            Verdict::Blocked(counted_by, lasts) => {
                turn::blocked(env, role, counted_by, lasts).await;
                let until = env.clock.now() + lasts;
                return fail(ErrorKind::Blocked, response).map_err(|error| error.retry_at_opt(Some(until)));
            }
            Verdict::Fail(kind, pause) => {
                let pause = pause.or_else(|| env.manner.throttling.pause_after(role, response.status));
                let until = pause.map(|pause| {
                    env.connection.pause_until(role, finished + pause);
                    env.clock.now() + pause
                });
                return fail(kind, response).map_err(|error| error.retry_at_opt(until));
            }
        }
    }
}

/// On which connection a request of this binding goes.
fn route(binding: &dyn TokenBinding, fresh: bool) -> Route {
    let mut route = Route::new();
    route.fresh = fresh;
    #[cfg(feature = "mtls")]
    {
        route.identity = binding.identity().cloned();
    }
    #[cfg(not(feature = "mtls"))]
    let _ = binding;
    route
}

/// The error of a request whose client certificate nobody would show: without it the request would be worth less than the
/// binding says.
fn refuse_if_not_shown(transport: &dyn Transport, binding: &dyn TokenBinding) -> Result<(), ErrorKind> {
    #[cfg(feature = "mtls")]
    let identity = binding.identity();
    #[cfg(not(feature = "mtls"))]
    let identity: Option<std::convert::Infallible> = None;
    if !binding.kind().has_certificate() && identity.is_none() {
        return Ok(());
    }
    if identity.is_none() {
        return Err(ErrorKind::Build("the binding is by client certificate, and has none"));
    }
    if !transport.shows_certificates() {
        return Err(ErrorKind::Build(
            "the binding is by client certificate, and the transport shows none (Transport::shows_certificates)",
        ));
    }
    #[cfg(feature = "mtls")]
    if identity.is_some_and(|identity| !identity.has_open_key()) {
        return Err(ErrorKind::Identity(IdentityError::KeyClosed));
    }
    Ok(())
}

/// The error of a request to a server that has asked for a pause which is not over.
fn refuse_if_paused(env: &Env<'_>, role: Role) -> Result<(), Error> {
    match env.connection.paused(role, || env.clock.monotonic()) {
        None => Ok(()),
        Some(left) => {
            let until = env.clock.now() + left;
            Err(Error::before(ErrorKind::RateLimited).of(role).retry_at_opt(Some(until)))
        }
    }
}

fn learn(
    env: &Env<'_>,
    binding: &Arc<dyn TokenBinding>,
    attempt: &Attempt<'_>,
    head: &http::response::Parts,
    sent: Option<&Nonce>,
) -> Learned {
    let answer = Answered {
        status: head.status,
        headers: &head.headers,
        sent,
    };
    let learned = binding.learn(attempt, &answer);
    if let Learned::Refused(reason) = learned {
        env.journal.record(&env.connection.id, || EventKind::NonceIgnored {
            role: attempt.role,
            reason,
        });
    }
    learned
}

/// What a refusal means, by the carrier's profile.
fn fault(
    env: &Env<'_>,
    role: Role,
    head: &http::response::Parts,
    body: &[u8],
    (verdict, arrived, again_is_safe): (&Verdict, Timestamp, bool),
) -> Option<CarrierFault> {
    let throttling = env.manner.throttling;
    let wait = match verdict {
        Verdict::Blocked(_, lasts) => Some(*lasts),
        _ => classify::retry_after(&head.headers, arrived).or_else(|| throttling.pause_after(role, head.status)),
    };
    let fault = env.manner.faults.read(role, head.status, &head.headers, body, wait)?;
    Some(fault.judged(head.status, again_is_safe))
}

/// The head of an answer, when it came, and its body. `Err(None)` is a body that did not come in time.
struct Answer {
    head: http::response::Parts,
    arrived: Timestamp,
    body: Result<Bytes, Option<ReadError>>,
}

enum Failure {
    Transport(TransportError),
    Deadline,
}

fn late(env: &Env<'_>, now: Monotonic) -> ErrorKind {
    let of_the_attempt = now < env.deadline;
    ErrorKind::Deadline(if of_the_attempt { Awaited::Answer } else { env.awaited })
}

/// Sends one attempt and reads the whole answer, under the deadline of the attempt and of the exchange.
async fn deliver(env: &Env<'_>, outgoing: Outgoing, route: &Route) -> Result<Answer, Failure> {
    let deadline = env.deadline.min(env.clock.monotonic() + env.attempt_limit);
    let answer = match within(env.clock, deadline, env.transport.send(outgoing, route)).await {
        Some(Ok(answer)) => answer,
        Some(Err(error)) => return Err(Failure::Transport(error)),
        None => return Err(Failure::Deadline),
    };
    let arrived = env.clock.now();
    let (head, body) = answer.into_parts();
    let body = match within(env.clock, deadline, Body::read_to_limit(body, env.answer_limit)).await {
        Some(body) => body.map_err(Some),
        None => Err(None),
    };
    Ok(Answer { head, arrived, body })
}

/// Whether a failure is one that another attempt may not meet.
fn passing(kind: TransportErrorKind) -> bool {
    matches!(
        kind,
        TransportErrorKind::Resolve
            | TransportErrorKind::Connect
            | TransportErrorKind::Timeout
            | TransportErrorKind::ConnectionLost
    )
}
