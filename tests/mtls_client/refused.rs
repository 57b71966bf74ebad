//! Certificates that are not used, or that are of no use.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use shipbound::binding::mtls::Mtls;
use shipbound::carriers::CarrierProfile;
use shipbound::clock::{Clock, ManualClock, Timestamp};
use shipbound::credentials::MemoryCredentials;
use shipbound::error::Culprit;
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::Environment;
use shipbound::sandbox::{CertificateFor, Endpoint, Recorded, Sandbox};
use shipbound::target::Target;
use shipbound::target::danger::Loopback;
use shipbound::token::TokenAt;
use shipbound::token::grant::SubjectTokens;
use shipbound::transport::identity::{ClientIdentity, IdentityError};
use shipbound::transport::reqwest::ReqwestTransport;
use shipbound::transport::{Outgoing, Route, Stage, Transport, TransportErrorKind};
use shipbound::{Client, ErrorKind, Parts};

use crate::identity_support::{Authority, Server, TLS_1_2, TLS_1_3};
use crate::world::{Make, SHIPMENTS, carrier, client, connection, id, parts, profile, ship, start};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

#[tokio::test]
async fn certificates_out_of_their_time_are_shown_to_nobody() {
    let clock = Arc::new(ManualClock::at(NOW));
    let sandbox = start(Sandbox::builder().clock(clock.clone())).await;
    let hour = |number: i64| NOW.offset_seconds(number * 3600);
    for (from, until, ended) in [(hour(-2), hour(-1), true), (hour(1), hour(2), false)] {
        let certificate = CertificateFor::from("acme").valid(from, until);
        let identity = sandbox.client_certificate(certificate).unwrap().identity().unwrap();
        let make = Make {
            clock: clock.clone(),
            ..Make::usual()
        };
        let client = client(&sandbox, Mtls::new(identity), make);
        let error = ship(&client, "acme").await.unwrap_err();
        match (error.kind(), ended) {
            (ErrorKind::Identity(IdentityError::Expired { not_after }), true) => assert_eq!(*not_after, until),
            (ErrorKind::Identity(IdentityError::NotYetValid { not_before }), false) => assert_eq!(*not_before, from),
            _ => panic!("{error}"),
        }
        assert_eq!(error.code(), "client_certificate");
        assert_eq!(
            (error.stage(), error.culprit()),
            (Stage::NotSent, Culprit::Configuration)
        );
    }
    assert!(
        sandbox
            .requests()
            .iter()
            .all(|request| request.endpoint() == Endpoint::Metadata)
    );
    assert!(
        sandbox
            .handshakes()
            .iter()
            .all(|handshake| handshake.certificate().is_none())
    );
}

/// Ten minutes of the certificate are left, and the issuer says that the token is good for an hour.
#[tokio::test]
async fn a_lease_ends_with_the_certificate() {
    let clock = Arc::new(ManualClock::at(NOW));
    let sandbox = start(Sandbox::builder().clock(clock.clone())).await;
    let certificate = CertificateFor::from("acme").valid(NOW.offset_seconds(-60), NOW.offset_seconds(600));
    let identity = sandbox.client_certificate(certificate).unwrap().identity().unwrap();
    let make = Make {
        clock: clock.clone(),
        ..Make::usual()
    };
    let client = client(&sandbox, Mtls::new(identity), make);
    assert_eq!(ship(&client, "acme").await.unwrap(), 201);
    let tenant = client.tenant("acme").unwrap();
    let lease = client.lease(tenant.tenant()).unwrap();
    let left = lease.usable_until().saturating_since(clock.monotonic());
    assert_eq!(left, Duration::from_secs(595));

    clock.advance(Duration::from_secs(601));
    sandbox.clear();
    let error = ship(&client, "acme").await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Identity(IdentityError::Expired { .. })),
        "{error}"
    );
    assert!(sandbox.requests().is_empty());
}

