//! Refresh tokens in the database.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use shipbound::chore::Chore;
use shipbound::clock::{Clock, Timestamp};
use shipbound::conformance::{self, GrantStores, OpenGrants};
use shipbound::grants::{Grant, GrantError, GrantState, GrantStore, Grants, Record, Revision, Rotation};
use shipbound::secret::RefreshToken;
use shipbound::store::anchor::EpochAnchor;

use crate::scene::{Process, Scene, connection};
use crate::world::Stuck;

const AT: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

on_both!(it_is_a_grant_store);
async fn it_is_a_grant_store(scene: Scene) {
    let scene = Arc::new(scene);
    let stores = GrantStores::new({
        let scene = scene.clone();
        move || {
            let scene = scene.clone();
            async move {
                let store = scene.process(&["k1"]).await.grants;
                let looking = store.clone();
                OpenGrants::new(store).looking(move || {
                    let store = looking.clone();
                    async move { store.round(&|| true).await }.boxed()
                })
            }
        }
    })
    .of_one_deployment();
    let report = conformance::grant_store(&stores).await;
    assert!(report.has_passed(), "{report}");
}

pub(crate) fn grants(scene: &Scene, process: &Process) -> Grants {
    Grants::new(process.grants.clone(), scene.world.clock.clone())
}

/// The refresh token that there is.
pub(crate) async fn claim(scene: &Scene, grants: &Grants) -> Result<String, GrantError> {
    let now = scene.world.clock.monotonic();
    let claim = grants.claim(&connection("acme"), Rotation::PreviousDies, now).await?;
    let token = claim.refresh_token()?.expose().to_owned();
    claim.release().await?;
    Ok(token)
}

const KEEP: &str = "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT * FROM sb_grants";
const PUT_BACK: &str = "DELETE FROM sb_grants; INSERT INTO sb_grants SELECT * FROM kept";

on_both!(a_row_of_a_consent_that_is_over_counts_as_ended);
async fn a_row_of_a_consent_that_is_over_counts_as_ended(scene: Scene) {
    let process = scene.process(&["k1"]).await;
    let one = grants(&scene, &process);
    let acme = connection("acme");
    let put_back = || async {
        scene.world.raw(PUT_BACK).await;
        let other = scene.process(&["k1"]).await;
        for grants in [&one, &grants(&scene, &other)] {
            assert_eq!(claim(&scene, grants).await.unwrap_err(), GrantError::NeedsConsent);
            assert_eq!(grants.consent(&acme).await.unwrap_err(), GrantError::NeedsConsent);
        }
    };

    // Replaced by a new consent.
    one.put(&acme, Grant::new("r1", AT)).await.unwrap();
    scene.world.raw(KEEP).await;
    one.put(&acme, Grant::new("r2", AT)).await.unwrap();
    assert_eq!(claim(&scene, &one).await.unwrap(), "r2");
    put_back().await;

    // Ended by the issuer.
    one.put(&acme, Grant::new("r3", AT)).await.unwrap();
    assert_eq!(claim(&scene, &one).await.unwrap(), "r3");
    scene.world.raw(KEEP).await;
    let now = scene.world.clock.monotonic();
    one.claim(&acme, Rotation::PreviousDies, now)
        .await
        .unwrap()
        .end()
        .await
        .unwrap();
    assert_eq!(claim(&scene, &one).await.unwrap_err(), GrantError::NeedsConsent);
    put_back().await;

    // Removed.
    one.put(&acme, Grant::new("r4", AT)).await.unwrap();
    scene.world.raw(KEEP).await;
    assert!(one.remove(&acme).await.unwrap());
    assert_eq!(claim(&scene, &one).await.unwrap_err(), GrantError::Missing);
    put_back().await;

    // The same grant may be put again after it was removed.
    one.remove(&acme).await.unwrap();
    one.put(&acme, Grant::new("r4", AT)).await.unwrap();
    assert_eq!(claim(&scene, &one).await.unwrap(), "r4");
}

