//! Authorization and resource servers that other people wrote, as child processes: see `tests/peers/README.md`.
//!
//! ```ignore
//! let issuer = peers::authorization_server(&[("DPOP_NONCE", "required")]);
//! let carrier = issuer.resource_server(&[("RS_NONCE", "every")]);
//! // ... talk to issuer.issuer() and carrier.base(), trusting issuer.ca_pem() ...
//! assert_eq!(carrier.log().last().unwrap()["ath_ok"], true);
//! ```
//!
//! With `AS_NGINX=1` and `RS_NGINX=1` nginx ends TLS in front of them; it ends with them.
//!
//! A peer that cannot run fails the test: a missing one is never skipped.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// The secret of every client that has one. It begins with the mark that logs are searched for.
pub const CLIENT_SECRET: &str = "sEcReTmArKeR-horse-battery-staple-0123456789";

/// How long a server may take to say that it listens, or that it has done what a signal asked.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts `as.mjs` with these environment variables on top of its defaults.
pub fn authorization_server(env: &[(&str, &str)]) -> AuthorizationServer {
    let dir = StateDir::new();
    let peer = Peer::start("as.mjs", &dir.0, env);
    AuthorizationServer { peer, dir }
}

/// `oidc-provider`. Stops, and loses its keys and certificates, when dropped.
#[derive(Debug)]
pub struct AuthorizationServer {
    peer: Peer,
    dir: StateDir,
}

impl AuthorizationServer {
    /// The issuer identifier, `https://127.0.0.1:PORT` unless `AS_TLS` or `AS_PATH` say otherwise.
    pub fn issuer(&self) -> &str {
        self.peer.ready("issuer")
    }

    /// The base of the endpoints that ask for a client certificate.
    pub fn mtls_base(&self) -> &str {
        self.peer.ready("mtls")
    }

    /// The resource indicator of JWT access tokens, which is their `aud`.
    pub fn resource(&self) -> &str {
        self.peer.ready("resource")
    }

    /// The resource indicator of opaque access tokens.
    pub fn resource_opaque(&self) -> &str {
        self.peer.ready("resourceOpaque")
    }

    /// The file with the certificate that both servers' certificates chain to.
    pub fn ca_pem(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// A file of the state directory, such as `client-ca.pem`, `client-ca.key` or `pkjwt.jwk.json` (list in `pki.mjs`).
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.0.join(name)
    }

    /// Everything that was asked so far, metadata included, in the order of the answers.
    pub fn log(&self) -> Vec<Value> {
        self.peer.log()
    }

    /// The TLS handshakes so far, the failed ones too. Behind nginx there are none.
    pub fn handshakes(&self) -> Vec<Value> {
        self.peer.handshakes()
    }

    /// The token requests so far.
    pub fn token_requests(&self) -> Vec<Value> {
        self.log()
            .into_iter()
            .filter(|entry| entry["path"].as_str().is_some_and(|p| p.ends_with("/token")))
            .collect()
    }

    /// Makes every DPoP nonce handed out so far unacceptable. Tokens and replay records stay.
    pub fn rotate_nonces(&mut self) {
        self.peer.rotate_nonces();
    }

    /// Starts `rs.mjs` with these environment variables, trusting this authorization server.
    pub fn resource_server(&self, env: &[(&str, &str)]) -> ResourceServer {
        let mut all = vec![("ISSUER", self.issuer())];
        all.extend_from_slice(env);
        ResourceServer {
            peer: Peer::start("rs.mjs", &self.dir.0, &all),
        }
    }

    /// Stops it and says whether it ended with status 0.
    pub fn stop(self) -> bool {
        self.peer.stop()
    }
}

/// A mock carrier whose tokens and proofs are checked by `oauth4webapi` or `express-oauth2-jwt-bearer`.
#[derive(Debug)]
pub struct ResourceServer {
    peer: Peer,
}

impl ResourceServer {
    /// `https://127.0.0.1:PORT`; shipments are at `/ship/v1/shipments`.
    pub fn base(&self) -> &str {
        self.peer.ready("base")
    }

    /// The requests so far, in the order of the answers.
    pub fn log(&self) -> Vec<Value> {
        self.peer.log()
    }

    /// The TLS handshakes so far, the failed ones too. Behind nginx there are none.
    pub fn handshakes(&self) -> Vec<Value> {
        self.peer.handshakes()
    }

    /// Makes the nonce handed out last unacceptable.
    pub fn rotate_nonces(&mut self) {
        self.peer.rotate_nonces();
    }

    /// Stops it and says whether it ended with status 0.
    pub fn stop(self) -> bool {
        self.peer.stop()
    }
}

/// A directory for certificates, keys and logs; removed when dropped.
#[derive(Debug)]
struct StateDir(PathBuf);

impl StateDir {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("peers-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path); // of an earlier process with this id
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[derive(Debug)]
struct Peer {
    script: &'static str,
    child: Child,
    lines: Receiver<String>,
    ready: Value,
    log: PathBuf,
    errors: PathBuf,
}

impl Peer {
    fn start(script: &'static str, state: &Path, env: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers");
        assert!(
            home.join("node_modules/oidc-provider").is_dir(),
            "the packages of the test peers are missing: run `npm ci` in {}",
            home.display()
        );
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let log = state.join(format!("{script}-{number}.jsonl"));
        let errors = state.join(format!("{script}-{number}.stderr"));
        let mut child = Command::new("node")
            .arg(script)
            .current_dir(&home)
            .env("STATE_DIR", state)
            .env(
                if script == "as.mjs" {
                    "AS_LOG_FILE"
                } else {
                    "RS_LOG_FILE"
                },
                &log,
            )
            .env("EXIT_WITH_STDIN", "1") // it ends with this process, however this process ends
            .env("NODE_NO_WARNINGS", "1")
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&errors).unwrap())
            .spawn()
            .unwrap_or_else(|e| {
                panic!(
                    "`node` does not start ({e}): install Node 20 or later, then run `npm ci` in {}",
                    home.display()
                )
            });
        let stdout = child.stdout.take().unwrap();
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let mut peer = Self {
            script,
            child,
            lines,
            ready: Value::Null,
            log,
            errors,
        };
        let line = peer.next_line("READY ");
        peer.ready = serde_json::from_str(&line).unwrap();
        peer
    }

    /// The rest of the next line that starts so.
    fn next_line(&mut self, start: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(start) {
                        return rest.to_owned();
                    }
                }
                Err(cause) => panic!(
                    "{} did not say {start:?} ({cause}); what it wrote to stderr:\n{}\nIf a package is missing, run `npm ci` in tests/peers.",
                    self.script,
                    fs::read_to_string(&self.errors).unwrap_or_default()
                ),
            }
        }
    }

    fn ready(&self, name: &str) -> &str {
        self.ready[name]
            .as_str()
            .unwrap_or_else(|| panic!("{} does not tell its {name}", self.script))
    }

    fn log(&self) -> Vec<Value> {
        self.lines_of(|entry| entry.get("kind").is_none())
    }

    fn handshakes(&self) -> Vec<Value> {
        self.lines_of(|entry| entry["kind"] == "tls")
    }

    fn lines_of(&self, wanted: fn(&Value) -> bool) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(wanted)
            .collect()
    }

    fn rotate_nonces(&mut self) {
        let sent = Command::new("kill")
            .args(["-USR2", &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success(), "{} is gone", self.script);
        self.next_line("ROTATED");
    }

    fn stop(mut self) -> bool {
        drop(self.child.stdin.take());
        self.child.wait().unwrap().success()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
