//! URLs that are sent to, and `htu` against the URI of a request.

use shipbound::carriers::CredentialRoute;
use shipbound::target::danger::Loopback;
use shipbound::target::{MAX_TARGET_LEN, Target};
use shipbound::verify::htu::{HtuMatch, LoopbackHttp, PublicOrigin, matches, matches_on_loopback, normalize};

use crate::cut;

/// An `htu` in the first line, the request's URI in what follows.
pub(crate) fn htu(data: &[u8]) {
    let (htu, uri) = cut(data, b"\n");
    let (Ok(htu), Ok(uri)) = (std::str::from_utf8(htu), std::str::from_utf8(uri)) else {
        return;
    };
    let local = LoopbackHttp::exact("127.0.0.1:8080").unwrap();
    let verdict = matches(htu, uri);
    match normalize(htu) {
        None => {
            assert_eq!(verdict, HtuMatch::Invalid);
            assert_eq!(PublicOrigin::new(htu), None);
        }
        Some(normal) => {
            assert_eq!(normalize(&normal).as_ref(), Some(&normal), "a normal form is its own");
            assert_eq!(matches(htu, &normal), HtuMatch::Match);
            assert_eq!(matches(&normal, htu), HtuMatch::Match);
            assert_eq!(matches(htu, htu), HtuMatch::Match);
            let rest = normal.strip_prefix("https://").expect("https");
            let (_, path) = rest.split_once('/').expect("a path");
            assert!(normal.is_ascii() && !normal.contains(['?', '#', '\\', ' ']), "{normal}");
            assert!(
                !path.split('/').any(|segment| matches!(segment, "." | "..")),
                "{normal}"
            );
            if let Some(other) = normalize(uri) {
                let expected = if other == normal {
                    HtuMatch::Match
                } else {
                    HtuMatch::Mismatch
                };
                assert_eq!(verdict, expected);
                assert_eq!(matches(uri, htu), expected);
            }
            if let Some(origin) = PublicOrigin::new(htu) {
                assert_eq!(
                    matches(&origin.target("/a?b"), &format!("{}a", normal)),
                    HtuMatch::Match
                );
            }
        }
    }
    // An exemption for http adds matches and takes none away.
    let exempt = matches_on_loopback(htu, uri, &local);
    if verdict != HtuMatch::Invalid {
        assert_eq!(exempt, verdict);
    } else if exempt == HtuMatch::Match {
        assert!(
            htu.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http:")),
            "{htu}"
        );
    }
}

/// A template in the first line, a path in what follows.
pub(crate) fn credential_route(data: &[u8]) {
    let (template, path) = cut(data, b"\n");
    let (Ok(template), Ok(path)) = (std::str::from_utf8(template), std::str::from_utf8(path)) else {
        return;
    };
    let route = CredentialRoute::new(template);
    if !template.contains(['%', '{', ';', '\0']) {
        assert!(route.holds(template), "a route holds itself: {template:?}");
    }
    // What cannot be judged is held by every route.
    for odd in ["%252e%252e", "%c0%af", "%EF%BC%8F", "%C2%A0", "%252525252541"] {
        assert!(route.holds(&format!("{path}/{odd}")), "{template:?} {path:?} {odd}");
    }
    if !route.holds(path) {
        return;
    }
    // Whatever is written more strangely, or lies below, is held as well.
    assert!(route.holds(&format!("{path}/below")), "{template:?} {path:?}");
    for end in [
        ".json", ".", "+", ":x", ",x", "(1)", "%20", "%00", "%3fx", "%23x", "%253fx",
    ] {
        assert!(route.holds(&format!("{path}{end}")), "{template:?} {path:?} {end}");
    }
    assert!(route.holds(&path.replace('/', "//")), "{template:?} {path:?}");
    assert!(
        route.holds(&path.to_ascii_uppercase().replace("%2F", "%2f")),
        "{template:?} {path:?}"
    );
    if !path.contains('%') {
        let encoded: String = path.bytes().map(|byte| format!("%{byte:02x}")).collect();
        assert!(route.holds(&encoded), "{template:?} {path:?}");
        assert!(route.holds(&encoded.replace('%', "%25")), "{template:?} {path:?}");
    }
}

/// A URL in the first line, a path to be joined in what follows.
pub(crate) fn target(data: &[u8]) {
    let (url, path) = cut(data, b"\n");
    let (Ok(url), Ok(path)) = (std::str::from_utf8(url), std::str::from_utf8(path)) else {
        return;
    };
    let exempt = ["127.0.0.1:8080", "[::1]:443", "localhost:80"].map(|text| Loopback::exact(text).unwrap());
    if let Ok(target) = Target::parse(url) {
        assert!(target.is_https());
        assert_eq!(Target::parse_allowing(url, &exempt).as_ref(), Ok(&target));
        check(&target, &[]);
        same_to_others(url, &target);
    }
    if let Ok(target) = Target::parse_allowing(url, &exempt) {
        check(&target, &exempt);
        same_to_others(url, &target);
        if let Ok(joined) = target.join_path(path) {
            check(&joined, &exempt);
            assert_eq!(joined.origin(), target.origin());
            assert!(
                joined.path().starts_with(target.path().trim_end_matches('/')),
                "{joined:?}"
            );
        }
    }
}

/// What the `url` crate and `http` make of it is what it is already.
fn check(target: &Target, exempt: &[Loopback]) {
    let text = target.as_str();
    assert!(text.len() <= MAX_TARGET_LEN && text.is_ascii());
    assert_eq!(
        Target::parse_allowing(text, exempt).as_ref(),
        Ok(target),
        "a fixed point"
    );
    assert_eq!(format!("{}{}", target.origin(), target.path_and_query()), text);
    let uri: http::Uri = text.parse().expect("a URI to http");
    assert_eq!(
        uri.path_and_query().map(|part| part.as_str()),
        Some(target.path_and_query())
    );
    assert_eq!(uri.host(), Some(target.host()));
    if target.is_https() {
        // Normalised (case of escapes, escapes of unreserved characters) it may look different, but it matches itself.
        assert_eq!(matches(target.htu(), target.htu()), HtuMatch::Match, "{text}");
        assert_eq!(matches(target.htu(), text), HtuMatch::Match, "{text}");
    }
    // An A-label that does not decode is refused by the HTTP stack, later.
    if target.host().split('.').any(|label| label.starts_with("xn--")) {
        return;
    }
    let other = url::Url::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(other.as_str(), text);
    assert_eq!(other.host_str(), Some(target.host()));
    assert_eq!(other.port_or_known_default(), Some(target.port()));
    assert_eq!((other.path(), other.query()), (target.path(), target.query()));
    assert_eq!((other.username(), other.password()), ("", None));
}

/// Read by the `url` crate, the text as it came in leads to the same place.
fn same_to_others(given: &str, target: &Target) {
    if let Ok(mut other) = url::Url::parse(given) {
        other.set_fragment(None);
        assert_eq!(other.as_str(), target.as_str(), "{given}");
    }
}
