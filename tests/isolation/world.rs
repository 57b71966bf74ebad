//! A sandbox, its shippers, and the clients that they share.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Request;
use shipbound::binding::dpop::Dpop;
use shipbound::binding::{BindContext, BindError, BindingKind, BindingStrategy, TokenBinding};
use shipbound::carriers::{self, CarrierProfile};
use shipbound::clock::{Clock, ManualClock, SystemClock};
use shipbound::credentials::{CredentialStore, MemoryCredentials};
use shipbound::journal::memory::MemorySink;
use shipbound::keys::{KeyStore, MemoryKeyStore};
use shipbound::owner::{AccountId, Environment, Tenant, TenantId};
use shipbound::sandbox::{Answer, Endpoint, Nonces, SECRET_MARK, Sandbox};
use shipbound::secret::ClientSecret;
use shipbound::throttle::Throttling;
use shipbound::{CarrierClient, Client, Parts};

use crate::judge::CALLER;

/// A carrier, an account at it, and something to call.
pub(crate) const SERVICES: [(&str, &str, &str); 3] = [
    ("fedex", "main", "/rate/v1/rates/quotes"),
    ("ups", "main", "/rating/v2409/Rate"),
    ("fedex", "track", "/track/v1/trackingnumbers"),
];

/// A tenant's connection, and the client that the issuer knows it by.
#[derive(Clone, Debug)]
pub(crate) struct Shipper {
    pub(crate) tenant: Tenant,
    /// Place in [`SERVICES`].
    pub(crate) service: usize,
    /// The client id; scripts know the connection by it, too.
    pub(crate) client: TenantId,
}

/// What a world is made of, where it differs from the usual.
pub(crate) struct Make {
    pub(crate) nonces: Nonces,
    pub(crate) keys: Arc<dyn KeyStore>,
    pub(crate) credentials: fn(MemoryCredentials) -> Arc<dyn CredentialStore>,
    pub(crate) strategy: Arc<dyn BindingStrategy>,
    pub(crate) wrap: fn(Client) -> Arc<dyn CarrierClient>,
}

impl Make {
    pub(crate) fn usual(nonces: Nonces) -> Self {
        Self {
            nonces,
            keys: Arc::new(MemoryKeyStore::new()),
            credentials: |store| Arc::new(store),
            strategy: Arc::new(Dpop::es256()),
            wrap: |client| Arc::new(client),
        }
    }
}

/// A strategy that is shared.
#[derive(Debug)]
struct Shared(Arc<dyn BindingStrategy>);

#[async_trait]
impl BindingStrategy for Shared {
    fn kind(&self) -> BindingKind {
        self.0.minimum()
    }

    async fn bind(&self, context: &BindContext<'_>) -> Result<Arc<dyn TokenBinding>, BindError> {
        self.0.bind(context).await
    }
}

pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) shippers: Arc<[Shipper]>,
    pub(crate) journal: Arc<MemorySink>,
    clients: Vec<Arc<dyn CarrierClient>>,
}

fn profile(sandbox: &Sandbox, service: usize) -> CarrierProfile {
    let profile = match SERVICES[service].0 {
        "ups" => carriers::ups(Environment::Sandbox),
        _ => carriers::fedex(Environment::Sandbox),
    };
    // The clock stands still: who has to wait for a turn would wait for ever.
    sandbox.profile(profile.throttling(Throttling::default()))
}

