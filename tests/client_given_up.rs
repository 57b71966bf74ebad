//! A call whose caller goes away while it is on its way.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::sync::Arc;

use http::Method;
use shipbound::binding::dpop::Dpop;
use shipbound::carriers::CarrierProfile;
use shipbound::journal::EventKind;
use shipbound::journal::memory::MemorySink;
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::{CarrierId, Environment, TenantId};
use shipbound::sandbox::{Answer, Canned, Endpoint, Gate, Sandbox, Who};
use shipbound::token::TokenAt;
use shipbound::transport::Stage;
use shipbound::{Client, Parts};

/// The one who reads the issuer's metadata for all is gone; the others are not held up.
#[tokio::test]
async fn metadata_is_read_on_by_those_who_still_wait() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.route(Method::POST, "/v1/shipments", Canned::empty(201));
    let shippers = ["acme", "globex"].map(|name| TenantId::new(name).unwrap());
    let profile = sandbox.profile(CarrierProfile::custom(
        CarrierId::new("acme-freight").unwrap(),
        Environment::Sandbox,
        "https://api.carrier.example",
        TokenAt::Issuer("https://auth.carrier.example".into()),
    ));
    let parts = Parts::builder()
        .keys(MemoryKeyStore::new())
        .credentials(sandbox.credentials(&profile, &shippers))
        .transport(sandbox.transport().unwrap())
        .build()
        .unwrap();
    let client = Client::builder(profile, &parts).binding(Dpop::es256()).build().unwrap();
    let [acme, globex] = shippers.map(|shipper| client.for_tenant(shipper));

    let gate = Gate::new();
    sandbox.script(Who::Anyone, Endpoint::Metadata, [Answer::normal().held(&gate)]);
    tokio::select! {
        outcome = acme.post("/v1/shipments").send() => panic!("answered: {outcome:?}"),
        () = gate.reached(1) => {}
    }
    gate.open();
    let answer = globex.post("/v1/shipments").send().await.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(sandbox.requests_at(Endpoint::Metadata).len(), 1);
}

#[tokio::test]
async fn the_journal_knows_that_the_request_may_have_been_sent() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.route(Method::POST, "/v1/shipments", Canned::empty(201));
    let acme = TenantId::new("acme").unwrap();
    let profile = sandbox.profile(CarrierProfile::custom(
        CarrierId::new("acme-freight").unwrap(),
        Environment::Sandbox,
        "https://api.carrier.example",
        TokenAt::Issuer("https://auth.carrier.example".into()),
    ));
    let sink = Arc::new(MemorySink::default());
    let parts = Parts::builder()
        .keys(MemoryKeyStore::new())
        .credentials(sandbox.credentials(&profile, [&acme]))
        .transport(sandbox.transport().unwrap())
        .shared_sink(sink.clone())
        .build()
        .unwrap();
    let client = Client::builder(profile, &parts).binding(Dpop::es256()).build().unwrap();

    let gate = Gate::new();
    sandbox.script(&acme, Endpoint::Api, [Answer::normal().held(&gate)]);
    let tenant = client.for_tenant(acme.clone());
    let call = tenant.post("/v1/shipments").send();
    // The server has the request and holds its answer; then the caller is gone.
    tokio::select! {
        outcome = call => panic!("answered: {outcome:?}"),
        () = gate.reached(1) => {}
    }

    let calls: Vec<_> = sink
        .events()
        .into_iter()
        .filter_map(|event| match event.kind {
            EventKind::Call(call) => Some((call.error, call.stage, call.attempts, call.status)),
            _ => None,
        })
        .collect();
    assert_eq!(calls, [(Some("cancelled"), Stage::MaybeSent, 1, None)]);
}
