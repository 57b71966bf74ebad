//! The program against the sandbox, whose answers can be held back and whose tokens bear the mark.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use shipbound::sandbox::{ClientCertificate, Sandbox, SandboxBuilder};

use crate::program::Run;

/// A directory for certificates and keys; removed when dropped.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("call-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _none = std::fs::remove_dir_all(&path); // of an earlier process with this id
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Puts a file there, in the place of an older one, in one step.
    pub(crate) fn write(&self, name: &str, content: &str) -> String {
        let (new, path) = (self.path("new"), self.path(name));
        std::fs::write(&new, content).unwrap();
        std::fs::rename(&new, &path).unwrap();
        path
    }

    /// Certificate and key as `tls.crt` and `tls.key`.
    pub(crate) fn put(&self, certificate: &ClientCertificate) {
        self.write("tls.crt", certificate.pem());
        self.write("tls.key", certificate.key_pem());
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

/// With mutual TLS.
pub(crate) async fn start(builder: SandboxBuilder) -> Sandbox {
    builder.mtls(true).start().await.unwrap()
}

/// The options that name this sandbox and its client `acme`, with the certificate that was put into `dir`.
pub(crate) fn certified(sandbox: &Sandbox, dir: &Dir) -> Run {
    let ca = dir.write("ca.pem", sandbox.ca_pem());
    Run::new()
        .args(["--issuer", sandbox.issuer(), "--client-id", "acme", "--ca", &ca])
        .args(["--allow-origin", sandbox.mtls_api().unwrap()])
        .args(["--cert", &dir.path("tls.crt"), "--key", &dir.path("tls.key")])
}
