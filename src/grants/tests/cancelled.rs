//! Futures that are dropped at each of their await points.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::super::*;
use super::stepping::Stepping;
use super::{LATER, World, acme, grant, token};
use crate::clock::Monotonic;

/// What is polled and dropped.
#[derive(Clone, Copy, Debug)]
enum Act {
    Claim,
    SecondChance,
    Settle,
    Release,
    End,
    Abandon,
    Put,
    Remove,
}

/// A grant `r1`, claimed where the act is that of a holder.
async fn before(act: Act) -> (World, BoxFuture<'static, ()>) {
    let world = World::over(Arc::new(Stepping::new()));
    world.put("r1").await;
    let grants = world.grants.clone();
    let claim = |rotation| async move { grants.claim(&acme(), rotation, Monotonic::ORIGIN).await.unwrap() };
    let grants = world.grants.clone();
    let future = match act {
        Act::Claim => async move { drop(claim(Rotation::PreviousDies).await) }.boxed(),
        Act::SecondChance => {
            drop(world.claim(Rotation::PreviousDies).await.unwrap());
            world.clock.advance(LATER);
            async move { drop(claim(Rotation::PreviousStays).await) }.boxed()
        }
        Act::Put => async move { assert!(grants.put(&acme(), grant("r9")).await.is_ok()) }.boxed(),
        Act::Remove => async move { assert!(grants.remove(&acme()).await.unwrap()) }.boxed(),
        Act::Settle | Act::Release | Act::End | Act::Abandon => {
            let claim = world.claim(Rotation::PreviousDies).await.unwrap();
            async move {
                match act {
                    Act::Settle => claim.settle(Some(token("r2")), None).await,
                    Act::Release => claim.release().await,
                    Act::End => claim.end().await,
                    _ => claim.abandon().await,
                }
                .unwrap();
            }
            .boxed()
        }
    };
    (world, future)
}

#[tokio::test]
async fn a_dropped_future_has_done_all_or_nothing() {
    for (act, undone, done) in [
        (Act::Claim, "ready r1", "held r1 once"),
        (Act::SecondChance, "uncertain r1 once", "held r1 twice"),
        (Act::Settle, "held r1 once", "ready r2"),
        (Act::Release, "held r1 once", "ready r1"),
        (Act::End, "held r1 once", "ended"),
        (Act::Abandon, "held r1 once", "uncertain r1 once"),
        (Act::Put, "ready r1", "ready r9"),
        (Act::Remove, "ready r1", "missing"),
    ] {
        let mut standings = Vec::new();
        for polls in 0.. {
            let (world, mut future) = before(act).await;
            let ended = (0..polls).any(|_| future.as_mut().now_or_never().is_some());
            drop(future);
            let standing = world.standing().await;
            heals(&world, &standing).await;
            standings.push(standing);
            if ended {
                break;
            }
        }
        let first_done = standings.iter().position(|standing| standing == done).unwrap();
        assert!(
            standings[..first_done].iter().all(|standing| standing == undone),
            "{act:?}: {standings:?}"
        );
        assert!(
            standings[first_done..].iter().all(|standing| standing == done),
            "{act:?}: {standings:?}"
        );
        // Dropped before it was polled, before and after it was done.
        assert!(
            first_done >= 2 && standings.len() > first_done + 1,
            "{act:?}: {standings:?}"
        );
    }
}

/// What was left behind says the truth, and a new consent mends it.
async fn heals(world: &World, standing: &str) {
    world.clock.advance(LATER);
    let claimed = world.claim(Rotation::PreviousDies).await;
    match standing.split(' ').next().unwrap() {
        "ready" => claimed.unwrap().release().await.unwrap(),
        "held" | "uncertain" => assert_eq!(claimed.err(), Some(GrantError::Uncertain)),
        "ended" => assert_eq!(claimed.err(), Some(GrantError::NeedsConsent)),
        _ => assert_eq!(claimed.err(), Some(GrantError::Missing)),
    }
    let now = world.standing().await;
    if standing.starts_with("held") {
        assert_eq!(now, standing.replace("held", "uncertain"));
        let again = world.claim(Rotation::PreviousStays).await.map(drop);
        let second_is_left = standing.ends_with("once");
        assert_eq!(
            again,
            if second_is_left {
                Ok(())
            } else {
                Err(GrantError::Uncertain)
            }
        );
    } else {
        assert_eq!(now, standing);
    }
    world.put("new").await;
    assert_eq!(world.standing().await, "ready new");
}
