//! Where an issuer's alias for mutual TLS leads inside: neither the certificate nor a credential is sent there.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod identity_support;
#[path = "support/scripted.rs"]
mod scripted;
mod transport_support;

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use shipbound::binding::mtls::Mtls;
use shipbound::carriers::CarrierProfile;
use shipbound::clock::{ManualClock, Timestamp};
use shipbound::credentials::{Credential, MemoryCredentials};
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::{CarrierId, Environment, TenantId};
use shipbound::token::TokenAt;
use shipbound::token::client_auth::ClientAuth;
use shipbound::transport::reqwest::ReqwestTransport;
use shipbound::transport::resolver::Lookup;
use shipbound::transport::{Stage, TransportErrorKind};
use shipbound::{Client, Error, ErrorKind, Parts};

use identity_support::Authority;
use scripted::{Answer, Lane, Scripted};

const ALIAS: &str = "https://mtls.carrier.example/token";

/// Every name leads inside, whoever allowed it.
#[derive(Debug)]
struct Inside {
    address: IpAddr,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Lookup for Inside {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.lock().unwrap().push(host.to_owned());
        Ok(vec![self.address])
    }
}

/// A client of an issuer on loopback whose metadata names the alias. Gives what became of a call, what the issuer saw, and which
/// names were looked up.
async fn call(alias: &str, allowed: bool, inside: &str) -> (Error, Vec<String>, Vec<String>) {
    let clock = Arc::new(ManualClock::at(Timestamp::from_unix_seconds(1_800_000_000)));
    let issuer = Scripted::start(&clock, "Bearer").await;
    let lookup = Arc::new(Inside {
        address: inside.parse().unwrap(),
        asked: Mutex::default(),
    });
    let transport = ReqwestTransport::builder()
        .allow_loopback(issuer.loopback())
        .lookup(lookup.clone())
        .build()
        .unwrap();
    let (carrier, tenant) = (CarrierId::new("carrier").unwrap(), TenantId::new("acme").unwrap());
    let credentials = MemoryCredentials::new();
    let credential = Credential::without_secret("sEcReTmArKeR");
    credentials.put(tenant.clone(), &carrier, Environment::Sandbox, credential);
    let parts = Parts::builder()
        .keys(MemoryKeyStore::new())
        .credentials(credentials)
        .clock(clock)
        .transport(transport)
        .build()
        .unwrap();
    let own = issuer.url("");
    let document = format!(
        r#"{{"issuer":"{own}","token_endpoint":"{own}/token","mtls_endpoint_aliases":{{"token_endpoint":"{alias}"}}}}"#
    );
    issuer.answer(Lane::Api, Answer::json(200, document));
    let mut profile = CarrierProfile::custom(carrier, Environment::Sandbox, issuer.url("/api"), TokenAt::Issuer(own))
        .client_auth(ClientAuth::Tls)
        .allow_loopback(issuer.loopback());
    if allowed {
        profile = profile.allow_origin("https://mtls.carrier.example");
    }
    // Certificates of rcgen are valid for as long as anybody cares.
    let client = Client::builder(profile, &parts).binding(Mtls::new(Authority::new().client()));
    let client = client.build().unwrap().for_tenant(tenant);
    let error = client.get("/rates").send().await.unwrap_err();
    let paths = issuer.seen().into_iter().map(|request| request.path).collect();
    let asked = lookup.asked.lock().unwrap().clone();
    (error, paths, asked)
}

#[tokio::test]
async fn an_allowed_alias_that_leads_inside_is_not_connected_to() {
    for inside in ["169.254.169.254", "127.0.0.1", "10.0.0.1", "::ffff:169.254.169.254"] {
        let (error, paths, asked) = call(ALIAS, true, inside).await;
        assert_eq!(error.stage(), Stage::NotSent, "{inside}");
        assert!(
            matches!(
                error.kind(),
                ErrorKind::NotDelivered(TransportErrorKind::AddressRefused)
            ),
            "{inside}: {error:?}"
        );
        assert_eq!(paths, ["/.well-known/oauth-authorization-server"], "{inside}");
        assert_eq!(asked, ["mtls.carrier.example"], "{inside}");
        assert!(!format!("{error} {error:?}").contains("sEcReTmArKeR"));
    }
}

#[tokio::test]
async fn an_alias_that_was_not_allowed_is_not_even_looked_up() {
    for alias in [
        ALIAS,
        "https://169.254.169.254/token",
        "https://127.0.0.1/token",
        "http://mtls.carrier.example/token",
    ] {
        let (error, paths, asked) = call(alias, false, "169.254.169.254").await;
        assert_eq!((error.code(), error.stage()), ("metadata", Stage::NotSent), "{alias}");
        assert_eq!(paths, ["/.well-known/oauth-authorization-server"], "{alias}");
        assert!(asked.is_empty(), "{alias}: {asked:?}");
    }
}
