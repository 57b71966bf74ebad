//! Codes and refresh tokens as UPS and USPS give them.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::json;
use shipbound::clock::{Clock, ManualClock, SystemClock};
use shipbound::sandbox::{Endpoint, Registration, Sandbox};

use crate::authorization::{VERIFIER, get, parameter, parameters, redeeming, register};
use crate::caller::Caller;
use crate::certified::{Certified, basic};

#[tokio::test]
async fn ups_gives_codes_in_its_own_manner() {
    let clock = Arc::new(ManualClock::at(SystemClock::new().now()));
    let sandbox = Sandbox::builder().clock(clock.clone()).start().await.unwrap();
    register(&sandbox, Registration::secret("app", "sEcReTmArKeR-1"));
    let client = Certified::new(&sandbox, None);
    let page_url = format!("{}/security/v1/oauth/authorize?{}", sandbox.api(), parameters());
    let page = get(&client, &page_url).await;
    assert_eq!(page.status, 200);
    assert!(String::from_utf8_lossy(&page.body).contains("action=\"/security/v1/oauth/authorize\""));
    let back = sandbox.allow(&page_url).unwrap();
    assert_eq!(parameter(&back, "iss"), None);
    let body = redeeming(&parameter(&back, "code").unwrap());

    // With PKCE there is no Basic.
    let token = format!("{}/security/v1/oauth/token", sandbox.api());
    let wrong = client.ask(&token, &[], &body.replace(VERIFIER, "x")).await;
    assert_eq!(wrong.json()["response"]["errors"][0]["code"], "10400");
    let got = client.ask(&token, &[], &body).await.json();
    assert!(
        got.as_object().unwrap().values().all(|value| value.is_string()),
        "{got}"
    );
    assert_eq!(
        (&got["refresh_token_expires_in"], &got["refresh_count"]),
        (&json!("604799"), &json!("0"))
    );
    assert_eq!(got["refresh_token_status"], "approved");
    assert_eq!(got["refresh_token_issued_at"].as_str().unwrap().len(), 13);

    let header = basic("app", "sEcReTmArKeR-1");
    let own = [("authorization", header.as_str())];
    let refresh = format!("{}/security/v1/oauth/refresh", sandbox.api());
    let refreshing = |got: &serde_json::Value| {
        format!(
            "grant_type=refresh_token&refresh_token={}",
            got["refresh_token"].as_str().unwrap()
        )
    };
    assert_eq!(
        client.ask(&token, &own, &refreshing(&got)).await.status,
        400,
        "that is what the other path is for"
    );
    assert_eq!(
        client.ask(&refresh, &own, "grant_type=client_credentials").await.status,
        400
    );
    let next = client.ask(&refresh, &own, &refreshing(&got)).await.json();
    assert_eq!(next["refresh_count"], "1");
    assert_ne!(next["refresh_token"], got["refresh_token"]);
    clock.advance(Duration::from_secs(604_799));
    assert_eq!(
        client.ask(&refresh, &own, &refreshing(&next)).await.status,
        400,
        "it has expired"
    );

    // Without PKCE, with Basic.
    let plain = page_url.split("&code_challenge").next().unwrap();
    let body = redeeming(&parameter(&sandbox.allow(plain).unwrap(), "code").unwrap());
    let body = body.split("&code_verifier").next().unwrap();
    assert_eq!(client.ask(&token, &[], body).await.status, 401);
    assert_eq!(client.ask(&token, &own, body).await.status, 200);
}

#[tokio::test]
async fn usps_takes_json_gives_codes_and_revokes() {
    let sandbox = Sandbox::start().await.unwrap();
    register(&sandbox, Registration::secret("app", "sEcReTmArKeR-1"));
    let client = Certified::new(&sandbox, None);
    let at = |path: &str| format!("{}{path}", sandbox.api());
    let form = "grant_type=client_credentials&client_id=app&client_secret=sEcReTmArKeR-1&scope=addresses";
    let got = client.ask(&at("/oauth2/v3/token"), &[], form).await.json();
    assert_eq!(
        (&got["expires_in"], &got["status"], &got["scope"]),
        (&json!(28_799), &json!("approved"), &json!("addresses"))
    );
    let json_body = json!({"grant_type": "client_credentials", "client_id": "app", "client_secret": "sEcReTmArKeR-1"});
    let kind = [("content-type", "application/json")];
    let got = client
        .send(Method::POST, &at("/oauth2/v3/token"), &kind, &json_body.to_string())
        .await
        .json();
    let token = got["access_token"].as_str().unwrap();

    let city = at("/addresses/v3/city-state?ZIPCode=30022");
    let answer = client.call(&city, "Bearer", token, None).await;
    assert_eq!((answer.status, &answer.json()["ZIPCode"]), (200, &json!("30022")));
    assert_eq!(
        client
            .call(&at("/addresses/v3/nowhere"), "Bearer", token, None)
            .await
            .status,
        404
    );

    let back = sandbox
        .allow(&format!("{}?{}", at("/oauth2/v3/authorize"), parameters()))
        .unwrap();
    let body = format!(
        "{}&client_secret=sEcReTmArKeR-1",
        redeeming(&parameter(&back, "code").unwrap())
    );
    let granted = client.ask(&at("/oauth2/v3/token"), &[], &body).await.json();
    assert_eq!(granted["refresh_token_status"], "approved", "{granted}");

    // By a token, and by the secret.
    let refresh = granted["refresh_token"].as_str().unwrap();
    let revoke = json!({"token": refresh, "token_type_hint": "refresh_token"}).to_string();
    let authorization = format!("Bearer {token}");
    let stranger = [kind[0], ("authorization", "Bearer stranger")];
    assert_eq!(
        client
            .send(Method::POST, &at("/oauth2/v3/revoke"), &stranger, &revoke)
            .await
            .status,
        401
    );
    let own = [kind[0], ("authorization", authorization.as_str())];
    assert_eq!(
        client
            .send(Method::POST, &at("/oauth2/v3/revoke"), &own, &revoke)
            .await
            .status,
        200
    );
    assert_eq!(sandbox.requests().last().unwrap().endpoint(), Endpoint::Revocation);
    let granted = granted["access_token"].as_str().unwrap();
    let refused = client.call(&city, "Bearer", granted, None).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["errors"][0]["title"]),
        (401, &json!("invalid_token"))
    );
    assert_eq!(refused.header("www-authenticate"), Some("Bearer realm=\"USPS\""));
    let by_secret = format!("token={token}&client_id=app&client_secret=sEcReTmArKeR-1");
    assert_eq!(client.ask(&at("/oauth2/v3/revoke"), &[], &by_secret).await.status, 200);
    assert_eq!(client.call(&city, "Bearer", token, None).await.status, 401);
    // Callers of the other kind are unaffected.
    Caller::new(&sandbox, "acme").await.bound_token().await;
}
