//! Requests to a carrier that limits how often it may be asked, and one that blocks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use http::StatusCode;

use crate::binding::Role;
use crate::binding::bearer::Bearer;
use crate::carriers::{CarrierProfile, FaultKind};
use crate::client::{Client, ClientBuilder};
use crate::clock::Clock;
use crate::exchange::budget::Limits;
use crate::exchange::quirks::BodyCode;
use crate::journal::EventKind;
use crate::testing::Step;
use crate::throttle::{Block, Budget, Cause, CountedBy, Demand, Limit, Spent, Throttling};
use crate::transport::Stage;

use super::setup::{Setup, at_endpoint};

/// A budget that answers as it is told, and then lets everything through.
#[derive(Debug, Default)]
struct Told {
    answers: Mutex<VecDeque<Result<Duration, Spent>>>,
    looks: Mutex<VecDeque<Result<(), Spent>>>,
    asked: Mutex<Vec<(Role, usize, Duration)>>,
    blocks: Mutex<Vec<(Role, CountedBy, Duration)>>,
}

#[async_trait]
impl Budget for Told {
    async fn take(&self, demand: &Demand<'_>) -> Result<Duration, Spent> {
        self.asked
            .lock()
            .unwrap()
            .push((demand.role, demand.limits.len(), demand.patience));
        self.answers.lock().unwrap().pop_front().unwrap_or(Ok(Duration::ZERO))
    }

    async fn look(&self, _demand: &Demand<'_>) -> Result<(), Spent> {
        self.looks.lock().unwrap().pop_front().unwrap_or(Ok(()))
    }

    async fn blocked(&self, demand: &Demand<'_>, counted_by: CountedBy, lasts: Duration) {
        self.blocks.lock().unwrap().push((demand.role, counted_by, lasts));
    }
}

fn limit(requests: u32, seconds: u64) -> Limit {
    Limit::new(requests, Duration::from_secs(seconds), CountedBy::Address)
}

fn profile() -> CarrierProfile {
    let ten_minutes = Duration::from_secs(600);
    let throttling = Throttling::default()
        .token(limit(1, 5))
        .token(limit(10, 86_400))
        .api(limit(100, 10))
        .api(limit(1000, 86_400))
        .block(Block::new(
            Role::AuthorizationServer,
            StatusCode::FORBIDDEN,
            CountedBy::Address,
            ten_minutes,
        ))
        .block(
            Block::new(
                Role::ResourceServer,
                StatusCode::FORBIDDEN,
                CountedBy::Connection,
                ten_minutes,
            )
            .with_code(BodyCode::new("/error", "blocked")),
        )
        .pause(Duration::from_secs(9));
    at_endpoint().throttling(throttling)
}

fn scene() -> (Setup, Arc<Told>, Client) {
    scene_with(|builder| builder)
}

fn scene_with(choose: impl FnOnce(ClientBuilder) -> ClientBuilder) -> (Setup, Arc<Told>, Client) {
    let mut setup = Setup::new();
    let told = Arc::new(Told::default());
    setup.parts.budget = told.clone();
    let client = setup
        .build(profile(), |builder| choose(builder.binding(Bearer)))
        .unwrap();
    (setup, told, client)
}

