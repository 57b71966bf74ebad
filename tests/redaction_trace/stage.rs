//! A sandbox, and clients at it whose secrets and key are known.

use std::sync::Arc;

use http::Method;
use serde_json::json;
use shipbound::binding::bearer::Bearer;
use shipbound::binding::dpop::Dpop;
use shipbound::carriers::{self, CarrierProfile};
use shipbound::clock::{Clock, ManualClock, SystemClock, Timestamp};
use shipbound::credentials::{Credential, MemoryCredentials};
use shipbound::exchange::budget::Limits;
use shipbound::journal::Sink;
use shipbound::journal::memory::MemorySink;
use shipbound::journal::tracing::TracingSink;
use shipbound::keys::{Backend, KeyStore, LocalKey, MemoryKeyStore, Purpose};
use shipbound::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, Owner, TenantId};
use shipbound::sandbox::{Canned, Recorded, Sandbox};
use shipbound::secret::KeyMaterial;
use shipbound::token::TokenAt;
use shipbound::token::client_auth::ClientAuth;
use shipbound::{Client, Error, Parts};

use crate::marker::{Shown, marked};

/// What is called, and answers as a carrier would.
pub(crate) const LABELS: &str = "/labels";
/// What answers 401 with everything that it was sent.
pub(crate) const ECHO: &str = "/echo";

pub(crate) const KEY: &[u8] = include_bytes!("../data/keys/p256-pkcs8.pem");

/// The private octets of [`KEY`]: they stand behind their tag and length in the PKCS #8 structure.
pub(crate) fn private_octets() -> Vec<u8> {
    use base64::Engine;
    let text: String = std::str::from_utf8(KEY)
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    let der = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    let at = der
        .windows(5)
        .position(|octets| octets == [0x02, 0x01, 0x01, 0x04, 0x20])
        .unwrap()
        + 5;
    der[at..at + 32].to_vec()
}

pub(crate) fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    journal: Arc<MemorySink>,
    sink: Option<Arc<dyn Sink>>,
}

/// How a client differs from the usual.
pub(crate) struct Differs {
    pub(crate) bearer: bool,
    pub(crate) wrong_secret: bool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Limits,
}

impl Default for Differs {
    fn default() -> Self {
        Self {
            bearer: false,
            wrong_secret: false,
            clock: Arc::new(SystemClock::new()),
            limits: Limits::default(),
        }
    }
}

impl Stage {
    pub(crate) fn new(sandbox: Sandbox) -> Self {
        sandbox.route(
            Method::POST,
            LABELS,
            Canned::json(201, &json!({"label": marked("label")})),
        );
        sandbox.open_route(Method::POST, ECHO, |request: &Recorded| {
            let token = request.header("authorization").unwrap_or_default();
            let proof = request.proof().unwrap_or_default();
            let challenge = format!("DPoP error=\"invalid_token\", error_description=\"{token} {proof}\"");
            Canned::json(401, &json!({"error": token, "error_description": proof}))
                .header("www-authenticate", &challenge)
                .header("set-cookie", token)
        });
        Self {
            sandbox,
            journal: Arc::new(MemorySink::new(10_000)),
            sink: None,
        }
    }

    pub(crate) fn with_sink(mut self, sink: Arc<dyn Sink>) -> Self {
        self.sink = Some(sink);
        self
    }

    /// A carrier whose issuer is found by its metadata.
    pub(crate) fn freight(&self) -> CarrierProfile {
        self.sandbox.profile(CarrierProfile::custom(
            CarrierId::new("acme-freight").unwrap(),
            Environment::Sandbox,
            "https://api.carrier.example",
            TokenAt::Issuer("https://auth.carrier.example".into()),
        ))
    }

