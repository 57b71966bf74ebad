//! What is true of every profile of this crate.

use http::Method;

use super::*;
use crate::owner::CarrierId;
use crate::target::Target;
use crate::token::TokenAt;
use crate::token::grant::{CarrierGrant, GrantType};

/// The last day on which facts were checked.
const TODAY: &str = "2026-11-27";

/// Carriers whose sandbox is on the host of production.
const ONE_HOST: [&str; 8] = [
    "bring",
    "dhl-express",
    "dhl-tracking",
    "easypost",
    "nshift-delivery",
    "sendcloud",
    "sendcloud-key",
    "shipengine",
];

/// Carriers of which no call is known that shows a good credential.
const NO_TEST: [&str; 3] = ["dpd", "ishare-party", "maskinporten"];

/// nShift's portal is one host; ShipmentServer is not.
const ONE_BASE: &str = "nshift";

/// Profiles that take more than an environment.
fn with_more(environment: Environment) -> Vec<CarrierProfile> {
    use super::{AmazonRegion, amazon_shipping, ishare, maskinporten, one_record};
    let (airline, party) = (CarrierId::of_profile("airline"), CarrierId::of_profile("ishare-party"));
    vec![
        amazon_shipping(environment, AmazonRegion::Europe),
        one_record(
            airline,
            environment,
            "https://1r.example.com",
            "https://auth.example.com",
        ),
        ishare(
            party,
            environment,
            "https://party.example",
            "https://party.example/connect/token",
            "EU.EORI.NL000000004",
        ),
        maskinporten(environment, ["toll:movement/road/v2"]).unwrap(),
    ]
}

fn gives_tokens(profile: &CarrierProfile) -> bool {
    matches!(profile.token_at(), TokenAt::Endpoint(_) | TokenAt::Issuer(_))
}

fn each(mut look: impl FnMut(&CarrierProfile)) {
    for environment in [Environment::Sandbox, Environment::Production] {
        let mut profiles = all(environment);
        assert!(!profiles.is_empty());
        profiles.extend(with_more(environment));
        for profile in &profiles {
            assert_eq!(profile.environment(), environment);
            look(profile);
        }
    }
}

fn named(profile: &CarrierProfile) -> String {
    format!("{} {:?}", profile.name(), profile.environment())
}

/// The path of a URL.
fn path_of(url: &str) -> String {
    Target::parse(url).unwrap().path().to_owned()
}

/// A path and query as it goes out, from the profile's base.
fn joined(profile: &CarrierProfile, path: &str) -> Target {
    Target::parse(profile.base())
        .unwrap()
        .join_path(&path.replace("{today}", TODAY))
        .unwrap()
}

/// Whether a route, written as [`Route::template`] with or without a query, is one that the profile knows or guards.
fn is_there(profile: &CarrierProfile, method: &Method, route: &str) -> bool {
    let path = route.split('?').next().unwrap();
    let known = |known: &Route| known.template() == path && known.method().is_none_or(|own| own == method);
    profile.known_routes().iter().any(known) || profile.is_credential_route(path)
}

fn token_url(profile: &CarrierProfile) -> Option<&str> {
    match profile.token_at() {
        TokenAt::Endpoint(url) => Some(url),
        TokenAt::Issuer(_) | TokenAt::Nowhere | TokenAt::Credential => None,
    }
}

#[test]
fn every_segment_of_every_route_says_whether_it_is_personal() {
    each(|profile| {
        // Maskinporten's tokens are for the APIs of others.
        let has_routes = profile.id().as_str() != "maskinporten";
        assert_eq!(!profile.known_routes().is_empty(), has_routes, "{}", named(profile));
        for route in profile.known_routes() {
            assert!(
                route.parameters().all(|class| class.is_some()),
                "{}: {route:?}",
                named(profile)
            );
            assert!(route.template().starts_with('/'), "{}: {route:?}", named(profile));
        }
    });
}

