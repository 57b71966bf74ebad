//! What goes on besides calls: early renewals, certificates that change, issuers that offer more. One future, which the
//! application runs.
//!
//! Nothing of it is needed for a call to work: without it tokens are renewed by the calls that need them, and certificates stay
//! what they are.

use std::collections::HashSet;
use std::future::{Future, pending};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, join, join_all, select};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::sync::watch;

use crate::binding::BindingKind;
use crate::chore::Chore;
use crate::client::{Client, Pipeline};
use crate::clock::{Clock, Monotonic};
use crate::journal::EventKind;
use crate::parts::Parts;
#[cfg(feature = "mtls")]
use crate::rotation::RotationPolicy;

#[cfg(feature = "mtls")]
mod certificates;
mod chores;

/// How often is looked whether tokens are to be renewed, and whether the issuer is still to be told of revoked ones.
const LOOK: Duration = Duration::from_secs(5);

/// When issuers are probed first: by then there are tenants.
const FIRST_PROBE: Duration = Duration::from_secs(5 * 60);

/// A source or an issuer that answers at once would otherwise be asked without end.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// How many tokens of one client are renewed at a time, and of how many tenants its issuer is told.
const AT_ONCE: usize = 16;

/// The one future that an application runs beside its calls, for all clients that share some [`Parts`].
///
/// - Tokens that calls have used are renewed when 80 % of their life is over, so that no call waits for it.
/// - Token requests whose callers went away are brought to their end: what a shipper consented to is not lost with a rotated
///   refresh token that nobody took.
/// - Client certificates are reloaded: a newer one takes the old one's place, and tokens that are bound to the old one are
///   dropped. Before one ends there are events. A source that does not answer within 30 s, or panics, holds up no other.
/// - Revocations that the issuer could not be told of are told again: after 5 s, then less often, at least once an hour. After
///   24 times in vain, or when the connection has no credential any more, the token is given up with an event.
/// - [Chores](Upkeep::chore) are done again and again: keys that are due are rotated, what other processes changed is learned.
/// - Issuers are probed; a binding that one offers and that was not known is an event.
///
/// Stop it last, when the handlers that make calls have ended: those are the callers whose token requests it brings home.
///
/// ```no_run
/// use shipbound::upkeep::Upkeep;
///
/// # async fn run(parts: shipbound::Parts, carrier: shipbound::Client, stop: tokio::sync::oneshot::Receiver<()>) {
/// let upkeep = Upkeep::new(&parts).client(&carrier);
/// let running = tokio::spawn(upkeep.run(async move {
///     let _stopped = stop.await;
/// }));
/// # let _ = running;
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is done before run() is awaited"]
pub struct Upkeep {
    parts: Parts,
    clients: Vec<Client>,
    chores: Vec<Arc<dyn Chore>>,
    #[cfg(feature = "mtls")]
    policy: Option<RotationPolicy>,
    reload_every: Duration,
    probe_every: Duration,
}

impl Upkeep {
    /// Upkeep for no client yet. The clock of `parts` says when something is due, and their journal hears of certificates.
    pub fn new(parts: &Parts) -> Self {
        Self {
            parts: parts.clone(),
            clients: Vec::new(),
            chores: Vec::new(),
            #[cfg(feature = "mtls")]
            policy: None,
            reload_every: Duration::from_secs(60),
            probe_every: Duration::from_secs(24 * 60 * 60),
        }
    }

    /// Looks after this client too, and after its tokens. It should have been built with the same parts, or at least with the
    /// same clock.
    pub fn client(mut self, client: &Client) -> Self {
        self.clients.push(client.clone());
        self
    }

    /// Does this again and again, at its own pace, beside everything else. The first round begins at once. One that panics, or
    /// that takes longer than [`Chore`] says, is given up, and the next one comes in its time.
    pub fn chore(mut self, chore: Arc<dyn Chore>) -> Self {
        self.chores.push(chore);
        self
    }

    /// Does each of these, as [`chore`](Upkeep::chore) does.
    pub fn chores(mut self, chores: impl IntoIterator<Item = Arc<dyn Chore>>) -> Self {
        self.chores.extend(chores);
        self
    }

