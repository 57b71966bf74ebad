//! What a target takes, what it refuses, and that no parser behind it would see anything else.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use shipbound::target::danger::Loopback;
use shipbound::target::{MAX_TARGET_LEN, Target, TargetError};

#[test]
fn every_reason_is_given_where_it_belongs() {
    use TargetError::*;
    for (text, reason) in [
        ("", Scheme),
        ("api.carrier.example/a", Scheme),
        ("https:/api.carrier.example/a", Scheme),
        ("https:api.carrier.example/a", Scheme),
        (" https://api.carrier.example/a", Scheme),
        ("file:///etc/passwd", Scheme),
        ("http://api.carrier.example/a", PlainHttp),
        ("http://127.0.0.1:8080/a", PlainHttp),
        ("https://user@api.carrier.example/", Userinfo),
        ("https://api.carrier.example@evil.example/", Userinfo),
        ("https://@api.carrier.example/", Userinfo),
        ("https:///a", Host),
        ("https://", Host),
        ("https://a..example/", Host),
        ("https://.example/", Host),
        ("https://./", Host),
        ("https://-a.example/", Host),
        ("https://a-.example/", Host),
        ("https://api%2ecarrier.example/", Host),
        ("https://api carrier.example/", Host),
        ("https://a!b.example/", Host),
        ("https://api.carrier.example./", TrailingDot),
        ("https://127.0.0.1./", TrailingDot),
        ("https://1.1.1.1/", Address),
        ("https://127.1/", Address),
        ("https://017700000001/", Address),
        ("https://0x7f000001/", Address),
        ("https://0X7F.1/", Address),
        ("https://a.0x/", Address),
        ("https://api.carrier.123/", Address),
        ("https://api.carrier.09/", Address),
        ("https://127.0.0.1/", Address),
        ("https://[::1]/", Address),
        ("https://[::ffff:1.1.1.1]/", Address),
        ("https://[v1.x]/", Address),
        ("https://localhost/", Address),
        ("https://a.localhost/", Address),
        ("https://api.carrier.example:/", Port),
        ("https://api.carrier.example:0/", Port),
        ("https://api.carrier.example:0443/", Port),
        ("https://api.carrier.example:65536/", Port),
        ("https://api.carrier.example:99999999999/", Port),
        ("https://api.carrier.example:+443/", Port),
        ("https://api.carrier.example:44 3/", Port),
        ("https://api.carrier.example:443:1/", Port),
        ("https://api.carrier.example\\evil.example/", Backslash),
        ("https://api.carrier.example/a\\b", Backslash),
        ("https://api.carrier.example/?a\\b", Backslash),
        ("https://api.carrier.example/a\nb", Control),
        ("https://api.carrier.example\t/", Control),
        ("https://api.carrier.example/?a\0", Control),
        ("https://api.carrier.example/#\u{7f}", Control),
        ("https://\u{fc}ps.example/", NonAscii),
        ("https://api.carrier.example/\u{ff0f}", NonAscii),
        ("https://api.carrier.example/?\u{e9}", NonAscii),
        ("https://api.carrier.example/a b", Character),
        ("https://api.carrier.example/[a]", Character),
        ("https://api.carrier.example/?a[]=1", Character),
        ("https://api.carrier.example/?a=\"", Character),
        ("https://api.carrier.example/?a=^", Character),
        ("https://api.carrier.example/a`b", Character),
        ("https://api.carrier.example/#a#b", Character),
        ("https://api.carrier.example/?a='1'", Apostrophe),
        ("https://api.carrier.example/%", PercentEscape),
        ("https://api.carrier.example/%2", PercentEscape),
        ("https://api.carrier.example/%2/", PercentEscape),
        ("https://api.carrier.example/%g0", PercentEscape),
        ("https://api.carrier.example/?%u0041", PercentEscape),
        ("https://api.carrier.example/..", DotSegment),
        ("https://api.carrier.example/.", DotSegment),
        ("https://api.carrier.example/./a", DotSegment),
        ("https://api.carrier.example/a/..?b", DotSegment),
        ("https://api.carrier.example/a/.#b", DotSegment),
        ("https://api.carrier.example/a/%2E%2e/b", DotSegment),
        ("https://api.carrier.example/a/.%2e", DotSegment),
        ("https://api.carrier.example/a/%2e./b", DotSegment),
        ("https://api.carrier.example/a/%2e", DotSegment),
        ("https://api.carrier.example/a/..;x=1/b", DotSegment),
        ("https://api.carrier.example/a/..%3bx/b", DotSegment),
        ("https://api.carrier.example/a/..%2Foauth%2Ftoken", DotSegment),
        ("https://api.carrier.example/a%2f..%2foauth", DotSegment),
        ("https://api.carrier.example/a%5c..%5coauth", DotSegment),
    ] {
        assert_eq!(Target::parse(text).map(|_| ()), Err(reason), "{text:?}");
    }
}

