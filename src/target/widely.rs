//! Paths as the most forgiving server would read them: for places that must not be met by accident, however they are written.

use std::sync::Arc;

/// A path and all below it, in which a segment in braces stands for any one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Below(Arc<[Option<Box<str>>]>);

impl Below {
    pub(crate) fn new(template: &str) -> Self {
        let is_any = |segment: &String| segment.starts_with('{') && segment.ends_with('}');
        let segments = read_widely(template).into_iter();
        Self(
            segments
                .map(|segment| (!is_any(&segment)).then(|| segment.into_boxed_str()))
                .collect(),
        )
    }

    /// Whether this path, in whatever spelling, is the one or lies below it.
    pub(crate) fn holds(&self, path: &str) -> bool {
        if is_plain(path) {
            return self.begins(path.split('/').filter(|segment| !segment.is_empty()));
        }
        self.begins(read_widely(path).iter().map(String::as_str))
    }

    fn begins<'a>(&self, mut given: impl Iterator<Item = &'a str>) -> bool {
        self.0.iter().all(|wanted| match (wanted, given.next()) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(wanted), Some(given)) => wanted.eq_ignore_ascii_case(given),
        })
    }
}

/// Whether a path can be read in one way alone, letters' case and empty segments aside.
fn is_plain(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b'~');
    path.bytes().all(plain) && !path.starts_with('.') && !path.contains("/.")
}

/// How often percent-encoding is taken off: more than any chain of gateways does.
const MOST_DECODED: usize = 4;

/// The segments of a path as the most forgiving server would read them.
fn read_widely(path: &str) -> Vec<String> {
    let mut text = path.as_bytes().to_vec();
    for _ in 0..MOST_DECODED {
        let decoded = decoded(&text);
        if decoded == text {
            break;
        }
        text = decoded;
    }
    let text = String::from_utf8_lossy(&text).to_ascii_lowercase();
    let mut segments: Vec<String> = Vec::new();
    for segment in text.split(['/', '\\']) {
        let bare = segment.split([';', '\0']).next().unwrap_or_default();
        match bare.trim_matches(|c: char| c.is_ascii_whitespace() || c.is_control()) {
            "" | "." => {}
            ".." => drop(segments.pop()),
            bare => segments.push(bare.to_owned()),
        }
    }
    segments
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let octet = match (first, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        match octet {
            Some(octet) => {
                decoded.push(octet);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push(first);
                rest = after;
            }
        }
    }
    decoded
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_however_it_is_written() {
        let token = Below::new("/oauth/token");
        for path in [
            "/oauth/token",
            "/oauth/token/",
            "/OAuth/Token",
            "/oauth/%74oken",
            "/oauth%2ftoken",
            "/oauth%252Ftoken",
            "//oauth//token",
            "/oauth;v=1/token;x",
            "/oauth/./token",
            "/x/../oauth/token",
            "/x/%2e%2e/oauth/token",
            "/oauth\\token",
            "/oauth/token%20",
            "/oauth/token%00.json",
            "/oauth/token/more",
        ] {
            assert!(token.holds(path), "{path}");
        }
        for path in ["/oauth", "/oauth/tokens", "/rate/oauth/token", "/"] {
            assert!(!token.holds(path), "{path}");
        }
    }
}
