//! Everything that can go wrong in a call, each time with a secret where it hurts.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Request};
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::json;
use shipbound::CarrierClient;
use shipbound::carriers::CarrierProfile;
use shipbound::exchange::budget::Limits;
use shipbound::owner::{CarrierId, Environment};
use shipbound::sandbox::{Answer, Canned, Endpoint, Gate, Sandbox, Who};
use shipbound::token::TokenAt;

use crate::marker::{Shown, marked};
use crate::stage::{Differs, ECHO, LABELS, Stage, acme, still};

fn reply(canned: Canned) -> Vec<Answer> {
    vec![Answer::reply(canned)]
}

fn token_answer(value: serde_json::Value) -> Vec<Answer> {
    vec![Answer::token_body(value.to_string())]
}

pub(crate) async fn of_the_issuer(stage: &Stage, shown: &mut Shown) {
    // The token or the secret, as an issuer would say it back.
    let t = marked("token");
    let secret = stage
        .sandbox
        .credential(&acme())
        .client_secret()
        .unwrap()
        .expose()
        .to_owned();
    let basic = format!("Basic realm=\"{secret}\"");
    let refusal = |status, error: &str| {
        let body = json!({"error": error, "error_description": format!("no {secret}"), "error_uri": format!("https://e.example/{secret}")});
        reply(Canned::json(status, &body).header("www-authenticate", &basic))
    };
    let nonce = |nonces: &[&str]| {
        let mut canned = Canned::json(400, &json!({"error": "use_dpop_nonce", "error_description": t}));
        for nonce in nonces {
            canned = canned.and_header("dpop-nonce", nonce);
        }
        reply(canned)
    };
    let with = |members: serde_json::Value| {
        let mut answer = json!({"access_token": t, "token_type": "DPoP", "expires_in": 60});
        for (name, value) in members.as_object().unwrap() {
            answer[name] = value.clone();
        }
        token_answer(answer)
    };
    let faults: Vec<(&str, Vec<Answer>)> = vec![
        ("token_refused", refusal(401, "invalid_client")),
        ("token_refused", refusal(400, &secret)),
        ("token_refused", refusal(400, &format!("{secret} {secret}"))),
        ("token_refused", refusal(403, "access_denied")),
        ("token_answer", with(json!({"access_token": {"value": t}}))),
        ("token_answer", with(json!({"access_token": [t]}))),
        ("token_answer", with(json!({"access_token": format!("{t} {t}")}))),
        ("token_answer", with(json!({"access_token": format!("{t}\r\n{t}")}))),
        ("token_answer", with(json!({"access_token": t.repeat(1000)}))),
        ("token_answer", with(json!({"access_token": null, "id_token": t}))),
        ("token_answer", with(json!({"token_type": 7}))),
        ("unbound_token", with(json!({"token_type": t}))),
        ("unbound_token", with(json!({"token_type": "Bearer"}))),
        ("unbound_token", vec![Answer::unbound()]),
        ("token_answer", with(json!({"expires_in": t}))),
        ("token_answer", with(json!({"refresh_token": format!("{t}\u{1}")}))),
        ("token_answer", with(json!({"error": "server_error"}))),
        (
            "token_answer",
            vec![Answer::token_body(format!("{{\"access_token\":\"{t}"))],
        ),
        (
            "token_answer",
            vec![Answer::token_body(format!("{{\"access_token\":\"{t}\",}}"))],
        ),
        (
            "token_answer",
            vec![Answer::token_body(format!(
                "{{\"access_token\":\"{t}\",\"access_token\":\"{t}\"}}"
            ))],
        ),
        ("token_answer", vec![Answer::token_body(format!("\"{t}\""))]),
        ("token_answer", vec![Answer::token_body(t.clone())]),
        ("token_answer", reply(Canned::text(200, t.clone()))),
        (
            "token_answer",
            reply(Canned::bytes(
                200,
                &format!("application/{t}"),
                format!("{{\"access_token\":\"{t}\"}}"),
            )),
        ),
        ("token_answer", reply(Canned::text(500, format!("<html>{t}</html>")))),
        ("token_answer", reply(Canned::empty(204).header("x-token", &t))),
        ("answer_too_large", reply(Canned::text(200, t.repeat(2_000)))),
        (
            "redirect",
            reply(Canned::empty(307).header("location", &format!("https://e.example/?token={t}"))),
        ),
        ("rate_limited", vec![Answer::retry_after(429, &t)]),
        ("rate_limited", vec![Answer::retry_after(503, &t)]),
        (
            "misdirected",
            vec![Answer::misdirected(), Answer::misdirected().header("x-token", &t)],
        ),
        ("nonce_unusable", nonce(&[&format!("{t} {t}")])),
        ("nonce_unusable", nonce(&[&t, &t])),
        ("nonce_unusable", nonce(&[])),
        ("nonce_loop", [nonce(&[&t]), nonce(&[&t])].concat()),
        (
            "invalid_dpop_proof",
            reply(Canned::json(
                400,
                &json!({"error": "invalid_dpop_proof", "error_description": t}),
            )),
        ),
        ("not_delivered", vec![Answer::drop_before_answer()]),
        ("not_delivered", vec![Answer::normal().lost()]),
        ("not_delivered", vec![Answer::normal().cut_mid_body()]),
    ];
    for (code, answers) in faults {
        let differs = Differs {
            limits: Limits::default().token_answer(32_000),
            ..Differs::default()
        };
        let client = stage.client(stage.freight(), differs, shown).await;
        shown.debug(&answers);
        stage.sandbox.script(acme(), Endpoint::Token, answers);
        stage.fails(&client, LABELS, code, shown).await;
        // Again, while the failure cools down.
        let error = client.tenant("acme").unwrap().post(LABELS).send().await.unwrap_err();
        shown.error(&error);
    }

    let wrong = Differs {
        wrong_secret: true,
        ..Differs::default()
    };
    let client = stage.client(stage.freight(), wrong, shown).await;
    stage.fails(&client, LABELS, "token_refused", shown).await;

    // A Bearer client is given what it cannot use.
    let bearer = Differs {
        bearer: true,
        ..Differs::default()
    };
    let client = stage.client(stage.freight(), bearer, shown).await;
    stage
        .sandbox
        .script(acme(), Endpoint::Token, with(json!({"token_type": t})));
    stage.fails(&client, LABELS, "token_answer", shown).await;
}