on_both!(what_stands_beside_a_refresh_token_cannot_be_changed);
async fn what_stands_beside_a_refresh_token_cannot_be_changed(scene: Scene) {
    let process = scene.process(&["k1"]).await;
    let one = grants(&scene, &process);
    let acme = connection("acme");
    one.put(&acme, Grant::new("r1", AT)).await.unwrap();
    let now = scene.world.clock.monotonic();
    let _lost = one.claim(&acme, Rotation::PreviousDies, now).await.unwrap();
    assert!(process.grants.load(&acme).await.unwrap().is_some());
    scene.world.raw(KEEP).await;
    for change in [
        "until = until - 1",
        "stage = 'ready', until = NULL",
        "second_chance = 1",
        "consent = consent + 1",
        "revision = revision + 1",
    ] {
        scene.world.raw(&format!("UPDATE sb_grants SET {change}")).await;
        assert_eq!(
            process.grants.load(&acme).await.unwrap_err(),
            GrantError::Unavailable,
            "{change}"
        );
        scene.world.raw(PUT_BACK).await;
    }
    // A number that nobody has come to.
    scene.world.raw("UPDATE sb_grants SET life = life + 1").await;
    let read = process.grants.load(&acme).await.unwrap().unwrap();
    assert!(matches!(read.state, GrantState::Ended));
    assert!(process.grants.load(&acme).await.unwrap().is_some());
}

on_both!(a_removal_is_answered_for_when_the_anchor_knows);
/// A removal whose answer was lost with the anchor: the repeat answers when the anchor knows.
async fn a_removal_is_answered_for_when_the_anchor_knows(scene: Scene) {
    let anchor = Arc::new(Stuck::default());
    let process = scene.process_with(&["k1"], anchor.clone()).await;
    let grants = grants(&scene, &process);
    grants.put(&connection("acme"), Grant::new("r1", AT)).await.unwrap();
    let before = anchor.read().await.unwrap().unwrap().rows;
    anchor.stuck.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let removed = grants.remove(&connection("acme")).await;
        assert_eq!(removed, Err(GrantError::Unavailable));
    }
    assert_eq!(anchor.read().await.unwrap().unwrap().rows, before);
    anchor.stuck.store(false, Ordering::SeqCst);
    assert_eq!(grants.remove(&connection("acme")).await, Ok(false));
    assert!(anchor.read().await.unwrap().unwrap().rows > before);
}

on_both!(an_end_is_answered_for_when_the_anchor_knows);
/// The same for an end by the issuer's answer.
async fn an_end_is_answered_for_when_the_anchor_knows(scene: Scene) {
    let (acme, anchor) = (connection("acme"), Arc::new(Stuck::default()));
    let process = scene.process_with(&["k1"], anchor.clone()).await;
    let store = &process.grants;
    grants(&scene, &process).put(&acme, Grant::new("r1", AT)).await.unwrap();
    let there = store.load(&acme).await.unwrap().unwrap();
    let ended = Record {
        revision: Revision::from_u64(there.revision.as_u64() ^ 1),
        consent: there.consent,
        state: GrantState::Ended,
    };
    let before = anchor.read().await.unwrap().unwrap().rows;
    anchor.stuck.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let replaced = store.replace(&acme, there.revision, &ended).await;
        assert_eq!(replaced, Err(GrantError::Unavailable));
    }
    assert_eq!(anchor.read().await.unwrap().unwrap().rows, before);
    // What only looks needs no anchor.
    assert_eq!(
        claim(&scene, &grants(&scene, &process)).await.unwrap_err(),
        GrantError::NeedsConsent
    );
    anchor.stuck.store(false, Ordering::SeqCst);
    assert_eq!(store.replace(&acme, there.revision, &ended).await, Ok(false));
    assert!(anchor.read().await.unwrap().unwrap().rows > before);

    // Of a claim whose consent another process has removed, and whose row is put back.
    let (one, other) = (
        grants(&scene, &process),
        scene.process_with(&["k1"], anchor.clone()).await,
    );
    one.put(&acme, Grant::new("r2", AT)).await.unwrap();
    let now = scene.world.clock.monotonic();
    let _held = one.claim(&acme, Rotation::PreviousDies, now).await.unwrap();
    let claimed = store.load(&acme).await.unwrap().unwrap();
    scene.world.raw(KEEP).await;
    let before = anchor.read().await.unwrap().unwrap().rows;
    anchor.stuck.store(true, Ordering::SeqCst);
    let removed = grants(&scene, &other).remove(&acme).await;
    assert_eq!(removed, Err(GrantError::Unavailable));
    scene.world.raw(PUT_BACK).await;
    let replaced = store.replace(&acme, claimed.revision, &ended).await;
    assert_eq!(replaced, Err(GrantError::Unavailable));
    assert_eq!(anchor.read().await.unwrap().unwrap().rows, before);
}

