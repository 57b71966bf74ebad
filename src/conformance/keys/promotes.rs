//! Keys come into use.

use futures_util::future::join_all;

use super::{Found, KeyStores, OpenKeys, Outcome, active, demand, fresh, sign};
use crate::keys::{KeyError, KeyHandle, KeyState, Purpose, Retired};

pub(super) async fn pending(stores: &KeyStores) -> Outcome {
    let (one, other) = stores.two().await;
    let owner = fresh()?;
    let key = one.keys.create(&owner, stores.proof()).await?;
    key.check(&owner, Purpose::Proof)?;
    let pending = Err(KeyError::Closed {
        state: KeyState::Pending,
    });
    demand(sign(&key).await == pending, "a key signed that was only made")?;
    let read = other
        .keys
        .get(&owner, &key.id())
        .await?
        .ok_or("a key that was made is not there")?;
    demand(sign(&read).await == pending, "a pending key signed, read by its id")?;
    demand(read.jkt() == key.jkt(), "a key was read with another public half")?;
    demand(
        active(&one, &owner).await?.is_none(),
        "a pending key was given out as the active one",
    )?;
    let promoted = one.keys.promote(&owner, &key.id(), None, stores.in_seconds(0)).await?;
    demand(promoted, "the only key of an owner was not promoted")?;
    sign(&key).await?;
    for open in [&one, &other] {
        open.look().await;
        let read = open
            .keys
            .active(&owner, Purpose::Proof)
            .await?
            .ok_or("a promoted key is not the active one")?;
        demand(read.id() == key.id(), "another key than the promoted one is active")?;
        sign(&read).await?;
    }
    sign(&read).await?;
    Ok(())
}

pub(super) async fn both_or_neither(stores: &KeyStores) -> Outcome {
    let (one, other) = stores.two().await;
    let owner = fresh()?;
    let until = stores.in_seconds(60);
    let first = stores.promoted(&one, &owner, None).await?;
    let next = one.keys.create(&owner, stores.proof()).await?;
    let stranger = one.keys.create(&owner, stores.proof()).await?;
    for wrong in [None, Some(stranger.id()), Some(next.id())] {
        let done = other.keys.promote(&owner, &next.id(), wrong.as_ref(), until).await?;
        demand(!done, "a key was promoted in the place of one that is not active")?;
        let states = (first.state(), next.state());
        demand(
            states == (KeyState::Active, KeyState::Pending),
            "a refused promotion changed a key",
        )?;
        demand(
            active(&other, &owner).await? == Some(first.id()),
            "a refused promotion changed the active key",
        )?;
    }
    let done = other.keys.promote(&owner, &next.id(), Some(&first.id()), until).await?;
    demand(done, "a key was not promoted in the place of the active one")?;
    one.look().await;
    let states = (first.state(), next.state());
    demand(
        states == (KeyState::Draining, KeyState::Active),
        format!(
            "after a promotion the old key is {:?} and the new one {:?}",
            states.0, states.1
        ),
    )?;
    // A predecessor that is gone asks to look again.
    one.keys.retire(&owner, &next.id(), Retired::Destroyed).await?;
    let done = one
        .keys
        .promote(&owner, &stranger.id(), Some(&next.id()), until)
        .await?;
    demand(!done, "a key was promoted in the place of an ended one")?;
    let done = one.keys.promote(&owner, &stranger.id(), None, until).await?;
    demand(done, "where no key is active none could be promoted")?;
    let unknown = crate::keys::KeyId::random()?;
    let refused = one.keys.promote(&owner, &unknown, Some(&stranger.id()), until).await;
    demand(
        refused == Err(KeyError::Missing),
        "a key that does not exist was not missing",
    )
}

