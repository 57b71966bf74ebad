//! The program of the guide: it calls, is told of what happens, comes back after a stop, and refuses an older database aloud.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use shipbound::Client;
use shipbound::act::Act;
use shipbound::carriers::CarrierProfile;
use shipbound::clock::{Clock, SystemClock};
use shipbound::credentials::CredentialAdmin;
use shipbound::journal::webhook::WebhookSecret;
use shipbound::owner::{CarrierId, Environment, TenantId};
use shipbound::registry::NewConnection;
use shipbound::rotation::{Selection, Why};
use shipbound::sandbox::{Canned, Sandbox};
use shipbound::store::anchor::FileAnchor;
use shipbound::store::seal::{KekId, KekSecret, LocalKek};
use shipbound::store::sql::{Database, LedgerError, Rollback};
use shipbound::target::Target;
use shipbound::token::TokenAt;
use shipbound::upkeep::Upkeep;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::running_it::{Place, Platform, open};

const PATIENCE: Duration = Duration::from_secs(60);

struct Here {
    sandbox: Sandbox,
    profile: CarrierProfile,
    dir: PathBuf,
    alerts: mpsc::UnboundedReceiver<serde_json::Value>,
}

impl Here {
    async fn new() -> Self {
        let sandbox = Sandbox::start().await.unwrap();
        sandbox.route(Method::POST, "/v1/shipments", Canned::empty(201));
        let (sender, alerts) = mpsc::unbounded_channel();
        sandbox.open_route(Method::POST, "/alerts", move |request| {
            let _test_has_ended = sender.send(request.json().unwrap());
            Canned::empty(204)
        });
        let profile = sandbox.profile(CarrierProfile::custom(
            CarrierId::new("acme-freight").unwrap(),
            Environment::Sandbox,
            "https://api.carrier.example",
            TokenAt::Issuer("https://auth.carrier.example".into()),
        ));
        let name = uuid::Uuid::new_v4().simple().to_string();
        let dir = std::env::temp_dir().join(format!("shipbound-running-{name}"));
        std::fs::create_dir_all(dir.join("database")).unwrap();
        Self {
            sandbox,
            profile,
            dir,
            alerts,
        }
    }

    fn place(&self) -> Place {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let kek = KekSecret::parse(&("71".repeat(31) + "00")).unwrap();
        let alerts = format!("{}/alerts", self.sandbox.api());
        Place {
            database: Database::sqlite(self.dir.join("database/shipbound.db"))
                .clock(Arc::clone(&clock))
                .build()
                .unwrap(),
            clock,
            keks: Arc::new(LocalKek::new(KekId::new("2026-11").unwrap(), kek)),
            anchor: Arc::new(FileAnchor::new(self.dir.join("shipbound.anchor"))),
            transport: self.sandbox.transport().unwrap(),
            alerts: Target::parse_allowing(&alerts, &self.sandbox.loopbacks()).unwrap(),
            alerts_secret: WebhookSecret::parse("whsec_c0VjUmVUbUFyS2VSLW9uZS1zZWNyZXQtMDAwMQ==").unwrap(),
            profile: self.profile.clone(),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a limit of the test")]
    async fn alert(&mut self, name: &str) -> serde_json::Value {
        let arrived = async {
            loop {
                let alert = self.alerts.recv().await.unwrap();
                if alert["type"] == name {
                    return alert;
                }
            }
        };
        tokio::time::timeout(PATIENCE, arrived).await.unwrap()
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.dir);
    }
}

/// Begins the upkeep, whose end is awaited by [`stop`].
fn begin(upkeep: Upkeep) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(upkeep.run(async move {
        let _told = stopped.await;
    }));
    (stop, running)
}

#[expect(clippy::disallowed_methods, reason = "a limit of the test")]
async fn stop((stop, running): (oneshot::Sender<()>, JoinHandle<()>)) {
    stop.send(()).unwrap();
    tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap();
}

async fn ship(carrier: &Client) -> u16 {
    let acme = carrier.tenant("acme").unwrap();
    acme.post("/v1/shipments").send().await.unwrap().status().as_u16()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guides_program_calls_rotates_alerts_restarts_and_refuses_an_older_database() {
    let mut here = Here::new().await;
    let act = Act::new("maria@platform.example", "signed up", "OPS-1").unwrap();
    let place = here.place();
    place.database.migrate().await.unwrap();
    let Platform {
        registry,
        stores,
        carrier,
        upkeep,
        ..
    } = open(place).await.unwrap();
    let running = begin(upkeep);

    let new = NewConnection::new(
        TenantId::new("acme").unwrap(),
        &CarrierId::new("acme-freight").unwrap(),
        Environment::Sandbox,
    );
    let connection = registry.add(&new, &act).await.unwrap().connection;
    let credential = here.sandbox.credential_for(&here.profile, connection.tenant().id());
    stores
        .credentials
        .put_credential(&connection, credential, &act)
        .await
        .unwrap();
    assert_eq!(ship(&carrier).await, 201);

    // As it is now somebody will put the database back. SQLite's log is in its place by a copy of all files.
    stop(running).await;
    drop((registry, stores, carrier));
    let (database, backup) = (here.dir.join("database"), here.dir.join("backup"));
    copy(&database, &backup);

    // The next process knows the connection, its credential and its key.
    let Platform {
        remover,
        rotator,
        carrier,
        upkeep,
        ..
    } = open(here.place()).await.unwrap();
    let running = begin(upkeep);
    assert_eq!(ship(&carrier).await, 201);
    let run = rotator.rotate(Selection::All, Why::Compromised, &act);
    let finished = run.finish().await;
    assert_eq!((finished.rotated, finished.failed), (1, 0));
    assert_eq!(here.alert("key.compromised").await["data"]["tenant"], "acme");
    assert_eq!(ship(&carrier).await, 201);
    let removal = remover.remove(&connection, &act).await.unwrap();
    assert!(removal.finished, "{removal:?}");
    stop(running).await;
    drop((remover, rotator, carrier));

    // Refused, and somebody hears of it, though no upkeep ever ran.
    std::fs::remove_dir_all(&database).unwrap();
    copy(&backup, &database);
    let refused = open(here.place()).await.err().unwrap();
    let behind = LedgerError::RolledBack(Rollback::Behind);
    assert_eq!(refused.downcast_ref::<LedgerError>(), Some(&behind));
    here.alert("state.rolled-back").await;
}
