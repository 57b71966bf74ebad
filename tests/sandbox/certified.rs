//! A client that shows a certificate where it is asked for one.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use shipbound::sandbox::{ClientCertificate, Sandbox};

use crate::caller::Got;

pub(crate) struct Certified {
    client: reqwest::Client,
}

impl Certified {
    /// Every request on a connection of its own, resumed where the server has given a ticket.
    pub(crate) fn new(sandbox: &Sandbox, certificate: Option<&ClientCertificate>) -> Self {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(sandbox.ca_pem().as_bytes()).unwrap();
        roots.add(authority).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match certificate {
            None => config.with_no_client_auth(),
            Some(own) => {
                let key = PrivateKeyDer::from_pem_slice(own.key_pem().as_bytes()).unwrap();
                let chain = vec![CertificateDer::from(own.der().to_vec())];
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(0)
            .http1_only()
            .build()
            .unwrap();
        Self { client }
    }

    pub(crate) async fn send(&self, method: Method, url: &str, headers: &[(&str, &str)], body: &str) -> Got {
        let mut request = self.client.request(method, url).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        Got {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            version: answer.version(),
            body: answer.bytes().await.unwrap(),
        }
    }

    /// A form to this URL.
    pub(crate) async fn ask(&self, url: &str, headers: &[(&str, &str)], form: &str) -> Got {
        let mut all = vec![("content-type", "application/x-www-form-urlencoded")];
        all.extend_from_slice(headers);
        self.send(Method::POST, url, &all, form).await
    }

    /// A call with a token.
    pub(crate) async fn call(&self, url: &str, scheme: &str, token: &str, proof: Option<&str>) -> Got {
        let authorization = format!("{scheme} {token}");
        let mut headers = vec![("authorization", authorization.as_str())];
        headers.extend(proof.map(|proof| ("dpop", proof)));
        self.send(Method::GET, url, &headers, "").await
    }
}

/// `Authorization: Basic` of this pair.
pub(crate) fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}
