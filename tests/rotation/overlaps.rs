//! Runs that overlap or fail, clocks that were ahead, stores that do not answer, and keys that hang: what each of them leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use shipbound::clock::Timestamp;
use shipbound::journal::{EventKind, KeyChange};
use shipbound::keys::{
    Authority, Change, KeyError, KeyFilter, KeyId, KeyListing, KeyRecord, KeyRecords, KeyState, MemoryKeyRecords,
    Moved, Purpose, RecordedKeys, StoredKey,
};
use shipbound::owner::Owner;
use shipbound::rotation::{Rotator, Selection, Why};
use tokio::sync::Semaphore;

use crate::steps::{KeyStep, key_store_by_steps};
use crate::stops::{Stop, Stopping};
use crate::world::{DAY, HOUR, Keys, LATE, NOW, act, production, published, round, world};

#[tokio::test]
async fn a_compromised_run_that_made_no_successor_is_made_up_for_when_it_is_resumed() {
    for purpose in [Purpose::Proof, Purpose::ClientAssertion] {
        let world = world();
        let acme = production("acme");
        world.key(&acme, purpose).await;
        world.clock.advance(HOUR);
        let failing = Stopping::new(world.keys(), 0, Stop::Refused);
        let rotator = world.rotator_of(Arc::new(failing)).build().unwrap();
        let run = rotator.rotate(Selection::All, Why::Compromised, &act());
        let began = run.began();
        assert_eq!(run.finish().await.failed, 1);
        assert!(world.of(&acme, KeyState::Active).await.is_empty());
        world.clock.advance(HOUR);
        for rotated in [1, 0] {
            let resumed = rotator
                .resume(Selection::All, Why::Compromised, &act(), began)
                .finish()
                .await;
            assert_eq!((resumed.rotated, resumed.failed), (rotated, 0));
            world.active(&acme).await;
        }
    }
}

/// Stops before each promotion.
#[derive(Debug)]
struct Waits {
    keys: Keys,
    at: Semaphore,
    go: Semaphore,
}

impl Waits {
    async fn step<T>(&self, step: KeyStep, _: &Owner, work: impl Future<Output = T>) -> T {
        if step == KeyStep::Promote {
            self.at.add_permits(1);
            self.go.acquire().await.unwrap().forget();
        }
        work.await
    }
}

key_store_by_steps!(Waits);

#[tokio::test]
async fn two_compromised_runs_that_overlap_leave_one_active_key() {
    let world = world();
    let acme = production("acme");
    world.key(&acme, Purpose::ClientAssertion).await;
    world.clock.advance(HOUR);
    let waits = || {
        Arc::new(Waits {
            keys: world.keys(),
            at: Semaphore::new(0),
            go: Semaphore::new(0),
        })
    };
    let (one, other) = (waits(), waits());
    let first = world.rotator_of(one.clone()).build().unwrap();
    let second = world.rotator_of(other.clone()).build().unwrap();
    let first = tokio::spawn(first.rotate(Selection::All, Why::Compromised, &act()).finish());
    one.at.acquire().await.unwrap().forget();
    // To the second run the successor of the first is an old key, which it ends.
    world.clock.advance(Duration::from_secs(1));
    let second = tokio::spawn(second.rotate(Selection::All, Why::Compromised, &act()).finish());
    other.at.acquire().await.unwrap().forget();
    while world.of(&acme, KeyState::Compromised).await.is_empty() {
        tokio::task::yield_now().await;
    }
    one.go.add_permits(10);
    assert_eq!(first.await.unwrap().failed, 0);
    other.go.add_permits(10);
    assert_eq!(second.await.unwrap().failed, 0);
    world.active(&acme).await;
}

#[tokio::test]
async fn a_key_that_a_clock_ahead_promoted_is_not_passed_over() {
    for (selection, why) in [
        (Some(Selection::All), Why::Compromised),
        (Some(Selection::All), Why::Routine),
        (None, Why::Routine),
    ] {
        let world = world();
        let acme = production("acme");
        world.clock.set_wall(NOW + 30 * DAY);
        let ahead = world.key(&acme, Purpose::Proof).await;
        world.clock.set_wall(NOW + HOUR);
        let rotator = world.rotator();
        match selection {
            Some(selection) => assert_eq!(rotator.rotate(selection, why, &act()).finish().await.rotated, 1),
            None => round(&rotator).await,
        }
        assert_ne!(world.active(&acme).await.id, ahead.id());
    }
}

