//! Nonces over the life of a client: learned from every answer, replaced when they are rotated, one repeat each time.

use std::sync::Arc;
use std::time::Duration;

use shipbound::binding::dpop::Dpop;
use shipbound::clock::{Clock, ManualClock, SystemClock};

use crate::seen::{self, effort, jkt, ship, statuses};
use crate::support::peers;
use crate::support::shipper::{Setup, TENANT};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_at_the_api_costs_one_repeat() {
    let issuer = peers::authorization_server(&[("DPOP_NONCE", "off")]);
    for engine in ["oauth4webapi", "auth0"] {
        let mut carrier = issuer.resource_server(&[("RS_NONCE", "required"), ("RS_ENGINE", engine)]);
        let client = Setup::new(&issuer, &carrier).client(Dpop::es256());
        let tenant = client.tenant(TENANT).unwrap();
        let (_, path) = ship(&tenant).await;
        assert_eq!(effort(&ship(&tenant).await.0), (1, 0));

        carrier.rotate_nonces();
        let before = carrier.log().len();
        assert_eq!(effort(&ship(&tenant).await.0), (2, 1));
        for _ in 0..3 {
            assert_eq!(effort(&ship(&tenant).await.0), (1, 0));
            assert_eq!(effort(&tenant.get(&path).send().await.unwrap()), (1, 0));
        }
        let log = carrier.log();
        assert_eq!(statuses(&log[before..before + 2]), [401, 201]);
        assert_eq!(log[before]["error"], "use_dpop_nonce");
        seen::nonces_follow(&log[before..]);
        seen::each_jti_is_new(&log);
    }
    // All of it with one token for each client.
    assert_eq!(issuer.token_requests().len(), 2);
}

/// RFC 9449 8.2: a nonce for one request only. It stands in the 2xx before, so only the first call is sent twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_nonce_for_every_request() {
    const CALLS: usize = 12;
    let issuer = peers::authorization_server(&[]);
    for engine in ["oauth4webapi", "auth0"] {
        let carrier = issuer.resource_server(&[("RS_NONCE", "every"), ("RS_ENGINE", engine)]);
        let client = Setup::new(&issuer, &carrier).client(Dpop::es256());
        let tenant = client.tenant(TENANT).unwrap();
        let (first, path) = ship(&tenant).await;
        assert_eq!(effort(&first), (2, 1));
        for call in 1..CALLS {
            let answer = if call % 3 == 0 {
                tenant.get(&path).send().await.unwrap()
            } else {
                ship(&tenant).await.0
            };
            assert!(answer.status().is_success());
            assert_eq!(effort(&answer), (1, 0), "call {call}");
        }
        let log = carrier.log();
        assert_eq!(log.len(), CALLS + 1);
        assert!(log[1..].iter().all(|entry| entry["error"].is_null()));
        seen::bound_requests(&log, &jkt(&first), carrier.base());
        seen::nonces_follow(&log);
    }
}

/// The same, many at once: each request may be repeated once, and none of them is refused twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_nonce_for_every_request_of_many_at_once() {
    const CALLS: usize = 40;
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[("RS_NONCE", "every")]);
    let client = Setup::new(&issuer, &carrier).client(Dpop::es256());
    for _ in 0..2 {
        let calls = (0..CALLS).map(|_| async {
            let tenant = client.tenant(TENANT).unwrap();
            ship(&tenant).await.0
        });
        for answer in futures_util::future::join_all(calls).await {
            assert!(answer.status().is_success());
            assert!(effort(&answer).0 <= 2);
        }
    }
    let refused = carrier
        .log()
        .iter()
        .filter(|entry| entry["error"] == "use_dpop_nonce")
        .count();
    assert!(refused > 1, "the calls were not made at once");
}

/// The nonce that the issuer gave for one token request serves the next, as long as the issuer takes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonces_of_the_issuer_outlive_the_token() {
    let mut issuer = peers::authorization_server(&[("TOKEN_TTL", "60")]);
    let carrier = issuer.resource_server(&[]);
    let clock = Arc::new(ManualClock::at(SystemClock::new().now()));
    let client = Setup::new(&issuer, &carrier).clock(clock.clone()).client(Dpop::es256());
    let tenant = client.tenant(TENANT).unwrap();
    let (first, _) = ship(&tenant).await;
    assert_eq!(statuses(&issuer.token_requests()), [400, 200]);

    // Past the time at which a token of a minute is renewed.
    clock.advance(Duration::from_secs(53));
    assert_eq!(effort(&ship(&tenant).await.0), (1, 0));
    assert_eq!(statuses(&issuer.token_requests()), [400, 200, 200]);

    issuer.rotate_nonces();
    clock.advance(Duration::from_secs(53));
    let (last, _) = ship(&tenant).await;
    let asked = issuer.token_requests();
    assert_eq!(statuses(&asked), [400, 200, 200, 400, 200]);
    assert_eq!(asked[3]["error"], "use_dpop_nonce");
    assert_eq!(asked[4]["nonce"], asked[3]["next_nonce"]);
    // Neither repeat at the issuer is one of the call, and the key stayed.
    assert_eq!(effort(&last), (1, 0));
    assert_eq!(jkt(&last), jkt(&first));
    seen::token_requests(&asked, &jkt(&first), &format!("{}/token", issuer.issuer()));
    assert!(carrier.log().iter().all(|entry| entry["nonce"].is_null()));
}

/// Nonces of the two servers never mix (RFC 9449 9).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonces_stay_with_the_server_that_gave_them() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[("RS_NONCE", "required")]);
    let other = issuer.resource_server(&[("RS_NONCE", "required")]);
    let client = Setup::new(&issuer, &carrier)
        .also(&issuer, &other)
        .client(Dpop::es256());
    let tenant = client.tenant(TENANT).unwrap();
    ship(&tenant).await;
    let elsewhere = format!("{}/ship/v1/shipments/S1", other.base());
    let missing = tenant.get(&elsewhere).send().await.unwrap();
    assert_eq!(missing.status(), 404);
    assert_eq!(effort(&missing), (2, 1));
    for log in [issuer.token_requests(), carrier.log(), other.log()] {
        assert!(log[0]["nonce"].is_null(), "{}", log[0]);
        assert_eq!(log[1]["nonce"], log[0]["next_nonce"]);
    }
}
