//! An issuer's metadata that names endpoints elsewhere, for everybody or for those with a client certificate.

use shipbound::CarrierClient;
use shipbound::token::client_auth::ClientAuth;
use shipbound::transport::Stage;

use crate::grammar;
use crate::marker::Scanner;
use crate::random::Random;
use crate::recorder::answer;
use crate::world::{Bound, METADATA, Plan, World, plans};

const ROUNDS: usize = 600;

/// The worlds whose issuer has metadata: with bearer tokens, and with bound ones.
fn of_issuers() -> impl Iterator<Item = Plan> {
    plans()
        .into_iter()
        .filter(|plan| matches!(plan.profile.token_at(), shipbound::token::TokenAt::Issuer(_)))
}

#[tokio::test]
async fn whatever_an_issuers_metadata_says_the_secret_stays() {
    assert!(of_issuers().count() >= 2);
    for (number, plan) in of_issuers().enumerate() {
        let seed = 0x0e7a_0000 + u64::try_from(number).unwrap();
        let mut random = Random(seed);
        let mut taken = 0;
        let mut world = World::new(plan).await;
        for round in 0..ROUNDS {
            world.forget_issuer();
            let before = world.inside.count();
            let inside = world.inside.origin();
            let endpoint = match random.below(4) {
                0 => format!("{inside}/token"),
                1 => format!(
                    "{}/token",
                    random.one_of(&world.outside.each_ref().map(|one| one.origin()))
                ),
                2 => format!("http://{}/token", grammar::authority(&mut random, &world)),
                _ => grammar::url(&mut random, &world),
            };
            let issuer = match random.below(4) {
                0 => format!("http://{}", grammar::authority(&mut random, &world)),
                _ => inside.clone(),
            };
            let what = format!(
                "{}, seed {seed:#x}, round {round}: {issuer:?} with {endpoint:?}",
                world.name
            );
            let document = serde_json::json!({
                "issuer": issuer,
                "token_endpoint": endpoint,
                "mtls_endpoint_aliases": {"token_endpoint": format!("{}/token", world.outside[0].origin())},
                "revocation_endpoint": format!("{}/revoke", world.outside[0].origin()),
                "jwks_uri": format!("{}/keys", world.outside[1].origin()),
            });
            let document = document.to_string();
            let token_type = if world.name.ends_with("(dpop)") {
                "DPoP"
            } else {
                "Bearer"
            };
            let token = format!(r#"{{"access_token":"t","token_type":"{token_type}","expires_in":3600}}"#);
            world.inside.answers(move |request| match request.path() {
                METADATA => answer(200, &[], &document),
                _ => answer(200, &[], &token),
            });
            let outcome = world.tenant(&format!("t{round}")).await.get("/ship").send().await;
            assert!(world.stays_inside(), "{what} went elsewhere");
            match outcome {
                Ok(_) => {
                    taken += 1;
                    assert_eq!(issuer, inside, "{what}");
                }
                Err(error) => {
                    assert_eq!(error.stage(), Stage::NotSent, "{what}: {error:?}");
                    // The question for metadata bears nothing.
                    for request in world.inside.since(before) {
                        assert_eq!(request.method(), "GET", "{what}: {}", request.target());
                        let text = String::from_utf8_lossy(request.octets()).into_owned();
                        assert!(Scanner::new().find(&text).is_empty(), "{what}: {}", request.target());
                    }
                }
            }
            assert!(world.client.carrier().further_origins().next().is_none());
        }
        assert!(
            taken > ROUNDS / 10,
            "{}: {taken} of {ROUNDS} were taken, too few to tell",
            world.name
        );
    }
}

/// Aliases are for those who show a certificate (RFC 8705 5): it is not shown elsewhere, and no credential is sent there.
#[tokio::test]
async fn whatever_an_alias_says_the_certificate_stays() {
    let seed = 0x0a11_a500;
    let mut random = Random(seed);
    let mut plan = plans()
        .into_iter()
        .find(|plan| plan.name == "a token of an issuer")
        .unwrap();
    plan.profile = plan.profile.client_auth(ClientAuth::Tls);
    plan.bound = Bound::Mtls;
    let mut world = World::new(plan).await;
    for round in 0..ROUNDS {
        world.forget_issuer();
        let before = world.inside.count();
        let alias = match random.below(3) {
            0 => format!(
                "{}/token",
                random.one_of(&world.outside.each_ref().map(|one| one.origin()))
            ),
            1 => format!("http://{}/token", grammar::authority(&mut random, &world)),
            _ => grammar::url(&mut random, &world),
        };
        let what = format!("seed {seed:#x}, round {round}: {alias:?}");
        let inside = world.inside.origin();
        let document = serde_json::json!({
            "issuer": inside,
            "token_endpoint": format!("{inside}/token"),
            "mtls_endpoint_aliases": {"token_endpoint": alias},
        });
        let document = document.to_string();
        world.inside.answers(move |request| match request.path() {
            METADATA => answer(200, &[], &document),
            _ => answer(
                200,
                &[],
                r#"{"access_token":"t","token_type":"Bearer","expires_in":3600}"#,
            ),
        });
        let outcome = world.tenant(&format!("t{round}")).await.get("/ship").send().await;
        assert!(world.stays_inside(), "{what} went elsewhere");
        if outcome.is_err() {
            let asked = world.inside.since(before);
            assert!(
                asked.iter().all(|request| request.method() == "GET"),
                "{what}: {outcome:?}"
            );
        }
    }
}
