//! Token endpoint, metadata, revocation, introspection.

use http::Method;
use serde_json::{Value, json};
use shipbound::sandbox::{Answer, Canned, Endpoint, MetadataAt, Nonces, Registration, Sandbox};
use shipbound::secret::ClientSecret;

use crate::caller::{Caller, Claims, tenant};

const GRANT: &str = "grant_type=client_credentials";

#[tokio::test]
async fn clients_are_known_by_basic_or_body_and_nothing_else() {
    let sandbox = Sandbox::start().await.unwrap();
    let caller = Caller::new(&sandbox, "acme").await;
    let url = caller.token_url();
    let form = [("content-type", "application/x-www-form-urlencoded")];

    assert_eq!(caller.ask(&url, &[], GRANT).await.status, 200);
    let body = format!(
        "{GRANT}&client_id=acme&client_secret={}",
        caller.client.client_secret().unwrap().expose()
    );
    assert_eq!(
        caller
            .try_send(Method::POST, &url, &form, body.clone())
            .await
            .unwrap()
            .status,
        200
    );
    let both = caller.ask(&url, &[], &body).await;
    assert_eq!((both.status, both.error().as_str()), (400, "invalid_request"));
    let wrong = caller
        .send(
            Method::POST,
            &url,
            &form,
            "grant_type=client_credentials&client_id=acme&client_secret=x",
        )
        .await;
    assert_eq!((wrong.status, wrong.error().as_str()), (401, "invalid_client"));

    sandbox.rotate_secret(&tenant("acme"));
    assert_eq!(caller.ask(&url, &[], GRANT).await.status, 401);
    assert_eq!(sandbox.credential(&tenant("acme")).client_id(), "acme");
}

#[tokio::test]
async fn basic_is_form_encoded_inside() {
    let sandbox = Sandbox::builder()
        .client("id:1", ClientSecret::new("a b+c%"))
        .start()
        .await
        .unwrap();
    let caller = Caller::new(&sandbox, "acme").await;
    // id%3A1:a+b%2Bc%25
    let headers = [
        ("authorization", "Basic aWQlM0ExOmErYiUyQmMlMjU="),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let got = caller.send(Method::POST, &caller.token_url(), &headers, GRANT).await;
    assert_eq!(got.status, 200, "{got:?}");
    assert_eq!(sandbox.requests()[0].client_id(), Some("id:1"));
}

#[tokio::test]
async fn proofs_are_required_where_that_is_set() {
    let sandbox = Sandbox::builder().require_dpop(true).start().await.unwrap();
    sandbox.route(Method::GET, "/x", Canned::empty(204));
    let caller = Caller::new(&sandbox, "acme").await;
    assert_eq!(caller.ask(&caller.token_url(), &[], GRANT).await.status, 400);
    let token = caller.bound_token().await;
    assert_eq!(caller.good_call(&caller.api_url("/x"), &token).await.status, 204);
    sandbox.script(tenant("acme"), Endpoint::Token, [Answer::unbound()]);
    let proof = Claims::new("POST", &caller.token_url()).sign(&caller.key).await;
    let unbound = caller.ask(&caller.token_url(), &[("dpop", &proof)], GRANT).await.json();
    let unbound = unbound["access_token"].as_str().unwrap();
    let got = caller.call(&caller.api_url("/x"), "Bearer", unbound, None).await;
    assert_eq!(got.status, 401);
    assert!(got.header("www-authenticate").unwrap().starts_with("DPoP"));
}

#[tokio::test]
async fn unbound_tokens_pass_as_bearer_until_dpop_is_required() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.route(Method::GET, "/x", Canned::empty(204));
    let caller = Caller::new(&sandbox, "acme").await;
    let token = caller.bearer_token().await;
    let url = caller.api_url("/x");
    assert_eq!(caller.call(&url, "Bearer", &token, None).await.status, 204);
    assert!(sandbox.requests().last().unwrap().checks().is_empty());
    // With a proof beside it an unbound token is still unbound.
    assert_eq!(caller.good_call(&url, &token).await.status, 401);
    assert_eq!(
        caller
            .call(&url, "Bearer", "unknown", None)
            .await
            .header("www-authenticate"),
        Some("Bearer error=\"invalid_token\"")
    );
}

