//! Alerts to an endpoint of the operator's, as Standard Webhooks are sent.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use shipbound::Parts;
//! use shipbound::clock::{Clock, SystemClock};
//! use shipbound::credentials::MemoryCredentials;
//! use shipbound::journal::webhook::{Webhook, WebhookSecret};
//! use shipbound::keys::MemoryKeyStore;
//! use shipbound::target::Target;
//! use shipbound::transport::Transport;
//! use shipbound::upkeep::Upkeep;
//!
//! # fn alerts(transport: Arc<dyn Transport>, secret: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
//! let target = Target::parse("https://alerts.platform.example/shipbound")?;
//! let webhook = Webhook::builder(target, WebhookSecret::parse(secret)?).build(transport, Arc::clone(&clock));
//!
//! let parts = Parts::builder()
//!     .keys(MemoryKeyStore::new())
//!     .credentials(MemoryCredentials::new())
//!     .clock(clock)
//!     .sink(webhook.clone())
//!     .build()?;
//! let upkeep = Upkeep::new(&parts).chore(Arc::new(webhook));
//! # let _ = upkeep;
//! # Ok(())
//! # }
//! ```

mod body;
mod queue;
mod sign;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::chore::Chore;
use crate::clock::{Clock, Monotonic, within};
use crate::pause;
use crate::target::Target;
use crate::transport::{Outgoing, Route, Transport};

use self::queue::{Message, Queue};
pub use self::sign::{BadWebhookSecret, WebhookSecret};
use super::{Event, EventKind, Sink};

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// How long one delivery may take, until the head of the answer.
const DELIVERY: Duration = Duration::from_secs(10);

/// How often the queue is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// How long one round delivers at most.
const ROUND: Duration = Duration::from_secs(30);

/// The pause after a failure doubles from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// After so many failures a message is given up: after some 15 hours.
const MOST_FAILURES: u32 = 24;

/// How many refusals one round asks for: an endpoint that refuses everything is not sent all that waits at once.
const MOST_REFUSALS: u32 = 16;

/// Sends alerts, and other events that were chosen, to one endpoint: a [`Sink`] of the journal and a [`Chore`] of the
/// [`Upkeep`](crate::upkeep::Upkeep). Cheap to clone.
///
/// - **What.** One `POST` for each event: `{"type": "key.overdue", "timestamp": "2027-01-15T08:00:00Z", "data": {..}}`. It holds
///   tenants' ids, thumbprints, codes and times; no secret, no address, and of an [`Act`](crate::act::Act) the ticket alone.
/// - **Signed** as Standard Webhooks say: `webhook-id`, `webhook-timestamp`, and `webhook-signature`, which is `v1,` and the
///   base64 of the HMAC-SHA256 of `{id}.{timestamp}.{body}`; two of them while the secret changes.
/// - **At least once**, while the process runs: a delivery without an answer of 2xx is repeated, with the same id and body,
///   after 5 s, then less often, at least once an hour (a `Retry-After` up to that counts; up to a tenth sooner, so that processes
///   do not come together). After 24 failures it is given up. What is queued when the process ends is lost;
///   [`stop`](Chore::stop) sends what it can.
/// - **Refused** is an event that the endpoint answers with 4xx, other than 408, 425 and 429: it is tried again as above, behind
///   all others, which do not wait for it.
/// - **Bounded.** At most 1 000 events wait, which is settable. When there are more, the oldest that was refused goes first, then
///   what is least of an alert, the oldest of it first. The next delivery says how many went, as `dropped`.
/// - **410** (Gone) ends it: nothing is sent any more, until [`Webhook::resume`].
/// - **Told elsewhere** are 410 and what is given up, where there is an [elsewhere](WebhookBuilder::failures_to):
///   [`EventKind::AlertsUndelivered`].
/// - **Redirects** are failures: alerts go to the address that was handed in.
#[derive(Clone)]
pub struct Webhook(Arc<Inner>);

struct Inner {
    target: Target,
    chosen: Box<dyn Fn(&EventKind) -> bool + Send + Sync>,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    elsewhere: Option<Arc<dyn Sink>>,
    capacity: usize,
    state: Mutex<State>,
}

struct State {
    secrets: Vec<WebhookSecret>,
    queue: Queue,
    /// What was refused, and is tried when nothing else waits.
    refused: VecDeque<Refused>,
    failures: u32,
    paused_until: Option<Monotonic>,
    gone: bool,
}

struct Refused {
    message: Message,
    failures: u32,
    until: Monotonic,
}

/// How an endpoint took a delivery.
enum Taken {
    Yes,
    Gone,
    /// This event is not taken; others may be.
    Refused,
    No {
        pause: Option<Duration>,
    },
}

impl Webhook {
    /// A webhook to `target`, signed with `secret`.
    pub fn builder(target: Target, secret: WebhookSecret) -> WebhookBuilder {
        WebhookBuilder {
            target,
            secrets: vec![secret],
            chosen: Box::new(|_| false),
            elsewhere: None,
            capacity: 1_000,
        }
    }

