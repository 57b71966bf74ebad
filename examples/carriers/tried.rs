//! One carrier, tried: what its profile says, and what comes of it.

use std::error::Error;
use std::sync::Arc;

use serde_json::json;
use shipbound::binding::BindingKind;
use shipbound::binding::bearer::Bearer;
use shipbound::binding::mtls::{MemoryCertificates, Mtls};
use shipbound::carriers::CarrierProfile;
use shipbound::client::Response;
use shipbound::credentials::CredentialAt;
use shipbound::grants::{Grant, Grants, MemoryGrants};
use shipbound::journal::EventKind;
use shipbound::journal::memory::MemorySink;
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::{AccountId, ConnectionId, DeploymentId, Tenant, TenantId};
use shipbound::sandbox::{Answer, Canned, CertificateFor, Endpoint, Sandbox, Vendors, Who};
use shipbound::token::TokenAt;
use shipbound::token::client_auth::ClientAuth;
use shipbound::token::grant::GrantType;
use shipbound::transport::Stage;
use shipbound::{Client, Parts};

use crate::calls::{Call, Throttled};

/// A row of the table.
pub(crate) struct Row {
    pub(crate) carrier: String,
    pub(crate) api: &'static str,
    pub(crate) imitated: bool,
    pub(crate) credential: &'static str,
    /// What tokens can be bound to there today.
    pub(crate) binding: String,
    /// Seconds that a token lives; `None` where there are no tokens.
    pub(crate) ttl_s: Option<u64>,
    /// How the credential stands.
    pub(crate) probe: &'static str,
    pub(crate) probe_ok: bool,
    /// The status of the business call, or the error's code.
    pub(crate) call: String,
    pub(crate) call_ok: bool,
    /// What the throttled call came to, and what the one after it.
    pub(crate) throttled: String,
    pub(crate) throttled_ok: bool,
}

impl Row {
    pub(crate) fn ok(&self) -> bool {
        self.probe_ok && self.call_ok && self.throttled_ok
    }
}

/// A carrier in a sandbox of its own, and a client of it for one shipper.
struct Scene {
    sandbox: Sandbox,
    client: Client,
    parts: Parts,
    events: Arc<MemorySink>,
    acme: Tenant,
}

impl Scene {
    async fn new(call: &Call) -> Result<Self, Box<dyn Error>> {
        let by_certificate = *call.profile.token_at() == TokenAt::Nowhere;
        // As carriers are today: their tokens are bound to nothing.
        let sandbox = Sandbox::builder().vendors(Vendors::AsToday).mtls(by_certificate);
        let sandbox = sandbox.start().await?;
        let id = TenantId::new("acme")?;
        let acme = Tenant::from(id.clone());
        let profile = match by_certificate {
            true => sandbox.mtls_profile(call.profile.clone()),
            false => sandbox.profile(call.profile.clone()),
        };
        if !call.imitated {
            let test = profile.how_to_test().map(|test| (&test.method, &*test.path));
            for (method, path) in test.into_iter().chain([(&call.method, call.path)]) {
                let path = format!("{}{}", path_of(profile.base()), without_query(path));
                sandbox.open_route(method.clone(), &path, |_request| Canned::json(200, &json!({})));
            }
        }
        if let Some(token) = &call.token {
            sandbox.always(Who::Anyone, Endpoint::Token, Answer::reply(token.clone()));
        }
        let (grants, events) = (Arc::new(MemoryGrants::new()), Arc::new(MemorySink::default()));
        let parts = Parts::builder()
            .keys(MemoryKeyStore::new())
            .credentials(sandbox.credentials(&profile, [&id]))
            .shared_grants(grants.clone())
            .shared_sink(events.clone())
            .transport(sandbox.transport()?)
            .build()?;
        let builder = Client::builder(profile.clone(), &parts);
        let client = match by_certificate {
            true => {
                let certificates = MemoryCertificates::new();
                let certificate = sandbox.client_certificate(CertificateFor::from("acme"))?;
                certificates.put(
                    acme.clone(),
                    profile.id(),
                    profile.environment(),
                    certificate.identity()?,
                );
                builder.binding(Mtls::new(certificates)).build()?
            }
            false => builder.binding(Bearer).build()?,
        };
        if *profile.grant_type() == GrantType::RefreshToken {
            // What the shipper's consent would have given.
            let consent = Grant::new("made-up-for-the-table", parts.clock().now());
            let grants = Grants::new(grants, parts.clock().clone());
            grants.put(&connection(&profile, &acme), consent).await?;
        }
        Ok(Self {
            sandbox,
            client,
            parts,
            events,
            acme,
        })
    }

