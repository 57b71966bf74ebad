//! Client certificates: what issuer and API see of them, with nginx in front of both and without.

use std::sync::Arc;
use std::time::Duration;

use shipbound::binding::mtls::Mtls;
use shipbound::binding::{BindingKind, Confirmation};
use shipbound::client::TenantClient;
use shipbound::clock::{Clock, ManualClock, SystemClock};
use shipbound::credentials::Credential;
use shipbound::error::Culprit;
use shipbound::token::answer::TokenAnswerError;
use shipbound::token::client_auth::ClientAuth;
use shipbound::transport::Stage;
use shipbound::transport::identity::{ClientIdentity, IdentityError};
use shipbound::{Error, ErrorKind};

use crate::seen::{self, SHIPMENTS, effort, ship, statuses};
use crate::support::peers::{self, AuthorizationServer, CLIENT_SECRET, ResourceServer};
use crate::support::shipper::{Setup, TENANT, certificate};

/// The registrations of which tokens are bound to certificates, each with a certificate that it may show.
const REGISTRATIONS: [(&str, &str); 5] = [
    ("tls-ca", "client-ca"),
    ("tls-ca", "client-ca-next"),
    ("tls-dn", "client-ca"),
    ("tls-self", "client-self"),
    ("basic-mtls-bound", "client-rogue"),
];

/// The client of this id, as it is registered.
pub(crate) fn registered(issuer: &AuthorizationServer, carrier: &ResourceServer, client_id: &str) -> Setup {
    let setup = Setup::new(issuer, carrier).mtls(issuer);
    match client_id {
        "basic-mtls-bound" => setup.login(client_id, CLIENT_SECRET),
        _ => setup
            .known_as(TENANT, Credential::without_secret(client_id))
            .auth(ClientAuth::Tls),
    }
}

fn tenant(
    issuer: &AuthorizationServer,
    carrier: &ResourceServer,
    client_id: &str,
    identity: &ClientIdentity,
) -> TenantClient {
    let client = registered(issuer, carrier, client_id).client(Mtls::new(identity.clone()));
    client.tenant(TENANT).unwrap()
}

/// Both servers speak HTTP/1.1, nginx HTTP/2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn issuer_and_api_see_the_certificate_that_the_token_is_bound_to() {
    for nginx in ["0", "1"] {
        let issuer = peers::authorization_server(&[("AS_NGINX", nginx)]);
        let carrier = issuer.resource_server(&[("RS_NGINX", nginx), ("RS_ENGINE", "auth0"), ("RS_BINDING", "mtls")]);
        for (client_id, name) in REGISTRATIONS {
            let identity = certificate(&issuer, name);
            let x5t = identity.x5t().to_string();
            let (asked_before, called_before) = (issuer.token_requests().len(), carrier.log().len());
            let tenant = tenant(&issuer, &carrier, client_id, &identity);

            let (made, path) = ship(&tenant).await;
            let read = tenant.get(&path).send().await.unwrap();
            assert_eq!(read.status(), 200);
            for answer in [&made, &read] {
                assert_eq!(effort(answer), (1, 0));
                let report = answer.report();
                assert_eq!(report.binding, Some(BindingKind::Mtls));
                assert_eq!((report.x5t, report.jkt), (Some(identity.x5t()), None));
            }

            let asked = &issuer.token_requests()[asked_before..];
            assert_eq!(statuses(asked), [200], "{nginx} {client_id} {name}");
            assert_eq!(asked[0]["client_id"], client_id);
            assert_eq!(asked[0]["cert_x5t"], x5t);
            assert_eq!(
                (&asked[0]["token_type"], &asked[0]["proof"]),
                (&"Bearer".into(), &false.into())
            );
            let called = &carrier.log()[called_before..];
            assert_eq!(statuses(called), [201, 200]);
            for entry in called {
                seen::certified(entry, &x5t);
            }
        }
        // The token was asked for at the alias, and at no time at the endpoint that asks for no certificate.
        if nginx == "0" {
            for request in issuer.token_requests() {
                assert_eq!(seen::handshake_of(&request, &issuer.handshakes())["listener"], "mtls");
            }
        }
    }
}

