//! Removals where other processes have tokens of the connection, or a part of what it takes to tell the issuer.

use std::time::Duration;

use shipbound::chore::Chore;
use shipbound::credentials::{CredentialAdmin, CredentialStore};
use shipbound::directory::Standing;
use shipbound::grants::{GrantState, GrantStore};
use shipbound::journal::EventKind;
use shipbound::journal::fingerprint::TenantSalts;
use shipbound::owner::ConnectionId;
use shipbound::registry::{Removal, Step, StepReport};
use shipbound::sandbox::{Answer, Canned, Endpoint};

use crate::removal::assert_gone;
use crate::stores::Flaky;
use crate::world::{World, act, tenant, world, world_on};

const STEP: Duration = Duration::from_millis(100);

fn tokens(removal: &Removal) -> StepReport {
    *removal.step(Step::Tokens).unwrap()
}

/// Two processes, and a connection of which the second one has a token.
async fn two() -> (World, World, ConnectionId) {
    let store = Flaky {
        shared: true,
        ..Flaky::default()
    };
    let one = world_on(store.clone()).await;
    one.add("seed").await;
    let two = one.another(store).await;
    let connection = one.add("acme").await.connection;
    assert_eq!(two.ship("acme").await.unwrap(), 201);
    (one, two, connection)
}

fn hold_revocations(world: &World) {
    let failing = Answer::reply(Canned::empty(500));
    world.sandbox.always(tenant("acme"), Endpoint::Revocation, failing);
}

/// Both go on with the removal, which the first one began; the second one's issuer does not answer.
async fn held_up(one: &World, two: &World, connection: &ConnectionId) -> (Removal, Removal) {
    hold_revocations(one);
    let removing = one.begin(connection).await;
    two.registry.round(&|| true).await;
    let other = two.remover();
    let both = futures_util::future::join(removing, other.resume());
    let (first, second) = one.moving(STEP, both).await;
    (first.unwrap().unwrap(), second[0].clone())
}

#[tokio::test]
async fn who_has_no_token_waits_for_who_has_still_to_tell() {
    let (one, two, connection) = two().await;
    let (first, second) = held_up(&one, &two, &connection).await;
    assert!(!first.finished && !second.finished, "{first:?} {second:?}");
    assert_eq!(
        (tokens(&first).remained, tokens(&first).code),
        (1, Some("other_process"))
    );
    // What it takes to tell is left.
    assert_eq!(first.step(Step::Keys), None);
    assert!(one.credentials.credential(&connection).await.is_ok());
    // Nor does it end with a further run of the one that has nothing to tell.
    let again = one.moving(STEP, one.remover().resume()).await;
    assert!(!again[0].finished, "{again:?}");

    one.sandbox.normal_service();
    let told = one.moving(STEP, two.remover().resume()).await;
    assert!(told[0].finished && !told[0].has_remains(), "{told:?}");
    let heard = one.sandbox.requests_at(Endpoint::Revocation);
    assert_eq!(heard.last().unwrap().status(), Some(200));
    one.registry.round(&|| true).await;
    assert_gone(&one, &connection).await;
    assert_gone(&two, &connection).await;
    assert_eq!(one.registry.record(&connection).await.unwrap().untold.lost, 0);
}

#[tokio::test]
async fn who_was_killed_before_it_told_is_waited_for_and_reported() {
    let (one, two, connection) = two().await;
    held_up(&one, &two, &connection).await;
    drop(two);
    one.sandbox.normal_service();
    let waiting = one.moving(STEP, one.remover().resume()).await;
    assert!(!waiting[0].finished, "{waiting:?}");
    one.clock.advance(Duration::from_secs(601));
    let removals = one.moving(STEP, one.remover().resume()).await;
    assert!(removals[0].finished && removals[0].has_remains(), "{removals:?}");
    let tokens = tokens(&removals[0]);
    assert_eq!((tokens.done, tokens.remained), (0, 1));
    assert_eq!(tokens.code, Some("other_process"));
    assert_gone(&one, &connection).await;
    // Also for those who read it later.
    let record = one.registry.record(&connection).await.unwrap();
    assert_eq!((record.untold.lost, record.untold.telling), (1, Vec::new()));
}

