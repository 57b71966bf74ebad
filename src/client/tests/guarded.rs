//! What a call may reach: credential routes, personal paths, routes that demand a binding.

use http::{HeaderName, Method, Request};

use crate::binding::BindingKind;
use crate::binding::bearer::Bearer;
use crate::binding::dpop::Dpop;
use crate::carriers::{CarrierProfile, FaultKind, FaultPlace, FaultShape, Route, RouteClass};
use crate::client::{AllowCredentialRoute, CarrierClient, Client, ClientBuilder, PiiPolicy};
use crate::error::ErrorKind;
use crate::journal::EventKind;
use crate::testing::Step;
use crate::token::TokenAt;

use futures_util::FutureExt;

use super::setup::{Setup, at_issuer, document, profile, tenant};

fn bearer(builder: ClientBuilder) -> ClientBuilder {
    builder.binding(Bearer)
}

fn dpop(builder: ClientBuilder) -> ClientBuilder {
    builder.binding(Dpop::es256())
}

fn done() -> Step {
    Step::json(200, "{}")
}

fn token() -> Step {
    Step::json(200, r#"{"access_token":"t","token_type":"Bearer","expires_in":3600}"#)
}

/// A carrier whose token endpoint is on the API's own origin.
fn one_host() -> CarrierProfile {
    profile(TokenAt::Endpoint("https://api.carrier.example/oauth/token".into()))
        .credential_routes(["/v2/api_keys", "/v2/webhooks"])
}

fn code(setup: &Setup, client: &Client, path: &str) -> Option<&'static str> {
    let outcome = setup.send(client, |t| t.get(path), []);
    assert!(setup.script.seen().is_empty(), "{path}");
    outcome.err().map(|error| error.code())
}

#[test]
fn credential_routes_are_met_on_purpose_or_not_at_all() {
    let setup = Setup::new();
    let client = setup.build(one_host(), bearer).unwrap();
    for path in [
        "/oauth/token",
        "/OAuth/Token",
        "/oauth/%74oken",
        "/oauth//token/",
        "/oauth;a/token;b",
        "/oauth/token/x",
        "/v2/api_keys",
        "/v2/api%5fkeys/k1",
        "/v2/webhooks?x=y",
        "/v2/api_keys.json",
        "/v2/api_keys%3fx",
        "/oauth/token/%252e%252e/rates",
        "/rates/%C0%AF",
        "/v2/api%EF%BC%BFkeys",
        "https://api.carrier.example/v2/webhooks",
    ] {
        assert_eq!(code(&setup, &client, path), Some("credential_route"), "{path}");
    }
    setup
        .send(
            &client,
            |t| t.get("/v2/api_keys").allow_credential_route(),
            [token(), done()],
        )
        .unwrap();
    assert_eq!(setup.paths(), ["/oauth/token", "/v2/api_keys"]);

    let mut request = Request::get("/v2/api_keys").body(bytes::Bytes::new()).unwrap();
    request.extensions_mut().insert(AllowCredentialRoute);
    setup.script.add([done()]);
    client.send(&tenant(), request).now_or_never().unwrap().unwrap();
    assert_eq!(setup.paths(), ["/v2/api_keys"]);
}

#[test]
fn endpoints_that_metadata_names_are_credential_routes_too() {
    let setup = Setup::new();
    let profile = at_issuer().allow_origin("https://auth.carrier.example");
    let client = setup.build(profile, bearer).unwrap();
    setup
        .send(&client, |t| t.get("/rates"), [document(""), token(), done()])
        .unwrap();
    setup.script.seen();
    for path in [
        "https://auth.carrier.example/token",
        "https://auth.carrier.example/%54oken",
    ] {
        assert_eq!(code(&setup, &client, path), Some("credential_route"), "{path}");
    }
    for path in [
        "https://auth.carrier.example/token",
        "https://auth.carrier.example/%54oken",
    ] {
        let asked = setup.send(&client, |t| t.get(path).allow_credential_route(), []);
        assert_eq!(asked.unwrap_err().code(), "credential_route", "not even by name");
    }
    // The same path of the API is another place.
    setup.send(&client, |t| t.get("/token"), [done()]).unwrap();
}

#[test]
fn the_first_call_of_all_does_not_meet_an_endpoint_either() {
    let setup = Setup::new();
    let profile = at_issuer().allow_origin("https://auth.carrier.example");
    let client = setup.build(profile, bearer).unwrap();
    let first = setup.send(
        &client,
        |t| t.post("https://auth.carrier.example/token"),
        [document(""), token()],
    );
    assert_eq!(first.unwrap_err().code(), "credential_route");
    let paths = setup.paths();
    assert_eq!(
        paths,
        ["/.well-known/oauth-authorization-server", "/token"],
        "for the token itself"
    );
}

