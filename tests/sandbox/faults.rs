//! Broken connections, slow answers, clocks that are off.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use shipbound::clock::{Clock, ManualClock, SystemClock};
use shipbound::sandbox::{Answer, Canned, Endpoint, Gate, Pace, Sandbox, Who};
use shipbound::transport::{Route, Stage};

use crate::caller::{Caller, Claims};

const BODY: &str = "0123456789abcdef";

async fn served(http2: bool) -> (Sandbox, Caller, String) {
    let sandbox = Sandbox::builder().http2(http2).start().await.unwrap();
    sandbox.open_route(Method::GET, "/x", |_| Canned::text(200, BODY));
    let caller = Caller::new(&sandbox, "acme").await;
    let url = caller.api_url("/x");
    (sandbox, caller, url)
}

#[tokio::test]
async fn connections_break_where_they_are_told() {
    for http2 in [true, false] {
        let (sandbox, caller, url) = served(http2).await;
        let faults = [
            (Answer::drop_before_answer(), Stage::MaybeSent, None),
            (Answer::normal().lost(), Stage::MaybeSent, None),
            (Answer::normal().cut_mid_body(), Stage::Answered, Some(200)),
            (Answer::status(204).cut_mid_body(), Stage::Answered, Some(204)),
        ];
        for (answer, stage, status) in faults {
            sandbox.clear();
            let no_body_to_cut = status == Some(204);
            sandbox.script(Who::Anyone, Endpoint::Api, [answer.clone()]);
            let got = caller.try_send(Method::GET, &url, &[], "").await;
            if !no_body_to_cut {
                assert_eq!(
                    got.expect_err("a broken connection").stage(),
                    stage,
                    "{answer:?} http2 {http2}"
                );
            }
            let requests = sandbox.requests();
            assert_eq!(
                (requests.len(), requests[0].status()),
                (1, status),
                "{answer:?} http2 {http2}"
            );
            // The next one goes through, on another connection.
            assert_eq!(caller.send(Method::GET, &url, &[], "").await.status, 200);
            let requests = sandbox.requests();
            assert!(no_body_to_cut || requests[1].connection() > requests[0].connection());
        }
    }
}