    /// How long the first token lives, as its issuer said.
    fn lifetime(&self) -> Option<u64> {
        self.events.events().iter().find_map(|event| match event.kind {
            EventKind::TokenIssued { lifetime, .. } => Some(lifetime.as_secs()),
            _ => None,
        })
    }

    async fn send(&self, call: &Call) -> Result<Response, shipbound::Error> {
        let acme = self.client.for_tenant(self.acme.clone());
        let request = acme.request(call.method.clone(), call.path);
        match &call.body {
            Some(body) => request.json(body).send().await,
            None => request.send().await,
        }
    }

    /// The carrier says that it is asked too often: the call is told until when, and until then nothing is sent.
    async fn throttle(&self, call: &Call) -> (String, bool) {
        let (endpoint, answer) = match &call.throttled {
            Throttled::Api(answer) => (Endpoint::Api, answer),
            Throttled::Token(answer) => (Endpoint::Token, answer),
        };
        if endpoint == Endpoint::Token {
            self.client.forget(&self.acme);
        }
        self.sandbox
            .script(Who::Anyone, endpoint, [Answer::reply(answer.clone())]);
        let first = self.send(call).await;
        let sent = self.sandbox.requests().len();
        let second = self.send(call).await;
        let unsent = self.sandbox.requests().len() == sent && self.sandbox.answers_left() == 0;
        match (first, second) {
            (Err(first), Err(second)) => {
                let told = first.retry_at().map(|at| at.seconds_since(self.parts.clock().now()));
                let ok = unsent && second.stage() == Stage::NotSent && told.is_some_and(|seconds| seconds > 0);
                let wait = told.map_or("?".to_owned(), |seconds| seconds.to_string());
                (format!("{}, {wait} s, then unsent", first.code()), ok)
            }
            (Ok(answer), _) | (_, Ok(answer)) => (format!("not noticed: {}", answer.status()), false),
        }
    }
}

pub(crate) async fn tried(call: Call) -> Result<Row, Box<dyn Error>> {
    let scene = Scene::new(&call).await?;
    let verification = scene.client.verify_credentials(&scene.acme).await;
    let (told, call_ok) = match scene.send(&call).await {
        Ok(answer) => (answer.status().as_str().to_owned(), answer.status().is_success()),
        Err(error) => (error.code().to_owned(), false),
    };
    let (throttled, throttled_ok) = scene.throttle(&call).await;
    let ttl_s = scene.lifetime();
    scene.sandbox.shutdown().await;
    Ok(Row {
        carrier: call.profile.name().to_owned(),
        api: call.api,
        imitated: call.imitated,
        credential: credential(&call.profile),
        binding: bindings(&call.profile),
        ttl_s,
        probe: verification.standing().as_str(),
        probe_ok: verification.works(),
        call: told,
        call_ok,
        throttled,
        throttled_ok,
    })
}

fn credential(profile: &CarrierProfile) -> &'static str {
    match (profile.token_at(), profile.placement()) {
        (TokenAt::Nowhere, _) => "certificate",
        (TokenAt::Credential, CredentialAt::Basic) => "Basic",
        (TokenAt::Credential, CredentialAt::Headers { .. }) => "two headers",
        (TokenAt::Credential, CredentialAt::Authorization) => "key as Bearer",
        (TokenAt::Credential, _) => "key in a header",
        (_, _) => match (profile.grant_type(), profile.authenticates()) {
            (GrantType::RefreshToken, _) => "consent, token",
            (GrantType::OfCarrier(_), _) => "its own grant, token",
            (_, ClientAuth::Basic) => "Basic, token",
            (_, ClientAuth::Post) => "secret, token",
            (_, _) => "token",
        },
    }
}

fn bindings(profile: &CarrierProfile) -> String {
    let names: Vec<_> = profile
        .bindings()
        .iter()
        .map(|kind: &BindingKind| kind.as_str())
        .collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn connection(profile: &CarrierProfile, tenant: &Tenant) -> ConnectionId {
    ConnectionId::new(
        DeploymentId::default_deployment(),
        tenant.clone(),
        profile.id().clone(),
        profile.environment(),
        AccountId::main(),
    )
}

/// The path of a base URL, without a slash at its end.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/')
        .and_then(|slash| rest.get(slash..))
        .unwrap_or("")
        .trim_end_matches('/')
}

fn without_query(path: &str) -> &str {
    path.split('?').next().unwrap_or(path)
}
