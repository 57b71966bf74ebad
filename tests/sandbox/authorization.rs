//! The code grant: page and decision, PKCE, pushed requests, and what scripts do to the redirect.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde_json::json;
use shipbound::clock::{Clock, ManualClock, SystemClock};
use shipbound::sandbox::{Answer, Endpoint, Registration, Sandbox};

use crate::caller::{Claims, Got, new_key, tenant};
use crate::certified::Certified;
use crate::signer::{Signer, asserted};

pub(crate) const VERIFIER: &str = "sEcReTmArKeR-0123456789-0123456789-0123456789";
pub(crate) const BACK: &str = "http://127.0.0.1:1/back?app=1";
const BACK_ENCODED: &str = "http%3A%2F%2F127.0.0.1%3A1%2Fback%3Fapp%3D1";

/// S256 of a verifier (RFC 7636 4.2).
fn challenge(verifier: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
    URL_SAFE_NO_PAD.encode(digest)
}

/// The parameters of an authorization request as it should be.
pub(crate) fn parameters() -> String {
    let challenge = challenge(VERIFIER);
    format!(
        "response_type=code&client_id=app&redirect_uri={BACK_ENCODED}&state=s%26t\
         &code_challenge={challenge}&code_challenge_method=S256"
    )
}

pub(crate) fn register(sandbox: &Sandbox, registration: Registration) {
    sandbox.register(registration.redirect_uri(BACK));
}

pub(crate) fn url(sandbox: &Sandbox, more: &str) -> String {
    format!("{}/authorize?{}{more}", sandbox.issuer(), parameters())
}

/// A parameter of the URL that a browser was sent to.
pub(crate) fn parameter(url: &str, name: &str) -> Option<String> {
    let rest = url.strip_prefix(BACK).unwrap_or_else(|| panic!("{url}"));
    form_urlencoded::parse(rest.strip_prefix('&')?.as_bytes())
        .find_map(|(own, value)| (own == name).then(|| value.into_owned()))
}

pub(crate) fn redeeming(code: &str) -> String {
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

pub(crate) async fn get(client: &Certified, url: &str) -> Got {
    client.send(Method::GET, url, &[], "").await
}

pub(crate) fn token_url(sandbox: &Sandbox) -> String {
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
        format!("{good}&state=again"),
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
async fn a_verifier_of_other_characters_is_refused() {
    let sandbox = Sandbox::start().await.unwrap();
    let verifier = VERIFIER.replace('-', "+");
    register(&sandbox, Registration::public("app"));
    let url = url(&sandbox, "").replace(&challenge(VERIFIER), &challenge(&verifier));
    let back = sandbox.allow(&url).unwrap();
    let good = redeeming(&parameter(&back, "code").unwrap());
    let client = Certified::new(&sandbox, None);
    let got = client
        .ask(
            &token_url(&sandbox),
            &[],
            &good.replace(VERIFIER, &verifier.replace('+', "%2B")),
        )
        .await;
    assert_eq!((got.status, got.error().as_str()), (400, "invalid_grant"));
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
