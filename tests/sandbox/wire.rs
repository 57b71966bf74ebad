//! HTTP versions, TLS, connections, limits.

use bytes::Bytes;
use http::{Method, Version};
use shipbound::sandbox::{Canned, Nonces, Sandbox};
use shipbound::target::Target;
use shipbound::transport::reqwest::ReqwestTransport;
use shipbound::transport::{Outgoing, Route, Transport};

use crate::caller::{Caller, Claims};

#[tokio::test]
async fn http2_http1_and_plain_http() {
    for (tls, http2, version) in [
        (true, true, Version::HTTP_2),
        (true, false, Version::HTTP_11),
        (false, true, Version::HTTP_11),
    ] {
        let sandbox = Sandbox::builder().tls(tls).http2(http2).start().await.unwrap();
        sandbox.route(Method::GET, "/x", Canned::empty(204));
        assert_eq!(sandbox.api().starts_with("https://"), tls);
        assert_eq!(sandbox.ca_pem().is_empty(), !tls);
        let caller = Caller::new(&sandbox, "acme").await;
        let token = caller.bound_token().await;
        let got = caller.good_call(&caller.api_url("/x"), &token).await;
        assert_eq!((got.status, got.version), (204, version));
        assert!(sandbox.requests().iter().all(|request| request.version() == version));
    }
}

#[tokio::test]
async fn connections_are_numbered_and_shared_by_callers_of_one_transport() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.open_route(Method::GET, "/x", |_| Canned::empty(204));
    let caller = Caller::new(&sandbox, "acme").await;
    let url = caller.api_url("/x");
    for _ in 0..3 {
        caller.send(Method::GET, &url, &[], "").await;
    }
    caller
        .try_send_on(Method::GET, &url, &[], "", &Route::new().fresh())
        .await
        .unwrap();
    let numbers: Vec<_> = sandbox.requests().iter().map(|request| request.connection()).collect();
    assert_eq!(numbers[0], numbers[1]);
    assert_eq!(numbers[0], numbers[2]);
    assert_ne!(numbers[0], numbers[3]);
}

#[tokio::test]
async fn one_origin_or_two() {
    let one = Sandbox::builder()
        .separate_origins(false)
        .nonces(Nonces::Required)
        .start()
        .await
        .unwrap();
    assert_eq!(one.issuer(), one.api());
    assert_eq!(one.loopbacks().len(), 1);
    let two = Sandbox::builder().start().await.unwrap();
    assert_ne!(two.issuer(), two.api());
    assert_eq!(two.loopbacks().len(), 2);
    let caller = Caller::new(&two, "acme").await;
    let misplaced = caller
        .ask(&caller.api_url("/token"), &[], "grant_type=client_credentials")
        .await;
    assert_eq!(misplaced.status, 401, "the API has no such token endpoint");

    // The nonces of both differ, though the origin is the same.
    let caller = Caller::new(&one, "acme").await;
    let url = caller.token_url();
    let proof = Claims::new("POST", &url).sign(&caller.key).await;
    let got = caller
        .ask(&url, &[("dpop", &proof)], "grant_type=client_credentials")
        .await;
    let nonce = got.header("dpop-nonce").unwrap();
    let proof = Claims::new("POST", &url).with("nonce", nonce).sign(&caller.key).await;
    let got = caller
        .ask(&url, &[("dpop", &proof)], "grant_type=client_credentials")
        .await;
    let token = got.json()["access_token"].as_str().unwrap().to_owned();
    let nonce = got.header("dpop-nonce").unwrap();
    one.route(Method::GET, "/x", Canned::empty(204));
    let url = caller.api_url("/x");
    let proof = Claims::new("GET", &url)
        .for_token(&token)
        .with("nonce", nonce)
        .sign(&caller.key)
        .await;
    assert_eq!(caller.call(&url, "DPoP", &token, Some(&proof)).await.status, 401);
}

#[tokio::test]
async fn bodies_end_at_16_mib() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.open_route(Method::POST, "/x", |request| {
        Canned::text(200, request.body().len().to_string())
    });
    let caller = Caller::new(&sandbox, "acme").await;
    let url = caller.api_url("/x");
    let limit = 16 * 1024 * 1024;
    let got = caller
        .try_send(Method::POST, &url, &[], Bytes::from(vec![b'a'; limit]))
        .await
        .unwrap();
    assert_eq!(got.body, limit.to_string());
    // The answer may come while the body is still being sent, which ends the sending.
    if let Ok(got) = caller
        .try_send(Method::POST, &url, &[], Bytes::from(vec![b'a'; limit + 1]))
        .await
    {
        assert_eq!(got.status, 413);
    }
    let last = sandbox.requests().pop().unwrap();
    assert_eq!((last.status(), last.body().len()), (Some(413), 0));
}

#[tokio::test]
async fn its_authority_must_be_trusted_and_its_address_allowed() {
    let sandbox = Sandbox::start().await.unwrap();
    let outgoing = || Outgoing {
        method: Method::GET,
        target: Target::parse_allowing(sandbox.api(), &sandbox.loopbacks()).unwrap(),
        headers: Default::default(),
        body: Bytes::new(),
    };
    let mut builder = ReqwestTransport::builder();
    for loopback in sandbox.loopbacks() {
        builder = builder.allow_loopback(loopback);
    }
    let untrusting = builder.build().unwrap();
    assert!(untrusting.send(outgoing(), &Route::new()).await.is_err());
    let strict = ReqwestTransport::builder()
        .only_roots_pem(sandbox.ca_pem())
        .build()
        .unwrap();
    assert!(strict.send(outgoing(), &Route::new()).await.is_err());
    assert!(sandbox.requests().is_empty());
    assert!(
        sandbox
            .transport()
            .unwrap()
            .send(outgoing(), &Route::new())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_stopped_sandbox_is_gone() {
    for drops in [true, false] {
        let sandbox = Sandbox::start().await.unwrap();
        sandbox.open_route(Method::GET, "/x", |_| Canned::empty(204));
        let caller = Caller::new(&sandbox, "acme").await;
        let url = caller.api_url("/x");
        assert_eq!(caller.send(Method::GET, &url, &[], "").await.status, 204);
        if drops {
            drop(sandbox);
            // The listener goes with its task, which ends when the runtime gets to it.
            while caller
                .try_send_on(Method::GET, &url, &[], "", &Route::new().fresh())
                .await
                .is_ok()
            {}
        } else {
            sandbox.shutdown().await;
            assert!(caller.try_send(Method::GET, &url, &[], "").await.is_err());
        }
    }
}

#[test]
fn outside_of_a_runtime_it_does_not_start() {
    let starting = std::pin::pin!(Sandbox::start());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let polled = std::future::Future::poll(starting, &mut context);
    let started = match polled {
        std::task::Poll::Ready(started) => started,
        std::task::Poll::Pending => panic!("it answers at once"),
    };
    assert_eq!(started.err(), Some(shipbound::sandbox::SandboxError::NoRuntime));
}
