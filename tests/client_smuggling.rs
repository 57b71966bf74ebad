//! Requests that try to go elsewhere, to be somebody else's, or to be read in two ways: nothing of them arrives anywhere.
//!
//! Every case is given to a client that has a token already, so that only the refusal stands between it and the wire.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod transport_support;

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use shipbound::binding::dpop::Dpop;
use shipbound::carriers::{self, CarrierProfile};
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::{CarrierId, Environment, TenantId};
use shipbound::sandbox::{Answer, Canned, Endpoint, Sandbox};
use shipbound::target::danger::Loopback;
use shipbound::token::TokenAt;
use shipbound::transport::Stage;
use shipbound::{CarrierClient, Client, Error, Parts};
use transport_support::Raw;

const PATH: &str = "/rate/v1/rates/quotes";

/// A sandbox, a client that has a token there, and a server elsewhere that nobody should talk to.
struct Scene {
    sandbox: Sandbox,
    client: Client,
    elsewhere: Raw,
    before: usize,
}

fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

fn client(sandbox: &Sandbox, elsewhere: SocketAddr, profile: CarrierProfile) -> Client {
    // The transport would go elsewhere if it were told to: it is not what keeps the requests back.
    let transport = sandbox
        .transport_builder()
        .allow_loopback(Loopback::exact(&elsewhere.to_string()).unwrap())
        .build()
        .unwrap();
    let parts = Parts::builder()
        .keys(MemoryKeyStore::new())
        .credentials(sandbox.credentials(&profile, [&acme()]))
        .transport(transport)
        .build()
        .unwrap();
    Client::builder(profile, &parts).binding(Dpop::es256()).build().unwrap()
}

impl Scene {
    async fn new() -> Self {
        let sandbox = Sandbox::builder().http2(false).start().await.unwrap();
        let elsewhere = Raw::bind().await;
        let profile = sandbox
            .profile(carriers::fedex(Environment::Sandbox))
            .lock_header(HeaderName::from_static("x-merchant-id"))
            .lock_header(HeaderName::from_static("on-behalf-of"))
            .header(HeaderName::from_static("x-locale"), HeaderValue::from_static("en_US"))
            .allow_loopback(Loopback::exact(&elsewhere.address.to_string()).unwrap());
        let client = client(&sandbox, elsewhere.address, profile);
        let answer = client.tenant("acme").unwrap().post(PATH).body("{}").send().await;
        assert_eq!(answer.unwrap().status(), 200);
        let before = sandbox.requests().len();
        assert_eq!(before, 2);
        Self {
            sandbox,
            client,
            elsewhere,
            before,
        }
    }

    async fn send(&self, request: Request<Bytes>) -> Result<(), Error> {
        self.client.send(&acme().into(), request).await.map(drop)
    }

    /// That this was refused with one of these codes, and that nobody has heard of it.
    fn refused(&self, what: &str, outcome: Result<(), Error>, codes: &[&str]) {
        let error = outcome.expect_err(what);
        assert!(codes.contains(&error.code()), "{what}: {error:?}");
        assert_eq!(error.stage(), Stage::NotSent, "{what}");
        assert_eq!(self.sandbox.requests().len(), self.before, "{what} arrived");
        assert!(self.elsewhere.untouched(), "{what} went elsewhere");
    }
}

