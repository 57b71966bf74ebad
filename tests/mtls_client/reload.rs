//! A certificate is exchanged while calls go on.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::{HeaderName, HeaderValue};
use shipbound::binding::mtls::{CertificateSource, FileCertificates, Mtls};
use shipbound::clock::{Clock, SystemClock};
use shipbound::jose::Thumbprint;
use shipbound::journal::{Event, EventKind, Sink};
use shipbound::sandbox::{Answer, Endpoint, Gate, Recorded, Sandbox};
use shipbound::upkeep::Upkeep;
use shipbound::{Client, Error};
use tokio::sync::{oneshot, watch};

use crate::world::{Files, Make, SHIPMENTS, client, id, parts, profile, ship, start};

const TASKS: usize = 8;
/// Before the exchange, and after it.
const CALLS: usize = 250;

/// Says in which phase of the test a call was begun.
const PHASE: HeaderName = HeaderName::from_static("x-phase");

fn phase(request: &Recorded) -> usize {
    request.header(PHASE.as_str()).unwrap().parse().unwrap()
}

/// Tells that a certificate was exchanged, as the journal hears of it.
#[derive(Debug)]
struct Told(watch::Sender<bool>);

impl Sink for Told {
    fn record(&self, event: &Event) {
        if matches!(event.kind, EventKind::CertificateExchanged { .. }) {
            self.0.send_replace(true);
        }
    }
}

/// How far the calls of a test have come.
#[derive(Default)]
struct Progress {
    /// Moved by the test; calls bear the number at which they began.
    phase: usize,
    /// How many calls of each phase are on their way.
    open: [usize; 3],
    ended: usize,
    over: bool,
}

/// Tasks that call until they are told that it is over.
struct Load {
    client: Client,
    progress: watch::Sender<Progress>,
}

impl Load {
    async fn run(self: Arc<Self>) -> Vec<Result<u16, Error>> {
        let tenant = self.client.tenant("acme").unwrap();
        let mut outcomes = Vec::new();
        while !self.progress.borrow().over {
            let mut phase = 0;
            self.progress.send_modify(|progress| {
                phase = progress.phase;
                progress.open[phase] += 1;
            });
            let call = tenant.post(SHIPMENTS).header(PHASE, HeaderValue::from(phase));
            let outcome = call.send().await;
            outcomes.push(outcome.map(|answer| answer.status().as_u16()));
            self.progress.send_modify(|progress| {
                progress.open[phase] -= 1;
                progress.ended += 1;
            });
        }
        outcomes
    }

    async fn wait(&self, until: impl FnMut(&Progress) -> bool) {
        self.progress.subscribe().wait_for(until).await.unwrap();
    }

    /// Ends when this many calls more have ended.
    async fn some(&self, calls: usize) {
        let aim = self.progress.borrow().ended + calls;
        self.wait(|progress| progress.ended >= aim).await;
    }

    fn enter(&self, phase: usize) {
        self.progress.send_modify(|progress| progress.phase = phase);
    }
}