    /// Holds client certificates to the maximum ages of this policy too, however long they are valid, and tells of old ones when
    /// the policy says ([`EventKind::CertificateDue`]). Of a certificate that serves sandbox and production the shorter maximum
    /// counts. Their sources renew them: see [`CertificateSource`](crate::binding::mtls::CertificateSource). Default: their own
    /// end alone counts.
    #[cfg(feature = "mtls")]
    pub fn rotation_policy(mut self, policy: RotationPolicy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// How often certificates are looked at. Default: once a minute; at most once a second.
    pub fn reload_every(mut self, interval: Duration) -> Self {
        self.reload_every = interval.max(SHORTEST_INTERVAL);
        self
    }

    /// How often issuers are probed. Default: once a day, for the first time after five minutes; at most once a second.
    pub fn probe_every(mut self, interval: Duration) -> Self {
        self.probe_every = interval.max(SHORTEST_INTERVAL);
        self
    }

    /// Runs until `shutdown` ends, and then until what was begun has ended: requests to an issuer are not broken off, and each
    /// of them has its limit of time ([`Limits::token_exchange`](crate::exchange::budget::Limits::token_exchange), 10 s), as
    /// has each look at a source of certificates (30 s), each round of a chore and its end. Nothing more is begun.
    ///
    /// It fails never: what goes wrong is in the journal, and is tried again. That holds for panics of what was handed in
    /// too, where panics unwind. Dropping it gives up what is under way.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let stop = watch::Sender::new(false);
        let worker = Worker {
            clock: Arc::clone(&self.parts.clock),
            stop: stop.subscribe(),
        };
        let of_each = self.clients.iter().map(|client| {
            let pipeline = client.pipeline();
            let tokens = join(worker.renew(pipeline), worker.bring_home(pipeline));
            let issuer = join(worker.tell(pipeline), worker.probe(pipeline, self.probe_every));
            join(tokens, issuer)
        });
        #[cfg(feature = "mtls")]
        let certificates = certificates::watch(
            &worker,
            (&self.parts.journal, self.policy.as_ref()),
            &self.clients,
            self.reload_every,
        );
        #[cfg(not(feature = "mtls"))]
        let certificates = {
            let _no_certificates = self.reload_every;
            std::future::ready(())
        };
        let chores = join_all(
            self.chores
                .iter()
                .map(|chore| chores::again_and_again(&worker, &**chore)),
        );
        let work = pin!(join(join(join_all(of_each), chores), certificates));
        if let Either::Left(((), rest)) = select(pin!(shutdown), work).await {
            stop.send_replace(true);
            rest.await;
        }
    }
}

/// What all parts of the upkeep share: the time, and whether to begin anything more.
struct Worker {
    clock: Arc<dyn Clock>,
    stop: watch::Receiver<bool>,
}

impl Worker {
    /// Waits for `future`; false when the upkeep is to stop first.
    async fn wait(&self, future: impl Future<Output = ()>) -> bool {
        let mut stop = self.stop.clone();
        // A sender that is gone means the same as one that says so.
        let stopped = pin!(async {
            let _told = stop.wait_for(|stop| *stop).await;
        });
        matches!(select(stopped, pin!(future)).await, Either::Right(_))
    }

    async fn pause(&self, interval: Duration) -> bool {
        let until: Monotonic = self.clock.monotonic() + interval;
        self.wait(self.clock.sleep_until(until)).await
    }

    fn goes_on(&self) -> bool {
        !*self.stop.borrow()
    }