#[test]
fn no_call_belongs_to_routes_of_two_classes() {
    let overlap = |one: &Route, other: &Route| {
        let methods = match (one.method(), other.method()) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        let (one, other): (Vec<_>, Vec<_>) = (
            one.template().split('/').collect(),
            other.template().split('/').collect(),
        );
        let fit = |(one, other): (&&str, &&str)| one == other || one.starts_with('{') || other.starts_with('{');
        methods && one.len() == other.len() && one.iter().zip(&other).all(fit)
    };
    assert!(overlap(&Route::read("/a/{b}"), &Route::label("/a/c")));
    assert!(!overlap(
        &Route::read("/a").only(Method::GET),
        &Route::label("/a").only(Method::PUT)
    ));
    each(|profile| {
        let routes = profile.known_routes();
        for (nth, one) in routes.iter().enumerate() {
            for other in &routes[nth + 1..] {
                assert!(
                    one.class() == other.class() || !overlap(one, other),
                    "{}: {one:?} and {other:?}",
                    named(profile)
                );
                assert!(
                    one.template() != other.template() || one.method() != other.method(),
                    "{}: {one:?} twice",
                    named(profile)
                );
            }
        }
    });
}

#[test]
fn everything_that_is_said_has_a_source() {
    let mut missing = Vec::new();
    each(|profile| {
        let says = |topic: Topic| profile.sources().iter().any(|fact| fact.topic == topic);
        let of_all = [
            Topic::Hosts,
            Topic::Credential,
            Topic::Placement,
            Topic::Routes,
            Topic::Faults,
            Topic::Refusal,
            Topic::Replacement,
            Topic::LookUp,
            Topic::Test,
            Topic::Binding,
        ];
        for topic in of_all {
            if !says(topic) {
                missing.push(format!("{}: {topic:?}", named(profile)));
            }
        }
        let limits = profile.limits();
        let of_some = [
            (Topic::TokenAnswer, gives_tokens(profile)),
            (Topic::Tracing, !profile.tracing_headers().is_empty()),
            (
                Topic::TokenLimits,
                !limits.token.is_empty() || !limits.blocks.is_empty(),
            ),
            (Topic::ApiLimits, !limits.api.is_empty() || limits.pause.is_some()),
            (Topic::Idempotency, profile.idempotency_header().is_some()),
        ];
        for (topic, said) in of_some {
            assert!(!said || says(topic), "{}: {topic:?}", named(profile));
        }
        assert_eq!(says(Topic::TokenAnswer), gives_tokens(profile), "{}", named(profile));
    });
    assert_eq!(missing, [""; 0]);
}

#[test]
fn facts_have_a_day_that_has_been() {
    each(|profile| {
        for fact in profile.sources() {
            let parts: Vec<&str> = fact.checked.split('-').collect();
            let number = |nth: usize, length: usize| {
                let text = parts[nth];
                assert_eq!(text.len(), length, "{}: {fact}", named(profile));
                text.parse::<u32>().unwrap()
            };
            assert_eq!(parts.len(), 3, "{}: {fact}", named(profile));
            let (year, month, day) = (number(0, 4), number(1, 2), number(2, 2));
            assert!(year >= 2026 && (1..=12).contains(&month) && (1..=31).contains(&day));
            // As texts of this form they are in the order of time.
            assert!(&*fact.checked <= TODAY, "{}: {fact}", named(profile));
            assert!(!fact.source.trim().is_empty());
        }
    });
}

#[test]
fn sources_are_what_anybody_can_find() {
    each(|profile| {
        for fact in profile.sources() {
            for private in ["/work", "/tmp", "carriers.md", "shared", "@"] {
                assert!(!fact.source.contains(private), "{}: {fact}", named(profile));
            }
        }
    });
}

