//! The vectors of redaction: what must not be seen in anything that is shown, logged or kept.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[path = "support/recorded.rs"]
mod recorded;

use std::error::Error as _;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;
use shipbound::Error;
use shipbound::binding::dpop::DpopBinding;
use shipbound::binding::{Attempt, Role, TokenBinding};
use shipbound::carriers::{CarrierProfile, ups};
use shipbound::clock::{Clock, ManualClock, Timestamp};
use shipbound::credentials::Credential;
use shipbound::journal::EventKind;
use shipbound::keys::{Backend, KeyHandle, KeyId, LocalKey, MemoryKeyStore, Purpose};
use shipbound::owner::{CarrierId, DeploymentId, Environment, Owner, TenantId};
use shipbound::secret::{ClientSecret, KeyMaterial, RefreshToken};
use shipbound::target::Target;
use shipbound::token::TokenAt;
use shipbound::token::client_auth::ClientAuth;
use shipbound::transport::{Body, Outgoing, Stage, TransportError, TransportErrorKind};
use shipbound::verify::{MemoryReplayLog, ProofVerifier, Received};

use recorded::{Step, World};

const COUNT: usize = 6;

fn vectors() -> Value {
    serde_json::from_str(include_str!("data/vectors.json")).unwrap()
}

fn vector(id: &str) -> Value {
    let vectors = vectors();
    let all = vectors["redaction"].as_array().unwrap();
    all.iter().find(|vector| vector["id"] == id).unwrap().clone()
}

