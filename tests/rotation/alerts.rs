//! Keys whose time is nearly over, and those whose time is over.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shipbound::clock::Clock;
use shipbound::journal::KeyChange;
use shipbound::keys::{KeyError, KeyFilter, KeyId, KeyListing, KeyRecord, Purpose};
use shipbound::owner::Environment;
use shipbound::rotation::{Alert, RotationPolicy, Rotator};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::world::{DAY, HOUR, Keys, NOW, World, connection, production, round, world};

/// A rotator that leaves client-assertion keys alone.
fn helpless(world: &World) -> Rotator {
    let by_hand = world.rotator_of(Arc::new(world.keys()));
    by_hand.policy(RotationPolicy::default()).build().unwrap()
}

/// In which hour of the key's life it was told of, and how.
fn told(world: &World) -> Vec<(&'static str, u64)> {
    world
        .events()
        .iter()
        .filter_map(|event| match event.change {
            KeyChange::DueSoon { age, .. } => Some(("soon", age.as_secs() / 3_600)),
            KeyChange::Overdue { age, .. } => Some(("overdue", age.as_secs() / 3_600)),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn each_threshold_is_told_once_and_an_overdue_key_daily() {
    for (environment, wanted) in [
        (
            Environment::Production,
            vec![
                ("soon", 1620),
                ("soon", 83 * 24),
                ("soon", 89 * 24),
                ("overdue", 90 * 24),
                ("overdue", 91 * 24),
            ],
        ),
        (
            Environment::Sandbox,
            // Seven days of seven is no time at which anything is due soon.
            vec![
                ("soon", 126),
                ("soon", 6 * 24),
                ("overdue", 7 * 24),
                ("overdue", 8 * 24),
            ],
        ),
    ] {
        let world = world();
        world
            .key(&connection("acme", environment).into(), Purpose::ClientAssertion)
            .await;
        let rotator = helpless(&world);
        let hours = wanted.last().unwrap().1 + 23;
        for _ in 0..hours {
            world.clock.advance(HOUR);
            round(&rotator).await;
        }
        assert_eq!(told(&world), wanted);
    }
}

#[tokio::test]
async fn a_process_that_starts_late_tells_the_worst_once() {
    let world = world();
    world.key(&production("acme"), Purpose::ClientAssertion).await;
    world.clock.advance(89 * DAY + 2 * HOUR);
    for _ in 0..2 {
        // After a restart it is told again: who did not hear it the first time hears it now.
        let rotator = helpless(&world);
        for _ in 0..3 {
            round(&rotator).await;
            world.clock.advance(Duration::from_secs(600));
        }
    }
    assert_eq!(told(&world), [("soon", 89 * 24 + 2), ("soon", 89 * 24 + 2)]);
}

#[tokio::test]
async fn thresholds_are_what_the_policy_says() {
    let world = world();
    world.key(&production("acme"), Purpose::ClientAssertion).await;
    let policy = RotationPolicy::builder()
        .alerts([Alert::Left(2 * DAY)])
        .production(30 * DAY)
        .build()
        .unwrap();
    let rotator = world.rotator_of(Arc::new(world.keys())).policy(policy).build().unwrap();
    for _ in 0..31 * 24 {
        world.clock.advance(HOUR);
        round(&rotator).await;
    }
    assert_eq!(
        told(&world),
        [("soon", 28 * 24), ("overdue", 30 * 24), ("overdue", 31 * 24)]
    );
}

/// Counts what is asked of the listing.
#[derive(Debug)]
struct Counting {
    keys: Keys,
    pages: AtomicUsize,
    rows: AtomicUsize,
}

#[async_trait]
impl KeyListing for Counting {
    async fn list(&self, filter: &KeyFilter, after: Option<KeyId>, most: usize) -> Result<Vec<KeyRecord>, KeyError> {
        let page = self.keys.list(filter, after, most).await?;
        self.pages.fetch_add(1, Ordering::SeqCst);
        self.rows.fetch_add(page.len(), Ordering::SeqCst);
        Ok(page)
    }
}

#[tokio::test]
async fn a_round_with_nothing_due_asks_little_however_many_keys_there_are() {
    let world = world();
    for number in 0..3_000 {
        world.key(&production(&format!("t{number}")), Purpose::Proof).await;
    }
    let counting = Arc::new(Counting {
        keys: world.keys(),
        pages: AtomicUsize::new(0),
        rows: AtomicUsize::new(0),
    });
    let keys = Arc::new(world.keys());
    let rotator = Rotator::builder(&world.parts(keys), counting.clone()).build().unwrap();
    world.clock.advance(30 * DAY);
    for _ in 0..10 {
        round(&rotator).await;
        world.clock.advance(HOUR);
    }
    let (pages, rows) = (
        counting.pages.load(Ordering::SeqCst),
        counting.rows.load(Ordering::SeqCst),
    );
    // A page for each pass, and for each age of which somebody is told.
    assert!(pages <= 10 * 13, "{pages}");
    assert_eq!(rows, 0);
    assert!(world.events().is_empty());

    // A quarter of their life is left: they will be rotated in time, so nobody is told, and it is not looked for again.
    world.clock.advance(38 * DAY);
    round(&rotator).await;
    assert!(world.events().is_empty());
    let before = counting.rows.load(Ordering::SeqCst);
    for _ in 0..10 {
        world.clock.advance(HOUR);
        round(&rotator).await;
    }
    assert_eq!(counting.rows.load(Ordering::SeqCst), before);
    assert!(world.clock.now() > NOW);
}
