//! The floor: reqwest with headers that were made before.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use shipbound_benches_peers::inputs::{Key, access_token};

use crate::server::Server;
use crate::{BODY, Caller, PATH};

/// A client that sends the same headers each time.
#[derive(Debug)]
pub(crate) struct Plain {
    client: reqwest::Client,
    url: reqwest::Url,
    headers: HeaderMap,
    limit: Option<Duration>,
    signed: Option<(Arc<Key>, Vec<u8>)>,
}

impl Plain {
    /// A static bearer token.
    pub(crate) fn bearer(server: &Server) -> Self {
        Self::new(server, [(AUTHORIZATION.as_str(), format!("Bearer {}", access_token()))])
    }

    /// The same with what a client that runs in earnest has: a `User-Agent`, and a limit of time for each request.
    pub(crate) fn limited(server: &Server) -> Self {
        let mut plain = Self::bearer(server);
        plain.limit = Some(Duration::from_secs(30));
        plain
            .headers
            .insert(USER_AGENT, HeaderValue::from_static("shipbound/0.1.0"));
        plain
    }

    /// A static token and a static header of a proof's size: what remains of DPoP when the signature is free.
    pub(crate) fn proof_sized(server: &Server, key: &Key) -> Self {
        let input = String::from_utf8(key.signing_input()).expect("base64url");
        let proof = format!("{input}.{}", "s".repeat(86));
        Self::new(
            server,
            [
                (AUTHORIZATION.as_str(), format!("DPoP {}", access_token())),
                ("dpop", proof),
            ],
        )
    }

    /// The same, with a signature of a proof's bytes before each request: what must be done, in the caches as requests leave them.
    pub(crate) fn signed(server: &Server, key: &Arc<Key>) -> Self {
        let mut plain = Self::proof_sized(server, key);
        plain.signed = Some((Arc::clone(key), key.signing_input()));
        plain
    }

    fn new<const N: usize>(server: &Server, headers: [(&'static str, String); N]) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(server.certificate().clone()).expect("a certificate");
        let tls = rustls::ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .http1_only();
        let client = client.tls_backend_preconfigured(tls).build().expect("a client");
        let headers = headers.into_iter().map(|(name, value)| {
            (
                http::HeaderName::from_static(name),
                HeaderValue::try_from(value).expect("visible ASCII"),
            )
        });
        let content_type = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self {
            client,
            url: format!("{}{PATH}", server.origin()).parse().expect("a URL"),
            headers: headers.chain([content_type]).collect(),
            limit: None,
            signed: None,
        }
    }
}

impl Caller for Plain {
    fn call(&self) -> impl Future<Output = Bytes> + Send {
        if let Some((key, input)) = &self.signed {
            std::hint::black_box(key.sign(input));
        }
        let request = self
            .client
            .post(self.url.clone())
            .headers(self.headers.clone())
            .body(Bytes::from_static(BODY));
        let request = match self.limit {
            Some(limit) => request.timeout(limit),
            None => request,
        };
        async {
            request
                .send()
                .await
                .expect("an answer")
                .bytes()
                .await
                .expect("its body")
        }
    }
}
