//! What requests carry: credentials where the carrier wants them, their parts, a second token, ids.

use std::time::Duration;

use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, Method};

use crate::binding::bearer::Bearer;
use crate::binding::dpop::Dpop;
use crate::carriers::{CarrierProfile, Route, TracingHeader};
use crate::client::{CarrierClient, Client, ClientBuilder};
use crate::credentials::{Credential, CredentialAt, CredentialError, CredentialPart, KeyForm, PartAt};
use crate::error::{Error, ErrorKind};
use crate::exchange::quirks::{BodyEncoding, LifetimeAt, Quirks};
use crate::owner::Environment;
use crate::testing::{Seen, Step};
use crate::token::TokenAt;
use crate::token::client_auth::ClientAuth;
use crate::token::companion::Companion;
use crate::transport::Stage;

use super::setup::{Setup, at_endpoint, profile, tenant};

const LABEL: HeaderName = HeaderName::from_static("x-label-token");
const ACCOUNT: HeaderName = HeaderName::from_static("on-behalf-of");

fn bearer(builder: ClientBuilder) -> ClientBuilder {
    builder.binding(Bearer)
}

fn token() -> Step {
    Step::json(
        200,
        r#"{"access_token":"tok-1","token_type":"Bearer","expires_in":3600}"#,
    )
}

fn done() -> Step {
    Step::json(200, "{}")
}

/// What a `GET /rates` of the tenant carries, with the requests before it.
fn carried(setup: &Setup, client: &Client, steps: impl IntoIterator<Item = Step>) -> Vec<Seen> {
    setup.send(client, |t| t.get("/rates"), steps).unwrap();
    setup.script.seen()
}

fn refused(setup: &Setup, client: &Client) -> Error {
    let error = setup.send(client, |t| t.get("/rates"), []).unwrap_err();
    assert_eq!(error.stage(), Stage::NotSent);
    assert!(setup.script.seen().is_empty());
    error
}

#[test]
fn a_credential_without_a_token_stands_where_the_carrier_wants_it() {
    let key = HeaderName::from_static("api-key");
    let uid = HeaderName::from_static("x-uid");
    for (at, expected) in [
        (CredentialAt::Authorization, vec![("authorization", "Bearer sEcReT")]),
        (CredentialAt::Header(key.clone()), vec![("api-key", "sEcReT")]),
        // `id:sEcReT`, as RFC 7617 has it.
        (CredentialAt::Basic, vec![("authorization", "Basic aWQ6c0VjUmVU")]),
        (
            CredentialAt::Headers { id: uid, secret: key },
            vec![("x-uid", "id"), ("api-key", "sEcReT")],
        ),
    ] {
        let setup = Setup::new();
        setup.has(Credential::new("id", "sEcReT"));
        let client = setup
            .build(profile(TokenAt::Credential).credential_at(at), bearer)
            .unwrap();
        let seen = carried(&setup, &client, [done()]);
        assert_eq!(seen.len(), 1, "no token is asked for");
        for name in ["authorization", "api-key", "x-uid"] {
            let wanted = expected
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| *value);
            let given = seen[0].headers.get(name);
            assert_eq!(given.map(|value| value.to_str().unwrap()), wanted, "{name}");
            assert!(given.is_none_or(HeaderValue::is_sensitive));
        }
    }
}

#[test]
fn a_token_can_stand_alone_in_a_header_unless_it_is_bound_to_a_proof_key() {
    let at = CredentialAt::Header(HeaderName::from_static("x-amz-access-token"));
    let setup = Setup::new();
    let client = setup.build(at_endpoint().credential_at(at.clone()), bearer).unwrap();
    let seen = carried(&setup, &client, [token(), done()]);
    assert_eq!(seen[1].headers["x-amz-access-token"], "tok-1");
    assert!(seen[1].headers["x-amz-access-token"].is_sensitive());
    assert!(!seen[1].headers.contains_key("authorization"));

    let setup = Setup::new();
    let client = setup
        .build(at_endpoint().credential_at(at), |builder| {
            builder.binding(Dpop::es256())
        })
        .unwrap();
    let seen = carried(&setup, &client, [Step::token("tok-1", "3600"), done()]);
    assert_eq!(seen[1].headers["authorization"], "DPoP tok-1");
    assert!(!seen[1].headers.contains_key("x-amz-access-token"));
}

