//! Refresh tokens, assertions as grants, token exchange.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use shipbound::clock::{Clock, ManualClock, SystemClock};
use shipbound::sandbox::{Answer, Canned, CertificateFor, Endpoint, RefreshReuse, Registration, Sandbox, Verdict};

use crate::authorization::{code_for, public_code};
use crate::caller::{Caller, Claims, Got, new_key, tenant};
use crate::certified::Certified;
use crate::signer::{Signer, asserted};

fn refreshing(token: &str) -> String {
    format!("grant_type=refresh_token&refresh_token={token}")
}

fn member(got: &Got, name: &str) -> String {
    assert_eq!(got.status, 200, "{got:?}");
    got.json()[name].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_spent_refresh_token_costs_the_whole_family() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.route(Method::GET, "/x", Canned::empty(204));
    let caller = Caller::new(&sandbox, "acme").await;
    let url = caller.token_url();
    let first = sandbox.refresh_token(&tenant("acme"));
    let second = caller.ask(&url, &[], &refreshing(first.expose())).await;
    let third = caller
        .ask(&url, &[], &refreshing(&member(&second, "refresh_token")))
        .await;
    let (access, other) = (member(&third, "access_token"), sandbox.refresh_token(&tenant("acme")));
    assert_eq!(
        caller.call(&caller.api_url("/x"), "Bearer", &access, None).await.status,
        204
    );

    let reused = caller.ask(&url, &[], &refreshing(first.expose())).await;
    assert_eq!((reused.status, reused.error().as_str()), (400, "invalid_grant"));
    let newest = refreshing(&member(&third, "refresh_token"));
    assert_eq!(caller.ask(&url, &[], &newest).await.error(), "invalid_grant");
    assert_eq!(
        caller.call(&caller.api_url("/x"), "Bearer", &access, None).await.status,
        401
    );
    // Another consent is another family.
    assert_eq!(caller.ask(&url, &[], &refreshing(other.expose())).await.status, 200);
}

#[tokio::test]
async fn reuse_is_what_the_builder_says() {
    let refused = Sandbox::builder()
        .refresh_reuse(RefreshReuse::Refused)
        .start()
        .await
        .unwrap();
    let caller = Caller::new(&refused, "acme").await;
    let url = caller.token_url();
    let first = refused.refresh_token(&tenant("acme"));
    let second = member(
        &caller.ask(&url, &[], &refreshing(first.expose())).await,
        "refresh_token",
    );
    assert_eq!(caller.ask(&url, &[], &refreshing(first.expose())).await.status, 400);
    assert_eq!(caller.ask(&url, &[], &refreshing(&second)).await.status, 200);

    let lenient = Sandbox::builder()
        .refresh_reuse(RefreshReuse::UntilNextIsUsed)
        .start()
        .await
        .unwrap();
    let caller = Caller::new(&lenient, "acme").await;
    let url = caller.token_url();
    let first = lenient.refresh_token(&tenant("acme"));
    lenient.script(tenant("acme"), Endpoint::Token, [Answer::normal().lost()]);
    let (basic, body) = (caller.basic(), refreshing(first.expose()));
    let headers = [("authorization", basic.as_str())];
    let lost = caller.try_send(Method::POST, &url, &headers, body).await;
    assert!(lost.is_err());
    let again = member(
        &caller.ask(&url, &[], &refreshing(first.expose())).await,
        "refresh_token",
    );
    let third = caller.ask(&url, &[], &refreshing(&again)).await;
    assert_eq!(third.status, 200);
    assert_eq!(
        caller.ask(&url, &[], &refreshing(first.expose())).await.status,
        400,
        "the next one was used"
    );
}

#[tokio::test]
async fn of_two_refreshes_at_a_time_one_gets_the_next() {
    let sandbox = Sandbox::builder()
        .refresh_reuse(RefreshReuse::Refused)
        .start()
        .await
        .unwrap();
    let caller = Caller::new(&sandbox, "acme").await;
    let (url, first) = (caller.token_url(), sandbox.refresh_token(&tenant("acme")));
    let body = refreshing(first.expose());
    let (one, two) = tokio::join!(caller.ask(&url, &[], &body), caller.ask(&url, &[], &body));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
}

