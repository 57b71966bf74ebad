//! The grammar that [`Target`](super::Target) accepts: RFC 3986, less everything that a WHATWG parser would rewrite.

use std::net::Ipv4Addr;

use super::TargetError;

pub(super) struct Scheme {
    pub(super) https: bool,
    pub(super) lower: bool,
    /// Length of the scheme with `://`.
    pub(super) len: usize,
}

pub(super) fn scheme(text: &str) -> Result<Scheme, TargetError> {
    let starts = |prefix: &str| {
        text.as_bytes()
            .get(..prefix.len())
            .filter(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
            .map(|start| start == prefix.as_bytes())
    };
    if let Some(lower) = starts("https://") {
        return Ok(Scheme {
            https: true,
            lower,
            len: 8,
        });
    }
    if let Some(lower) = starts("http://") {
        return Ok(Scheme {
            https: false,
            lower,
            len: 7,
        });
    }
    Err(TargetError::Scheme)
}

/// Where the authority that begins at `start` ends.
pub(super) fn authority_end(text: &str, start: usize) -> Result<usize, TargetError> {
    let mut userinfo = false;
    for (at, byte) in text.bytes().enumerate().skip(start) {
        match byte {
            b'/' | b'?' | b'#' => {
                return if userinfo { Err(TargetError::Userinfo) } else { Ok(at) };
            }
            b'\\' => return Err(TargetError::Backslash),
            0..=0x1f | 0x7f => return Err(TargetError::Control),
            0x80.. => return Err(TargetError::NonAscii),
            b'@' => userinfo = true,
            _ => {}
        }
    }
    if userinfo {
        Err(TargetError::Userinfo)
    } else {
        Ok(text.len())
    }
}

/// Splits an authority without userinfo. The port is what follows the colon, not yet checked.
pub(super) fn host_and_port(authority: &str) -> Result<(&str, Option<&str>), TargetError> {
    let end = if authority.starts_with('[') {
        authority.find(']').map(|bracket| bracket + 1)
    } else {
        authority.bytes().position(|byte| byte == b':')
    };
    let split = end.unwrap_or(authority.len());
    let (host, rest) = authority.split_at_checked(split).ok_or(TargetError::Host)?;
    if rest.is_empty() {
        return Ok((host, None));
    }
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None => Err(TargetError::Host),
    }
}

pub(super) enum Host {
    /// A DNS name that no parser takes for an address.
    Name,
    /// A loopback address in its one spelling, or `localhost`: needs an exemption.
    Local,
}

pub(super) fn host(host: &str) -> Result<Host, TargetError> {
    if host.starts_with('[') {
        return if host == "[::1]" {
            Ok(Host::Local)
        } else {
            Err(TargetError::Address)
        };
    }
    if host.ends_with('.') && host.len() > 1 {
        return Err(TargetError::TrailingDot);
    }
    if host.len() > 253 {
        return Err(TargetError::Host);
    }
    let (mut start, mut before) = (0, b'.');
    for (at, byte) in host.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'A'..=b'Z' => {}
            b'-' if before != b'.' => {}
            b'.' if label_ends_well(at - start, before) => start = at + 1,
            _ => return Err(TargetError::Host),
        }
        before = byte;
    }
    if !label_ends_well(host.len() - start, before) {
        return Err(TargetError::Host);
    }
    let last = host.get(start..).unwrap_or_default();
    if last.eq_ignore_ascii_case("localhost") {
        return if last.len() == host.len() {
            Ok(Host::Local)
        } else {
            Err(TargetError::Address)
        };
    }
    // A WHATWG parser takes a host for an IPv4 address when its last label is a number; one starting with 0x may be one.
    let number = last.bytes().all(|byte| byte.is_ascii_digit());
    let hexadecimal = last.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"));
    if number || hexadecimal {
        return match host.parse::<Ipv4Addr>() {
            Ok(address) if address.is_loopback() => Ok(Host::Local),
            _ => Err(TargetError::Address),
        };
    }
    Ok(Host::Name)
}

fn label_ends_well(length: usize, last: u8) -> bool {
    (1..=63).contains(&length) && last != b'-'
}

/// Where path and query end, counted from the start of the path.
pub(super) struct Ends {
    pub(super) path: usize,
    pub(super) query: usize,
}