#[test]
fn what_a_profile_fixes_is_the_librarys_to_call_also_by_name() {
    let setup = Setup::new();
    let client = setup.build(one_host(), bearer).unwrap();
    let asked = setup.send(&client, |t| t.post("/oauth/token").allow_credential_route(), []);
    assert_eq!(asked.unwrap_err().code(), "credential_route");
    assert!(setup.script.seen().is_empty());
    assert!(one_host().is_credential_route("/oauth/%74oken"));
}

fn tracked() -> CarrierProfile {
    profile(TokenAt::Endpoint("https://auth.carrier.example/token".into())).routes([
        Route::read("/rates/{version:business}"),
        Route::read("/track/{number:personal}"),
    ])
}

fn personal(setup: &Setup) -> Vec<String> {
    let events = setup.events.events();
    let routes = events.iter().filter_map(|event| match &event.kind {
        EventKind::PersonalPath { route } => Some(route.to_string()),
        _ => None,
    });
    routes.collect()
}

#[test]
fn a_personal_path_in_a_proof_is_sent_told_or_refused_as_the_connection_has_it() {
    let other = || crate::owner::TenantId::new("t2").unwrap();
    for (policy, sent, told) in [
        (PiiPolicy::Allow, true, false),
        (PiiPolicy::Warn, true, true),
        (PiiPolicy::Refuse, false, false),
    ] {
        for (path, route) in [("/track/1Z", "/track/{number}"), ("/unknown/1Z", "{unclassified}")] {
            let setup = Setup::new();
            // Another connection's policy is its own.
            let client = setup.build(tracked(), |builder| {
                dpop(builder)
                    .personal_paths(policy)
                    .personal_paths_of(other(), PiiPolicy::Allow)
            });
            let client = client.unwrap();
            let outcome = setup.send(&client, |t| t.get(path), [Step::token("t", "60"), done()]);
            assert_eq!(outcome.is_ok(), sent, "{path}");
            assert_eq!(setup.script.seen().is_empty(), !sent);
            assert_eq!(personal(&setup), if told { vec![route.to_owned()] } else { Vec::new() });
            if let Err(error) = outcome {
                assert!(matches!(error.kind(), ErrorKind::PersonalPath), "{error:?}");
                let shown = format!("{error:?} {error}");
                assert!(!shown.contains("1Z"), "{shown}");
            }
        }
        // Neither a business path nor a query is meant, nor a call without a proof.
        for (path, choose) in [
            ("/rates/v1", dpop as fn(_) -> _),
            ("/rates/v1?number=1Z", dpop),
            ("/track/1Z", bearer),
        ] {
            let setup = Setup::new();
            let client = setup
                .build(tracked(), |builder| choose(builder).personal_paths(policy))
                .unwrap();
            let first = if path == "/track/1Z" {
                token()
            } else {
                Step::token("t", "60")
            };
            setup.send(&client, |t| t.get(path), [first, done()]).unwrap();
            assert_eq!(personal(&setup), [""; 0]);
        }
    }
}

#[test]
fn one_connection_can_have_a_policy_of_its_own() {
    let setup = Setup::new();
    let client = setup
        .build(tracked(), |builder| {
            dpop(builder).personal_paths_of(tenant(), PiiPolicy::Refuse)
        })
        .unwrap();
    assert_eq!(code(&setup, &client, "/track/1Z"), Some("personal_path"));
}

#[test]
fn routes_of_a_class_can_demand_a_binding() {
    let profile = || tracked().routes([Route::payment("/wallet").only(Method::POST), Route::label("/labels")]);
    let setup = Setup::new();
    let demanding = |builder: ClientBuilder| bearer(builder).minimum_binding(RouteClass::Payment, BindingKind::Dpop);
    let client = setup.build(profile(), demanding).unwrap();
    setup.send(&client, |t| t.post("/labels"), [token(), done()]).unwrap();
    setup.script.seen();
    let error = setup.send(&client, |t| t.post("/wallet"), []).unwrap_err();
    assert_eq!(error.code(), "below_minimum");
    assert!(setup.script.seen().is_empty());
    // What the profile does not know may spend money as well.
    assert_eq!(code(&setup, &client, "/unknown"), Some("below_minimum"));

    let setup = Setup::new();
    let bound = |builder: ClientBuilder| dpop(builder).minimum_binding(RouteClass::Payment, BindingKind::Dpop);
    let client = setup.build(profile(), bound).unwrap();
    setup
        .send(&client, |t| t.post("/wallet"), [Step::token("t", "60"), done()])
        .unwrap();
}