impl World {
    /// These tenants, each with a connection to each of `services` for which `has` says so.
    pub(crate) async fn start(tenants: &[Tenant], has: impl Fn(usize, usize) -> bool, make: Make) -> Self {
        let clock = Arc::new(ManualClock::at(SystemClock::new().now()));
        let sandbox = Sandbox::builder()
            .clock(clock.clone())
            .nonces(make.nonces)
            .require_dpop(true)
            .vendor_limits(false)
            .start()
            .await
            .unwrap();
        let store = MemoryCredentials::new();
        let mut shippers = Vec::new();
        for (number, tenant) in tenants.iter().enumerate() {
            for (service, (_, account, _)) in SERVICES.iter().enumerate() {
                if !has(number, service) {
                    continue;
                }
                let client = TenantId::new(&format!("client-{number}-{service}")).unwrap();
                let secret = ClientSecret::new(format!("{SECRET_MARK}-{client}"));
                let credential = sandbox.add_client(&client, client.as_str(), secret);
                let profile = profile(&sandbox, service);
                let account = AccountId::new(account).unwrap();
                store.put_account(tenant.clone(), profile.id(), profile.environment(), account, credential);
                shippers.push(Shipper {
                    tenant: tenant.clone(),
                    service,
                    client,
                });
            }
        }
        let journal = Arc::new(MemorySink::new(1 << 17));
        let parts = Parts::builder()
            .shared_keys(make.keys)
            .shared_credentials((make.credentials)(store))
            .transport(sandbox.transport().unwrap())
            .shared_sink(journal.clone())
            .clock(clock.clone())
            .build()
            .unwrap();
        let clients = (0..SERVICES.len())
            .map(|service| {
                let client = Client::builder(profile(&sandbox, service), &parts)
                    .account(AccountId::new(SERVICES[service].1).unwrap())
                    .binding(Shared(make.strategy.clone()))
                    .build()
                    .unwrap();
                (make.wrap)(client)
            })
            .collect();
        Self {
            sandbox,
            clock,
            shippers: shippers.into(),
            journal,
            clients,
        }
    }

    /// One call of a shipper: `ok`, or the error's code.
    pub(crate) async fn call(&self, shipper: &Shipper) -> &'static str {
        call(self.clients[shipper.service].clone(), shipper.clone()).await
    }

    /// Calls of shippers drawn at random, `concurrency` at a time; how often each outcome came.
    pub(crate) async fn calls(
        &self,
        random: &mut Random,
        count: usize,
        concurrency: usize,
    ) -> HashMap<&'static str, usize> {
        let drawn: Vec<_> = (0..count).map(|_| random.below(self.shippers.len())).collect();
        let mut outcomes = HashMap::new();
        let mut calls = stream::iter(drawn)
            .map(|number| {
                let shipper = self.shippers[number].clone();
                tokio::spawn(call(self.clients[shipper.service].clone(), shipper))
            })
            .buffer_unordered(concurrency);
        while let Some(outcome) = calls.next().await {
            *outcomes.entry(outcome.unwrap()).or_default() += 1;
        }
        outcomes
    }

    /// Time passes, and the servers become unfriendly to some shippers: tokens are revoked, refused, nonces challenged.
    pub(crate) fn disturb(&self, random: &mut Random, round: usize) {
        const PAUSES: [u64; 4] = [61, 10 * 60, 50 * 60, 61 * 60];
        self.clock
            .advance(Duration::from_secs(PAUSES[random.below(PAUSES.len())]));
        self.sandbox.normal_service();
        for shipper in &*self.shippers {
            match random.below(6) {
                0 => drop(self.sandbox.revoke_tokens(&shipper.client)),
                1 => self
                    .sandbox
                    .script(&shipper.client, Endpoint::Api, [Answer::invalid_token()]),
                2 => {
                    let nonce = format!("{}-round-{round}", shipper.client);
                    self.sandbox
                        .script(&shipper.client, Endpoint::Api, [Answer::nonce(nonce)]);
                }
                _ => {}
            }
        }
    }
}

async fn call(client: Arc<dyn CarrierClient>, shipper: Shipper) -> &'static str {
    let request = Request::post(SERVICES[shipper.service].2)
        .header(CALLER, shipper.client.as_str())
        .header("content-type", "application/json")
        .body(Bytes::from_static(b"{}"))
        .unwrap();
    match client.send(&shipper.tenant, request).await {
        Ok(answer) if answer.status() == 200 => "ok",
        Ok(_) => "other status",
        Err(error) => error.code(),
    }
}

/// Numbers that look random and are the same in every run (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % limit as u64).unwrap()
    }
}
