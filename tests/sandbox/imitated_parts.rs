//! What goes with client or token beside id and secret: child accounts, merchants, payment authorizations.

use std::time::Duration;

use http::{HeaderName, Method};
use serde_json::json;
use shipbound::credentials::{CredentialPart, PartAt};
use shipbound::sandbox::Sandbox;
use shipbound::token::companion::Companion;

use crate::caller::tenant;
use crate::imitated::{acme, ask, basic, bearer, part, secret, send, with_tokens};

#[tokio::test]
async fn fedex_asks_who_acts_for_a_child_for_its_key_and_secret() {
    // More token requests than FedEx takes.
    let sandbox = Sandbox::builder().vendor_limits(false).start().await.unwrap();
    let parts = [("child_key", "child_Key"), ("child_secret", "child_secret")];
    let profile = with_tokens("fedex", &parts);
    let (caller, own) = acme(&sandbox, &profile).await;
    let other = sandbox.credential_for(&profile, &tenant("globex"));
    let get = async |grant, name, key, child_secret| {
        let form = [
            ("grant_type", grant),
            ("client_id", "acme"),
            ("client_secret", secret(&own)),
            (name, key),
            ("child_secret", child_secret),
        ];
        ask(&caller, "/oauth/token", &[], &form).await
    };
    let (key, child) = (part(&own, "child_key"), part(&own, "child_secret"));
    let (others_key, others_child) = (part(&other, "child_key"), part(&other, "child_secret"));
    for grant in ["csp_credentials", "client_pc_credentials"] {
        for (name, key, child, status) in [
            ("child_Key", key, child, 200),
            ("child_key", key, child, 200),
            ("child_Key", key, others_child, 401),
            ("child_Key", others_key, child, 401),
            ("child_Key", others_key, others_child, 401),
            ("other", key, child, 401),
        ] {
            let got = get(grant, name, key, child).await;
            assert_eq!(got.status, status, "{grant} {name}");
            if status == 401 {
                assert_eq!(got.json()["errors"][0]["code"], "NOT.AUTHORIZED.ERROR");
            }
        }
    }
    assert_eq!(get("client_credentials", "other", "x", "y").await.status, 200);

    // A key of one account with the secret of another, both the client's own.
    let live = with_tokens("fedex-live", &parts);
    let live = sandbox.credential_for(&live, &tenant("acme"));
    let (live_key, live_child) = (part(&live, "child_key"), part(&live, "child_secret"));
    for (key, child, status) in [
        (live_key, live_child, 200),
        (live_key, child, 401),
        (key, live_child, 401),
    ] {
        assert_eq!(get("csp_credentials", "child_Key", key, child).await.status, status);
    }
}

#[tokio::test]
async fn ups_looks_at_a_merchant_that_it_has_on_record() {
    let sandbox = Sandbox::start().await.unwrap();
    let merchant = PartAt::TokenHeader(HeaderName::from_static("x-merchant-id"));
    let profile = with_tokens("ups", &[]).part(CredentialPart::optional("merchant", merchant));
    let (caller, own) = acme(&sandbox, &profile).await;
    let get = async |id: &str, password: &str, merchant: &str| {
        let fields = [basic(id, password), ("x-merchant-id", merchant.to_owned())];
        let form = [("grant_type", "client_credentials")];
        ask(&caller, "/security/v1/oauth/token", &fields, &form).await
    };
    assert_eq!(get("acme", secret(&own), part(&own, "merchant")).await.status, 200);
    let refused = get("acme", secret(&own), "123456").await;
    assert_eq!(
        (refused.status, &refused.json()["response"]["errors"][0]["code"]),
        (403, &json!("10403"))
    );
    // Nothing is on record of this one.
    let globex = sandbox.credential(&tenant("globex"));
    assert_eq!(get("globex", secret(&globex), "123456").await.status, 200);
}

#[tokio::test]
async fn usps_prints_labels_for_its_own_payment_authorization_alone() {
    let sandbox = Sandbox::start().await.unwrap();
    let header = HeaderName::from_static("x-payment-authorization-token");
    let (path, part_of_it, pointer) = ("/pay", "payment_authorization", "/token");
    let second = Companion::new(path, part_of_it, pointer, header, Duration::from_secs(60));
    let profile = with_tokens("usps", &[]).companion(second);
    let (caller, own) = acme(&sandbox, &profile).await;
    let other = sandbox.credential_for(&profile, &tenant("globex"));
    let token = async |own: &shipbound::credentials::Credential| {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", own.client_id()),
            ("client_secret", secret(own)),
        ];
        let got = ask(&caller, "/oauth2/v3/token", &[], &form).await.json();
        got["access_token"].as_str().unwrap().to_owned()
    };
    let (acmes, globexs) = (bearer(&token(&own).await), bearer(&token(&other).await));
    let pay = async |token: &(&'static str, String), body: &str| {
        let path = "/payments/v3/payment-authorization";
        send(&caller, Method::POST, path, std::slice::from_ref(token), body).await
    };
    assert_eq!(pay(&acmes, "{}").await.status, 400);
    let foreign = pay(&acmes, part(&other, "payment_authorization")).await;
    assert_eq!((foreign.status, &foreign.json()["error"]["code"]), (403, &json!("403")));
    let payment = pay(&acmes, part(&own, "payment_authorization")).await.json();
    let payment = payment["paymentAuthorizationToken"].as_str().unwrap();

    let header = "x-payment-authorization-token";
    let with = |payment: &str| (header, payment.to_owned());
    for (fields, status) in [
        (vec![acmes.clone(), with(payment)], 200),
        (vec![acmes.clone()], 401),
        (vec![acmes.clone(), with("stranger")], 401),
        (vec![acmes.clone(), with(payment), with("stranger")], 401),
        (vec![globexs, with(payment)], 401),
        (vec![bearer(payment), with(payment)], 401),
    ] {
        let got = send(&caller, Method::POST, "/labels/v3/label", &fields, "{}").await;
        assert_eq!(got.status, status, "{got:?}");
    }
    let got = send(&caller, Method::POST, "/labels/v3/label", &[acmes], "{}").await;
    assert_eq!(
        got.json()["error"]["errors"][0]["title"],
        "invalid_payment_authorization"
    );
}