#[tokio::test]
async fn a_nonce_challenge_spends_no_grant_and_scopes_only_shrink() {
    let sandbox = Sandbox::start().await.unwrap();
    let (client, code) = public_code(&sandbox, "&scope=rates+labels").await;
    let url = format!("{}/token", sandbox.issuer());
    let key = new_key().await;
    sandbox.script(tenant("app"), Endpoint::Token, [Answer::nonce("n1")]);
    let proof = Claims::new("POST", &url).sign(&key).await;
    assert_eq!(
        client.ask(&url, &[("dpop", &proof)], &code).await.error(),
        "use_dpop_nonce"
    );
    let ask = async |body: &str| {
        let proof = Claims::new("POST", &url).with("nonce", "n1").sign(&key).await;
        client.ask(&url, &[("dpop", &proof)], body).await
    };
    let got = ask(&code).await;
    assert_eq!(got.json()["scope"], "rates labels");
    let refresh = format!("{}&client_id=app", refreshing(&member(&got, "refresh_token")));
    assert_eq!(ask(&format!("{refresh}&scope=admin")).await.error(), "invalid_scope");
    let less = ask(&format!("{refresh}&scope=rates")).await;
    assert_eq!(less.json()["scope"], "rates");
}

#[tokio::test]
async fn refresh_tokens_of_public_clients_are_bound_to_the_key() {
    let sandbox = Sandbox::start().await.unwrap();
    let (client, code) = public_code(&sandbox, "").await;
    let url = format!("{}/token", sandbox.issuer());
    let (own, other) = (new_key().await, new_key().await);
    let proof = Claims::new("POST", &url).sign(&own).await;
    let got = client.ask(&url, &[("dpop", &proof)], &code).await;
    let body = format!("{}&client_id=app", refreshing(&member(&got, "refresh_token")));
    let missing = client.ask(&url, &[], &body).await;
    assert_eq!((missing.status, missing.error().as_str()), (400, "invalid_request"));
    let proof = Claims::new("POST", &url).sign(&other).await;
    let foreign = client.ask(&url, &[("dpop", &proof)], &body).await;
    assert_eq!((foreign.status, foreign.error().as_str()), (400, "invalid_grant"));
    let proof = Claims::new("POST", &url).sign(&own).await;
    let got = client.ask(&url, &[("dpop", &proof)], &body).await;
    assert_eq!(got.json()["token_type"], "DPoP");
    // And so is the next.
    let body = format!("{}&client_id=app", refreshing(&member(&got, "refresh_token")));
    let proof = Claims::new("POST", &url).sign(&other).await;
    assert_eq!(
        client.ask(&url, &[("dpop", &proof)], &body).await.error(),
        "invalid_grant"
    );
}

#[tokio::test]
async fn refresh_tokens_of_public_clients_are_bound_to_the_certificate() {
    let sandbox = Sandbox::builder().mtls(true).start().await.unwrap();
    let app = Registration::public("app").certificate_bound_tokens();
    let code = code_for(&sandbox, app, "");
    let url = format!("{}/token", sandbox.mtls_api().unwrap());
    let [own, other] = [(), ()].map(|()| {
        let certificate = sandbox.client_certificate(CertificateFor::from("app").self_signed());
        Certified::new(&sandbox, Some(&certificate.unwrap()))
    });
    let got = own.ask(&url, &[], &code).await;
    let body = format!("{}&client_id=app", refreshing(&member(&got, "refresh_token")));
    assert_eq!(other.ask(&url, &[], &body).await.error(), "invalid_grant");
    assert_eq!(own.ask(&url, &[], &body).await.status, 200);
}

