//! What scripts say, and whom they say it to.

use http::Method;
use serde_json::json;
use shipbound::sandbox::{Answer, Canned, Endpoint, Nonces, Sandbox, Verdict, Who};

use crate::caller::{Caller, Claims, tenant};

const GRANT: &str = "grant_type=client_credentials";

#[tokio::test]
async fn a_script_serves_its_tenant_in_order_and_nobody_else() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.route(Method::GET, "/x", Canned::empty(204));
    let (acme, other) = (
        Caller::new(&sandbox, "acme").await,
        Caller::new(&sandbox, "other").await,
    );
    let url = acme.api_url("/x");
    let (acme_token, other_token) = (acme.bound_token().await, other.bound_token().await);

    let answers = [
        Answer::status(500),
        Answer::normal(),
        Answer::invalid_token(),
        Answer::retry_after(429, "120"),
    ];
    sandbox.script(tenant("acme"), Endpoint::Api, answers);
    let mut seen = Vec::new();
    for _ in 0..5 {
        assert_eq!(other.good_call(&url, &other_token).await.status, 204);
        seen.push(acme.good_call(&url, &acme_token).await);
    }
    assert_eq!(
        seen.iter().map(|got| got.status).collect::<Vec<_>>(),
        [500, 204, 401, 429, 204]
    );
    assert!(
        seen[2]
            .header("www-authenticate")
            .unwrap()
            .starts_with("DPoP error=\"invalid_token\"")
    );
    assert_eq!(seen[3].header("retry-after"), Some("120"));
    assert_eq!(sandbox.answers_left(), 0);
    let of_acme = sandbox.requests_of(&tenant("acme"));
    assert_eq!(of_acme[1].verdict(), &Verdict::Scripted);
    assert_eq!(of_acme[2].verdict(), &Verdict::Accepted);
    assert_eq!(
        of_acme.len() + sandbox.requests_of(&tenant("other")).len(),
        sandbox.requests().len()
    );
}

#[tokio::test]
async fn scripted_nonces_count_afterwards() {
    let sandbox = Sandbox::builder().nonces(Nonces::Required).start().await.unwrap();
    let caller = Caller::new(&sandbox, "acme").await;
    sandbox.script(Who::Anyone, Endpoint::Token, [Answer::nonce("n1")]);
    let url = caller.token_url();
    let got = caller.ask(&url, &[], GRANT).await;
    assert_eq!(
        (got.status, got.error().as_str(), got.header("dpop-nonce")),
        (400, "use_dpop_nonce", Some("n1"))
    );
    let proof = Claims::new("POST", &url).with("nonce", "n1").sign(&caller.key).await;
    assert_eq!(caller.ask(&url, &[("dpop", &proof)], GRANT).await.status, 200);
    // A nonce of the issuer is none of the API's.
    sandbox.script(Who::Anyone, Endpoint::Api, [Answer::nonce("r1")]);
    let token = sandbox.requests().len();
    assert_eq!(token, 2);
    let got = caller.call(&caller.api_url("/x"), "DPoP", "t", None).await;
    assert_eq!((got.status, got.header("dpop-nonce")), (401, Some("r1")));
    assert!(got.header("www-authenticate").unwrap().contains("use_dpop_nonce"));
}

#[tokio::test]
async fn a_next_nonce_takes_the_place_of_the_servers_own() {
    let sandbox = Sandbox::builder().nonces(Nonces::EveryCall).start().await.unwrap();
    let caller = Caller::new(&sandbox, "acme").await;
    let answers = [
        Answer::invalid_proof().next_nonce("n1"),
        Answer::normal().next_nonce("n2"),
        Answer::normal().next_nonce("a b"),
    ];
    sandbox.script(Who::Anyone, Endpoint::Token, answers);
    let url = caller.token_url();
    let mut claims = Claims::new("POST", &url);
    for (status, next) in [(400, "n1"), (200, "n2"), (200, "a b"), (400, "")] {
        let got = caller
            .ask(&url, &[("dpop", &claims.sign(&caller.key).await)], GRANT)
            .await;
        assert_eq!(got.status, status);
        assert_eq!(got.headers.get_all("dpop-nonce").iter().count(), 1);
        assert_eq!(got.header("cache-control"), Some("no-store"));
        let given = got.header("dpop-nonce").unwrap();
        assert!(next.is_empty() || given == next);
        // What was used once does not count again.
        let nonce = if next == "a b" { "n2" } else { given };
        claims = Claims::new("POST", &url).with("nonce", nonce);
    }
}

