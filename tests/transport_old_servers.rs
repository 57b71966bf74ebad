//! Servers that speak TLS as it was: `openssl s_server` with old versions and short keys. Nothing of a request reaches them.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod transport_support;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use shipbound::transport::{Route, Transport};
use transport_support::{allowing, failure, get, is, post, target};

/// Runs `openssl`, which has to succeed.
fn openssl(directory: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A directory with `ca.pem` and a certificate for 127.0.0.1 for each kind of key.
struct Certificates(PathBuf);

impl Certificates {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "old-servers-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let ec = "-newkey ec -pkeyopt ec_paramgen_curve:P-256";
        openssl(
            &directory,
            &format!("req -x509 {ec} -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca"),
        );
        for (name, key) in [
            ("ec", ec),
            ("rsa1024", "-newkey rsa:1024"),
            ("rsa2048", "-newkey rsa:2048"),
        ] {
            let extensions = "-addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";
            openssl(
                &directory,
                &format!(
                    "req -x509 {key} -nodes -CA ca.pem -CAkey ca.key -keyout {name}.key -out {name}.pem -days 1 -subj /CN=here {extensions}"
                ),
            );
        }
        Self(directory)
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `openssl s_server`, which prints whatever is sent to it.
struct Server {
    child: Child,
    address: SocketAddr,
    printed: BufReader<ChildStdout>,
    // It ends with its standard input.
    _input: ChildStdin,
}

impl Server {
    fn start(certificates: &Certificates, name: &str, options: &[&str]) -> Self {
        let mut child = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-cert"])
            .arg(format!("{name}.pem"))
            .arg("-key")
            .arg(format!("{name}.key"))
            .args(options)
            .current_dir(&certificates.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut printed = BufReader::new(child.stdout.take().unwrap());
        let input = child.stdin.take().unwrap();
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(
                printed.read_line(&mut line).unwrap() > 0,
                "openssl s_server does not start"
            );
            if let Some(address) = line.trim().strip_prefix("ACCEPT ") {
                break address.parse().unwrap();
            }
        };
        Self {
            child,
            address,
            printed,
            _input: input,
        }
    }

    /// Ends it; gives everything that it printed.
    fn stop(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let mut all = String::new();
        self.printed.read_to_string(&mut all).unwrap();
        all
    }
}

#[tokio::test]
async fn old_versions_and_short_keys_are_refused() {
    let certificates = Certificates::new();
    let root = std::fs::read_to_string(certificates.0.join("ca.pem")).unwrap();
    let old = ["-cipher", "ALL:@SECLEVEL=0"];
    for (what, name, options) in [
        ("TLS 1.0", "rsa2048", &["-tls1"][..]),
        ("TLS 1.1", "rsa2048", &["-tls1_1"]),
        ("RSA of 1024 bits, TLS 1.2", "rsa1024", &["-tls1_2"]),
        ("RSA of 1024 bits, TLS 1.3", "rsa1024", &["-tls1_3"]),
    ] {
        let server = Server::start(&certificates, name, &[&old, options].concat());
        let transport = allowing(server.address).only_roots_pem(root.as_str()).build().unwrap();
        for route in [Route::new(), Route::new().fresh()] {
            let outgoing = post(&target("https", server.address, "/"), "label");
            assert_eq!(
                failure(transport.send(outgoing, &route).await),
                is("Tls", "NotSent"),
                "{what}"
            );
        }
        let printed = server.stop();
        assert!(
            !printed.contains("label") && !printed.contains("POST"),
            "{what}: {printed}"
        );
    }
}

/// What the other test shows is due to the versions and the keys: the same server is good enough with others.
#[tokio::test]
async fn the_same_server_is_good_with_a_current_version_and_key() {
    let certificates = Certificates::new();
    let root = std::fs::read_to_string(certificates.0.join("ca.pem")).unwrap();
    for (name, version) in [("rsa2048", "-tls1_2"), ("rsa2048", "-tls1_3"), ("ec", "-tls1_2")] {
        let server = Server::start(&certificates, name, &["-www", "-cipher", "ALL:@SECLEVEL=0", version]);
        let transport = allowing(server.address).only_roots_pem(root.as_str()).build().unwrap();
        let answer = transport
            .send(get(&target("https", server.address, "/")), &Route::new())
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
    }
}
