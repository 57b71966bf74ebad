//! Header fields of callers.

use http::{HeaderName, HeaderValue};
use shipbound::CarrierClient;
use shipbound::transport::Stage;

use crate::grammar;
use crate::random::Random;
use crate::world::{World, plans};

const ROUNDS: usize = 250;

/// Stands in every value that a caller chooses.
const CALLERS: &str = "caller-chose-this";

/// What decides where a request goes, how it is framed, who sends it or what it does, as names stand on the wire. Whatever
/// begins with one that ends with a hyphen belongs to it.
const NOT_THE_CALLERS: &[&str] = &[
    "authorization",
    "client-cert",
    "connection",
    "content-length",
    "cookie",
    "dpop",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "proxy-",
    "te",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "via",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded-",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-",
    "x-real-ip",
    "x-rewrite-url",
    "x-ssl-",
];

/// Endings of names that belong to a family.
const ENDINGS: &[&str] = &[
    "for",
    "host",
    "url",
    "authorization",
    "connection",
    "method",
    "client-verify",
];

/// What anybody may set.
const HARMLESS: &[&str] = &[
    "accept",
    "accept-language",
    "content-type",
    "idempotency-key",
    "x-locale",
    "x-request-id",
    "user-agent",
];

#[tokio::test]
async fn whatever_a_header_says_it_is_the_clients_own_request() {
    for (number, plan) in plans().into_iter().enumerate() {
        let seed = 0x4ead_0000 + u64::try_from(number).unwrap();
        let mut random = Random(seed);
        let world = World::new(plan).await;
        let tenant = world.tenant("acme").await;
        let ready = tenant.get("/ship").send().await;
        assert!(ready.is_ok(), "{}: {ready:?}", world.name);
        let locked: Vec<String> = world
            .client
            .carrier()
            .locked()
            .map(|name| name.as_str().to_owned())
            .collect();
        let (mut sent, mut refused) = (0, 0);
        for round in 0..ROUNDS {
            let mut request = tenant.post("/ship/v1").body("{}");
            let mut named = Vec::new();
            for _ in 0..=random.below(3) {
                let name = name(&mut random, &locked);
                let value = value(&mut random, &world);
                let header = HeaderName::from_bytes(name.as_bytes()).unwrap();
                request = request.header(header, HeaderValue::try_from(value).unwrap());
                named.push(name);
            }
            let what = format!("{}, seed {seed:#x}, round {round}: {named:?}", world.name);
            let before = world.inside.count();
            let outcome = request.send().await;
            let arrived = world.inside.since(before);
            assert!(world.stays_inside(), "{what} went elsewhere");
            if let Err(error) = &outcome
                && error.stage() == Stage::NotSent
            {
                assert!(arrived.is_empty(), "{what} was refused and arrived");
                refused += 1;
                continue;
            }
            sent += 1;
            assert_eq!(arrived.len(), 1, "{what}");
            let mut seen: Vec<String> = Vec::new();
            for (name, value) in arrived[0].fields() {
                let family = |known: &&&str| match known.ends_with('-') {
                    true => name.starts_with(**known),
                    false => name == ***known,
                };
                let own = NOT_THE_CALLERS.iter().any(|known| family(&known)) || locked.contains(&name);
                assert!(!own || !value.contains(CALLERS), "{what}: {name} is the caller's");
                assert!(!own || !seen.contains(&name), "{what}: two {name}");
                seen.push(name);
            }
            assert_eq!(arrived[0].method(), "POST", "{what}");
            assert_eq!(arrived[0].values("host"), [world.inside.address.to_string()], "{what}");
        }
        assert!(
            sent > ROUNDS / 20 && refused > ROUNDS / 4,
            "{}: {sent} sent, {refused} refused",
            world.name
        );
    }
}

fn name(random: &mut Random, locked: &[String]) -> String {
    let mut name = match random.below(6) {
        0..=2 => random.one_of(HARMLESS).to_owned(),
        3 if !locked.is_empty() => random.one_of(locked),
        _ => random.one_of(NOT_THE_CALLERS).to_owned(),
    };
    if name.ends_with('-') {
        name.push_str(random.one_of(ENDINGS));
    }
    let spell = |character: char| match (character, random.below(4)) {
        ('-', 0) => '_',
        (character, 1) => character.to_ascii_uppercase(),
        (character, _) => character,
    };
    name.chars().map(spell).collect()
}

fn value(random: &mut Random, world: &World) -> String {
    let authority = grammar::authority(random, world).replace(|octet: char| !octet.is_ascii_graphic(), "");
    let value = random.one_of(&[
        "chunked",
        "close, authorization",
        "DELETE",
        "/oauth/token",
        "Bearer x",
        "0",
    ]);
    format!("{CALLERS} {value} {authority}")
}
