//! Running the program and reading what it printed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Map, Value};

use crate::support::peers::{AuthorizationServer, CLIENT_SECRET};

/// The variable that holds the secret, as the tests name it.
pub(crate) const VARIABLE: &str = "CALL_TEST_SECRET";

const FIELDS: [&str; 13] = [
    "status",
    "token_type",
    "binding",
    "attempts",
    "nonce_retries",
    "renewals",
    "jkt",
    "x5t",
    "token_us",
    "proof_us",
    "exchange_us",
    "stage",
    "error",
];

/// One command line.
pub(crate) struct Run(Command);

/// What came of it.
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    /// No options, and the right secret in the environment.
    pub(crate) fn new() -> Self {
        let mut command = Command::new(program());
        command.env_clear().env(VARIABLE, CLIENT_SECRET);
        Self(command)
    }

    /// With the options that name this issuer, its client `basic`, both scopes and a DPoP binding.
    pub(crate) fn at(issuer: &AuthorizationServer) -> Self {
        Self::of(issuer, "basic").args(["--client-secret-env", VARIABLE, "--binding", "dpop"])
    }

    /// With the options that name this issuer, a client of it, and both scopes.
    pub(crate) fn of(issuer: &AuthorizationServer, client_id: &str) -> Self {
        Self::new()
            .args(["--issuer", issuer.issuer(), "--client-id", client_id])
            .args(["--scope", "ship:write ship:read", "--ca"])
            .args([issuer.ca_pem().to_str().unwrap()])
    }

    /// With this certificate of the issuer's directory, and the leave to go where certificates are asked for.
    pub(crate) fn certificate(self, issuer: &AuthorizationServer, name: &str) -> Self {
        let [certificate, key] = ["pem", "key"].map(|kind| issuer.file(&format!("{name}.{kind}")));
        self.args(["--allow-origin", issuer.mtls_base()]).args([
            "--cert",
            certificate.to_str().unwrap(),
            "--key",
            key.to_str().unwrap(),
        ])
    }

    /// With the key of the client `pkjwt`.
    pub(crate) fn assertions(self, issuer: &AuthorizationServer) -> Self {
        let key = issuer.file("pkjwt.jwk.json");
        self.args(["--auth", "private-key-jwt", "--assertion-key", key.to_str().unwrap()])
    }

    pub(crate) fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.0.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    pub(crate) fn without_env(mut self, name: &str) -> Self {
        self.0.env_remove(name);
        self
    }

    pub(crate) fn run(self) -> Ran {
        self.start().end()
    }

    pub(crate) fn start(mut self) -> Running {
        let piped = self
            .0
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Running(piped.spawn().unwrap())
    }
}

/// The program under way.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn end(self) -> Ran {
        let output = self.0.wait_with_output().unwrap();
        Ran {
            status: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// The objects that a verb printed with `--json`, without the summary; and the summary, which is of this verb and says
    /// what the exit status says.
    pub(crate) fn verb(&self, verb: &str) -> (Vec<Value>, Value) {
        assert_eq!(self.err, "");
        let mut objects: Vec<Value> = self
            .out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let summary = objects.pop().unwrap();
        assert_eq!(summary["verb"], verb);
        assert_eq!(summary["ok"], self.status == 0);
        assert!(self.status == 0 || self.status == 1);
        (objects, summary)
    }

    /// The lines of `--json`: each has the documented fields with values of their types, and nothing else is printed.
    pub(crate) fn lines(&self) -> Vec<Map<String, Value>> {
        assert_eq!(self.err, "");
        let lines = self.out.lines().map(|line| {
            let line: Map<String, Value> = serde_json::from_str(line).unwrap();
            check(&line);
            line
        });
        lines.collect()
    }

    /// The one line of `--json`.
    pub(crate) fn line(&self) -> Map<String, Value> {
        let [line] = <[_; 1]>::try_from(self.lines()).unwrap();
        line
    }
}

fn check(line: &Map<String, Value>) {
    let names: BTreeSet<_> = line.keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(FIELDS));
    let one_of = |name: &str, allowed: &[&str]| {
        let value = &line[name];
        assert!(
            value.as_str().is_some_and(|text| allowed.contains(&text)),
            "{name}: {value}"
        );
    };
    let or_null = |name: &str, fits: &dyn Fn(&Value) -> bool| {
        assert!(line[name].is_null() || fits(&line[name]), "{name}: {}", line[name]);
    };
    for name in [
        "attempts",
        "nonce_retries",
        "renewals",
        "token_us",
        "proof_us",
        "exchange_us",
    ] {
        assert!(line[name].is_u64(), "{name}: {}", line[name]);
    }
    one_of("binding", &["bearer", "dpop", "mtls", "dpop+mtls"]);
    one_of("stage", &["not_sent", "maybe_sent", "answered"]);
    or_null("status", &|value| {
        value.as_u64().is_some_and(|status| (100..600).contains(&status))
    });
    or_null("token_type", &|value| value == "DPoP" || value == "Bearer");
    for name in ["jkt", "x5t"] {
        or_null(name, &|value| {
            value.as_str().is_some_and(|thumbprint| thumbprint.len() == 43)
        });
    }
    or_null("error", &Value::is_string);
    let spent = line["token_us"].as_u64().unwrap() + line["proof_us"].as_u64().unwrap();
    assert!(spent <= line["exchange_us"].as_u64().unwrap());
}

/// `target/<profile>/examples/call`, beside the `deps` that this test is in.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(std::path::Path::parent).unwrap();
    let program = profile
        .join("examples")
        .join(format!("call{}", std::env::consts::EXE_SUFFIX));
    assert!(
        program.is_file(),
        "{} is missing: run `cargo build --example call` with the features of this test",
        program.display()
    );
    program
}

/// A file in the issuer's directory, which is removed with it.
pub(crate) fn file(issuer: &AuthorizationServer, name: &str, content: &str) -> String {
    let path = issuer.file(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}
