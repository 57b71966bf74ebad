//! A client in an environment that is against it, and one that is told to talk to this machine: nothing ambient has a say.
//!
//! Variables cannot be set in a running test, so the test runs itself in a child process.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[path = "support/bomb.rs"]
mod bomb;
mod transport_support;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use shipbound::binding::dpop::Dpop;
use shipbound::carriers::{self, CarrierProfile};
use shipbound::credentials::{Credential, MemoryCredentials};
use shipbound::exchange::budget::Limits;
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::{CarrierId, Environment, TenantId};
use shipbound::sandbox::{Answer, Canned, Endpoint, SECRET_MARK, Sandbox};
use shipbound::token::TokenAt;
use shipbound::transport::reqwest::ReqwestTransport;
use shipbound::transport::{Route, Stage, Transport};
use shipbound::{Client, Error, Parts};
use transport_support::{Authority, Raw, failure, get, is, target};

const PATH: &str = "/rate/v1/rates/quotes";

/// Set for the child.
const CHILD: &str = "SHIPBOUND_TEST_CHILD";

#[expect(clippy::disallowed_methods, reason = "how the parent tells the child that it is one")]
fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

async fn client(sandbox: &Sandbox, limits: Limits) -> Client {
    let profile = sandbox.profile(carriers::fedex(Environment::Sandbox));
    let parts = Parts::builder()
        .keys(MemoryKeyStore::new())
        .credentials(sandbox.credentials(&profile, [&acme()]))
        .transport(sandbox.transport().unwrap())
        .build()
        .unwrap();
    Client::builder(profile, &parts)
        .binding(Dpop::es256())
        .limits(limits)
        .build()
        .unwrap()
}

async fn rate(client: &Client) -> Result<shipbound::client::Response, Error> {
    client.tenant("acme")?.post(PATH).body("{}").send().await
}

/// The child's part; does nothing when it is run by itself.
#[tokio::test]
async fn calls_in_the_hostile_environment() {
    if !is_child() {
        return;
    }
    for tls in [true, false] {
        let sandbox = Sandbox::builder().tls(tls).start().await.unwrap();
        let client = client(&sandbox, Limits::default()).await;
        assert_eq!(rate(&client).await.unwrap().status(), 200);
        assert_eq!(sandbox.requests().len(), 2);
    }
    // A client as applications build it. Its carrier's public name would be a proxy's to resolve.
    let store = MemoryCredentials::new();
    let profile = unreachable_carrier();
    store.put(
        acme(),
        profile.id(),
        Environment::Production,
        Credential::new("id", SECRET_MARK),
    );
    let parts = Parts::builder()
        .keys(MemoryKeyStore::new())
        .credentials(store)
        .build()
        .unwrap();
    let client = Client::builder(profile, &parts).binding(Dpop::es256()).build().unwrap();
    let error = client.tenant("acme").unwrap().get("/").send().await.unwrap_err();
    assert_eq!((error.code(), error.stage()), ("not_delivered", Stage::NotSent));
    println!("the child is done");
}

fn unreachable_carrier() -> CarrierProfile {
    let base = "https://api.carrier.invalid";
    let token = TokenAt::Endpoint(format!("{base}/token"));
    CarrierProfile::custom(CarrierId::new("nobody").unwrap(), Environment::Production, base, token)
}

/// The child's part that shows that the variables work on those who heed them.
#[tokio::test]
async fn others_in_the_hostile_environment() {
    if !is_child() {
        return;
    }
    let sandbox = Sandbox::start().await.unwrap();
    let mut roots = rustls::RootCertStore::empty();
    use rustls::pki_types::pem::PemObject;
    roots
        .add(rustls::pki_types::CertificateDer::from_pem_slice(sandbox.ca_pem().as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.key_log = Arc::new(rustls::KeyLogFile::new());
    let builder = || reqwest::Client::builder().tls_backend_preconfigured(tls.clone());
    let logged = builder().no_proxy().build().unwrap().get(sandbox.api()).send().await;
    assert_eq!(logged.unwrap().status(), 401);
    let plain = Sandbox::builder().tls(false).start().await.unwrap();
    let proxied = builder().build().unwrap().get(plain.api()).send().await;
    assert_eq!(proxied.unwrap().status(), 418);
    println!("the child is done");
}

#[tokio::test]
async fn variables_change_nothing() {
    if is_child() {
        return;
    }
    let directory = std::env::temp_dir().join(format!("shipbound-client-environment-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    // Roots that vouch for nothing that is called here, and a configuration of OpenSSL that names a missing module.
    let roots = directory.join("roots.pem");
    std::fs::write(&roots, Authority::new().pem()).unwrap();
    let openssl = directory.join("openssl.cnf");
    std::fs::write(
        &openssl,
        "openssl_conf = a\n[a]\nproviders = b\nengines = c\n[b]\nd = e\n[e]\nmodule = /nonexistent.so\nactivate = 1\n\
         [c]\nf = g\n[g]\ndynamic_path = /nonexistent.so\ninit = 1\n",
    )
    .unwrap();

    let proxy = Raw::bind().await;
    let proxy_url = format!("http://user:pw@{}", proxy.address);
    let proxied = proxy.answer_all(418);
    let child = |test: &str, key_log: &PathBuf| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture"]).stdin(Stdio::null());
        command
            .env(CHILD, "1")
            .env("SSLKEYLOGFILE", key_log)
            .env("OPENSSL_CONF", &openssl);
        for variable in ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"] {
            command.env(variable, &roots);
        }
        command.env("SSL_CERT_DIR", &directory);
        for variable in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command
                .env(variable, &proxy_url)
                .env(variable.to_lowercase(), &proxy_url);
        }
        for variable in ["NO_PROXY", "no_proxy", "REQUEST_METHOD"] {
            command.env_remove(variable);
        }
        command
    };

    let key_log = directory.join("ours.log");
    run(child("calls_in_the_hostile_environment", &key_log)).await;
    assert_eq!(proxied.load(Ordering::SeqCst), 0, "something went to the proxy");
    assert!(!key_log.exists(), "TLS secrets were logged");

    let key_log = directory.join("theirs.log");
    run(child("others_in_the_hostile_environment", &key_log)).await;
    assert_eq!(proxied.load(Ordering::SeqCst), 1);
    assert!(std::fs::read_to_string(&key_log).unwrap().contains("CLIENT_"));
    std::fs::remove_dir_all(&directory).unwrap();
}

async fn run(mut command: Command) {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success() && said.contains("the child is done"), "{said}");
}