#[test]
fn every_vector_of_redaction_has_a_test_here() {
    let vectors = vectors();
    let ids: Vec<_> = vectors["redaction"]
        .as_array()
        .unwrap()
        .iter()
        .map(|vector| vector["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["RD-01", "RD-02", "RD-03", "RD-04", "RD-05", "RD-06"]);
    assert_eq!(vectors["counts"]["redaction"], COUNT);
}

fn carrier() -> CarrierProfile {
    CarrierProfile::custom(
        CarrierId::new("carrier").unwrap(),
        Environment::Sandbox,
        "https://api.carrier.example",
        TokenAt::Endpoint("https://auth.carrier.example/token".to_owned()),
    )
}

fn token(text: &str) -> Step {
    let body = format!(r#"{{"access_token":"{text}","token_type":"DPoP","expires_in":3600}}"#);
    Ok((200, Vec::new(), body))
}

fn ok() -> Step {
    Ok((200, Vec::new(), "{}".to_owned()))
}

/// An error in every form, with all its causes.
fn shown(error: &Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?} {} {}", error.code(), error.advice());
    let mut cause = error.source();
    while let Some(next) = cause {
        text += &format!(" {next} {next:?}");
        cause = next.source();
    }
    text
}

fn percent(text: &str) -> String {
    text.bytes().map(|octet| format!("%{octet:02X}")).collect()
}

/// Nothing of the secret may be there: no eight characters of it, nor its usual encodings.
fn assert_free_of(text: &str, secret: &str, what: &str) {
    let mut forms = vec![
        STANDARD.encode(secret),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        percent(secret),
        secret.replace('~', "%7E"),
    ];
    forms.extend((0..=secret.len() - 8).map(|at| secret[at..at + 8].to_owned()));
    for form in forms {
        assert!(!text.contains(&form), "{what}: {form} in {text}");
    }
}

fn header(value: &str) -> HeaderValue {
    value.parse().unwrap()
}

#[test]
fn rd_01_no_type_shows_its_secret() {
    let vectors = vectors();
    let vector = vector("RD-01");
    let secrets: Vec<_> = vector["input"]["secrets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s.as_str().unwrap())
        .collect();
    let jwk = vectors["keys"]["rfc7515_a3_p256"]["private_jwk"].to_string();
    assert!(jwk.contains(secrets[1]), "the private key is one of the secrets");
    let mut shows: Vec<(&str, String)> = Vec::new();

    // Keys.
    let material = || KeyMaterial::new(jwk.clone());
    let key = LocalKey::from_jwk(&material(), Backend::default()).unwrap();
    let damaged = KeyMaterial::new(jwk.replace("\"y\":\"x", "\"y\":\"a"));
    shows.push((
        "import",
        format!("{:?}", LocalKey::from_jwk(&damaged, Backend::default())),
    ));
    let truncated = KeyMaterial::new(&jwk.as_bytes()[..jwk.len() - 3]);
    shows.push((
        "import",
        format!("{:?}", LocalKey::from_jwk(&truncated, Backend::default())),
    ));
    let owner = Owner::Deployment(DeploymentId::default_deployment());
    let store = MemoryKeyStore::new();
    let kept = LocalKey::from_jwk(&material(), Backend::default()).unwrap();
    shows.push((
        "store",
        format!("{:?} {store:?}", store.import(&owner, Purpose::Proof, kept)),
    ));
    shows.push(("key", format!("{key:?} {:?}", key.public())));
    let id = KeyId::random().unwrap();
    let handle = KeyHandle::new(owner, id, Purpose::Proof, key.public().clone(), Arc::new(key));
    let binding = DpopBinding::new(handle.clone(), None).unwrap();
    shows.push(("binding", format!("{handle:?} {binding:?}")));

    for secret in &secrets {
        shows.push((
            "secret",
            format!("{:?} {:?}", ClientSecret::new(*secret), RefreshToken::new(*secret)),
        ));
        shows.push(("material", format!("{:?} {:?}", material(), KeyMaterial::new(*secret))));
        shows.push(("credential", format!("{:?}", Credential::new("client", *secret))));

        // A request and its answer, with the secret wherever one may stand.
        let mut headers = HeaderMap::new();
        headers.insert("authorization", header(&format!("DPoP {secret}")));
        let target = Target::parse(&format!("https://api.carrier.example/{secret}?key={secret}")).unwrap();
        let ath = shipbound::jose::ath(secret);
        let attempt = Attempt {
            role: Role::ResourceServer,
            method: &Method::GET,
            target: &target,
            ath: Some(&ath),
            now: Timestamp::UNIX_EPOCH,
            nonce: None,
        };
        shows.push(("attempt", format!("{attempt:?}")));
        let proof = binding.prove(&attempt).now_or_never().unwrap().unwrap().unwrap();
        shows.push(("proof", format!("{proof:?}")));
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let verifier = ProofVerifier::builder(
            clock,
            Arc::new(MemoryReplayLog::starting(Timestamp::UNIX_EPOCH).unwrap()),
        )
        .build()
        .unwrap();
        let received = Received::new(&Method::GET, target.as_str(), &headers);
        shows.push((
            "verifier",
            format!("{received:?} {:?} {verifier:?}", verifier.presented(&headers)),
        ));
        let body = Bytes::from((*secret).to_owned());
        let outgoing = Outgoing {
            method: Method::POST,
            target: target.clone(),
            headers,
            body: body.clone(),
        };
        shows.push((
            "outgoing",
            format!("{outgoing:?} {target:?} {:?}", Body::from(body.clone())),
        ));

        // A client that has the secret as its own, gets it as a token, and sees it come back.
        for auth in [ClientAuth::Basic, ClientAuth::Post] {
            let world = World::with(carrier().client_auth(auth), secret, MemoryKeyStore::new());
            let echo = |status, body: String| -> Step { Ok((status, vec![("x-echo", (*secret).to_owned())], body)) };
            let refusals = [
                echo(400, format!(r#"{{"error":"{secret}","error_description":"{secret}"}}"#)),
                echo(200, format!(r#"{{"access_token":["{secret}"]}}"#)),
                echo(200, format!(r#"{{"access_token":"t","token_type":"{secret}"}}"#)),
                echo(200, format!(r#"{{"access_token":"{secret} ","token_type":"DPoP"}}"#)),
                echo(500, (*secret).to_owned()),
            ];
            for refusal in refusals {
                let tenant = TenantId::new("acme").unwrap().into();
                world.client.forget(&tenant);
                let error = world.call(Method::GET, "/x", [refusal]).unwrap_err();
                shows.push(("token error", shown(&error)));
            }
            let tenant = world.client.tenant("acme").unwrap();
            world.client.forget(tenant.tenant());
            let path = format!("/{secret}");
            let echoed = [token(secret), echo(200, format!("\"{secret}\""))];
            let response = world.call(Method::POST, &path, echoed).unwrap();
            let misread = response.json::<u8>().unwrap_err();
            shows.push((
                "response",
                format!("{response:?} {:?} {}", response.report(), shown(&misread)),
            ));
            let challenge = format!(r#"DPoP error="{secret}", error_description="{secret}""#);
            let refusal: Step = Ok((401, vec![("www-authenticate", challenge)], (*secret).to_owned()));
            let error = world.call(Method::GET, &path, [refusal]).unwrap_err();
            assert!(error.response().is_some());
            shows.push((
                "refusal",
                format!("{} {:?} {:?}", shown(&error), error.response(), error.report()),
            ));
            let name = HeaderName::from_static("x-key");
            let request = tenant.post(&path).header(name, header(secret)).body(body.clone());
            shows.push((
                "request",
                format!("{request:?} {tenant:?} {:?} {:?}", world.client, world.parts),
            ));
            shows.push(("sent", format!("{:?}", world.sent())));
            shows.push(("records", world.records()));
        }
    }
    assert!(shows.len() > 60, "{}", shows.len());
    for (what, text) in shows {
        for secret in &secrets {
            assert_free_of(&text, secret, what);
        }
    }
}

fn listed<'a>(vector: &'a Value, name: &str) -> Vec<&'a str> {
    vector["expect"][name]
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap())
        .collect()
}

#[test]
fn rd_02_a_tracking_call_leaves_no_number_and_no_address_behind() {
    let vector = vector("RD-02");
    let url = vector["input"]["url"].as_str().unwrap();
    let method: Method = vector["input"]["method"].as_str().unwrap().parse().unwrap();
    let world = World::new(carrier());
    world.call(method, url, [token("t"), ok()]).unwrap();
    assert_eq!(world.sent()[1].target.as_str(), url, "the call itself is what it was");
    for foreign in listed(&vector, "must_not_contain") {
        assert!(!world.records().contains(foreign), "{foreign}");
    }

    // A profile that knows the route writes its template.
    let world = World::new(ups(Environment::Sandbox));
    world
        .call(Method::GET, "/track/v1/details/1Z999AA10123456784", [token("t"), ok()])
        .unwrap();
    let records = world.records();
    assert!(records.contains("/api/track/v1/details/{number}"));
    assert!(!records.contains("1Z999AA10123456784"));
}

#[test]
fn rd_03_a_record_keeps_a_keyed_digest() {
    let vector = vector("RD-03");
    let htu = vector["input"]["htu"].as_str().unwrap();
    let addresses = |world: &World| {
        let address = |kind: &EventKind| match kind {
            EventKind::Call(call) => Some(call.address.expect("nobody is erased").to_string()),
            _ => None,
        };
        world
            .events
            .events()
            .iter()
            .filter_map(|event| address(&event.kind))
            .collect::<Vec<_>>()
    };
    let (one, other) = (World::new(carrier()), World::new(carrier()));
    for world in [&one, &other] {
        world.call(Method::GET, htu, [token("t"), ok()]).unwrap();
        world.call(Method::GET, &format!("{htu}?again=1"), [ok()]).unwrap();
        for foreign in listed(&vector, "must_not_contain") {
            // No part of it that is long enough to be recognised, either.
            let records = world.records();
            assert!(
                !records.contains(foreign) && !records.contains(&foreign[..16]),
                "{foreign}"
            );
        }
    }
    let (one, other) = (addresses(&one), addresses(&other));
    assert_eq!(one.len(), 2);
    assert_eq!(one[0], one[1], "equal addresses can be matched");
    assert_ne!(one[0], other[0], "and not without the key");
}

#[test]
fn rd_04_no_error_shows_where_it_happened() {
    let vector = vector("RD-04");
    let url = vector["input"]["url"].as_str().unwrap();
    for kind in [
        TransportErrorKind::Timeout,
        TransportErrorKind::Resolve,
        TransportErrorKind::Tls,
        TransportErrorKind::ConnectionLost,
    ] {
        for stage in [Stage::NotSent, Stage::MaybeSent] {
            let world = World::new(carrier());
            let failed = || Err(TransportError::new(kind, stage));
            let error = world.call(Method::POST, url, [token("t"), failed()]).unwrap_err();
            assert_eq!(error.stage(), stage);
            let text = format!("{} {}", shown(&error), world.records());
            for foreign in listed(&vector, "must_not_contain") {
                assert!(!text.contains(foreign), "{foreign} in {text}");
            }
        }
    }
    // Nor does one from before anything was sent.
    let world = World::new(carrier());
    for bad in [
        format!("{url}\\"),
        url.replace("https", "http"),
        url.replace("api.", "evil."),
    ] {
        let error = world
            .client
            .tenant("acme")
            .unwrap()
            .get(&bad)
            .send()
            .now_or_never()
            .unwrap()
            .unwrap_err();
        for foreign in listed(&vector, "must_not_contain") {
            assert!(!shown(&error).contains(foreign), "{foreign}");
        }
    }
}

#[test]
fn rd_05_text_of_a_server_forges_no_line() {
    let vector = vector("RD-05");
    let text = &vector["input"]["error_description"];
    for (status, body) in [
        (
            401,
            serde_json::json!({ "error": "invalid_client", "error_description": text }),
        ),
        (401, serde_json::json!({ "error": text })),
        (
            400,
            serde_json::json!({ "error": format!("invalid_client{}", text.as_str().unwrap()) }),
        ),
        (200, serde_json::json!({ "error": text })),
        (200, serde_json::json!({ "access_token": text, "token_type": text })),
    ] {
        let world = World::new(carrier());
        let error = world
            .call(Method::GET, "/x", [Ok((status, Vec::new(), body.to_string()))])
            .unwrap_err();
        let one_line = format!("{error} {error:?} {:?}", world.events.events());
        for foreign in listed(&vector, "must_not_contain") {
            assert!(!one_line.contains(foreign), "{one_line:?}");
        }
        let records = world.records();
        assert!(
            !records.contains('\u{1b}') && !records.contains('\r') && !records.contains("forged"),
            "{records}"
        );
        assert!(!one_line.contains("forged"));
    }
}

#[test]
fn rd_06_the_proof_names_the_address_as_it_is() {
    let vector = vector("RD-06");
    let url = vector["input"]["url"].as_str().unwrap();
    let world = World::new(carrier());
    world.call(Method::GET, url, [token("t"), ok()]).unwrap();
    let sent = world.sent();
    let proof = sent[1].headers["dpop"].to_str().unwrap();
    let payload = URL_SAFE_NO_PAD.decode(proof.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(vector["expect"]["proof_htu"], claims["htu"]);
    assert!(sent[1].headers["dpop"].is_sensitive() && sent[1].headers["authorization"].is_sensitive());
}