#[test]
fn urls_are_https_and_targets() {
    each(|profile| {
        let urls = [profile.base()]
            .into_iter()
            .chain(profile.further_origins())
            .chain(token_url(profile))
            .chain(profile.endpoints.values().map(String::as_str));
        for url in urls {
            assert!(url.starts_with("https://"), "{}: {url}", named(profile));
            assert!(Target::parse(url).is_ok(), "{}: {url}", named(profile));
        }
        for origin in profile.further_origins() {
            assert_eq!(path_of(origin), "/", "{}: {origin}", named(profile));
        }
    });
}

#[test]
fn endpoints_that_give_tokens_out_are_guarded() {
    each(|profile| {
        for url in token_url(profile)
            .into_iter()
            .chain(profile.endpoints.values().map(String::as_str))
        {
            assert!(profile.is_credential_route(&path_of(url)), "{}: {url}", named(profile));
        }
        if let Some(companion) = profile.second_token() {
            let path = joined(profile, &companion.path).path().to_owned();
            assert!(profile.is_credential_route(&path), "{}: {path}", named(profile));
        }
    });
}

#[test]
fn a_route_is_guarded_by_its_own_path_and_not_by_what_is_put_into_it() {
    let filled = |template: &str, value: &str| {
        let parts = template
            .split('/')
            .map(|part| if part.starts_with('{') { value } else { part });
        parts.collect::<Vec<_>>().join("/")
    };
    each(|profile| {
        for route in profile.known_routes() {
            let plainly = profile.is_credential_route(&filled(route.template(), "1Z999"));
            for value in [
                "a.b",
                "v1.2",
                "10%20115",
                "a+b",
                "a:b",
                "urn:x:1",
                "a,b",
                "a(1)",
                "a%2Fb",
                "100%25",
                "M%C3%BCnchen",
            ] {
                let path = filled(route.template(), value);
                assert_eq!(
                    profile.is_credential_route(&path),
                    plainly,
                    "{}: {path}",
                    named(profile)
                );
            }
        }
    });
}

#[test]
fn calls_that_are_known_by_name_are_routes() {
    each(|profile| {
        if let LookUp::Call { method, route, by } = profile.how_to_look_up() {
            assert!(is_there(profile, method, route), "{}: {route}", named(profile));
            assert!(!by.is_empty());
            let path = route.split('?').next().unwrap();
            let known = |known: &&Route| known.template() == path && known.method().is_none_or(|own| own == method);
            let known = profile.known_routes().iter().find(known).unwrap();
            assert_eq!(
                known.class(),
                RouteClass::Read,
                "{}: a look-up changes nothing",
                named(profile)
            );
        }
        let replacement = profile.how_to_replace();
        assert!(!replacement.steps.is_empty(), "{}", named(profile));
        for (method, route) in replacement.revoke.iter().chain(&replacement.replace) {
            assert!(is_there(profile, method, route), "{}: {route}", named(profile));
        }
    });
}

#[test]
fn the_test_of_a_credential_is_a_route_that_reads() {
    each(|profile| {
        let Some(test) = profile.how_to_test() else {
            assert!(NO_TEST.contains(&profile.id().as_str()), "{}", named(profile));
            return;
        };
        let target = joined(profile, &test.path);
        let route = profile.route_of(&test.method, target.path()).unwrap();
        assert_eq!(route.class(), RouteClass::Read, "{}", named(profile));
        if let Some(body) = &test.body {
            let body = body.replace("{today}", TODAY);
            assert!(
                serde_json::from_str::<serde_json::Value>(&body).is_ok(),
                "{}: {body}",
                named(profile)
            );
        }
        for status in &test.proved_by {
            assert!(status.is_client_error(), "{}: {status}", named(profile));
            assert!(
                !matches!(status.as_u16(), 401 | 403 | 429),
                "{}: {status} proves nothing",
                named(profile)
            );
        }
    });
}

#[test]
fn ids_and_names_are_a_carrier_s() {
    each(|profile| {
        let id = profile.id().as_str();
        assert_eq!(CarrierId::new(id).as_ref(), Ok(profile.id()));
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        assert!(id.bytes().all(plain), "{id}");
        // Of servers that many run, whoever gives the id gives the name.
        let theirs = ["airline", "ishare-party"].contains(&id);
        assert!(theirs || profile.name() != id, "a name is for people: {id}");
    });
}