pub(super) async fn one_of_many(stores: &KeyStores) -> Outcome {
    let (one, other) = stores.two().await;
    let owner = fresh()?;
    let mut before: Option<KeyHandle> = None;
    // The first round without a predecessor.
    for _round in 0..6 {
        let mut rivals = Vec::new();
        for number in 0..8 {
            let open: &OpenKeys = if number % 2 == 0 { &one } else { &other };
            rivals.push((open, open.keys.create(&owner, stores.proof()).await?));
        }
        let replaces = before.as_ref().map(KeyHandle::id);
        let until = stores.in_seconds(60);
        let race = rivals.iter().map(|(open, key)| {
            let (owner, id, replaces) = (owner.clone(), key.id(), replaces);
            async move { open.keys.promote(&owner, &id, replaces.as_ref(), until).await }
        });
        let mut winners = Vec::new();
        for ((_, key), won) in rivals.iter().zip(join_all(race).await) {
            // A store that gives up in a race has not promoted, and says so.
            if won? {
                winners.push(key.clone());
            }
        }
        let [winner] = &winners[..] else {
            return Err(format!("{} of 8 at once were promoted", winners.len()).into());
        };
        for open in [&one, &other] {
            open.look().await;
            demand(
                active(open, &owner).await? == Some(winner.id()),
                "the winner is not the active key",
            )?;
        }
        for (_, key) in &rivals {
            let stands = if key.id() == winner.id() {
                KeyState::Active
            } else {
                KeyState::Pending
            };
            demand(
                key.state() == stands,
                "a key that lost is not pending, or the winner is not active",
            )?;
        }
        if let Some(before) = before {
            demand(before.state() == KeyState::Draining, "the replaced key does not drain")?;
        }
        for (open, key) in &rivals {
            if key.id() != winner.id() {
                open.keys.retire(&owner, &key.id(), Retired::Destroyed).await?;
            }
        }
        before = Some(winner.clone());
    }
    Ok(())
}

pub(super) async fn repeated(stores: &KeyStores) -> Outcome {
    let (one, other) = stores.two().await;
    let owner = fresh()?;
    let first = stores.promoted(&one, &owner, None).await?;
    let next = one.keys.create(&owner, stores.proof()).await?;
    let until = stores.in_seconds(60);
    demand(
        one.keys.promote(&owner, &next.id(), Some(&first.id()), until).await?,
        "not promoted",
    )?;
    for open in [&one, &other] {
        let again = open.keys.promote(&owner, &next.id(), Some(&first.id()), until).await?;
        demand(!again, "a promotion was done twice")?;
        demand(
            active(open, &owner).await? == Some(next.id()),
            "a repeated promotion changed the active key",
        )?;
    }
    sign(&first).await?;
    sign(&next).await?;
    demand(
        one.keys.retire(&owner, &next.id(), Retired::Destroyed).await?,
        "not retired",
    )?;
    for open in [&one, &other] {
        let again = open.keys.retire(&owner, &next.id(), Retired::Destroyed).await?;
        demand(!again, "a key was retired twice")?;
    }
    Ok(())
}

pub(super) async fn read_at_once(stores: &KeyStores) -> Outcome {
    let (one, other) = stores.two().await;
    let owner = fresh()?;
    let key = stores.promoted(&one, &owner, None).await?;
    let id = key.id();
    let reads = (0..16).map(|number| {
        let (owner, keys) = (owner.clone(), other.keys.clone());
        async move {
            match number % 2 {
                0 => keys.active(&owner, Purpose::Proof).await,
                _ => keys.get(&owner, &id).await,
            }
        }
    });
    let mut handles = Vec::new();
    for read in join_all(reads).await {
        handles.push(read?.ok_or("a key that is active was not found")?);
    }
    for handle in &handles {
        sign(handle).await?;
    }
    other.keys.retire(&owner, &id, Retired::Compromised).await?;
    for handle in &handles {
        demand(sign(handle).await.is_err(), "a handle signs after its key was retired")?;
    }
    Ok(())
}

pub(super) async fn outlive(stores: &KeyStores) -> Outcome {
    let owner = fresh()?;
    let (active_id, pending_id, jkt) = {
        let open = stores.open().await;
        let key = stores.promoted(&open, &owner, None).await?;
        let pending = open.keys.create(&owner, stores.proof()).await?;
        (key.id(), pending.id(), key.jkt())
    };
    let later = stores.open().await;
    let key = later
        .keys
        .active(&owner, Purpose::Proof)
        .await?
        .ok_or("the active key is gone with its process")?;
    demand(
        (key.id(), key.jkt()) == (active_id, jkt),
        "another key is active in a later process",
    )?;
    sign(&key).await?;
    let found = later.keys.get(&owner, &pending_id).await?;
    let found: KeyHandle = found.ok_or_else(|| Found::from("a pending key is gone with its process"))?;
    demand(
        found.state() == KeyState::Pending,
        "a pending key is in another state for a later process",
    )
}