#[test]
fn parts_go_where_they_belong_and_a_required_one_must_be_there() {
    let with_parts = |profile: CarrierProfile| {
        profile
            .part(CredentialPart::required(
                "child_key",
                PartAt::TokenForm("child_Key".into()),
            ))
            .part(CredentialPart::optional(
                "merchant",
                PartAt::TokenHeader(HeaderName::from_static("x-merchant-id")),
            ))
            .part(CredentialPart::optional("account", PartAt::CallHeader(ACCOUNT)))
    };
    let setup = Setup::new();
    let client = setup
        .build(with_parts(at_endpoint()).client_auth(ClientAuth::Post), bearer)
        .unwrap();
    let error = refused(&setup, &client);
    assert!(
        matches!(error.kind(), ErrorKind::Credential(CredentialError::NoPart(name)) if name == "child_key"),
        "{error:?}"
    );

    let full = Credential::new("id", "sEcReT")
        .with_part("child_key", "k1")
        .with_part("merchant", "m1");
    setup.has(full.with_part("account", "a1").with_part("of nobody", "n"));
    // The failure has cooled the slot down.
    setup.clock.advance(Duration::from_secs(2));
    let seen = carried(&setup, &client, [token(), done()]);
    let form = seen[0].form();
    let wanted = [
        ("child_Key", "k1"),
        ("client_id", "id"),
        ("client_secret", "sEcReT"),
        ("grant_type", "client_credentials"),
    ];
    assert_eq!(
        form,
        wanted.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    );
    assert_eq!(seen[0].headers["x-merchant-id"], "m1");
    assert!(!seen[0].headers.contains_key(ACCOUNT));
    assert_eq!(seen[1].headers[ACCOUNT], "a1");
    assert!(!seen[1].headers.contains_key("x-merchant-id"));

    // What comes from the credential is not the caller's to say.
    for name in ["on-behalf-of", "x-merchant-id", "on_behalf_of"] {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        let value = HeaderValue::from_static("other");
        let error = setup
            .send(&client, |t| t.get("/rates").header(name, value), [])
            .unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::HeaderRefused(_)), "{error:?}");
    }
}