#[tokio::test]
async fn refresh_tokens_of_confidential_clients_are_bound_by_authentication() {
    let sandbox = Sandbox::start().await.unwrap();
    let caller = Caller::new(&sandbox, "acme").await;
    let (url, first) = (caller.token_url(), sandbox.refresh_token(&tenant("acme")));
    let proof = Claims::new("POST", &url).sign(&caller.key).await;
    let got = caller.ask(&url, &[("dpop", &proof)], &refreshing(first.expose())).await;
    let proof = Claims::new("POST", &url).sign(&new_key().await).await;
    let next = refreshing(&member(&got, "refresh_token"));
    assert_eq!(caller.ask(&url, &[("dpop", &proof)], &next).await.status, 200);
}

#[tokio::test]
async fn revoking_a_refresh_token_revokes_what_came_of_it() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.route(Method::GET, "/x", Canned::empty(204));
    let caller = Caller::new(&sandbox, "acme").await;
    let first = sandbox.refresh_token(&tenant("acme"));
    let got = caller.ask(&caller.token_url(), &[], &refreshing(first.expose())).await;
    let (access, next) = (member(&got, "access_token"), member(&got, "refresh_token"));
    let revoke = caller.token_url().replace("/token", "/revoke");
    sandbox.script(tenant("acme"), Endpoint::Revocation, [Answer::retry_after(503, "7")]);
    let busy = caller.ask(&revoke, &[], &format!("token={next}")).await;
    assert_eq!((busy.status, busy.header("retry-after")), (503, Some("7")));
    assert_eq!(
        caller.call(&caller.api_url("/x"), "Bearer", &access, None).await.status,
        204
    );
    let hint = "token_type_hint=refresh_token";
    assert_eq!(
        caller.ask(&revoke, &[], &format!("token={next}&{hint}")).await.status,
        200
    );
    assert_eq!(
        caller.call(&caller.api_url("/x"), "Bearer", &access, None).await.status,
        401
    );
    assert_eq!(
        caller.ask(&caller.token_url(), &[], &refreshing(&next)).await.error(),
        "invalid_grant"
    );
}

const JWT_BEARER: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";

#[tokio::test]
async fn an_assertion_is_a_grant_and_nothing_goes_with_it() {
    let sandbox = Sandbox::start().await.unwrap();
    let signer = Signer::es256(&sandbox, "acme", &sandbox.client_certificate("acme").unwrap());
    sandbox.register(Registration::private_key_jwt("acme", signer.keys()));
    let client = Certified::new(&sandbox, None);
    let url = format!("{}/token", sandbox.issuer());
    let typ = json!({"typ": "JWT"});
    let jwt = |claims: &Value| signer.sign_with(&typ, claims);
    let scoped = json!({"scope": "labels", "sub": null});
    let body = format!("{JWT_BEARER}&assertion={}", jwt(&scoped));
    let got = client.ask(&url, &[], &body).await;
    assert_eq!((got.status, &got.json()["scope"]), (200, &json!("labels")), "{got:?}");
    assert!(got.json().get("refresh_token").is_none());
    let request = sandbox.requests().last().unwrap().clone();
    assert_eq!(
        (request.client_id(), request.tenant()),
        (Some("acme"), Some(&tenant("acme")))
    );
    assert_eq!(request.assertion().unwrap().scope.as_deref(), Some("labels"));
    assert_eq!(
        client.ask(&url, &[], &body).await.error(),
        "invalid_grant",
        "its jti was used"
    );

    let now = SystemClock::new().now().unix_seconds();
    for (claims, reason) in [
        (json!({"exp": now + 121, "iat": now}), "assertion_exp"),
        (json!({"iat": null}), "assertion_iat"),
        (json!({"aud": [sandbox.issuer()]}), "assertion_aud"),
        (json!({"iss": "stranger"}), "invalid_client"),
    ] {
        let got = client
            .ask(&url, &[], &format!("{JWT_BEARER}&assertion={}", jwt(&claims)))
            .await;
        assert_eq!((got.status, got.error().as_str()), (400, "invalid_grant"), "{claims}");
        let refused = Verdict::Refused(reason.into());
        assert_eq!(sandbox.requests().last().unwrap().verdict(), &refused, "{claims}");
    }
    let both = asserted(&signer.sign(), &format!("{JWT_BEARER}&assertion={}", jwt(&json!({}))));
    assert_eq!(client.ask(&url, &[], &both).await.error(), "invalid_request");
    // An assertion for client authentication is no grant.
    let other = format!("{JWT_BEARER}&assertion={}", signer.sign());
    assert_eq!(client.ask(&url, &[], &other).await.error(), "invalid_grant");
    // With a proof the token is bound.
    let key = new_key().await;
    let proof = Claims::new("POST", &url).sign(&key).await;
    let body = format!("{JWT_BEARER}&assertion={}", jwt(&json!({})));
    assert_eq!(
        client.ask(&url, &[("dpop", &proof)], &body).await.json()["token_type"],
        "DPoP"
    );
}

