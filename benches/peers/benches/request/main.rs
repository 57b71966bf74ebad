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

/// Loads: name, requests at a time, whether each side has a core of its own, whether the figure is the time that the cores were used in place of
/// the time that went by.
const LOADS: [(&str, usize, bool, bool); 4] = [
    ("1", 1, false, false),
    ("1-pinned", 1, true, false),
    ("64", 64, false, false),
    ("64-cpu", 64, false, true),
];

fn main() {
    let options = Options::from_args();
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("the only provider of this process");
    let key = Arc::new(Key::generate());
    let signing_input = key.signing_input();
    let cores = cores::count();
    let report = Report::new("request", &options);

    for (transport, tls) in [("http1", false), ("tls13", true)] {
        for (load, concurrent, pinned, used) in LOADS {
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
            let load = Load { concurrent, used };
            let cases = vec![
                case("floor", &runtime, load, Plain::bearer(&server)),
                case("floor-limited", &runtime, load, Plain::limited(&server)),
                case("bearer", &runtime, load, Shipbound::new(&server, Bearer)),
                case("floor-proof", &runtime, load, Plain::proof_sized(&server, &key)),
                case("floor-signed", &runtime, load, Plain::signed(&server, &key)),
                case("dpop", &runtime, load, Shipbound::new(&server, Dpop::es256())),
                case("floor-nonce", &runtime, load, Plain::proof_sized(&noncing, &key)),
                case("nonce", &runtime, load, Shipbound::new(&noncing, Dpop::es256())),
                signature(&key, &signing_input, used),
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
                &[
                    ("floor", "floor"),
                    ("floor, limit and user agent", "floor-limited"),
                    ("shipbound", "bearer"),
                ],
            );
            report.table(
                &format!("{prefix}/dpop"),
                &measured,
                &[
                    ("allowed", "allowed"),
                    ("floor", "floor-proof"),
                    ("signature", "signature"),
                    ("floor that signs", "floor-signed"),
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
                let limited = measured.ratio("bearer", "floor-limited");
                report.at_most(
                    &format!("{prefix}/bearer: median / floor with limit and user agent"),
                    limited,
                    1.08,
                );
                report.at_most(
                    &format!("{prefix}/bearer: median / floor"),
                    measured.ratio("bearer", "floor"),
                    1.08,
                );
            } else {
                let signed = measured.ratio("floor-signed", "dpop");
                report.at_least(
                    &format!("{prefix}/dpop: throughput / that of a floor that signs"),
                    signed,
                    0.95,
                );
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

/// How requests are made and timed.
#[derive(Clone, Copy)]
struct Load {
    concurrent: usize,
    used: bool,
}

fn case<'a>(id: &str, runtime: &'a Runtime, load: Load, caller: impl Caller) -> Case<'a> {
    let caller = Arc::new(caller);
    let run = move |requests| {
        if load.concurrent == 1 {
            runtime.block_on(latency(&*caller, requests))
        } else {
            runtime.block_on(throughput(&caller, load, requests))
        }
    };
    Case::batched(id, run).batch(Duration::from_millis(100))
}

fn signature<'a>(key: &'a Key, input: &'a [u8], used: bool) -> Case<'a> {
    let run = move |signatures: u64| {
        let clock = Clock::start(used);
        for _ in 0..signatures {
            std::hint::black_box(key.sign(input));
        }
        clock.nanos() / signatures as f64
    };
    Case::batched("signature", run)
}

/// The time that went by, or the share of it that all cores together were used.
enum Clock {
    Wall(Instant),
    Used(Duration),
}

impl Clock {
    fn start(used: bool) -> Self {
        if used {
            Self::Used(cores::used())
        } else {
            Self::Wall(Instant::now())
        }
    }

    fn nanos(&self) -> f64 {
        let span = match self {
            Self::Wall(started) => started.elapsed(),
            Self::Used(before) => cores::used() - *before,
        };
        span.as_nanos() as f64
    }
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
async fn throughput(caller: &Arc<impl Caller>, load: Load, requests: u64) -> f64 {
    let each = requests.div_ceil(load.concurrent as u64);
    let clock = Clock::start(load.used);
    let tasks: Vec<_> = (0..load.concurrent)
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
    // Whoever uses all cores takes this share of the time that they were used.
    let cores = if load.used { cores::count() as f64 } else { 1.0 };
    clock.nanos() / cores / (each * load.concurrent as u64) as f64
}
