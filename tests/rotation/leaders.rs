//! One leader among processes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use shipbound::chore::Chore;
use shipbound::clock::Timestamp;
use shipbound::keys::Purpose;
use shipbound::leader::{LeadUnknown, Leadership};
use shipbound::rotation::Rotator;
use uuid::Uuid;

use crate::world::{DAY, HOUR, LATE, World, production, round, world};

#[derive(Debug, Default)]
struct Lead {
    held: Mutex<Option<(Uuid, Timestamp)>>,
    is_down: Mutex<bool>,
}

#[async_trait]
impl Leadership for Lead {
    async fn lead(&self, task: &str, process: Uuid, now: Timestamp, lasts: Duration) -> Result<bool, LeadUnknown> {
        assert_eq!(task, "rotation");
        if *self.is_down.lock().unwrap() {
            return Err(LeadUnknown);
        }
        let mut held = self.held.lock().unwrap();
        match *held {
            Some((other, until)) if other != process && now < until => Ok(false),
            _ => {
                *held = Some((process, now + lasts));
                Ok(true)
            }
        }
    }

    async fn resign(&self, _task: &str, process: Uuid) -> Result<bool, LeadUnknown> {
        Ok(self
            .held
            .lock()
            .unwrap()
            .take_if(|(holder, _)| *holder == process)
            .is_some())
    }
}

fn process(world: &World, lead: &Arc<Lead>) -> Rotator {
    let keys = Arc::new(world.keys());
    world.rotator_of(keys).leadership(lead.clone()).build().unwrap()
}

#[tokio::test]
async fn one_process_rotates_what_is_due_until_it_resigns_or_its_lead_ends() {
    let world = world();
    let acme = production("acme");
    let mut last = world.key(&acme, Purpose::Proof).await.id();
    let lead = Arc::new(Lead::default());
    let (first, second) = (process(&world, &lead), process(&world, &lead));
    round(&first).await;

    world.clock.advance(Duration::from_secs(600));
    round(&second).await;
    world.clock.advance(LATE);
    // The lead of the first has ended; whoever comes is the next.
    round(&second).await;
    assert_ne!(world.active(&acme).await.id, last);
    last = world.active(&acme).await.id;

    // While the second leads the first does nothing.
    world.clock.advance(LATE);
    *lead.held.lock().unwrap() = Some((Uuid::max(), shipbound::clock::Clock::now(&*world.clock) + DAY));
    round(&first).await;
    round(&second).await;
    assert_eq!(world.active(&acme).await.id, last);
    // Nor does anybody while it cannot be told who leads.
    *lead.held.lock().unwrap() = None;
    *lead.is_down.lock().unwrap() = true;
    world.clock.advance(HOUR);
    round(&first).await;
    assert_eq!(world.active(&acme).await.id, last);
    *lead.is_down.lock().unwrap() = false;
    round(&first).await;
    assert_ne!(world.active(&acme).await.id, last);

    // Whoever stops gives the lead up at once.
    assert!(lead.held.lock().unwrap().is_some());
    second.stop().await;
    assert!(lead.held.lock().unwrap().is_some());
    first.stop().await;
    assert!(lead.held.lock().unwrap().is_none());
}

#[tokio::test]
async fn a_round_ends_early_when_it_is_to_stop_and_gives_up_the_lead() {
    let world = world();
    for number in 0..20 {
        world.key(&production(&format!("t{number}")), Purpose::Proof).await;
    }
    world.clock.advance(LATE);
    let lead = Arc::new(Lead::default());
    let keys = Arc::new(world.keys());
    let rotator = world
        .rotator_of(keys)
        .leadership(lead.clone())
        .at_once(1)
        .build()
        .unwrap();
    let promoted = || world.count(|change| matches!(change, shipbound::journal::KeyChange::Promoted { .. }));
    rotator.round(&|| promoted() < 3).await;
    assert!((3..=4).contains(&promoted()), "{}", promoted());
    assert!(lead.held.lock().unwrap().is_none());
    round(&rotator).await;
    assert_eq!(promoted(), 20);
}
