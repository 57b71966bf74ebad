//! The features are on: a client that does not refuse them inflates, and TLS logs.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is wrong"
)]

#[path = "../../support/bomb.rs"]
mod bomb;

use http::Method;
use shipbound::sandbox::{Canned, Sandbox};

#[tokio::test]
async fn a_client_with_the_defaults_of_this_build_inflates() {
    let sandbox = Sandbox::builder().tls(false).start().await.unwrap();
    sandbox.open_route(Method::GET, "/bomb", |_| {
        Canned::bytes(200, "application/json", bomb::gzip()).header("content-encoding", "gzip")
    });
    // It has no TLS of its own to set up.
    let tls = rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .build()
        .unwrap();
    let answer = client.get(format!("{}/bomb", sandbox.api())).send().await.unwrap();
    assert_eq!(answer.bytes().await.unwrap().len(), bomb::LENGTH);
    assert!(sandbox.requests()[0].header("accept-encoding").is_some());
}
