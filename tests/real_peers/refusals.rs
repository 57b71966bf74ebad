//! What real servers refuse, how the call says so, and that no refusal makes it fall back on a bearer token.

use shipbound::binding::bearer::Bearer;
use shipbound::binding::dpop::Dpop;
use shipbound::binding::{BindingKind, BindingStrategy};
use shipbound::error::Culprit;
use shipbound::token::TokenRequest;
use shipbound::token::answer::TokenAnswerError;
use shipbound::transport::Stage;
use shipbound::{Error, ErrorKind};

use crate::seen::{SHIPMENTS, effort, ship, statuses};
use crate::support::peers::{self, CLIENT_SECRET};
use crate::support::shipper::{Setup, TENANT};

async fn refused(setup: Setup, strategy: impl BindingStrategy + 'static) -> Error {
    let client = setup.client(strategy);
    let call = client.tenant(TENANT).unwrap();
    call.post(SHIPMENTS).json(&[1]).send().await.unwrap_err()
}

fn oauth_code(error: &Error) -> &str {
    let ErrorKind::TokenRefused(code) = error.kind() else {
        panic!("{error}")
    };
    code.as_str()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bearer_token_where_only_dpop_is_taken() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[]);
    let error = refused(Setup::new(&issuer, &carrier), Bearer).await;
    assert_eq!(error.code(), "unauthorized");
    assert_eq!(error.stage(), Stage::Answered);
    assert_eq!(error.response().unwrap().status(), 401);
    let report = error.report().unwrap();
    assert_eq!((report.attempts, report.renewals), (2, 1));
    assert_eq!((report.binding, report.jkt), (Some(BindingKind::Bearer), None));
    // The server calls the token invalid, so a new one is tried, once.
    let log = carrier.log();
    assert_eq!(statuses(&log), [401, 401]);
    assert!(
        log.iter()
            .all(|entry| entry["scheme"] == "Bearer" && entry["proof"] == false)
    );
    assert!(
        issuer
            .token_requests()
            .iter()
            .all(|entry| entry["token_type"] == "Bearer")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bearer_token_where_it_is_taken() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[("RS_ENGINE", "auth0"), ("RS_BINDING", "any")]);
    let client = Setup::new(&issuer, &carrier).client(Bearer);
    let (answer, _) = ship(&client.tenant(TENANT).unwrap()).await;
    assert_eq!(effort(&answer), (1, 0));
    assert_eq!(carrier.log()[0]["scheme"], "Bearer");
    // Nor are there bearer tokens for a client that is registered for DPoP only.
    let error = refused(Setup::new(&issuer, &carrier).login("dpop-only", CLIENT_SECRET), Bearer).await;
    assert_eq!(oauth_code(&error), "invalid_grant");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_requests_that_are_refused() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[]);
    let setup = || Setup::new(&issuer, &carrier);

    let wrong = refused(
        setup().login("basic", "not-it-0123456789-0123456789-0123456789"),
        Dpop::es256(),
    )
    .await;
    let unknown = refused(setup().login("nobody", CLIENT_SECRET), Dpop::es256()).await;
    for error in [&wrong, &unknown] {
        assert_eq!(error.code(), "token_refused");
        assert_eq!(oauth_code(error), "invalid_client");
        assert_eq!(error.culprit(), Culprit::Configuration);
        assert_eq!(error.stage(), Stage::NotSent);
        assert!(error.response().is_none());
        assert!(!format!("{error} {error:?}").contains("not-it"));
    }

    let elsewhere = TokenRequest::new().resource("https://other.test/api").unwrap();
    let error = refused(setup().ask(elsewhere), Dpop::es256()).await;
    assert_eq!(oauth_code(&error), "invalid_target");

    // The issuer drops a scope that it does not know, and grants the rest.
    let more = TokenRequest::new()
        .scope("ship:write")
        .unwrap()
        .scope("ship:void")
        .unwrap();
    let error = refused(setup().ask(more), Dpop::es256()).await;
    assert!(
        matches!(error.kind(), ErrorKind::TokenAnswer(TokenAnswerError::ScopeNotGranted)),
        "{error}"
    );

    assert!(carrier.log().is_empty());
}

/// The registration wants certificate-bound tokens and refuses proofs. Nothing weaker is asked for, nothing is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_downgrade_where_the_issuer_refuses_the_proof() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[("RS_ENGINE", "auth0"), ("RS_BINDING", "any")]);
    let setup = Setup::new(&issuer, &carrier).login("basic-mtls-bound", CLIENT_SECRET);
    let error = refused(setup, Dpop::es256()).await;
    assert_eq!(error.code(), "token_refused");
    assert_eq!(error.stage(), Stage::NotSent);
    let asked = issuer.token_requests();
    assert!(
        !asked.is_empty() && asked.iter().all(|entry| entry["proof"] == true),
        "{asked:?}"
    );
    assert!(carrier.log().is_empty());
}

/// The issuer takes no proof that this client can make: it says so instead of asking without one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_downgrade_without_a_common_algorithm() {
    let issuer = peers::authorization_server(&[("DPOP_ALGS", "PS256")]);
    let carrier = issuer.resource_server(&[("RS_ENGINE", "auth0"), ("RS_BINDING", "any")]);
    let error = refused(Setup::new(&issuer, &carrier), Dpop::es256()).await;
    assert_eq!(error.code(), "no_common_alg");
    assert!(issuer.token_requests().is_empty());
    assert!(carrier.log().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_the_callers_business() {
    let issuer = peers::authorization_server(&[("DPOP_NONCE", "off")]);
    let carrier = issuer.resource_server(&[]);
    let reader = TokenRequest::new().scope("ship:read").unwrap();
    let client = Setup::new(&issuer, &carrier).ask(reader).client(Dpop::es256());
    let tenant = client.tenant(TENANT).unwrap();
    let missing = tenant.get("/ship/v1/shipments/none").send().await.unwrap();
    assert_eq!(missing.status(), 404);
    let forbidden = tenant.post(SHIPMENTS).json(&[1]).send().await.unwrap();
    assert_eq!(forbidden.status(), 403);
    for answer in [&missing, &forbidden] {
        assert_eq!(effort(answer), (1, 0));
    }
    assert_eq!(issuer.token_requests().len(), 1);
}

/// An API that trusts another issuer calls the token invalid. A new one cannot be had: its issuer is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_issuer_is_gone_when_a_new_token_is_needed() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[]);
    let stranger = peers::authorization_server(&[]);
    let theirs = stranger.resource_server(&[]);
    let client = Setup::new(&issuer, &carrier)
        .also(&stranger, &theirs)
        .client(Dpop::es256());
    let tenant = client.tenant(TENANT).unwrap();
    let (_, path) = ship(&tenant).await;
    assert!(issuer.stop());

    let elsewhere = format!("{}{SHIPMENTS}", theirs.base());
    let error = tenant.post(&elsewhere).json(&[1]).send().await.unwrap_err();
    assert_eq!(error.code(), "not_delivered");
    assert_eq!(error.stage(), Stage::NotSent);
    assert_eq!(error.culprit(), Culprit::Network);
    // What the carrier said, and that waiting for the token was waiting for a token.
    assert_eq!(error.response().unwrap().status(), 401);
    let report = error.report().unwrap();
    assert_eq!((report.attempts, report.renewals), (1, 0));
    assert!(!report.token_wait.is_zero());
    assert!(report.token_wait <= report.total);

    // The token that was called invalid is gone for everyone, and the issuer is left alone.
    let next = tenant.get(&path).send().await.unwrap_err();
    assert_eq!(next.code(), "cooling_down");
    assert!(next.response().is_none());
}
