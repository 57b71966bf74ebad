//! A hundred tenants at random, while tokens expire, are revoked and refused, and nonces change.

use std::collections::HashMap;

use shipbound::journal::EventKind;
use shipbound::owner::{Tenant, TenantId};
use shipbound::sandbox::Nonces;
use uuid::Uuid;

use crate::judge::judge;
use crate::world::{Make, Random, SERVICES, World};

const TENANTS: usize = 100;
const ROUNDS: usize = 8;
const CALLS: usize = 300;
const CONCURRENCY: usize = 32;

/// A hundred tenants. Ids come again in other cases and with dots, and ten of them as other incarnations.
fn tenants() -> Vec<Tenant> {
    (0..TENANTS)
        .map(|number| {
            let (shape, of) = (number % 5, number / 5);
            let id = match shape {
                0 | 4 => format!("shipper{of}"),
                1 => format!("Shipper{of}"),
                2 => format!("shipper.{of}"),
                _ => format!("shipper{of}."),
            };
            let incarnation = Uuid::from_u128(u128::from(shape == 4) * (of as u128 + 1));
            Tenant::new(TenantId::new(&id).unwrap(), incarnation)
        })
        .collect()
}

async fn many(nonces: Nonces, seed: u64) {
    let tenants = tenants();
    // Everybody ships with one carrier, most with two, and every third has an account more.
    let has = |tenant: usize, service: usize| match service {
        2 => tenant.is_multiple_of(3),
        service => tenant % 4 < 2 || tenant % 2 == service,
    };
    let world = World::start(&tenants, has, Make::usual(nonces)).await;
    let mut random = Random(seed);
    let mut outcomes: HashMap<&'static str, usize> = HashMap::new();
    for round in 0..ROUNDS {
        for (outcome, count) in world.calls(&mut random, CALLS, CONCURRENCY).await {
            *outcomes.entry(outcome).or_default() += count;
        }
        world.disturb(&mut random, round);
    }
    // Whoever was not drawn has its turn.
    for shipper in &*world.shippers {
        *outcomes.entry(world.call(shipper).await).or_default() += 1;
    }

    let log = world.sandbox.requests();
    let found = judge(&log);
    assert_eq!(found.violations, [], "of {} requests", log.len());

    // The run was what it was meant to be.
    let total = ROUNDS * CALLS + world.shippers.len();
    let succeeded = outcomes.get("ok").copied().unwrap_or_default();
    // Calls of one connection at a time take each other's nonce away, where each serves one request.
    assert!(succeeded * 100 >= total * 97, "{outcomes:?}");
    assert!(
        outcomes
            .keys()
            .all(|outcome| ["ok", "nonce_loop", "unauthorized", "cooling_down"].contains(outcome)),
        "{outcomes:?}"
    );
    assert_eq!(found.keys.len(), world.shippers.len(), "a key for each connection");
    assert!(found.calls > total && found.refused > ROUNDS, "{}", found.refused);
    assert!(found.with_nonce > total, "{} proofs with a nonce", found.with_nonce);
    let renewed = found.tokens.values().filter(|tokens| tokens.len() > 2).count();
    assert!(renewed > world.shippers.len() / 2, "{renewed} got a third token");
    // Connections belong to nobody, so there are few.
    assert!(
        found.connections.len() <= 2 * CONCURRENCY,
        "{}",
        found.connections.len()
    );
    let shared = found.connections.values().map(std::collections::HashSet::len).max();
    assert!(shared.unwrap() > TENANTS / 2);

    // The journal says the same as the servers: whose call, with which key.
    let clients: HashMap<_, _> = world
        .shippers
        .iter()
        .map(|shipper| {
            let (carrier, account, _) = SERVICES[shipper.service];
            ((shipper.tenant.clone(), carrier, account), shipper.client.as_str())
        })
        .collect();
    let mut calls = 0;
    for event in world.journal.events() {
        let EventKind::Call(call) = event.kind else { continue };
        let connection = event.connection.as_ref().unwrap();
        let (carrier, account) = (connection.carrier().as_str(), connection.account().as_str());
        let client = clients[&(connection.tenant().clone(), carrier, account)];
        assert_eq!(call.jkt.map(|jkt| jkt.to_string()).as_ref(), found.keys.get(client));
        calls += 1;
    }
    assert_eq!(calls, total);
    world.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_tenants_with_nonces_that_last() {
    many(Nonces::Required, 0x5eed_0001).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_tenants_with_a_nonce_for_every_call() {
    many(Nonces::EveryCall, 0x5eed_0002).await;
}
