//! Certificate files that are replaced while requests go on.

use http::Method;
use serde_json::Value;
use shipbound::sandbox::{Answer, Canned, ClientCertificate, Endpoint, Gate, Registration, Sandbox, Who};

use crate::program::Run;
use crate::sandboxed::{Dir, certified, start};

const AT_ONCE: usize = 4;
/// The answer after which the files are read again: the first of those that are held back.
const AFTER: usize = 9;

struct Stage {
    sandbox: Sandbox,
    dir: Dir,
    gate: Gate,
    old: ClientCertificate,
}

impl Stage {
    /// An API that holds its answers back from the ninth on.
    async fn new() -> Self {
        let sandbox = start(Sandbox::builder()).await;
        sandbox.route(Method::GET, "/x", Canned::empty(204));
        sandbox.register(Registration::tls_client_auth("acme", "acme").certificate_bound_tokens());
        let (dir, gate) = (Dir::new(), Gate::new());
        let old = sandbox.client_certificate("acme").unwrap();
        dir.put(&old);
        let answered = std::iter::repeat_with(Answer::normal).take(AFTER - 1);
        let held = std::iter::repeat_with(|| Answer::normal().held(&gate)).take(AT_ONCE);
        sandbox.script(Who::Anyone, Endpoint::Api, answered.chain(held));
        Self {
            sandbox,
            dir,
            gate,
            old,
        }
    }

    fn run(&self, repeat: &str) -> Run {
        let run = certified(&self.sandbox, &self.dir).args(["--auth", "tls", "--binding", "mtls", "--json"]);
        run.args(["--repeat", repeat, "--concurrency", "4", "--reload-cert-after", "9"])
            .args(["GET", &format!("{}/x", self.sandbox.mtls_api().unwrap())])
    }

    /// The certificates that these requests showed, in their order.
    fn shown(&self, endpoint: Endpoint) -> Vec<String> {
        let requests = self.sandbox.requests_at(endpoint);
        requests
            .iter()
            .map(|request| request.certificate().unwrap().to_string())
            .collect()
    }
}

fn changes(shown: &[impl PartialEq]) -> usize {
    shown.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_certificate_takes_over_and_nothing_fails() {
    let stage = Stage::new().await;
    let running = stage.run("300").start();
    stage.gate.reached(AT_ONCE).await;
    let new = stage.sandbox.client_certificate("acme").unwrap();
    stage.dir.put(&new);
    stage.gate.open();
    let ran = running.end();

    assert_eq!(ran.status, 0, "{}", ran.err);
    let lines = ran.lines();
    assert_eq!(lines.len(), 300);
    let (old, new) = (stage.old.x5t().to_string(), new.x5t().to_string());
    for line in &lines {
        assert_eq!(line["status"], 204);
        assert_eq!((&line["attempts"], &line["renewals"]), (&1.into(), &0.into()));
        assert_eq!((&line["error"], &line["binding"]), (&Value::Null, &"mtls".into()));
    }
    assert!(lines[..AFTER].iter().all(|line| line["x5t"] == old));
    assert_eq!(lines.last().unwrap()["x5t"], new);

    // The server saw one and then the other; tokens were asked for once with each.
    assert_eq!(stage.shown(Endpoint::Token), [old.clone(), new.clone()]);
    let shown = stage.shown(Endpoint::Api);
    assert_eq!((shown.len(), changes(&shown)), (300, 1));
    assert_eq!((shown.first(), shown.last()), (Some(&old), Some(&new)));
    let with_new = |shown: usize| lines.iter().filter(|line| line["x5t"] == new).count() == shown;
    assert!(with_new(shown.iter().filter(|one| **one == new).count()));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_do_not_belong_together_change_nothing_and_are_told() {
    let stage = Stage::new().await;
    let running = stage.run("20").start();
    stage.gate.reached(AT_ONCE).await;
    let new = stage.sandbox.client_certificate("acme").unwrap();
    stage.dir.write("tls.crt", new.pem());
    stage.gate.open();
    let ran = running.end();

    assert_eq!(ran.status, 1);
    assert!(
        ran.err.contains("--reload-cert-after: the private key does not belong"),
        "{}",
        ran.err
    );
    assert_eq!(ran.out.lines().count(), 20);
    let old = stage.old.x5t().to_string();
    assert!(stage.shown(Endpoint::Api).iter().all(|shown| *shown == old));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_stay_as_they_are() {
    let stage = Stage::new().await;
    stage.gate.open();
    let ran = stage.run("20").run();
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert_eq!(ran.lines().len(), 20);
    assert_eq!(stage.sandbox.token_requests(), 1);
}
