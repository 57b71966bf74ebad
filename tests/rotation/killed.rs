//! A child of this test binary rotates, and ends by SIGKILL at the step that it is told.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use shipbound::act::Act;
use shipbound::binding::dpop::Dpop;
use shipbound::carriers::CarrierProfile;
use shipbound::chore::Chore;
use shipbound::clock::{Clock, ManualClock, Timestamp};
use shipbound::credentials::MemoryCredentials;
use shipbound::journal::Journal;
use shipbound::keys::{Authority, KeyError, KeyFilter, KeyId, KeyListing, KeyState, KeyStore, RecordedKeys};
use shipbound::owner::{AccountId, CarrierId, ConnectionId, Environment, Owner, TenantId};
use shipbound::rotation::{Rotator, Selection, Why};
use shipbound::sandbox::{Canned, Sandbox};
use shipbound::store::anchor::{EpochAnchor, FileAnchor};
use shipbound::store::seal::{SealedKeys, Sealer};
use shipbound::store::sql::{Database, LedgerSetup, Sealing, SqlKeyRecords, SqlLeadership};
use shipbound::token::TokenAt;
use shipbound::{Client, Parts};

use crate::provider::Provider;
use crate::steps::{KeyStep, key_store_by_steps};
use crate::world::{Kind, World, deployment};

/// `sqlite` or `postgres`, then where that is.
const KIND: &str = "SHIPBOUND_TEST_KIND";
const PLACE: &str = "SHIPBOUND_TEST_DATABASE";
const ANCHOR: &str = "SHIPBOUND_TEST_ANCHOR";
/// What the child does, and when it is killed: `due before 1`, `compromised after 2`.
const WORK: &str = "SHIPBOUND_TEST_KILL_AT";
const TIME: &str = "SHIPBOUND_TEST_TIME";

const DAY: Duration = Duration::from_secs(86_400);
const LIMIT: Duration = Duration::from_secs(60);

type Keys = RecordedKeys<SqlKeyRecords, SealedKeys>;

fn act() -> Act {
    Act::new("maria", "because of the test", "OPS-1").unwrap()
}

/// What one process has of the database.
async fn process(database: Database, anchor: PathBuf, clock: &Arc<dyn Clock>) -> (Keys, SqlLeadership) {
    let journal = Journal::new(Arc::clone(clock), []);
    let sealing = Sealing::new(database.clone(), deployment(), Arc::new(Provider::new(&["k1"])));
    let sealer: Arc<dyn Sealer> = Arc::new(sealing.with_clock(Arc::clone(clock)));
    let anchor: Arc<dyn EpochAnchor> = Arc::new(FileAnchor::new(anchor));
    let setup = LedgerSetup::new(&database, &deployment(), Arc::clone(&sealer), anchor, &journal);
    let ledger = setup.open().await.unwrap();
    let records = Arc::new(SqlKeyRecords::new(&database, &ledger));
    let holder = Arc::new(SealedKeys::new(sealer));
    let keys = RecordedKeys::new(records, holder, Arc::clone(clock), Authority::default());
    (keys, SqlLeadership::new(&database, &deployment()))
}

/// Ends this process before or after a step that changes something, by its own hand and at once.
#[derive(Debug)]
struct Deadly {
    keys: Keys,
    before: bool,
    at: usize,
    steps: AtomicUsize,
}

impl Deadly {
    async fn step<T>(
        &self,
        _: KeyStep,
        _: &Owner,
        work: impl Future<Output = Result<T, KeyError>>,
    ) -> Result<T, KeyError> {
        let is_last = self.steps.fetch_add(1, Ordering::SeqCst) == self.at;
        if is_last && self.before {
            die();
        }
        let done = work.await;
        if is_last {
            done.as_ref().map(drop).unwrap();
            die();
        }
        done
    }
}

fn die() -> ! {
    let _killed = Command::new("kill")
        .args(["-9", &std::process::id().to_string()])
        .status();
    panic!("SIGKILL did not end it");
}

key_store_by_steps!(Deadly);

