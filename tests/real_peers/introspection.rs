//! What the issuer says of tokens, and what it does when they are revoked.

use serde_json::Value;
use shipbound::binding::dpop::Dpop;
use shipbound::binding::mtls::Mtls;
use shipbound::binding::{BindingKind, BindingStrategy};
use shipbound::client::ClientBuilder;
use shipbound::credentials::Credential;
use shipbound::token::TokenRequest;
use shipbound::token::assertion::AssertionProfile;
use shipbound::token::client_auth::ClientAuth;
use shipbound::token::grant::SubjectTokens;
use shipbound::token::revocation::Revocation;
use shipbound::{CarrierClient, Client, ErrorKind};

use crate::certificates::registered;
use crate::seen::{self, ship, statuses};
use crate::support::peers::{self, AuthorizationServer, CLIENT_SECRET, ResourceServer};
use crate::support::shipper::{Setup, TENANT, assertion_keys, by_key, certificate, connection};
use crate::support::visitor::Visitor;

/// A token is opaque, so that it can be looked up and revoked.
fn opaque(issuer: &AuthorizationServer, setup: Setup) -> Setup {
    setup.ask(TokenRequest::new().resource(issuer.resource_opaque()).unwrap())
}

fn client(setup: Setup, strategy: impl BindingStrategy + 'static) -> Client {
    setup.client_with(strategy, ClientBuilder::confirm_binding)
}

async fn servers(env: &[(&str, &str)]) -> (AuthorizationServer, ResourceServer) {
    let issuer = peers::authorization_server(env);
    let carrier = issuer.resource_server(&[("RS_ENGINE", "auth0"), ("RS_BINDING", "any")]);
    (issuer, carrier)
}

fn requests_at(issuer: &AuthorizationServer, path: &str) -> Vec<Value> {
    let log = issuer.log().into_iter();
    log.filter(|entry| entry["path"] == path).collect()
}

/// Asks the issuer as someone else, and not through this crate.
async fn is_active(issuer: &AuthorizationServer, token: &str) -> bool {
    let url = format!("{}/token/introspection", issuer.issuer());
    let form = [
        ("token", token),
        ("client_id", "post"),
        ("client_secret", CLIENT_SECRET),
    ];
    let (status, answer) = Visitor::new(&issuer.ca_pem()).post(&url, &[], &form).await;
    assert_eq!(status, 200, "{answer}");
    answer["active"].as_bool().unwrap()
}

