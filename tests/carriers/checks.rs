//! What holds for every profile: the same for all.

use std::collections::BTreeMap;
use std::time::Duration;

use shipbound::CarrierClient;
use shipbound::clock::Monotonic;
use shipbound::error::ErrorKind;
use shipbound::exchange::fault::{CarrierFault, FaultKind};
use shipbound::journal::{CallRecord, EventKind};
use shipbound::sandbox::{Endpoint, Recorded};
use shipbound::token::TokenAt;
use shipbound::transport::Stage;
use shipbound::{Error, carriers};

use crate::data::{At, Fault, File, Headers, Throttled, TokenRequest};
use crate::profiles::{Known, Login};
use crate::scene::{Scene, on_wire};

/// Stands in a file for what is another one each time.
const ASSERTION: &str = "<assertion>";

/// The token request and the call, octet for octet; how long the token lives; what the journal calls the call.
pub(crate) async fn a_call_arrives_as_the_carrier_wants_it(known: &Known, file: &File) {
    let scene = Scene::new(known, file).await;
    let profile = scene.client.carrier();
    let has_tokens = matches!(profile.token_at(), TokenAt::Endpoint(_) | TokenAt::Issuer(_));
    assert_eq!(
        file.token.is_some(),
        has_tokens,
        "a file says how tokens are asked for where there are some"
    );
    let outcome = scene.call().await;
    if let Some(token) = &file.token {
        let requests = scene.tokens();
        assert_eq!(requests.len(), 1, "{outcome:?}");
        asked_for(known, &token.request, &requests[0]);
        assertion(known, &requests[0]);
        let tenant = scene.carrier.tenant().clone();
        let lease = scene.client.lease(&tenant).expect("the token is at hand");
        // The last moments are not used: 5 s, or a tenth. A second token ends both.
        let mut usable = token.life() - Duration::from_secs(5).min(token.life() / 10);
        if let Some(companion) = &file.companion {
            usable = usable.min(Duration::from_secs(companion.lifetime_s));
        }
        assert_eq!(lease.usable_until(), Monotonic::ORIGIN + usable);
    }
    assert_eq!(
        file.companion.is_some(),
        profile.second_token().is_some(),
        "a file has the second token that its profile has"
    );
    if let Some(companion) = &file.companion {
        let requests = scene.sandbox.requests_at(Endpoint::Api);
        asked_for(known, &companion.request, &requests[0]);
        let mut values = requests[1].headers().values();
        assert!(
            values.any(|value| value == companion.token.as_str()),
            "no header has the second token"
        );
    }
    let Some(call) = &file.call else {
        assert!(
            profile.known_routes().is_empty(),
            "a profile with routes has a call in its file"
        );
        return;
    };
    assert!(outcome.unwrap().fault().is_none());
    let arrived = scene.calls(call);
    let all: Vec<_> = scene.sandbox.requests().iter().map(on_wire).collect();
    assert_eq!(arrived.len(), 1, "{} among {all:?}", call.arrives.path);
    assert_eq!(
        scene.sandbox.api_requests(),
        1 + usize::from(file.companion.is_some()),
        "{all:?}"
    );
    let arrived = &arrived[0];
    headers(arrived, &call.arrives.headers, &call.arrives.absent_headers);
    for name in &call.arrives.present_headers {
        assert!(
            arrived.header(name).is_some_and(|value| !value.is_empty()),
            "{name} is missing"
        );
    }
    for header in profile.tracing_headers() {
        assert!(
            arrived.headers().contains_key(&header.name),
            "{} is missing",
            header.name
        );
    }
    if let Some(token) = &file.token {
        let mut values = arrived.headers().values().filter_map(|value| value.to_str().ok());
        assert!(
            values.any(|value| value.ends_with(&token.access_token)),
            "no header has the token"
        );
    }
    match &call.body {
        Some(body) => assert_eq!(arrived.json().as_ref(), Some(body)),
        None => assert!(arrived.body().is_empty()),
    }
    let record = last_call(&scene);
    assert_eq!((&*record.route, record.attempts), (call.route.as_str(), 1));
    let class = route(&scene, &record).map(|route| route.class().as_str());
    assert_eq!(class, Some(call.class.as_str()));
}