fn rotator(keys: Arc<dyn KeyStore>, listing: &Keys, leads: SqlLeadership, clock: &Arc<dyn Clock>) -> Rotator {
    let parts = Parts::builder()
        .shared_keys(keys)
        .credentials(MemoryCredentials::new())
        .clock(Arc::clone(clock))
        .build()
        .unwrap();
    Rotator::builder(&parts, Arc::new(listing.clone()))
        .leadership(Arc::new(leads))
        .build()
        .unwrap()
}

/// Runs in a child alone: the test binary that starts itself anew.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "what the parent has told the child")]
async fn child() {
    let Ok(work) = std::env::var(WORK) else { return };
    let of = |name| std::env::var(name).unwrap();
    let words: Vec<_> = work.split(' ').collect();
    let builder = match of(KIND).as_str() {
        "sqlite" => Database::sqlite(of(PLACE)),
        _ => Database::postgres(&of(PLACE)),
    };
    let database = builder.connect_limit(LIMIT).acquire_limit(LIMIT).statement_limit(LIMIT);
    let now = Timestamp::from_unix_micros(of(TIME).parse().unwrap());
    // A process that has just begun does not believe its clock yet: this one began five minutes ago.
    let manual = Arc::new(ManualClock::at(now.offset_seconds(-300)));
    let clock: Arc<dyn Clock> = manual.clone();
    let (keys, leads) = process(database.build().unwrap(), of(ANCHOR).into(), &clock).await;
    let deadly = Deadly {
        keys: keys.clone(),
        before: words[1] == "before",
        at: words[2].parse().unwrap(),
        steps: AtomicUsize::new(0),
    };
    let rotator = rotator(Arc::new(deadly), &keys, leads, &clock);
    manual.advance(Duration::from_secs(300));
    match words[0] {
        "due" => rotator.round(&|| true).await,
        _ => {
            let run = rotator.rotate(Selection::All, Why::Compromised, &act());
            assert_eq!(run.finish().await.failed, 0);
        }
    }
}

/// A database, and a process that calls while others rotate and die.
struct Scene {
    world: World,
    kind: Kind,
    anchor: PathBuf,
    clock: Arc<ManualClock>,
    keys: Keys,
    leads: SqlLeadership,
    sandbox: Sandbox,
    client: Client,
}

impl Scene {
    async fn new(kind: Kind) -> Self {
        let world = World::new(kind).await;
        let anchor = world.path().with_file_name("shipbound.anchor");
        let clock = Arc::clone(&world.clock);
        let shared: Arc<dyn Clock> = clock.clone();
        let (keys, leads) = process(world.database(), anchor.clone(), &shared).await;
        let sandbox = Sandbox::builder()
            .clock(Arc::clone(&shared))
            .require_dpop(true)
            .start()
            .await
            .unwrap();
        sandbox.route(Method::POST, "/v1/shipments", Canned::empty(201));
        let profile = sandbox.profile(CarrierProfile::custom(
            CarrierId::new("acme-freight").unwrap(),
            Environment::Sandbox,
            "https://api.carrier.example",
            TokenAt::Issuer("https://auth.carrier.example".into()),
        ));
        let acme = TenantId::new("acme").unwrap();
        let parts = Parts::builder()
            .deployment(deployment())
            .shared_keys(Arc::new(keys.clone()))
            .credentials(sandbox.credentials(&profile, [&acme]))
            .transport(sandbox.transport().unwrap())
            .clock(shared)
            .build()
            .unwrap();
        let client = Client::builder(profile, &parts).binding(Dpop::es256()).build().unwrap();
        Self {
            world,
            kind,
            anchor,
            clock,
            keys,
            leads,
            sandbox,
            client,
        }
    }

    async fn ship(&self) {
        let shipped = self.client.tenant("acme").unwrap().post("/v1/shipments").send().await;
        assert_eq!(shipped.map(|answer| answer.status().as_u16()).unwrap(), 201);
    }

    fn owner() -> Owner {
        ConnectionId::new(
            deployment(),
            TenantId::new("acme").unwrap().into(),
            CarrierId::new("acme-freight").unwrap(),
            Environment::Sandbox,
            AccountId::main(),
        )
        .into()
    }

