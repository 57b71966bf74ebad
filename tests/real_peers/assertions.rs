//! `private_key_jwt`: each attempt has an assertion of its own, for the issuer.

use std::collections::HashSet;

use serde_json::Value;
use shipbound::ErrorKind;
use shipbound::binding::dpop::Dpop;
use shipbound::token::assertion::{AssertionProfile, Audience};
use shipbound::token::client_auth::ClientAuth;

use crate::seen::{self, SHIPMENTS, effort, jkt, ship, statuses};
use crate::support::peers::{self, AuthorizationServer, ResourceServer};
use crate::support::shipper::{Setup, TENANT, assertion_keys, by_key};

async fn setup(
    issuer: &AuthorizationServer,
    carrier: &ResourceServer,
    client_id: &str,
    profile: AssertionProfile,
) -> Setup {
    Setup::new(issuer, carrier)
        .known_as(TENANT, by_key(client_id))
        .auth(ClientAuth::PrivateKeyJwt(profile))
        .keys(assertion_keys(issuer).await)
}

/// What all entries have is a `jti` that no other has, and this audience, alone.
fn each_assertion_is_new(entries: &[Value], audience: &str) {
    let mut seen = HashSet::new();
    for entry in entries {
        assert_eq!(entry["assertion_aud"], audience, "{entry}");
        assert!(
            seen.insert(entry["assertion_jti"].as_str().unwrap()),
            "used twice: {entry}"
        );
    }
}

async fn every_attempt_has_its_own(fapi: &str) {
    for nonces in ["required", "optional", "off"] {
        let issuer = peers::authorization_server(&[("FAPI", fapi), ("DPOP_NONCE", nonces)]);
        let carrier = issuer.resource_server(&[("RS_NONCE", "required")]);
        for client_id in ["pkjwt", "pkjwt-dpop"] {
            let before = issuer.token_requests().len();
            let setup = setup(&issuer, &carrier, client_id, AssertionProfile::new()).await;
            let client = setup.client_with(Dpop::es256(), |builder| match fapi {
                "2.0" => builder.fapi2(),
                _ => builder,
            });
            let tenant = client.tenant(TENANT).unwrap();
            let (made, _) = ship(&tenant).await;
            assert_eq!(effort(&made), (2, 1));
            // Another token, with a nonce that is known by now where there are nonces.
            client.forget(tenant.tenant());
            ship(&tenant).await;

            let all = issuer.token_requests();
            let asked = &all[before..];
            let expected: &[u64] = match nonces {
                "required" => &[400, 200, 200],
                _ => &[200, 200],
            };
            assert_eq!(statuses(asked), expected, "{fapi} {nonces} {client_id}");
            assert!(asked.iter().all(|entry| entry["client_id"] == client_id));
            each_assertion_is_new(&all, issuer.issuer());
            seen::token_requests(asked, &jkt(&made), &format!("{}/token", issuer.issuer()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attempt_has_its_own_assertion() {
    every_attempt_has_its_own("").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attempt_has_its_own_assertion_with_fapi() {
    every_attempt_has_its_own("2.0").await;
}

/// Such an audience is for issuers that know no better one. FAPI 2.0 refuses it, and so does a client that is held to FAPI 2.0.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_endpoint_as_the_audience() {
    let endpoint = AssertionProfile::new().audience(Audience::TokenEndpoint);
    for fapi in ["", "2.0"] {
        let issuer = peers::authorization_server(&[("FAPI", fapi)]);
        let carrier = issuer.resource_server(&[]);
        let client = setup(&issuer, &carrier, "pkjwt", endpoint.clone())
            .await
            .client(Dpop::es256());
        let tenant = client.tenant(TENANT).unwrap();
        let outcome = tenant.post(SHIPMENTS).json(&[1]).send().await;
        let asked = issuer.token_requests();
        each_assertion_is_new(&asked, &format!("{}/token", issuer.issuer()));
        match fapi {
            "2.0" => {
                let error = outcome.unwrap_err();
                assert!(
                    matches!(error.kind(), ErrorKind::TokenRefused(code) if code.as_str() == "invalid_client"),
                    "{error}"
                );
                assert_eq!(statuses(&asked), [401]);
            }
            _ => {
                assert_eq!(outcome.unwrap().status(), 201);
                assert_eq!(statuses(&asked), [400, 200]);
            }
        }
    }
}
