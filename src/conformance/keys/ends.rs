//! Keys come to their end.

use std::time::Duration;

use super::{Doing, KeyStores, Outcome, active, demand, fresh, sign};
use crate::clock::Clock;
use crate::keys::{KeyError, KeyState, Purpose, Retired};

pub(super) async fn draining(stores: &KeyStores) -> Outcome {
    let (one, other) = stores.two().await;
    let owner = fresh()?;
    let old = stores.promoted(&one, &owner, None).await?;
    let elsewhere = other
        .keys
        .get(&owner, &old.id())
        .await?
        .ok_or("an active key is not found by its id")?;
    // It drains for an hour.
    let new = stores.promoted(&one, &owner, Some(&old)).await?;
    other.look().await;
    let read = other
        .keys
        .get(&owner, &old.id())
        .await?
        .ok_or("a draining key is not found by its id")?;
    demand(read.state() == KeyState::Draining, "a draining key is in another state")?;
    stores.clock.advance(Duration::from_secs(3_599));
    for key in [&old, &elsewhere, &read, &new] {
        sign(key).await?;
    }
    demand(
        active(&other, &owner).await? == Some(new.id()),
        "a draining key is the active one",
    )?;
    let end = stores.in_seconds(1);
    stores.clock.advance(Duration::from_secs(1));
    for key in [&old, &elsewhere, &read] {
        demand(sign(key).await.is_err(), "a key signs after its time of draining")?;
    }
    let back = end.offset_seconds(-3_600);
    stores.clock.set_wall(back);
    for key in [&old, &elsewhere, &read] {
        demand(
            sign(key).await.is_err(),
            "a drained key signs again, since the clock was set back",
        )?;
    }
    stores.clock.set_wall(end);
    for open in [&one, &other, &stores.open().await] {
        let found = open.keys.get(&owner, &old.id()).await?;
        demand(found.is_none(), "a drained key is still found")?;
    }
    sign(&new).await?;
    Ok(())
}

pub(super) async fn held(stores: &KeyStores) -> Outcome {
    let (one, other) = stores.two().await;
    let owner = fresh()?;
    let old = stores.promoted(&one, &owner, None).await?;
    let elsewhere = other
        .keys
        .get(&owner, &old.id())
        .await?
        .ok_or("an active key is not found by its id")?;
    let until = stores.in_seconds(7_200);
    let held = one.keys.prolong(&owner, &old.id(), until).await?;
    demand(!held, "a key was prolonged that does not drain")?;
    // It drains for an hour.
    let new = stores.promoted(&one, &owner, Some(&old)).await?;
    if !one.keys.prolong(&owner, &old.id(), until).await? {
        // The store cannot.
        return Ok(());
    }
    for earlier in [until, stores.in_seconds(60)] {
        let held = one.keys.prolong(&owner, &old.id(), earlier).await?;
        demand(held, "a key that drains so long was not said to")?;
    }
    demand(
        !one.keys.prolong(&fresh()?, &old.id(), stores.in_seconds(9_000)).await?,
        "another owner's key was prolonged",
    )?;
    other.look().await;
    stores.clock.advance(Duration::from_secs(7_199));
    one.look().await;
    other.look().await;
    for key in [&old, &elsewhere, &new] {
        sign(key).await?;
    }
    let read = other.keys.get(&owner, &old.id()).await?;
    demand(read.is_some(), "a held key is not found by its id")?;
    stores.clock.advance(Duration::from_secs(1));
    for key in [&old, &elsewhere] {
        demand(sign(key).await.is_err(), "a key signs after its time of draining")?;
    }
    let again = one.keys.prolong(&owner, &old.id(), stores.in_seconds(60)).await?;
    demand(!again, "a key was prolonged that has drained")?;
    demand(sign(&old).await.is_err(), "a drained key signs again")
}

pub(super) async fn retiring(stores: &KeyStores) -> Outcome {
    let (one, other) = stores.two().await;
    let owner = fresh()?;
    for end in [Retired::Destroyed, Retired::Compromised] {
        let key = stores.promoted(&one, &owner, None).await?;
        let next = stores.promoted(&one, &owner, Some(&key)).await?;
        let pending = one.keys.create(&owner, stores.proof()).await?;
        // Draining, active and pending.
        for key in [&key, &next, &pending] {
            let mut handles = vec![key.clone()];
            for open in [&one, &other] {
                handles.extend(open.keys.get(&owner, &key.id()).await?);
                let active = open.keys.active(&owner, Purpose::Proof).await?;
                handles.extend(active.filter(|active| active.id() == key.id()));
            }
            demand(
                one.keys.retire(&owner, &key.id(), end).await?,
                "a living key was not retired",
            )?;
            other.look().await;
            for handle in &handles {
                let closed = Err(KeyError::Closed { state: end.into() });
                demand(
                    sign(handle).await == closed,
                    format!("a handle of a key that is {end:?} is not closed so"),
                )?;
            }
            for open in [&one, &other] {
                demand(
                    open.keys.get(&owner, &key.id()).await?.is_none(),
                    "a retired key is still found",
                )?;
            }
        }
        demand(
            active(&other, &owner).await?.is_none(),
            "a retired key is the active one",
        )?;
    }
    Ok(())
}