on_both!(a_row_that_was_deleted_first_and_put_back_later_counts_as_ended);
async fn a_row_that_was_deleted_first_and_put_back_later_counts_as_ended(scene: Scene) {
    let process = scene.process(&["k1"]).await;
    let (one, acme) = (grants(&scene, &process), connection("acme"));
    let put_back = || async {
        scene.world.raw(PUT_BACK).await;
        let other = scene.process(&["k1"]).await;
        for grants in [&one, &grants(&scene, &other)] {
            assert_eq!(claim(&scene, grants).await.unwrap_err(), GrantError::NeedsConsent);
        }
    };
    one.put(&acme, Grant::new("r1", AT)).await.unwrap();
    scene.world.raw(KEEP).await;
    scene.world.raw("DELETE FROM sb_grants").await;
    // By a process that has not seen the first one come.
    let other = scene.process(&["k1"]).await;
    grants(&scene, &other).put(&acme, Grant::new("r2", AT)).await.unwrap();
    assert_eq!(claim(&scene, &one).await.unwrap(), "r2");
    put_back().await;

    // Removed while its row was gone.
    one.put(&acme, Grant::new("r3", AT)).await.unwrap();
    scene.world.raw(KEEP).await;
    scene.world.raw("DELETE FROM sb_grants").await;
    assert!(one.remove(&acme).await.unwrap());
    let rows = scene.world.number("SELECT COUNT(*) FROM sb_ledger").await;
    assert!(!one.remove(&acme).await.unwrap());
    assert_eq!(scene.world.number("SELECT COUNT(*) FROM sb_ledger").await, rows);
    put_back().await;
    one.put(&acme, Grant::new("r4", AT)).await.unwrap();
    assert_eq!(claim(&scene, &one).await.unwrap(), "r4");
    put_back().await;
}

on_both!(of_two_that_consent_at_once_both_are_done_and_one_stays);
async fn of_two_that_consent_at_once_both_are_done_and_one_stays(scene: Scene) {
    let (one, two) = (scene.process(&["k1"]).await, scene.process(&["k1"]).await);
    let (one, two) = (grants(&scene, &one), grants(&scene, &two));
    let acme = connection("acme");
    for round in 0..5 {
        let [first, second] = ["one", "two"].map(|name| Grant::new(format!("{name}{round}"), AT));
        let (first, second) = tokio::join!(one.put(&acme, first), two.put(&acme, second));
        first.unwrap();
        second.unwrap();
        let left = claim(&scene, &one).await.unwrap();
        assert!([format!("one{round}"), format!("two{round}")].contains(&left));
        assert_eq!(claim(&scene, &two).await.unwrap(), left);
    }
    // Each number was taken once: the first consent buries one, each after it two.
    let rows = scene.world.number("SELECT COUNT(*) FROM sb_ledger").await;
    let digests = scene.world.number("SELECT COUNT(DISTINCT digest) FROM sb_ledger").await;
    assert_eq!((rows, digests), (19, 19));
}

on_both!(a_claim_does_not_settle_where_its_consent_was_removed_and_its_row_is_put_back);
async fn a_claim_does_not_settle_where_its_consent_was_removed_and_its_row_is_put_back(scene: Scene) {
    let process = scene.process(&["k1"]).await;
    let other = scene.process(&["k1"]).await;
    for (remover, token) in [(&process, "r1"), (&other, "r3")] {
        it_does_not_settle(&scene, &process, &grants(&scene, remover), token).await;
    }
}

async fn it_does_not_settle(scene: &Scene, process: &Process, remover: &Grants, token: &str) {
    let (one, acme) = (grants(scene, process), connection("acme"));
    one.put(&acme, Grant::new(token, AT)).await.unwrap();
    let now = scene.world.clock.monotonic();
    let held = one.claim(&acme, Rotation::PreviousDies, now).await.unwrap();
    let claimed = process.grants.load(&acme).await.unwrap().unwrap();
    scene.world.raw(KEEP).await;
    assert!(remover.remove(&acme).await.unwrap());
    scene.world.raw(PUT_BACK).await;
    let rows = scene.world.number("SELECT COUNT(*) FROM sb_ledger").await;
    let mut next = claimed.clone();
    next.state = GrantState::Ready(Grant::new("r2", AT));
    let replaced = process.grants.replace(&acme, claimed.revision, &next).await;
    assert_eq!(replaced, Ok(false));
    let settled = held.settle(Some(RefreshToken::new("r2")), None).await;
    assert_eq!(settled, Err(GrantError::ClaimOver));
    // Nothing begins anew by it.
    assert_eq!(scene.world.number("SELECT COUNT(*) FROM sb_ledger").await, rows);
    assert_eq!(claim(scene, &one).await.unwrap_err(), GrantError::NeedsConsent);
}