#[tokio::test]
async fn odd_token_answers() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.route(Method::GET, "/x", Canned::empty(204));
    let caller = Caller::new(&sandbox, "acme").await;
    let url = caller.token_url();
    let body = "{\"access_token\":\"a\",\"access_token\":\"b\"}";
    sandbox.script(
        tenant("acme"),
        Endpoint::Token,
        [
            Answer::unbound(),
            Answer::token_body(body),
            Answer::token_with(json!({"expires_in": "3600", "token_type": null, "x": 1})),
        ],
    );
    let ask = async || {
        let proof = Claims::new("POST", &url).sign(&caller.key).await;
        caller.ask(&url, &[("dpop", &proof)], GRANT).await
    };
    let unbound = ask().await.json();
    assert_eq!(unbound["token_type"], "Bearer");
    let token = unbound["access_token"].as_str().unwrap();
    assert_eq!(
        caller.call(&caller.api_url("/x"), "Bearer", token, None).await.status,
        204
    );
    assert_eq!(ask().await.body, body);
    let odd = ask().await.json();
    assert_eq!(
        (&odd["expires_in"], odd.get("token_type"), &odd["x"]),
        (&json!("3600"), None, &json!(1))
    );
    let token = odd["access_token"].as_str().unwrap();
    assert_eq!(
        caller.good_call(&caller.api_url("/x"), token).await.status,
        204,
        "still a good token"
    );
}

#[tokio::test]
async fn what_always_holds_ends_with_normal_service() {
    let sandbox = Sandbox::start().await.unwrap();
    let caller = Caller::new(&sandbox, "acme").await;
    sandbox.always(Who::Anyone, Endpoint::Token, Answer::status(503));
    for _ in 0..2 {
        assert_eq!(caller.ask(&caller.token_url(), &[], GRANT).await.status, 503);
    }
    sandbox.normal_service();
    assert_eq!(caller.ask(&caller.token_url(), &[], GRANT).await.status, 200);
}

#[tokio::test]
async fn routes_see_the_request_and_the_newest_wins() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.route(Method::GET, "/track/{number}", Canned::text(200, "old"));
    sandbox.route_with(Method::GET, "/track/{number}", |request| {
        Canned::json(200, &json!({"path": request.path(), "query": request.query()}))
    });
    sandbox.open_route(Method::GET, "/health", |_| Canned::empty(204));
    let caller = Caller::new(&sandbox, "acme").await;
    let token = caller.bound_token().await;
    let url = caller.api_url("/track/1Z");
    let proof = Claims::new("GET", &url).for_token(&token).sign(&caller.key).await;
    let got = caller.call(&format!("{url}?a=b"), "DPoP", &token, Some(&proof)).await;
    assert_eq!(got.json(), json!({"path": "/track/1Z", "query": "a=b"}));
    assert_eq!(caller.good_call(&caller.api_url("/nothing"), &token).await.status, 404);
    assert_eq!(
        caller
            .send(Method::GET, &caller.api_url("/health"), &[], "")
            .await
            .status,
        204
    );
}

#[tokio::test]
async fn debug_shows_no_secret() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.route(Method::GET, "/x", Canned::text(200, "answer-body"));
    let caller = Caller::new(&sandbox, "acme").await;
    let token = caller.bound_token().await;
    caller.good_call(&caller.api_url("/x"), &token).await;
    let shown = format!("{sandbox:?} {:?} {:?}", sandbox.requests(), caller.client);
    let proof = sandbox.requests()[1].proof().unwrap().to_owned();
    for secret in [
        token.as_str(),
        caller.client.client_secret().unwrap().expose(),
        &proof,
        &caller.basic()[6..],
    ] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