    async fn in_state(&self, state: KeyState) -> Vec<KeyId> {
        let filter = KeyFilter::default().of_owner(Self::owner()).in_state(state);
        let keys = self.keys.list(&filter, None, 100).await.unwrap();
        keys.iter().map(|key| key.id).collect()
    }

    /// The one active key.
    async fn active(&self) -> KeyId {
        let active = self.in_state(KeyState::Active).await;
        assert_eq!(active.len(), 1);
        active[0]
    }

    /// Whether a child that does this was killed there.
    async fn killed(&self, work: &str) -> bool {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["--exact", "killed::child", "--nocapture"])
            .env(WORK, work)
            .env(
                KIND,
                if self.kind == Kind::Sqlite {
                    "sqlite"
                } else {
                    "postgres"
                },
            )
            .env(PLACE, self.world.direct())
            .env(ANCHOR, &self.anchor)
            .env(TIME, self.clock.now().unix_micros().to_string());
        let ended = tokio::task::spawn_blocking(move || child.output())
            .await
            .unwrap()
            .unwrap();
        match (ended.status.signal(), ended.status.success()) {
            (Some(9), _) => true,
            (None, true) => false,
            _ => panic!("{}", String::from_utf8_lossy(&ended.stderr)),
        }
    }

    fn rotator(&self) -> Rotator {
        let clock: Arc<dyn Clock> = self.clock.clone();
        rotator(Arc::new(self.keys.clone()), &self.keys, self.leads.clone(), &clock)
    }

    /// All is as if nobody had been killed: one key signs, and what it replaced drains and goes.
    async fn ends_well(&self, old: KeyId, end: KeyState) {
        let rotator = self.rotator();
        // The lead of the one who was killed ends by itself.
        self.clock.advance(Duration::from_secs(3_600));
        rotator.round(&|| true).await;
        self.ship().await;
        let active = self.active().await;
        assert_ne!(active, old);
        assert!(self.in_state(KeyState::Pending).await.is_empty());
        self.clock.advance(DAY + DAY / 2);
        rotator.round(&|| true).await;
        self.ship().await;
        assert!(self.in_state(KeyState::Draining).await.is_empty());
        assert!(self.in_state(end).await.contains(&old));
        assert_eq!(self.active().await, active);
        rotator.stop().await;
    }
}

/// A rotation that was due: made and promoted, and later destroyed.
async fn due(kind: Kind) {
    let scene = Scene::new(kind).await;
    scene.ship().await;
    for work in ["due before 0", "due after 0", "due before 1", "due after 1"] {
        let old = scene.active().await;
        scene.clock.advance(6 * DAY + 23 * DAY / 24);
        scene.ship().await;
        assert!(scene.killed(work).await, "{work}");
        scene.ship().await;
        scene.ends_well(old, KeyState::Destroyed).await;
    }
    // Of one that only destroys.
    for work in ["due before 0", "due after 0"] {
        let old = scene.active().await;
        let run = scene.rotator().rotate(Selection::All, Why::Routine, &act());
        assert_eq!(run.finish().await.rotated, 1);
        scene.clock.advance(2 * DAY);
        assert!(scene.killed(work).await, "{work}");
        scene.ends_well(old, KeyState::Destroyed).await;
    }
    scene.sandbox.shutdown().await;
}

/// A key in foreign hands: it has ended when the run has, whoever was killed in it.
async fn compromised(kind: Kind) {
    let scene = Scene::new(kind).await;
    scene.ship().await;
    for work in ["before 0", "after 0", "before 1", "after 1", "before 2", "after 2"] {
        let old = scene.active().await;
        scene.clock.advance(Duration::from_secs(3_600));
        let began = scene.clock.now();
        assert!(scene.killed(&format!("compromised {work}")).await, "{work}");
        scene.clock.advance(Duration::from_secs(60));
        let again = scene.rotator().resume(Selection::All, Why::Compromised, &act(), began);
        assert_eq!(again.finish().await.failed, 0);
        scene.ends_well(old, KeyState::Compromised).await;
    }
    scene.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_due_rotation_on_sqlite() {
    due(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_due_rotation_on_postgres() {
    due(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compromise_on_sqlite() {
    compromised(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compromise_on_postgres() {
    compromised(Kind::Postgres).await;
}
