//! Addresses.

use bytes::Bytes;
use http::{Method, Request, Uri};
use shipbound::client::{AllowCredentialRoute, TenantClient};
use shipbound::target::Target;
use shipbound::transport::Stage;
use shipbound::{CarrierClient, Error};

use crate::grammar;
use crate::marker::Scanner;
use crate::random::Random;
use crate::world::{World, client_secret, path_of, plans};

/// Addresses for each world.
const ROUNDS: usize = 600;

#[tokio::test]
async fn whatever_an_address_says_a_credential_stays_where_it_belongs() {
    let mut arrived_in_all = 0;
    for (number, plan) in plans().into_iter().enumerate() {
        let seed = 0x5eed_0000 + u64::try_from(number).unwrap();
        let mut random = Random(seed);
        let world = World::new(plan).await;
        let tenant = world.tenant("acme").await;
        // With a token at hand the refusal alone stands between an address and the wire.
        let ready = tenant.get("/ship").send().await;
        assert!(ready.is_ok(), "{}: {ready:?}", world.name);
        let mut arrived = 0;
        for round in 0..ROUNDS {
            let text = match random.below(8) {
                0 => grammar::harmless(&mut random),
                1..=4 => grammar::path(&mut random, &world),
                _ => grammar::url(&mut random, &world),
            };
            let what = format!("{}, seed {seed:#x}, round {round}: {text:?}", world.name);
            arrived += usize::from(goes_where_it_may(&world, &tenant, &mut random, &text, &what).await);
            assert!(world.stays_inside(), "{what} went elsewhere");
        }
        assert!(
            arrived > ROUNDS / 10,
            "{}: {arrived} of {ROUNDS} arrived, too few to tell",
            world.name
        );
        no_secret_at_the_api(&world);
        arrived_in_all += arrived;
    }
    println!("{arrived_in_all} of the addresses were taken");
}

/// Sends to this address, and judges what arrived, if anything did.
async fn goes_where_it_may(world: &World, tenant: &TenantClient, random: &mut Random, text: &str, what: &str) -> bool {
    let before = world.inside.count();
    let allowed = random.once_in(16);
    let method = random.one_of(&[Method::GET, Method::POST, Method::DELETE]);
    let outcome = send(tenant, random, method, text, allowed).await;
    let requests = world.inside.since(before);
    let stage = outcome.as_ref().map_or_else(Error::stage, |()| Stage::Answered);
    if stage == Stage::NotSent {
        assert!(requests.is_empty(), "{what} was refused and arrived");
        return false;
    }
    let one = requests
        .last()
        .unwrap_or_else(|| panic!("{what}: {outcome:?}, and nothing arrived"));
    // The second token's request comes first.
    assert_eq!(requests.len(), 1, "{what}");
    // As it was written, octet for octet, with the base before it.
    let written = text.split('#').next().unwrap_or_default();
    let expected = match written.starts_with('/') {
        true => format!("{}{written}", world.base_path),
        false => match path_of_url(written) {
            path if path.starts_with('/') => path.to_owned(),
            rest => format!("/{rest}"),
        },
    };
    assert_eq!(one.target(), expected, "{what}");
    let whole = format!("{}{expected}", world.inside.origin());
    let target =
        Target::parse_allowing(&whole, &[world.inside.loopback()]).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(one.target(), target.path_and_query(), "{what}");
    assert_eq!(one.values("host"), [world.inside.address.to_string()], "{what}");
    assert!(
        allowed || !world.is_guarded(one.path()),
        "{what} is a credential route and was sent there"
    );
    true
}

/// What follows the authority.
fn path_of_url(url: &str) -> &str {
    let authority = url.find("://").map_or(0, |colon| colon + 3);
    let end = url[authority..]
        .find(['/', '?'])
        .map_or(url.len(), |end| authority + end);
    &url[end..]
}

async fn send(
    tenant: &TenantClient,
    random: &mut Random,
    method: Method,
    text: &str,
    allowed: bool,
) -> Result<(), Error> {
    if random.once_in(4)
        && let Ok(uri) = text.parse::<Uri>()
        && uri == text
    {
        let mut request = Request::builder().method(method).uri(uri).body(Bytes::new()).unwrap();
        if allowed {
            request.extensions_mut().insert(AllowCredentialRoute);
        }
        return tenant.send(request).await.map(drop);
    }
    let mut request = tenant.request(method, text);
    if allowed {
        request = request.allow_credential_route();
    }
    request.send().await.map(drop)
}

/// Where there are tokens an API sees those, and no secret that they are asked for with.
fn no_secret_at_the_api(world: &World) {
    if !world.has_tokens {
        return;
    }
    let mut scanner = Scanner::new();
    scanner.text("the client's secret", &client_secret());
    let secret = client_secret();
    let token_path = world.guarded.last().expect("a token endpoint");
    let profile = world.client.carrier();
    assert!(path_of(profile.base()).trim_end_matches('/') == world.base_path);
    for request in world.inside.since(0) {
        let has_secret = request
            .octets()
            .windows(secret.len())
            .any(|part| part == secret.as_bytes());
        assert!(
            !has_secret || request.path() == token_path,
            "{}: at {}",
            world.name,
            request.target()
        );
    }
}
