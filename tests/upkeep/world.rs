//! A sandbox, a client of it, and the upkeep of that client.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use shipbound::binding::BindingStrategy;
use shipbound::carriers::CarrierProfile;
use shipbound::clock::{Clock, ManualClock, Timestamp};
use shipbound::grants::MemoryGrants;
use shipbound::journal::EventKind;
use shipbound::journal::memory::MemorySink;
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::{CarrierId, Environment, TenantId};
use shipbound::sandbox::{Canned, Sandbox, SandboxBuilder};
use shipbound::token::TokenAt;
use shipbound::upkeep::Upkeep;
use shipbound::{Client, Error, Parts};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) sandbox: Sandbox,
    pub(crate) sink: Arc<MemorySink>,
    pub(crate) parts: Parts,
    pub(crate) client: Client,
    pub(crate) grants: Arc<MemoryGrants>,
}

/// A client of the carrier `acme-freight`, whose tokens live an hour.
pub(crate) async fn world(
    sandbox: SandboxBuilder,
    binding: impl FnOnce(&Sandbox) -> Box<dyn FnOnce(shipbound::client::ClientBuilder) -> shipbound::client::ClientBuilder>,
    profile: impl FnOnce(CarrierProfile) -> CarrierProfile,
) -> World {
    let clock = Arc::new(ManualClock::at(NOW));
    let sandbox = sandbox.clock(clock.clone()).start().await.unwrap();
    sandbox.route(Method::POST, "/v1/shipments", Canned::empty(201));
    let custom = profile(CarrierProfile::custom(
        CarrierId::new("acme-freight").unwrap(),
        Environment::Sandbox,
        "https://api.carrier.example",
        TokenAt::Issuer("https://auth.carrier.example".into()),
    ));
    let profile = match sandbox.mtls_api() {
        Some(_) => sandbox.mtls_profile(custom),
        None => sandbox.profile(custom),
    };
    let sink = Arc::new(MemorySink::default());
    let grants = Arc::new(MemoryGrants::new());
    let shared: Arc<dyn Clock> = clock.clone();
    let parts = Parts::builder()
        .keys(MemoryKeyStore::with_clock(Arc::clone(&shared)))
        .credentials(sandbox.credentials(&profile, [&acme()]))
        .shared_grants(grants.clone())
        .transport(sandbox.transport().unwrap())
        .clock(shared)
        .shared_sink(sink.clone())
        .build()
        .unwrap();
    let choose = binding(&sandbox);
    let client = choose(Client::builder(profile, &parts)).build().unwrap();
    World {
        clock,
        sandbox,
        sink,
        parts,
        client,
        grants,
    }
}

/// A binding as [`world`] takes it.
pub(crate) fn bound(
    strategy: impl BindingStrategy + 'static,
) -> impl FnOnce(&Sandbox) -> Box<dyn FnOnce(shipbound::client::ClientBuilder) -> shipbound::client::ClientBuilder> {
    |_| Box::new(|builder| builder.binding(strategy))
}

pub(crate) fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

impl World {
    pub(crate) async fn ship(&self) -> Result<u16, Error> {
        let shipped = self.client.for_tenant(acme()).post("/v1/shipments").send().await?;
        Ok(shipped.status().as_u16())
    }

    pub(crate) fn upkeep(&self) -> Upkeep {
        Upkeep::new(&self.parts).client(&self.client)
    }

    /// Ends when `count` sleep on the clock.
    pub(crate) async fn sleeping(&self, count: usize) {
        while self.clock.sleepers() < count {
            tokio::task::yield_now().await;
        }
    }

    /// Moves the clock until `done`, a second at a time.
    pub(crate) async fn move_until(&self, done: impl FnMut(&Self) -> bool) {
        self.stride_until(Duration::from_secs(1), done).await;
    }

    /// Moves the clock until `done`, in steps of this length.
    pub(crate) async fn stride_until(&self, step: Duration, mut done: impl FnMut(&Self) -> bool) {
        for _ in 0..200_000 {
            if done(self) {
                return;
            }
            self.clock.advance(step);
            tokio::task::yield_now().await;
        }
        panic!("it never came");
    }

    /// How far the clock has moved.
    pub(crate) fn clock_seconds(&self) -> i64 {
        self.clock.now().seconds_since(NOW)
    }

    pub(crate) fn events(&self, wanted: impl Fn(&EventKind) -> bool) -> usize {
        self.sink.events().iter().filter(|event| wanted(&event.kind)).count()
    }
}

/// An upkeep that runs, and how it is told to end.
pub(crate) struct Running {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

pub(crate) fn run(upkeep: Upkeep) -> Running {
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(upkeep.run(async move {
        let _told = stopped.await;
    }));
    Running { stop: Some(stop), task }
}

impl Running {
    /// Tells it to end.
    pub(crate) fn tell(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Tells it to end, and waits for that.
    pub(crate) async fn end(mut self) {
        self.tell();
        self.task.await.unwrap();
    }
}