/// The aliases are at another port, which is another origin. The endpoints that ask for no certificate are no way out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aliases_on_an_origin_that_was_not_allowed() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[("RS_ENGINE", "auth0"), ("RS_BINDING", "mtls")]);
    let client = Setup::new(&issuer, &carrier)
        .known_as(TENANT, Credential::without_secret("tls-ca"))
        .auth(ClientAuth::Tls)
        .client(Mtls::new(certificate(&issuer, "client-ca")));
    let error = refused(&client.tenant(TENANT).unwrap()).await;
    assert!(matches!(error.kind(), ErrorKind::Metadata(_)), "{error}");
    assert_eq!(error.stage(), Stage::NotSent);
    assert!(issuer.token_requests().is_empty());
    assert!(issuer.handshakes().iter().all(|line| line["cert_x5t"].is_null()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_the_issuer_refuses() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[("RS_ENGINE", "auth0"), ("RS_BINDING", "mtls")]);
    for (client_id, name) in [
        ("tls-ca", "client-ca2"),
        ("tls-ca", "client-rogue"),
        ("tls-ca", "client-self"),
        ("tls-dn", "client-ca2"),
        ("tls-self", "client-ca"),
    ] {
        let identity = certificate(&issuer, name);
        let error = refused(&tenant(&issuer, &carrier, client_id, &identity)).await;
        let ErrorKind::TokenRefused(code) = error.kind() else {
            panic!("{client_id} {name}: {error}")
        };
        assert_eq!(code.as_str(), "invalid_client");
        assert_eq!(error.stage(), Stage::NotSent);
        assert_eq!(error.culprit(), Culprit::Configuration);
        let asked = issuer.token_requests();
        assert_eq!(asked.last().unwrap()["cert_x5t"], identity.x5t().to_string());
    }
    // No registration here is met by a client that shows none, and none is tried.
    assert!(
        issuer
            .token_requests()
            .iter()
            .all(|entry| entry["cert_x5t"].is_string())
    );
    assert!(carrier.log().is_empty());
}

/// The client's own clock is behind, so that it takes the expired certificate for a good one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_turns_an_expired_certificate_away() {
    let issuer = peers::authorization_server(&[("AS_NGINX", "1")]);
    let carrier = issuer.resource_server(&[("RS_NGINX", "1"), ("RS_ENGINE", "auth0"), ("RS_BINDING", "mtls")]);
    let identity = certificate(&issuer, "client-expired");
    let error = refused(&tenant(&issuer, &carrier, "tls-ca", &identity)).await;
    assert!(
        matches!(error.kind(), ErrorKind::Identity(IdentityError::Expired { .. })),
        "{error}"
    );
    assert!(issuer.token_requests().is_empty());

    let yesterday = SystemClock::new().now().offset_seconds(-36 * 3600);
    let client = registered(&issuer, &carrier, "tls-ca")
        .clock(Arc::new(ManualClock::at(yesterday)))
        .client(Mtls::new(identity));
    let error = refused(&client.tenant(TENANT).unwrap()).await;
    assert!(
        matches!(error.kind(), ErrorKind::TokenAnswer(TokenAnswerError::Unexplained(status)) if *status == 400),
        "{error}"
    );
    assert_eq!((error.stage(), error.culprit()), (Stage::NotSent, Culprit::Issuer));
    assert!(issuer.token_requests().is_empty(), "nginx lets nothing through");
    assert!(carrier.log().is_empty());
}

/// nginx says so with a 400 of its own, after the handshake: the answer is given to the caller as any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_before_the_api_wants_a_certificate_of_its_authority() {
    let issuer = peers::authorization_server(&[("AS_NGINX", "1")]);
    let verifying = [
        ("RS_NGINX", "1"),
        ("RS_NGINX_VERIFY", "on"),
        ("RS_ENGINE", "auth0"),
        ("RS_BINDING", "mtls"),
    ];
    let carrier = issuer.resource_server(&verifying);
    let rogue = certificate(&issuer, "client-rogue");
    let tenant_of_rogue = tenant(&issuer, &carrier, "basic-mtls-bound", &rogue);
    let answer = tenant_of_rogue.post(SHIPMENTS).json(&[1]).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), effort(&answer)), (400, (1, 0)));
    assert!(String::from_utf8_lossy(answer.body()).contains("nginx"));
    assert!(carrier.log().is_empty());

    let trusted = certificate(&issuer, "client-ca");
    ship(&tenant(&issuer, &carrier, "basic-mtls-bound", &trusted)).await;
    assert_eq!(carrier.log().len(), 1);
}

/// The lease ends with the token, and the next one is bound to the same certificate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_token_is_bound_to_the_same_certificate() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[("RS_ENGINE", "auth0"), ("RS_BINDING", "any")]);
    let identity = certificate(&issuer, "client-self");
    let clock = Arc::new(ManualClock::at(SystemClock::new().now()));
    let client = registered(&issuer, &carrier, "tls-self")
        .clock(clock.clone())
        .client(Mtls::new(identity.clone()));
    let tenant = client.tenant(TENANT).unwrap();
    for tokens in 1..=3 {
        ship(&tenant).await;
        ship(&tenant).await;
        assert_eq!(issuer.token_requests().len(), tokens);
        let lease = client.lease(tenant.tenant()).unwrap();
        assert_eq!(lease.confirmations(), [Confirmation::X5t(identity.x5t())]);
        clock.advance(Duration::from_secs(300));
        assert!(client.lease(tenant.tenant()).is_none());
    }
    for entry in carrier.log() {
        seen::certified(&entry, &identity.x5t().to_string());
    }
}

async fn refused(tenant: &TenantClient) -> Error {
    tenant.post(SHIPMENTS).json(&[1]).send().await.unwrap_err()
}
