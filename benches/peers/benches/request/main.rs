//! Whole requests over loopback, HTTP/1.1 in clear and over TLS 1.3: what `shipbound` adds to plain reqwest.
//!
//! One at a time the figure is the median latency, pinned to a core for each side and as the scheduler has it; 64 at a time it is the time
//! that each takes of the whole (1 / throughput).

mod cores;
mod plain;
mod server;
mod shipbound;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::shipbound::binding::bearer::Bearer;
use ::shipbound::binding::dpop::Dpop;
use bytes::Bytes;
use shipbound_benches_peers::harness::{Case, Options, interleave, quantile};
use shipbound_benches_peers::inputs::Key;
use shipbound_benches_peers::report::Report;
use tokio::runtime::Runtime;

use self::plain::Plain;
use self::server::{Manner, Server};
use self::shipbound::Shipbound;

/// Where every request goes.
const PATH: &str = "/rate/v1/rates/quotes";

/// What every request sends.
const BODY: &[u8] = br#"{"accountNumber":"740561073","weight":{"units":"KG","value":"1.2"}}"#;

/// Makes one request and reads the whole answer.
trait Caller: Send + Sync + 'static {
    fn call(&self) -> impl Future<Output = Bytes> + Send;
}

fn main() {
    let options = Options::from_args();
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("the only provider of this process");
    let key = Key::generate();
    let signing_input = key.signing_input();
    let cores = cores::count();
    let report = Report::new("request", &options);

    for (transport, tls) in [("http1", false), ("tls13", true)] {
        for (load, concurrent, pinned) in [("1", 1, false), ("1-pinned", 1, true), ("64", 64, false)] {
            let prefix = format!("{transport}/{load}");
            if !["bearer", "dpop", "nonce"]
                .iter()
                .any(|kind| options.wants(&format!("{prefix}/{kind}")))
            {
                continue;
            }
            // Pinned: a core for each side. Else the scheduler decides, as it does where users run.
            if pinned {
                cores::only(0)
            } else {
                cores::all()
            }
            let runtime = runtime(if concurrent == 1 { 1 } else { cores });
            let start = |nonces| Server::start(Manner { tls, nonces, pinned });
            let (server, noncing) = (start(false), start(true));
            let cases = vec![
                case("floor", &runtime, concurrent, Plain::bearer(&server)),
                case("bearer", &runtime, concurrent, Shipbound::new(&server, Bearer)),
                case("floor-proof", &runtime, concurrent, Plain::proof_sized(&server, &key)),
                case("dpop", &runtime, concurrent, Shipbound::new(&server, Dpop::es256())),
                case("floor-nonce", &runtime, concurrent, Plain::proof_sized(&noncing, &key)),
                case("nonce", &runtime, concurrent, Shipbound::new(&noncing, Dpop::es256())),
                Case::new("signature", || key.sign(&signing_input)),
            ];
            let mut measured = interleave(&options, cases);
            // What a request with a proof must take: the plain one, and the signature on whichever core is free. One at a time nothing else
            // is there for the other cores to do.
            let share = if concurrent == 1 { 1.0 } else { cores as f64 };
            for (allowed, floor) in [("allowed", "floor-proof"), ("allowed-nonce", "floor-nonce")] {
                measured.derive(allowed, [floor, "signature"], |floor, signature| {
                    floor + signature / share
                });
            }
            report.table(
                &format!("{prefix}/bearer"),
                &measured,
                &[("floor", "floor"), ("shipbound", "bearer")],
            );
            report.table(
                &format!("{prefix}/dpop"),
                &measured,
                &[
                    ("allowed", "allowed"),
                    ("floor", "floor-proof"),
                    ("signature", "signature"),
                    ("shipbound", "dpop"),
                ],
            );
            report.table(
                &format!("{prefix}/nonce"),
                &measured,
                &[
                    ("allowed", "allowed-nonce"),
                    ("floor", "floor-nonce"),
                    ("signature", "signature"),
                    ("shipbound", "nonce"),
                ],
            );
            if concurrent == 1 {
                report.at_most(
                    &format!("{prefix}/bearer: median / floor"),
                    measured.ratio("bearer", "floor"),
                    1.08,
                );
            } else {
                for (kind, allowed) in [("dpop", "allowed"), ("nonce", "allowed-nonce")] {
                    let share = measured.ratio(allowed, kind);
                    report.at_least(
                        &format!("{prefix}/{kind}: throughput / what the CPU allows"),
                        share,
                        0.95,
                    );
                }
            }
        }
    }
}

fn runtime(threads: usize) -> Runtime {
    let mut builder = if threads == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    builder.worker_threads(threads).enable_all().build().expect("a runtime")
}

fn case<'a>(id: &str, runtime: &'a Runtime, concurrent: usize, caller: impl Caller) -> Case<'a> {
    let caller = Arc::new(caller);
    let run = move |requests| {
        if concurrent == 1 {
            runtime.block_on(latency(&*caller, requests))
        } else {
            runtime.block_on(throughput(&caller, concurrent, requests))
        }
    };
    Case::batched(id, run).batch(Duration::from_millis(100))
}

/// The median latency of requests that wait for one another.
async fn latency(caller: &impl Caller, requests: u64) -> f64 {
    let mut latencies = Vec::new();
    for _ in 0..requests {
        let started = Instant::now();
        std::hint::black_box(caller.call().await);
        latencies.push(started.elapsed().as_nanos() as f64);
    }
    quantile(&latencies, 0.5)
}

/// The time per request when so many are under way at all times.
async fn throughput(caller: &Arc<impl Caller>, concurrent: usize, requests: u64) -> f64 {
    let each = requests.div_ceil(concurrent as u64);
    let started = Instant::now();
    let tasks: Vec<_> = (0..concurrent)
        .map(|_| {
            let caller = Arc::clone(caller);
            tokio::spawn(async move {
                for _ in 0..each {
                    std::hint::black_box(caller.call().await);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a task that calls");
    }
    started.elapsed().as_nanos() as f64 / (each * concurrent as u64) as f64
}
