//! Metadata, and how often an issuer is asked.

use std::sync::Arc;

use futures_util::future::join_all;
use shipbound::binding::BindingKind;
use shipbound::binding::bearer::Bearer;
use shipbound::binding::dpop::Dpop;
use shipbound::binding::mtls::Mtls;
use shipbound::client::Outlook;
use shipbound::clock::{Clock, ManualClock, SystemClock};

use crate::seen::{self, SHIPMENTS, jkt, ship, statuses};
use crate::support::peers::{self, AuthorizationServer};
use crate::support::shipper::{Setup, TENANT, certificate};

fn metadata_requests(issuer: &AuthorizationServer) -> Vec<(String, u64)> {
    let log = issuer.log().into_iter();
    log.filter_map(|entry| {
        let path = entry["path"].as_str()?;
        path.contains("/.well-known/")
            .then(|| (path.to_owned(), entry["status"].as_u64().unwrap()))
    })
    .collect()
}

/// RFC 8414 3 first, then where OpenID Connect Discovery 4 puts it; read once for all calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_at_the_place_of_openid_connect() {
    for path in ["", "/tenants/one"] {
        let issuer = peers::authorization_server(&[("AS_RFC8414", "0"), ("AS_PATH", path)]);
        let carrier = issuer.resource_server(&[]);
        let before = metadata_requests(&issuer).len();
        let client = Setup::new(&issuer, &carrier).client(Dpop::es256());
        let tenant = client.tenant(TENANT).unwrap();
        let (answer, _) = ship(&tenant).await;
        client.forget(tenant.tenant());
        ship(&tenant).await;
        assert_eq!(
            metadata_requests(&issuer)[before..],
            [
                (format!("/.well-known/oauth-authorization-server{path}"), 404),
                (format!("{path}/.well-known/openid-configuration"), 200),
            ]
        );
        let asked = issuer.token_requests();
        seen::token_requests(&asked, &jkt(&answer), &format!("{}/token", issuer.issuer()));
        assert!(asked.iter().all(|entry| entry["path"] == format!("{path}/token")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_at_the_place_of_rfc_8414() {
    let issuer = peers::authorization_server(&[("AS_PATH", "/tenants/one")]);
    let carrier = issuer.resource_server(&[]);
    let before = metadata_requests(&issuer).len();
    let client = Setup::new(&issuer, &carrier).client(Dpop::es256());
    ship(&client.tenant(TENANT).unwrap()).await;
    let place = "/.well-known/oauth-authorization-server/tenants/one";
    assert_eq!(metadata_requests(&issuer)[before..], [(place.to_owned(), 200)]);
}

/// What the issuer says of itself, and what a client gets there: nobody is asked for a token, and nothing is shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[]);
    let setup = || Setup::new(&issuer, &carrier).mtls(&issuer);
    let mtls = || Mtls::new(certificate(&issuer, "client-ca"));
    let offered = vec![BindingKind::Dpop, BindingKind::Mtls];
    for (client, outlook) in [
        (setup().client(Dpop::es256()), Outlook::Bound(BindingKind::Dpop)),
        (setup().client(mtls()), Outlook::Bound(BindingKind::Mtls)),
        (
            setup().client(mtls().and_dpop(Dpop::es256())),
            Outlook::Bound(BindingKind::DpopMtls),
        ),
        (setup().client(Bearer), Outlook::Unbound { offered }),
    ] {
        let tenant = client.tenant(TENANT).unwrap();
        let probe = client.probe(tenant.tenant()).await.unwrap();
        assert_eq!(probe.issuer.as_deref(), Some(issuer.issuer()));
        assert_eq!(probe.outlook, outlook);
        let told = probe.capabilities.unwrap();
        assert!(told.mtls_aliases && told.certificate_bound_tokens == Some(true));
    }
    assert!(issuer.token_requests().is_empty());
    assert!(issuer.handshakes().iter().all(|line| line["listener"] == "main"));
}

/// All wait for one flight: one grant, and with it one key and one token for all fifty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_cold_calls_ask_for_one_token() {
    for (at_issuer, requests) in [("off", vec![200]), ("required", vec![400, 200])] {
        let issuer = peers::authorization_server(&[("DPOP_NONCE", at_issuer)]);
        let carrier = issuer.resource_server(&[("RS_NONCE", "required")]);
        let client = Setup::new(&issuer, &carrier).client(Dpop::es256());
        let tenant = client.tenant(TENANT).unwrap();
        let answers = join_all((0..50).map(|_| ship(&tenant))).await;

        let asked = issuer.token_requests();
        assert_eq!(statuses(&asked), requests);
        let jkt = jkt(&answers[0].0);
        seen::token_requests(&asked, &jkt, &format!("{}/token", issuer.issuer()));
        seen::bound_requests(&carrier.log(), &jkt, carrier.base());
        let created = statuses(&carrier.log()).iter().filter(|status| **status == 201).count();
        assert_eq!(created, 50);
    }
}

/// A wrong secret is tried once; until the cool-down is over nobody asks again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_is_not_hammered() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[]);
    let clock = Arc::new(ManualClock::at(SystemClock::new().now()));
    let client = Setup::new(&issuer, &carrier)
        .login("basic", "not-the-secret-of-this-client-0123456789")
        .clock(clock.clone())
        .client(Dpop::es256());
    let tenant = client.tenant(TENANT).unwrap();
    let call = || tenant.post(SHIPMENTS).json(&1).send();

    let outcomes = join_all((0..20).map(|_| call())).await;
    assert_eq!(issuer.token_requests().len(), 1);
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        assert!(matches!(error.code(), "token_refused" | "cooling_down"), "{error}");
    }
    let resting = call().await.unwrap_err();
    assert_eq!(resting.code(), "cooling_down");
    let again_at = resting.retry_at().unwrap();
    assert!(again_at > clock.now());
    assert_eq!(issuer.token_requests().len(), 1);

    clock.advance(std::time::Duration::from_secs(
        u64::try_from(again_at.seconds_since(clock.now())).unwrap() + 1,
    ));
    assert_eq!(call().await.unwrap_err().code(), "token_refused");
    let asked = issuer.token_requests();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|entry| entry["error"] == "invalid_client"));
    assert!(carrier.log().is_empty());
}