fn token() -> Step {
    Step::json(200, r#"{"access_token":"t","token_type":"Bearer","expires_in":3600}"#)
}

fn done() -> Step {
    Step::json(200, "{}")
}

#[test]
fn each_request_takes_its_turn_within_the_limits_that_are_held() {
    let (setup, told, client) = scene();
    setup
        .send(&client, |t| t.get("/rates"), [token(), Step::Lost, done()])
        .unwrap();
    let turn = Limits::default().turn;
    // Long windows of the API are the carrier's to count; repeats count as well.
    let api = (Role::ResourceServer, 1, turn);
    assert_eq!(
        *told.asked.lock().unwrap(),
        [(Role::AuthorizationServer, 2, turn), api, api]
    );

    let (setup, told, client) = scene_with(|builder| builder.limits(Limits::default().turn(Duration::ZERO)));
    setup.send(&client, |t| t.get("/rates"), [token(), done()]).unwrap();
    assert!(
        told.asked
            .lock()
            .unwrap()
            .iter()
            .all(|(_, _, patience)| patience.is_zero())
    );
}

#[test]
fn a_renewal_ahead_of_need_does_not_stand_before_calls_without_a_token() {
    let (setup, told, client) = scene();
    setup.send(&client, |t| t.get("/rates"), [token(), done()]).unwrap();
    setup.clock.advance(Duration::from_secs(3_400));
    setup.send(&client, |t| t.get("/rates"), [token(), done()]).unwrap();
    let turn = Limits::default().turn;
    let asked = told.asked.lock().unwrap();
    let at_issuer = asked.iter().filter(|(role, ..)| *role == Role::AuthorizationServer);
    let patience: Vec<_> = at_issuer.map(|(_, _, patience)| *patience).collect();
    assert_eq!(patience, [turn, turn / 8]);
}

#[test]
fn a_request_waits_for_its_turn_and_looks_again_when_it_comes() {
    let (setup, told, client) = scene();
    told.answers.lock().unwrap().push_back(Ok(Duration::from_secs(3)));
    setup.script.add([token(), done()]);
    let of = client.for_tenant(super::setup::tenant());
    let mut call = Box::pin(of.get("/rates").send());
    assert!(call.as_mut().now_or_never().is_none());
    setup.clock.advance(Duration::from_millis(2_999));
    assert!(call.as_mut().now_or_never().is_none());
    assert!(setup.script.seen().is_empty());
    setup.clock.advance(Duration::from_millis(1));
    call.now_or_never().expect("its turn has come").unwrap();
    assert_eq!(setup.script.seen().len(), 2);

    // The address was blocked while it waited.
    let (setup, told, client) = scene();
    told.answers.lock().unwrap().push_back(Ok(Duration::from_secs(3)));
    let blocked = Spent {
        after: Duration::from_secs(600),
        cause: Cause::Blocked,
    };
    told.looks.lock().unwrap().push_back(Err(blocked));
    let of = client.for_tenant(super::setup::tenant());
    let mut call = Box::pin(of.get("/rates").send());
    assert!(call.as_mut().now_or_never().is_none());
    setup.clock.advance(Duration::from_secs(3));
    let error = call.now_or_never().unwrap().unwrap_err();
    assert_eq!((error.code(), error.stage()), ("blocked", Stage::NotSent));
    assert_eq!(error.retry_at(), Some(setup.clock.now() + Duration::from_secs(600)));
    assert!(setup.script.seen().is_empty());
}

#[test]
fn a_turn_that_comes_too_late_is_refused_and_nothing_is_sent() {
    for cause in [Cause::Shared, Cause::Tenant, Cause::Connection, Cause::Unavailable] {
        let (setup, told, client) = scene();
        let after = Duration::from_secs(30);
        told.answers.lock().unwrap().push_back(Err(Spent { after, cause }));
        let error = setup.send(&client, |t| t.get("/rates"), []).unwrap_err();
        assert_eq!((error.code(), error.stage()), ("over_budget", Stage::NotSent));
        assert_eq!(error.retry_at(), Some(setup.clock.now() + after));
        assert!(error.to_string().contains(&cause.to_string()), "{error}");
        assert!(setup.script.seen().is_empty());
    }
}

#[test]
fn a_block_is_told_to_whoever_keeps_the_budget_and_said_aloud() {
    let (setup, told, client) = scene();
    let error = setup
        .send(&client, |t| t.get("/rates"), [Step::json(403, r#"{"errors":[]}"#)])
        .unwrap_err();
    let ten_minutes = Duration::from_secs(600);
    assert_eq!((error.code(), error.stage()), ("blocked", Stage::NotSent));
    assert_eq!(error.retry_at(), Some(setup.clock.now() + ten_minutes));
    assert_eq!(error.fault().unwrap().retry_after(), Some(ten_minutes));
    let block = (Role::AuthorizationServer, CountedBy::Address, ten_minutes);
    assert_eq!(*told.blocks.lock().unwrap(), [block]);
    let events = setup.events.events();
    assert!(
        events
            .iter()
            .any(|event| matches!(event.kind, EventKind::Blocked { lasts, .. } if lasts == ten_minutes))
    );

    // Meanwhile the slot does not even ask for a turn, and says why and until when.
    setup.script.seen();
    let asked = told.asked.lock().unwrap().len();
    setup.clock.advance(Duration::from_secs(599));
    let error = setup.send(&client, |t| t.get("/rates"), []).unwrap_err();
    assert_eq!((error.code(), error.stage()), ("blocked", Stage::NotSent));
    assert_eq!(error.retry_at(), Some(setup.clock.now() + Duration::from_secs(1)));
    assert_eq!(
        (told.asked.lock().unwrap().len(), setup.script.seen().len()),
        (asked, 0)
    );
    setup.clock.advance(Duration::from_secs(2));
    setup.send(&client, |t| t.get("/rates"), [token(), done()]).unwrap();
}

#[test]
fn an_answer_is_a_block_only_where_the_profile_says_so() {
    let (setup, told, client) = scene();
    let plain = setup.send(
        &client,
        |t| t.get("/rates"),
        [token(), Step::json(403, r#"{"error":"other"}"#)],
    );
    assert_eq!(plain.unwrap().fault().unwrap().kind(), FaultKind::NotEntitled);
    assert!(told.blocks.lock().unwrap().is_empty());
    // What the carrier says of the time counts, if it is longer.
    let longer = Step::with(403, &[("retry-after", "700")], r#"{"error":"blocked"}"#);
    let error = setup.send(&client, |t| t.get("/rates"), [longer]).unwrap_err();
    assert_eq!((error.code(), error.stage()), ("blocked", Stage::Answered));
    let block = (Role::ResourceServer, CountedBy::Connection, Duration::from_secs(700));
    assert_eq!(*told.blocks.lock().unwrap(), [block]);
}

#[test]
fn a_429_that_names_no_time_closes_the_connection_for_as_long_as_the_profile_says() {
    let (setup, _, client) = scene();
    let error = setup
        .send(&client, |t| t.get("/rates"), [token(), Step::with(429, &[], "")])
        .unwrap_err();
    assert_eq!(error.retry_at(), Some(setup.clock.now() + Duration::from_secs(9)));
    setup.script.seen();
    setup.clock.advance(Duration::from_secs(8));
    let error = setup.send(&client, |t| t.get("/rates"), []).unwrap_err();
    assert_eq!((error.code(), error.stage()), ("rate_limited", Stage::NotSent));
    assert!(setup.script.seen().is_empty());
    setup.clock.advance(Duration::from_secs(1));
    setup.send(&client, |t| t.get("/rates"), [done()]).unwrap();
}

/// A budget that never answers one of its questions.
#[derive(Debug)]
struct Silent(&'static str);

#[async_trait]
impl Budget for Silent {
    async fn take(&self, _demand: &Demand<'_>) -> Result<Duration, Spent> {
        match self.0 {
            "take" => std::future::pending().await,
            "look" => Ok(Duration::from_secs(1)),
            _ => Ok(Duration::ZERO),
        }
    }

    async fn look(&self, _demand: &Demand<'_>) -> Result<(), Spent> {
        match self.0 {
            "look" => std::future::pending().await,
            _ => Ok(()),
        }
    }

    async fn blocked(&self, _demand: &Demand<'_>, _counted_by: CountedBy, _lasts: Duration) {
        if self.0 == "blocked" {
            std::future::pending::<()>().await;
        }
    }
}

#[test]
fn a_budget_that_does_not_answer_holds_no_call_beyond_its_time() {
    for question in ["take", "look", "blocked"] {
        let mut setup = Setup::new();
        setup.parts.budget = Arc::new(Silent(question));
        let client = setup.build(profile(), |builder| builder.binding(Bearer)).unwrap();
        setup.script.add([Step::json(403, "{}")]);
        let of = client.for_tenant(super::setup::tenant());
        let mut call = Box::pin(of.get("/rates").send());
        let ended = (0..15).find_map(|_| {
            setup.clock.advance(Duration::from_secs(1));
            call.as_mut().now_or_never()
        });
        let error = ended.expect("its time is over").unwrap_err();
        let expected = if question == "blocked" {
            "blocked"
        } else {
            "over_budget"
        };
        assert!([expected, "deadline"].contains(&error.code()), "{question}: {error:?}");
        assert_eq!(error.stage(), Stage::NotSent);
    }
}

#[test]
fn a_wait_counts_from_the_budgets_answer_on() {
    /// Answers when it is told to.
    #[derive(Debug)]
    struct Slow(Mutex<Option<tokio::sync::oneshot::Receiver<()>>>);

    #[async_trait]
    impl Budget for Slow {
        async fn take(&self, _demand: &Demand<'_>) -> Result<Duration, Spent> {
            let answer = self.0.lock().unwrap().take();
            match answer {
                Some(answer) => {
                    answer.await.unwrap();
                    Ok(Duration::from_secs(3))
                }
                None => Ok(Duration::ZERO),
            }
        }

        async fn look(&self, _demand: &Demand<'_>) -> Result<(), Spent> {
            Ok(())
        }

        async fn blocked(&self, _demand: &Demand<'_>, _counted_by: CountedBy, _lasts: Duration) {}
    }

    let mut setup = Setup::new();
    let (tell, told) = tokio::sync::oneshot::channel();
    setup.parts.budget = Arc::new(Slow(Mutex::new(Some(told))));
    let client = setup.build(profile(), |builder| builder.binding(Bearer)).unwrap();
    setup.script.add([token(), done()]);
    let of = client.for_tenant(super::setup::tenant());
    let mut call = Box::pin(of.get("/rates").send());
    assert!(call.as_mut().now_or_never().is_none());
    setup.clock.advance(Duration::from_secs(2));
    tell.send(()).unwrap();
    assert!(call.as_mut().now_or_never().is_none());
    setup.clock.advance(Duration::from_millis(2_999));
    assert!(
        call.as_mut().now_or_never().is_none(),
        "three seconds from the answer on"
    );
    setup.clock.advance(Duration::from_millis(1));
    call.now_or_never().unwrap().unwrap();
}