pub(super) async fn never_return(stores: &KeyStores) -> Outcome {
    let (one, other) = stores.two().await;
    let owner = fresh()?;
    for end in [Retired::Destroyed, Retired::Compromised] {
        let key = stores.promoted(&one, &owner, None).await?;
        let pending = one.keys.create(&owner, stores.proof()).await?;
        for key in [&key, &pending] {
            one.keys.retire(&owner, &key.id(), end).await?;
        }
        let later = if stores.opens.is_shared {
            stores.open().await
        } else {
            other.clone()
        };
        for open in [&one, &other, &later] {
            for key in [&key, &pending] {
                let promoted = open.keys.promote(&owner, &key.id(), None, stores.in_seconds(60)).await;
                demand(promoted != Ok(true), "an ended key was promoted")?;
                demand(
                    open.keys.get(&owner, &key.id()).await?.is_none(),
                    "an ended key is found again",
                )?;
                demand(!key.is_usable() && !key.open(), "an ended key's handle opens again")?;
            }
            demand(active(open, &owner).await?.is_none(), "an ended key is the active one")?;
        }
    }
    // What is known to be in foreign hands is not made harmless by anybody.
    let key = stores.promoted(&one, &owner, None).await?;
    one.keys.retire(&owner, &key.id(), Retired::Compromised).await?;
    let again = other.keys.retire(&owner, &key.id(), Retired::Destroyed).await?;
    demand(!again, "a compromised key became a destroyed one")?;
    demand(
        key.state() == KeyState::Compromised,
        "a compromised key is not any more",
    )?;
    if let Some(listing) = &one.listing {
        let filter = crate::keys::KeyFilter::default()
            .of_owner(owner.clone())
            .with_id(key.id());
        for record in listing.list(&filter, None, 10).await? {
            demand(
                record.state == KeyState::Compromised,
                "the list calls a compromised key something else",
            )?;
        }
    }
    Ok(())
}

pub(super) async fn outage(stores: &KeyStores, outage: &Doing<bool>) -> Outcome {
    let (one, other) = stores.two().await;
    let owner = fresh()?;
    let key = stores.promoted(&one, &owner, None).await?;
    let next = one.keys.create(&owner, stores.proof()).await?;
    outage(true).await;
    let meanwhile = async {
        for open in [&one, &other] {
            let read = open.keys.active(&owner, Purpose::Proof).await;
            demand(read.is_err(), "a store that does not answer says which key is active")?;
            let read = open.keys.get(&owner, &key.id()).await;
            demand(read.is_err(), "a store that does not answer says which key there is")?;
        }
        let made = one.keys.create(&owner, stores.proof()).await;
        demand(made.is_err(), "a key was made that is not durable")?;
        let promoted = one
            .keys
            .promote(&owner, &next.id(), Some(&key.id()), stores.clock.now())
            .await;
        demand(
            promoted.is_err(),
            "a store that does not answer says that it has promoted, or has not",
        )?;
        // Keys go on, as long as this process knows enough.
        sign(&key).await?;
        let retired = one.keys.retire(&owner, &key.id(), Retired::Compromised).await;
        demand(
            retired.is_err(),
            "a store that does not answer says that it has retired, or has not",
        )?;
        demand(sign(&key).await.is_err(), "a key signs that was retired in an outage")
    };
    let meanwhile = meanwhile.await;
    outage(false).await;
    meanwhile?;
    // The pause after a failed look is over.
    stores.clock.advance(Duration::from_secs(60));
    let read = one.keys.active(&owner, Purpose::Proof).await?;
    demand(
        read.is_none_or(|read| !read.is_usable()),
        "a key that was retired in an outage signs after it",
    )?;
    one.keys.retire(&owner, &key.id(), Retired::Compromised).await?;
    demand(sign(&key).await.is_err(), "a retired key signs")?;
    other.look().await;
    demand(
        active(&other, &owner).await?.is_none(),
        "a retired key is the active one elsewhere",
    )?;
    let done = other.keys.promote(&owner, &next.id(), None, stores.clock.now()).await?;
    demand(done, "after an outage a pending key could not be promoted")?;
    one.look().await;
    sign(&next).await?;
    Ok(())
}