    /// Signs with `secret` from now on, and with `previous` too where the endpoint may not know the new one yet.
    pub fn set_secrets(&self, secret: WebhookSecret, previous: Option<WebhookSecret>) {
        self.state().secrets = [secret].into_iter().chain(previous).collect();
    }

    /// How many events wait.
    pub fn waiting(&self) -> usize {
        self.state().len()
    }

    /// Whether the endpoint answered 410, so that nothing is sent any more.
    pub fn is_gone(&self) -> bool {
        self.state().gone
    }

    /// Goes on after a 410, and does not wait for a pause to end.
    pub fn resume(&self) {
        let mut state = self.state();
        state.gone = false;
        state.paused_until = None;
    }

    /// Delivers what waits until nothing does, a delivery fails, or `until` has come.
    async fn deliver(&self, until: Monotonic, goes_on: &(dyn Fn() -> bool + Send + Sync)) {
        let inner = &*self.0;
        let mut refusals = 0;
        while goes_on() && refusals < MOST_REFUSALS && inner.clock.monotonic() < until {
            let (message, headers) = {
                let mut state = self.state();
                let now = inner.clock.monotonic();
                if state.gone || state.paused_until.is_some_and(|until| now < until) {
                    return;
                }
                let Some(message) = state.next(now) else { return };
                let at = inner.clock.now().unix_seconds();
                let Some(headers) = headers(&message, at, &state.secrets) else {
                    return;
                };
                (message, headers)
            };
            let taken = self.send(&message, headers).await;
            let now = inner.clock.monotonic();
            match taken {
                Taken::Yes => self.state().take(&message),
                Taken::Gone => {
                    self.state().end();
                    self.tell("gone");
                    return;
                }
                Taken::Refused => {
                    refusals += 1;
                    if self.state().refuse(message, now) {
                        self.tell("refused");
                    }
                }
                Taken::No { pause } => {
                    if self.state().fail(&message, pause, now) {
                        self.tell("unanswered");
                    }
                    return;
                }
            }
        }
    }

    /// Tells somebody else that this endpoint does not hear of something.
    fn tell(&self, code: &'static str) {
        if let Some(elsewhere) = &self.0.elsewhere {
            elsewhere.record(&Event {
                at: self.0.clock.now(),
                connection: None,
                kind: EventKind::AlertsUndelivered { code },
            });
        }
    }

