//! `htu` against the target URI, by RFC 3986 and nothing looser (RFC 9449 4.3, check 9).
//!
//! Browsers' URL parsers repair what they read: backslashes become slashes, tabs vanish, a missing slash is added. A
//! verifier that did so would let `https:\\api.carrier.example\a` stand for the honest URL. Here a text either is an
//! absolute `https` URI or it matches nothing. Both sides are normalised as RFC 3986 6.2.2 and 6.2.3 say (case, percent
//! encoding, dot segments, default port, empty path); query and fragment are cut off first.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use thiserror::Error;

/// What comparing an `htu` with a target URI gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HtuMatch {
    /// Both name the same resource.
    Match,
    /// Both are valid and name different resources.
    Mismatch,
    /// One of them is no absolute `https` URI. To be refused like a mismatch.
    Invalid,
}

/// Compares a proof's `htu` with the URI of the request; both must be absolute `https` URIs.
///
/// ```
/// use shipbound::verify::htu::{HtuMatch, matches};
///
/// let request = "https://api.carrier.example/ship/v1/shipments?draft=true";
/// assert_eq!(matches("HTTPS://API.carrier.example:443/ship/v1/shipments", request), HtuMatch::Match);
/// assert_eq!(matches("https://api.carrier.example/ship/v1", request), HtuMatch::Mismatch);
/// assert_eq!(matches("https:\\\\api.carrier.example\\ship\\v1\\shipments", request), HtuMatch::Invalid);
/// ```
pub fn matches(htu: &str, request_uri: &str) -> HtuMatch {
    compare(htu, request_uri, None)
}

/// As [`matches()`], and `http` counts as well when the authority is the one that `loopback` names.
pub fn matches_on_loopback(htu: &str, request_uri: &str, loopback: &LoopbackHttp) -> HtuMatch {
    compare(htu, request_uri, Some(loopback))
}

pub(super) fn compare(htu: &str, request_uri: &str, loopback: Option<&LoopbackHttp>) -> HtuMatch {
    match (parse(htu, true, loopback), parse(request_uri, false, loopback)) {
        (Some(proved), Some(requested)) if proved == requested => HtuMatch::Match,
        (Some(_), Some(_)) => HtuMatch::Mismatch,
        _ => HtuMatch::Invalid,
    }
}

/// The normalised form of an absolute `https` URI without query and fragment; `None` when the text is none.
///
/// ```
/// use shipbound::verify::htu::normalize;
///
/// assert_eq!(
///     normalize("HTTPS://API.carrier.example:443/a/./b/../%7euser?x=1").as_deref(),
///     Some("https://api.carrier.example/a/~user"),
/// );
/// assert_eq!(normalize("https://user@api.carrier.example/"), None);
/// ```
pub fn normalize(uri: &str) -> Option<String> {
    parse(uri, true, None).map(|uri| uri.to_string())
}

/// Why a text cannot be a loopback authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not the authority of this machine's loopback: localhost, 127.0.0.0/8 or [::1], with a port if it has one")]
#[non_exhaustive]
pub struct NotLoopback;

/// One loopback authority where `http` is allowed: for tests and for services behind a proxy on the same machine.
///
/// There is no default and no wildcard: the value names one host and one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopbackHttp {
    host: Host,
    port: u16,
}

impl LoopbackHttp {
    /// Allows `http` for this authority, `127.0.0.1:8080` for instance. Without a port it is port 80.
    ///
    /// # Errors
    /// [`NotLoopback`] when the host is neither `localhost` nor a loopback address.
    pub fn exact(authority: &str) -> Result<Self, NotLoopback> {
        let (host, port) = split_authority(authority).ok_or(NotLoopback)?;
        let local = match &host {
            Host::V6(address) => address.is_loopback(),
            Host::Name(name) => {
                name == "localhost" || name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
            }
        };
        if local {
            Ok(Self {
                host,
                port: port.unwrap_or(80),
            })
        } else {
            Err(NotLoopback)
        }
    }
}

/// The scheme and authority under which a service is known outside, from its own configuration.
///
/// Never built from what a request says (`Host`, `X-Forwarded-Host`): a thief who replays a proof chooses those.
///
/// ```
/// use shipbound::verify::htu::PublicOrigin;
///
/// let origin = PublicOrigin::new("https://api.carrier.example").ok_or("no origin")?;
/// assert_eq!(origin.target("/ship/v1/shipments?x=1"), "https://api.carrier.example/ship/v1/shipments?x=1");
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicOrigin(String);

