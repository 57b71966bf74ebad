//! FedEx and UPS, as their clients see them.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::json;
use shipbound::clock::{Clock, ManualClock, SystemClock};
use shipbound::sandbox::imitations::{fedex, ups};
use shipbound::sandbox::{Answer, Endpoint, Sandbox, Vendors};

use crate::caller::{Caller, Claims, tenant};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn fedex_body(caller: &Caller) -> String {
    let secret = caller.client.client_secret().unwrap().expose();
    format!(
        "grant_type=client_credentials&client_id={}&client_secret={secret}",
        caller.client.client_id()
    )
}

#[tokio::test]
async fn fedex_speaks_as_fedex_does() {
    let sandbox = Sandbox::start().await.unwrap();
    let caller = Caller::new(&sandbox, "acme").await;
    let url = caller.api_url("/oauth/token");
    let got = caller
        .try_send(Method::POST, &url, &[FORM], fedex_body(&caller))
        .await
        .unwrap();
    let told = got.json();
    assert_eq!(
        (&told["token_type"], &told["expires_in"], &told["scope"]),
        (&json!("bearer"), &json!(3600), &json!("CXS"))
    );
    let token = told["access_token"].as_str().unwrap();

    // Basic is not FedEx's way.
    let basic = caller.ask(&url, &[], "grant_type=client_credentials").await;
    assert_eq!(
        (basic.status, &basic.json()["errors"][0]["code"]),
        (401, &json!("NOT.AUTHORIZED.ERROR"))
    );

    for path in [
        "/rate/v1/rates/quotes",
        "/ship/v1/shipments",
        "/country/v1/postal/validate",
        "/track/v1/trackingnumbers",
    ] {
        let authorization = format!("Bearer {token}");
        let headers = [
            ("authorization", authorization.as_str()),
            ("x-customer-transaction-id", "c-1"),
        ];
        let got = caller.send(Method::POST, &caller.api_url(path), &headers, "{}").await;
        assert_eq!(got.status, 200, "{path}");
        assert_eq!(got.json()["customerTransactionId"], "c-1");
        assert!(got.json()["output"].is_object());

        let refused = caller
            .send(
                Method::POST,
                &caller.api_url(path),
                &[("authorization", "Bearer stale")],
                "{}",
            )
            .await;
        assert_eq!(
            (refused.status, &refused.json()["errors"][0]["code"]),
            (401, &json!("NOT.AUTHORIZED.ERROR"))
        );
        assert_eq!(refused.header("www-authenticate"), None);
    }
}

#[tokio::test]
async fn fedex_with_dpop_binds_and_as_today_does_not() {
    let sandbox = Sandbox::start().await.unwrap();
    let caller = Caller::new(&sandbox, "acme").await;
    let url = caller.api_url("/oauth/token");
    let proof = Claims::new("POST", &url).sign(&caller.key).await;
    let got = caller
        .try_send(Method::POST, &url, &[FORM, ("dpop", &proof)], fedex_body(&caller))
        .await
        .unwrap();
    assert_eq!(
        (got.json()["token_type"].as_str(), got.json()["scope"].as_str()),
        (Some("DPoP"), Some("CXS"))
    );
    let token = got.json()["access_token"].as_str().unwrap().to_owned();
    let rate = caller.api_url("/rate/v1/rates/quotes");
    let authorization = format!("DPoP {token}");
    let proof = Claims::new("POST", &rate).for_token(&token).sign(&caller.key).await;
    let headers = [("authorization", authorization.as_str()), ("dpop", proof.as_str())];
    assert_eq!(caller.send(Method::POST, &rate, &headers, "{}").await.status, 200);
    let again = caller.send(Method::POST, &rate, &headers, "{}").await;
    assert_eq!(again.status, 401);
    assert!(again.header("www-authenticate").unwrap().contains("invalid_dpop_proof"));
    let stolen = format!("Bearer {token}");
    assert_eq!(
        caller
            .send(Method::POST, &rate, &[("authorization", &stolen)], "{}")
            .await
            .status,
        401
    );

    let sandbox = Sandbox::builder().vendors(Vendors::AsToday).start().await.unwrap();
    let caller = Caller::new(&sandbox, "acme").await;
    let url = caller.api_url("/oauth/token");
    let proof = Claims::new("POST", &url).sign(&caller.key).await;
    let got = caller
        .try_send(Method::POST, &url, &[FORM, ("dpop", &proof)], fedex_body(&caller))
        .await
        .unwrap();
    assert_eq!(got.json()["token_type"], "bearer");
}

