//! Redirects, of an API and of those who carry the client's secret.

use http::Method;
use shipbound::CarrierClient;
use shipbound::transport::Stage;

use crate::grammar;
use crate::random::Random;
use crate::recorder::answer;
use crate::world::{World, plans};

const ROUNDS: usize = 60;

/// An answer that leads somewhere in each way that there is.
fn leads_to(status: u16, place: &str) -> String {
    let place: String = place
        .chars()
        .filter(|octet| octet.is_ascii_graphic() || *octet == ' ')
        .collect();
    let refresh = format!("0; url={place}");
    let link = format!("<{place}>; rel=\"canonical\"");
    let alternative = format!("h2=\"{}\"", place.rsplit('/').next().unwrap_or_default());
    let fields = [
        ("Location", place.as_str()),
        ("Content-Location", &place),
        ("Refresh", &refresh),
        ("Link", &link),
        ("Alt-Svc", &alternative),
    ];
    answer(status, &fields, "{}")
}

/// Mostly to a server outside that would take the request.
fn place(random: &mut Random, world: &World) -> String {
    match random.below(4) {
        0 => grammar::url(random, world),
        1 => grammar::path(random, world),
        2 => format!("{}/stolen", world.inside.origin()),
        _ => format!(
            "{}/stolen",
            random.one_of(&world.outside.each_ref().map(|one| one.origin()))
        ),
    }
}

#[tokio::test]
async fn whatever_a_server_redirects_to_nothing_is_sent_there() {
    for (number, plan) in plans().into_iter().enumerate() {
        let seed = 0x3ed1_0000 + u64::try_from(number).unwrap();
        let mut random = Random(seed);
        let world = World::new(plan).await;
        let tenant = world.tenant("acme").await;
        let ready = tenant.get("/ship").send().await;
        assert!(ready.is_ok(), "{}: {ready:?}", world.name);
        for round in 0..ROUNDS {
            let status = u16::try_from(300 + random.below(100)).unwrap();
            let place = place(&mut random, &world);
            let what = format!("{}, seed {seed:#x}, round {round}: {status} to {place:?}", world.name);
            let answer = leads_to(status, &place);
            world.inside.answers(move |_| answer.clone());
            let before = world.inside.count();
            let at_issuer = world.has_tokens && random.once_in(3);
            let outcome = match at_issuer {
                // A tenant without a token: the secret is on its way to the issuer.
                true => world.tenant(&format!("t{round}")).await.get("/ship").send().await,
                false => {
                    let method = random.one_of(&[Method::GET, Method::POST, Method::PUT, Method::DELETE]);
                    tenant.request(method, "/ship").body("{}").send().await
                }
            };
            match outcome {
                Ok(response) => assert!(status == 304 && !at_issuer, "{what}: {response:?}"),
                Err(error) => {
                    let stage = if at_issuer { Stage::NotSent } else { Stage::Answered };
                    assert_eq!(error.stage(), stage, "{what}: {error:?}");
                    assert!(
                        status == 304 || matches!(error.code(), "redirect" | "metadata"),
                        "{what}: {error:?}"
                    );
                }
            }
            let arrived = world.inside.since(before);
            // An issuer's metadata is looked for in two places.
            assert!((1..=2).contains(&arrived.len()), "{what}: {} requests", arrived.len());
            assert!(
                arrived.iter().all(|request| !request.target().contains("stolen")),
                "{what} was followed"
            );
            assert!(world.stays_inside(), "{what} was followed");
        }
        assert_eq!(world.client.carrier().further_origins().count(), 0);
    }
}
