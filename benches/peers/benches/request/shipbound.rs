//! This crate: calls of one tenant through `Client` and the transport that comes with it.

use std::future::Future;

use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use shipbound::binding::BindingStrategy;
use shipbound::carriers::CarrierProfile;
use shipbound::client::TenantClient;
use shipbound::credentials::{Credential, MemoryCredentials};
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::{CarrierId, Environment, TenantId};
use shipbound::target::danger::Loopback;
use shipbound::token::TokenAt;
use shipbound::transport::reqwest::{ReqwestTransport, TlsVersion};
use shipbound::{Client, Parts};

use crate::server::Server;
use crate::{BODY, Caller, PATH};

/// A client for one tenant of a carrier whose issuer and API are `server`.
pub(crate) struct Shipbound(TenantClient);

impl Shipbound {
    pub(crate) fn new(server: &Server, binding: impl BindingStrategy + 'static) -> Self {
        let here = Loopback::exact(&server.address().to_string()).expect("a loopback authority");
        let profile = CarrierProfile::custom(
            CarrierId::new("carrier").expect("an id"),
            Environment::Sandbox,
            server.origin(),
            TokenAt::Endpoint(format!("{}/token", server.origin())),
        );
        let profile = profile.allow_loopback(here.clone());
        let credentials = MemoryCredentials::new();
        let tenant = TenantId::new("acme").expect("an id");
        credentials.put(
            tenant.clone(),
            profile.id(),
            Environment::Sandbox,
            Credential::new("client", "secret"),
        );
        let transport = ReqwestTransport::builder()
            .only_roots_pem(server.certificate_pem())
            .min_tls(TlsVersion::Tls13)
            .allow_loopback(here);
        let parts = Parts::builder()
            .keys(MemoryKeyStore::new())
            .credentials(credentials)
            .transport(transport.build().expect("a transport"));
        let parts = parts.build().expect("all parts");
        let client = Client::builder(profile, &parts).binding(binding);
        Self(client.build().expect("a client").for_tenant(tenant))
    }
}

impl Caller for Shipbound {
    fn call(&self) -> impl Future<Output = Bytes> + Send {
        let request = self
            .0
            .post(PATH)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(Bytes::from_static(BODY));
        async { request.send().await.expect("an answer").body().clone() }
    }
}