impl PublicOrigin {
    /// The origin that `uri` names; `None` unless it is an absolute `https` URI with nothing after the authority.
    pub fn new(uri: &str) -> Option<Self> {
        Self::read(uri, None)
    }

    /// As [`PublicOrigin::new`], and `http` counts for the authority that `loopback` names.
    pub fn on_loopback(uri: &str, loopback: &LoopbackHttp) -> Option<Self> {
        Self::read(uri, Some(loopback))
    }

    fn read(uri: &str, loopback: Option<&LoopbackHttp>) -> Option<Self> {
        if uri.contains(['?', '#']) {
            return None;
        }
        let mut text = parse(uri, true, loopback).filter(|uri| uri.path == "/")?.to_string();
        text.pop();
        Some(Self(text))
    }

    /// The target URI of a request with this path and query, as they stood in the request line.
    pub fn target(&self, path_and_query: &str) -> String {
        format!("{}{path_and_query}", self.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// In lower case.
    Name(String),
    V6(Ipv6Addr),
}

#[derive(PartialEq, Eq)]
struct Normalized {
    secure: bool,
    host: Host,
    port: u16,
    path: String,
}

impl fmt::Display for Normalized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secure { "https://" } else { "http://" })?;
        match &self.host {
            Host::Name(name) => f.write_str(name)?,
            Host::V6(address) => write!(f, "[{address}]")?,
        }
        if self.port != default_port(self.secure) {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.path)
    }
}

const fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

/// `strict`: what is cut off must be well-formed as well. The request's own query does not count and is not judged.
fn parse(uri: &str, strict: bool, loopback: Option<&LoopbackHttp>) -> Option<Normalized> {
    let (scheme, rest) = uri.split_once(':')?;
    let secure = match scheme {
        _ if scheme.eq_ignore_ascii_case("https") => true,
        _ if scheme.eq_ignore_ascii_case("http") => false,
        _ => return None,
    };
    let rest = rest.strip_prefix("//")?;
    let (rest, ignored) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    if strict && !is_query_and_fragment(ignored) {
        return None;
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = split_authority(authority)?;
    let port = port.unwrap_or(default_port(secure));
    if !secure && !loopback.is_some_and(|allowed| allowed.host == host && allowed.port == port) {
        return None;
    }
    Some(Normalized {
        secure,
        host,
        port,
        path: remove_dot_segments(&normalize_path(path)?),
    })
}

/// Host and port; `None` for user information, a percent-encoded or empty host, a port that is no 16-bit number.
fn split_authority(authority: &str) -> Option<(Host, Option<u16>)> {
    let (host, port) = if let Some(literal) = authority.strip_prefix('[') {
        let (address, port) = literal.split_once(']')?;
        (Host::V6(address.parse().ok()?), port)
    } else {
        let (name, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if name.is_empty() || !name.bytes().all(legal) {
            return None;
        }
        (Host::Name(name.to_ascii_lowercase()), port)
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        None => return None,
        Some("") => None,
        // `parse` alone would take a sign.
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
        Some(_) => return None,
    };
    Some((host, port))
}

/// unreserved / sub-delims / ":" / "@" (RFC 3986 3.3), without the percent sign.
fn is_pchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte)
}

/// Percent-encoded unreserved characters decoded, the others with upper-case digits (RFC 3986 6.2.2.1, 6.2.2.2).
fn normalize_path(path: &str) -> Option<String> {
    let mut out = String::with_capacity(path.len().max(1));
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let octet = percent_octet(bytes.next()?, bytes.next()?)?;
                if octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~') {
                    out.push(char::from(octet));
                } else {
                    use fmt::Write as _;
                    write!(out, "%{octet:02X}").ok()?;
                }
            }
            b'/' => out.push('/'),
            _ if is_pchar(byte) => out.push(char::from(byte)),
            _ => return None,
        }
    }
    Some(out)
}

fn percent_octet(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

/// RFC 3986 5.2.4 for a path that is empty or starts with a slash; never empty afterwards (6.2.3).
fn remove_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    let mut open = segments.peek().is_none();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => open = last,
            ".." => {
                kept.pop();
                open = last;
            }
            _ => kept.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len().max(1));
    for segment in kept {
        out.push('/');
        out.push_str(segment);
    }
    if open {
        out.push('/');
    }
    out
}

