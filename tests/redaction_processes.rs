//! No secret in anything that the examples print or log, whatever happens to them.
//!
//! Their sandboxes mark every secret; `call` gets a marked one from here.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use http::Method;
use serde_json::json;
use shipbound::owner::TenantId;
use shipbound::sandbox::{Answer, Canned, Endpoint, Recorded, Sandbox, Who};
use support::examples::example;
use support::marker::{MARKER, Scanner, marked};

/// What a program said, on both of its outputs, and its exit status.
fn said(mut command: Command, input: &str) -> (String, Option<i32>) {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that reads nothing may be gone by now.
    let _gone = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    (text(&output.stdout) + &text(&output.stderr), output.status.code())
}

fn clean(what: &str, text: &str) {
    assert!(!text.trim().is_empty(), "{what} said nothing");
    assert_eq!(Scanner::new().find(text), [""; 0], "{what}");
}

#[test]
fn examples_with_a_sandbox_of_their_own() {
    for (name, arguments, status) in [
        ("quickstart", &[] as &[&str], 0),
        ("quickstart", &["--json"], 0),
        ("quickstart", &["--json", "--without-check", "cnf"], 1),
        ("fedex", &[], 0),
        ("fedex", &["--wrong-key"], 1),
        ("ups", &["--json"], 0),
        ("dhl", &[], 0),
        ("dhl", &["--api", "parcel-de", "--wrong-key"], 1),
        ("shipengine", &["--json"], 0),
        ("shipengine", &["--json", "--wrong-key"], 1),
    ] {
        let mut command = example(name);
        command
            .args(arguments)
            .env("RUST_LOG", "trace")
            .env("RUST_BACKTRACE", "full");
        let (text, code) = said(command, "");
        assert_eq!(code, Some(status), "{name} {arguments:?}: {text}");
        clean(name, &text);
    }
}

#[test]
fn verify_proof_does_not_say_what_it_was_given() {
    let t = marked("token");
    let headers = json!([
        ["authorization", format!("DPoP {t}")],
        ["dpop", format!("{t}.{t}.{t}")],
        ["cookie", t]
    ]);
    let input = json!({"role": "rs", "method": "GET", "url": "https://api.carrier.example/", "now": 1, "headers": headers,
        "token": {"active": true, "cnf": {"jkt": t}}});
    let mut lines = vec![json!({"id": 1, "input": input})];
    for (name, wrong) in [
        ("role", json!(t)),
        ("method", json!(format!("{t} {t}"))),
        ("url", json!(format!("https://user:{t}@api.carrier.example/"))),
        ("now", json!(t)),
        ("headers", json!(t)),
        ("headers", json!([[t, format!("{t}\n")]])),
        ("token", json!({"active": t, "cnf": [t]})),
        ("policy", json!({t.as_str(): t})),
        ("expected_nonces", json!([[t]])),
        ("prior", json!([t])),
    ] {
        let mut input = input.clone();
        input[name] = wrong;
        lines.push(json!({"id": 2, "input": input}));
    }
    let mut text: Vec<_> = lines.iter().map(ToString::to_string).collect();
    text.push(format!("{{\"id\": 3, \"input\": \"{t}"));
    let mut command = example("verify_proof");
    command.env("RUST_LOG", "trace");
    let (text, code) = said(command, &text.join("\n"));
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(text.lines().count(), lines.len() + 1);
    clean("verify_proof", &text);
}

/// A sandbox with a client whose secret is marked, and the file with its authority.
struct Scene {
    sandbox: Sandbox,
    ca: PathBuf,
}

const PATH: &str = "/labels";

fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

impl Scene {
    async fn new(name: &str, http2: bool) -> Self {
        let sandbox = Sandbox::builder().http2(http2).start().await.unwrap();
        let ca = std::env::temp_dir().join(format!("shipbound-{name}-{}.pem", std::process::id()));
        std::fs::write(&ca, sandbox.ca_pem()).unwrap();
        sandbox.route(Method::POST, PATH, Canned::json(201, &json!({"label": "JVBERi0xLjQK"})));
        // Whatever comes is said back in the header: the body is the user's to print.
        sandbox.open_route(Method::POST, "/echo", |request: &Recorded| {
            let token = request.header("authorization").unwrap_or_default();
            let proof = request.proof().unwrap_or_default();
            let challenge = format!("DPoP error=\"invalid_token\", error_description=\"{token} {proof}\"");
            Canned::empty(401)
                .header("www-authenticate", &challenge)
                .header("set-cookie", token)
        });
        sandbox.credential(&acme());
        Self { sandbox, ca }
    }