/// What another process could not tell, and never will, is in the report of who ends the removal.
#[tokio::test]
async fn what_another_process_has_lost_is_reported() {
    let (one, two, connection) = two().await;
    assert_eq!(one.ship("acme").await.unwrap(), 201);
    one.credentials
        .remove_credential(&connection, &act("too early"))
        .await
        .unwrap();
    let removing = one.begin(&connection).await;
    two.registry.round(&|| true).await;
    let other = two.remover();
    let both = futures_util::future::join(removing, other.resume());
    let (first, second) = one.moving(STEP, both).await;
    let (first, second) = (first.unwrap().unwrap(), second[0].clone());
    assert!(first.finished && second.finished, "{first:?} {second:?}");
    let most = tokens(&first).remained.max(tokens(&second).remained);
    assert_eq!(most, 2, "{first:?} {second:?}");
    assert_eq!(one.registry.record(&connection).await.unwrap().untold.lost, 2);
    let given_up = |kind: &EventKind| matches!(kind, EventKind::RevocationGivenUp);
    assert_eq!((one.events(given_up), two.events(given_up)), (1, 1));
}

#[tokio::test]
async fn who_was_away_and_learns_of_the_end_drops_what_it_has() {
    let (one, two, connection) = two().await;
    let salt = two.salts.salt(connection.tenant());
    let removing = one.begin(&connection).await;
    assert!(one.moving(STEP, removing).await.unwrap().unwrap().finished);
    assert_eq!(two.parts.tokens().len(), 1);
    two.registry.round(&|| true).await;
    let left = two.remover().resume().await;
    assert!(left.len() == 1 && left[0].finished, "{left:?}");
    // Its key is gone, so the issuer could not be told: that is said.
    assert_eq!((tokens(&left[0]).done, tokens(&left[0]).remained), (0, 1));
    assert_eq!(two.parts.tokens().len(), 0);
    assert_ne!(two.salts.salt(connection.tenant()), salt);
    assert_eq!(two.refused("acme").await, "connection_unknown");
    assert!(two.remover().resume().await.is_empty());
}

/// A place that was given to a new holder before the old one's end was read.
#[tokio::test]
async fn who_was_away_and_finds_a_new_holder_drops_what_it_has_of_the_old_one() {
    let (one, two, connection) = two().await;
    let removing = one.begin(&connection).await;
    assert!(one.moving(STEP, removing).await.unwrap().unwrap().finished);
    let new = one.add("acme").await.connection;
    assert_ne!(new, connection);
    two.registry.round(&|| true).await;
    let left = two.remover().resume().await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].connection, connection);
    assert!(two.client.lease(connection.tenant()).is_none());
    assert_eq!(two.ship("acme").await.unwrap(), 201);
}

/// A process that is killed before the issuer has answered loses no refresh token: it is in the store until the issuer knows.
#[tokio::test]
async fn a_refresh_token_is_left_until_the_issuer_knows() {
    let one = world().await;
    let connection = one.add("acme").await.connection;
    let client = one.by_consent(&connection).await;
    let of_acme = client.tenant("acme").unwrap();
    assert_eq!(of_acme.post("/v1/shipments").send().await.unwrap().status(), 201);
    hold_revocations(&one);
    let remover = one.remover_without().client(&client);
    assert!(!remover.remove(&connection, &act("left")).await.unwrap().finished);
    let kept = one.grants.load(&connection).await.unwrap().unwrap();
    assert!(matches!(kept.state, GrantState::Ready(_)));

    // The next process has nothing but the stores.
    one.sandbox.normal_service();
    let fresh = one.consenting();
    let removals = one.remover_without().client(&fresh).resume().await;
    assert!(removals[0].finished && !removals[0].has_remains(), "{removals:?}");
    let told = one.sandbox.requests_at(Endpoint::Revocation);
    let heard = told.iter().filter(|told| told.status() == Some(200));
    assert!(
        heard
            .filter_map(|told| told.form("token_type_hint"))
            .any(|hint| hint == "refresh_token")
    );
    assert_eq!(
        one.registry.record(&connection).await.unwrap().standing,
        Standing::Removed
    );
}