    pub(crate) async fn client(&self, profile: CarrierProfile, differs: Differs, shown: &mut Shown) -> Client {
        let credential = match differs.wrong_secret {
            true => Credential::new("acme", marked("wrong")),
            false => self.sandbox.credential(&acme()),
        };
        let credentials = MemoryCredentials::new();
        shown.debug(&credential);
        credentials.put(acme(), profile.id(), profile.environment(), credential);
        shown.debug(&credentials);

        let keys = MemoryKeyStore::new();
        let key = LocalKey::from_pem(&KeyMaterial::new(KEY), Backend::default()).unwrap();
        shown.debug(&key);
        let owner = Owner::from(ConnectionId::new(
            DeploymentId::default_deployment(),
            acme().into(),
            profile.id().clone(),
            profile.environment(),
            AccountId::main(),
        ));
        let handle = keys.import(&owner, Purpose::Proof, key).unwrap();
        assert!(
            keys.promote(&owner, &handle.id(), None, Timestamp::UNIX_EPOCH)
                .await
                .unwrap()
        );
        shown.debug(&handle);
        shown.debug(&handle.sign(b"message"));
        shown.debug(&keys);

        let transport = self.sandbox.transport().unwrap();
        shown.debug(&transport);
        let mut parts = Parts::builder()
            .keys(keys)
            .credentials(credentials)
            .transport(transport)
            .clock(differs.clock)
            .shared_sink(self.journal.clone())
            .sink(TracingSink);
        if let Some(sink) = &self.sink {
            parts = parts.shared_sink(sink.clone());
        }
        shown.debug(&parts);
        let parts = parts.build().unwrap();
        shown.debug(&parts);
        shown.debug(&profile);
        let builder = Client::builder(profile, &parts).limits(differs.limits);
        let builder = match differs.bearer {
            true => builder.binding(Bearer),
            false => builder.binding(Dpop::es256()),
        };
        shown.debug(&builder);
        let client = builder.build().unwrap();
        shown.debug(&client);
        client
    }

    /// A call that fails with this code, or one of these with `|` between them; all of the error is shown.
    pub(crate) async fn fails(&self, client: &Client, path: &str, code: &str, shown: &mut Shown) -> Error {
        let tenant = client.tenant("acme").unwrap();
        let error = tenant.post(path).body("{}").send().await.unwrap_err();
        assert!(code.split('|').any(|code| code == error.code()), "{code}: {error:?}");
        shown.error(&error);
        shown.debug(&error.kind());
        shown.debug(&error.response());
        shown.debug(&error.report());
        error
    }

    /// Calls that succeed: bound and not, with the secret in a header and in a body, by three carriers.
    pub(crate) async fn successes(&self, shown: &mut Shown) {
        let posted = self.freight().client_auth(ClientAuth::Post);
        for (profile, path) in [
            (self.freight(), LABELS),
            (posted, LABELS),
            (
                self.sandbox.profile(carriers::fedex(Environment::Sandbox)),
                "/rate/v1/rates/quotes",
            ),
            (
                self.sandbox.profile(carriers::ups(Environment::Sandbox)),
                "/rating/v2409/Rate",
            ),
        ] {
            for bearer in [false, true] {
                let differs = Differs {
                    bearer,
                    ..Differs::default()
                };
                let client = self.client(profile.clone(), differs, shown).await;
                for _ in 0..2 {
                    let tenant = client.tenant("acme").unwrap();
                    let answer = tenant.post(path).body(marked("body")).send().await.unwrap();
                    assert!(answer.status().is_success());
                    shown.debug(&answer);
                    shown.debug(&answer.report());
                    shown.error(&answer.json::<u8>().unwrap_err());
                }
                shown.debug(&client.lease(&acme().into()).unwrap());
                shown.debug(&client);
            }
        }
    }

    pub(crate) fn events(&self, shown: &mut Shown) {
        let events = self.journal.events();
        assert!(events.len() > 100, "{}", events.len());
        shown.debug(&events);
        shown.debug(&self.sandbox);
        shown.debug(&self.sandbox.requests());
    }
}

/// A clock that stands where the system's does.
pub(crate) fn still() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(SystemClock::new().now()))
}
