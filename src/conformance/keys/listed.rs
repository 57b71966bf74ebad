//! What rotation and inventory read.

use std::time::Duration;

use super::{KeyStores, Outcome, demand, fresh};
use crate::clock::Clock;
use crate::keys::{KeyFilter, KeyState, Purpose, Retired};
use crate::owner::{Environment, Owner};

pub(super) async fn whole(stores: &KeyStores) -> Outcome {
    let (one, other) = stores.two().await;
    let Some(listing) = &other.listing else { return Ok(()) };
    let owner = fresh()?;
    let made_at = stores.clock.now();
    let old = stores.promoted(&one, &owner, None).await?;
    stores.clock.advance(Duration::from_secs(10));
    let replaced_at = stores.clock.now();
    let new = stores.promoted(&one, &owner, Some(&old)).await?;
    let mut pending = Vec::new();
    for _ in 0..4 {
        pending.push(one.keys.create(&owner, stores.proof()).await?.id());
    }
    let all = KeyFilter::default().of_owner(owner.clone());
    let mut listed = Vec::new();
    // In pages of two, until one is empty: what is shorter need not be the last.
    for _page in 0..8 {
        let after = listed.last().map(|record: &crate::keys::KeyRecord| record.id);
        let page = listing.list(&all, after, 2).await?;
        let is_last = page.is_empty();
        demand(page.len() <= 2, "a page is longer than was asked for")?;
        listed.extend(page);
        if is_last {
            break;
        }
    }
    demand(
        listed.len() == 6,
        format!("{} of 6 keys are in the pages", listed.len()),
    )?;
    demand(
        listed.is_sorted_by_key(|record| record.id),
        "pages are not in the order of ids",
    )?;
    for record in &listed {
        demand(
            record.owner == owner && record.purpose == Purpose::Proof,
            "a record's owner or purpose is another",
        )?;
        if record.id == old.id() {
            let times = (record.created_at, record.activated_at, record.drain_until);
            let expected = (made_at, Some(made_at), Some(replaced_at.offset_seconds(3_600)));
            demand(
                record.state == KeyState::Draining && times == expected,
                "the times or the state of a draining key are others",
            )?;
        } else if record.id == new.id() {
            let times = (record.created_at, record.activated_at, record.drain_until);
            demand(
                record.state == KeyState::Active && times == (replaced_at, Some(replaced_at), None),
                "the times or the state of an active key are others",
            )?;
            demand(record.public == *new.public(), "a record has another public half")?;
        } else {
            let is_pending = record.state == KeyState::Pending && record.activated_at.is_none();
            demand(
                is_pending && pending.contains(&record.id),
                "a pending key's record says something else",
            )?;
        }
    }
    for (filter, count) in [
        (all.clone().in_state(KeyState::Active), 1),
        (all.clone().in_state(KeyState::Active).in_state(KeyState::Draining), 2),
        (all.clone().with_id(old.id()), 1),
        (all.clone().for_purpose(Purpose::Tls), 0),
        (all.clone().activated_before(replaced_at), 1),
        (all.clone().activated_before(made_at), 0),
        (all.clone().activated_since(made_at), 2),
        (all.clone().activated_since(replaced_at), 1),
        (all.clone().activated_since(replaced_at.offset_seconds(1)), 0),
        (all.clone().drained_before(replaced_at.offset_seconds(3_600)), 0),
        (all.clone().drained_before(replaced_at.offset_seconds(3_601)), 1),
        (all.clone().in_environment(environment(&owner)), 6),
        (all.clone().in_environment(other_than(environment(&owner))), 0),
    ] {
        let found = listing.list(&filter, None, 10).await?.len();
        demand(
            found == count,
            format!("{found} records in the place of {count} for {filter:?}"),
        )?;
    }
    if let Some(connection) = owner.connection() {
        let of_tenant = KeyFilter::default().of_tenant(connection.tenant().id().clone());
        demand(
            listing.list(&of_tenant, None, 10).await?.len() == 6,
            "a tenant's keys are not those of its one connection",
        )?;
    }
    for key in listed {
        one.keys.retire(&owner, &key.id, Retired::Destroyed).await?;
    }
    let living = all
        .in_state(KeyState::Pending)
        .in_state(KeyState::Active)
        .in_state(KeyState::Draining);
    demand(
        listing.list(&living, None, 10).await?.is_empty(),
        "ended keys are listed as living ones",
    )
}

fn environment(owner: &Owner) -> Environment {
    owner
        .connection()
        .map_or(Environment::Production, |connection| connection.environment())
}

fn other_than(environment: Environment) -> Environment {
    match environment {
        Environment::Production => Environment::Sandbox,
        Environment::Sandbox => Environment::Production,
    }
}