/// However the crate was built: what lets a client talk to this machine is a value that nobody made here.
#[tokio::test]
async fn a_production_client_does_not_talk_to_this_machine() {
    let here = Raw::bind().await;
    let parts = || {
        let store = MemoryCredentials::new();
        let profile = carriers::fedex(Environment::Production);
        store.put(
            acme(),
            profile.id(),
            profile.environment(),
            Credential::new("id", SECRET_MARK),
        );
        Parts::builder()
            .keys(MemoryKeyStore::new())
            .credentials(store)
            .build()
            .unwrap()
    };
    let client = Client::builder(carriers::fedex(Environment::Production), &parts())
        .binding(Dpop::es256())
        .build()
        .unwrap();
    for url in ["http://{}/", "https://{}/", "http://{}/rate/v1/rates/quotes"] {
        for authority in [here.address.to_string(), format!("localhost:{}", here.address.port())] {
            let url = url.replace("{}", &authority);
            let error = client.tenant("acme").unwrap().get(&url).send().await.unwrap_err();
            assert_eq!(
                (error.code(), error.stage()),
                ("invalid_target_url", Stage::NotSent),
                "{url}"
            );
        }
    }
    // Nor can it be built with a base, token endpoint or issuer on it.
    let (local, public) = (
        format!("http://{}", here.address),
        "https://api.carrier.example".to_owned(),
    );
    for (base, token) in [
        (&local, TokenAt::Endpoint(format!("{public}/token"))),
        (&public, TokenAt::Endpoint(format!("{local}/token"))),
        (&public, TokenAt::Issuer(local.clone())),
    ] {
        let profile = CarrierProfile::custom(CarrierId::new("x").unwrap(), Environment::Production, base, token);
        let built = Client::builder(profile, &parts()).binding(Dpop::es256()).build();
        let error = built.unwrap_err();
        assert!(["invalid_target_url", "metadata"].contains(&error.code()), "{error:?}");
    }
    // A target that somebody else's exemption made is refused by the transport.
    let transport = ReqwestTransport::builder().build().unwrap();
    for scheme in ["http", "https"] {
        let outcome = transport
            .send(get(&target(scheme, here.address, "/")), &Route::new())
            .await;
        assert_eq!(failure(outcome), is("AddressRefused", "NotSent"));
    }
    assert!(here.untouched());
}

#[tokio::test]
async fn a_compressed_answer_is_handed_over_as_it_came_and_counted_so() {
    for http2 in [true, false] {
        let sandbox = Sandbox::builder().http2(http2).start().await.unwrap();
        let client = client(&sandbox, Limits::default().answer(8_000).token_answer(8_000)).await;
        let bomb = bomb::gzip();
        assert!((6_000..8_000).contains(&bomb.len()));
        for coding in ["gzip", "deflate", "br", "zstd", "gzip, gzip"] {
            let answer = Canned::bytes(200, "application/json", bomb.clone()).header("content-encoding", coding);
            sandbox.script(acme(), Endpoint::Api, [Answer::reply(answer)]);
            let answer = rate(&client).await.unwrap();
            assert!(
                answer.body() == &bomb,
                "{coding} was touched: {} octets",
                answer.body().len()
            );
            assert_eq!(answer.headers()["content-encoding"], coding);
            assert_eq!(answer.json::<serde_json::Value>().unwrap_err().code(), "not_json");
        }
        // Nobody asks for it either.
        let asked = |request: &shipbound::sandbox::Recorded| request.header("accept-encoding").is_some();
        assert!(!sandbox.requests().iter().any(asked));

        // One octet more than is allowed.
        let large = Canned::bytes(200, "application/json", vec![b' '; 8_001]).header("content-encoding", "gzip");
        sandbox.script(acme(), Endpoint::Api, [Answer::reply(large)]);
        assert_eq!(rate(&client).await.unwrap_err().code(), "answer_too_large");

        // A token in there is no token.
        client.forget(&acme().into());
        let answer = Canned::bytes(200, "application/json", bomb).header("content-encoding", "gzip");
        sandbox.script(acme(), Endpoint::Token, [Answer::reply(answer)]);
        assert_eq!(rate(&client).await.unwrap_err().code(), "token_answer");
    }
}