#[test]
fn a_token_request_can_be_json_with_names_of_the_carriers_own() {
    let mut quirks = Quirks::default();
    quirks.token_request.encoding = BodyEncoding::Json;
    quirks.token_request.client_id = "userId".into();
    quirks.token_request.client_secret = "key".into();
    quirks.token_request.grant_type = false;
    quirks.token_answer.access_token = "accessToken".into();
    quirks.token_answer.lifetime = LifetimeAt::unix_seconds("accessTokenExpiration");
    quirks.token_answer.token_type_optional = true;
    let setup = Setup::new();
    let profile = at_endpoint().client_auth(ClientAuth::Post).quirks(quirks);
    let client = setup.build(profile, bearer).unwrap();
    let answer = Step::json(200, r#"{"accessToken":"tok-2","accessTokenExpiration":1800000900}"#);
    let seen = carried(&setup, &client, [answer, done()]);
    assert_eq!(seen[0].headers["content-type"], "application/json");
    assert_eq!(seen[0].body, r#"{"key":"sEcReTmArKeR","userId":"id"}"#);
    assert_eq!(seen[1].headers["authorization"], "Bearer tok-2");
    let left = client.lease(&super::setup::tenant()).unwrap().usable_until();
    assert_eq!(left.since_origin(), Duration::from_secs(895));
}

#[test]
fn a_token_can_come_in_a_header_for_a_credential_in_headers() {
    let mut quirks = Quirks::default();
    quirks.token_answer.in_header = Some(HeaderName::from_static("x-dpd-token"));
    quirks.token_answer.lifetime = LifetimeAt::Fixed(600);
    let [id, secret] = ["x-dpd-login", "x-dpd-password"].map(HeaderName::from_static);
    let profile = || {
        let auth = ClientAuth::Headers {
            id: id.clone(),
            secret: secret.clone(),
        };
        at_endpoint().client_auth(auth).quirks(quirks.clone())
    };
    let setup = Setup::new();
    let client = setup.build(profile(), bearer).unwrap();
    let answer = Step::with(200, &[("x-dpd-token", "tok-3")], "");
    let seen = carried(&setup, &client, [answer, done()]);
    assert_eq!(seen[0].headers["x-dpd-login"], "id");
    assert_eq!(seen[0].headers["x-dpd-password"], "sEcReTmArKeR");
    assert_eq!(seen[1].headers["authorization"], "Bearer tok-3");

    for answer in [
        Step::with(200, &[], r#"{"access_token":"tok-3","token_type":"Bearer"}"#),
        Step::with(200, &[("x-dpd-token", "tok-3"), ("x-dpd-token", "tok-4")], ""),
        Step::with(200, &[("x-dpd-token", "tok 3")], ""),
    ] {
        let setup = Setup::new();
        let client = setup.build(profile(), bearer).unwrap();
        let error = setup.send(&client, |t| t.get("/rates"), [answer]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::TokenAnswer(_)), "{error:?}");
    }
}

fn with_companion() -> CarrierProfile {
    let companion = Companion::new(
        "/pay/authorization",
        "payment",
        "/result/token",
        LABEL,
        Duration::from_secs(600),
    );
    at_endpoint().companion(companion.for_paths_below("/labels/"))
}

#[test]
fn a_second_token_goes_with_the_calls_that_need_it_and_both_end_together() {
    let setup = Setup::new();
    setup.has(Credential::new("id", "sEcReT").with_part("payment", r#"{"account":"1"}"#));
    let client = setup.build(with_companion(), bearer).unwrap();
    let second = Step::json(201, r#"{"result":{"token":"pay-1"}}"#);
    let seen = carried(&setup, &client, [token(), second, done()]);
    assert_eq!(
        (seen[1].method.clone(), seen[1].target.path()),
        (Method::POST, "/pay/authorization")
    );
    assert_eq!(seen[1].headers["authorization"], "Bearer tok-1");
    assert_eq!(seen[1].body, r#"{"account":"1"}"#);
    assert!(!seen[2].headers.contains_key(LABEL), "a call that does not need it");

    setup.send(&client, |t| t.post("/labels/v3/label"), [done()]).unwrap();
    let seen = setup.script.seen();
    assert_eq!(
        (&seen[0].headers[LABEL], seen.len()),
        (&HeaderValue::from_static("pay-1"), 1)
    );
    assert!(seen[0].headers[LABEL].is_sensitive());

    let error = setup
        .send(
            &client,
            |t| t.get("/rates").header(LABEL, HeaderValue::from_static("x")),
            [],
        )
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::HeaderRefused(_)));

    // The token would have lived for an hour.
    setup.clock.advance(Duration::from_secs(601));
    let second = Step::json(200, r#"{"result":{"token":"pay-2"}}"#);
    setup
        .send(&client, |t| t.post("/labels/v3/label"), [token(), second, done()])
        .unwrap();
    assert_eq!(setup.script.seen()[2].headers[LABEL], "pay-2");
}

#[test]
fn without_the_second_token_no_call_is_sent() {
    for answer in [
        Step::json(400, r#"{"error":"account"}"#),
        Step::json(200, "{}"),
        Step::json(200, r#"{"result":{"token":7}}"#),
        Step::json(200, r#"{"result":{"token":"a\nb"}}"#),
    ] {
        let setup = Setup::new();
        setup.has(Credential::new("id", "sEcReT").with_part("payment", "{}"));
        let client = setup.build(with_companion(), bearer).unwrap();
        let error = setup.send(&client, |t| t.get("/rates"), [token(), answer]).unwrap_err();
        assert_eq!(
            (error.code(), error.stage()),
            ("companion_refused", Stage::NotSent),
            "{error:?}"
        );
        assert_eq!(setup.script.seen().len(), 2);
    }
}

#[test]
fn a_key_of_the_other_environment_is_refused_by_its_form() {
    let forms = |profile: CarrierProfile| {
        profile
            .key_form(KeyForm::new("TEST_", Environment::Sandbox))
            .key_form(KeyForm::new("", Environment::Production))
    };
    let setup = Setup::new();
    setup.has(Credential::api_key("live-key"));
    let client = setup.build(forms(profile(TokenAt::Credential)), bearer).unwrap();
    let error = refused(&setup, &client);
    assert!(
        matches!(error.kind(), ErrorKind::Credential(CredentialError::OtherEnvironment)),
        "{error:?}"
    );

    setup.has(Credential::api_key("TEST_key"));
    setup.clock.advance(Duration::from_secs(2));
    let seen = carried(&setup, &client, [done()]);
    assert_eq!(seen[0].headers["authorization"], "Bearer TEST_key");
}

#[test]
fn a_credential_that_cannot_stand_in_a_header_is_refused() {
    let setup = Setup::new();
    let client = setup.build(profile(TokenAt::Credential), bearer).unwrap();
    setup.has(Credential::api_key("key\n"));
    let error = refused(&setup, &client);
    assert!(
        matches!(error.kind(), ErrorKind::Credential(CredentialError::Syntax)),
        "{error:?}"
    );
    assert!(!format!("{error:?} {error}").contains("key\n"));

    let client = setup
        .build(profile(TokenAt::Credential).credential_at(CredentialAt::Basic), bearer)
        .unwrap();
    setup.has(Credential::new("a:b", "c"));
    let error = refused(&setup, &client);
    assert!(
        matches!(error.kind(), ErrorKind::Credential(CredentialError::Syntax)),
        "{error:?}"
    );
}

#[test]
fn a_call_has_an_id_that_its_repeats_share() {
    let [id, source] = ["transid", "transactionsrc"].map(HeaderName::from_static);
    let setup = Setup::new();
    let profile = at_endpoint()
        .tracing(TracingHeader::call_id(id.clone()))
        .tracing(TracingHeader::constant(source, HeaderValue::from_static("shipbound")));
    let client = setup.build(profile, bearer).unwrap();
    setup
        .send(&client, |t| t.get("/rates"), [token(), Step::Lost, done()])
        .unwrap();
    let seen = setup.script.seen();
    let ids: Vec<_> = seen[1..].iter().map(|seen| seen.headers[&id].clone()).collect();
    assert_eq!((ids.len(), &ids[0]), (2, &ids[1]));
    assert!(ids[0].len() == 32 && seen[1].headers["transactionsrc"] == "shipbound");

    let answer = setup.send(&client, |t| t.get("/rates"), [done()]).unwrap();
    let own = setup.script.seen()[0].headers[&id].clone();
    assert_ne!(own, ids[0]);
    assert_eq!(
        answer.report().call_id.unwrap().simple().to_string(),
        own.to_str().unwrap()
    );

    let mine = HeaderValue::from_static("mine");
    let answer = setup
        .send(&client, |t| t.get("/rates").header(id.clone(), mine), [done()])
        .unwrap();
    assert_eq!(setup.script.seen()[0].headers[&id], "mine");
    assert_eq!(answer.report().call_id, None);
}

#[test]
fn with_an_idempotency_key_a_lost_post_is_sent_once_more() {
    let key = HeaderName::from_static("x-idempotency");
    let setup = Setup::new();
    let keyed = || at_endpoint().routes([Route::label("/labels").keyed()]);
    let client = setup.build(keyed().idempotency(key.clone()), bearer).unwrap();
    let answer = setup
        .send(&client, |t| t.post("/labels"), [token(), Step::Lost, done()])
        .unwrap();
    let seen = setup.script.seen();
    assert_eq!((seen.len(), &seen[1].headers[&key]), (3, &seen[2].headers[&key]));
    let told = answer.report().idempotency_key.unwrap().simple().to_string();
    assert_eq!(seen[1].headers[&key], told);

    // Lost twice, its outcome is not known; the error has the key to ask again with.
    let error = setup
        .send(&client, |t| t.post("/labels"), [Step::Lost, Step::Lost])
        .unwrap_err();
    assert_eq!((error.code(), error.stage()), ("outcome_unknown", Stage::MaybeSent));
    let sent = setup.script.seen()[0].headers[&key].clone();
    let told = error.report().unwrap().idempotency_key.unwrap().simple().to_string();
    assert_eq!(sent, told);

    // That the repeat was not sent says nothing of the first attempt.
    let error = setup
        .send(&client, |t| t.post("/labels"), [Step::Lost, Step::Unreachable])
        .unwrap_err();
    assert_eq!((error.code(), error.stage()), ("outcome_unknown", Stage::MaybeSent));
    assert!(error.advice().contains("look the shipment up"), "{}", error.advice());
    setup.script.seen();
    let error = setup
        .send(&client, |t| t.post("/labels"), [Step::Unreachable, Step::Unreachable])
        .unwrap_err();
    assert_eq!((error.code(), error.stage()), ("not_delivered", Stage::NotSent));
    setup.script.seen();

    // What changes nothing has none.
    setup.send(&client, |t| t.get("/labels"), [done()]).unwrap();
    assert!(!setup.script.seen()[0].headers.contains_key(&key));

    // Neither without such a header nor on another route is it repeated.
    let other = at_endpoint().routes([Route::label("/other").keyed()]);
    for profile in [keyed(), other.idempotency(key.clone())] {
        let setup = Setup::new();
        let client = setup.build(profile, bearer).unwrap();
        let error = setup
            .send(&client, |t| t.post("/labels"), [token(), Step::Lost])
            .unwrap_err();
        let seen = setup.script.seen();
        assert_eq!((error.stage(), seen.len()), (Stage::MaybeSent, 2));
        assert!(!seen[1].headers.contains_key(&key));
    }
}

#[test]
fn a_purchase_that_may_have_gone_through_is_not_undone_by_what_its_repeat_met() {
    let key = HeaderName::from_static("x-idempotency");
    for (repeat, status) in [
        (Step::with(429, &[("retry-after", "5")], ""), 429),
        (Step::with(503, &[], ""), 503),
        (Step::json(403, "{}"), 403),
        (Step::json(409, "{}"), 409),
        (Step::json(401, "{}"), 401),
    ] {
        let setup = Setup::new();
        let profile = at_endpoint().routes([Route::payment("/labels").keyed()]);
        let client = setup.build(profile.idempotency(key.clone()), bearer).unwrap();
        let error = setup
            .send(&client, |t| t.post("/labels"), [token(), Step::Lost, repeat])
            .unwrap_err();
        assert_eq!(
            (error.code(), error.stage()),
            ("outcome_unknown", Stage::MaybeSent),
            "{status}"
        );
        assert_eq!(error.response().map(|answer| answer.status().as_u16()), Some(status));
        assert!(!error.fault().unwrap().is_retryable(), "{status}");
        assert!(error.report().unwrap().idempotency_key.is_some());
    }
}

#[test]
fn a_key_that_is_blank_or_there_twice_is_none() {
    let key = HeaderName::from_static("x-idempotency");
    let setup = Setup::new();
    let profile = at_endpoint().routes([Route::label("/labels").keyed()]);
    let client = setup.build(profile.idempotency(key.clone()), bearer).unwrap();
    setup.send(&client, |t| t.get("/rates"), [token(), done()]).unwrap();
    setup.script.seen();
    for (values, sent) in [
        (&["1"][..], 2),
        (&[""], 1),
        (&[" "], 1),
        (&["\t "], 1),
        (&["1", "2"], 1),
        (&["1", "1"], 1),
        (&["", "1"], 1),
    ] {
        let mut request = http::Request::post("/labels").body(bytes::Bytes::new()).unwrap();
        for value in values {
            request
                .headers_mut()
                .append(key.clone(), HeaderValue::from_static(value));
        }
        setup.script.add((0..sent).map(|_| Step::Lost));
        let outcome = client.send(&tenant(), request).now_or_never().unwrap();
        assert_eq!(outcome.unwrap_err().code(), "outcome_unknown", "{values:?}");
        assert_eq!(setup.script.seen().len(), sent, "{values:?}");
    }
}

#[test]
fn a_static_credential_is_not_bound_to_a_key() {
    let setup = Setup::new();
    let error = setup
        .build(profile(TokenAt::Credential), |builder| builder.binding(Dpop::es256()))
        .unwrap_err();
    assert!(error.to_string().contains("cannot be bound to a proof key"), "{error}");
}