#[tokio::test]
async fn tokens_are_exchanged_for_tokens() {
    let clock = Arc::new(ManualClock::at(SystemClock::new().now()));
    let sandbox = Sandbox::builder().clock(clock.clone()).start().await.unwrap();
    let caller = Caller::new(&sandbox, "acme").await;
    let gateway = Caller::new(&sandbox, "gateway").await;
    let url = caller.token_url();
    let kind = "urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token";
    let exchange = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange";
    let subject = caller
        .ask(&url, &[], "grant_type=client_credentials&scope=rates+labels")
        .await;
    let subject = member(&subject, "access_token");
    let body = format!("{exchange}&subject_token={subject}&subject_token_type={kind}&audience=carrier&scope=rates");
    let got = gateway.ask(&url, &[], &body).await;
    let told = got.json();
    assert_eq!(
        told["issued_token_type"], "urn:ietf:params:oauth:token-type:access_token",
        "{got:?}"
    );
    assert_eq!(
        (&told["token_type"], &told["scope"]),
        (&json!("Bearer"), &json!("rates"))
    );
    assert_ne!(told["access_token"], json!(subject));
    assert!(told.get("refresh_token").is_none());
    let proof = Claims::new("POST", &url).sign(&gateway.key).await;
    assert_eq!(
        gateway.ask(&url, &[("dpop", &proof)], &body).await.json()["token_type"],
        "DPoP"
    );

    for (change, error) in [
        (body.replace(&subject, "unknown"), "invalid_request"),
        (body.replace(kind, "urn%3Aother"), "invalid_request"),
        (format!("{body}&requested_token_type=urn%3Aother"), "invalid_request"),
        (
            format!("{body}&resource=https%3A%2F%2Fa.example%2F%23f"),
            "invalid_target",
        ),
        (body.replace("scope=rates", "scope=rates+admin"), "invalid_scope"),
        (exchange.to_owned(), "invalid_request"),
    ] {
        let got = gateway.ask(&url, &[], &change).await;
        assert_eq!((got.status, got.error().as_str()), (400, error), "{change}");
    }
    clock.advance(Duration::from_secs(3601));
    assert_eq!(gateway.ask(&url, &[], &body).await.error(), "invalid_request");
}

#[tokio::test]
async fn public_clients_get_nothing_for_themselves() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.register(Registration::public("app"));
    let client = Certified::new(&sandbox, None);
    for path in ["/token", "/security/v1/oauth/token", "/oauth/token"] {
        let url = format!("{}{path}", sandbox.issuer());
        let got = client
            .ask(&url, &[], "grant_type=client_credentials&client_id=app&code_verifier=x")
            .await;
        assert!(matches!(got.status, 400 | 401), "{path}: {got:?}");
    }
}

#[tokio::test]
async fn dpop_bound_clients_bring_proofs() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.register(Registration::secret("acme", "sEcReTmArKeR-1").dpop_bound_tokens());
    let caller = Caller::new(&sandbox, "acme").await;
    let got = caller
        .ask(&caller.token_url(), &[], "grant_type=client_credentials")
        .await;
    assert_eq!((got.status, got.error().as_str()), (400, "invalid_request"));
    caller.bound_token().await;
}
