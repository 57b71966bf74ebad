//! Calls with a certificate: on which connections they go, and where they do not go.

use std::collections::HashSet;
use std::sync::Arc;

use http::Method;
use shipbound::binding::mtls::{MemoryCertificates, Mtls};
use shipbound::binding::{BindingKind, Confirmation};
use shipbound::carriers;
use shipbound::credentials::MemoryCredentials;
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::Environment;
use shipbound::sandbox::{Answer, Canned, Endpoint, Recorded, Sandbox};
use shipbound::token::TokenRequest;
use shipbound::transport::Stage;
use shipbound::{Client, ErrorKind, Parts};

use crate::world::{Make, SHIPMENTS, client, id, parts, profile, ship, start};

/// BNSF's way: no tokens, no issuer. The certificate says who calls.
#[tokio::test]
async fn a_carrier_without_tokens() {
    let sandbox = start(Sandbox::builder()).await;
    sandbox.open_route(Method::GET, "/v1/cars", |request: &Recorded| {
        Canned::empty(if request.certificate().is_some() { 200 } else { 403 })
    });
    let profile = sandbox.mtls_profile(carriers::bnsf(Environment::Sandbox));
    let certificates = Arc::new(MemoryCertificates::new());
    let parts = Parts::builder()
        .keys(MemoryKeyStore::new())
        .credentials(MemoryCredentials::new())
        .transport(sandbox.transport().unwrap())
        .build()
        .unwrap();
    let put = |tenant: &str| {
        let certificate = sandbox.client_certificate(tenant).unwrap();
        let identity = certificate.identity().unwrap();
        certificates.put(id(tenant), profile.id(), profile.environment(), identity);
        certificate.x5t()
    };
    let bnsf = Client::builder(profile.clone(), &parts)
        .binding(Mtls::shared(certificates.clone()))
        .build()
        .unwrap();
    let mut expected = Vec::new();
    for tenant in ["acme", "globex", "acme"] {
        // The second certificate of `acme` takes the first one's place.
        expected.push(put(tenant));
        let answer = bnsf.tenant(tenant).unwrap().get("/v1/cars").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.report().binding, Some(BindingKind::Mtls));
        assert_eq!(answer.report().x5t, expected.last().copied());
    }
    let requests = sandbox.requests();
    let shown: Vec<_> = requests.iter().map(|request| request.certificate().unwrap()).collect();
    assert_eq!(shown, expected);
    assert!(requests.iter().all(|request| request.header("authorization").is_none()));

    let unknown = bnsf.tenant("nobody").unwrap().get("/v1/cars").send().await.unwrap_err();
    assert_eq!(
        (unknown.code(), unknown.stage()),
        ("client_certificate", Stage::NotSent)
    );
}

/// Tokens belong to the client whose certificates they are bound to: another client may have others, whatever it asks for.
/// Connections belong to the certificate.
#[tokio::test]
async fn two_clients_of_one_connection() {
    let sandbox = start(Sandbox::builder()).await;
    let certificate = sandbox.client_certificate("acme").unwrap();
    let identity = certificate.identity().unwrap();
    let parts = parts(&sandbox, &["acme"], Make::usual());
    let client_of = |profile| {
        let builder = Client::builder(profile, &parts).binding(Mtls::new(identity.clone()));
        builder.build().unwrap()
    };
    let other_scope = TokenRequest::new().scope("ship:read").unwrap();
    let clients = [
        client_of(profile(&sandbox)),
        client_of(profile(&sandbox)),
        client_of(profile(&sandbox).token_request(other_scope)),
    ];
    for client in &clients {
        for _ in 0..2 {
            assert_eq!(ship(client, "acme").await.unwrap(), 201);
        }
    }
    assert_eq!(sandbox.token_requests(), 3);
    let calls = sandbox.requests_at(Endpoint::Api);
    let connections: HashSet<_> = calls.iter().map(Recorded::connection).collect();
    assert_eq!((calls.len(), connections.len()), (6, 1));
    for client in &clients {
        let lease = client.lease(&id("acme").into()).unwrap();
        assert_eq!(lease.confirmations(), [Confirmation::X5t(certificate.x5t())]);
    }
}