/// Asks about the token, revokes it, and asks for the next one.
async fn looked_up_and_revoked(issuer: &AuthorizationServer, client: &Client, kind: BindingKind) {
    let tenant = client.tenant(TENANT).unwrap();
    let tenant = tenant.tenant();
    let told = client.introspect(tenant).await.unwrap();
    let lease = client.lease(tenant).unwrap();
    assert_eq!(lease.binding(), kind);
    assert_eq!(told.confirmations(), lease.confirmations());
    assert!(told.is_bound_to(lease.confirmations()));
    assert!(told.expires_at().is_some());

    let token = client.subject_token(&connection()).await.unwrap();
    assert!(is_active(issuer, token.expose()).await);
    assert_eq!(client.revoke(tenant).await.unwrap(), Revocation::Revoked);
    assert!(client.lease(tenant).is_none());
    assert!(!is_active(issuer, token.expose()).await);
    assert_eq!(client.revoke(tenant).await.unwrap(), Revocation::Nothing);

    let next = client.subject_token(&connection()).await.unwrap();
    assert_ne!(next.expose(), token.expose());
    assert!(is_active(issuer, next.expose()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_are_bound_to_a_key() {
    let (issuer, carrier) = servers(&[]).await;
    let setup = opaque(&issuer, Setup::new(&issuer, &carrier));
    looked_up_and_revoked(&issuer, &client(setup, Dpop::es256()), BindingKind::Dpop).await;
    // Two token requests, the first one repeated with a nonce; proofs are for those alone.
    assert_eq!(statuses(&issuer.token_requests()), [400, 200, 200]);
    for path in ["/token/introspection", "/token/revocation"] {
        let asked = requests_at(&issuer, path);
        assert!(
            asked
                .iter()
                .all(|entry| entry["proof"] == false && entry["status"] == 200),
            "{asked:?}"
        );
    }
    assert_eq!(requests_at(&issuer, "/token/revocation").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_are_bound_to_a_certificate() {
    let (issuer, carrier) = servers(&[]).await;
    let before = issuer.handshakes().len();
    for (client_id, name) in [("tls-ca", "client-ca"), ("basic-mtls-bound", "client-self")] {
        let identity = certificate(&issuer, name);
        let x5t = identity.x5t().to_string();
        let setup = opaque(&issuer, registered(&issuer, &carrier, client_id));
        looked_up_and_revoked(&issuer, &client(setup, Mtls::new(identity)), BindingKind::Mtls).await;
        // All of it at the aliases, with the certificate.
        for path in ["/token", "/token/introspection", "/token/revocation"] {
            let asked = requests_at(&issuer, path).into_iter();
            let own: Vec<_> = asked.filter(|entry| entry["client_id"] == client_id).collect();
            assert!(!own.is_empty(), "{path}");
            for entry in own {
                assert_eq!(entry["cert_x5t"], x5t, "{entry}");
                let handshakes = &issuer.handshakes()[before..];
                assert_eq!(seen::handshake_of(&entry, handshakes)["listener"], "mtls");
            }
        }
    }
}

/// An assertion for each of these requests, and FAPI 2.0's audience at each of these endpoints.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_a_client_with_a_key() {
    let (issuer, carrier) = servers(&[("FAPI", "2.0")]).await;
    let setup = Setup::new(&issuer, &carrier)
        .known_as(TENANT, by_key("pkjwt-dpop"))
        .auth(ClientAuth::PrivateKeyJwt(AssertionProfile::new()))
        .keys(assertion_keys(&issuer).await);
    let client = opaque(&issuer, setup).client_with(Dpop::es256(), |builder| builder.fapi2().confirm_binding());
    looked_up_and_revoked(&issuer, &client, BindingKind::Dpop).await;
    let mut ids = Vec::new();
    for entry in issuer.log() {
        if entry["client_id"] == "pkjwt-dpop" {
            assert_eq!(entry["assertion_aud"], issuer.issuer(), "{entry}");
            ids.push(entry["assertion_jti"].as_str().unwrap().to_owned());
        }
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert!(
        count >= 6 && ids.len() == count,
        "{count} assertions, {} of them new",
        ids.len()
    );
}

/// The issuer knows nothing of a JWT that it has issued: it can say no more of it, and cannot take it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_are_jwts() {
    let (issuer, carrier) = servers(&[("DPOP_NONCE", "off")]).await;
    let client = Setup::new(&issuer, &carrier).client(Dpop::es256());
    let tenant = client.tenant(TENANT).unwrap();
    ship(&tenant).await;
    let error = client.introspect(tenant.tenant()).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::TokenRefused(code) if code.as_str() == "unsupported_token_type"),
        "{error}"
    );
    assert!(
        client.lease(tenant.tenant()).is_some(),
        "the token is as good as it was"
    );

    assert_eq!(client.revoke(tenant.tenant()).await.unwrap(), Revocation::LocalOnly);
    assert_eq!(
        requests_at(&issuer, "/token/revocation")[0]["error"],
        "unsupported_token_type"
    );
    assert!(client.lease(tenant.tenant()).is_none());
    ship(&tenant).await;
    assert_eq!(issuer.token_requests().len(), 2);
}

/// A token is not used before the issuer has said that it is bound: one that it cannot look up is used by nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binding_that_cannot_be_confirmed() {
    let (issuer, carrier) = servers(&[("DPOP_NONCE", "off")]).await;
    let client = client(Setup::new(&issuer, &carrier), Dpop::es256());
    let tenant = client.tenant(TENANT).unwrap();
    let error = tenant.get("/ship/v1/shipments/none").send().await.unwrap_err();
    assert_eq!(error.code(), "token_refused");
    assert!(carrier.log().is_empty());
    assert!(client.lease(tenant.tenant()).is_none());
}

/// The registration of `basic` says nothing of certificates: its token is bound to nothing, which no token answer can say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_not_bound_to_the_certificate_after_all() {
    let (issuer, carrier) = servers(&[]).await;
    let identity = certificate(&issuer, "client-ca");
    let setup = || {
        let setup = Setup::new(&issuer, &carrier).mtls(&issuer);
        opaque(&issuer, setup.known_as(TENANT, Credential::new("basic", CLIENT_SECRET)))
    };
    let believing = setup().client(Mtls::new(identity.clone()));
    let tenant = believing.tenant(TENANT).unwrap();
    let told = believing.introspect(tenant.tenant()).await.unwrap();
    assert!(told.confirmations().is_empty());

    let confirming = client(setup(), Mtls::new(identity));
    let tenant = confirming.tenant(TENANT).unwrap();
    let error = tenant.get("/ship/v1/shipments/none").send().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::UnboundToken), "{error}");
    assert!(carrier.log().is_empty());
}
