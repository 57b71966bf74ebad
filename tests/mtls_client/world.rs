//! A sandbox that asks for client certificates, and clients of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::Method;
use shipbound::binding::mtls::Mtls;
use shipbound::carriers::CarrierProfile;
use shipbound::clock::{Clock, SystemClock};
use shipbound::credentials::MemoryCredentials;
use shipbound::journal::Sink;
use shipbound::journal::memory::MemorySink;
use shipbound::keys::{KeyStore, MemoryKeyStore};
use shipbound::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, TenantId};
use shipbound::sandbox::{Canned, ClientCertificate, Registration, Sandbox, SandboxBuilder};
use shipbound::token::TokenAt;
use shipbound::token::client_auth::ClientAuth;
use shipbound::{Client, Parts};

/// Where shipments are made.
pub(crate) const SHIPMENTS: &str = "/v1/shipments";

/// What the parts of a client are made of, where it differs from the usual.
pub(crate) struct Make {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) keys: Arc<dyn KeyStore>,
    pub(crate) sink: Arc<dyn Sink>,
}

impl Make {
    pub(crate) fn usual() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            keys: Arc::new(MemoryKeyStore::new()),
            sink: Arc::new(MemorySink::default()),
        }
    }
}

pub(crate) async fn start(builder: SandboxBuilder) -> Sandbox {
    let sandbox = builder.mtls(true).start().await.unwrap();
    sandbox.route(Method::POST, SHIPMENTS, Canned::empty(201));
    sandbox
}

/// The carrier, whose clients authenticate with their certificates.
pub(crate) fn profile(sandbox: &Sandbox) -> CarrierProfile {
    let custom = CarrierProfile::custom(
        carrier(),
        Environment::Sandbox,
        "https://api.carrier.example",
        TokenAt::Issuer("https://auth.carrier.example".into()),
    );
    sandbox.mtls_profile(custom.client_auth(ClientAuth::Tls))
}

/// Registers these tenants by the names in their certificates, and gives parts with their credentials.
pub(crate) fn parts(sandbox: &Sandbox, tenants: &[&str], make: Make) -> Parts {
    let credentials = MemoryCredentials::new();
    for tenant in tenants {
        let registration = Registration::tls_client_auth(tenant, tenant).certificate_bound_tokens();
        credentials.put(
            id(tenant),
            &carrier(),
            Environment::Sandbox,
            sandbox.register(registration),
        );
    }
    Parts::builder()
        .shared_keys(make.keys)
        .credentials(credentials)
        .transport(sandbox.transport().unwrap())
        .clock(make.clock)
        .shared_sink(make.sink)
        .build()
        .unwrap()
}

/// A client of the tenant `acme`.
pub(crate) fn client(sandbox: &Sandbox, binding: Mtls, make: Make) -> Client {
    let parts = parts(sandbox, &["acme"], make);
    Client::builder(profile(sandbox), &parts)
        .binding(binding)
        .build()
        .unwrap()
}

pub(crate) async fn ship(client: &Client, tenant: &str) -> Result<u16, shipbound::Error> {
    let call = client.tenant(tenant).unwrap();
    let answer = call.post(SHIPMENTS).send().await?;
    Ok(answer.status().as_u16())
}

pub(crate) fn id(tenant: &str) -> TenantId {
    TenantId::new(tenant).unwrap()
}

pub(crate) fn carrier() -> CarrierId {
    CarrierId::new("acme-freight").unwrap()
}

pub(crate) fn connection(tenant: &str) -> ConnectionId {
    ConnectionId::new(
        DeploymentId::default_deployment(),
        id(tenant).into(),
        carrier(),
        Environment::Sandbox,
        AccountId::main(),
    )
}

/// A certificate's file, exchanged as Kubernetes does it: a symlink is led elsewhere.
pub(crate) struct Files {
    directory: PathBuf,
    count: AtomicU32,
}

impl Files {
    pub(crate) fn with(certificate: &ClientCertificate) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "mtls-client-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&directory).unwrap();
        let files = Self {
            directory,
            count: AtomicU32::new(0),
        };
        files.put(certificate);
        files
    }

    /// Certificate and key in one file.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join("tls.pem")
    }

    pub(crate) fn put(&self, certificate: &ClientCertificate) {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let (file, link) = (
            self.directory.join(format!("{number}.pem")),
            self.directory.join(format!("{number}.link")),
        );
        fs::write(&file, format!("{}{}", certificate.pem(), certificate.key_pem())).unwrap();
        symlink(&file, &link).unwrap();
        fs::rename(&link, self.path()).unwrap();
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.directory);
    }
}