#[test]
fn sandbox_and_production_are_apart() {
    let pairs = all(Environment::Sandbox).into_iter().zip(all(Environment::Production));
    for (sandbox, production) in pairs {
        let id = sandbox.id().as_str();
        assert_eq!(id, production.id().as_str());
        let host = |profile: &CarrierProfile| Target::parse(profile.base()).unwrap().host().to_owned();
        let one_host = ONE_HOST.contains(&id) || id == ONE_BASE;
        assert_eq!(host(&sandbox) == host(&production), one_host, "{id}");
        if id == ONE_BASE {
            let mine: Vec<_> = sandbox.further_origins().collect();
            assert!(
                production.further_origins().all(|origin| !mine.contains(&origin)),
                "{id}"
            );
        } else if !one_host && token_url(&sandbox).is_some() {
            assert_ne!(token_url(&sandbox), token_url(&production), "{id}");
        }
    }
}

#[test]
fn grants_are_legal_and_a_password_is_handed_over_where_dhl_asks_for_it_alone() {
    each(|profile| {
        let GrantType::OfCarrier(grant) = profile.request.grant_type() else {
            return;
        };
        let name = profile.request.grant_type().name();
        if CarrierGrant::new(name.to_owned()) != Some(grant.clone()) {
            assert_eq!((profile.id().as_str(), name), ("dhl-parcel-de", "password"));
        }
    });
}

#[test]
fn a_credential_has_one_place_for_each_part() {
    each(|profile| {
        let mut names: Vec<_> = profile.parts().iter().map(|part| &part.name).collect();
        names.sort();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all, "{}", named(profile));
        let mut locked: Vec<_> = profile.locked().collect();
        let set_for_calls = profile.tracing_headers().iter().map(|header| &header.name);
        assert!(set_for_calls.into_iter().all(|name| !locked.contains(&name)));
        locked.sort_by_key(|name| name.as_str());
        let all = locked.len();
        locked.dedup();
        assert_eq!(locked.len(), all, "{}", named(profile));
    });
}

#[test]
fn the_parts_of_a_fedex_child_are_spelt_as_fedex_has_them() {
    use crate::credentials::PartAt;
    let at = |profile: CarrierProfile| -> Vec<_> { profile.parts().iter().map(|part| part.at.clone()).collect() };
    let wanted = [
        PartAt::TokenForm("child_Key".into()),
        PartAt::TokenForm("child_secret".into()),
    ];
    assert_eq!(at(fedex_csp(Environment::Production)), wanted);
    assert_eq!(at(fedex_parent_child(Environment::Production)), wanted);
    assert!(at(fedex(Environment::Production)).is_empty());
}

#[test]
fn a_profile_is_found_by_its_name() {
    let names: Vec<_> = super::names().collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(names, sorted, "each once, in the order of the alphabet");
    for (name, profile) in names.iter().zip(all(Environment::Production)) {
        let found = super::named(name, Environment::Production).unwrap();
        assert_eq!((found.id(), found.parts()), (profile.id(), profile.parts()), "{name}");
        let id = profile.id().as_str();
        assert!(name.starts_with(id), "{name} is of {id}");
    }
    assert!(super::named("no-such-carrier", Environment::Sandbox).is_none());
}

#[test]
fn a_purchase_is_repeated_only_where_its_route_takes_a_key() {
    each(|profile| {
        let keyed = profile.known_routes().iter().any(Route::is_keyed);
        assert_eq!(keyed, profile.idempotency_header().is_some(), "{}", named(profile));
        assert!(
            keyed || *profile.how_to_look_up() != LookUp::Repeat,
            "{}",
            named(profile)
        );
        for route in profile.known_routes().iter().filter(|route| route.is_keyed()) {
            assert_ne!(route.class(), RouteClass::Read, "{}: {route:?}", named(profile));
        }
    });
}
