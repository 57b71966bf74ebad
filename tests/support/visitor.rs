//! A client of the test peers that is not this crate: sends forms, shows a client certificate, follows redirects with cookies.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

/// Every request is a new connection; TLS sessions are resumed.
#[derive(Debug)]
pub struct Visitor {
    client: reqwest::Client,
}

impl Visitor {
    /// Trusts the certificates of this PEM file.
    pub fn new(ca_pem: &Path) -> Self {
        Self::build(ca_pem, None)
    }

    /// The same with a client certificate: PEM files of the certificate and of its key.
    pub fn with_certificate(ca_pem: &Path, certificate: &Path, key: &Path) -> Self {
        let chain = CertificateDer::pem_file_iter(certificate)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        Self::build(ca_pem, Some((chain, PrivateKeyDer::from_pem_file(key).unwrap())))
    }

    fn build(ca_pem: &Path, identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        let ca = fs::read(ca_pem).unwrap();
        for root in CertificateDer::pem_slice_iter(&ca) {
            roots.add(root.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let tls = match identity {
            Some((chain, key)) => tls.with_client_auth_cert(chain, key).unwrap(),
            None => tls.with_no_client_auth(),
        };
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .no_proxy()
            .build()
            .unwrap();
        Self { client }
    }

    /// Posts a form; gives status and JSON answer, null where the answer is none.
    pub async fn post(&self, url: &str, headers: &[(&str, &str)], form: &[(&str, &str)]) -> (u16, Value) {
        let mut request = self
            .client
            .post(url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(query(form));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    /// Opens an authorization URL as a browser does, and gives where `redirect_uri` would have been visited, with its query.
    pub async fn authorize(&self, endpoint: &str, parameters: &[(&str, &str)], redirect_uri: &str) -> String {
        self.visit(&format!("{endpoint}?{}", query(parameters)), redirect_uri)
            .await
    }

    /// As [`authorize`](Self::authorize), with a URL that has its query.
    pub async fn visit(&self, url: &str, redirect_uri: &str) -> String {
        let origin: String = url.split_inclusive('/').take(3).collect();
        let mut url = url.to_owned();
        let mut cookies = BTreeMap::new();
        for _ in 0..8 {
            let sent: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let request = self.client.get(&url).header("cookie", sent.join("; "));
            let answer = request.send().await.unwrap();
            for cookie in answer.headers().get_all("set-cookie") {
                let (name, rest) = cookie.to_str().unwrap().split_once('=').unwrap();
                let value = rest.split(';').next().unwrap();
                cookies.insert(name.to_owned(), value.to_owned());
            }
            let status = answer.status();
            let Some(location) = answer.headers().get("location") else {
                panic!("{status} instead of a redirect: {}", answer.text().await.unwrap());
            };
            let location = location.to_str().unwrap();
            if location.starts_with(redirect_uri) {
                return location.to_owned();
            }
            url = match location.strip_prefix('/') {
                Some(path) => format!("{origin}{path}"),
                None => location.to_owned(),
            };
        }
        panic!("the authorization server never comes back to {redirect_uri}");
    }
}

/// One parameter of a URL's query.
pub fn parameter(url: &str, name: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

fn query(parameters: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(parameters)
        .finish()
}
