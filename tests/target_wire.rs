//! Generated URLs, legal and hostile: what is accepted arrives on a raw socket octet by octet, and the proof's `htu` says the
//! same; what is refused opens no connection.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc;

use bytes::Bytes;
use http::{HeaderMap, Method};
use shipbound::target::danger::Loopback;
use shipbound::target::{Target, TargetError};
use shipbound::transport::reqwest::ReqwestTransport;
use shipbound::transport::{Outgoing, Route, Transport};

/// xorshift64*, so that a failure comes back with its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }
}

const LEGAL: &[&str] = &[
    "a",
    "rate",
    "v1",
    "1Z999AA1",
    "%20",
    "%2F",
    "%2f",
    "%5C",
    "%00",
    "%FF",
    "%2e%2e%2e",
    "...",
    "..a",
    "a..",
    ".a",
    ";",
    ";x=1",
    ",",
    ":",
    "@",
    "!",
    "$",
    "&",
    "'",
    "(",
    ")",
    "*",
    "+",
    "=",
    "-",
    "_",
    "~",
    "%27",
    "%7B",
    "%3F",
    "%23",
    "xn--a",
    "0x7f",
];
const HOSTILE: &[&str] = &[
    "..",
    ".",
    "%2e%2e",
    "%2E%2e",
    ".%2e",
    "%2e.",
    "%2e",
    "..;",
    "..%2f",
    "%2f..",
    "..%5c",
    "\\",
    "\\\\evil",
    "\"",
    "'",
    "<",
    ">",
    "{",
    "}",
    "|",
    "^",
    "`",
    "[",
    "]",
    " ",
    "\t",
    "\n",
    "\r\nX: y",
    "\0",
    "\u{7f}",
    "\u{e9}",
    "\u{ff0f}",
    "\u{202e}",
    "%",
    "%2",
    "%zz",
    "%u0041",
    "@evil.example",
    "#",
    "//evil.example",
    "?",
    "??",
];

fn authority(dice: &mut Dice, port: u16) -> String {
    let ours = format!("127.0.0.1:{port}");
    match dice.roll(16) {
        0 => format!("user:pw@{ours}"),
        1 => format!("{ours}@evil.example"),
        2 => format!("127.1:{port}"),
        3 => format!("2130706433:{port}"),
        4 => format!("0x7f.0.0.1:{port}"),
        5 => format!("127.0.0.1.:{port}"),
        6 => format!("127.0.0.1:0{port}"),
        7 => format!("[::ffff:127.0.0.1]:{port}"),
        8 => dice
            .pick(&[
                "localhost",
                "api.carrier.example",
                "evil.example",
                "",
                "a b",
                "%31%32%37.0.0.1",
                "\u{ff11}27.0.0.1",
            ])
            .into(),
        _ => ours,
    }
}

fn text(dice: &mut Dice, port: u16, hostile: bool) -> String {
    let scheme = match dice.roll(24) {
        0 => dice.pick(&["https", "ftp", "file", "", "http:/", "ws"]),
        1 => "HTTP",
        _ => "http",
    };
    let mut url = format!("{scheme}://{}", authority(dice, port));
    let piece = |dice: &mut Dice, url: &mut String| {
        // One hostile piece in eight, so that many URLs have exactly one.
        let from = if hostile && dice.roll(8) == 0 { HOSTILE } else { LEGAL };
        url.push_str(dice.pick(from));
    };
    for _ in 0..dice.roll(5) {
        url.push('/');
        for _ in 0..dice.roll(3) {
            piece(dice, &mut url);
        }
    }
    if dice.roll(2) == 0 {
        url.push('?');
        for _ in 0..dice.roll(4) {
            piece(dice, &mut url);
            url.push_str(dice.pick(&["", "=", "&", "/", "?"]));
        }
    }
    if dice.roll(8) == 0 {
        url.push('#');
        piece(dice, &mut url);
    }
    url
}

/// Answers every request with 204 and passes on its request line and `Host`.
fn listen() -> (u16, mpsc::Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let mut answer = stream.try_clone().unwrap();
            let mut lines = BufReader::new(stream).lines();
            while let Some(Ok(first)) = lines.next() {
                let mut host = None;
                for line in lines.by_ref() {
                    let line = line.unwrap();
                    if let Some((name, value)) = line.split_once(": ")
                        && name.eq_ignore_ascii_case("host")
                    {
                        assert!(host.replace(value.to_owned()).is_none(), "two Host headers");
                    }
                    if line.is_empty() {
                        break;
                    }
                }
                seen.send((first, host.unwrap())).unwrap();
                answer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            }
        }
    });
    (port, requests)
}

