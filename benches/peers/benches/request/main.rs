//! Whole requests over loopback, HTTP/1.1 in clear and over TLS 1.3: what `shipbound` adds to plain reqwest.
//!
//! One at a time the figure is the median latency; 64 at a time it is the time that each takes of the whole (1 / throughput).

mod cores;
mod plain;
mod server;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use plain::Plain;
use server::{Manner, Server};
use shipbound_benches_peers::harness::{Case, Options, interleave, quantile};
use shipbound_benches_peers::inputs::Key;
use shipbound_benches_peers::report::Report;
use tokio::runtime::Runtime;

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
        for concurrent in [1, 64] {
            let prefix = format!("{transport}/{concurrent}");
            if !["bearer", "dpop", "nonce"]
                .iter()
                .any(|kind| options.wants(&format!("{prefix}/{kind}")))
            {
                continue;
            }
            // One at a time: a core for each side. Many at a time: both sides use every core.
            let pinned = concurrent == 1;
            if pinned {
                cores::only(0)
            } else {
                cores::all()
            }
            let server = Server::start(Manner {
                tls,
                nonces: false,
                pinned,
            });
            let runtime = runtime(if pinned { 1 } else { cores });
            let cases = vec![
                case("floor", &runtime, concurrent, Plain::bearer(&server)),
                case("floor-proof", &runtime, concurrent, Plain::proof_sized(&server, &key)),
                Case::new("signature", || key.sign(&signing_input)),
            ];
            let mut measured = interleave(&options, cases);
            // What a request with a proof must take: the plain one, and the signature on whichever core is free.
            measured.derive("allowed", ["floor-proof", "signature"], |floor, signature| {
                floor + signature / cores as f64
            });
            report.table(&format!("{prefix}/bearer"), &measured, &[("floor", "floor")]);
            report.table(
                &format!("{prefix}/dpop"),
                &measured,
                &[("floor", "floor-proof"), ("allowed", "allowed")],
            );
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
