//! Real profiles against the sandbox: their origins replaced and nothing else.

use http::Method;
use serde_json::{Value, json};
use shipbound::binding::dpop::Dpop;
use shipbound::carriers::{self, CarrierProfile};
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::{CarrierId, Environment};
use shipbound::sandbox::{Canned, Endpoint, Nonces, Sandbox};
use shipbound::token::TokenAt;
use shipbound::{Client, Parts};

use crate::caller::tenant;

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