/// A token request arrives as the file says.
fn asked_for(known: &Known, request: &TokenRequest, arrived: &Recorded) {
    assert_eq!(
        (arrived.method().as_str(), on_wire(arrived)),
        (request.method.as_str(), request.path.clone())
    );
    headers(arrived, &request.headers, &request.absent_headers);
    match (&request.form, &request.json) {
        (None, Some(json)) => assert_eq!(arrived.json().as_ref(), Some(json)),
        (Some(form), None) => {
            let sent = form_urlencoded::parse(arrived.body()).into_owned();
            let sent: Vec<(String, String)> = sent.collect();
            let mut given: BTreeMap<String, String> = sent.iter().cloned().collect();
            assert_eq!(given.len(), sent.len(), "a parameter stands twice: {:?}", given.keys());
            for (name, _) in form.iter().filter(|(_, value)| *value == ASSERTION) {
                assert!(matches!(known.login, Login::Assertion { .. }), "{name}");
                assert!(given.get(name).is_some_and(|jwt| jwt.split('.').count() == 3), "{name}");
                given.insert(name.clone(), ASSERTION.to_owned());
            }
            assert_eq!(&given, form);
        }
        (None, None) => assert!(arrived.body().is_empty()),
        (Some(_), Some(_)) => panic!("a body is a form or JSON"),
    }
}

/// What an assertion says, where there is one.
fn assertion(known: &Known, arrived: &Recorded) {
    let claims = arrived.assertion();
    let Login::Assertion {
        audience,
        lifetime_s,
        certified,
    } = known.login
    else {
        assert!(claims.is_none());
        return;
    };
    let claims = claims.expect("an assertion");
    assert_eq!(claims.aud, Some(serde_json::json!(audience)));
    assert_eq!(claims.exp.unwrap() - claims.iat.unwrap(), lifetime_s);
    assert_eq!(claims.alg.as_deref(), Some("RS256"));
    assert_eq!(claims.x5c > 0, certified);
}

fn headers(arrived: &Recorded, wanted: &Headers, absent: &[String]) {
    for (name, value) in wanted {
        let mut given = arrived.headers().get_all(name.as_str()).iter();
        let first = given.next().unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(first, value.as_str(), "{name}");
        assert!(given.next().is_none(), "two {name}");
    }
    for name in absent {
        assert!(!arrived.headers().contains_key(name.as_str()), "{name} is there");
    }
}

/// The record of the last call.
fn last_call(scene: &Scene<'_>) -> CallRecord {
    let events = scene.events.events().into_iter().rev();
    let mut calls = events.filter_map(|event| match event.kind {
        EventKind::Call(record) => Some(record),
        _ => None,
    });
    calls.next().expect("a call in the journal")
}

/// The route that a record names.
fn route<'a>(scene: &'a Scene<'_>, record: &CallRecord) -> Option<&'a carriers::Route> {
    let routes = scene.client.carrier().known_routes().iter();
    let is_it = |route: &&carriers::Route| {
        route.template() == &*record.route && route.method().is_none_or(|method| *method == record.method)
    };
    routes.into_iter().find(is_it)
}

/// The profile's own test call goes where the file says, and shows a good credential.
pub(crate) async fn the_test_call_shows_a_good_credential(known: &Known, file: &File) {
    let scene = Scene::new(known, file).await;
    let has_call = scene.client.carrier().how_to_test().is_some();
    assert_eq!(
        file.test_call.is_some(),
        has_call,
        "a file has the test call that its profile has"
    );
    let tenant = scene.carrier.tenant().clone();
    let verification = scene.client.verify_credentials(&tenant).await;
    assert!(verification.works(), "{verification}: {verification:?}");
    let expected = if has_call { "works" } else { "token_given" };
    assert_eq!(verification.standing().as_str(), expected);
    if let Some(call) = &file.test_call {
        let last = scene.sandbox.requests().pop().unwrap();
        let today = scene.clock_text();
        assert_eq!(
            (last.method().as_str(), on_wire(&last)),
            (call.method.as_str(), call.path.replace("{today}", &today))
        );
        let body = String::from_utf8(last.body().to_vec()).unwrap();
        assert!(!body.contains("{today}"), "{body}");
    }
}