#[tokio::test]
async fn headers_that_the_caller_may_not_set() {
    let scene = Scene::new().await;
    let names = "
        authorization proxy-authorization proxy-authenticate www-authenticate cookie set-cookie dpop dpop-nonce
        authentication-info client-cert client-cert-chain
        host connection keep-alive proxy-connection te trailer transfer-encoding upgrade content-length http2-settings
        expect max-forwards
        forwarded via x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto x-forwarded-prefix
        x-forwarded-server x-forwarded-client-cert x-real-ip true-client-ip x-client-ip x-cluster-client-ip
        x-host x-original-host x-original-url x-rewrite-url front-end-https x-ssl-client-verify x-client-cert
        x-http-method x-http-method-override x-method-override x-original-method
        x-merchant-id on-behalf-of
        content_length transfer_encoding x_forwarded_for x-forwarded_for x_merchant_id x-merchant_id on_behalf_of on.behalf.of on~behalf~of
        cf-connecting-ip fastly-client-ip x-forwarded x-override-url x-envoy-original-path";
    for name in names.split_ascii_whitespace() {
        // Written as they come: names compare without case.
        for name in [name.to_owned(), name.to_ascii_uppercase()] {
            for value in ["", "0", "chunked", "Bearer abc", "authorization, dpop", "evil.example"] {
                let request = Request::post(PATH).header(&name, value);
                let outcome = scene.send(request.body(Bytes::from_static(b"{}")).unwrap()).await;
                scene.refused(&name, outcome, &["header_refused"]);

                let header = HeaderName::from_bytes(name.as_bytes()).unwrap();
                let tenant = scene.client.tenant("acme").unwrap();
                let request = tenant.post(PATH).header(header, HeaderValue::from_static(value));
                scene.refused(&name, request.send().await.map(drop), &["header_refused"]);
            }
        }
    }
    // Behind others, and twice.
    let request = Request::post(PATH)
        .header("accept", "application/json")
        .header("x-customer-transaction-id", "1")
        .header("X-Merchant-Id", "1")
        .header("X-Merchant-Id", "2");
    let outcome = scene.send(request.body(Bytes::new()).unwrap()).await;
    scene.refused("a second value", outcome, &["header_refused"]);
}

#[tokio::test]
async fn headers_that_the_caller_may_set_arrive() {
    let scene = Scene::new().await;
    let request = Request::post(PATH)
        .header("content-type", "application/json")
        .header("accept-language", "de")
        .header("x-locale", "de_DE")
        .header("x-customer-transaction-id", "a b")
        .header("idempotency-key", "1");
    scene
        .send(request.body(Bytes::from_static(b"{}")).unwrap())
        .await
        .unwrap();
    let log = scene.sandbox.requests();
    let arrived = &log[scene.before];
    for (name, value) in [
        ("content-type", "application/json"),
        ("accept-language", "de"),
        ("x-locale", "de_DE"),
        ("x-customer-transaction-id", "a b"),
        ("idempotency-key", "1"),
    ] {
        assert_eq!(arrived.header(name), Some(value));
    }
    assert_eq!(
        log[1].header("x-locale"),
        Some("en_US"),
        "the profile's own, where the caller set none"
    );
    // One of each of those that only the library sets.
    for name in ["authorization", "dpop", "host", "content-length"] {
        assert_eq!(arrived.headers().get_all(name).iter().count(), 1, "{name}");
    }
}

#[test]
fn line_breaks_do_not_become_headers() {
    for value in [
        "a\r\nx-merchant-id: 1",
        "a\nb",
        "a\rb",
        "a\0b",
        "\r\n",
        "a\r\n\r\nGET / HTTP/1.1",
    ] {
        assert!(HeaderValue::from_bytes(value.as_bytes()).is_err(), "{value:?}");
    }
    for name in ["x-a\r\nhost", "x a", "x-a:", "host ", "\thost", "x-a\0", ""] {
        assert!(HeaderName::from_bytes(name.as_bytes()).is_err(), "{name:?}");
    }
    for method in ["GET /\r\n", "GET HTTP/1.1", "G\0", ""] {
        assert!(Method::from_bytes(method.as_bytes()).is_err(), "{method:?}");
    }
}

#[tokio::test]
async fn methods_that_reflect_or_tunnel() {
    let scene = Scene::new().await;
    for method in ["TRACE", "CONNECT", "trace", "Connect", "TRACK", "DEBUG"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = Request::builder().method(&method).uri(PATH);
        let outcome = scene.send(request.body(Bytes::new()).unwrap()).await;
        scene.refused(method.as_str(), outcome, &["method_refused"]);
    }
}

