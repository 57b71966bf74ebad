//! A process that wraps or seals anew is killed at every place where it could stand, and another one goes on.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shipbound::clock::SystemClock;
use shipbound::credentials::{Credential, CredentialAdmin, CredentialStore};
use shipbound::journal::Journal;
use shipbound::store::anchor::{Anchored, EpochAnchor, MemoryAnchor};
use shipbound::store::sql::{Database, KekState, LedgerSetup, Sealing};

use crate::provider::{Provider, kek};
use crate::scene::{Scene, act, connection};
use crate::world::{Kind, deployment};

/// Where the child is to be killed: `rewrap 3`, `theft 2`.
const POINT: &str = "SHIPBOUND_TEST_KILL_AT";
const PATH: &str = "SHIPBOUND_TEST_DATABASE";
/// Where the chain had come to when the child was started.
const ANCHOR: &str = "SHIPBOUND_TEST_ANCHOR";
const TENANTS: usize = 5;

/// SIGKILL, at once and by its own hand.
fn die() -> ! {
    let _killed = Command::new("kill")
        .args(["-9", &std::process::id().to_string()])
        .status();
    panic!("SIGKILL did not end it");
}

#[expect(clippy::disallowed_methods, reason = "what the parent has told the child")]
fn told(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Runs in a child alone: the test binary that starts itself anew.
#[tokio::test]
async fn child() {
    let Some(point) = told(POINT) else { return };
    let (what, at) = point.split_once(' ').unwrap();
    let at: usize = at.parse().unwrap();
    let database = Database::sqlite(told(PATH).unwrap()).build().unwrap();
    let count = AtomicUsize::new(0);
    let mut provider = Provider::new(&["k2", "k1"]);
    // After it was wrapped and before it is written down; then, of the next one, the one before was written down.
    provider.after_wrap = Some(Box::new(move |_| {
        if count.fetch_add(1, Ordering::SeqCst) == at {
            die();
        }
    }));
    let sealing = Arc::new(Sealing::new(database.clone(), deployment(), Arc::new(provider)));
    if what == "rewrap" {
        sealing.rewrap(&act(), &mut |_| ()).await.unwrap();
    } else {
        let (anchor, journal) = (
            Arc::new(MemoryAnchor::new()),
            Journal::new(Arc::new(SystemClock::new()), []),
        );
        let anchored = Anchored::from_line(&told(ANCHOR).unwrap()).unwrap();
        anchor.raise(&anchored).await.unwrap();
        let setup = LedgerSetup::new(&database, &deployment(), sealing.clone(), anchor, &journal);
        let ledger = setup.open().await.unwrap();
        sealing.bind(&ledger);
        sealing.kek_stolen(&kek("k1"), &act(), &mut |_| ()).await.unwrap();
    }
}

async fn filled() -> Scene {
    let scene = Scene::new(Kind::Sqlite).await;
    let process = scene.process(&["k1"]).await;
    for number in 0..TENANTS {
        let tenant = format!("t{number}");
        let credential = Credential::new(&tenant, "s");
        process
            .credentials
            .put_credential(&connection(&tenant), credential, &act())
            .await
            .unwrap();
    }
    scene
}

/// Whether the child was killed there, and did not get past it.
async fn killed_at(scene: &Scene, what: &str, at: usize) -> bool {
    use std::os::unix::process::ExitStatusExt;
    let anchored = scene.world.anchor.read().await.unwrap().unwrap();
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::child", "--nocapture"])
        .env(POINT, format!("{what} {at}"))
        .env(PATH, scene.world.path())
        .env(ANCHOR, anchored.to_line())
        .output()
        .unwrap();
    match (ended.status.signal(), ended.status.success()) {
        (Some(9), _) => true,
        (None, true) => false,
        _ => panic!("{}", String::from_utf8_lossy(&ended.stderr)),
    }
}

async fn all_is_there(scene: &Scene) {
    let clean = scene.process(&["k2"]).await;
    for number in 0..TENANTS {
        let tenant = format!("t{number}");
        let credential = clean.credentials.credential(&connection(&tenant)).await.unwrap();
        assert_eq!(credential.client_id(), tenant);
    }
    assert_eq!(
        scene
            .world
            .number("SELECT COUNT(*) FROM sb_data_keys WHERE kek = 'k1'")
            .await,
        0
    );
}

#[tokio::test]
async fn wrapping_anew_goes_on_where_it_was_killed() {
    let scene = filled().await;
    let next = scene.process(&["k2", "k1"]).await;
    next.sealing.rotate_kek(&act()).await.unwrap();
    let mut killed = 0;
    // The same database again and again: each child wraps one more than the one before could write down.
    while killed_at(&scene, "rewrap", 1).await {
        killed += 1;
        assert!(killed <= TENANTS + 1);
        // Served meanwhile, by a process that has both.
        assert!(next.credentials.credential(&connection("t0")).await.is_ok());
    }
    assert_eq!(killed, TENANTS);
    assert_eq!(
        next.sealing.kek_state(&kek("k1")).await.unwrap(),
        Some(KekState::Retired)
    );
    all_is_there(&scene).await;
}

#[tokio::test]
async fn a_theft_is_answered_to_the_end_though_its_process_is_killed() {
    // The first wrap of a call is the trial of the new KEK, the others are new data keys.
    for at in 0..=TENANTS + 1 {
        let scene = filled().await;
        let killed = killed_at(&scene, "theft", at).await;
        assert_eq!(killed, at <= TENANTS + 1, "{at}");
        let next = scene.process(&["k2", "k1"]).await;
        assert!(next.credentials.credential(&connection("t0")).await.is_ok());
        let ended = next.sealing.kek_stolen(&kek("k1"), &act(), &mut |_| ()).await.unwrap();
        assert_eq!(ended.left, 0);
        assert_eq!(
            next.sealing.kek_state(&kek("k1")).await.unwrap(),
            Some(KekState::Compromised)
        );
        all_is_there(&scene).await;
        let acts = scene
            .world
            .number("SELECT COUNT(*) FROM sb_acts WHERE what = 'kek-stolen'")
            .await;
        assert_eq!(acts, 1);
    }
}
