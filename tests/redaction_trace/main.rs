//! No secret in any log record, error or `Debug`: not even at TRACE, of no crate, over HTTP/1.1 and HTTP/2, whatever fails.
//!
//! One process, one test: what logs is global to a process.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod capture;
mod faults;
#[path = "../support/marker.rs"]
mod marker;
mod offline;
mod stage;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use shipbound::journal::{Event, Sink};
use shipbound::sandbox::Sandbox;

use capture::Capture;
use marker::{MARKER, Scanner, Shown, marked};
use stage::{Differs, ECHO, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_shows_a_secret() {
    let capture = Capture::install();
    let mut scanner = Scanner::new();
    scanner.secret("the private key", &stage::private_octets());
    let mut shown = Shown::default();

    for http2 in [true, false] {
        let sandbox = Sandbox::builder().http2(http2).start().await.unwrap();
        let stage = Stage::new(sandbox);
        stage.successes(&mut shown).await;
        faults::of_the_issuer(&stage, &mut shown).await;
        faults::of_the_metadata(&stage, &mut shown).await;
        faults::of_the_api(&stage, &mut shown).await;
        faults::of_the_way(&stage, &mut shown).await;
        faults::of_the_caller(&stage, &mut shown).await;
        stage.events(&mut shown);
        assert_eq!(stage.sandbox.answers_left(), 0, "every fault took place");

        // What was used up is a secret of its time, too: a proof that somebody reads may not have arrived yet.
        let requests = stage.sandbox.requests();
        let protocol = if http2 {
            http::Version::HTTP_2
        } else {
            http::Version::HTTP_11
        };
        assert!(requests.iter().all(|request| request.version() == protocol));
        let proofs: Vec<_> = requests.iter().filter_map(|request| request.proof()).collect();
        assert!(proofs.len() > 40, "{}", proofs.len());
        for proof in proofs {
            for (name, part) in ["a proof's header", "a proof's claims", "a proof's signature"]
                .into_iter()
                .zip(proof.split('.'))
            {
                // The header is the same for all proofs of a key, and public.
                if name != "a proof's header" {
                    scanner.text(name, part);
                }
            }
        }
        assert!(requests.iter().any(|request| {
            request
                .header("authorization")
                .is_some_and(|value| value.contains(MARKER))
        }));
        stage.sandbox.shutdown().await;
    }
    offline::keys(&mut shown).await;
    offline::values(&mut shown);

    assert_eq!(scanner.find(&shown.0), [""; 0], "shown");
    let logged = capture.text(0);
    let mut loggers = vec!["shipbound", "h2::", "reqwest", "hyper_util"];
    // In the build in which another crate has switched its records on.
    if env!("CARGO_PKG_NAME").ends_with("unified") {
        loggers.push("rustls::");
    }
    for target in loggers {
        assert!(logged.contains(&format!(" {target}")), "no record of {target}");
    }
    assert_eq!(scanner.find(&logged), [""; 0], "logged, in {} octets", logged.len());

    // The same search finds what is planted.
    for (shape, how) in SHAPES {
        let from = capture.len();
        let sandbox = Sandbox::start().await.unwrap();
        let stage = Stage::new(sandbox).with_sink(Arc::new(Leaky(*how)));
        let client = stage
            .client(stage.freight(), Differs::default(), &mut Shown::default())
            .await;
        stage.fails(&client, ECHO, "unauthorized", &mut Shown::default()).await;
        let logged = capture.text(from);
        assert!(!scanner.find(&logged).is_empty(), "a secret {shape} was not found");
    }
}

type Shape = fn(&str) -> String;

const SHAPES: &[(&str, Shape)] = &[
    ("as it is", |secret| secret.to_owned()),
    ("in lower case", str::to_lowercase),
    ("in Debug", |secret| format!("{:?}", secret.as_bytes())),
    ("in base64", |secret| STANDARD.encode(secret)),
    ("in base64, behind one octet", |secret| {
        STANDARD.encode(format!(":{secret}"))
    }),
    ("in base64, behind two octets", |secret| {
        URL_SAFE.encode(format!("a:{secret}"))
    }),
    ("percent-encoded", |secret| {
        secret.bytes().map(|octet| format!("%{octet:02X}")).collect()
    }),
    ("in hexadecimal", |secret| {
        secret.bytes().map(|octet| format!("{octet:02x}")).collect()
    }),
];

/// Logs a secret with every event, on purpose.
#[derive(Debug)]
struct Leaky(Shape);

impl Sink for Leaky {
    fn record(&self, _event: &Event) {
        tracing::trace!(leak = (self.0)(&marked("planted")), "on purpose");
    }
}