/// Places outside of the profile's origins, `{here}` the API's authority and `{there}` the other server's.
const ELSEWHERE: &[&str] = &[
    "http://{there}/rate/v1/rates/quotes",
    "https://{there}/rate/v1/rates/quotes",
    "HTTP://{there}/",
    "https://{here}.evil.example/",
    "https://evil.example/rate/v1/rates/quotes",
    "https://evil.example:443/",
    "https://xn--evl-lma.example/",
    "http://{here}/rate/v1/rates/quotes",
    "http://evil.example/",
    "https://{there}@{here}/",
    "https://{here}@{there}/",
    "https://user:password@{here}/rate/v1/rates/quotes",
    "https://user@{here}/",
    "https://:@{here}/",
    "https://127.0.0.1:1/",
    "https://127.0.0.1/",
    "https://localhost/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0177.0.0.1/",
    "https://127.1/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://169.254.169.254/latest/meta-data/",
    "ws://{there}/",
    "ftp://{there}/",
];

/// The same as text that [`Uri`] does not take, and paths that are read in two ways.
const AMBIGUOUS: &[&str] = &[
    "//evil.example/rate/v1/rates/quotes",
    "//{there}/",
    "///{there}/",
    "/\\{there}/",
    "\\\\{there}\\",
    "\\/{there}/",
    "/rate\\..\\oauth\\token",
    "https:\\\\{there}\\",
    "https:/{there}/",
    "https:{there}/",
    "https:///{there}/",
    "/rate/%2e%2e/oauth/token",
    "/rate/%2E%2E/oauth/token",
    "/rate/.%2e/oauth/token",
    "/rate/../oauth/token",
    "/./oauth/token",
    "/rate/..;/oauth/token",
    "/rate/%2e%2e%2foauth/token",
    "/rate/..%5coauth/token",
    "/rate/..",
    "/..",
    "/rate/\t/quotes",
    "/rate\r\nhost: evil.example\r\n\r\n",
    "/rate\nx-merchant-id: 1",
    "/rate HTTP/1.1\r\nhost: evil.example",
    "/rate/ /quotes",
    "/rate/%",
    "/rate/%zz",
    "/rate/é",
    "/rate/\u{2025}/oauth",
    "/rate/\u{ff0f}oauth",
    "/rate/\0",
    "/rate/\u{7f}",
    "/rate?q='",
    "/rate?<script>",
    " /rate",
    "\t/rate",
    "rate",
    "",
    "?query",
    "#fragment",
    "*",
    "javascript:alert(1)",
    "data:text/plain,x",
    "file:///etc/passwd",
    " https://{there}/",
    "https://{there}\\@{here}/",
    "https://{here}\\.evil.example/",
    "https://{here}%2eevil.example/",
    "https://evil.example./",
    "https://evil%2eexample/",
    "https://éxample.org/",
    "https://{here}:443/",
    "https://127.0.0.1:99999/",
    "https://127.0.0.1:+443/",
    "https://127.0.0.1:0443/",
    "https://127.0.0.1:/",
    "https://exa\tmple.org/",
    "ht\ttps://{there}/",
];

impl Scene {
    fn filled(&self, text: &str) -> String {
        let here = self.sandbox.api().strip_prefix("https://").unwrap();
        let there = self.elsewhere.address.to_string();
        text.replace("{here}", here).replace("{there}", &there)
    }
}

#[tokio::test]
async fn urls_that_lead_elsewhere_or_can_be_read_in_two_ways() {
    let scene = Scene::new().await;
    let codes = ["invalid_target_url", "foreign_origin"];
    let tenant = scene.client.tenant("acme").unwrap();
    let mut as_uri = 0;
    for text in ELSEWHERE.iter().chain(AMBIGUOUS) {
        let text = scene.filled(text);
        for method in [Method::GET, Method::POST] {
            let outcome = tenant.request(method.clone(), &text).body("{}").send().await;
            scene.refused(&format!("{text:?}"), outcome.map(drop), &codes);
            let Ok(uri) = text.parse::<Uri>() else { continue };
            as_uri += 1;
            let request = Request::builder().method(method).uri(uri).body(Bytes::new()).unwrap();
            let outcome = scene.send(request).await;
            scene.refused(&format!("the URI {text:?}"), outcome, &codes);
        }
    }
    assert!(as_uri > ELSEWHERE.len(), "{as_uri} of them are URIs");
    // The other server is exempt like the sandbox and reachable: its origin alone is what keeps it out.
    let there = scene.filled("http://{there}/");
    let outcome = tenant.get(&there).send().await.map(drop);
    scene.refused("the other server", outcome, &["foreign_origin"]);
}