fn is_query_and_fragment(ignored: &str) -> bool {
    let mut bytes = ignored.bytes();
    let mut in_fragment = false;
    while let Some(byte) = bytes.next() {
        let legal = match byte {
            b'#' => !std::mem::replace(&mut in_fragment, true),
            b'%' => {
                matches!((bytes.next(), bytes.next()), (Some(high), Some(low)) if percent_octet(high, low).is_some())
            }
            b'/' | b'?' => true,
            _ => is_pchar(byte),
        };
        if !legal {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(path: &str) -> Option<String> {
        normalize(&format!("https://h{path}")).map(|uri| uri["https://h".len()..].to_owned())
    }

    #[test]
    fn dot_segments_go_as_rfc_3986_says() {
        for (path, normalized) in [
            ("", "/"),
            ("/", "/"),
            ("/.", "/"),
            ("/..", "/"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/a/b/..", "/a/"),
            ("/a/./b/../c", "/a/c"),
            ("/a//../b", "/a/b"),
            ("/a/b/../../../c", "/c"),
            ("/../../a", "/a"),
            ("//a", "//a"),
            ("/a//", "/a//"),
            ("/...", "/..."),
            ("/%2E%2e/a", "/a"),
            ("/a%2f..", "/a%2F.."),
        ] {
            assert_eq!(normal(path).as_deref(), Some(normalized), "{path}");
        }
    }

    #[test]
    fn the_request_may_have_a_raw_query_and_the_htu_not() {
        let odd = "https://h/a?filter[x]=\"1|2\"";
        assert_eq!(matches("https://h/a", odd), HtuMatch::Match);
        assert_eq!(matches(odd, "https://h/a"), HtuMatch::Invalid);
        assert_eq!(matches("https://h/a?x=%zz", "https://h/a"), HtuMatch::Invalid);
        assert_eq!(matches("https://h/a#x#y", "https://h/a"), HtuMatch::Invalid);
        assert_eq!(matches("https://h/a?b/?:@#c/?", "https://h/a"), HtuMatch::Match);
    }

    #[test]
    fn http_counts_for_the_named_loopback_authority_alone() {
        let loopback = LoopbackHttp::exact("127.0.0.1:8080").unwrap();
        let with = |uri: &str| matches_on_loopback(uri, uri, &loopback);
        assert_eq!(with("http://127.0.0.1:8080/a"), HtuMatch::Match);
        assert_eq!(with("https://api.carrier.example/a"), HtuMatch::Match);
        for uri in [
            "http://127.0.0.1/a",
            "http://127.0.0.1:8081/a",
            "http://127.0.0.2:8080/a",
            "http://localhost:8080/a",
            "http://api.carrier.example:8080/a",
        ] {
            assert_eq!(with(uri), HtuMatch::Invalid, "{uri}");
        }
        assert_eq!(
            matches_on_loopback("http://127.0.0.1:8080/a", "https://127.0.0.1:8080/a", &loopback),
            HtuMatch::Mismatch
        );
        for authority in ["localhost:1", "[::1]:9", "127.5.5.5", "LOCALHOST"] {
            assert!(LoopbackHttp::exact(authority).is_ok(), "{authority}");
        }
        for authority in [
            "",
            "10.0.0.1:80",
            "127.0.0.1.evil.example",
            "[::2]:9",
            "u@127.0.0.1",
            "127.1",
            "0.0.0.0",
        ] {
            assert!(LoopbackHttp::exact(authority).is_err(), "{authority}");
        }
    }

    #[test]
    fn ports_and_hosts_have_one_form() {
        for uri in [
            "https://h:+443/",
            "https://h:-1/",
            "https://h:4 43/",
            "https://[::1%25eth0]/",
            "https://[v1.a]/",
            "https://[::1]x/",
            "https://h,i/",
            "https://:443/",
            "https://h[::1]/",
        ] {
            assert_eq!(normalize(uri), None, "{uri}");
        }
        assert_eq!(normalize("https://[0:0::1]:0443/").as_deref(), Some("https://[::1]/"));
    }

    #[test]
    fn an_origin_has_nothing_after_the_authority() {
        assert!(PublicOrigin::new("https://api.carrier.example:8443/").is_some());
        for uri in [
            "https://h/a",
            "https://h?x",
            "https://h/#f",
            "http://h",
            "h",
            "https://u@h",
        ] {
            assert_eq!(PublicOrigin::new(uri), None, "{uri}");
        }
        let loopback = LoopbackHttp::exact("127.0.0.1:8080").unwrap();
        assert_eq!(
            PublicOrigin::on_loopback("http://127.0.0.1:8080", &loopback).map(|origin| origin.target("/a")),
            Some("http://127.0.0.1:8080/a".to_owned())
        );
    }
}