/// Sends a call with a stolen token from somebody else's machine.
async fn with_token(sandbox: &Sandbox, token: &str, identity: Option<ClientIdentity>) -> u16 {
    let transport = sandbox.transport().unwrap();
    let url = format!("{}{SHIPMENTS}", sandbox.mtls_api().unwrap());
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    let outgoing = Outgoing {
        method: Method::POST,
        target: Target::parse_allowing(&url, &sandbox.loopbacks()).unwrap(),
        headers,
        body: Bytes::new(),
    };
    let route = match identity {
        Some(identity) => Route::new().identity(identity),
        None => Route::new(),
    };
    transport.send(outgoing, &route).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_thief_with_the_token_and_another_certificate() {
    let sandbox = start(Sandbox::builder()).await;
    let own = sandbox.client_certificate("acme").unwrap().identity().unwrap();
    let client = client(&sandbox, Mtls::new(own.clone()), Make::usual());
    let token = client.subject_token(&connection("acme")).await.unwrap();
    // Even one of the same authority and of the same name.
    let other = sandbox.client_certificate("acme").unwrap().identity().unwrap();
    assert_eq!(with_token(&sandbox, token.expose(), Some(other)).await, 401);
    assert_eq!(with_token(&sandbox, token.expose(), None).await, 401);
    assert_eq!(with_token(&sandbox, token.expose(), Some(own)).await, 201);
}

/// TLS 1.3 has the client finish before the server looks at its certificate, so the request may have been sent.
#[tokio::test]
async fn a_server_that_takes_certificates_of_another_authority() {
    let (theirs, ours) = (Authority::new(), Authority::named("another"));
    for (versions, stage) in [(TLS_1_2, Stage::NotSent), (TLS_1_3, Stage::MaybeSent)] {
        let server = Server::start(theirs.config(versions, "http/1.1", true)).await;
        let here = Loopback::exact(&server.address.to_string()).unwrap();
        let base = format!("https://{}", server.address);
        let transport = ReqwestTransport::builder()
            .only_roots_pem(theirs.pem())
            .allow_loopback(here.clone());
        let profile =
            CarrierProfile::custom(carrier(), Environment::Sandbox, base, TokenAt::Nowhere).allow_loopback(here);
        let parts = Parts::builder()
            .keys(MemoryKeyStore::new())
            .credentials(MemoryCredentials::new())
            .transport(transport.build().unwrap())
            .build()
            .unwrap();
        let client_of = |identity: ClientIdentity| {
            let builder = Client::builder(profile.clone(), &parts).binding(Mtls::new(identity));
            builder.build().unwrap()
        };
        let error = ship(&client_of(ours.client()), "acme").await.unwrap_err();
        match error.kind() {
            ErrorKind::NotDelivered(kind) | ErrorKind::OutcomeUnknown(kind) => {
                assert_eq!(*kind, TransportErrorKind::CertificateRefused);
            }
            _ => panic!("{error}"),
        }
        assert_eq!(error.stage(), stage);
        // Another shipper, whose certificate the server takes.
        assert_eq!(ship(&client_of(theirs.client()), "globex").await.unwrap(), 200);
    }
}

/// A token that was revoked elsewhere: the call is refused, and goes with the next token.
#[tokio::test]
async fn a_stale_token_is_renewed_with_the_same_certificate() {
    let sandbox = start(Sandbox::builder()).await;
    let own = sandbox.client_certificate("acme").unwrap();
    let parts = parts(&sandbox, &["acme"], Make::usual());
    let client = Client::builder(profile(&sandbox), &parts)
        .binding(Mtls::new(own.identity().unwrap()))
        .confirm_binding()
        .build()
        .unwrap();
    assert_eq!(ship(&client, "acme").await.unwrap(), 201);
    assert_eq!(sandbox.revoke_tokens(&id("acme")), 1);
    let call = client.tenant("acme").unwrap();
    let answer = call.post(SHIPMENTS).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!((answer.report().attempts, answer.report().renewals), (2, 1));
    let statuses: Vec<_> = sandbox
        .requests_at(Endpoint::Api)
        .iter()
        .map(|call| (call.status().unwrap(), call.certificate()))
        .collect();
    let x5t = Some(own.x5t());
    assert_eq!(statuses, [(201, x5t), (401, x5t), (201, x5t)]);
    assert_eq!(sandbox.requests_at(Endpoint::Introspection).len(), 2);
    let certified = |request: &Recorded| request.certificate() == x5t;
    assert!(sandbox.requests_at(Endpoint::Introspection).iter().all(certified));
}
