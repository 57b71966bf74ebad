//! A client and a server, and the server's answers as vectors write them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::Value;
use shipbound::binding::bearer::Bearer;
use shipbound::binding::dpop::Dpop;
use shipbound::carriers::CarrierProfile;
use shipbound::client::{Client, Response, TenantClient};
use shipbound::clock::{ManualClock, Timestamp};
use shipbound::credentials::{Credential, MemoryCredentials};
use shipbound::exchange::quirks::{BodyCode, Quirks};
use shipbound::grants::{Grant, Grants, MemoryGrants};
use shipbound::jose::Algorithm;
use shipbound::journal::memory::MemorySink;
use shipbound::keys::{KeySpec, KeyStore, MemoryKeyStore, Purpose};
use shipbound::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, Owner, TenantId};
use shipbound::token::TokenAt;
use shipbound::token::assertion::{AssertionProfile, Audience};
use shipbound::token::client_auth::ClientAuth;
use shipbound::token::metadata::IssuerEndpoint;
use shipbound::transport::reqwest::ReqwestTransport;
use shipbound::{Error, Parts};

use crate::scripted::{Answer, Lane, Request, Scripted};

pub(crate) const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) server: Scripted,
    pub(crate) elsewhere: Scripted,
    pub(crate) events: Arc<MemorySink>,
    pub(crate) client: Client,
    pub(crate) tenant: TenantClient,
}

/// What is special about a client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// DPoP, and a secret.
    Usual,
    /// Bearer tokens and the codes of FedEx.
    Fedex,
    /// DPoP, and assertions in the place of the secret.
    Signed,
    /// DPoP, and a shipper's consent.
    Consent,
}

impl World {
    pub(crate) async fn new(kind: Kind) -> Self {
        let fedex = kind == Kind::Fedex;
        let clock = Arc::new(ManualClock::at(NOW));
        let server = Scripted::start(&clock, if fedex { "bearer" } else { "DPoP" }).await;
        let elsewhere = Scripted::start(&clock, "DPoP").await;
        let events = Arc::new(MemorySink::default());
        let carrier = CarrierId::new("carrier").unwrap();
        let tenant = TenantId::new("acme").unwrap();
        let credentials = MemoryCredentials::new();
        let credential = Credential::new("client", "s3cr3t");
        credentials.put(tenant.clone(), &carrier, Environment::Sandbox, credential);
        let transport = ReqwestTransport::builder()
            .allow_loopback(server.loopback())
            .allow_loopback(elsewhere.loopback())
            .build()
            .unwrap();
        let (keys, grants) = (MemoryKeyStore::new(), Arc::new(MemoryGrants::new()));
        let connection = ConnectionId::new(
            DeploymentId::default_deployment(),
            tenant.clone().into(),
            carrier.clone(),
            Environment::Sandbox,
            AccountId::main(),
        );
        let owner = Owner::from(connection.clone());
        let spec = KeySpec {
            purpose: Purpose::ClientAssertion,
            algorithm: Algorithm::Es256,
        };
        let key = keys.create(&owner, spec).await.unwrap();
        assert!(keys.promote(&owner, &key.id(), None, NOW).await.unwrap());
        let consents = Grants::new(grants.clone(), clock.clone());
        consents.put(&connection, Grant::new("r1", NOW)).await.unwrap();
        let parts = Parts::builder()
            .keys(keys)
            .shared_grants(grants)
            .credentials(credentials)
            .shared_sink(events.clone())
            .clock(clock.clone())
            .transport(transport)
            .build()
            .unwrap();
        let endpoint = TokenAt::Endpoint(server.url("/token"));
        let mut quirks = Quirks::default();
        if fedex {
            quirks
                .not_processed
                .push(BodyCode::new("/errors/0/code", "NOT.AUTHORIZED.ERROR"));
        }
        let mut profile = CarrierProfile::custom(carrier, Environment::Sandbox, server.url(""), endpoint)
            .quirks(quirks)
            .endpoint(IssuerEndpoint::Revocation, server.url("/revoke"))
            .allow_loopback(server.loopback());
        if kind == Kind::Signed {
            let assertions = AssertionProfile::new().audience(Audience::Exactly(server.url("")));
            profile = profile.client_auth(ClientAuth::PrivateKeyJwt(assertions));
        }
        if kind == Kind::Consent {
            profile = profile.by_consent();
        }
        let builder = Client::builder(profile, &parts);
        let builder = if fedex {
            builder.binding(Bearer)
        } else {
            builder.binding(Dpop::es256())
        };
        let client = builder.build().unwrap();
        Self {
            tenant: client.for_tenant(tenant),
            client,
            clock,
            server,
            elsewhere,
            events,
        }
    }