pub(crate) async fn of_the_metadata(stage: &Stage, shown: &mut Shown) {
    let t = marked("metadata");
    let issuer = stage.sandbox.issuer().to_owned();
    let with = |endpoint: &str| json!({"issuer": issuer, "token_endpoint": endpoint}).to_string();
    for body in [
        with(&format!("https://user:{t}@auth.carrier.example/token")),
        with(&format!("http://{t}/token")),
        with(&format!("https://{t}.example/token")),
        with(&t),
        json!({"issuer": t, "token_endpoint": format!("{issuer}/token")}).to_string(),
        json!({"issuer": {"x": t}}).to_string(),
        json!({"issuer": issuer, "token_endpoint": [t]}).to_string(),
        format!("{{\"issuer\":\"{t}"),
        format!("\"{t}\""),
        t.clone(),
    ] {
        let answer = Answer::reply(Canned::bytes(200, "application/json", body));
        let client = stage.client(stage.freight(), Differs::default(), shown).await;
        stage.sandbox.script(Who::Anyone, Endpoint::Metadata, [answer]);
        stage.fails(&client, LABELS, "metadata", shown).await;
    }
    let redirect = Answer::redirect(&format!("https://e.example/{t}"));
    stage.sandbox.script(Who::Anyone, Endpoint::Metadata, [redirect]);
    let client = stage.client(stage.freight(), Differs::default(), shown).await;
    stage.fails(&client, LABELS, "redirect", shown).await;
}

