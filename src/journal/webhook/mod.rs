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

/// After so many failures a message is given up, so that those behind it get through: after some 15 hours.
const MOST_FAILURES: u32 = 24;

/// Sends alerts, and other events that were chosen, to one endpoint: a [`Sink`] of the journal and a [`Chore`] of the
/// [`Upkeep`](crate::upkeep::Upkeep). Cheap to clone.
///
/// - **What.** One `POST` for each event: `{"type": "key.overdue", "timestamp": "2027-01-15T08:00:00Z", "data": {..}}`. It holds
///   tenants' ids, thumbprints, codes and times; no secret, no address, and of an [`Act`](crate::act::Act) the ticket alone.
/// - **Signed** as Standard Webhooks say: `webhook-id`, `webhook-timestamp`, and `webhook-signature`, which is `v1,` and the
///   base64 of the HMAC-SHA256 of `{id}.{timestamp}.{body}`; two of them while the secret changes.
/// - **At least once**, while the process runs: a delivery without an answer of 2xx is repeated, with the same id and body,
///   after 5 s, then less often, at least once an hour (a `Retry-After` up to that counts). After 24 failures it is given up.
///   What is queued when the process ends is lost; [`stop`](Chore::stop) sends what it can.
/// - **Bounded.** At most 1 000 events wait, which is settable. When there are more, the oldest that is no alert goes first. The
///   next delivery says how many went, as `dropped`.
/// - **410** (Gone) ends it: nothing is sent any more, until [`Webhook::resume`].
/// - **Redirects** are failures: alerts go to the address that was handed in.
#[derive(Clone)]
pub struct Webhook(Arc<Inner>);

struct Inner {
    target: Target,
    chosen: Box<dyn Fn(&EventKind) -> bool + Send + Sync>,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    secrets: Vec<WebhookSecret>,
    queue: Queue,
    failures: u32,
    paused_until: Option<Monotonic>,
    gone: bool,
}

/// How an endpoint took a delivery.
enum Taken {
    Yes,
    Gone,
    No { pause: Option<Duration> },
}

impl Webhook {
    /// A webhook to `target`, signed with `secret`.
    pub fn builder(target: Target, secret: WebhookSecret) -> WebhookBuilder {
        WebhookBuilder {
            target,
            secrets: vec![secret],
            chosen: Box::new(|_| false),
            capacity: 1_000,
        }
    }

    /// Signs with `secret` from now on, and with `previous` too where the endpoint may not know the new one yet.
    pub fn set_secrets(&self, secret: WebhookSecret, previous: Option<WebhookSecret>) {
        self.state().secrets = [secret].into_iter().chain(previous).collect();
    }

    /// How many events wait.
    pub fn waiting(&self) -> usize {
        self.state().queue.len()
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
        while goes_on() && inner.clock.monotonic() < until {
            let (message, headers) = {
                let mut state = self.state();
                let now = inner.clock.monotonic();
                if state.gone || state.paused_until.is_some_and(|until| now < until) {
                    return;
                }
                let Some(message) = state.queue.first() else { return };
                let at = inner.clock.now().unix_seconds();
                let Some(headers) = headers(&message, at, &state.secrets) else {
                    return;
                };
                (message, headers)
            };
            let taken = self.send(&message, headers).await;
            let mut state = self.state();
            match taken {
                Taken::Yes => {
                    state.queue.delivered(&message);
                    state.failures = 0;
                }
                Taken::Gone => {
                    state.gone = true;
                    state.queue.drop_all();
                    return;
                }
                Taken::No { pause } => {
                    state.fail(&message, pause, inner.clock.monotonic());
                    return;
                }
            }
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
    fn fail(&mut self, message: &Message, asked: Option<Duration>, now: Monotonic) {
        let doubled = pause::doubled(FIRST_PAUSE, self.failures, LONGEST_PAUSE);
        let pause = doubled.max(asked.unwrap_or_default()).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.paused_until = Some(now + pause);
        if self.failures >= MOST_FAILURES {
            self.queue.give_up(message);
            self.failures = 0;
        }
    }
}

impl Sink for Webhook {
    fn record(&self, event: &Event) {
        let is_alert = body::is_alert(&event.kind);
        if !is_alert && !(self.0.chosen)(&event.kind) {
            return;
        }
        let mut state = self.state();
        match state.gone {
            true => state.queue.drop_one(),
            false => state.queue.put(event, is_alert),
        }
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
            state: Mutex::new(State {
                secrets: self.secrets,
                queue: Queue::new(self.capacity),
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
