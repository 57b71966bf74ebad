//! Carriers that know callers by a credential which goes with each call.

use http::Method;
use serde_json::{Value, json};
use shipbound::credentials::Credential;
use shipbound::owner::Environment;
use shipbound::sandbox::imitations::{cargoson, dhl_express, dhl_tracking, easypost, shipengine};
use shipbound::sandbox::{Answer, Canned, Endpoint, Sandbox, Verdict};

use crate::caller::{Caller, Claims, Got, tenant};
use crate::imitated::{Fields, acme, basic, bearer, secret, send, with_keys};

/// A call: method, path, body, and a place in the answer that only somebody who understood it fills.
type Called = (Method, &'static str, &'static str, &'static str);

struct Carrier {
    id: &'static str,
    shown: fn(&Credential) -> Fields,
    /// Of the same form, and nobody's.
    wrong: Fields,
    probe: Called,
    business: Called,
    /// Where an error has its code.
    code: &'static str,
    refused: Value,
    throttled: (Canned, Value),
}

fn versioned(key: &str) -> Fields {
    vec![bearer(key), ("accept", "application/vnd.api.v1".to_owned())]
}

fn carriers() -> [Carrier; 5] {
    let address = "/mydhlapi/test/address-validate?type=delivery&countryCode=DE&postalCode=53113";
    let rows = "{\"rows_attributes\": [{\"quantity\": 1}]}";
    let prices = "/object/prices/0/price";
    let track = |path| (Method::GET, path, "", "/shipments/0/id");
    [
        Carrier {
            id: "dhl-express",
            shown: |own| vec![basic(own.client_id(), secret(own))],
            wrong: vec![basic("acme", "wrong")],
            probe: (Method::GET, address, "", "/address/0/postalCode"),
            business: (Method::POST, "/mydhlapi/rates", "{}", "/products/0/totalPrice/0/price"),
            code: "/status",
            // A text, where others have numbers.
            refused: json!("401"),
            throttled: (dhl_express::throttled(), json!("429")),
        },
        Carrier {
            id: "dhl-tracking",
            shown: |own| vec![("dhl-api-key", secret(own).to_owned())],
            wrong: vec![("dhl-api-key", "wrong".to_owned())],
            probe: track("/track/shipments?trackingNumber=1"),
            business: track("/track/shipments?trackingNumber=2&language=en"),
            code: "/status",
            refused: json!(401),
            throttled: (dhl_tracking::throttled(), json!(429)),
        },
        Carrier {
            id: "easypost",
            shown: |own| vec![bearer(secret(own))],
            wrong: vec![bearer("EZTKwrong")],
            probe: (Method::GET, "/v2/addresses?page_size=1", "", "/addresses"),
            business: (Method::POST, "/v2/shipments", "{\"shipment\": {}}", "/rates/0/rate"),
            // Neither has a code.
            code: "/error/message",
            refused: json!("Authentication is required and has failed."),
            throttled: (easypost::throttled(), json!("Too Many Requests")),
        },
        Carrier {
            id: "shipengine",
            shown: |own| vec![("api-key", secret(own).to_owned())],
            wrong: vec![("api-key", "TEST_wrong".to_owned())],
            probe: (Method::GET, "/v1/carriers", "", "/carriers/0/carrier_id"),
            business: (Method::POST, "/v1/labels", "{}", "/tracking_number"),
            code: "/errors/0/error_code",
            refused: json!("unauthorized"),
            throttled: (shipengine::throttled(7), json!("rate_limit_exceeded")),
        },
        Carrier {
            id: "cargoson",
            shown: |own| versioned(secret(own)),
            wrong: versioned("wrong"),
            probe: (Method::GET, "/api/services/list", "", "/object/services"),
            business: (Method::POST, "/api/freightPrices/list", rows, prices),
            code: "/status",
            refused: json!(401),
            throttled: (cargoson::throttled(), json!(429)),
        },
    ]
}

async fn call(caller: &Caller, called: &Called, fields: &Fields) -> Got {
    let (method, path, body, _) = called;
    send(caller, method.clone(), path, fields, body).await
}

#[tokio::test]
async fn whoever_shows_a_credential_is_served_and_on_record() {
    for carrier in carriers() {
        // Tracking takes one call a second.
        let sandbox = Sandbox::builder().vendor_limits(false).start().await.unwrap();
        let (caller, own) = acme(&sandbox, &with_keys(carrier.id, Environment::Sandbox)).await;
        for called in [&carrier.probe, &carrier.business] {
            let got = call(&caller, called, &(carrier.shown)(&own)).await;
            let told = got.json().pointer(called.3).cloned();
            assert!(got.status < 300 && told.is_some(), "{} {got:?}", carrier.id);
            let seen = sandbox.requests().pop().unwrap();
            assert_eq!(seen.endpoint(), Endpoint::Api);
            assert_eq!((seen.tenant(), seen.client_id()), (Some(&tenant("acme")), Some("acme")));
            assert!(seen.accepted());
        }
        assert_eq!(sandbox.token_requests(), 0);
    }
}

#[tokio::test]
async fn a_credential_that_is_nobodys_is_refused_in_the_carriers_manner() {
    for carrier in carriers() {
        let sandbox = Sandbox::start().await.unwrap();
        let (caller, own) = acme(&sandbox, &with_keys(carrier.id, Environment::Sandbox)).await;
        // A token of the sandbox's own is none either.
        let token = vec![bearer(&caller.bearer_token().await)];
        for fields in [&carrier.wrong, &Fields::new(), &token] {
            let got = call(&caller, &carrier.business, fields).await;
            let code = got.json().pointer(carrier.code).cloned();
            assert_eq!(
                (got.status, code),
                (401, Some(carrier.refused.clone())),
                "{}",
                carrier.id
            );
            assert_eq!(got.header("www-authenticate"), None);
            let seen = sandbox.requests().pop().unwrap();
            assert_eq!((seen.tenant(), seen.client_id()), (None, None));
            assert_eq!(*seen.verdict(), Verdict::Refused("invalid_credential".into()));
        }
        // A changed credential ends the old one.
        sandbox.rotate_secret(&tenant("acme"));
        let got = call(&caller, &carrier.business, &(carrier.shown)(&own)).await;
        assert_eq!(got.status, 401, "{}", carrier.id);
        let next = sandbox.credential_for(&with_keys(carrier.id, Environment::Sandbox), &tenant("acme"));
        let got = call(&caller, &carrier.business, &(carrier.shown)(&next)).await;
        assert!(got.status < 300, "{}", carrier.id);
    }
}

#[tokio::test]
async fn too_many_calls_and_refused_keys_can_be_scripted_in_the_carriers_manner() {
    for carrier in carriers() {
        let sandbox = Sandbox::start().await.unwrap();
        let (caller, own) = acme(&sandbox, &with_keys(carrier.id, Environment::Sandbox)).await;
        let (canned, code) = carrier.throttled;
        sandbox.script(
            tenant("acme"),
            Endpoint::Api,
            [Answer::reply(canned), Answer::invalid_token()],
        );
        let shown = (carrier.shown)(&own);
        let got = call(&caller, &carrier.business, &shown).await;
        assert_eq!((got.status, got.json().pointer(carrier.code)), (429, Some(&code)));
        let wait = (carrier.id == "shipengine").then_some("7");
        assert_eq!(got.header("retry-after"), wait, "{}", carrier.id);
        let got = call(&caller, &carrier.business, &shown).await;
        let refused = got.json().pointer(carrier.code).cloned();
        assert_eq!((got.status, refused), (401, Some(carrier.refused)), "{}", carrier.id);
        assert_eq!(sandbox.answers_left(), 0);
    }
}

#[tokio::test]
async fn keys_say_which_environment_they_are_for_and_count_at_their_own_carrier() {
    let sandbox = Sandbox::start().await.unwrap();
    let key = |id, environment| {
        let own = sandbox.credential_for(&with_keys(id, environment), &tenant("acme"));
        secret(&own).to_owned()
    };
    let [test, live] = [Environment::Sandbox, Environment::Production].map(|environment| key("easypost", environment));
    assert!(test.starts_with("EZTK") && live.starts_with("EZAK"), "{test} {live}");
    assert_ne!(test[4..], live[4..]);
    assert_eq!(test, key("easypost", Environment::Sandbox), "the same ever after");
    let [partner, unmarked] =
        [Environment::Sandbox, Environment::Production].map(|environment| key("shipengine", environment));
    assert!(partner.starts_with("TEST_") && !unmarked.starts_with("TEST_"));

    let caller = Caller::new(&sandbox, "acme").await;
    for (key, status) in [(&test, 200), (&live, 200), (&partner, 401)] {
        let got = send(&caller, Method::GET, "/v2/metadata/carriers", &[bearer(key)], "").await;
        assert_eq!(got.status, status);
        // EasyPost's documentation has the key as the user of Basic, with an empty password.
        let got = send(&caller, Method::GET, "/v2/metadata/carriers", &[basic(key, "")], "").await;
        assert_eq!(got.status, status);
        let got = send(&caller, Method::GET, "/v2/metadata/carriers", &[basic(key, "x")], "").await;
        assert_eq!(got.status, 401);
    }
    // The secret of a client that a test registered is its key as well.
    let main = caller.client.client_secret().unwrap().expose();
    let got = send(&caller, Method::GET, "/v2/metadata/carriers", &[bearer(main)], "").await;
    assert_eq!(got.status, 200);
}

#[tokio::test]
async fn errors_have_the_shapes_that_clients_trip_over() {
    let sandbox = Sandbox::start().await.unwrap();
    let (caller, own) = acme(&sandbox, &with_keys("easypost", Environment::Sandbox)).await;
    let shown = [bearer(secret(&own))];
    let message = async |path| {
        let got = send(&caller, Method::POST, path, &shown, "{}").await;
        assert_eq!(got.status, 422);
        got.json()["error"]["message"].clone()
    };
    assert!(message("/v2/addresses").await.is_array());
    assert!(message("/v2/shipments").await.is_object());

    let (caller, own) = acme(&sandbox, &with_keys("cargoson", Environment::Sandbox)).await;
    let shown = versioned(secret(&own));
    let prices = async |fields: &[_], body| send(&caller, Method::POST, "/api/freightPrices/list", fields, body).await;
    let none = prices(&shown, "{\"rows_attributes\": []}").await;
    assert_eq!((none.status, none.body.len()), (204, 0));
    assert_eq!(prices(&shown, "{}").await.status, 422);
    assert_eq!(prices(&shown[..1], "{}").await.status, 406, "the version is missing");

    let (caller, own) = acme(&sandbox, &with_keys("dhl-express", Environment::Sandbox)).await;
    let mut shown = vec![basic("acme", secret(&own))];
    shown.push(("message-reference", "m-1".to_owned()));
    let got = send(&caller, Method::POST, "/mydhlapi/test/shipments", &shown, "{}").await;
    assert_eq!((got.status, got.header("message-reference")), (201, Some("m-1")));
    let got = send(
        &caller,
        Method::GET,
        "/mydhlapi/address-validate?type=delivery",
        &shown,
        "",
    )
    .await;
    assert_eq!((got.status, &got.json()["status"]), (400, &json!("400")));
}

#[tokio::test]
async fn a_partner_acts_for_its_own_tenant_alone() {
    let sandbox = Sandbox::start().await.unwrap();
    let profile = with_keys("shipengine", Environment::Production);
    let (caller, own) = acme(&sandbox, &profile).await;
    assert_eq!(own.part("account").unwrap().expose(), "acme");
    let key = ("api-key", secret(&own).to_owned());
    sandbox.route(Method::GET, "/v1/shipments", Canned::empty(204));
    for (account, status) in [("acme", 204), ("globex", 403), ("ACME", 403), ("", 403)] {
        let fields = [key.clone(), ("on-behalf-of", account.to_owned())];
        let got = send(&caller, Method::GET, "/v1/shipments", &fields, "").await;
        assert_eq!(got.status, status, "{account}");
        let seen = sandbox.requests().pop().unwrap();
        assert_eq!(seen.header("on-behalf-of"), Some(account));
    }
    let twice = [
        key.clone(),
        ("on-behalf-of", "acme".to_owned()),
        ("on-behalf-of", "globex".to_owned()),
    ];
    let got = send(&caller, Method::GET, "/v1/carriers", &twice, "").await;
    assert_eq!(
        (got.status, &got.json()["errors"][0]["error_code"]),
        (403, &json!("forbidden"))
    );
    assert_eq!(send(&caller, Method::GET, "/v1/carriers", &[key], "").await.status, 200);
}

/// `/v1/shipments` is ShipEngine's and anybody's.
#[tokio::test]
async fn a_tests_own_route_on_a_usual_path_is_nobodys_imitation() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.route(Method::GET, "/v1/shipments", Canned::empty(204));
    let caller = Caller::new(&sandbox, "acme").await;
    let url = caller.api_url("/v1/shipments");
    let token = caller.bound_token().await;
    let got = caller.good_call(&url, &token).await;
    assert_eq!(got.status, 204, "{got:?}");
    assert!(sandbox.requests().pop().unwrap().checks().contains(&"ath"));
    let proof = Claims::new("GET", &url).sign(&caller.key).await;
    let got = caller.call(&url, "DPoP", "stale", Some(&proof)).await;
    assert_eq!((got.status, got.error().as_str()), (401, "invalid_token"));
    assert!(got.header("www-authenticate").unwrap().starts_with("DPoP"));
}