/// Writes what it is to insert, and says once that it does not know.
#[derive(Debug)]
struct Unsure {
    records: Arc<MemoryKeyRecords>,
    is_unsure: AtomicBool,
    most: usize,
}

#[async_trait]
impl KeyListing for Unsure {
    async fn list(&self, filter: &KeyFilter, after: Option<KeyId>, most: usize) -> Result<Vec<KeyRecord>, KeyError> {
        self.records.list(filter, after, most.min(self.most)).await
    }
}

#[async_trait]
impl KeyRecords for Unsure {
    async fn insert(&self, key: &StoredKey) -> Result<(), KeyError> {
        self.records.insert(key).await?;
        match self.is_unsure.swap(false, Ordering::Relaxed) {
            true => Err(KeyError::StoreUnavailable),
            false => Ok(()),
        }
    }
    async fn load(&self, owner: &Owner, id: &KeyId) -> Result<Option<StoredKey>, KeyError> {
        self.records.load(owner, id).await
    }
    async fn active(&self, owner: &Owner, purpose: Purpose) -> Result<Option<StoredKey>, KeyError> {
        self.records.active(owner, purpose).await
    }
    async fn change(&self, owner: &Owner, changes: &[Change]) -> Result<bool, KeyError> {
        self.records.change(owner, changes).await
    }
    async fn moved(&self, since: Option<u64>) -> Result<(u64, Vec<Moved>), KeyError> {
        self.records.moved(since).await
    }
    async fn to_be_wiped(&self, most: usize) -> Result<Vec<StoredKey>, KeyError> {
        self.records.to_be_wiped(most).await
    }
}

#[tokio::test]
async fn a_key_that_may_have_been_written_keeps_its_private_half_and_one_that_lost_it_is_replaced() {
    for loses in [false, true] {
        let world = world();
        let acme = production("acme");
        let old = world.key(&acme, Purpose::Proof).await;
        let records = Arc::new(Unsure {
            records: world.records.clone(),
            is_unsure: AtomicBool::new(true),
            most: usize::MAX,
        });
        let keys = RecordedKeys::new(
            records,
            world.holder.clone(),
            world.shared_clock(),
            Authority::default(),
        );
        let rotator = world.rotator_of(Arc::new(keys)).build().unwrap();
        world.clock.advance(LATE);
        round(&rotator).await;
        let [written] = &world.of(&acme, KeyState::Pending).await[..] else {
            panic!("it was written")
        };
        if loses {
            shipbound::keys::KeyHolder::destroy(&*world.holder, written)
                .await
                .unwrap();
            round(&rotator).await;
            assert_eq!(world.of(&acme, KeyState::Destroyed).await.len(), 1, "it ends");
            let told = |change: &KeyChange| matches!(change, KeyChange::RotationFailed { code: "missing", .. });
            assert_eq!(world.count(told), 1);
        }
        round(&rotator).await;
        let active = world.active(&acme).await.id;
        assert_ne!(active, old.id());
        assert_eq!(active == written.id, !loses);
    }
}

#[tokio::test]
async fn a_listing_that_gives_less_than_it_is_asked_for_ends_no_run() {
    let world = world();
    for number in 0..25 {
        world.key(&production(&format!("t{number}")), Purpose::Proof).await;
    }
    world.clock.advance(HOUR);
    let short = Arc::new(Unsure {
        records: world.records.clone(),
        is_unsure: AtomicBool::new(false),
        most: 10,
    });
    let parts = world.parts(Arc::new(world.keys()));
    let rotator = Rotator::builder(&parts, short).build().unwrap();
    let run = rotator.rotate(Selection::All, Why::Compromised, &act()).finish().await;
    assert_eq!((run.rotated, run.failed), (25, 0));
}

/// Makes no keys for tenants whose name begins with "bad", and never says so.
#[derive(Debug)]
struct Hangs {
    keys: Keys,
}

impl Hangs {
    async fn step<T>(&self, step: KeyStep, owner: &Owner, work: impl Future<Output = T>) -> T {
        if step == KeyStep::Create && is_bad(owner) {
            std::future::pending::<()>().await;
        }
        work.await
    }
}

key_store_by_steps!(Hangs);