pub(crate) async fn of_the_api(stage: &Stage, shown: &mut Shown) {
    let t = marked("token");
    let refused = |challenge: &str| {
        let canned = Canned::json(401, &json!({"error": t, "token": t})).header("www-authenticate", challenge);
        Answer::reply(canned)
    };
    let invalid = format!("DPoP error=\"invalid_token\", error_description=\"{t}\", realm=\"{t}\"");
    let asks = Canned::empty(401).header("www-authenticate", "DPoP error=\"use_dpop_nonce\"");
    let late = format!("DPoP error=\"invalid_dpop_proof\", error_description=\"{t}\"");
    let faults: Vec<(&str, Vec<Answer>)> = vec![
        ("unauthorized", vec![refused(&invalid), refused(&invalid)]),
        ("unauthorized", vec![refused(&format!("DPoP error=\"{t}\""))]),
        ("unauthorized", vec![refused(&format!("{t} {t}=\"{t}"))]),
        (
            "unauthorized",
            vec![refused(&format!(
                "Bearer error=\"invalid_token\", error_description=\"{t}\""
            ))],
        ),
        (
            "nonce_unusable",
            reply(asks.clone().header("dpop-nonce", &format!("{t} {t}"))),
        ),
        (
            "nonce_unusable",
            reply(asks.clone().and_header("dpop-nonce", &t).and_header("dpop-nonce", &t)),
        ),
        (
            "nonce_loop",
            [
                reply(asks.clone().header("dpop-nonce", &t)),
                reply(asks.header("dpop-nonce", &t)),
            ]
            .concat(),
        ),
        ("invalid_dpop_proof", vec![refused(&late)]),
        (
            "invalid_dpop_proof",
            vec![refused(&late).dated(-90), refused(&late).dated(-180)],
        ),
        ("clock_offset_refused", vec![refused(&late).dated(-100_000)]),
        (
            "redirect",
            reply(Canned::empty(302).header("location", &format!("https://{t}:{t}@e.example/?access_token={t}"))),
        ),
        ("rate_limited", vec![Answer::retry_after(429, &t)]),
        ("rate_limited", vec![Answer::retry_after(503, &t)]),
        (
            "misdirected",
            vec![Answer::misdirected().header("x-token", &t), Answer::misdirected()],
        ),
        ("outcome_unknown", vec![Answer::drop_before_answer()]),
        ("outcome_unknown", vec![Answer::normal().lost()]),
        (
            "answer_incomplete|outcome_unknown",
            vec![Answer::normal().cut_mid_body()],
        ),
        ("answer_too_large", reply(Canned::text(200, t.repeat(100)))),
    ];
    for (code, answers) in faults {
        let differs = Differs {
            limits: Limits::default().answer(1_000),
            ..Differs::default()
        };
        let client = stage.client(stage.freight(), differs, shown).await;
        shown.debug(&answers);
        stage.sandbox.script(acme(), Endpoint::Api, answers);
        stage.fails(&client, LABELS, code, shown).await;
    }
    // Everything that was sent comes back: the real token, the real proof.
    let client = stage.client(stage.freight(), Differs::default(), shown).await;
    stage.fails(&client, ECHO, "unauthorized", shown).await;

    // A nonce that cannot be used changes nothing, and an answer that is not what was expected is the caller's.
    let client = stage.client(stage.freight(), Differs::default(), shown).await;
    let odd = Canned::bytes(200, "application/json", json!({"label": {"token": t}}).to_string())
        .header("dpop-nonce", &format!("{t} {t}"))
        .header("set-cookie", &t);
    stage.sandbox.script(acme(), Endpoint::Api, reply(odd));
    let answer = client.tenant("acme").unwrap().post(LABELS).send().await.unwrap();
    shown.debug(&answer);
    shown.error(&answer.json::<Vec<u8>>().unwrap_err());
    shown.error(&answer.json::<std::collections::BTreeMap<String, u8>>().unwrap_err());
}

