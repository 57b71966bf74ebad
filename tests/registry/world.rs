//! A sandbox, a registry, and a client that asks it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use http::Method;
use shipbound::act::Act;
use shipbound::binding::dpop::Dpop;
use shipbound::carriers::CarrierProfile;
use shipbound::clock::{Clock, ManualClock, Timestamp};
use shipbound::credentials::{CredentialAdmin, MemoryCredentials};
use shipbound::directory::{ConnectionRecord, ConnectionStore, MemoryConnections, Standing};
use shipbound::grants::{Grant, Grants, MemoryGrants};
use shipbound::journal::fingerprint::{Fingerprints, MemorySalts};
use shipbound::journal::memory::MemorySink;
use shipbound::journal::{EventKind, Journal, Sink};
use shipbound::keys::{Authority, LocalKeys, MemoryKeyRecords, RecordedKeys};
use shipbound::owner::{CarrierId, ConnectionId, Environment, Tenant, TenantId};
use shipbound::registry::{NewConnection, Registry, RegistryError, Removal, Remover};
use shipbound::sandbox::{Canned, Sandbox};
use shipbound::token::TokenAt;
use shipbound::{Client, Error, Parts};
use tokio::task::JoinHandle;

pub(crate) const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

pub(crate) type Keys = RecordedKeys<MemoryKeyRecords, LocalKeys>;

/// One process of a deployment.
pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) sink: Arc<MemorySink>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) credentials: Arc<MemoryCredentials>,
    pub(crate) grants: Arc<MemoryGrants>,
    pub(crate) salts: Arc<MemorySalts>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) parts: Parts,
    pub(crate) profile: CarrierProfile,
    pub(crate) client: Client,
}

pub(crate) fn tenant(id: &str) -> TenantId {
    TenantId::new(id).unwrap()
}

pub(crate) fn act(reason: &str) -> Act {
    Act::new("maria@platform.example", reason, "OPS-1").unwrap()
}

pub(crate) fn carrier() -> CarrierId {
    CarrierId::new("acme-freight").unwrap()
}

pub(crate) fn new(id: &str) -> NewConnection {
    NewConnection::new(tenant(id), &carrier(), Environment::Sandbox)
}

pub(crate) async fn world() -> World {
    world_on(MemoryConnections::new()).await
}

pub(crate) async fn world_on(store: impl ConnectionStore + 'static) -> World {
    let clock = Arc::new(ManualClock::at(NOW));
    let sandbox = Sandbox::builder().clock(clock.clone()).start().await.unwrap();
    sandbox.route(Method::POST, "/v1/shipments", Canned::empty(201));
    let keys = Keys::new(
        Arc::new(MemoryKeyRecords::new()),
        Arc::new(LocalKeys::new()),
        clock.clone(),
        Authority::default(),
    );
    process(clock, Arc::new(sandbox), Arc::new(keys), Default::default(), store).await
}

impl World {
    /// Another process of the same deployment over `store`.
    pub(crate) async fn another(&self, store: impl ConnectionStore + 'static) -> Self {
        let (sandbox, keys) = (Arc::clone(&self.sandbox), Arc::clone(&self.keys));
        let stores = (Arc::clone(&self.credentials), Arc::clone(&self.grants));
        process(Arc::clone(&self.clock), sandbox, keys, stores, store).await
    }

    /// Adds a connection, and the credential of the tenant's client.
    pub(crate) async fn add(&self, id: &str) -> ConnectionRecord {
        let record = self.registry.add(&new(id), &act("signed up")).await.unwrap();
        self.give(&record.connection).await;
        record
    }

    pub(crate) async fn give(&self, connection: &ConnectionId) {
        let credential = self.sandbox.credential_for(&self.profile, connection.tenant().id());
        let act = act("signed up");
        self.credentials
            .put_credential(connection, credential, &act)
            .await
            .unwrap();
    }

    /// A client whose tokens come from what shippers consented to, and the consent of this one.
    pub(crate) async fn by_consent(&self, connection: &ConnectionId) -> Client {
        let grants = Grants::new(self.grants.clone(), self.clock.clone());
        let refresh_token = self.sandbox.refresh_token(connection.tenant().id());
        grants.put(connection, Grant::new(refresh_token, NOW)).await.unwrap();
        self.consenting()
    }

