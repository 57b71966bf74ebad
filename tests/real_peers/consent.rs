//! A shipper's consent: from the address of the issuer's page to calls, and the refresh tokens after it.

use std::sync::Arc;

use shipbound::binding::BindingStrategy;
use shipbound::binding::dpop::Dpop;
use shipbound::binding::mtls::Mtls;
use shipbound::credentials::Credential;
use shipbound::grants::{GrantStore, MemoryGrants};
use shipbound::keys::{KeyError, KeyStore, MemoryKeyStore};
use shipbound::token::TokenRequest;
use shipbound::token::assertion::AssertionProfile;
use shipbound::token::client_auth::ClientAuth;
use shipbound::token::consent::ConsentError;
use shipbound::token::revocation::Revocation;
use shipbound::{CarrierClient, Client, Error, ErrorKind};

use crate::seen::{SHIPMENTS, ship, statuses};
use crate::support::peers::{self, AuthorizationServer, CLIENT_SECRET, ResourceServer};
use crate::support::shipper::{Setup, TENANT, assertion_keys, by_key, certificate, connection};
use crate::support::visitor::{Visitor, parameter};

const REDIRECT: &str = "https://client.test/cb";

/// A shipper's place in this process: keys, and what was consented to.
#[derive(Clone)]
struct Kept {
    keys: Arc<dyn KeyStore>,
    grants: Arc<MemoryGrants>,
}

impl Kept {
    fn new() -> Self {
        Self {
            keys: Arc::new(MemoryKeyStore::new()),
            grants: Arc::new(MemoryGrants::new()),
        }
    }

    /// Another process that read the store at this moment: what is written from now on, it does not see.
    async fn copied(&self) -> Self {
        let grants = MemoryGrants::new();
        let record = self.grants.load(&connection()).await.unwrap().unwrap();
        grants.put(&connection(), &record).await.unwrap();
        Self {
            keys: Arc::clone(&self.keys),
            grants: Arc::new(grants),
        }
    }
}

/// The client of this id as it is registered, by consent that is kept there.
fn setup(issuer: &AuthorizationServer, carrier: &ResourceServer, client_id: &str, kept: &Kept) -> Setup {
    let setup = Setup::new(issuer, carrier)
        .keys(Arc::clone(&kept.keys))
        .by_consent(kept.grants.clone());
    match client_id {
        "code-public" | "code-public-dpop" => setup
            .known_as(TENANT, Credential::without_secret(client_id))
            .auth(ClientAuth::None),
        "code-pkjwt" => setup
            .known_as(TENANT, by_key(client_id))
            .auth(ClientAuth::PrivateKeyJwt(AssertionProfile::new())),
        "code-tls" => setup
            .mtls(issuer)
            .known_as(TENANT, Credential::without_secret(client_id))
            .auth(ClientAuth::Tls),
        _ => setup.login(client_id, CLIENT_SECRET),
    }
}

/// The shipper's browser goes to the issuer's page, and comes back.
async fn consent(issuer: &AuthorizationServer, client: &Client) -> Result<(), Error> {
    let tenant = client.tenant(TENANT).unwrap();
    let begun = client.authorize(tenant.tenant(), REDIRECT).await?;
    let url = begun.url.as_str();
    assert!(url.starts_with(&format!("{}/auth?", issuer.issuer())), "{url}");
    // The request was pushed: nothing of it is in the browser.
    assert!(parameter(url, "request_uri").is_some());
    assert!(parameter(url, "state").is_none() && parameter(url, "redirect_uri").is_none());
    let back = Visitor::new(&issuer.ca_pem()).visit(url, REDIRECT).await;
    client.consented(tenant.tenant(), begun.pending, &back).await
}

/// Calls, and calls with the tokens that the refresh tokens give.
async fn calls_go_on(client: &Client, carrier: &ResourceServer, issuer: &AuthorizationServer) {
    let tenant = client.tenant(TENANT).unwrap();
    let grants = |kind: &str| {
        let asked = issuer.token_requests().into_iter();
        asked
            .filter(|entry| entry["grant"] == kind && entry["status"] == 200)
            .count()
    };
    let refreshed = grants("refresh_token");
    let called = carrier.log().len();
    ship(&tenant).await;
    assert_eq!(grants("refresh_token"), refreshed, "the first token was at hand");
    for count in 1..=3 {
        client.forget(tenant.tenant());
        ship(&tenant).await;
        assert_eq!(grants("refresh_token"), refreshed + count);
    }
    assert!(statuses(&carrier.log()[called..]).iter().all(|status| *status == 201));
}

