//! The code grant: page and decision, PKCE, pushed requests, and what scripts do to the redirect.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde_json::json;
use shipbound::clock::{Clock, ManualClock, SystemClock};
use shipbound::sandbox::{Answer, Endpoint, Registration, Sandbox};

use crate::caller::{Caller, Claims, Got, new_key, tenant};
use crate::certified::{Certified, basic};
use crate::signer::{Signer, asserted};

const VERIFIER: &str = "sEcReTmArKeR-0123456789-0123456789-0123456789";
const BACK: &str = "http://127.0.0.1:1/back?app=1";
const BACK_ENCODED: &str = "http%3A%2F%2F127.0.0.1%3A1%2Fback%3Fapp%3D1";

/// S256 of a verifier (RFC 7636 4.2).
fn challenge(verifier: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
    URL_SAFE_NO_PAD.encode(digest)
}

/// The parameters of an authorization request as it should be.
fn parameters() -> String {
    let challenge = challenge(VERIFIER);
    format!(
        "response_type=code&client_id=app&redirect_uri={BACK_ENCODED}&state=s%26t\
         &code_challenge={challenge}&code_challenge_method=S256"
    )
}

fn register(sandbox: &Sandbox, registration: Registration) {
    sandbox.register(registration.redirect_uri(BACK));
}

fn url(sandbox: &Sandbox, more: &str) -> String {
    format!("{}/authorize?{}{more}", sandbox.issuer(), parameters())
}

/// A parameter of the URL that a browser was sent to.
fn parameter(url: &str, name: &str) -> Option<String> {
    let rest = url.strip_prefix(BACK).unwrap_or_else(|| panic!("{url}"));
    form_urlencoded::parse(rest.strip_prefix('&')?.as_bytes())
        .find_map(|(own, value)| (own == name).then(|| value.into_owned()))
}

fn redeeming(code: &str) -> String {
    let grant = "grant_type=authorization_code&client_id=app";
    format!("{grant}&code={code}&redirect_uri={BACK_ENCODED}&code_verifier={VERIFIER}")
}

/// A token request with a code that was allowed, for `app` as it is registered here.
pub(crate) fn code_for(sandbox: &Sandbox, registration: Registration, more: &str) -> String {
    register(sandbox, registration);
    let back = sandbox.allow(&url(sandbox, more)).unwrap();
    redeeming(&parameter(&back, "code").unwrap())
}

/// The same for a public client, and a client to send it.
pub(crate) async fn public_code(sandbox: &Sandbox, more: &str) -> (Certified, String) {
    let code = code_for(sandbox, Registration::public("app"), more);
    (Certified::new(sandbox, None), code)
}

async fn get(client: &Certified, url: &str) -> Got {
    client.send(Method::GET, url, &[], "").await
}

fn token_url(sandbox: &Sandbox) -> String {
    format!("{}/token", sandbox.issuer())
}

