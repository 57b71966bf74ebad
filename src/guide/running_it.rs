use std::error::Error;
use std::future::Future;
use std::sync::Arc;

use shipbound::binding::dpop::Dpop;
use shipbound::carriers::{CarrierProfile, ups};
use shipbound::chore::Chore;
use shipbound::clock::{Clock, SystemClock};
use shipbound::exchange::budget::Limits;
use shipbound::journal::tracing::TracingSink;
use shipbound::journal::webhook::{Webhook, WebhookSecret};
use shipbound::journal::{Journal, Sink};
use shipbound::owner::{DeploymentId, Environment};
use shipbound::registry::{Registry, Remover};
use shipbound::rotation::{RotationPolicy, Rotator};
use shipbound::store::anchor::{EpochAnchor, FileAnchor};
use shipbound::store::seal::{KekId, KekProvider, KekSecret, LocalKek};
use shipbound::store::sql::{Database, SqlStores};
use shipbound::target::Target;
use shipbound::transport::reqwest::ReqwestTransport;
use shipbound::upkeep::Upkeep;
use shipbound::{Client, Parts};

type Failed = Box<dyn Error + Send + Sync>;

/// What is another one on another machine.
pub struct Place {
    pub clock: Arc<dyn Clock>,
    pub database: Database,
    pub keks: Arc<dyn KekProvider>,
    pub anchor: Arc<dyn EpochAnchor>,
    pub transport: ReqwestTransport,
    pub alerts: Target,
    pub alerts_secret: WebhookSecret,
    pub profile: CarrierProfile,
}

/// What the rest of the application uses.
pub struct Platform {
    pub registry: Arc<Registry>,
    pub remover: Arc<Remover>,
    pub rotator: Rotator,
    pub stores: SqlStores,
    pub carrier: Client,
    pub upkeep: Upkeep,
}

pub async fn open(place: Place) -> Result<Platform, Failed> {
    let deployment = DeploymentId::default_deployment();
    let clock = place.clock;

    // One journal, before the stores: what they find when they are opened must reach somebody.
    let webhook = Webhook::builder(place.alerts, place.alerts_secret)
        .failures_to(Arc::new(TracingSink))
        .build(Arc::new(place.transport.clone()), Arc::clone(&clock));
    let sinks: [Arc<dyn Sink>; 2] = [Arc::new(TracingSink), Arc::new(webhook.clone())];
    let journal = Journal::new(Arc::clone(&clock), sinks);

    let opened = SqlStores::open(&place.database, &deployment, place.keks, place.anchor, &journal).await;
    let stores = match opened {
        Ok(stores) => stores,
        Err(refused) => {
            // No upkeep runs yet that would deliver it.
            webhook.stop().await;
            return Err(refused.into());
        }
    };
    let registry = Registry::builder(stores.connections.clone())
        .deployment(deployment.clone())
        .clock(Arc::clone(&clock))
        .journal(journal.clone())
        .open()
        .await?;
    let registry = Arc::new(registry);

    let parts = Parts::builder()
        .deployment(deployment)
        .clock(clock)
        .journal(journal)
        .transport(place.transport)
        .keys(stores.keys.clone())
        .shared_credentials(stores.credentials.clone())
        .shared_grants(stores.grants.clone())
        .directory(registry.clone())
        .build()?;
    // What tokens are trusted for is how long replaced keys go on signing: one value for both.
    let limits = Limits::default();
    let policy = RotationPolicy::builder()
        .trusted_lifetime(limits.longest_lifetime)
        .build()?;
    let carrier = Client::builder(place.profile, &parts)
        .binding(Dpop::es256())
        .limits(limits)
        .build()?;

    let keys = Arc::new(stores.keys.clone());
    let rotator = Rotator::builder(&parts, keys.clone())
        .policy(policy)
        .leadership(stores.leadership.clone())
        .build()?;
    let remover = Remover::new(registry.clone(), &parts, keys, stores.credentials.clone()).client(&carrier);
    let remover = Arc::new(remover);

    let upkeep = Upkeep::new(&parts)
        .client(&carrier)
        .chores(stores.chores())
        .chore(registry.clone())
        .chore(remover.clone())
        .chore(Arc::new(rotator.clone()))
        .chore(Arc::new(webhook));
    Ok(Platform {
        registry,
        remover,
        rotator,
        stores,
        carrier,
        upkeep,
    })
}

/// A machine with an embedded database, its KEK and its anchor on other volumes.
fn here() -> Result<Place, Failed> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let secret = |name: &str| std::fs::read_to_string(format!("/run/secrets/{name}"));
    let kek = KekSecret::parse(secret("kek-2026-11")?.trim())?;
    Ok(Place {
        database: Database::sqlite("/var/lib/platform/shipbound.db")
            .clock(Arc::clone(&clock))
            .build()?,
        clock,
        keks: Arc::new(LocalKek::new(KekId::new("2026-11")?, kek)),
        anchor: Arc::new(FileAnchor::new("/var/lib/platform-anchor/shipbound.anchor")),
        transport: ReqwestTransport::builder().build()?,
        alerts: Target::parse("https://alerts.platform.example/shipbound")?,
        alerts_secret: WebhookSecret::parse(secret("alerts")?.trim())?,
        profile: ups(Environment::Production),
    })
}

/// Serves until `stop`: requests of shippers first, the upkeep a little longer.
async fn run(place: Place, stop: impl Future<Output = ()>) -> Result<(), Failed> {
    let platform = open(place).await?;
    let (stop_upkeep, stopped) = tokio::sync::oneshot::channel::<()>();
    let upkeep = tokio::spawn(platform.upkeep.run(async move {
        let _told = stopped.await;
    }));
    // Your server goes here. Its handlers call `platform.carrier.tenant("acme")?.post(..)`.
    stop.await;
    let _stopping = stop_upkeep.send(());
    upkeep.await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let place = here()?;
    // With PostgreSQL a step of its own, by a role that may make tables, before the new version starts.
    place.database.migrate().await?;
    run(place, std::future::pending()).await
}
