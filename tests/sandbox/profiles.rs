//! Real profiles against the sandbox: their origins replaced and nothing else.

use http::Method;
use serde_json::{Value, json};
use shipbound::binding::bearer::Bearer;
use shipbound::binding::dpop::Dpop;
use shipbound::carriers::{self, CarrierProfile};
use shipbound::client::Standing;
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::{CarrierId, Environment};
use shipbound::sandbox::{Canned, Endpoint, Nonces, Sandbox};
use shipbound::token::TokenAt;
use shipbound::{CarrierClient, Client, Parts};

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

/// What a profile is called, and whether its carrier gives tokens.
type Imitated = (fn(Environment) -> CarrierProfile, bool);

const IMITATED: [Imitated; 15] = [
    (carriers::fedex, true),
    (carriers::fedex_csp, true),
    (carriers::fedex_parent_child, true),
    (carriers::ups, true),
    (carriers::dhl_express, false),
    (carriers::dhl_parcel_de, true),
    (carriers::dhl_ecommerce_americas, true),
    (carriers::dhl_tracking, false),
    (carriers::dhl_parcel_nl, true),
    (carriers::usps, true),
    (carriers::usps_labels, true),
    (carriers::easypost, false),
    (carriers::shipengine, false),
    (carriers::nshift, true),
    (carriers::cargoson, false),
];

/// A client whose tokens are bound to nothing, as today; its credentials are those of now.
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

/// By the profile's own cheap call.
#[tokio::test]
async fn credentials_are_verified_at_the_imitations_of_their_carriers() {
    for environment in [Environment::Sandbox, Environment::Production] {
        for (profile, tokens) in IMITATED {
            let sandbox = Sandbox::start().await.unwrap();
            let acme = tenant("acme");
            let [good, old] = [(); 2].map(|()| unbound(&sandbox, profile(environment)));
            let id = good.carrier().id().as_str().to_owned();
            let verification = good.verify_credentials(&acme.clone().into()).await;
            assert_eq!(verification.standing(), Standing::Works, "{id} {verification:?}");
            let requests = sandbox.requests();
            assert!(requests.iter().all(|one| one.tenant() == Some(&acme) && one.accepted()));
            assert_eq!(requests[0].endpoint() == Endpoint::Token, tokens, "{id}");

            sandbox.rotate_secret(&acme);
            let verification = old.verify_credentials(&acme.into()).await;
            let refused = [Standing::Wrong, Standing::Refused];
            assert!(refused.contains(&verification.standing()), "{id} {verification:?}");
        }
    }
}

#[tokio::test]
async fn a_partners_calls_say_for_whom_they_are() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = unbound(&sandbox, carriers::shipengine(Environment::Sandbox));
    let acme = client.tenant("acme").unwrap();
    assert_eq!(acme.get("/v1/carriers").send().await.unwrap().status(), 200);
    assert_eq!(sandbox.requests()[0].header("on-behalf-of"), Some("acme"));
}

#[tokio::test]
async fn usps_gives_a_payment_authorization_to_the_bound_client_that_labels_want_it_from() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = client(&sandbox, carriers::usps_labels(Environment::Sandbox));
    let acme = client.tenant("acme").unwrap();
    let label = acme.post("/labels/v3/label").json(&json!({}));
    assert_eq!(label.send().await.unwrap().status(), 200);
    let payment = &sandbox.requests()[1];
    assert_eq!(payment.path(), "/payments/v3/payment-authorization");
    assert_eq!(payment.checks(), RESOURCE_CHECKS);
}