/// A refusal has one meaning, one answer to "again?", and costs as many requests as it should.
pub(crate) async fn a_fault_means_what_the_file_says(known: &Known, file: &File, fault: &Fault) {
    let scene = Scene::new(known, file).await;
    let sent = 1 + usize::from(fault.repeated);
    scene.next(fault.at, (0..sent).map(|_| fault.canned()));
    let outcome = scene.call().await;
    let found = found(&outcome).unwrap_or_else(|| panic!("no fault: {outcome:?}"));
    judge(fault, found);
    let tokens = scene.tokens().len();
    match fault.at {
        At::Token => {
            assert!(
                !fault.repeated,
                "a token request is not repeated for what it is answered"
            );
            let error = outcome.as_ref().unwrap_err();
            assert_eq!(error.stage(), Stage::NotSent, "the call itself was not sent");
            assert_eq!(
                (tokens, scene.sandbox.api_requests()),
                (1, 0),
                "{}: {outcome:?}",
                fault.name
            );
        }
        At::Api => {
            let call = file.call.as_ref().expect("a call");
            let wanted = if file.token.is_some() { sent } else { 0 };
            assert_eq!(
                (tokens, scene.calls(call).len()),
                (wanted, sent),
                "{}: {outcome:?}",
                fault.name
            );
            let record = last_call(&scene);
            assert_eq!(record.fault.map(FaultKind::as_str), Some(fault.kind.as_str()));
            // Nothing of what was said is left for the next call; a pause may be.
            assert!(scene.next_is_empty(), "{} answers were not fetched", fault.name);
        }
    }
    if fault.repeated {
        let scene = Scene::new(known, file).await;
        scene.next(fault.at, [fault.canned()]);
        let response = scene.call().await.unwrap();
        assert_eq!((response.report().renewals, response.report().attempts), (1, 2));
    }
}

fn found(outcome: &Result<shipbound::client::Response, Error>) -> Option<&CarrierFault> {
    match outcome {
        Ok(response) => response.fault(),
        Err(error) => error.fault(),
    }
}

fn judge(fault: &Fault, found: &CarrierFault) {
    let meanings: Vec<_> = found.may_mean().iter().map(|kind| kind.as_str()).collect();
    assert_eq!(found.kind().as_str(), fault.kind, "{}", fault.name);
    assert_eq!(meanings, fault.may_mean, "{}", fault.name);
    assert_eq!(found.code(), fault.code.as_deref(), "{}", fault.name);
    assert_eq!(found.is_retryable(), fault.retryable, "{}: again?", fault.name);
    let wait = found.retry_after().map(|wait| wait.as_secs());
    assert_eq!(wait, fault.retry_after_s, "{}: when?", fault.name);
}

/// Who is told to wait waits: nothing is sent before, and then it goes on.
pub(crate) async fn nothing_is_sent_before_the_carrier_wants_it(known: &Known, file: &File, throttled: &Throttled) {
    let scene = Scene::new(known, file).await;
    scene.next(throttled.at, [throttled.canned()]);
    let error = scene.call().await.expect_err("it is throttled");
    assert!(
        matches!(error.kind(), ErrorKind::RateLimited | ErrorKind::Blocked),
        "{error:?}"
    );
    let now = shipbound::clock::Clock::now(&*scene.clock);
    let told = error.retry_at().map(|at| at.seconds_since(now));
    assert_eq!(told, throttled.retry_after_s.map(|wait| i64::try_from(wait).unwrap()));
    let sent = scene.sandbox.requests().len();
    let Some(wait) = throttled.retry_after_s.map(Duration::from_secs) else {
        return;
    };
    let moment = Duration::from_micros(1);
    for step in [Duration::ZERO, wait / 2, wait - wait / 2 - moment] {
        scene.clock.advance(step);
        let early = scene.call().await.expect_err("it is early");
        assert_eq!(early.stage(), Stage::NotSent, "{early:?}");
        assert!(early.retry_at().is_some(), "{early:?}");
        assert_eq!(scene.sandbox.requests().len(), sent, "sent before the time");
    }
    scene.clock.advance(moment);
    let response = scene.call().await.unwrap();
    assert!(response.status().is_success());
}

