//! Aliases that lead elsewhere: an issuer's metadata decides where a certificate is shown, within what was allowed.

use std::sync::Arc;

use serde_json::{Value, json};
use shipbound::binding::mtls::Mtls;
use shipbound::carriers::CarrierProfile;
use shipbound::sandbox::{Endpoint, Sandbox};
use shipbound::token::metadata::MetadataError;
use shipbound::transport::reqwest::ReqwestTransportBuilder;
use shipbound::transport::{Stage, TransportErrorKind};
use shipbound::{Client, Error, ErrorKind};

use crate::transport_support::lookups::Rebinding;
use crate::world::{Make, parts_over, profile, ship, start};

const HOST: &str = "mtls.carrier.example";

/// All of the issuer's aliases at this origin.
fn aliases(origin: &str) -> Value {
    let endpoint = |path: &str| format!("{origin}{path}");
    json!({"mtls_endpoint_aliases": {
        "token_endpoint": endpoint("/token"),
        "revocation_endpoint": endpoint("/revoke"),
        "introspection_endpoint": endpoint("/introspect"),
        "pushed_authorization_request_endpoint": endpoint("/par"),
    }})
}

/// A call whose token is to be asked for at these aliases. Nothing but metadata is asked for, and no certificate is shown.
async fn refused(
    origin: &str,
    change: impl FnOnce(CarrierProfile) -> CarrierProfile,
    transport: impl FnOnce(ReqwestTransportBuilder) -> ReqwestTransportBuilder,
) -> Error {
    let sandbox = start(Sandbox::builder().metadata_with(aliases(origin))).await;
    let identity = sandbox.client_certificate("acme").unwrap().identity().unwrap();
    let transport = transport(sandbox.transport_builder()).build().unwrap();
    let parts = parts_over(transport, &sandbox, &["acme"], Make::usual());
    let profile = change(profile(&sandbox));
    let client = Client::builder(profile, &parts)
        .binding(Mtls::new(identity))
        .build()
        .unwrap();
    let error = ship(&client, "acme").await.unwrap_err();
    assert_eq!(error.stage(), Stage::NotSent);
    assert!(
        sandbox
            .requests()
            .iter()
            .all(|request| request.endpoint() == Endpoint::Metadata)
    );
    assert!(
        sandbox
            .handshakes()
            .iter()
            .all(|handshake| handshake.certificate().is_none())
    );
    error
}

#[tokio::test]
async fn an_alias_on_an_origin_that_was_not_allowed() {
    for origin in ["https://mtls.elsewhere.example", "https://127.0.0.1:1"] {
        let error = refused(origin, |profile| profile, |transport| transport).await;
        assert!(
            matches!(
                error.kind(),
                ErrorKind::Metadata(MetadataError::ForeignEndpoint(_) | MetadataError::Endpoint(..))
            ),
            "{origin}: {error}"
        );
    }
}

/// The name is the carrier's own, and somebody has it lead inside.
#[tokio::test]
async fn an_allowed_alias_whose_name_leads_inside() {
    for inside in [
        "169.254.169.254",
        "10.0.0.1",
        "127.0.0.1",
        "fd00:ec2::254",
        "::ffff:169.254.169.254",
    ] {
        let lookup = Arc::new(Rebinding::default().name(HOST, &[&[inside]]));
        let asked = lookup.clone();
        let origin = format!("https://{HOST}");
        let error = refused(
            &origin,
            |profile| profile.allow_origin(origin.clone()),
            |transport| transport.lookup(lookup),
        )
        .await;
        assert!(
            matches!(
                error.kind(),
                ErrorKind::NotDelivered(TransportErrorKind::AddressRefused)
            ),
            "{inside}: {error}"
        );
        assert_eq!(asked.asked(), [HOST]);
    }
}