    /// What `call` says, with a log of everything.
    async fn call(&self, secret: &str, arguments: &[&str], path: &str) -> (String, Option<i32>) {
        let mut command = example("call");
        command
            .args([
                "--issuer",
                self.sandbox.issuer(),
                "--client-id",
                "acme",
                "--client-secret-env",
                "CARRIER_SECRET",
            ])
            .arg("--ca")
            .arg(&self.ca)
            .args(arguments)
            .args(["POST", &format!("{}{path}", self.sandbox.api())])
            .env("CARRIER_SECRET", secret)
            .env("RUST_LOG", "trace")
            .env("RUST_BACKTRACE", "full");
        tokio::task::spawn_blocking(move || said(command, "")).await.unwrap()
    }

    fn secret(&self) -> String {
        let secret = self
            .sandbox
            .credential(&acme())
            .client_secret()
            .unwrap()
            .expose()
            .to_owned();
        assert!(secret.starts_with(MARKER));
        secret
    }

    /// That neither the marker nor any proof that arrived is in there.
    fn clean(&self, what: &str, text: &str) {
        let mut scanner = Scanner::new();
        for request in self.sandbox.requests() {
            for (part, name) in request
                .proof()
                .unwrap_or_default()
                .split('.')
                .skip(1)
                .zip(["claims", "signature"])
            {
                scanner.text(&format!("a proof's {name}"), part);
            }
        }
        assert_eq!(scanner.find(text), [""; 0], "{what}");
        assert!(text.contains("TRACE"), "{what}: nothing was logged in {text}");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _left_behind = std::fs::remove_file(&self.ca);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn call_over_both_protocols_whatever_fails() {
    for http2 in [true, false] {
        let scene = Scene::new(if http2 { "h2" } else { "h1" }, http2).await;
        let (secret, t) = (scene.secret(), marked("token"));
        for arguments in [
            &["--binding", "dpop"] as &[&str],
            &["--binding", "dpop", "--json", "--repeat", "5", "--concurrency", "2"],
            &["--binding", "dpop", "--alg", "Ed25519", "--auth", "post"],
            &["--binding", "bearer"],
            &["--binding", "bearer", "--json", "--auth", "post"],
        ] {
            let (text, code) = scene.call(&secret, arguments, PATH).await;
            assert_eq!(code, Some(0), "{arguments:?}: {text}");
            scene.clean("a success", &text);
        }

        let refusal = json!({"error": secret, "error_description": secret, "error_uri": secret});
        let answers = [
            (
                Endpoint::Token,
                Answer::reply(Canned::json(401, &refusal).header("www-authenticate", &secret)),
            ),
            (Endpoint::Token, Answer::token_body(format!("{{\"access_token\":\"{t}"))),
            (
                Endpoint::Token,
                Answer::token_body(json!({"access_token": [t], "token_type": t}).to_string()),
            ),
            (
                Endpoint::Token,
                Answer::token_body(json!({"access_token": t, "token_type": t}).to_string()),
            ),
            (Endpoint::Token, Answer::unbound()),
            (
                Endpoint::Token,
                Answer::redirect(&format!("https://e.example/{secret}")),
            ),
            (Endpoint::Token, Answer::normal().lost()),
            (
                Endpoint::Metadata,
                Answer::token_body(json!({"issuer": t, "token_endpoint": t}).to_string()),
            ),
            (Endpoint::Metadata, Answer::token_body(format!("\"{t}"))),
            (
                Endpoint::Api,
                Answer::redirect(&format!("https://{t}@e.example/?token={t}")),
            ),
            (Endpoint::Api, Answer::retry_after(429, &t)),
            (Endpoint::Api, Answer::normal().lost()),
            (Endpoint::Api, Answer::normal().cut_mid_body()),
        ];
        for (endpoint, answer) in answers {
            let what = format!("{endpoint:?} {answer:?}");
            scene.sandbox.always(Who::Anyone, endpoint, answer);
            for arguments in [
                &["--binding", "dpop"] as &[&str],
                &["--binding", "dpop", "--json", "--repeat", "2"],
            ] {
                let (text, code) = scene.call(&secret, arguments, PATH).await;
                assert_eq!(code, Some(1), "{what}: {text}");
                scene.clean(&what, &text);
            }
            scene.sandbox.normal_service();
        }
        let (text, code) = scene.call(&secret, &["--binding", "dpop"], "/echo").await;
        assert_eq!(code, Some(1));
        scene.clean("an echo", &text);
        let (text, code) = scene.call(&marked("wrong"), &["--binding", "dpop"], PATH).await;
        assert_eq!(code, Some(1));
        scene.clean("a wrong secret", &text);
    }
}

/// The search is not blind: what a carrier puts into the body of its answer is printed, and found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_printed_on_purpose_is_found() {
    let scene = Scene::new("planted", true).await;
    scene.sandbox.route(
        Method::POST,
        "/planted",
        Canned::json(200, &json!({"planted": marked("body")})),
    );
    let (text, code) = scene.call(&scene.secret(), &["--binding", "dpop"], "/planted").await;
    assert_eq!(code, Some(0), "{text}");
    assert!(!Scanner::new().find(&text).is_empty());
}