/// Calls are known by their routes.
pub(crate) async fn routes_are_known(known: &Known, file: &File) {
    let scene = Scene::new(known, file).await;
    for wanted in &file.routes {
        let request = scene.at(&wanted.method, &wanted.path).allow_credential_route();
        let _answered = request.send().await;
        let record = last_call(&scene);
        assert_eq!(record.stage, Stage::Answered, "{} {}", wanted.method, wanted.path);
        assert_eq!(&*record.route, wanted.template, "{} {}", wanted.method, wanted.path);
        let route = route(&scene, &record).unwrap_or_else(|| panic!("{} is of no route", wanted.path));
        assert_eq!(
            (route.class().as_str(), route.is_personal()),
            (wanted.class.as_str(), wanted.personal),
            "{} {}",
            wanted.method,
            wanted.path
        );
    }
}

/// Where credentials are given out nobody comes by accident, whoever means it does.
pub(crate) async fn credential_routes_are_asked_for_by_name(known: &Known, file: &File) {
    let scene = Scene::new(known, file).await;
    let ready = scene.call().await;
    assert!(ready.is_ok() || file.call.is_none(), "{ready:?}");
    for path in &file.credential_routes {
        for method in ["GET", "POST"] {
            let before = scene.sandbox.requests().len();
            let error = scene.at(method, path).send().await.expect_err(path);
            assert_eq!(
                (error.code(), error.stage()),
                ("credential_route", Stage::NotSent),
                "{path}"
            );
            assert_eq!(scene.sandbox.requests().len(), before, "{path} arrived");

            let by_name = scene.at(method, path).allow_credential_route().send().await;
            if scene.client.carrier().is_endpoint(path) {
                // The issuer's endpoints are nobody's to call.
                assert_eq!(by_name.expect_err(path).code(), "credential_route", "{path}");
                assert_eq!(scene.sandbox.requests().len(), before, "{path} arrived");
                continue;
            }
            let last = scene.sandbox.requests().pop().unwrap();
            assert!(scene.sandbox.requests().len() > before, "{path} did not arrive");
            assert_eq!((last.method().as_str(), on_wire(&last)), (method, path.clone()));
        }
    }
}

/// Headers that carry a credential, or say whose it is, are not the caller's to set.
pub(crate) async fn locked_headers_are_refused(known: &Known, file: &File) {
    let scene = Scene::new(known, file).await;
    let ready = scene.call().await;
    assert!(ready.is_ok() || file.call.is_none(), "{ready:?}");
    let before = scene.sandbox.requests().len();
    let of_profile = scene.client.carrier().locked().map(|name| name.as_str().to_owned());
    let of_profile: Vec<String> = of_profile.collect();
    for name in file.locked_headers.iter().chain(&of_profile) {
        for written in [name.clone(), name.replace('-', "_")] {
            let header = http::HeaderName::from_bytes(written.as_bytes()).unwrap();
            let request = scene.request().header(header, http::HeaderValue::from_static("x"));
            let error = request.send().await.expect_err(&written);
            assert_eq!(
                (error.code(), error.stage()),
                ("header_refused", Stage::NotSent),
                "{written}"
            );
        }
    }
    assert_eq!(scene.sandbox.requests().len(), before);
    // A file names all that its profile has.
    for name in &of_profile {
        let listed = file
            .locked_headers
            .iter()
            .any(|listed| listed.eq_ignore_ascii_case(name));
        assert!(listed, "the file leaves {name} out");
    }
}

impl Scene<'_> {
    fn clock_text(&self) -> String {
        let now = shipbound::clock::Clock::now(&*self.clock).to_string();
        now[..10].to_owned()
    }
}