#[tokio::test]
async fn what_is_lost_was_processed_and_what_is_dropped_was_not() {
    let sandbox = Sandbox::start().await.unwrap();
    let caller = Caller::new(&sandbox, "acme").await;
    let refresh = sandbox.refresh_token(&crate::caller::tenant("acme"));
    let body = format!("grant_type=refresh_token&refresh_token={}", refresh.expose());
    let basic = caller.basic();
    let headers = [
        ("authorization", basic.as_str()),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    sandbox.script(
        Who::Anyone,
        Endpoint::Token,
        [Answer::drop_before_answer(), Answer::normal().lost()],
    );
    let url = caller.token_url();
    for _ in 0..2 {
        assert!(
            caller
                .try_send(Method::POST, &url, &headers, body.clone())
                .await
                .is_err()
        );
    }
    let requests = sandbox.requests();
    assert!(!requests[0].accepted() && requests[1].accepted());
    assert_eq!(
        caller.ask(&url, &[], &body).await.error(),
        "invalid_grant",
        "spent by the lost answer"
    );
}

#[tokio::test]
async fn a_held_answer_waits_for_its_gate() {
    let (sandbox, caller, url) = served(true).await;
    let gate = Gate::new();
    sandbox.script(
        Who::Anyone,
        Endpoint::Api,
        [Answer::normal().held(&gate), Answer::normal().held(&gate)],
    );
    let both = async {
        tokio::join!(
            caller.try_send(Method::GET, &url, &[], ""),
            caller.try_send(Method::GET, &url, &[], "")
        )
    };
    let test = async {
        gate.reached(2).await;
        sandbox.arrived(2).await;
        assert!(sandbox.requests().iter().all(|request| request.status().is_none()));
        gate.pass(1);
        gate.open();
    };
    let ((one, two), ()) = tokio::join!(both, test);
    assert_eq!((one.unwrap().status, two.unwrap().status), (200, 200));
    assert_eq!(gate.waiting(), 0);
}

#[tokio::test]
async fn a_slow_body_comes_in_pieces_by_gate_or_by_clock() {
    for http2 in [true, false] {
        let clock = Arc::new(ManualClock::at(SystemClock::new().now()));
        let sandbox = Sandbox::builder()
            .http2(http2)
            .clock(clock.clone())
            .start()
            .await
            .unwrap();
        sandbox.open_route(Method::GET, "/x", |_| Canned::text(200, BODY));
        let caller = Caller::new(&sandbox, "acme").await;
        let url = caller.api_url("/x");

        let gate = Gate::new();
        sandbox.script(
            Who::Anyone,
            Endpoint::Api,
            [Answer::normal().slow(4, Pace::Gate(gate.clone()))],
        );
        let test = async {
            for _ in 0..4 {
                gate.reached(1).await;
                gate.pass(1);
            }
        };
        let (got, ()) = tokio::join!(caller.send(Method::GET, &url, &[], ""), test);
        assert_eq!(got.body, BODY);

        let second = Duration::from_secs(1);
        sandbox.script(
            Who::Anyone,
            Endpoint::Api,
            [Answer::normal().slow(8, Pace::Every(second))],
        );
        let sending = caller.send(Method::GET, &url, &[], "");
        let driving = async {
            let mut pieces = 0;
            while pieces < 2 {
                if clock.sleepers() == 1 {
                    clock.advance(second);
                    pieces += 1;
                }
                tokio::task::yield_now().await;
            }
        };
        let (got, ()) = tokio::join!(sending, driving);
        assert_eq!(got.body, BODY);
    }
}

#[tokio::test]
async fn a_caller_that_gives_up_leaves_nothing_behind() {
    let (sandbox, caller, url) = served(true).await;
    let gate = Gate::new();
    sandbox.script(Who::Anyone, Endpoint::Api, [Answer::normal().held(&gate)]);
    {
        let mut sending = Box::pin(caller.try_send(Method::GET, &url, &[], ""));
        tokio::select! {
            _ = &mut sending => panic!("held"),
            () = gate.reached(1) => {}
        }
    }
    while gate.waiting() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(caller.send(Method::GET, &url, &[], "").await.status, 200);
}

#[tokio::test]
async fn redirects_misdirection_and_dates() {
    let (sandbox, caller, url) = served(true).await;
    sandbox.script(
        Who::Anyone,
        Endpoint::Api,
        [
            Answer::redirect("https://evil.example/x"),
            Answer::misdirected(),
            Answer::normal().dated(-90),
            Answer::normal().header("dpop-nonce", "a").header("dpop-nonce", "b"),
        ],
    );
    let got = caller.send(Method::GET, &url, &[], "").await;
    assert_eq!(
        (got.status, got.header("location")),
        (307, Some("https://evil.example/x"))
    );
    assert_eq!(caller.send(Method::GET, &url, &[], "").await.status, 421);
    let fresh = Route::new().fresh();
    let dated = caller.try_send_on(Method::GET, &url, &[], "", &fresh).await.unwrap();
    let date = httpdate::parse_http_date(dated.header("date").unwrap()).unwrap();
    let off =
        date.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64 - SystemClock::new().now().unix_seconds();
    assert!((-92..=-89).contains(&off), "{off}");
    let requests = sandbox.requests();
    assert_eq!(requests[0].connection(), requests[1].connection());
    assert_ne!(requests[1].connection(), requests[2].connection());
    let doubled = caller.send(Method::GET, &url, &[], "").await;
    assert_eq!(doubled.headers.get_all("dpop-nonce").iter().count(), 2);
}

#[tokio::test]
async fn a_skewed_server_refuses_proofs_of_our_time_and_takes_those_of_its_own() {
    for skew in [-90, 90] {
        let sandbox = Sandbox::start().await.unwrap();
        sandbox.skew(skew);
        let caller = Caller::new(&sandbox, "acme").await;
        let url = caller.token_url();
        let grant = "grant_type=client_credentials";
        let ours = Claims::new("POST", &url);
        let got = caller
            .ask(&url, &[("dpop", &ours.sign(&caller.key).await)], grant)
            .await;
        assert_eq!((got.status, got.error().as_str()), (400, "invalid_dpop_proof"));
        let iat = ours.0["iat"].as_i64().unwrap() + skew;
        let theirs = Claims::new("POST", &url).with("iat", iat).sign(&caller.key).await;
        assert_eq!(caller.ask(&url, &[("dpop", &theirs)], grant).await.status, 200);
        sandbox.skew(0);
        let ours = Claims::new("POST", &url).sign(&caller.key).await;
        assert_eq!(
            caller.ask(&url, &[("dpop", &ours)], grant).await.status,
            200,
            "back from {skew}"
        );
    }
}