#[test]
fn a_refusal_is_read_by_the_profile_and_stands_beside_the_original() {
    let shape = FaultShape::at(FaultPlace::body("/errors/0/code", "/errors/0/message"))
        .code("ADDRESS.UNKNOWN", FaultKind::Invalid)
        .or_at(FaultPlace::headers(
            HeaderName::from_static("x-code"),
            HeaderName::from_static("x-text"),
        ));
    let setup = Setup::new();
    let client = setup.build(tracked().faults(shape), bearer).unwrap();
    let body = r#"{"errors":[{"code":"ADDRESS.UNKNOWN","message":"No such place: 'Jane Roe, 10115 Berlin'"}]}"#;
    let answer = setup
        .send(&client, |t| t.get("/rates/v1"), [token(), Step::json(422, body)])
        .unwrap();
    let fault = answer.fault().unwrap();
    assert_eq!(
        (fault.kind(), fault.code(), fault.has_known_code()),
        (FaultKind::Invalid, Some("ADDRESS.UNKNOWN"), true)
    );
    assert_eq!(fault.message(), Some("No such place: [..]"));
    assert_eq!(answer.body(), body);
    assert!(!fault.is_retryable());
    assert_eq!(format!("{fault:?}"), "CarrierFault(invalid (ADDRESS.UNKNOWN))");

    let answer = setup
        .send(
            &client,
            |t| t.get("/rates/v1"),
            [Step::with(400, &[("x-code", "E7"), ("x-text", "wrong")], "")],
        )
        .unwrap();
    let fault = answer.fault().unwrap();
    assert_eq!(
        (fault.kind(), fault.code(), fault.message()),
        (FaultKind::Invalid, Some("E7"), Some("wrong"))
    );
    assert_eq!(fault.to_string(), "invalid (a code of its own)");

    let answer = setup
        .send(&client, |t| t.get("/rates/v1"), [Step::json(200, body)])
        .unwrap();
    assert!(answer.fault().is_none());

    let error = setup
        .send(
            &client,
            |t| t.get("/rates/v1"),
            [Step::with(429, &[("retry-after", "7")], "")],
        )
        .unwrap_err();
    let fault = error.fault().unwrap();
    assert_eq!((fault.kind(), fault.is_retryable()), (FaultKind::Throttled, true));
    assert_eq!(fault.retry_after(), Some(std::time::Duration::from_secs(7)));
    let kinds: Vec<_> = setup
        .events
        .events()
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Call(call) => call.fault,
            _ => None,
        })
        .collect();
    assert_eq!(kinds, [FaultKind::Invalid, FaultKind::Invalid, FaultKind::Throttled]);
}

#[test]
fn headers_count_as_locked_whatever_marks_their_names_have() {
    let setup = Setup::new();
    let locked = ["account_id", "on-behalf-of", "x.shipper"].map(HeaderName::from_static);
    let profile = locked.into_iter().fold(one_host(), CarrierProfile::lock_header);
    let client = setup.build(profile, bearer).unwrap();
    for name in [
        "account_id",
        "account-id",
        "Account.Id",
        "on_behalf_of",
        "on.behalf.of",
        "on~behalf~of",
        "x-shipper",
        "x.forwarded_for",
        "x_forwarded",
        "proxy!x",
        "content.length",
        "cf-connecting-ip",
        "fastly-client-ip",
        "x-override-url",
        "x-envoy-original-path",
    ] {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        let value = http::HeaderValue::from_static("1");
        let outcome = setup.send(&client, |t| t.get("/rates").header(name.clone(), value), []);
        assert_eq!(outcome.unwrap_err().code(), "header_refused", "{name}");
        assert!(setup.script.seen().is_empty(), "{name}");
    }
    let name = HeaderName::from_static("accounts_id");
    let value = http::HeaderValue::from_static("1");
    setup
        .send(&client, |t| t.get("/rates").header(name, value), [token(), done()])
        .unwrap();
}

#[test]
fn methods_that_give_the_request_back_are_refused() {
    let setup = Setup::new();
    let client = setup.build(one_host(), bearer).unwrap();
    for method in ["CONNECT", "TRACE", "TRACK", "DEBUG", "Track", "debug"] {
        let request = Request::builder().method(method).uri("/rates");
        let request = request.body(bytes::Bytes::new()).unwrap();
        let outcome = client.send(&tenant(), request).now_or_never().unwrap();
        assert_eq!(outcome.unwrap_err().code(), "method_refused", "{method}");
        assert!(setup.script.seen().is_empty(), "{method}");
    }
}
