//! A real PostgreSQL server, and a real PgBouncer before it, as child processes on 127.0.0.1.
//!
//! Both end with this process, however it ends, and leave nothing behind. They do not run as root: where the tests do, the user
//! `postgres` is used. What cannot run fails the test: it is never skipped.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// How long a server may take to say that it has done what it was asked.
const PATIENCE: Duration = Duration::from_secs(60);

/// The server. Ends when dropped.
pub struct Postgres {
    dir: PathBuf,
    port: u16,
    server: Option<Running>,
    bouncer: Option<(u16, Running)>,
}

struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Postgres {
    /// A server with an empty cluster, where everybody from this machine is whoever they say.
    pub fn start() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // The target directory may be closed to the user that the server runs as.
        let dir = std::env::temp_dir().join(format!("shipbound-postgres-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&dir); // of an earlier process with this id
        fs::create_dir_all(&dir).unwrap();
        if is_root() {
            assert!(
                Command::new("chown")
                    .arg("postgres")
                    .arg(&dir)
                    .status()
                    .unwrap()
                    .success()
            );
        }
        let made = as_user(&program("initdb"))
            .args(["-D"])
            .arg(dir.join("data"))
            .args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-N"])
            .current_dir(&dir)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut server = Self {
            dir,
            port: free_port(),
            server: None,
            bouncer: None,
        };
        server.run();
        server
    }

    /// The URL of a database of this server.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The URL of the same database by way of PgBouncer in transaction mode, which is started where it does not run yet.
    pub fn bounced_url(&mut self, database: &str) -> String {
        if self.bouncer.is_none() {
            let port = free_port();
            fs::write(self.dir.join("users.txt"), "\"postgres\" \"\"\n").unwrap();
            fs::write(self.dir.join("bouncer.ini"), self.bouncer_configuration(port)).unwrap();
            let mut command = as_user(&program("pgbouncer"));
            command.arg(self.dir.join("bouncer.ini"));
            self.bouncer = Some((port, Running::spawn(&command, "process up", None)));
        }
        let (port, _) = self.bouncer.as_ref().unwrap();
        format!("postgres://postgres@127.0.0.1:{port}/{database}")
    }

    /// Ends the server, and every connection to it, in the middle of whatever it does; what it has committed stays.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.child.stdin.as_mut().unwrap().write_all(b"keep\n").unwrap();
            server.child.wait().unwrap();
        }
    }

    /// Starts it again on the same port.
    pub fn start_again(&mut self) {
        self.run();
    }

    /// Has the server speak TLS with this certificate and key, both in PEM, from its next start on.
    pub fn with_tls(&mut self, certificate: &str, key: &str) {
        let data = self.dir.join("data");
        for (name, pem) in [("server.crt", certificate), ("server.key", key)] {
            let path = data.join(name);
            fs::write(&path, pem).unwrap();
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            if is_root() {
                assert!(
                    Command::new("chown")
                        .arg("postgres")
                        .arg(&path)
                        .status()
                        .unwrap()
                        .success()
                );
            }
        }
        let mut settings = fs::OpenOptions::new()
            .append(true)
            .open(data.join("postgresql.conf"))
            .unwrap();
        settings.write_all(b"ssl = on\n").unwrap();
    }

    fn run(&mut self) {
        let mut command = as_user(&program("postgres"));
        command
            .arg("-D")
            .arg(self.dir.join("data"))
            .args(["-p", &self.port.to_string()]);
        // Nothing that these tests look at depends on the disk of the machine that they run on.
        for setting in [
            "listen_addresses=127.0.0.1",
            "fsync=off",
            "full_page_writes=off",
            "max_connections=100",
            "shared_buffers=32MB",
            "unix_socket_directories=",
        ] {
            command.args(["-c", setting]);
        }
        self.server = Some(Running::spawn(&command, "ready to accept connections", Some(&self.dir)));
    }

    fn bouncer_configuration(&self, port: u16) -> String {
        let users = self.dir.join("users.txt");
        format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = transaction\ndefault_pool_size = 3\n\
             max_client_conn = 200\nadmin_users = postgres\n",
            self.port,
            users.display()
        )
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.bouncer = None;
        self.server = None;
    }
}

impl Running {
    /// Runs it until this is dropped or this process ends.
    fn spawn(command: &Command, ready: &str, dir: Option<&Path>) -> Self {
        // The shell ends the server, and removes its directory, when its own standard input ends, which it does with this process.
        let script = r#"dir=$1; shift; "$@" 2>&1 & read word; kill -INT $!; wait; [ "$word" = keep ] || rm -rf "$dir""#;
        let mut child = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(dir.unwrap_or(Path::new("")))
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _gone = send.send(line);
            }
        });
        let running = Self { child, lines };
        let mut said = String::new();
        loop {
            match running.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(ready) => return running,
                Ok(line) => said.push_str(&format!("{line}\n")),
                Err(cause) => panic!("it did not say {ready:?} ({cause}):\n{said}"),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap().stdout;
    id.trim_ascii() == b"0"
}

/// `setpriv` becomes the program, so that signals reach it.
fn as_user(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(program);
    command
}

/// Debian keeps the server's programs, of one or more versions, out of the path.
fn program(name: &str) -> PathBuf {
    let mut places = vec![
        PathBuf::from("/usr/sbin"),
        PathBuf::from("/usr/local/bin"),
        PathBuf::from("/usr/bin"),
    ];
    if let Ok(versions) = fs::read_dir("/usr/lib/postgresql") {
        let mut versions: Vec<PathBuf> = versions.map(|version| version.unwrap().path().join("bin")).collect();
        versions.sort();
        versions.reverse();
        places.splice(0..0, versions);
    }
    let found = places.iter().map(|place| place.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("{name} is missing: run tests/all.sh, which installs it (`tests/all.sh databases` does that alone)")
    })
}

/// A port that nobody listens on just now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