/// What does not come in time, and what does not come at all.
pub(crate) async fn of_the_way(stage: &Stage, shown: &mut Shown) {
    for (endpoint, limit) in [(Endpoint::Token, 11), (Endpoint::Api, 31)] {
        let clock = still();
        let differs = Differs {
            clock: clock.clone(),
            ..Differs::default()
        };
        let client = stage.client(stage.freight(), differs, shown).await;
        let gate = Gate::new();
        stage.sandbox.script(acme(), endpoint, [Answer::normal().held(&gate)]);
        let in_time = async {
            gate.reached(1).await;
            clock.advance(Duration::from_secs(limit));
        };
        let ((), _error) = tokio::join!(in_time, stage.fails(&client, LABELS, "deadline", shown));
        gate.open();
    }

    // Nobody is there any more, or one whom nobody vouches for.
    let gone = Sandbox::start().await.unwrap();
    let profile = |sandbox: &Sandbox| {
        let token = TokenAt::Endpoint(format!("{}/token?key={}", sandbox.issuer(), marked("query")));
        let id = CarrierId::new("gone").unwrap();
        let profile = CarrierProfile::custom(id, Environment::Sandbox, sandbox.api(), token);
        sandbox
            .loopbacks()
            .into_iter()
            .fold(profile, CarrierProfile::allow_loopback)
    };
    let (unknown, nobody) = (Sandbox::start().await.unwrap(), profile(&gone));
    gone.shutdown().await;
    for profile in [nobody, profile(&unknown)] {
        let client = stage.client(profile, Differs::default(), shown).await;
        stage.fails(&client, LABELS, "not_delivered", shown).await;
    }
}

/// What a caller gets wrong.
pub(crate) async fn of_the_caller(stage: &Stage, shown: &mut Shown) {
    let t = marked("callers");
    let differs = Differs {
        limits: Limits::default().request_body(1_000),
        ..Differs::default()
    };
    let client = stage.client(stage.freight(), differs, shown).await;
    for path in [
        format!("https://user:{t}@127.0.0.1/"),
        format!("https://{t}@127.0.0.1/"),
        format!("https://e.example/?token={t}"),
        format!("http://e.example/{t}"),
        format!("/labels/../{t}"),
        format!("/labels/{t} {t}"),
        format!("//{t}/"),
        t.clone(),
    ] {
        let tenant = client.tenant("acme").unwrap();
        let error = tenant.get(&path).send().await.unwrap_err();
        shown.error(&error);
        shown.debug(&tenant.get(&path));
    }
    for name in ["authorization", "cookie", "dpop", "proxy-authorization"] {
        let request = Request::builder().method(Method::POST).uri(LABELS).header(name, &t);
        let error = client
            .send(&acme().into(), request.body(t.clone().into()).unwrap())
            .await;
        shown.error(&error.unwrap_err());
        let (name, value) = (HeaderName::from_static(name), HeaderValue::from_str(&t).unwrap());
        let tenant = client.tenant("acme").unwrap();
        let request = tenant.post(LABELS).header(name, value).body(t.clone());
        shown.debug(&request);
        shown.error(&request.send().await.unwrap_err());
    }
    let tenant = client.tenant("acme").unwrap();
    shown.error(&tenant.post(LABELS).body(t.repeat(100)).send().await.unwrap_err());
    shown.error(
        &tenant
            .post(LABELS)
            .json(&Unwritable(t.clone()))
            .send()
            .await
            .unwrap_err(),
    );
    shown.error(&client.tenant(&format!("{t}/{t}")).unwrap_err());
}

/// A value that cannot be written as JSON, and says why.
struct Unwritable(String);

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom(&self.0))
    }
}