#[tokio::test]
async fn fedex_blocks_the_address_and_lifts_the_block_by_the_sandboxs_clock() {
    let clock = Arc::new(ManualClock::at(SystemClock::new().now()));
    let sandbox = Sandbox::builder().clock(clock.clone()).start().await.unwrap();
    let caller = Caller::new(&sandbox, "acme").await;
    let ask = async || {
        let url = caller.api_url("/oauth/token");
        caller
            .try_send(Method::POST, &url, &[FORM], fedex_body(&caller))
            .await
            .unwrap()
            .status
    };
    for _ in 0..15 {
        assert_eq!(ask().await, 200);
    }
    assert_eq!(ask().await, 403);
    clock.advance(Duration::from_secs(599));
    assert_eq!(ask().await, 403, "and longer, for asking");
    clock.advance(Duration::from_secs(600));
    assert_eq!(ask().await, 200);

    let free = Sandbox::builder().vendor_limits(false).start().await.unwrap();
    let caller = Caller::new(&free, "acme").await;
    for _ in 0..20 {
        let url = caller.api_url("/oauth/token");
        let got = caller
            .try_send(Method::POST, &url, &[FORM], fedex_body(&caller))
            .await
            .unwrap();
        assert_eq!(got.status, 200);
    }
}

#[tokio::test]
async fn ups_speaks_as_ups_does() {
    let sandbox = Sandbox::start().await.unwrap();
    let caller = Caller::new(&sandbox, "acme").await;
    let url = caller.api_url("/security/v1/oauth/token");
    let got = caller.ask(&url, &[], "grant_type=client_credentials").await.json();
    assert!(
        got.as_object().unwrap().values().all(|value| value.is_string()),
        "{got}"
    );
    assert_eq!(
        (&got["expires_in"], &got["status"], &got["client_id"]),
        (&json!("14399"), &json!("approved"), &json!("acme"))
    );
    assert_eq!(got["issued_at"].as_str().unwrap().len(), 13);
    let token = got["access_token"].as_str().unwrap();
    assert_eq!(token.len(), 1000);

    let missing = caller
        .send(Method::POST, &url, &[FORM], "grant_type=client_credentials")
        .await;
    assert_eq!(missing.json()["response"]["errors"][0]["code"], "10400");
    let wrong = [("authorization", "Basic eDp5"), FORM];
    let wrong = caller
        .send(Method::POST, &url, &wrong, "grant_type=client_credentials")
        .await;
    assert_eq!(
        (wrong.status, &wrong.json()["response"]["errors"][0]["code"]),
        (401, &json!("10401"))
    );

    let authorization = format!("Bearer {token}");
    let bearer = ("authorization", authorization.as_str());
    let traced = [bearer, ("transId", "t-1"), ("transactionSrc", "testing")];
    for (method, path, headers, status) in [
        (Method::POST, "/api/rating/v2409/Rate", &[bearer][..], 200),
        (Method::POST, "/api/shipments/v2409/ship", &[bearer], 200),
        (Method::POST, "/api/addressvalidation/v2/1", &[bearer], 200),
        (Method::GET, "/api/track/v1/details/1Z", &traced, 200),
        (Method::GET, "/api/track/v1/details/1Z", &traced[..2], 400),
        (Method::GET, "/api/track/v1/details/1Z", &[bearer], 400),
        (Method::GET, "/api/rating/v2409/Rate", &[bearer], 404),
    ] {
        let got = caller.send(method, &caller.api_url(path), headers, "").await;
        assert_eq!(got.status, status, "{path}");
    }
    let stale = caller
        .send(
            Method::POST,
            &caller.api_url("/api/rating/v2409/Rate"),
            &[("authorization", "Bearer x")],
            "",
        )
        .await;
    assert_eq!(
        (stale.status, &stale.json()["response"]["errors"][0]["code"]),
        (401, &json!("250002"))
    );
    assert_eq!(stale.header("www-authenticate"), None);
}

#[tokio::test]
async fn ups_refreshes_at_its_own_path_and_says_when_it_is_too_much() {
    let sandbox = Sandbox::start().await.unwrap();
    let caller = Caller::new(&sandbox, "acme").await;
    let refresh = sandbox.refresh_token(&tenant("acme"));
    let body = format!("grant_type=refresh_token&refresh_token={}", refresh.expose());
    let url = caller.api_url("/security/v1/oauth/refresh");
    assert!(caller.ask(&url, &[], &body).await.json()["refresh_token"].is_string());
    assert_eq!(caller.ask(&url, &[], &body).await.status, 400);

    let token = caller.bearer_token().await;
    sandbox.script(
        tenant("acme"),
        Endpoint::Api,
        [Answer::reply(ups::throttled()), Answer::reply(fedex::throttled())],
    );
    let url = caller.api_url("/api/track/v1/details/1Z");
    let got = caller.call(&url, "Bearer", &token, None).await;
    assert_eq!(
        (got.status, &got.json()["response"]["errors"][0]["code"]),
        (429, &json!("10429"))
    );
    assert_eq!(got.header("retry-after"), None);
    assert_eq!(caller.call(&url, "Bearer", &token, None).await.status, 429);
}
