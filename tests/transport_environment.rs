//! A hostile environment: proxies, roots and key logs that variables name have no effect.
//!
//! Variables cannot be set in a running test, so the test runs itself in a child process.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod transport_support;

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use shipbound::transport::reqwest::ReqwestTransport;
use shipbound::transport::{Route, Transport};
use transport_support::{Authority, BOTH, Raw, Secure, allowing, exemption, failure, get, is, target};

/// Set for the child: the plain and the TLS server's address.
const CHILD: &str = "SHIPBOUND_TEST_SERVERS";

#[expect(clippy::disallowed_methods, reason = "how the parent tells the child what to do")]
fn servers() -> Option<(SocketAddr, SocketAddr)> {
    let text = std::env::var(CHILD).ok()?;
    let (plain, secure) = text.split_once(' ')?;
    Some((plain.parse().unwrap(), secure.parse().unwrap()))
}

/// The child's part; does nothing when it is run by itself.
#[tokio::test]
async fn in_the_hostile_environment() {
    let Some((plain, secure)) = servers() else {
        return;
    };
    let transport = allowing(plain).allow_loopback(exemption(secure)).build().unwrap();
    for route in [Route::new(), Route::new().fresh()] {
        let answer = transport.send(get(&target("http", plain, "/")), &route).await.unwrap();
        assert_eq!(answer.status(), 204);
        // The server's CA is the one that SSL_CERT_FILE names.
        let result = transport.send(get(&target("https", secure, "/")), &route).await;
        assert_eq!(failure(result), is("Tls", "NotSent"));
    }
    // A public name would be sent to the proxy if there were one; here it fails at its resolver.
    let name = shipbound::target::Target::parse("https://api.carrier.invalid/").unwrap();
    let result = ReqwestTransport::builder()
        .build()
        .unwrap()
        .send(get(&name), &Route::new())
        .await;
    assert_eq!(failure(result).1, "NotSent");
    println!("the child is done");
}

/// The child's part that shows that the variables work on a client that heeds them.
#[tokio::test]
async fn a_client_that_heeds_the_environment() {
    let Some((plain, _)) = servers() else {
        return;
    };
    let roots = rustls::RootCertStore::empty();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .build()
        .unwrap();
    let answer = client.get(format!("http://{plain}/")).send().await.unwrap();
    assert_eq!(answer.status(), 418);
    println!("the child is done");
}

#[tokio::test]
async fn variables_change_nothing() {
    if servers().is_some() {
        return;
    }
    let directory = std::env::temp_dir().join(format!("shipbound-environment-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let authority = Authority::new();
    let roots = directory.join("roots.pem");
    std::fs::write(&roots, authority.pem()).unwrap();
    let key_log = directory.join("keys.log");

    let plain = Raw::bind().await;
    let secure = Secure::start(authority.here().config(BOTH, &["h2"])).await;
    let proxy = Raw::bind().await;
    let proxy_address = proxy.address;
    let addresses = format!("{} {}", plain.address, secure.address);
    let child = |name: &str| {
        let proxy = format!("http://user:pw@{proxy_address}");
        let mut command = this_binary(name);
        command.env(CHILD, &addresses).env("SSLKEYLOGFILE", &key_log);
        for variable in ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"] {
            command.env(variable, &roots);
        }
        command.env("SSL_CERT_DIR", &directory);
        for variable in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env(variable, &proxy).env(variable.to_lowercase(), &proxy);
        }
        command
            .env_remove("NO_PROXY")
            .env_remove("no_proxy")
            .env_remove("REQUEST_METHOD");
        command
    };
    let proxied = proxy.answer_all(418);
    let arrived = plain.answer_all(204);

    let said = run(child("in_the_hostile_environment")).await;
    assert!(said.contains("the child is done"), "{said}");
    assert_eq!(arrived.load(Ordering::SeqCst), 2);
    assert_eq!(proxied.load(Ordering::SeqCst), 0, "something went to the proxy");
    assert!(!key_log.exists(), "TLS secrets were logged");

    let said = run(child("a_client_that_heeds_the_environment")).await;
    assert!(said.contains("the child is done"), "{said}");
    assert_eq!(proxied.load(Ordering::SeqCst), 1);
    std::fs::remove_dir_all(&directory).unwrap();
}

/// What the child printed, all of it.
async fn run(mut command: Command) -> String {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{said}");
    said
}

/// This test binary, told to run one test.
fn this_binary(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]).stdin(Stdio::null());
    command
}
