//! Pushed authorization requests (RFC 9126).

use http::Method;
use serde_json::json;
use shipbound::sandbox::{Answer, Endpoint, Registration, Sandbox};

use crate::authorization::{get, parameter, parameters, redeeming, register, token_url, url};
use crate::caller::{Claims, new_key, tenant};
use crate::certified::{Certified, basic};

#[tokio::test]
async fn pushed_requests_are_authenticated_bound_and_good_once() {
    let sandbox = Sandbox::builder()
        .require_pushed_authorization_requests(true)
        .start()
        .await
        .unwrap();
    register(&sandbox, Registration::secret("app", "sEcReTmArKeR-1"));
    let client = Certified::new(&sandbox, None);
    let par = format!("{}/par", sandbox.issuer());
    let header = basic("app", "sEcReTmArKeR-1");
    let own = [("authorization", header.as_str())];
    assert_eq!(client.ask(&par, &[], &parameters()).await.error(), "invalid_client");

    // Not pushed: the browser is sent back.
    let direct = get(&client, &url(&sandbox, "")).await;
    assert_eq!(
        parameter(direct.header("location").unwrap(), "error").as_deref(),
        Some("invalid_request")
    );

    let key = new_key().await;
    let proof = Claims::new("POST", &par).sign(&key).await;
    let pushed = client.ask(&par, &[own[0], ("dpop", &proof)], &parameters()).await;
    assert_eq!(
        (pushed.status, &pushed.json()["expires_in"]),
        (201, &json!(60)),
        "{pushed:?}"
    );
    let uri = pushed.json()["request_uri"].as_str().unwrap().replace(':', "%3A");
    assert_eq!(sandbox.requests().last().unwrap().endpoint(), Endpoint::Par);
    let browser = format!("{}/authorize?client_id=app&request_uri={uri}", sandbox.issuer());
    let back = sandbox.allow(&browser).unwrap();
    assert_eq!(get(&client, &browser).await.status, 400, "a reference is good once");

    let body = redeeming(&parameter(&back, "code").unwrap());
    let ask = async |key: &shipbound::keys::KeyHandle| {
        let proof = Claims::new("POST", &token_url(&sandbox)).sign(key).await;
        client
            .ask(&token_url(&sandbox), &[own[0], ("dpop", &proof)], &body)
            .await
    };
    assert_eq!(ask(&new_key().await).await.error(), "invalid_grant");
    assert_eq!(ask(&key).await.json()["token_type"], "DPoP");
}

#[tokio::test]
async fn pushed_requests_with_something_wrong_are_refused_at_once() {
    let sandbox = Sandbox::start().await.unwrap();
    register(&sandbox, Registration::secret("app", "sEcReTmArKeR-1"));
    register(&sandbox, Registration::secret("other", "sEcReTmArKeR-2"));
    let client = Certified::new(&sandbox, None);
    let par = format!("{}/par", sandbox.issuer());
    let header = basic("app", "sEcReTmArKeR-1");
    let own = ("authorization", header.as_str());
    let good = parameters();
    for (wrong, error) in [
        (good.replace("client_id=app", "client_id=other"), "invalid_request"),
        (good.replace("client_id=app&", ""), "invalid_request"),
        (format!("{good}&request_uri=urn%3Ax"), "invalid_request"),
        (good.replace("app%3D1", "app%3D2"), "invalid_request"),
        (good.replace("code_challenge=", "challenge="), "invalid_request"),
    ] {
        let got = client.ask(&par, &[own], &wrong).await;
        assert_eq!((got.status, got.error().as_str()), (400, error), "{wrong}");
    }
    // Two keys in one request (RFC 9449 10.1).
    let (one, two) = (new_key().await, new_key().await);
    let body = format!("{good}&dpop_jkt={}", one.jkt());
    let proof = Claims::new("POST", &par).sign(&two).await;
    let got = client.ask(&par, &[own, ("dpop", &proof)], &body).await;
    assert_eq!((got.status, got.error().as_str()), (400, "invalid_dpop_proof"));
    let proof = Claims::new("POST", &par).sign(&one).await;
    assert_eq!(client.ask(&par, &[own, ("dpop", &proof)], &body).await.status, 201);
    assert_eq!(client.send(Method::GET, &par, &[own], "").await.status, 405);
    sandbox.script(
        tenant("app"),
        Endpoint::Par,
        [Answer::nonce("n1"), Answer::retry_after(503, "9")],
    );
    let got = client.ask(&par, &[own], &good).await;
    assert_eq!((got.status, got.header("dpop-nonce")), (400, Some("n1")));
    assert_eq!(client.ask(&par, &[own], &good).await.header("retry-after"), Some("9"));
    // Another client cannot use the reference.
    let uri = client.ask(&par, &[own], &good).await.json()["request_uri"]
        .as_str()
        .unwrap()
        .replace(':', "%3A");
    let stolen = format!("{}/authorize?client_id=other&request_uri={uri}", sandbox.issuer());
    assert_eq!(get(&client, &stolen).await.status, 400);
}

#[tokio::test]
async fn pushing_works_with_certificates_at_the_mtls_host() {
    let sandbox = Sandbox::builder().mtls(true).start().await.unwrap();
    register(&sandbox, Registration::tls_client_auth("app", "app"));
    let own = sandbox.client_certificate("app").unwrap();
    let par = format!("{}/par", sandbox.mtls_api().unwrap());
    assert_eq!(
        Certified::new(&sandbox, Some(&own))
            .ask(&par, &[], &parameters())
            .await
            .status,
        201
    );
    assert_eq!(
        Certified::new(&sandbox, None)
            .ask(&par, &[], &parameters())
            .await
            .status,
        401
    );
}