    pub(crate) async fn call(&self, method: &Method) -> Result<Response, Error> {
        let request = self.tenant.request(method.clone(), "/rates");
        if *method == Method::POST {
            request.body("the whole body").send().await
        } else {
            request.send().await
        }
    }

    pub(crate) fn seen_at(&self, lane: Lane) -> Vec<Request> {
        self.server
            .seen()
            .into_iter()
            .filter(|request| request.lane == lane)
            .collect()
    }

    /// Lets every token end and every pause of the issuer's too.
    pub(crate) fn an_hour_later(&self) {
        self.clock.advance(Duration::from_secs(3600));
    }

    pub(crate) fn answer(&self, lane: Lane, step: &Value, vector: &Value) {
        let text = |name: &str| step[name].as_str();
        if text("transport_error") == Some("after_write") {
            return self.server.answer(lane, Answer::hang_up());
        }
        let status = u16::try_from(step["status"].as_u64().unwrap()).unwrap();
        let mut answer = match (lane, text("error"), text("body")) {
            (_, Some(error), None) => Answer::json(status, format!(r#"{{"error":"{error}"}}"#)),
            (_, None, Some(body)) => Answer::json(status, body),
            (Lane::Issuer, None, None) if status == 200 => self.server.token_with(text("refresh_token")),
            _ => Answer::status(status),
        };
        for (name, header) in [
            ("nonce", "dpop-nonce"),
            ("www", "www-authenticate"),
            ("retry_after", "retry-after"),
        ] {
            if let Some(value) = text(name) {
                answer = answer.header(header, value);
            }
        }
        if text("location").is_some() {
            answer = answer.header("location", &self.elsewhere.url("/x"));
        }
        let offset = step["date_offset_s"].as_i64().or(vector["date_offset_s"].as_i64());
        answer.date_offset_seconds = offset.unwrap_or(0);
        self.server.answer(lane, answer);
    }

    pub(crate) fn script(&self, vector: &Value) {
        let role = role(vector);
        for step in vector["server"].as_array().unwrap() {
            let lane = match step["target"].as_str() {
                Some("as") => Lane::Issuer,
                Some("rs") => Lane::Api,
                _ => role,
            };
            self.answer(lane, step, vector);
        }
    }
}

/// Whom a sequence is about.
pub(crate) fn role(vector: &Value) -> Lane {
    let first = &vector["server"][0];
    match first["target"].as_str() {
        Some("as") => Lane::Issuer,
        Some("rs") => Lane::Api,
        _ if first["error"].is_string() => Lane::Issuer,
        _ => Lane::Api,
    }
}

pub(crate) fn result(outcome: &Result<Response, Error>) -> String {
    outcome
        .as_ref()
        .map_or_else(|error| format!("error:{}", error.code()), |_| "ok".to_owned())
}

pub(crate) fn different(values: impl Iterator<Item = Value>) -> bool {
    let all: Vec<_> = values.map(|value| value.to_string()).collect();
    all.iter().collect::<BTreeSet<_>>().len() == all.len()
}
