//! Every issuer, every verifier, every way with nonces: a bound POST and a bound GET arrive.

use shipbound::binding::BindingKind;
use shipbound::binding::dpop::Dpop;
use shipbound::jose::Algorithm;
use shipbound::token::client_auth::ClientAuth;

use crate::seen::{self, effort, jkt, ship, statuses};
use crate::support::peers::{self, AuthorizationServer, CLIENT_SECRET};
use crate::support::shipper::{Setup, TENANT};

const ENGINES: [&str; 2] = ["oauth4webapi", "auth0"];

/// A first and a second call to a server with this way with nonces, and what both servers saw of it.
async fn meets(issuer: &AuthorizationServer, at_issuer: &str, engine: &str, at_carrier: &str, dpop: Dpop) {
    let carrier = issuer.resource_server(&[("RS_ENGINE", engine), ("RS_NONCE", at_carrier)]);
    let asked_before = issuer.token_requests().len();
    let client = Setup::new(issuer, &carrier).client(dpop);
    let tenant = client.tenant(TENANT).unwrap();

    let (made, path) = ship(&tenant).await;
    let read = tenant.get(&path).send().await.unwrap();
    let combination = format!("{at_issuer} {engine} {at_carrier}");
    assert_eq!(read.status(), 200, "{combination}");
    let first = if at_carrier == "off" { (1, 0) } else { (2, 1) };
    assert_eq!(effort(&made), first, "{combination}");
    assert_eq!(effort(&read), (1, 0), "{combination}");
    for answer in [&made, &read] {
        assert_eq!(answer.report().binding, Some(BindingKind::Dpop), "{combination}");
    }

    let jkt = jkt(&made);
    let asked = &issuer.token_requests()[asked_before..];
    seen::token_requests(asked, &jkt, &format!("{}/token", issuer.issuer()));
    if at_issuer == "required" {
        assert_eq!(statuses(asked), [400, 200], "{combination}");
        assert_eq!(asked[0]["error"], "use_dpop_nonce");
        assert!(asked[0]["nonce"].is_null());
        seen::nonces_follow(asked);
    } else {
        assert_eq!(statuses(asked), [200], "{combination}");
    }

    let called = carrier.log();
    seen::bound_requests(&called, &jkt, carrier.base());
    if at_carrier == "off" {
        assert_eq!(statuses(&called), [201, 200], "{combination}");
        assert!(called.iter().all(|entry| entry["nonce"].is_null()), "{combination}");
    } else {
        assert_eq!(statuses(&called), [401, 201, 200], "{combination}");
        assert!(called[0]["nonce"].is_null());
        seen::nonces_follow(&called);
    }
}

async fn meets_all(at_issuer: &str) {
    let issuer = peers::authorization_server(&[("DPOP_NONCE", at_issuer)]);
    for engine in ENGINES {
        for at_carrier in ["off", "required", "every"] {
            meets(&issuer, at_issuer, engine, at_carrier, Dpop::es256()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_requires_nonces() {
    meets_all("required").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_offers_nonces() {
    meets_all("optional").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_without_nonces() {
    meets_all("off").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ed25519() {
    let issuer = peers::authorization_server(&[]);
    meets(&issuer, "required", "oauth4webapi", "every", Dpop::ed25519()).await;
}

/// RFC 9864: an issuer that lists `Ed25519` and not `EdDSA` gets proofs that say so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ed25519_by_its_newer_name() {
    let issuer = peers::authorization_server(&[("DPOP_ALGS", "Ed25519")]);
    meets(&issuer, "required", "oauth4webapi", "required", Dpop::ed25519()).await;
}

#[cfg(feature = "rsa")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ps256() {
    let issuer = peers::authorization_server(&[("DPOP_NONCE", "optional")]);
    meets(&issuer, "optional", "oauth4webapi", "required", Dpop::ps256()).await;
}

/// The first of the client's algorithms that the issuer lists is used: a proof of another would be refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_algorithm_is_one_that_the_issuer_lists() {
    let issuer = peers::authorization_server(&[("DPOP_NONCE", "off"), ("DPOP_ALGS", "ES256")]);
    let both = Dpop::preferring([Algorithm::Ed25519, Algorithm::Es256]);
    meets(&issuer, "off", "auth0", "off", both).await;
}

/// `oidc-provider` binds the tokens of a client that may have either kind when a proof comes, and insists with one that may not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registrations_for_either_kind_and_for_dpop_only() {
    let issuer = peers::authorization_server(&[("DPOP_NONCE", "off")]);
    let carrier = issuer.resource_server(&[("RS_ENGINE", "auth0"), ("RS_BINDING", "any")]);
    for (id, auth) in [
        ("basic", ClientAuth::Basic),
        ("post", ClientAuth::Post),
        ("dpop-only", ClientAuth::Basic),
    ] {
        let client = Setup::new(&issuer, &carrier)
            .login(id, CLIENT_SECRET)
            .auth(auth)
            .client(Dpop::es256());
        let (answer, _) = ship(&client.tenant(TENANT).unwrap()).await;
        let asked = issuer.token_requests();
        let asked = &asked[asked.len() - 1..];
        assert_eq!(asked[0]["client_id"], id);
        assert_eq!(statuses(asked), [200]);
        seen::token_requests(asked, &jkt(&answer), &format!("{}/token", issuer.issuer()));
        let called = carrier.log();
        seen::bound_requests(&called[called.len() - 1..], &jkt(&answer), carrier.base());
    }
    assert_eq!(issuer.token_requests().len(), 3);
}