#[test]
fn what_is_legal_stays_as_it_is() {
    for text in [
        "https://api.carrier.example/",
        "https://api.carrier.example/?",
        "https://api.carrier.example/a?b?c/d",
        "https://api.carrier.example//",
        "https://api.carrier.example//evil.example/a",
        "https://api.carrier.example/a;b=c,d/e:f@g!$&'()*+",
        "https://api.carrier.example/...",
        "https://api.carrier.example/..a/.b/c../d.",
        "https://api.carrier.example/;..",
        "https://api.carrier.example/%2e%2e%2e/%00/%ff",
        "https://api.carrier.example/%aB?%Ab",
        "https://api.carrier.example/?../..",
        "https://a_b.c-d.1a.example:1/a",
        "https://xn--bcher-kva.example/a",
        "https://intranet/a",
        "https://1.1.1.1.example/a",
        "https://api.carrier.example:80/a",
        "https://api.carrier.example:65535/a",
    ] {
        let target = Target::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(target.as_str(), text);
        assert_eq!(reqwest::Url::parse(text).unwrap().as_str(), text);
        let uri: http::Uri = text.parse().unwrap();
        assert_eq!(uri.path_and_query().unwrap().as_str(), target.path_and_query());
    }
}

#[test]
fn the_parts_are_those_of_the_text() {
    let target = Target::parse("HTTPS://API.Carrier.Example:8443?Id=1Z#x").unwrap();
    assert_eq!(target.as_str(), "https://api.carrier.example:8443/?Id=1Z");
    assert_eq!(target.htu(), "https://api.carrier.example:8443/");
    assert_eq!(target.authority(), "api.carrier.example:8443");
    assert_eq!((target.host(), target.port()), ("api.carrier.example", 8443));
    assert_eq!((target.path(), target.query()), ("/", Some("Id=1Z")));
    assert_eq!(target.path_and_query(), "/?Id=1Z");
    assert_eq!(target.origin().to_string(), "https://api.carrier.example:8443");
    assert!(target.is_https());

    let plain = Target::parse("https://api.carrier.example:443/a#x").unwrap();
    assert_eq!((plain.query(), plain.port()), (None, 443));
    assert_eq!(plain.authority(), "api.carrier.example");
    assert_eq!(plain.origin().to_string(), "https://api.carrier.example");
    assert_eq!(plain, Target::parse("https://API.carrier.example/a").unwrap());
    assert_ne!(plain.origin(), target.origin());
}