    async fn send(&self, message: &Message, headers: HeaderMap) -> Taken {
        let inner = &*self.0;
        let request = Outgoing {
            method: Method::POST,
            target: inner.target.clone(),
            headers,
            body: Bytes::clone(&message.body),
        };
        let route = Route::new().deadline(DELIVERY);
        let sent = inner.transport.send(request, &route);
        let deadline = inner.clock.monotonic() + DELIVERY;
        // The head says it all. A body is not waited for.
        match within(&*inner.clock, deadline, sent).await {
            Some(Ok(answer)) if answer.status().is_success() => Taken::Yes,
            Some(Ok(answer)) if answer.status() == StatusCode::GONE => Taken::Gone,
            Some(Ok(answer)) if is_refusal(answer.status()) => Taken::Refused,
            Some(Ok(answer)) => Taken::No {
                pause: retry_after(answer.headers()),
            },
            Some(Err(_)) | None => Taken::No { pause: None },
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is half done between two statements that could panic.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn len(&self) -> usize {
        self.queue.len() + self.refused.len()
    }

    /// What is delivered next: what was refused comes last, when its pause is over.
    fn next(&mut self, now: Monotonic) -> Option<Message> {
        let queued = self.queue.first();
        queued.or_else(|| {
            let due = self.refused.iter().find(|refused| refused.until <= now);
            due.map(|refused| refused.message.clone())
        })
    }

    fn take(&mut self, message: &Message) {
        self.queue.delivered(message);
        self.refused.retain(|refused| refused.message.id != message.id);
        self.failures = 0;
    }

    /// The endpoint is gone, and with it whatever waits.
    fn end(&mut self) {
        self.gone = true;
        self.queue.drop_all();
        while self.refused.pop_front().is_some() {
            self.queue.drop_one();
        }
    }

    /// Moves what was refused behind the others; whether it is given up.
    fn refuse(&mut self, message: Message, now: Monotonic) -> bool {
        let before = match self.remove(&message) {
            Some(refused) => refused.failures,
            None => std::mem::take(&mut self.failures),
        };
        // The server is there.
        self.failures = 0;
        let failures = before.saturating_add(1);
        if failures >= MOST_FAILURES {
            self.queue.give_up(&message);
            return true;
        }
        self.queue.set_aside(&message);
        self.refused.push_back(Refused {
            message,
            failures,
            until: now + paused(before, None),
        });
        false
    }

    /// Pauses all deliveries; whether this one is given up.
    fn fail(&mut self, message: &Message, asked: Option<Duration>, now: Monotonic) -> bool {
        let of_refused = self
            .refused
            .iter_mut()
            .find(|refused| refused.message.id == message.id)
            .map(|refused| &mut refused.failures);
        let failures = of_refused.unwrap_or(&mut self.failures);
        self.paused_until = Some(now + paused(*failures, asked));
        *failures = failures.saturating_add(1);
        let is_given_up = *failures >= MOST_FAILURES;
        if is_given_up {
            *failures = 0;
            match self.remove(message) {
                Some(_refused) => self.queue.drop_one(),
                None => self.queue.give_up(message),
            }
        }
        is_given_up
    }

    fn remove(&mut self, message: &Message) -> Option<Refused> {
        let at = self
            .refused
            .iter()
            .position(|refused| refused.message.id == message.id)?;
        self.refused.remove(at)
    }
}

/// How long is waited after a failure that so many came before.
fn paused(failures: u32, asked: Option<Duration>) -> Duration {
    let doubled = pause::doubled(FIRST_PAUSE, failures, LONGEST_PAUSE);
    // Between 0.9 and 1 of it.
    let spread = doubled.mul_f64(0.05_f64.mul_add(pause::spread(), 0.95));
    spread.max(asked.unwrap_or_default()).min(LONGEST_PAUSE)
}

/// Whether the server is well, and does not want this one.
fn is_refusal(status: StatusCode) -> bool {
    let later = [
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    status.is_client_error() && !later.contains(&status)
}

impl Sink for Webhook {
    fn record(&self, event: &Event) {
        let is_alert = body::is_alert(&event.kind);
        if !is_alert && !(self.0.chosen)(&event.kind) {
            return;
        }
        let mut state = self.state();
        if state.gone {
            state.queue.drop_one();
            return;
        }
        if state.len() >= self.0.capacity && state.refused.pop_front().is_some() {
            state.queue.drop_one();
        }
        state.queue.put(event, is_alert);
    }
}

#[async_trait]
impl Chore for Webhook {
    fn every(&self) -> Duration {
        LOOK
    }

    async fn round(&self, goes_on: &(dyn Fn() -> bool + Send + Sync)) {
        self.deliver(self.0.clock.monotonic() + ROUND, goes_on).await;
    }

    async fn stop(&self) {
        self.deliver(self.0.clock.monotonic() + ROUND, &|| true).await;
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("origin", self.0.target.origin())
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

/// Makes a [`Webhook`].
#[must_use]
pub struct WebhookBuilder {
    target: Target,
    secrets: Vec<WebhookSecret>,
    chosen: Box<dyn Fn(&EventKind) -> bool + Send + Sync>,
    elsewhere: Option<Arc<dyn Sink>>,
    capacity: usize,
}

impl WebhookBuilder {
    /// Signs with this secret too, which the endpoint knew before.
    pub fn previous_secret(mut self, previous: WebhookSecret) -> Self {
        self.secrets.truncate(1);
        self.secrets.push(previous);
        self
    }

    /// Sends these events too. Alerts are always sent. Default: none.
    pub fn also(mut self, chosen: impl Fn(&EventKind) -> bool + Send + Sync + 'static) -> Self {
        self.chosen = Box::new(chosen);
        self
    }

    /// Tells this sink ([`EventKind::AlertsUndelivered`]) when the endpoint is gone, or an event was given up. Default: nobody.
    pub fn failures_to(mut self, elsewhere: Arc<dyn Sink>) -> Self {
        self.elsewhere = Some(elsewhere);
        self
    }

    /// How many events wait at most. Default: 1 000; 1 to 100 000.
    pub fn capacity(mut self, events: usize) -> Self {
        self.capacity = events.clamp(1, 100_000);
        self
    }

    /// The webhook. It sends nothing by itself: hand it to the parts as a sink, and to the upkeep as a chore.
    pub fn build(self, transport: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Webhook {
        Webhook(Arc::new(Inner {
            target: self.target,
            chosen: self.chosen,
            transport,
            clock,
            elsewhere: self.elsewhere,
            capacity: self.capacity,
            state: Mutex::new(State {
                secrets: self.secrets,
                queue: Queue::new(self.capacity),
                refused: VecDeque::new(),
                failures: 0,
                paused_until: None,
                gone: false,
            }),
        }))
    }
}

impl fmt::Debug for WebhookBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookBuilder")
            .field("origin", self.target.origin())
            .finish_non_exhaustive()
    }
}

fn headers(message: &Message, at: i64, secrets: &[WebhookSecret]) -> Option<HeaderMap> {
    let at = at.to_string();
    let signatures: Vec<_> = secrets
        .iter()
        .map(|secret| secret.sign(&message.id, &at, &message.body))
        .collect();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ID, HeaderValue::from_str(&message.id).ok()?);
    headers.insert(TIMESTAMP, HeaderValue::from_str(&at).ok()?);
    let mut signature = HeaderValue::from_str(&signatures.join(" ")).ok()?;
    signature.set_sensitive(true);
    headers.insert(SIGNATURE, signature);
    Some(headers)
}

/// `Retry-After` in seconds; dates are not read.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