    /// The same client, of another process.
    pub(crate) fn consenting(&self) -> Client {
        Client::builder(self.profile.clone().by_consent(), &self.parts)
            .binding(Dpop::es256())
            .build()
            .unwrap()
    }

    pub(crate) async fn ship(&self, id: &str) -> Result<u16, Error> {
        let shipped = self.client.tenant(id)?.post("/v1/shipments").send().await?;
        Ok(shipped.status().as_u16())
    }

    pub(crate) async fn ship_for(&self, tenant: &Tenant) -> Result<u16, Error> {
        let of = self.client.for_tenant(tenant.clone());
        Ok(of.post("/v1/shipments").send().await?.status().as_u16())
    }

    pub(crate) async fn refused(&self, id: &str) -> &'static str {
        self.ship(id).await.unwrap_err().code()
    }

    pub(crate) fn remover(&self) -> Remover {
        self.remover_without().client(&self.client)
    }

    pub(crate) fn remover_without(&self) -> Remover {
        let (keys, credentials) = (self.keys.clone(), self.credentials.clone());
        Remover::new(self.registry.clone(), &self.parts, keys, credentials)
    }

    /// Begins a removal that goes on by itself.
    pub(crate) async fn begin(&self, connection: &ConnectionId) -> JoinHandle<Result<Removal, RegistryError>> {
        let (remover, connection) = (self.remover(), connection.clone());
        let registry = self.registry.clone();
        let removing = {
            let connection = connection.clone();
            tokio::spawn(async move { remover.remove(&connection, &act("left")).await })
        };
        while registry.record(&connection).await.unwrap().standing == Standing::Active {
            tokio::task::yield_now().await;
        }
        removing
    }

    pub(crate) fn events(&self, wanted: impl Fn(&EventKind) -> bool) -> usize {
        self.sink.events().iter().filter(|event| wanted(&event.kind)).count()
    }

    /// Moves the clock, a step at a time, until `future` has ended.
    pub(crate) async fn moving<F: Future>(&self, step: Duration, future: F) -> F::Output {
        moving(&self.clock, step, future).await
    }
}

pub(crate) async fn moving<F: Future>(clock: &ManualClock, step: Duration, future: F) -> F::Output {
    let mut future = Box::pin(future);
    for turn in 0..4_000_000 {
        match select(future, Box::pin(tokio::task::yield_now())).await {
            Either::Left((output, _)) => return output,
            Either::Right(((), rest)) => future = rest,
        }
        // Servers on the same threads get their turns.
        if turn % 20 == 0 {
            clock.advance(step);
        }
    }
    panic!("it never ended");
}

async fn process(
    clock: Arc<ManualClock>,
    sandbox: Arc<Sandbox>,
    keys: Arc<Keys>,
    (credentials, grants): (Arc<MemoryCredentials>, Arc<MemoryGrants>),
    store: impl ConnectionStore + 'static,
) -> World {
    let custom = CarrierProfile::custom(
        carrier(),
        Environment::Sandbox,
        "https://api.carrier.example",
        TokenAt::Issuer("https://auth.carrier.example".into()),
    );
    let profile = sandbox.profile(custom);
    let (sink, salts) = (Arc::new(MemorySink::default()), Arc::new(MemorySalts::new()));
    let shared: Arc<dyn Clock> = clock.clone();
    let sinks: [Arc<dyn Sink>; 1] = [sink.clone()];
    let registry = Registry::builder(store)
        .clock(Arc::clone(&shared))
        .journal(Journal::new(Arc::clone(&shared), sinks))
        .open();
    let registry = Arc::new(registry.await.unwrap());
    let parts = Parts::builder()
        .shared_keys(keys.clone())
        .shared_credentials(credentials.clone())
        .directory(registry.clone())
        .shared_grants(grants.clone())
        .fingerprints(Fingerprints::new([7; 32]).salted(salts.clone()))
        .transport(sandbox.transport().unwrap())
        .clock(shared)
        .shared_sink(sink.clone())
        .build()
        .unwrap();
    let client = Client::builder(profile.clone(), &parts)
        .binding(Dpop::es256())
        .build()
        .unwrap();
    World {
        clock,
        sandbox,
        sink,
        keys,
        credentials,
        grants,
        salts,
        registry,
        parts,
        profile,
        client,
    }
}