#[tokio::test]
async fn urls_of_the_api_itself_arrive_as_they_were_written() {
    let scene = Scene::new().await;
    let paths = [
        "/rate/v1/rates/quotes",
        "/a%2Fb/c",
        "/a;v=1/b",
        "/a//b?x=/../",
        "/%7Euser?y=%2e%2e&z=https://evil.example/",
    ];
    for (number, path) in paths.into_iter().enumerate() {
        let url = if number % 2 == 0 {
            path.to_owned()
        } else {
            format!("{}{path}", scene.sandbox.api())
        };
        let tenant = scene.client.tenant("acme").unwrap();
        tenant.get(&url).send().await.unwrap();
        let log = scene.sandbox.requests();
        let arrived = log.last().unwrap();
        let query = arrived.query().map(|query| format!("?{query}")).unwrap_or_default();
        assert_eq!(format!("{}{query}", arrived.path()), path);
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let scene = Scene::new().await;
    let there = scene.filled("http://{there}/stolen");
    let home = format!("{}/stolen", scene.sandbox.api());
    let tenant = scene.client.tenant("acme").unwrap();
    let mut sent = scene.before;
    for status in [300, 301, 302, 303, 305, 307, 308] {
        for location in [
            there.as_str(),
            home.as_str(),
            "/stolen",
            "//evil.example/stolen",
            "not a URL",
        ] {
            for method in [Method::GET, Method::POST] {
                let answer = Canned::empty(status)
                    .header("location", location)
                    .header("refresh", &format!("0; url={location}"));
                scene.sandbox.script(acme(), Endpoint::Api, [Answer::reply(answer)]);
                let error = tenant.request(method, PATH).body("{}").send().await.unwrap_err();
                assert_eq!((error.code(), error.stage()), ("redirect", Stage::Answered));
                assert_eq!(error.response().unwrap().status(), status);
                sent += 1;
                assert_eq!(
                    scene.sandbox.requests().len(),
                    sent,
                    "{status} to {location} was followed"
                );
                assert!(scene.elsewhere.untouched(), "{status} to {location} was followed");
            }
        }
    }
    assert!(
        scene
            .sandbox
            .requests()
            .iter()
            .all(|request| request.path() != "/stolen")
    );
}

/// Nor by those who carry the client's secret, or ask where to carry it.
#[tokio::test]
async fn redirects_of_the_issuer_are_not_followed() {
    for (endpoint, at_issuer) in [
        (Endpoint::Token, false),
        (Endpoint::Token, true),
        (Endpoint::Metadata, true),
    ] {
        for status in [301, 302, 303, 307, 308] {
            let sandbox = Sandbox::builder().http2(false).start().await.unwrap();
            let elsewhere = Raw::bind().await;
            let there = format!("http://{}/token", elsewhere.address);
            let profile = if at_issuer {
                let id = CarrierId::new("acme-freight").unwrap();
                let base = "https://api.carrier.example";
                CarrierProfile::custom(id, Environment::Sandbox, base, TokenAt::Issuer(base.into()))
            } else {
                carriers::fedex(Environment::Sandbox)
            };
            let profile = sandbox
                .profile(profile)
                .allow_origin(format!("http://{}", elsewhere.address));
            let exempt = Loopback::exact(&elsewhere.address.to_string()).unwrap();
            let client = client(&sandbox, elsewhere.address, profile.allow_loopback(exempt));
            let answer = Answer::reply(Canned::empty(status).header("location", &there));
            sandbox.always(shipbound::sandbox::Who::Anyone, endpoint, answer);

            let outcome = client.tenant("acme").unwrap().get("/").send().await;
            let error = outcome.unwrap_err();
            assert_eq!((error.code(), error.stage()), ("redirect", Stage::NotSent), "{error:?}");
            assert_eq!(sandbox.requests_at(endpoint).len(), 1);
            assert_eq!(sandbox.api_requests(), 0);
            assert!(elsewhere.untouched(), "{status} of {endpoint:?} was followed");
        }
    }
}