#[tokio::test]
async fn a_misdirected_call_goes_on_a_fresh_connection_with_the_same_certificate() {
    for http2 in [true, false] {
        let sandbox = start(Sandbox::builder().http2(http2)).await;
        let own = sandbox.client_certificate("acme").unwrap();
        let client = client(&sandbox, Mtls::new(own.identity().unwrap()), Make::usual());
        assert_eq!(ship(&client, "acme").await.unwrap(), 201);
        sandbox.script(id("acme"), Endpoint::Api, [Answer::misdirected()]);
        let call = client.tenant("acme").unwrap();
        let answer = call.post(SHIPMENTS).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.report().attempts), (201, 2));
        let calls = sandbox.requests_at(Endpoint::Api);
        let statuses: Vec<_> = calls.iter().map(|call| call.status().unwrap()).collect();
        assert_eq!(statuses, [201, 421, 201]);
        assert!(calls.iter().all(|call| call.certificate() == Some(own.x5t())));
        assert_eq!(calls[0].connection(), calls[1].connection());
        assert_ne!(calls[1].connection(), calls[2].connection());
        assert!(calls[2].resumed(), "with a ticket of this certificate");

        sandbox.script(
            id("acme"),
            Endpoint::Api,
            [Answer::misdirected(), Answer::misdirected()],
        );
        let error = ship(&client, "acme").await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Misdirected), "{error}");
        assert_eq!(error.stage(), Stage::Answered);
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let sandbox = start(Sandbox::builder()).await;
    let own = sandbox.client_certificate("acme").unwrap();
    let client = client(&sandbox, Mtls::new(own.identity().unwrap()), Make::usual());
    assert_eq!(ship(&client, "acme").await.unwrap(), 201);
    let elsewhere = [
        format!("{}{SHIPMENTS}", sandbox.mtls_api().unwrap()),
        format!("{}{SHIPMENTS}", sandbox.api()),
        format!("{}/token", sandbox.issuer()),
    ];
    for place in &elsewhere {
        let (requests, handshakes) = (sandbox.requests().len(), sandbox.handshakes().len());
        sandbox.script(id("acme"), Endpoint::Api, [Answer::redirect(place)]);
        let error = ship(&client, "acme").await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Redirect), "{error}");
        assert_eq!(sandbox.requests().len(), requests + 1);
        assert_eq!(sandbox.handshakes().len(), handshakes);
    }
    // Nor is the request for a token.
    client.forget(&id("acme").into());
    sandbox.script(id("acme"), Endpoint::Token, [Answer::redirect(&elsewhere[2])]);
    let requests = sandbox.requests().len();
    let error = ship(&client, "acme").await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Redirect), "{error}");
    assert_eq!(error.stage(), Stage::NotSent);
    assert_eq!(sandbox.requests().len(), requests + 1);
}

#[tokio::test]
async fn calls_one_after_the_other_make_no_handshake_more() {
    for http2 in [true, false] {
        let sandbox = start(Sandbox::builder().http2(http2)).await;
        let own = sandbox.client_certificate("acme").unwrap();
        let client = client(&sandbox, Mtls::new(own.identity().unwrap()), Make::usual());
        for _ in 0..20 {
            assert_eq!(ship(&client, "acme").await.unwrap(), 201);
        }
        // One for the metadata; token and calls go to the one host that asks for certificates.
        let handshakes = sandbox.handshakes();
        let shown: Vec<_> = handshakes.iter().map(|one| one.certificate()).collect();
        assert_eq!(shown, [None, Some(own.x5t())]);
        assert!(handshakes.iter().all(|handshake| !handshake.resumed()));
    }
}
