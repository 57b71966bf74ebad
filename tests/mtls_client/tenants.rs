//! Many tenants at once, each with a certificate of its own.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use http::{HeaderName, HeaderValue};
use shipbound::Client;
use shipbound::binding::mtls::{MemoryCertificates, Mtls};
use shipbound::jose::Thumbprint;
use shipbound::owner::Environment;
use shipbound::sandbox::{Endpoint, Sandbox};

use crate::world::{Make, SHIPMENTS, carrier, id, parts, profile, start};

const TENANTS: usize = 50;
const CALLS_OF_EACH: usize = 6;
const CONCURRENCY: usize = 32;

/// Says for whom a call is, whatever it comes with.
const CALLER: HeaderName = HeaderName::from_static("x-caller");

struct World {
    sandbox: Sandbox,
    certificates: Arc<MemoryCertificates>,
    client: Client,
    names: Vec<String>,
    /// Each tenant's certificates, the newest last.
    own: HashMap<String, Vec<Thumbprint>>,
}

impl World {
    async fn start(http2: bool) -> Self {
        let sandbox = start(Sandbox::builder().http2(http2)).await;
        // Names that differ in case alone, or begin alike.
        let names: Vec<_> = (0..TENANTS)
            .map(|number| format!("{}{}", ["shipper", "Shipper", "shipper-"][number % 3], number / 3))
            .collect();
        let borrowed: Vec<_> = names.iter().map(String::as_str).collect();
        let parts = parts(&sandbox, &borrowed, Make::usual());
        let certificates = Arc::new(MemoryCertificates::new());
        let client = Client::builder(profile(&sandbox), &parts)
            .binding(Mtls::shared(certificates.clone()))
            .build()
            .unwrap();
        let mut world = Self {
            sandbox,
            certificates,
            client,
            own: HashMap::new(),
            names: names.clone(),
        };
        names.iter().for_each(|name| world.certify(name));
        world
    }

    /// Gives the tenant a certificate, in the place of the one that it has.
    fn certify(&mut self, name: &str) {
        let certificate = self.sandbox.client_certificate(name).unwrap();
        let identity = certificate.identity().unwrap();
        self.certificates
            .put(id(name), &carrier(), Environment::Sandbox, identity);
        self.own.entry(name.to_owned()).or_default().push(certificate.x5t());
    }

    async fn call_all(&self) {
        let turns = (0..CALLS_OF_EACH).flat_map(|_| &self.names);
        let calls = turns.map(|name| {
            let tenant = self.client.tenant(name).unwrap();
            let caller = HeaderValue::from_str(name).unwrap();
            tokio::spawn(async move { tenant.post(SHIPMENTS).header(CALLER, caller).send().await })
        });
        let mut outcomes = stream::iter(calls).buffer_unordered(CONCURRENCY);
        while let Some(outcome) = outcomes.next().await {
            assert_eq!(outcome.unwrap().unwrap().status(), 201);
        }
    }

    /// Everything that arrived showed its own tenant's newest certificate, on a connection that no other tenant used.
    fn check(&self) {
        let newest = |tenant: &str| self.own[tenant].last().copied();
        let mut users: HashMap<u64, HashSet<String>> = HashMap::new();
        for request in self.sandbox.requests() {
            let tenant = match request.endpoint() {
                Endpoint::Metadata => {
                    assert_eq!(request.certificate(), None);
                    continue;
                }
                Endpoint::Api => request.header(CALLER.as_str()).unwrap().to_owned(),
                _ => request.form("client_id").unwrap(),
            };
            assert_eq!(request.tenant(), Some(&id(&tenant)), "the token is its own");
            assert_eq!(request.certificate(), newest(&tenant), "{tenant}");
            users.entry(request.connection()).or_default().insert(tenant);
        }
        assert!(users.values().all(|tenants| tenants.len() == 1), "{users:?}");
        for handshake in self.sandbox.handshakes() {
            if let Some(tenants) = users.get(&handshake.connection()) {
                let tenant = tenants.iter().next().unwrap();
                assert_eq!(handshake.certificate(), newest(tenant), "{tenant}");
            }
        }
    }
}

async fn each_shows_its_own(http2: bool) {
    let mut world = World::start(http2).await;
    world.call_all().await;
    world.check();
    assert_eq!(world.sandbox.token_requests(), TENANTS);
    assert_eq!(world.sandbox.api_requests(), TENANTS * CALLS_OF_EACH);

    // Every fifth gets another certificate; the others go on as they were.
    world.sandbox.clear();
    for name in world.names.clone().iter().step_by(5) {
        world.certify(name);
    }
    world.call_all().await;
    world.check();
    assert_eq!(world.sandbox.token_requests(), TENANTS / 5);
    assert_eq!(world.sandbox.api_requests(), TENANTS * CALLS_OF_EACH);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_shows_its_own_certificate_over_http_1_1() {
    each_shows_its_own(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_shows_its_own_certificate_over_http_2() {
    each_shows_its_own(true).await;
}
