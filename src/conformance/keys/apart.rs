//! What belongs to whom.

use std::collections::HashSet;

use futures_util::future::join_all;

use super::{KeyStores, Outcome, active, demand, fresh, sign};
use crate::conformance::owners;
use crate::keys::{KeyError, KeyFilter, KeySpec, KeyState, Purpose, Retired};
use crate::owner::Owner;

pub(super) async fn owners(stores: &KeyStores) -> Outcome {
    let (one, other) = stores.two().await;
    let all: Vec<Owner> = owners::alike(stores.opens.has_deployments)?
        .into_iter()
        .map(Owner::Connection)
        .collect();
    let (owner, others) = all.split_first().ok_or("no owners")?;
    let key = stores.promoted(&one, owner, None).await?;
    let pending = one.keys.create(owner, stores.proof()).await?;
    let deployment = Owner::Deployment(owner.deployment().clone());
    for stranger in others.iter().chain([&deployment]) {
        for open in [&one, &other] {
            let found = open.keys.active(stranger, Purpose::Proof).await?;
            demand(
                found.is_none_or(|found| found.id() != key.id()),
                format!("{stranger:?} has the active key of {owner:?}"),
            )?;
            for id in [key.id(), pending.id()] {
                let found = open.keys.get(stranger, &id).await?;
                demand(found.is_none(), format!("{stranger:?} reads a key of {owner:?}"))?;
            }
            let now = stores.in_seconds(0);
            let promoted = open.keys.promote(stranger, &pending.id(), Some(&key.id()), now).await;
            demand(
                promoted == Err(KeyError::Missing),
                format!("{stranger:?} may promote a key of {owner:?}"),
            )?;
            let retired = open.keys.retire(stranger, &key.id(), Retired::Compromised).await?;
            demand(!retired, format!("{stranger:?} retired a key of {owner:?}"))?;
        }
    }
    sign(&key).await?;
    demand(pending.state() == KeyState::Pending, "a stranger changed a pending key")?;

    // Each has a key of its own, and what one loses the others keep.
    let mut keys = vec![key];
    for stranger in others {
        keys.push(stores.promoted(&one, stranger, None).await?);
    }
    for (owner, key) in all.iter().zip(&keys) {
        for open in [&one, &other] {
            open.look().await;
            demand(
                active(open, owner).await? == Some(key.id()),
                format!("{owner:?} has the key of another as its active one"),
            )?;
        }
        if let Some(listing) = &one.listing {
            let filter = KeyFilter::default().of_owner(owner.clone());
            let listed = listing.list(&filter, None, 100).await?;
            let is_own = listed.iter().all(|record| record.owner == *owner);
            demand(
                is_own && listed.iter().any(|record| record.id == key.id()),
                format!("the list of {owner:?} is not its own"),
            )?;
        }
    }
    one.keys.retire(owner, &pending.id(), Retired::Destroyed).await?;
    if let Some(first) = keys.first() {
        one.keys.retire(owner, &first.id(), Retired::Destroyed).await?;
    }
    for key in keys.iter().skip(1) {
        sign(key).await?;
        one.keys.retire(key.owner(), &key.id(), Retired::Destroyed).await?;
    }
    Ok(())
}

pub(super) async fn purposes(stores: &KeyStores) -> Outcome {
    let (one, other) = stores.two().await;
    let owner = fresh()?;
    let proof = stores.promoted(&one, &owner, None).await?;
    let spec = KeySpec {
        purpose: Purpose::ClientAssertion,
        ..stores.proof()
    };
    let assertion = one.keys.create(&owner, spec).await?;
    demand(
        assertion.purpose() == Purpose::ClientAssertion,
        "a key has another purpose than it was made for",
    )?;
    let until = stores.in_seconds(60);
    let done = one
        .keys
        .promote(&owner, &assertion.id(), Some(&proof.id()), until)
        .await?;
    demand(!done, "a key replaced one of another purpose")?;
    demand(
        one.keys.promote(&owner, &assertion.id(), None, until).await?,
        "a second purpose has no place",
    )?;
    for (purpose, key) in [(Purpose::Proof, &proof), (Purpose::ClientAssertion, &assertion)] {
        let found = other
            .keys
            .active(&owner, purpose)
            .await?
            .ok_or("a purpose lost its key to another")?;
        demand(found.id() == key.id(), "a purpose has the key of another")?;
        found.check(&owner, purpose)?;
        sign(key).await?;
    }
    let none = other.keys.active(&owner, Purpose::Tls).await?;
    demand(none.is_none(), "a purpose that has no key was given one")
}

pub(super) async fn made(stores: &KeyStores) -> Outcome {
    let open = stores.open().await;
    let owner = fresh()?;
    let making = (0..8).map(|_| open.keys.create(&owner, stores.proof()));
    let (mut ids, mut thumbprints) = (HashSet::new(), HashSet::new());
    for made in join_all(making).await {
        let key = made?;
        demand(
            key.algorithm() == stores.algorithm,
            "a key has another algorithm than was asked for",
        )?;
        demand(
            ids.insert(key.id()) && thumbprints.insert(key.jkt()),
            "one key was made twice",
        )?;
    }
    Ok(())
}