/// What an octet means after the authority.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Illegal,
    /// Letters, digits and marks that mean nothing here.
    Plain,
    Apostrophe,
    Dot,
    Slash,
    Semicolon,
    Percent,
    Question,
    Hash,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Illegal; 256];
    let mut at = 0;
    while at < 256 {
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler; at is below 256")]
        {
            #[expect(clippy::cast_possible_truncation, reason = "at is below 256")]
            let byte = at as u8;
            classes[at] = match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => Class::Plain,
                // RFC 3986: unreserved, sub-delims and the rest of pchar.
                b'-' | b'_' | b'~' | b'!' | b'$' | b'&' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' => {
                    Class::Plain
                }
                b'\'' => Class::Apostrophe,
                b'.' => Class::Dot,
                b'/' => Class::Slash,
                b';' => Class::Semicolon,
                b'%' => Class::Percent,
                b'?' => Class::Question,
                b'#' => Class::Hash,
                _ => Class::Illegal,
            };
        }
        at += 1;
    }
    classes
};

fn class(byte: u8) -> Class {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Illegal)
}

/// Checks path, query and fragment of a URL. The text may be empty or begin with any of `/ ? #`.
pub(super) fn tail(text: &str) -> Result<Ends, TargetError> {
    let bytes = text.as_bytes();
    let path = path(bytes)?;
    let mut query = path;
    if bytes.get(path) == Some(&b'?') {
        query = rest(bytes, path + 1, true)?;
    }
    if bytes.get(query) == Some(&b'#') {
        let end = rest(bytes, query + 1, false)?;
        if end < bytes.len() {
            return Err(TargetError::Character);
        }
    }
    Ok(Ends { path, query })
}

/// Counts the dots of a segment that has nothing else; [`OTHER`] once it has.
const OTHER: u8 = 3;

fn path(bytes: &[u8]) -> Result<usize, TargetError> {
    let mut dots = OTHER;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        // `end`: a place where some server may end a segment. `fresh`: the dots before and after it are counted apart.
        let (end, fresh) = match class(byte) {
            Class::Plain | Class::Apostrophe => {
                dots = OTHER;
                at += 1;
                continue;
            }
            Class::Dot => {
                dots = OTHER.min(dots + 1);
                at += 1;
                continue;
            }
            Class::Slash => (1, 0),
            Class::Semicolon => (1, OTHER),
            Class::Percent => match escaped(bytes, at)? {
                b'.' => {
                    dots = OTHER.min(dots + 1);
                    at += 3;
                    continue;
                }
                b'/' | b'\\' => (3, 0),
                b';' => (3, OTHER),
                _ => {
                    dots = OTHER;
                    at += 3;
                    continue;
                }
            },
            Class::Question | Class::Hash => break,
            Class::Illegal => return Err(illegal(byte)),
        };
        if dots == 1 || dots == 2 {
            return Err(TargetError::DotSegment);
        }
        dots = fresh;
        at += end;
    }
    if dots == 1 || dots == 2 {
        return Err(TargetError::DotSegment);
    }
    Ok(at)
}

/// Checks a query or fragment; gives the place of the next `#` or the end.
fn rest(bytes: &[u8], start: usize, query: bool) -> Result<usize, TargetError> {
    let mut at = start;
    while let Some(&byte) = bytes.get(at) {
        match class(byte) {
            Class::Percent => {
                escaped(bytes, at)?;
                at += 3;
                continue;
            }
            Class::Hash => break,
            Class::Apostrophe if query => return Err(TargetError::Apostrophe),
            Class::Illegal => return Err(illegal(byte)),
            _ => at += 1,
        }
    }
    Ok(at)
}

/// The octet that the escape at `at` stands for.
fn escaped(bytes: &[u8], at: usize) -> Result<u8, TargetError> {
    let digit = |offset: usize| match bytes.get(at + offset) {
        Some(&byte @ b'0'..=b'9') => Ok(byte - b'0'),
        Some(&byte @ b'a'..=b'f') => Ok(byte - b'a' + 10),
        Some(&byte @ b'A'..=b'F') => Ok(byte - b'A' + 10),
        _ => Err(TargetError::PercentEscape),
    };
    Ok(digit(1)? * 16 + digit(2)?)
}

fn illegal(byte: u8) -> TargetError {
    match byte {
        b'\\' => TargetError::Backslash,
        0..=0x1f | 0x7f => TargetError::Control,
        0x80.. => TargetError::NonAscii,
        _ => TargetError::Character,
    }
}
