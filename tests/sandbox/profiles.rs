//! Real profiles against the sandbox: their origins replaced and nothing else.

use std::time::Duration;

use http::header::ACCEPT;
use http::{HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use shipbound::binding::bearer::Bearer;
use shipbound::binding::dpop::Dpop;
use shipbound::carriers::{self, CarrierProfile};
use shipbound::exchange::quirks::{BodyEncoding, LifetimeAt, Quirks};
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::{CarrierId, Environment};
use shipbound::sandbox::{Canned, Endpoint, Nonces, Sandbox};
use shipbound::token::TokenAt;
use shipbound::token::client_auth::ClientAuth;
use shipbound::token::companion::Companion;
use shipbound::{Client, Parts};

use crate::caller::tenant;
use crate::imitated::with_keys;

fn client(sandbox: &Sandbox, profile: CarrierProfile) -> Client {
    let profile = sandbox.profile(profile);
    let parts = Parts::builder()
        .keys(MemoryKeyStore::new())
        .credentials(sandbox.credentials(&profile, [&tenant("acme")]))
        .transport(sandbox.transport().unwrap())
        .build()
        .unwrap();
    Client::builder(profile, &parts).binding(Dpop::es256()).build().unwrap()
}

const RESOURCE_CHECKS: [&str; 7] = ["signature", "htm", "htu", "iat", "jti", "ath", "cnf"];

#[tokio::test]
async fn fedex_and_ups_calls_arrive_with_bound_tokens_at_their_imitations() {
    for (profile, path, token_path) in [
        (
            carriers::fedex(Environment::Sandbox),
            "/rate/v1/rates/quotes",
            "/oauth/token",
        ),
        (
            carriers::ups(Environment::Sandbox),
            "/rating/v2409/Rate",
            "/security/v1/oauth/token",
        ),
    ] {
        let sandbox = Sandbox::start().await.unwrap();
        let client = client(&sandbox, profile);
        let sent = client.tenant("acme").unwrap().post(path).json(&json!({})).send().await;
        let answer: Value = sent.unwrap().json().unwrap();
        assert!(answer.is_object());
        let requests = sandbox.requests_of(&tenant("acme"));
        assert_eq!(requests.len(), 2);
        assert_eq!(
            (requests[0].endpoint(), requests[0].path()),
            (Endpoint::Token, token_path)
        );
        assert!(requests[1].path().ends_with(path));
        assert_eq!(requests[1].checks(), RESOURCE_CHECKS);
    }
}

#[tokio::test]
async fn other_carriers_get_tokens_at_their_own_path_or_from_the_issuer() {
    let token_at = [
        TokenAt::Endpoint("https://api.carrier.example/oauth2/v3/token".into()),
        TokenAt::Endpoint("https://auth.carrier.example/oauth2/v3/token".into()),
        TokenAt::Issuer("https://auth.carrier.example".into()),
    ];
    for (place, token_at) in token_at.into_iter().enumerate() {
        let sandbox = Sandbox::builder().nonces(Nonces::EveryCall).start().await.unwrap();
        sandbox.route(
            Method::GET,
            "/v2/labels",
            Canned::json(200, &json!({"label": "JVBERi0xLjQK"})),
        );
        let id = CarrierId::new("acme-freight").unwrap();
        let base = "https://api.carrier.example/v2";
        let profile = CarrierProfile::custom(id, Environment::Production, base, token_at);
        let client = client(&sandbox, profile);
        client.tenant("acme").unwrap().get("/labels").send().await.unwrap();
        let origin = sandbox.requests_at(Endpoint::Token)[0].origin().to_owned();
        assert_eq!(origin == sandbox.api(), place == 0);
        assert!(sandbox.requests().last().unwrap().checks().contains(&"nonce"));
    }
}

/// A client of the sandbox's carrier, with whose token or key nothing is bound.
fn unbound(sandbox: &Sandbox, profile: CarrierProfile) -> Client {
    let profile = sandbox.profile(profile);
    let parts = Parts::builder()
        .keys(MemoryKeyStore::new())
        .credentials(sandbox.credentials(&profile, [&tenant("acme")]))
        .transport(sandbox.transport().unwrap())
        .build()
        .unwrap();
    Client::builder(profile, &parts).binding(Bearer).build().unwrap()
}

#[tokio::test]
async fn keys_of_imitated_carriers_reach_them_through_a_client() {
    for (id, path) in [
        ("dhl-express", "/mydhlapi/address-validate?type=delivery&countryCode=DE"),
        ("dhl-tracking", "/track/shipments?trackingNumber=1"),
        ("easypost", "/v2/addresses?page_size=1"),
        ("shipengine", "/v1/carriers"),
        ("cargoson", "/api/services/list"),
    ] {
        let sandbox = Sandbox::start().await.unwrap();
        let version = HeaderValue::from_static("application/vnd.api.v1");
        let profile = with_keys(id, Environment::Sandbox).header(ACCEPT, version);
        let client = unbound(&sandbox, profile);
        let answer = client.tenant("acme").unwrap().get(path).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{id}");
        let seen = sandbox.requests();
        assert_eq!((seen.len(), seen[0].client_id()), (1, Some("acme")), "{id}");
        let acts_for = (id == "shipengine").then_some("acme");
        assert_eq!(seen[0].header("on-behalf-of"), acts_for);
    }
}

#[tokio::test]
async fn a_token_that_is_asked_for_in_json_is_read_by_a_client() {
    let sandbox = Sandbox::start().await.unwrap();
    let host = "https://api-gw.carrier.example";
    let token_at = TokenAt::Endpoint(format!("{host}/authenticate/api-key"));
    let id = CarrierId::new("dhl-parcel-nl").unwrap();
    let mut quirks = Quirks::default();
    quirks.token_request.encoding = BodyEncoding::Json;
    quirks.token_request.client_id = "userId".into();
    quirks.token_request.client_secret = "key".into();
    quirks.token_request.grant_type = false;
    quirks.token_answer.access_token = "accessToken".into();
    quirks.token_answer.lifetime = LifetimeAt::unix_seconds("accessTokenExpiration");
    quirks.token_answer.token_type_optional = true;
    let profile = CarrierProfile::custom(id, Environment::Sandbox, host, token_at)
        .client_auth(ClientAuth::Post)
        .quirks(quirks);
    let client = unbound(&sandbox, profile);
    let acme = client.tenant("acme").unwrap();
    let labels = acme.get("/labels?trackerCodeFilter=JVGL1");
    assert_eq!(labels.send().await.unwrap().status(), 200);
    let seen: Vec<_> = sandbox.requests().iter().map(|one| one.path().to_owned()).collect();
    assert_eq!(seen, ["/authenticate/api-key", "/labels"]);
}

#[tokio::test]
async fn usps_gives_a_payment_authorization_to_the_bound_client_that_labels_want_it_from() {
    let sandbox = Sandbox::start().await.unwrap();
    let header = HeaderName::from_static("x-payment-authorization-token");
    let payment = Companion::new(
        "/payments/v3/payment-authorization",
        "payment_authorization",
        "/paymentAuthorizationToken",
        header,
        Duration::from_secs(50 * 60),
    );
    let profile = carriers::usps(Environment::Sandbox).companion(payment.for_paths_below("/labels/v3/"));
    let client = client(&sandbox, profile);
    let acme = client.tenant("acme").unwrap();
    let label = acme.post("/labels/v3/label").json(&json!({}));
    assert_eq!(label.send().await.unwrap().status(), 200);
    let payment = &sandbox.requests()[1];
    assert_eq!(payment.path(), "/payments/v3/payment-authorization");
    assert_eq!(payment.checks(), RESOURCE_CHECKS);
}
