//! A certificate that is renewed in its files, as cert-manager or certbot do, while calls go on.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::StatusCode;
use shipbound::binding::mtls::{FileCertificates, Mtls};
use shipbound::clock::{Clock, SystemClock};
use shipbound::credentials::MemoryCredentials;
use shipbound::jose::Thumbprint;
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::{Environment, TenantId};
use shipbound::sandbox::{ClientCertificate, Endpoint, Recorded, Sandbox};
use shipbound::token::client_auth::ClientAuth;
use shipbound::upkeep::Upkeep;
use shipbound::{Client, Parts};
use tokio::sync::oneshot;

use crate::SHIPMENTS;
use crate::shippers::{by_certificate, carrier};

/// How long the exchange may take: files that were written to are left alone for two seconds first.
const PATIENCE: Duration = Duration::from_secs(30);

/// What happened meanwhile.
pub(crate) struct Exchange {
    pub(crate) old: Thumbprint,
    pub(crate) new: Thumbprint,
    pub(crate) calls: usize,
    pub(crate) failed: usize,
    /// Whether the first handshake with the new certificate resumed a session; `None` if there was none.
    pub(crate) resumed: Option<bool>,
    /// Calls with a token of the old certificate after the first one with the new.
    pub(crate) stale: usize,
    /// How many tokens were asked for: one for each certificate.
    pub(crate) tokens: usize,
}

pub(crate) async fn exchange(sandbox: &Sandbox) -> Result<Exchange, Box<dyn Error>> {
    let initech = TenantId::new("initech")?;
    let [old, new] = [
        sandbox.client_certificate("initech")?,
        sandbox.client_certificate("initech")?,
    ];
    let (directory, clock) = (Directory::new()?, SystemClock::new());
    directory.write(&old)?;
    let source = FileCertificates::open(directory.file("tls.crt"), directory.file("tls.key"), clock.now())?;

    let profile = carrier(sandbox)?.client_auth(ClientAuth::Tls);
    let credentials = MemoryCredentials::new();
    let credential = sandbox.register(by_certificate(&initech));
    credentials.put(initech.clone(), profile.id(), Environment::Sandbox, credential);
    let parts = Parts::builder()
        .keys(MemoryKeyStore::new())
        .credentials(credentials)
        .transport(sandbox.transport()?)
        .build()?;
    let client = Client::builder(profile, &parts).binding(Mtls::new(source)).build()?;

    let (stop, stopped) = oneshot::channel::<()>();
    let upkeep = Upkeep::new(&parts)
        .client(&client)
        .reload_every(Duration::from_millis(50));
    let upkeep = tokio::spawn(upkeep.run(async {
        // A sender that is gone says the same as one that speaks.
        let _told = stopped.await;
    }));

    let shipper = client.for_tenant(initech.clone());
    let (mut calls, mut failed, mut with_new) = (0, 0, 0);
    let patience = clock.monotonic() + PATIENCE;
    while clock.monotonic() < patience {
        let outcome = shipper.post(SHIPMENTS).send().await;
        calls += 1;
        match outcome {
            Ok(answer) if answer.status() == StatusCode::CREATED => {
                with_new += usize::from(answer.report().x5t == Some(new.x5t()));
            }
            _ => failed += 1,
        }
        if calls == 10 {
            directory.write(&new)?;
        }
        if with_new == 10 {
            break;
        }
    }
    drop(stop);
    upkeep.await?;

    let (old, new) = (old.x5t(), new.x5t());
    let seen = sandbox.requests_of(&initech);
    let calls_seen: Vec<_> = seen.iter().filter(|call| call.endpoint() == Endpoint::Api).collect();
    let old_token = calls_seen.first().and_then(|call| call.header("authorization"));
    let shows_new = |call: &Recorded| call.certificate() == Some(new);
    let since = calls_seen.iter().skip_while(|call| !shows_new(call));
    let handshakes = sandbox.handshakes();
    Ok(Exchange {
        old,
        new,
        calls,
        failed,
        resumed: handshakes
            .iter()
            .find(|handshake| handshake.certificate() == Some(new))
            .map(|handshake| handshake.resumed()),
        stale: since
            .filter(|call| !shows_new(call) || call.header("authorization") == old_token)
            .count(),
        tokens: seen.iter().filter(|call| call.endpoint() == Endpoint::Token).count(),
    })
}

/// A directory with a certificate and its key; removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Self, Box<dyn Error>> {
        let name = format!("shipbound-mtls-{}", uuid::Uuid::new_v4());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Puts both files there, each written beside the old one and then renamed over it.
    fn write(&self, certificate: &ClientCertificate) -> Result<(), Box<dyn Error>> {
        put(&self.file("tls.key"), certificate.key_pem())?;
        put(&self.file("tls.crt"), certificate.pem())
    }
}

fn put(path: &Path, text: &str) -> Result<(), Box<dyn Error>> {
    let beside = path.with_extension("new");
    fs::write(&beside, text)?;
    Ok(fs::rename(beside, path)?)
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Best effort: what stays is a key of a sandbox that has ended.
        let _removed = fs::remove_dir_all(&self.0);
    }
}
