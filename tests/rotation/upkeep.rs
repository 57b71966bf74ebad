//! Chores of the upkeep.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use shipbound::chore::Chore;
use shipbound::keys::Purpose;
use shipbound::upkeep::Upkeep;
use tokio::sync::oneshot;

use crate::world::{LATE, production, world};

#[derive(Debug, Default)]
struct Counting {
    rounds: AtomicUsize,
    stopped: AtomicBool,
    panics: bool,
    hangs: bool,
}

#[async_trait]
impl Chore for Counting {
    fn every(&self) -> Duration {
        Duration::from_secs(10)
    }

    async fn round(&self, _goes_on: &(dyn Fn() -> bool + Send + Sync)) {
        self.rounds.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics, "on purpose");
        if self.hangs {
            std::future::pending::<()>().await;
        }
    }

    async fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn chores_go_round_whatever_others_do_and_hear_of_the_end() {
    let world = world();
    let parts = world.parts(Arc::new(world.keys()));
    let good = Arc::new(Counting::default());
    let panics = Arc::new(Counting {
        panics: true,
        ..Counting::default()
    });
    let hangs = Arc::new(Counting {
        hangs: true,
        ..Counting::default()
    });
    let acme = production("acme");
    let old = world.key(&acme, Purpose::Proof).await;
    let upkeep = Upkeep::new(&parts)
        .chore(good.clone())
        .chore(panics.clone())
        .chore(hangs.clone())
        .chore(Arc::new(world.rotator()));
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(upkeep.run(async move {
        let _told = stopped.await;
    }));
    let rounds = |chore: &Counting| chore.rounds.load(Ordering::SeqCst);
    for _ in 0..1_000 {
        world.clock.advance(Duration::from_secs(1));
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    }
    assert!((80..=101).contains(&rounds(&good)), "{}", rounds(&good));
    assert!(rounds(&panics) > 80, "{}", rounds(&panics));
    // One that hangs is given up after a minute more than its pause.
    assert!((10..=14).contains(&rounds(&hangs)), "{}", rounds(&hangs));
    // And keys rotate.
    world.clock.advance(LATE);
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_ne!(world.active(&acme).await.id, old.id());
    drop(stop);
    for _ in 0..100 {
        tokio::task::yield_now().await;
        world.clock.advance(Duration::from_secs(1));
    }
    running.await.unwrap();
    for chore in [&good, &panics, &hangs] {
        assert!(chore.stopped.load(Ordering::SeqCst));
    }
}