#[tokio::test]
async fn a_nonce_challenge_at_the_token_endpoint_is_400() {
    let sandbox = Sandbox::builder()
        .issuer_nonces(Nonces::Required)
        .start()
        .await
        .unwrap();
    let caller = Caller::new(&sandbox, "acme").await;
    let url = caller.token_url();
    let proof = Claims::new("POST", &url).sign(&caller.key).await;
    let got = caller.ask(&url, &[("dpop", &proof)], GRANT).await;
    assert_eq!((got.status, got.error().as_str()), (400, "use_dpop_nonce"));
    let nonce = got.header("dpop-nonce").unwrap();
    let proof = Claims::new("POST", &url).with("nonce", nonce).sign(&caller.key).await;
    let got = caller.ask(&url, &[("dpop", &proof)], GRANT).await;
    assert_eq!((got.status, got.json()["token_type"].as_str()), (200, Some("DPoP")));
    assert_eq!(
        sandbox.requests()[1].checks(),
        ["signature", "htm", "htu", "iat", "jti", "nonce"]
    );
}

#[tokio::test]
async fn metadata_is_where_it_was_put() {
    for (at, path) in [
        (MetadataAt::OAuth, "/.well-known/oauth-authorization-server/tenant1"),
        (MetadataAt::OpenId, "/tenant1/.well-known/openid-configuration"),
    ] {
        let sandbox = Sandbox::builder()
            .issuer_path("/tenant1")
            .metadata(at)
            .start()
            .await
            .unwrap();
        let caller = Caller::new(&sandbox, "acme").await;
        let origin = sandbox.issuer().strip_suffix("/tenant1").unwrap();
        let got = caller.send(Method::GET, &format!("{origin}{path}"), &[], "").await;
        assert_eq!(got.json()["issuer"], sandbox.issuer());
        assert_eq!(got.json()["token_endpoint"], caller.token_url());
        caller.bound_token().await;
        for other in [
            "/.well-known/oauth-authorization-server",
            "/.well-known/openid-configuration",
        ] {
            assert_eq!(
                caller
                    .send(Method::GET, &format!("{origin}{other}"), &[], "")
                    .await
                    .status,
                404
            );
        }
    }
    for path in ["tenant1", "/", "/a/", "//a", "/a b"] {
        assert!(Sandbox::builder().issuer_path(path).start().await.is_err(), "{path}");
    }
}

async fn introspect(caller: &Caller, token: &str) -> Value {
    let url = caller.token_url().replace("/token", "/introspect");
    caller.ask(&url, &[], &format!("token={token}")).await.json()
}

#[tokio::test]
async fn introspection_tells_the_binding_and_revocation_ends_it() {
    let sandbox = Sandbox::start().await.unwrap();
    let caller = Caller::new(&sandbox, "acme").await;
    let token = caller.bound_token().await;
    let told = introspect(&caller, &token).await;
    assert_eq!((&told["active"], &told["token_type"]), (&json!(true), &json!("DPoP")));
    assert_eq!(told["cnf"]["jkt"], caller.key.jkt().to_string());

    let revoke = caller.token_url().replace("/token", "/revoke");
    let other = Caller::new(&sandbox, "other").await;
    assert_eq!(other.ask(&revoke, &[], &format!("token={token}")).await.status, 200);
    assert_eq!(
        introspect(&caller, &token).await["active"],
        true,
        "another client's revocation does nothing"
    );
    assert_eq!(caller.ask(&revoke, &[], &format!("token={token}")).await.status, 200);
    assert_eq!(introspect(&caller, &token).await, json!({"active": false}));
}