#[tokio::test]
async fn what_is_accepted_arrives_as_it_is_and_the_rest_never_leaves() {
    let (port, requests) = listen();
    let exempt = Loopback::exact(&format!("127.0.0.1:{port}")).unwrap();
    let transport = ReqwestTransport::builder()
        .allow_loopback(exempt.clone())
        .build()
        .unwrap();
    let exempt = [exempt];
    let mut dice = Dice(0x5eed_0001);
    let (mut sent, mut reasons) = (0, HashSet::new());
    for round in 0..12_000 {
        let text = text(&mut dice, port, round % 3 != 0);
        let target = match Target::parse_allowing(&text, &exempt) {
            Ok(target) => target,
            Err(reason) => {
                reasons.insert(reason);
                continue;
            }
        };
        if target.is_https() {
            continue;
        }
        assert_eq!(target.host(), "127.0.0.1", "{text:?}");
        let outgoing = Outgoing {
            method: Method::GET,
            target: target.clone(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        let answer = transport
            .send(outgoing, &Route::new())
            .await
            .unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(answer.status(), 204);
        sent += 1;
        let (line, host) = requests
            .try_recv()
            .unwrap_or_else(|_| panic!("{text:?} did not arrive"));
        let query = target.query().map(|query| format!("?{query}")).unwrap_or_default();
        assert_eq!(line, format!("GET {}{query} HTTP/1.1", target.path()), "{text:?}");
        assert_eq!(host, target.authority(), "{text:?}");
        assert_eq!(target.htu(), format!("http://{host}{}", target.path()), "{text:?}");
        assert_eq!(target.as_str(), format!("{}{query}", target.htu()), "{text:?}");
        // What was written between the authority and the fragment is what was sent.
        let after_scheme = text.split_once("://").unwrap().1;
        let tail = after_scheme.find(['/', '?', '#']).map_or("", |at| &after_scheme[at..]);
        let tail = tail.split('#').next().unwrap();
        let slash = if tail.starts_with('/') { "" } else { "/" };
        assert_eq!(target.path_and_query(), format!("{slash}{tail}"), "{text:?}");
        assert!(requests.try_recv().is_err(), "{text:?} arrived twice");
    }
    assert!(requests.try_recv().is_err());
    assert!(sent > 2_000, "{sent}");
    use TargetError::*;
    for reason in [
        Scheme,
        PlainHttp,
        Userinfo,
        Host,
        TrailingDot,
        Address,
        Port,
        Backslash,
        Control,
        NonAscii,
        Character,
        Apostrophe,
        PercentEscape,
        DotSegment,
    ] {
        assert!(reasons.contains(&reason), "{reason:?} was never given");
    }
}

#[test]
fn an_accepted_text_is_a_fixed_point_of_every_parser() {
    let exempt = [Loopback::exact("127.0.0.1:8080").unwrap()];
    let mut dice = Dice(0x5eed_0002);
    let mut accepted = 0;
    for round in 0..200_000 {
        let mut text = text(&mut dice, 8080, round % 2 != 0);
        if round % 5 == 0 {
            // Any character anywhere.
            let at = (0..=text.len())
                .filter(|at| text.is_char_boundary(*at))
                .nth(dice.roll(text.len().min(40)))
                .unwrap_or(0);
            let any = u32::try_from(dice.roll(0x180)).unwrap();
            text.insert(at, char::from_u32(any).unwrap());
        }
        let Ok(target) = Target::parse_allowing(&text, &exempt) else {
            continue;
        };
        accepted += 1;
        let canonical = target.as_str();
        let url = reqwest::Url::parse(canonical).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(url.as_str(), canonical, "{text:?}");
        assert_eq!(url.host_str(), Some(target.host()), "{text:?}");
        assert_eq!(url.port_or_known_default(), Some(target.port()), "{text:?}");
        let uri: http::Uri = canonical.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(
            uri.path_and_query().unwrap().as_str(),
            target.path_and_query(),
            "{text:?}"
        );
        assert_eq!(uri.authority().unwrap().as_str(), target.authority(), "{text:?}");
        assert_eq!(
            Target::parse_allowing(canonical, &exempt).as_ref(),
            Ok(&target),
            "{text:?}"
        );
    }
    assert!(accepted > 40_000, "{accepted}");
}