fn is_bad(owner: &Owner) -> bool {
    owner.connection().unwrap().tenant().id().as_str().starts_with("bad")
}

#[tokio::test]
async fn keys_whose_steps_hang_starve_no_others_and_no_alerts() {
    let world = world();
    for number in 0..200 {
        world.key(&production(&format!("bad{number}")), Purpose::Proof).await;
        world.key(&production(&format!("good{number}")), Purpose::Proof).await;
    }
    let rotator = world
        .rotator_of(Arc::new(Hangs { keys: world.keys() }))
        .policy(published())
        .build()
        .unwrap();
    world.clock.advance(LATE);
    // Half a day.
    for _ in 0..36 {
        let mut going = Box::pin(round(&rotator));
        loop {
            tokio::select! { biased;
                () = &mut going => break,
                () = async { for _ in 0..20 { tokio::task::yield_now().await } } => {}
            }
            world.clock.advance(Duration::from_secs(30));
        }
        world.clock.advance(Duration::from_secs(600));
    }
    let old = KeyFilter::default()
        .in_state(KeyState::Active)
        .activated_before(NOW + DAY);
    let left = world.all(old).await;
    assert!(left.iter().all(|key| is_bad(&key.owner)), "{}", left.len());
    assert!(world.count(|change| matches!(change, KeyChange::DueSoon { .. } | KeyChange::Overdue { .. })) >= 200);
}

#[tokio::test]
async fn keys_that_are_rotated_in_time_alert_nobody() {
    let world = world();
    for number in 0..20 {
        world.key(&production(&format!("t{number}")), Purpose::Proof).await;
    }
    let rotator = world.rotator();
    for _ in 0..92 * 24 {
        world.clock.advance(HOUR);
        round(&rotator).await;
    }
    let soon = |change: &KeyChange| matches!(change, KeyChange::DueSoon { .. } | KeyChange::Overdue { .. });
    assert_eq!(world.count(soon), 0);
    assert!(world.count(|change| matches!(change, KeyChange::Promoted { .. })) >= 20);
}

#[tokio::test]
async fn a_clock_that_is_ahead_for_a_minute_ends_no_draining_key() {
    let world = world();
    let acme = production("acme");
    world.key(&acme, Purpose::Proof).await;
    world.clock.advance(LATE);
    let (rotator, keys) = (world.rotator(), world.keys());
    round(&rotator).await;
    world.clock.advance(HOUR);
    round(&rotator).await;
    assert_eq!(keys.tidy(100, &|| true).await, Ok(0));
    let now = shipbound::clock::Clock::now(&*world.clock);
    world.clock.set_wall(now + 2 * DAY);
    for _ in 0..12 {
        world.clock.advance(Duration::from_secs(5));
        assert_eq!(keys.tidy(100, &|| true).await, Ok(0));
    }
    round(&rotator).await;
    world.clock.set_wall(now + Duration::from_secs(60));
    assert_eq!(world.of(&acme, KeyState::Draining).await.len(), 1);
}

#[tokio::test]
async fn a_key_is_told_of_though_nobody_leads() {
    use shipbound::leader::{LeadUnknown, Leadership};
    #[derive(Debug)]
    struct Nobody;
    #[async_trait]
    impl Leadership for Nobody {
        async fn lead(&self, _: &str, _: uuid::Uuid, _: Timestamp, _: Duration) -> Result<bool, LeadUnknown> {
            Err(LeadUnknown)
        }
        async fn resign(&self, _: &str, _: uuid::Uuid) -> Result<bool, LeadUnknown> {
            Err(LeadUnknown)
        }
    }
    let world = world();
    world.key(&production("acme"), Purpose::Proof).await;
    let rotator = world.rotator_of(Arc::new(world.keys()));
    let rotator = rotator.leadership(Arc::new(Nobody)).build().unwrap();
    world.clock.advance(90 * DAY);
    for _ in 0..48 {
        world.clock.advance(HOUR);
        round(&rotator).await;
    }
    assert_eq!(world.count(|change| matches!(change, KeyChange::Overdue { .. })), 2);
    let blind =
        |event: &shipbound::journal::Event| matches!(event.kind, EventKind::RotationBlind { code: "lead_unknown" });
    assert_eq!(world.sink.events().iter().filter(|event| blind(event)).count(), 48);
}
