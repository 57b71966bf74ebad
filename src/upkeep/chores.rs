//! Chores: done again and again until the upkeep stops.

use std::time::Duration;

use crate::chore::Chore;
use crate::clock::within;

use super::{SHORTEST_INTERVAL, Worker, guarded};

/// How much longer than the pause between two rounds one of them may take.
const LONGER: Duration = Duration::from_secs(60);

/// How long a chore may take to stop.
const STOP: Duration = Duration::from_secs(5);

pub(super) async fn again_and_again(worker: &Worker, chore: &dyn Chore) {
    loop {
        let every = chore.every().max(SHORTEST_INTERVAL);
        let goes_on = || worker.goes_on();
        limited(worker, every + LONGER, chore.round(&goes_on)).await;
        if !worker.pause(every).await {
            break;
        }
    }
    limited(worker, STOP, chore.stop()).await;
}

async fn limited(worker: &Worker, limit: Duration, work: impl Future<Output = ()>) {
    let deadline = worker.clock.monotonic() + limit;
    guarded(async {
        let _given_up = within(&*worker.clock, deadline, work).await;
    })
    .await;
}
