//! What an issuer offers, and what it is still to be told.

use std::time::Duration;

use serde_json::json;
use shipbound::binding::BindingKind;
use shipbound::binding::bearer::Bearer;
use shipbound::binding::dpop::Dpop;
use shipbound::journal::EventKind;
use shipbound::sandbox::{Answer, Canned, Endpoint, Sandbox};
use shipbound::token::revocation::Revocation;
use shipbound::{CarrierClient, ErrorKind};

use crate::world::{acme, bound, run, world};

#[tokio::test]
async fn a_binding_that_is_newly_offered_is_an_event_once() {
    let nothing =
        json!({"dpop_signing_alg_values_supported": null, "tls_client_certificate_bound_access_tokens": null});
    let sandbox = Sandbox::builder().metadata_with(nothing);
    let world = world(sandbox, bound(Bearer), |profile| profile).await;
    assert_eq!(world.ship().await.unwrap(), 201);
    let upkeep = run(world.upkeep().probe_every(Duration::from_secs(3600)));
    let probes = |world: &crate::world::World| world.sandbox.requests_at(Endpoint::Metadata).len();
    let before = probes(&world);
    world.move_until(|world| probes(world) > before).await;
    let offered = |kind: &EventKind| matches!(kind, EventKind::BindingOffered { .. });
    assert_eq!(world.events(offered), 0);

    world
        .sandbox
        .metadata_with(json!({"dpop_signing_alg_values_supported": ["ES256"]}));
    world.move_until(|world| world.events(offered) > 0).await;
    let seen = probes(&world);
    world.move_until(|world| probes(world) > seen + 2).await;
    upkeep.end().await;
    assert_eq!(world.events(offered), 1);
    let dpop = |kind: &EventKind| matches!(kind, EventKind::BindingOffered { binding: BindingKind::Dpop, carrier, .. } if carrier.as_str() == "acme-freight");
    assert_eq!(world.events(dpop), 1);
}

/// RFC 7009 2.2.1: the token is dropped here at once, and the issuer told when it listens again.
#[tokio::test]
async fn a_revocation_that_the_issuer_put_off_is_told_again() {
    let world = world(Sandbox::builder(), bound(Dpop::es256()), |profile| profile).await;
    assert_eq!(world.ship().await.unwrap(), 201);
    let busy = Canned::empty(503).header("retry-after", "30");
    world
        .sandbox
        .script(acme(), Endpoint::Revocation, [Answer::reply(busy)]);
    let refused = world.client.revoke(&acme().into()).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::RateLimited), "{refused}");
    assert!(world.client.lease(&acme().into()).is_none());
    let told = |world: &crate::world::World| world.sandbox.requests_at(Endpoint::Revocation).len();
    assert_eq!(told(&world), 1);

    let upkeep = run(world.upkeep());
    world.move_until(|world| told(world) == 2).await;
    upkeep.end().await;
    assert_eq!(world.client.revoke(&acme().into()).await.unwrap(), Revocation::Nothing);
    let answers = world.sandbox.requests_at(Endpoint::Revocation);
    assert_eq!(answers[1].status(), Some(200));
}
