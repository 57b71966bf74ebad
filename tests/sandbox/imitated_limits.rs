//! Limits of the carriers, by the sandbox's clock. FedEx's token endpoint is in `imitations`.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use shipbound::clock::{Clock, ManualClock, SystemClock};
use shipbound::owner::Environment;
use shipbound::sandbox::Sandbox;

use crate::caller::Got;
use crate::imitated::{acme, ask, bearer, secret, send, with_keys, with_tokens};

async fn start() -> (Sandbox, Arc<ManualClock>) {
    // Noon, so that no day ends before it is to.
    let now = SystemClock::new().now();
    let noon = now.offset_seconds(43_200 - now.unix_seconds().rem_euclid(86_400));
    let clock = Arc::new(ManualClock::at(noon));
    let sandbox = Sandbox::builder().clock(clock.clone()).start().await.unwrap();
    (sandbox, clock)
}

fn told(got: &Got) -> (u16, Option<&str>) {
    (got.status, got.header("retry-after"))
}

#[tokio::test]
async fn usps_takes_sixty_calls_an_hour_of_each_client_and_api_and_says_how_long_to_wait() {
    let (sandbox, clock) = start().await;
    let (caller, own) = acme(&sandbox, &with_tokens("usps", &[])).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "acme"),
        ("client_secret", secret(&own)),
    ];
    let token = ask(&caller, "/oauth2/v3/token", &[], &form).await.json();
    let shown = [bearer(token["access_token"].as_str().unwrap())];
    let city = async || {
        let path = "/addresses/v3/city-state?ZIPCode=30022";
        send(&caller, Method::GET, path, &shown, "").await
    };
    for _ in 0..60 {
        assert_eq!(city().await.status, 200);
    }
    clock.advance(Duration::from_secs(600));
    let refused = city().await;
    assert_eq!(told(&refused), (429, Some("3000")));
    assert_eq!(refused.json()["error"]["errors"][0]["title"], "quota_exceeded");
    let other = send(
        &caller,
        Method::POST,
        "/payments/v3/payment-authorization",
        &shown,
        "{}",
    )
    .await;
    assert_eq!(other.status, 400, "another API");
    clock.advance(Duration::from_secs(3000));
    assert_eq!(city().await.status, 200);
}

#[tokio::test]
async fn shipengine_takes_twenty_calls_a_minute_with_a_sandbox_key() {
    let (sandbox, clock) = start().await;
    for (environment, most) in [(Environment::Sandbox, 20), (Environment::Production, 200)] {
        let (caller, own) = acme(&sandbox, &with_keys("shipengine", environment)).await;
        let shown = [("api-key", secret(&own).to_owned())];
        let list = async || send(&caller, Method::GET, "/v1/carriers", &shown, "").await;
        for _ in 0..most {
            assert_eq!(list().await.status, 200);
        }
        let refused = list().await;
        assert_eq!(told(&refused), (429, Some("60")));
        assert_eq!(refused.json()["errors"][0]["error_code"], "rate_limit_exceeded");
        clock.advance(Duration::from_secs(60));
        assert_eq!(list().await.status, 200);
    }
}

#[tokio::test]
async fn easypost_lists_five_times_a_second() {
    let (sandbox, clock) = start().await;
    let (caller, own) = acme(&sandbox, &with_keys("easypost", Environment::Sandbox)).await;
    let shown = [bearer(secret(&own))];
    let list = async || send(&caller, Method::GET, "/v2/addresses?page_size=1", &shown, "").await;
    for _ in 0..5 {
        assert_eq!(list().await.status, 200);
    }
    let refused = list().await;
    assert_eq!(told(&refused), (429, None));
    assert_eq!(refused.json()["error"]["message"], "Too Many Requests");
    let other = send(&caller, Method::GET, "/v2/metadata/carriers", &shown, "").await;
    assert_eq!(other.status, 200, "not a list");
    clock.advance(Duration::from_secs(1));
    assert_eq!(list().await.status, 200);
}

#[tokio::test]
async fn dhl_tracking_takes_a_call_a_second_and_two_hundred_and_fifty_until_midnight() {
    let (sandbox, clock) = start().await;
    let (caller, own) = acme(&sandbox, &with_keys("dhl-tracking", Environment::Sandbox)).await;
    let shown = [("dhl-api-key", secret(&own).to_owned())];
    let track = async || send(&caller, Method::GET, "/track/shipments?trackingNumber=1", &shown, "").await;
    for _ in 0..250 {
        assert_eq!(track().await.status, 200);
        assert_eq!(told(&track().await), (429, None), "within the second");
        clock.advance(Duration::from_secs(1));
    }
    let refused = track().await;
    assert_eq!((refused.status, refused.json()["status"].as_u64()), (429, Some(429)));
    clock.advance(Duration::from_secs(43_200 - 251));
    assert_eq!(track().await.status, 429);
    clock.advance(Duration::from_secs(1));
    assert_eq!(track().await.status, 200, "midnight");
}

#[tokio::test]
async fn without_vendor_limits_nobody_counts() {
    let sandbox = Sandbox::builder().vendor_limits(false).start().await.unwrap();
    let (caller, own) = acme(&sandbox, &with_keys("dhl-tracking", Environment::Sandbox)).await;
    let shown = [("dhl-api-key", secret(&own).to_owned())];
    for _ in 0..3 {
        let got = send(&caller, Method::GET, "/track/shipments?trackingNumber=1", &shown, "").await;
        assert_eq!(got.status, 200);
    }
}