#[tokio::test]
async fn nobody_introspects_who_proves_nothing() {
    let sandbox = Sandbox::start().await.unwrap();
    let caller = Caller::new(&sandbox, "acme").await;
    let token = caller.bound_token().await;
    sandbox.register(Registration::public("app"));
    let body = format!("client_id=app&token={token}");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let url = caller.token_url().replace("/token", "/introspect");
    let got = caller.try_send(Method::POST, &url, &form, body).await.unwrap();
    assert_eq!((got.status, got.error().as_str()), (401, "invalid_client"));
    let url = format!("{}/.well-known/oauth-authorization-server", sandbox.issuer());
    let document = caller.send(Method::GET, &url, &[], "").await.json();
    for (endpoint, takes_none) in [("token", true), ("revocation", true), ("introspection", false)] {
        let methods = document[format!("{endpoint}_endpoint_auth_methods_supported")].as_array();
        assert_eq!(methods.unwrap().contains(&json!("none")), takes_none, "{endpoint}");
    }
}

#[tokio::test]
async fn one_client_is_not_named_beside_another() {
    let sandbox = Sandbox::start().await.unwrap();
    let caller = Caller::new(&sandbox, "acme").await;
    let ask = async |id: &str| {
        let body = format!("grant_type=client_credentials&client_id={id}");
        caller.ask(&caller.token_url(), &[], &body).await.status
    };
    assert_eq!(ask(caller.client.client_id()).await, 200);
    assert_eq!(ask("globex").await, 400);
}

#[tokio::test]
async fn refresh_tokens_rotate_or_stay() {
    for rotates in [true, false] {
        let sandbox = Sandbox::builder().rotate_refresh_tokens(rotates).start().await.unwrap();
        let caller = Caller::new(&sandbox, "acme").await;
        let first = sandbox.refresh_token(&tenant("acme"));
        let body = format!("grant_type=refresh_token&refresh_token={}", first.expose());
        let got = caller.ask(&caller.token_url(), &[], &body).await;
        assert_eq!(got.status, 200);
        assert_eq!(got.json().get("refresh_token").is_some(), rotates);
        let again = caller.ask(&caller.token_url(), &[], &body).await;
        assert_eq!(again.status, if rotates { 400 } else { 200 });
        let stranger = Caller::new(&sandbox, "other").await;
        assert_eq!(
            stranger.ask(&stranger.token_url(), &[], &body).await.error(),
            "invalid_grant"
        );
    }
}

#[tokio::test]
async fn token_endpoints_of_other_carriers_take_json_and_passwords() {
    let sandbox = Sandbox::builder().token_path("/oauth2/v3/token").start().await.unwrap();
    let caller = Caller::new(&sandbox, "acme").await;
    let body = json!({
        "grant_type": "client_credentials",
        "client_id": "acme",
        "client_secret": caller.client.client_secret().unwrap().expose(),
    });
    let json = [("content-type", "application/json")];
    let got = caller
        .try_send(
            Method::POST,
            &caller.api_url("/oauth2/v3/token"),
            &json,
            body.to_string(),
        )
        .await
        .unwrap();
    assert_eq!(got.status, 200, "{got:?}");
    // The issuer's own endpoint takes forms alone (RFC 6749 3.2).
    let url = caller.token_url();
    let own = caller.try_send(Method::POST, &url, &json, body.to_string());
    assert_eq!(own.await.unwrap().status, 401);
    let ropc = caller
        .ask(
            &caller.api_url("/oauth2/v3/token"),
            &[],
            "grant_type=password&username=u&password=p",
        )
        .await;
    assert_eq!(ropc.status, 200);
    let unknown = caller.ask(&caller.token_url(), &[], "grant_type=teleport").await;
    assert_eq!(
        (unknown.status, unknown.error().as_str()),
        (400, "unsupported_grant_type")
    );
}

#[tokio::test]
async fn no_parameter_comes_twice_but_those_that_may() {
    let sandbox = Sandbox::start().await.unwrap();
    let caller = Caller::new(&sandbox, "acme").await;
    let url = caller.token_url();
    let twice = caller.ask(&url, &[], &format!("{GRANT}&{GRANT}")).await;
    assert_eq!((twice.status, twice.error().as_str()), (400, "invalid_request"));
    let resources = format!("{GRANT}&resource=https%3A%2F%2Fa.example&resource=https%3A%2F%2Fb.example");
    assert_eq!(caller.ask(&url, &[], &resources).await.status, 200);
}
