//! Carriers with tokens: the nine that `imitations` and `imitated_codes` do not have.

use http::Method;
use serde_json::{Value, json};
use shipbound::carriers::CarrierProfile;
use shipbound::credentials::Credential;
use shipbound::sandbox::imitations::{dhl_ecommerce_americas, dhl_parcel_de, dhl_parcel_nl, nshift};
use shipbound::sandbox::{Answer, Canned, Endpoint, Sandbox, Vendors};

use crate::caller::{Caller, Claims, Got, tenant};
use crate::imitated::{Fields, acme, ask, basic, bearer, part, secret, send, with_tokens};

/// What a token request shows: header fields, and pairs for the body.
type Asked = (Fields, Vec<(&'static str, String)>);

struct Carrier {
    profile: CarrierProfile,
    token_path: &'static str,
    asked: fn(&Credential) -> Asked,
    /// Whether the pairs go as JSON.
    json: bool,
    token: &'static str,
    lifetime: (&'static str, Value),
    /// The status of a refused client.
    refused: u16,
    probe: (Method, &'static str, &'static str),
    business: (Method, &'static str, &'static str, &'static str),
    throttled: Canned,
    /// Where a token that is not good is told, and in which words; empty where there is no body.
    expired: (&'static str, &'static str),
    challenge: Option<&'static str>,
}

fn pair(name: &'static str, value: &str) -> (&'static str, String) {
    (name, value.to_owned())
}

fn by_body(own: &Credential) -> Vec<(&'static str, String)> {
    vec![
        pair("grant_type", "client_credentials"),
        pair("client_id", own.client_id()),
        pair("client_secret", secret(own)),
    ]
}

fn carriers() -> [Carrier; 4] {
    let portal = [("username", "username"), ("password", "password")];
    [
        Carrier {
            profile: with_tokens("dhl-parcel-de", &portal),
            token_path: "/parcel/de/account/auth/ropc/v1/token",
            asked: |own| {
                let mut pairs = by_body(own);
                pairs[0] = pair("grant_type", "password");
                pairs.extend(["username", "password"].map(|name| pair(name, part(own, name))));
                (Fields::new(), pairs)
            },
            json: false,
            token: "access_token",
            lifetime: ("expires_in", json!(1799)),
            refused: 401,
            probe: (Method::GET, "/parcel/de/account/auth/ropc/v1/hello", ""),
            business: (
                Method::POST,
                "/parcel/de/shipping/v2/orders",
                "{\"shipments\": [{}]}",
                "/items/0/shipmentNo",
            ),
            throttled: dhl_parcel_de::throttled(),
            expired: ("/title", "Unauthorized"),
            challenge: None,
        },
        Carrier {
            profile: with_tokens("dhl-ecommerce-americas", &[]),
            token_path: "/auth/v4/accesstoken",
            asked: |own| (Fields::new(), by_body(own)),
            json: false,
            token: "access_token",
            lifetime: ("expires_in", json!(3600)),
            refused: 401,
            probe: (Method::POST, "/shipping/v4/products", "{}"),
            business: (
                Method::POST,
                "/shipping/v4/label",
                "{\"packageDetail\": {\"packageId\": \"p-1\"}}",
                "/labels/0/packageId",
            ),
            throttled: dhl_ecommerce_americas::throttled(),
            expired: ("/title", "Access token has expired"),
            challenge: None,
        },
        Carrier {
            profile: with_tokens("dhl-parcel-nl", &[]),
            token_path: "/authenticate/api-key",
            asked: |own| {
                let pairs = vec![pair("userId", own.client_id()), pair("key", secret(own))];
                (Fields::new(), pairs)
            },
            json: true,
            token: "accessToken",
            // It says when, not how long.
            lifetime: ("expires_in", Value::Null),
            refused: 401,
            probe: (Method::GET, "/labels?trackerCodeFilter=JVGL1", ""),
            business: (Method::POST, "/labels", "{}", "/trackerCode"),
            throttled: dhl_parcel_nl::throttled(),
            expired: ("/title", "Unauthorized"),
            challenge: None,
        },
        Carrier {
            profile: with_tokens("nshift", &[]),
            token_path: "/idp/connect/token",
            asked: |own| (Fields::new(), by_body(own)),
            json: false,
            token: "access_token",
            lifetime: ("expires_in", json!(3600)),
            refused: 400,
            probe: (Method::GET, "/track/shipmentdata/shipments", ""),
            business: (Method::POST, "/checkout/v1/options", "{}", "/options/0/price/value"),
            throttled: nshift::throttled(),
            expired: ("", ""),
            challenge: Some("Bearer error=\"invalid_token\""),
        },
    ]
}

impl Carrier {
    async fn ask(&self, caller: &Caller, (fields, pairs): &Asked) -> Got {
        if self.json {
            let members = pairs.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
            let body = Value::Object(members.collect()).to_string();
            let mut all = vec![pair("content-type", "application/json")];
            all.extend_from_slice(fields);
            return send(caller, Method::POST, self.token_path, &all, &body).await;
        }
        let form: Vec<_> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        ask(caller, self.token_path, fields, &form).await
    }
}

#[tokio::test]
async fn tokens_are_given_and_serve_probe_and_business() {
    for carrier in carriers() {
        let id = carrier.profile.id().as_str();
        let sandbox = Sandbox::start().await.unwrap();
        let (caller, own) = acme(&sandbox, &carrier.profile).await;
        let got = carrier.ask(&caller, &(carrier.asked)(&own)).await;
        assert_eq!(got.status, 200, "{id} {got:?}");
        let seen = sandbox.requests().pop().unwrap();
        assert_eq!(
            (seen.endpoint(), seen.tenant()),
            (Endpoint::Token, Some(&tenant("acme")))
        );
        let told = got.json();
        assert_eq!(told[carrier.lifetime.0], carrier.lifetime.1, "{id}");
        let shown = [bearer(told[carrier.token].as_str().unwrap())];

        let (method, path, body) = &carrier.probe;
        assert_eq!(
            send(&caller, method.clone(), path, &shown, body).await.status,
            200,
            "{id}"
        );
        let (method, path, body, place) = &carrier.business;
        let got = send(&caller, method.clone(), path, &shown, body).await;
        assert!(got.status < 300 && got.json().pointer(place).is_some(), "{id} {got:?}");
        assert_eq!(sandbox.requests().pop().unwrap().tenant(), Some(&tenant("acme")));

        sandbox.revoke_tokens(&tenant("acme"));
        let got = send(&caller, method.clone(), path, &shown, body).await;
        let (place, words) = carrier.expired;
        assert_eq!(
            (got.status, got.header("www-authenticate")),
            (401, carrier.challenge),
            "{id}"
        );
        match words {
            "" => assert!(got.body.is_empty()),
            _ => assert_eq!(got.json().pointer(place), Some(&json!(words)), "{id}"),
        }

        sandbox.script(tenant("acme"), Endpoint::Api, [Answer::reply(carrier.throttled)]);
        assert_eq!(
            send(&caller, method.clone(), path, &shown, body).await.status,
            429,
            "{id}"
        );
        assert_eq!(sandbox.answers_left(), 0);
    }
}

#[tokio::test]
async fn wrong_secrets_and_wrong_parts_get_no_token() {
    for carrier in carriers() {
        let id = carrier.profile.id().as_str();
        let sandbox = Sandbox::start().await.unwrap();
        let (caller, own) = acme(&sandbox, &carrier.profile).await;
        let other = sandbox.credential_for(&carrier.profile, &tenant("globex"));
        let (fields, pairs) = (carrier.asked)(&own);
        let (_, others) = (carrier.asked)(&other);
        for place in 0..pairs.len() {
            if pairs[place].0 == "grant_type" {
                continue;
            }
            let mut mixed = pairs.clone();
            mixed[place] = others[place].clone();
            let got = carrier.ask(&caller, &(fields.clone(), mixed)).await;
            assert_eq!(got.status, carrier.refused, "{id}: {}", pairs[place].0);
        }
        let mut short = pairs.clone();
        short.pop();
        let got = carrier.ask(&caller, &(fields.clone(), short)).await;
        let missing = if id == "dhl-parcel-nl" { 400 } else { carrier.refused };
        // DHL Parcel DE finds the password missing, which is part of the grant.
        let missing = if id == "dhl-parcel-de" { 400 } else { missing };
        assert_eq!(got.status, missing, "{id}");
    }
}

#[tokio::test]
async fn tokens_are_bound_where_vendors_could_and_not_as_they_are_today() {
    for (vendors, bound) in [(Vendors::WithDpop, true), (Vendors::AsToday, false)] {
        for carrier in carriers() {
            let id = carrier.profile.id().as_str();
            let sandbox = Sandbox::builder().vendors(vendors).start().await.unwrap();
            let (caller, own) = acme(&sandbox, &carrier.profile).await;
            let (mut fields, pairs) = (carrier.asked)(&own);
            let proof = Claims::new("POST", &caller.api_url(carrier.token_path))
                .sign(&caller.key)
                .await;
            fields.push(("dpop", proof));
            let told = carrier.ask(&caller, &(fields, pairs)).await.json();
            assert_eq!(told["token_type"] == "DPoP", bound, "{id} {told}");
            let shown = [bearer(told[carrier.token].as_str().unwrap())];
            let (method, path, body) = &carrier.probe;
            let got = send(&caller, method.clone(), path, &shown, body).await;
            assert_eq!(got.status, if bound { 401 } else { 200 }, "{id}");
        }
    }
}

#[tokio::test]
async fn dhl_parcel_de_tells_what_a_token_is_worth_and_runs_dry() {
    let sandbox = Sandbox::start().await.unwrap();
    let carrier = &carriers()[0];
    let (caller, own) = acme(&sandbox, &carrier.profile).await;
    let token = carrier.ask(&caller, &(carrier.asked)(&own)).await.json();
    assert_eq!(token["token_type"], "Bearer");
    let shown = [bearer(token["access_token"].as_str().unwrap())];
    let hello = send(&caller, Method::GET, carrier.probe.1, &shown, "").await.json();
    let left = hello["accesstoken-info"]["expires_in_s"].as_u64().unwrap();
    assert!((1..=1799).contains(&left), "{left}");
    assert_eq!(
        hello["gkp-info"]["gkp_pass"],
        part(&own, "password"),
        "so it is a credential's route"
    );
    let orders = "/parcel/de/shipping/v2/orders?validate=true";
    let dry = send(&caller, Method::POST, orders, &shown, carrier.business.2)
        .await
        .json();
    assert_eq!(
        (&dry["items"][0]["sstatus"]["statusCode"], &dry["items"][0]["label"]),
        (&json!(200), &Value::Null)
    );
    // What is told to anybody proves nothing.
    for path in ["/parcel/de/shipping/v2/", "/parcel/de/account/auth/ropc/v1/"] {
        assert_eq!(send(&caller, Method::GET, path, &[], "").await.status, 200);
    }
    let refused = send(&caller, Method::POST, "/parcel/de/shipping/v2/orders", &[], "{}").await;
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    let unnamed = ask(
        &caller,
        carrier.token_path,
        &[],
        &[("grant_type", "client_credentials")],
    )
    .await;
    assert_eq!(unnamed.status, 401);
}

#[tokio::test]
async fn dhl_ecommerce_takes_basic_as_well() {
    let sandbox = Sandbox::start().await.unwrap();
    let (caller, own) = acme(&sandbox, &with_tokens("dhl-ecommerce-americas", &[])).await;
    let form = [("grant_type", "client_credentials")];
    for (password, status) in [(secret(&own), 200), ("wrong", 401)] {
        let got = ask(&caller, "/auth/v4/accesstoken", &[basic("acme", password)], &form).await;
        assert_eq!(got.status, status);
    }
}

#[tokio::test]
async fn dhl_parcel_nl_speaks_json_in_camel_case_and_refreshes_by_the_token_alone() {
    let sandbox = Sandbox::start().await.unwrap();
    let carrier = &carriers()[2];
    let (caller, own) = acme(&sandbox, &carrier.profile).await;
    let told = carrier.ask(&caller, &(carrier.asked)(&own)).await.json();
    let names: Vec<_> = told.as_object().unwrap().keys().cloned().collect();
    let wanted = [
        "accessToken",
        "accessTokenExpiration",
        "refreshToken",
        "refreshTokenExpiration",
    ];
    assert_eq!(names, wanted, "no type, no lifetime");
    let times = ["accessTokenExpiration", "refreshTokenExpiration"].map(|name| told[name].as_i64().unwrap());
    assert_eq!(times[1] - times[0], 7 * 24 * 3600 - 900);

    let json_field = [pair("content-type", "application/json")];
    let refresh = json!({"refreshToken": told["refreshToken"]}).to_string();
    let got = send(
        &caller,
        Method::POST,
        "/authenticate/refresh-token",
        &json_field,
        &refresh,
    )
    .await;
    assert_eq!(got.status, 200, "{got:?}");
    assert_eq!(sandbox.requests().pop().unwrap().tenant(), Some(&tenant("acme")));
    assert!(got.json()["accessToken"].is_string());
    let stranger = json!({"refreshToken": "stranger"}).to_string();
    let got = send(
        &caller,
        Method::POST,
        "/authenticate/refresh-token",
        &json_field,
        &stranger,
    )
    .await;
    assert_eq!(
        (got.status, got.header("content-type")),
        (401, Some("text/plain; charset=utf-8"))
    );

    // A form is not looked at.
    let form = [("userId", "acme"), ("key", secret(&own))];
    assert_eq!(ask(&caller, "/authenticate/api-key", &[], &form).await.status, 400);
    for path in ["/track-trace?key=JVGL1", "/parcel-shop-locations/NL"] {
        assert_eq!(
            send(&caller, Method::GET, path, &[], "").await.status,
            200,
            "told to anybody"
        );
    }
    // `/labels` is anybody's where a test says so.
    sandbox.route(Method::GET, "/labels", Canned::empty(204));
    let plain = caller.bearer_token().await;
    assert_eq!(
        send(&caller, Method::GET, "/labels", &[bearer(&plain)], "")
            .await
            .status,
        204
    );
    let got = send(&caller, Method::GET, "/labels", &[bearer("stale")], "").await;
    assert_eq!(got.error(), "invalid_token");
}