async fn needs_consent(client: &Client) {
    let tenant = client.tenant(TENANT).unwrap();
    client.forget(tenant.tenant());
    let error = tenant.post(SHIPMENTS).json(&[1]).send().await.unwrap_err();
    assert_eq!(error.code(), "needs_consent", "{error}");
}

/// Registrations whose tokens are bound to a key.
async fn with_keys(rotate: &str) {
    let issuer = peers::authorization_server(&[("ROTATE_REFRESH", rotate)]);
    let carrier = issuer.resource_server(&[]);
    for client_id in ["code", "code-dpop", "code-par", "code-public", "code-public-dpop"] {
        let kept = Kept::new();
        let client = setup(&issuer, &carrier, client_id, &kept).client(Dpop::es256());
        needs_consent(&client).await;
        let asked_before = issuer.token_requests().len();
        let called_before = carrier.log().len();
        consent(&issuer, &client).await.unwrap();
        calls_go_on(&client, &carrier, &issuer).await;

        let called = &carrier.log()[called_before..];
        let jkt = &called[0]["cnf_jkt"];
        // RFC 9449 10: the code belonged to the key before it was made.
        let log = issuer.log();
        let pushed = log.iter().rfind(|entry| entry["path"] == "/request").unwrap();
        assert_eq!((&pushed["client_id"], &pushed["dpop_jkt"]), (&client_id.into(), jkt));
        for entry in &issuer.token_requests()[asked_before..] {
            assert_eq!(entry["client_id"], client_id);
            assert_eq!(&entry["proof_jkt"], jkt, "{entry}");
        }
        assert!(
            called
                .iter()
                .all(|entry| entry["scheme"] == "DPoP" && &entry["cnf_jkt"] == jkt)
        );

        // Two use one refresh token.
        let other = setup(&issuer, &carrier, client_id, &kept.copied().await).client(Dpop::es256());
        let tenant = client.tenant(TENANT).unwrap();
        client.forget(tenant.tenant());
        ship(&tenant).await;
        if rotate == "1" {
            // The second one is noticed by the issuer, which then takes back what it gave to the first.
            needs_consent(&other).await;
            needs_consent(&client).await;
            consent(&issuer, &client).await.unwrap();
            ship(&tenant).await;
        } else {
            ship(&other.tenant(TENANT).unwrap()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refresh_tokens_that_rotate() {
    with_keys("1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refresh_tokens_that_stay() {
    with_keys("0").await;
}

/// RFC 9449 5: the refresh token of a public client is of no use with another key, and none is tried.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_public_clients_refresh_token_is_bound_to_its_key() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[]);
    for (client_id, bound) in [("code-public-dpop", true), ("code-dpop", false)] {
        let kept = Kept::new();
        let client = setup(&issuer, &carrier, client_id, &kept).client(Dpop::es256());
        consent(&issuer, &client).await.unwrap();
        let elsewhere = Kept {
            keys: Arc::new(MemoryKeyStore::new()),
            ..kept.copied().await
        };
        let asked = issuer.token_requests().len();
        let other = setup(&issuer, &carrier, client_id, &elsewhere).client(Dpop::es256());
        let tenant = other.tenant(TENANT).unwrap();
        if bound {
            let error = tenant.post(SHIPMENTS).json(&[1]).send().await.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Key(KeyError::Mismatch)), "{error}");
            assert_eq!(issuer.token_requests().len(), asked);
            // It was not spent.
            client.forget(tenant.tenant());
            ship(&client.tenant(TENANT).unwrap()).await;
        } else {
            ship(&tenant).await;
        }
    }
}

async fn as_registered(
    issuer: &AuthorizationServer,
    carrier: &ResourceServer,
    client_id: &str,
    kept: &Kept,
    strategy: impl BindingStrategy + 'static,
    fapi: bool,
) {
    let client = setup(issuer, carrier, client_id, kept).client_with(strategy, |builder| match fapi {
        true => builder.fapi2(),
        false => builder,
    });
    consent(issuer, &client).await.unwrap();
    calls_go_on(&client, carrier, issuer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_an_assertion_or_a_certificate_and_with_fapi() {
    // FAPI 2.0 5.3.2.1 (9): refresh tokens are not rotated.
    for (fapi, rotate) in [("", "1"), ("2.0", "0")] {
        let issuer = peers::authorization_server(&[("FAPI", fapi), ("ROTATE_REFRESH", rotate)]);
        let carrier = issuer.resource_server(&[("RS_ENGINE", "auth0"), ("RS_BINDING", "any")]);
        let fapi = fapi == "2.0";
        let kept = Kept {
            keys: assertion_keys(&issuer).await,
            ..Kept::new()
        };
        as_registered(&issuer, &carrier, "code-pkjwt", &kept, Dpop::es256(), fapi).await;
        let log = issuer.log();
        let mut assertions: Vec<_> = log.iter().filter_map(|entry| entry["assertion_jti"].as_str()).collect();
        let count = assertions.len();
        assertions.sort_unstable();
        assertions.dedup();
        assert!(count > 4 && assertions.len() == count, "{count}");

        let identity = certificate(&issuer, "client-ca");
        let x5t = identity.x5t().to_string();
        as_registered(&issuer, &carrier, "code-tls", &Kept::new(), Mtls::new(identity), fapi).await;
        for entry in issuer.log() {
            if entry["client_id"] == "code-tls" && entry["path"] != "/auth" && entry["method"] == "POST" {
                assert_eq!(entry["cert_x5t"], x5t, "{entry}");
            }
        }
        assert_eq!(carrier.log().last().unwrap()["cnf_x5t"], x5t);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shipper_who_refuses() {
    let issuer = peers::authorization_server(&[("CONSENT", "deny")]);
    let carrier = issuer.resource_server(&[]);
    let client = setup(&issuer, &carrier, "code", &Kept::new()).client(Dpop::es256());
    let error = consent(&issuer, &client).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Consent(ConsentError::Refused(code)) if code.as_str() == "access_denied"),
        "{error}"
    );
    assert!(issuer.token_requests().is_empty());
    needs_consent(&client).await;
}

/// OpenID Connect Core 11: with the scope, and with a page that the shipper sees. The token's own scope does not name it then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_gives_refresh_tokens_for_offline_access_alone() {
    let issuer = peers::authorization_server(&[("REFRESH", "offline_access")]);
    let carrier = issuer.resource_server(&[]);
    let client = setup(&issuer, &carrier, "code", &Kept::new()).client(Dpop::es256());
    let error = consent(&issuer, &client).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Consent(ConsentError::NoRefreshToken)),
        "{error}"
    );

    let lasting = ["openid", "offline_access", "ship:write"]
        .iter()
        .fold(TokenRequest::new(), |request, scope| request.scope(scope).unwrap())
        .parameter("prompt", "consent")
        .unwrap();
    let client = setup(&issuer, &carrier, "code", &Kept::new())
        .ask(lasting)
        .client(Dpop::es256());
    consent(&issuer, &client).await.unwrap();
    calls_go_on(&client, &carrier, &issuer).await;
}

/// The access token is a JWT, which the issuer cannot take back; the refresh token it takes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consent_that_is_withdrawn() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[]);
    let kept = Kept::new();
    let client = setup(&issuer, &carrier, "code-dpop", &kept).client(Dpop::es256());
    consent(&issuer, &client).await.unwrap();
    let copy = kept.copied().await;
    let tenant = client.tenant(TENANT).unwrap();
    assert_eq!(client.revoke(tenant.tenant()).await.unwrap(), Revocation::LocalOnly);
    needs_consent(&client).await;
    // Not only here: who has a copy gets nothing for it either.
    needs_consent(&setup(&issuer, &carrier, "code-dpop", &copy).client(Dpop::es256())).await;
    let asked = issuer.token_requests();
    assert_eq!(asked.last().unwrap()["error"], "invalid_grant");
}