    /// Does something for each of these, some at a time; none is begun when the upkeep is to stop.
    async fn each<T, F: Future<Output = ()>>(&self, all: Vec<T>, each: impl Fn(T) -> F) {
        let each = &each;
        let work = all.into_iter().map(|one| async move {
            if self.goes_on() {
                guarded(each(one)).await;
            }
        });
        stream::iter(work).buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    /// Renews ahead of need.
    async fn renew(&self, pipeline: &Pipeline) {
        while self.pause(LOOK).await {
            let due = pipeline.parts.tokens.due(&pipeline.scope, self.clock.monotonic());
            self.each(due, |(tenant, slot)| async move {
                let _begun = slot.connection.begin();
                if pipeline.source.admits(&slot.connection.id).is_err() {
                    return;
                }
                slot.renew(&pipeline.source).await;
                pipeline.parts.tokens.show(&pipeline.scope, &tenant);
            })
            .await;
        }
    }

    /// Tells the issuer what it could not be told before.
    async fn tell(&self, pipeline: &Pipeline) {
        while self.pause(LOOK).await {
            self.each(pipeline.to_be_told(), |tenant| async move {
                pipeline.tell_again(&tenant, || self.goes_on()).await;
            })
            .await;
        }
    }

    /// Drives token requests on that their callers have left. When the upkeep is to stop, those that were begun still end.
    async fn bring_home(&self, pipeline: &Pipeline) {
        let left = &pipeline.source.left;
        let _watching = left.watch();
        let mut under_way = FuturesUnordered::new();
        let mut goes_on = true;
        loop {
            under_way.extend(left.take().into_iter().map(|left| async move {
                guarded(left.slot.bring_home(&pipeline.source)).await;
                // It is under way until here.
                drop(left);
            }));
            if !goes_on && under_way.is_empty() {
                return;
            }
            let told = async {
                if goes_on {
                    return self.wait(left.told()).await;
                }
                left.told().await;
                false
            };
            let home = async {
                if under_way.next().await.is_none() {
                    pending::<()>().await;
                }
            };
            let more = match select(pin!(told), pin!(home)).await {
                Either::Left((more, _)) => more,
                Either::Right(_) => goes_on,
            };
            goes_on = more;
        }
    }

    /// Looks what the issuer offers, through the connection of a tenant that uses it.
    async fn probe(&self, pipeline: &Pipeline, interval: Duration) {
        let own = pipeline.source.strategy.kind();
        let mut known: HashSet<BindingKind> = match own {
            BindingKind::DpopMtls => [BindingKind::Dpop, BindingKind::Mtls].into(),
            own => [own].into(),
        };
        let mut next = interval.min(FIRST_PROBE);
        while self.pause(next).await {
            next = interval;
            let Some(tenant) = pipeline.parts.tokens.any_tenant(&pipeline.scope) else {
                continue;
            };
            // An issuer that cannot be read has told nothing new; its own failures are in the journal as attempts.
            guarded(async {
                let Ok(probe) = pipeline.probe(&tenant).await else {
                    return;
                };
                for binding in probe.capabilities.iter().flat_map(|told| told.offers()) {
                    if known.insert(binding) {
                        pipeline.parts.journal.record_at_large(EventKind::BindingOffered {
                            carrier: pipeline.profile().id().clone(),
                            environment: pipeline.profile().environment(),
                            binding,
                        });
                    }
                }
            })
            .await;
        }
    }
}

/// Awaits `work`, whose panic is its own: what was handed in does not end the upkeep. The panic's hook has been told of it.
async fn guarded(work: impl Future<Output = ()>) {
    let _panicked = AssertUnwindSafe(work).catch_unwind().await;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    fn worker(stop: &watch::Sender<bool>) -> Worker {
        Worker {
            clock: Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH)),
            stop: stop.subscribe(),
        }
    }

    #[test]
    fn what_waits_its_turn_is_not_begun_when_the_upkeep_is_to_stop() {
        let stop = watch::Sender::new(false);
        let (worker, begun) = (worker(&stop), AtomicUsize::new(0));
        let hanging = watch::Sender::new(false);
        let mut work = Box::pin(worker.each((0..5_000).collect(), |_: u32| async {
            begun.fetch_add(1, Ordering::Relaxed);
            let mut answered = hanging.subscribe();
            let _answered = answered.wait_for(|answered| *answered).await;
        }));
        assert!((&mut work).now_or_never().is_none());
        stop.send_replace(true);
        hanging.send_replace(true);
        work.now_or_never().unwrap();
        assert_eq!(begun.load(Ordering::Relaxed), AT_ONCE);
    }

    #[test]
    fn a_panic_of_one_leaves_the_others() {
        let stop = watch::Sender::new(false);
        let (worker, done) = (worker(&stop), AtomicUsize::new(0));
        let work = worker.each((0..20).collect(), |number: u32| {
            let done = &done;
            async move {
                assert!(number != 3, "one panics");
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
        work.now_or_never().unwrap();
        assert_eq!(done.load(Ordering::Relaxed), 19);
    }
}