/// Phase 0: the first certificate. Phase 1: the exchange has been made. Phase 2: no call of phase 0 is on its way any more.
async fn under_load(http2: bool) {
    let sandbox = start(Sandbox::builder().http2(http2)).await;
    let first = sandbox.client_certificate("acme").unwrap();
    let second = sandbox.client_certificate("acme").unwrap();
    let (first_x5t, second_x5t) = (first.x5t(), second.x5t());
    let files = Files::with(&first);
    let source = FileCertificates::open(files.path(), files.path(), SystemClock::new().now()).unwrap();
    let (told, mut exchanged) = watch::channel(false);
    let make = Make {
        sink: Arc::new(Told(told)),
        ..Make::usual()
    };
    let parts = parts(&sandbox, &["acme"], make);
    let client = Client::builder(profile(&sandbox), &parts)
        .binding(Mtls::new(source))
        .build()
        .unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let upkeep = Upkeep::new(&parts)
        .client(&client)
        .reload_every(Duration::from_millis(5));
    let upkeep = tokio::spawn(upkeep.run(async move {
        let _stopped = stopped.await;
    }));
    let load = Arc::new(Load {
        client,
        progress: watch::Sender::default(),
    });
    let tasks: Vec<_> = (0..TASKS).map(|_| tokio::spawn(Arc::clone(&load).run())).collect();

    load.some(CALLS).await;
    files.put(&second);
    exchanged.wait_for(|told| *told).await.unwrap();
    load.enter(1);
    load.wait(|progress| progress.open[0] == 0).await;
    load.enter(2);
    // Connections that a call of phase 0 began and did not need have been made by then, too.
    load.some(CALLS / 2).await;
    let handshakes = sandbox.handshakes().len();
    // A connection that carries nothing else: a resumed one.
    sandbox.script(id("acme"), Endpoint::Api, [Answer::misdirected()]);
    load.some(CALLS / 2).await;
    load.progress.send_modify(|progress| progress.over = true);

    let outcomes = join_all(tasks).await;
    for outcome in outcomes.into_iter().flat_map(Result::unwrap) {
        assert_eq!(outcome.unwrap(), 201, "no call fails");
    }
    stop.send(()).unwrap();
    upkeep.await.unwrap();
    assert_eq!(sandbox.answers_left(), 0, "there were calls after the exchange");

    let calls = sandbox.requests_at(Endpoint::Api);
    let of = |number: usize| calls.iter().filter(move |call| phase(call) == number);
    assert!(calls.iter().all(|call| call.accepted() || call.status() == Some(421)));
    for call in of(1).chain(of(2)) {
        assert_eq!(call.certificate(), Some(second_x5t), "begun after the exchange");
    }
    // Of those that were begun before it, some may have come to its end.
    assert!(of(0).all(|call| [Some(first_x5t), Some(second_x5t)].contains(&call.certificate())));
    assert!(of(0).count() >= CALLS && of(2).count() >= CALLS - 2 * TASKS);
    // Calls of different certificates never met on a connection.
    let shown = |connection: u64| calls.iter().filter(move |call| call.connection() == connection);
    for call in &calls {
        assert!(shown(call.connection()).all(|other| other.certificate() == call.certificate()));
    }
    let later = &sandbox.handshakes()[handshakes..];
    assert!(later.iter().any(|handshake| handshake.resumed()));
    let mut certified = later.iter().filter_map(|handshake| handshake.certificate());
    assert!(certified.all(|x5t| x5t == second_x5t));
    assert_eq!(sandbox.token_requests(), 2, "one token for each certificate");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_call_fails_and_none_shows_the_old_certificate_over_http_1_1() {
    under_load(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_call_fails_and_none_shows_the_old_certificate_over_http_2() {
    under_load(true).await;
}

/// What arrived at the API: status, certificate, connection.
fn seen(sandbox: &Sandbox) -> Vec<(Option<u16>, Option<Thumbprint>, u64)> {
    let calls = sandbox.requests_at(Endpoint::Api);
    let of = |call: &Recorded| (call.status(), call.certificate(), call.connection());
    calls.iter().map(of).collect()
}

#[tokio::test]
async fn calls_on_their_way_finish_on_the_old_connection() {
    for http2 in [true, false] {
        let sandbox = start(Sandbox::builder().http2(http2)).await;
        let first = sandbox.client_certificate("acme").unwrap();
        let second = sandbox.client_certificate("acme").unwrap();
        let files = Files::with(&first);
        let now = SystemClock::new().now();
        let source = Arc::new(FileCertificates::open(files.path(), files.path(), now).unwrap());
        let client = client(&sandbox, Mtls::shared(source.clone()), Make::usual());
        assert_eq!(ship(&client, "acme").await.unwrap(), 201);

        let gate = Gate::new();
        let held = (0..3).map(|_| Answer::normal().held(&gate));
        sandbox.script(id("acme"), Endpoint::Api, held);
        let before = join_all((0..3).map(|_| ship(&client, "acme")));
        let exchange = async {
            gate.reached(3).await;
            files.put(&second);
            let exchanged = source.reload(now).await.unwrap();
            assert_eq!(
                (exchanged[0].old.x5t(), exchanged[0].new.x5t()),
                (first.x5t(), second.x5t())
            );
            assert_eq!(ship(&client, "acme").await.unwrap(), 201);
            assert_eq!(gate.waiting(), 3);
            gate.open();
        };
        let (before, ()) = tokio::join!(before, exchange);
        for outcome in before {
            assert_eq!(outcome.unwrap(), 201);
        }
        let seen = seen(&sandbox);
        assert_eq!(seen.len(), 5);
        let (own, new) = (Some(first.x5t()), Some(second.x5t()));
        let shown: Vec<_> = seen.iter().map(|(_, x5t, _)| *x5t).collect();
        assert_eq!(shown.iter().filter(|x5t| **x5t == own).count(), 4);
        let after = seen.iter().find(|(_, x5t, _)| *x5t == new).unwrap();
        assert!(
            seen.iter()
                .filter(|(_, x5t, _)| *x5t == own)
                .all(|(_, _, number)| *number != after.2)
        );
        if http2 {
            let old: Vec<_> = seen.iter().filter(|one| one.1 == own).map(|one| one.2).collect();
            assert!(
                old.iter().all(|number| *number == old[0]),
                "one connection carried them"
            );
        }
        // The next ones go where the first with the new certificate went.
        assert_eq!(ship(&client, "acme").await.unwrap(), 201);
        assert_eq!(sandbox.requests_at(Endpoint::Api).last().unwrap().connection(), after.2);
        assert_eq!(sandbox.token_requests(), 2);
    }
}