/// Presses a button of the page.
async fn press(sandbox: &Sandbox, client: &Certified, page: &Got, decision: &str) -> Got {
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    let ticket = html
        .split("name=\"ticket\" value=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let action = format!("{}/authorize", sandbox.issuer());
    client
        .ask(&action, &[], &format!("ticket={ticket}&decision={decision}"))
        .await
}

#[tokio::test]
async fn a_person_allows_and_the_code_is_worth_tokens_once() {
    let sandbox = Sandbox::start().await.unwrap();
    register(&sandbox, Registration::public("app"));
    let client = Certified::new(&sandbox, None);
    let page = get(&client, &url(&sandbox, "&scope=rates+%3Cb%3E")).await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    assert!(
        page.header("content-security-policy")
            .unwrap()
            .contains("frame-ancestors 'none'")
    );
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    for part in [
        "<strong>app</strong>",
        "<code>rates</code>",
        "<code>&lt;b&gt;</code>",
        "Allow",
        "Deny",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    assert_eq!(sandbox.requests_at(Endpoint::Authorization)[0].client_id(), Some("app"));

    let sent = press(&sandbox, &client, &page, "allow").await;
    assert_eq!(sent.status, 303);
    let back = sent.header("location").unwrap();
    assert_eq!(parameter(back, "state").as_deref(), Some("s&t"));
    assert_eq!(parameter(back, "iss").as_deref(), Some(sandbox.issuer()));
    let body = redeeming(&parameter(back, "code").unwrap());
    assert_eq!(
        press(&sandbox, &client, &page, "allow").await.status,
        400,
        "a ticket is good once"
    );

    let got = client.ask(&token_url(&sandbox), &[], &body).await;
    assert_eq!(
        (got.status, &got.json()["scope"]),
        (200, &json!("rates <b>")),
        "{got:?}"
    );
    let refresh = got.json()["refresh_token"].as_str().unwrap().to_owned();
    assert_eq!(
        client.ask(&token_url(&sandbox), &[], &body).await.error(),
        "invalid_grant"
    );
    // The second use took back what the first had brought.
    let body = format!("grant_type=refresh_token&client_id=app&refresh_token={refresh}");
    assert_eq!(
        client.ask(&token_url(&sandbox), &[], &body).await.error(),
        "invalid_grant"
    );
}

#[tokio::test]
async fn a_person_denies() {
    let sandbox = Sandbox::start().await.unwrap();
    register(&sandbox, Registration::public("app"));
    let client = Certified::new(&sandbox, None);
    let page = get(&client, &url(&sandbox, "")).await;
    let sent = press(&sandbox, &client, &page, "deny").await;
    for back in [
        sent.header("location").unwrap(),
        &sandbox.deny(&url(&sandbox, "")).unwrap(),
    ] {
        assert_eq!(parameter(back, "error").as_deref(), Some("access_denied"));
        assert_eq!(parameter(back, "iss").as_deref(), Some(sandbox.issuer()));
        assert_eq!(parameter(back, "code"), None);
    }
    assert_eq!(
        press(&sandbox, &client, &get(&client, &url(&sandbox, "")).await, "perhaps")
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn requests_that_are_not_to_be_decided_about() {
    let sandbox = Sandbox::start().await.unwrap();
    register(&sandbox, Registration::public("app"));
    let client = Certified::new(&sandbox, None);
    let good = url(&sandbox, "");
    let method = "code_challenge_method=S256";
    // The browser stays: nobody knows whom it would be sent to.
    for wrong in [
        good.replace("client_id=app", "client_id=other"),
        good.replace("back%3Fapp", "back%3Fapps"),
        good.replace("redirect_uri", "redirect"),
        format!("{}/authorize?client_id=app&request_uri=urn%3Ax", sandbox.issuer()),
    ] {
        let got = get(&client, &wrong).await;
        assert_eq!((got.status, got.header("location")), (400, None), "{wrong}");
        assert_eq!(sandbox.allow(&wrong), None);
    }
    for (wrong, error) in [
        (
            good.replace("response_type=code", "response_type=token"),
            "unsupported_response_type",
        ),
        (good.replace("response_type=code&", ""), "invalid_request"),
        (good.replace(method, "code_challenge_method=plain"), "invalid_request"),
        (good.replace(method, "x=y"), "invalid_request"),
        (good.replace("code_challenge=", "challenge="), "invalid_request"),
        (format!("{good}&dpop_jkt=short"), "invalid_request"),
    ] {
        let got = get(&client, &wrong).await;
        assert_eq!(got.status, 303, "{wrong}");
        let back = got.header("location").unwrap();
        assert_eq!(parameter(back, "error").as_deref(), Some(error), "{wrong}");
        assert_eq!(parameter(back, "state").as_deref(), Some("s&t"));
    }
}

#[tokio::test]
async fn a_code_is_worth_nothing_without_what_belongs_to_it() {
    let clock = Arc::new(ManualClock::at(SystemClock::new().now()));
    let sandbox = Sandbox::builder().clock(clock.clone()).start().await.unwrap();
    let (client, good) = public_code(&sandbox, "").await;
    let other = Registration::public("other").redirect_uri(BACK);
    sandbox.register(other);
    for wrong in [
        good.replace(VERIFIER, &VERIFIER.replace('0', "1")),
        good.replace("&code_verifier", "&verifier"),
        good.replace("app%3D1", "app%3D2"),
        good.replace("&redirect_uri", "&uri"),
        good.replace("client_id=app", "client_id=other"),
        good.replace("&code=", "&code=x"),
    ] {
        let got = client.ask(&token_url(&sandbox), &[], &wrong).await;
        assert_eq!((got.status, got.error().as_str()), (400, "invalid_grant"), "{wrong}");
    }
    let (_, late) = public_code(&sandbox, "").await;
    assert_eq!(client.ask(&token_url(&sandbox), &[], &good).await.status, 200);
    clock.advance(Duration::from_secs(60));
    assert_eq!(
        client.ask(&token_url(&sandbox), &[], &late).await.error(),
        "invalid_grant"
    );
}

#[tokio::test]
async fn confidential_clients_authenticate_for_codes_as_well() {
    let sandbox = Sandbox::start().await.unwrap();
    let signer = Signer::es256(&sandbox, "app", &sandbox.client_certificate("app").unwrap());
    let code = code_for(&sandbox, Registration::private_key_jwt("app", signer.keys()), "");
    let client = Certified::new(&sandbox, None);
    assert_eq!(
        client.ask(&token_url(&sandbox), &[], &code).await.error(),
        "invalid_client"
    );
    let got = client
        .ask(&token_url(&sandbox), &[], &asserted(&signer.sign(), &code))
        .await;
    assert_eq!(got.status, 200, "{got:?}");
}

#[tokio::test]
async fn a_code_is_bound_to_the_key_that_was_named() {
    let sandbox = Sandbox::start().await.unwrap();
    let (own, other) = (new_key().await, new_key().await);
    let (client, code) = public_code(&sandbox, &format!("&dpop_jkt={}", own.jkt())).await;
    let url = token_url(&sandbox);
    assert_eq!(client.ask(&url, &[], &code).await.error(), "invalid_request");
    let proof = Claims::new("POST", &url).sign(&other).await;
    let got = client.ask(&url, &[("dpop", &proof)], &code).await;
    assert_eq!((got.status, got.error().as_str()), (400, "invalid_grant"));
    let proof = Claims::new("POST", &url).sign(&own).await;
    assert_eq!(
        client.ask(&url, &[("dpop", &proof)], &code).await.json()["token_type"],
        "DPoP"
    );
}

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
        (format!("{good}&request_uri=urn%3Ax"), "invalid_request"),
        (good.replace("app%3D1", "app%3D2"), "redirect_uri"),
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

#[tokio::test]
async fn scripts_tamper_with_the_redirect() {
    let sandbox = Sandbox::start().await.unwrap();
    register(&sandbox, Registration::public("app"));
    let client = Certified::new(&sandbox, None);
    for (wrong, name, told) in [
        (
            json!({"iss": "https://other.example"}),
            "iss",
            Some("https://other.example"),
        ),
        (json!({"iss": null}), "iss", None),
        (json!({"state": "x"}), "state", Some("x")),
        (
            json!({"code": null, "error": "server_error"}),
            "error",
            Some("server_error"),
        ),
    ] {
        sandbox.script(
            tenant("app"),
            Endpoint::Authorization,
            [Answer::redirect_with(wrong.clone())],
        );
        let page = get(&client, &url(&sandbox, "")).await;
        let sent = press(&sandbox, &client, &page, "allow").await;
        assert_eq!(
            parameter(sent.header("location").unwrap(), name).as_deref(),
            told,
            "{wrong}"
        );
        sandbox.script(
            tenant("app"),
            Endpoint::Authorization,
            [Answer::redirect_with(wrong.clone())],
        );
        let back = sandbox.allow(&url(&sandbox, "")).unwrap();
        assert_eq!(parameter(&back, name).as_deref(), told, "{wrong}");
        assert_eq!(sandbox.answers_left(), 0);
    }
}

#[tokio::test]
async fn metadata_says_what_there_is() {
    let sandbox = Sandbox::start().await.unwrap();
    let well_known = format!("{}/.well-known/oauth-authorization-server", sandbox.issuer());
    let told = get(&Certified::new(&sandbox, None), &well_known).await.json();
    for (name, path) in [
        ("authorization_endpoint", "/authorize"),
        ("pushed_authorization_request_endpoint", "/par"),
    ] {
        assert_eq!(told[name], format!("{}{path}", sandbox.issuer()));
    }
    assert_eq!(told["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(told["authorization_response_iss_parameter_supported"], true);
    assert_eq!(told["require_pushed_authorization_requests"], false);
    assert_eq!(told["response_types_supported"], json!(["code"]));
    let algorithms = told["token_endpoint_auth_signing_alg_values_supported"]
        .as_array()
        .unwrap();
    assert!(algorithms.contains(&json!("RS256")) && algorithms.contains(&json!("ES256")));
    let grants = told["grant_types_supported"].as_array().unwrap();
    assert!(grants.contains(&json!("authorization_code")));
}

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