#[test]
fn length_is_limited_before_and_after() {
    let base = "https://api.carrier.example/";
    let longest = format!("{base}{}", "a".repeat(MAX_TARGET_LEN - base.len()));
    assert!(Target::parse(&longest).is_ok());
    assert_eq!(Target::parse(&format!("{longest}a")), Err(TargetError::TooLong));
    let half = format!("/{}", "a".repeat(MAX_TARGET_LEN / 2));
    let joined = Target::parse(base).unwrap().join_path(&half).unwrap();
    assert_eq!(joined.join_path(&half), Err(TargetError::TooLong));
    // Canonical text can be longer than what was given by one slash.
    let query = format!("https://a?{}", "a".repeat(MAX_TARGET_LEN - "https://a?".len()));
    assert_eq!(Target::parse(&query), Err(TargetError::TooLong));
    assert_eq!(
        Target::parse(&format!("https://{}.example/", "a".repeat(64))),
        Err(TargetError::Host)
    );
    assert_eq!(
        Target::parse(&format!("https://{}example/", "a.".repeat(124))),
        Err(TargetError::Host)
    );
}

#[test]
fn a_path_joins_a_base_and_cannot_leave_it() {
    let base = Target::parse("https://api.carrier.example:8443/api").unwrap();
    let joined = base.join_path("/rating/v2409/Rate?x=1#y").unwrap();
    assert_eq!(
        joined.as_str(),
        "https://api.carrier.example:8443/api/rating/v2409/Rate?x=1"
    );
    assert_eq!(joined.htu(), "https://api.carrier.example:8443/api/rating/v2409/Rate");
    assert_eq!(joined, Target::parse(joined.as_str()).unwrap());
    let slash = Target::parse("https://api.carrier.example/api/").unwrap();
    assert_eq!(slash.join_path("/a").unwrap().path(), "/api/a");
    let root = Target::parse("https://api.carrier.example").unwrap();
    assert_eq!(root.join_path("/").unwrap(), root);

    for (path, reason) in [
        ("", TargetError::RelativePath),
        ("a", TargetError::RelativePath),
        ("?a", TargetError::RelativePath),
        ("https://evil.example/", TargetError::RelativePath),
        ("@evil.example/", TargetError::RelativePath),
        ("\\evil", TargetError::RelativePath),
        ("//evil.example/", TargetError::DoubleSlash),
        ("/\\evil.example/", TargetError::Backslash),
        ("/..", TargetError::DotSegment),
        ("/a/%2e%2e/%2e%2e/b", TargetError::DotSegment),
        ("/a b", TargetError::Character),
        ("/\r\nHost: evil.example", TargetError::Control),
    ] {
        assert_eq!(base.join_path(path), Err(reason), "{path:?}");
    }
    let query = Target::parse("https://api.carrier.example/?a").unwrap();
    assert_eq!(query.join_path("/b"), Err(TargetError::BaseQuery));
}

#[test]
fn an_exemption_is_for_one_authority() {
    let exempt = [
        Loopback::exact("127.0.0.1:8080").unwrap(),
        Loopback::exact("[::1]:443").unwrap(),
    ];
    for good in [
        "http://127.0.0.1:8080/a",
        "https://127.0.0.1:8080/a",
        "https://[::1]/a",
        "http://[::1]:443/a",
    ] {
        assert_eq!(Target::parse_allowing(good, &exempt).unwrap().as_str(), good);
    }
    for bad in [
        "http://127.0.0.1:8081/a",
        "http://127.0.0.1/a",
        "http://127.0.0.2:8080/a",
        "http://localhost:8080/a",
        "http://127.1:8080/a",
        "http://0x7f.0.0.1:8080/a",
        "http://127.0.0.1.:8080/a",
        "http://[0::1]:443/a",
        "http://[::1]/a",
        "http://api.carrier.example:8080/a",
        "http://u@127.0.0.1:8080/a",
    ] {
        assert!(Target::parse_allowing(bad, &exempt).is_err(), "{bad}");
    }
}

#[test]
fn nothing_of_a_url_is_in_debug_or_errors() {
    let target = Target::parse("https://api.carrier.example/t/PLANTED?key=PLANTED").unwrap();
    let error = Target::parse("https://PLANTED:PLANTED@api.carrier.example/PLANTED").unwrap_err();
    for text in [format!("{target:?}"), format!("{error:?}"), format!("{error}")] {
        assert!(!text.contains("PLANTED"), "{text}");
    }
}
