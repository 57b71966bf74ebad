//! Who leads.

use std::time::Duration;

use shipbound::clock::Timestamp;
use shipbound::leader::Leadership;
use shipbound::owner::DeploymentId;
use shipbound::store::sql::SqlLeadership;
use uuid::Uuid;

use crate::world::{World, deployment};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
const MINUTE: Duration = Duration::from_secs(60);

async fn one_of_many_leads_until_its_time_ends(world: World) {
    let ids: Vec<Uuid> = (1..=6).map(Uuid::from_u128).collect();
    let processes: Vec<SqlLeadership> = ids
        .iter()
        .map(|_| SqlLeadership::new(&world.database(), &deployment()))
        .collect();
    let race = ids
        .iter()
        .zip(&processes)
        .map(|(id, process)| process.lead("rotate", *id, NOW, MINUTE));
    let won: Vec<bool> = futures_util::future::try_join_all(race).await.unwrap();
    assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
    let first = won.iter().position(|won| *won).unwrap();
    let other = (first + 1) % ids.len();
    let lead = |at: usize, now| processes[at].lead("rotate", ids[at], now, MINUTE);

    // The leader prolongs it, and nobody else takes it before its end.
    assert!(lead(first, NOW.offset_seconds(30)).await.unwrap());
    assert!(!lead(other, NOW.offset_seconds(89)).await.unwrap());
    assert!(lead(other, NOW.offset_seconds(90)).await.unwrap());
    assert!(!lead(first, NOW.offset_seconds(90)).await.unwrap());
    // Only who leads can give it up, and then anybody may have it.
    assert!(!processes[first].resign("rotate", ids[first]).await.unwrap());
    assert!(processes[other].resign("rotate", ids[other]).await.unwrap());
    assert!(lead(first, NOW.offset_seconds(91)).await.unwrap());
    // Other tasks and deployments have leaders of their own.
    assert!(processes[other].lead("alert", ids[other], NOW, MINUTE).await.unwrap());
    let elsewhere = SqlLeadership::new(&world.database(), &DeploymentId::new("other").unwrap());
    assert!(
        elsewhere
            .lead("rotate", ids[other], NOW.offset_seconds(91), MINUTE)
            .await
            .unwrap()
    );
}
on_all!(one_of_many_leads_until_its_time_ends);

async fn a_lead_that_a_wrong_clock_took_for_a_year_is_not_kept(world: World) {
    let (wrong, right) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let leads = SqlLeadership::new(&world.database(), &deployment());
    let in_a_year = NOW.offset_seconds(365 * 86_400);
    assert!(leads.lead("rotate", wrong, in_a_year, MINUTE).await.unwrap());
    assert!(leads.lead("rotate", right, NOW, MINUTE).await.unwrap());
    // One whose clock is ahead by less than the lead lasts is waited for.
    assert!(leads.resign("rotate", right).await.unwrap());
    assert!(
        leads
            .lead("rotate", wrong, NOW.offset_seconds(60), MINUTE)
            .await
            .unwrap()
    );
    assert!(!leads.lead("rotate", right, NOW, MINUTE).await.unwrap());
}
on_all!(a_lead_that_a_wrong_clock_took_for_a_year_is_not_kept);
