//! Paths as the most forgiving server would read them: for places that must not be met by accident, however they are written.

use std::sync::Arc;

/// A path and all below it, in which a segment in braces stands for any one segment.
///
/// Servers and the gateways before them differ in what they make of a path: how often they decode it, whether what was decoded
/// ends a segment, where they end a name. So a path is read once, and so widely that every such reading is in it:
///
/// - It is decoded until nothing is left to decode, and every `/` and `\` that comes to light ends a segment. Blank segments
///   are none.
/// - A segment is the wanted one where it begins with it and goes on with neither letter, digit, `-` nor `_`: a suffix of the
///   format, parameters, an encoded `?`. Blanks, control characters and `+` before and inside a name are passed over.
/// - Where a path is not plain, a segment in braces stands for any number of segments.
/// - What cannot be judged is held: dot segments, octets that are not UTF-8, characters outside of Latin-1, which some server
///   may fold to any other, and what is encoded more often than any chain of gateways decodes. The accented letters of
///   Latin-1 are names' own: a segment is compared up to the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Below(Arc<[Option<Box<str>>]>);

impl Below {
    pub(crate) fn new(template: &str) -> Self {
        let (text, _) = fully_decoded(template);
        let text = String::from_utf8_lossy(&text).to_ascii_lowercase();
        let mut segments = Vec::new();
        for segment in text.split(['/', '\\']) {
            let bare = segment.split([';', '?', '#', '\0']).next().unwrap_or_default();
            match bare.trim_matches(|c: char| c == ' ' || c == '+' || c.is_control()) {
                "" | "." => {}
                ".." => drop(segments.pop()),
                any if any.starts_with('{') && any.ends_with('}') => segments.push(None),
                fixed => segments.push(Some(fixed.into())),
            }
        }
        Self(segments.into())
    }

    /// Whether this path, in whatever spelling, is the one or lies below it, or cannot be judged.
    pub(crate) fn holds(&self, path: &str) -> bool {
        if is_plain(path) {
            return self.begins(path.split('/').filter(|segment| !segment.is_empty()));
        }
        let (text, all) = fully_decoded(path);
        if !all || has_wide_escape(&text) {
            return true;
        }
        let segments = text.split(|byte| matches!(byte, b'/' | b'\\'));
        let segments: Vec<&[u8]> = segments.filter(|segment| !is_blank(segment)).collect();
        segments.iter().any(|segment| is_dots(segment)) || self.begins_widely(&segments)
    }

    fn begins<'a>(&self, mut given: impl Iterator<Item = &'a str>) -> bool {
        self.0.iter().all(|wanted| match (wanted, given.next()) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(wanted), Some(given)) => is_named(wanted, given.as_bytes()),
        })
    }

    /// Like a pattern with asterisks: of each row of fixed segments the first place is the best.
    fn begins_widely(&self, given: &[&[u8]]) -> bool {
        let mut rows = self.0.split(Option::is_none);
        let fits = |row: &[Option<Box<str>>], given: &[&[u8]]| {
            let mut pairs = row.iter().flatten().zip(given);
            row.len() <= given.len() && pairs.all(|(wanted, given)| is_named(wanted, given))
        };
        let first = rows.next().unwrap_or_default();
        if !fits(first, given) {
            return false;
        }
        let mut rest = given.get(first.len()..).unwrap_or_default();
        rows.all(|row| {
            let place = (0..=rest.len()).find(|at| fits(row, rest.get(*at..).unwrap_or_default()));
            rest = place.and_then(|at| rest.get(at + row.len()..)).unwrap_or_default();
            place.is_some()
        })
    }
}

/// Whether a path can be read in one way alone, letters' case and what follows a dot aside.
fn is_plain(path: &str) -> bool {
    let mut before = b'/';
    for (at, byte) in path.bytes().enumerate() {
        let plain = match byte {
            b'/' => before != b'/' || at == 0,
            b'.' => before != b'/',
            byte => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~'),
        };
        if !plain {
            return false;
        }
        before = byte;
    }
    true
}

/// How often percent-encoding is taken off: more than any chain of gateways does.
const MOST_DECODED: usize = 4;

/// A path without percent-encoding, and whether each of its forms on the way can be judged.
fn fully_decoded(path: &str) -> (Vec<u8>, bool) {
    let mut text = path.as_bytes().to_vec();
    let mut clear = is_clear(&text);
    for _ in 0..MOST_DECODED {
        let next = decoded(&text);
        if next == text {
            return (text, clear);
        }
        text = next;
        clear &= is_clear(&text);
    }
    let over = decoded(&text) == text;
    (text, clear && over)
}

/// Whether these octets are text that every server takes for the same: of Latin-1.
fn is_clear(text: &[u8]) -> bool {
    let usual = |c: char| c.is_ascii() || matches!(c, '\u{c0}'..='\u{ff}');
    text.is_ascii() || str::from_utf8(text).is_ok_and(|text| text.chars().all(usual))
}

/// `%u0074`, which is of no standard and understood by some.
fn has_wide_escape(text: &[u8]) -> bool {
    text.windows(3)
        .any(|window| matches!(window, [b'%', b'u' | b'U', digit] if digit.is_ascii_hexdigit()))
}

/// What a server may trim or drop.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_control() || matches!(byte, b' ' | b'+')
}

/// What a server may take for the end of a name.
fn is_end(byte: u8) -> bool {
    byte.is_ascii() && !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'_')
}

/// Whether a segment is empty once its spaces and parameters are left out.
fn is_blank(segment: &[u8]) -> bool {
    segment
        .iter()
        .find(|byte| !is_space(**byte))
        .is_none_or(|byte| matches!(byte, b';' | b'?' | b'#'))
}

/// Whether a segment may be taken for `.` or `..`, whatever a server drops after them.
fn is_dots(segment: &[u8]) -> bool {
    let mut bare = segment.iter().skip_while(|byte| is_space(**byte));
    bare.next() == Some(&b'.') && bare.next().is_none_or(|byte| is_end(*byte))
}

/// Whether a segment may be taken for the one that is wanted, which is in lower case.
fn is_named(wanted: &str, given: &[u8]) -> bool {
    let mut given = given.iter().copied();
    for wanted in wanted.bytes() {
        let next = given.find(|byte| byte.to_ascii_lowercase() == wanted || !is_space(*byte));
        match next {
            Some(byte) if byte.to_ascii_lowercase() == wanted => {}
            Some(byte) if !byte.is_ascii() => return true,
            _ => return false,
        }
    }
    given.next().is_none_or(|byte| is_end(byte) || !byte.is_ascii())
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
            "/oauth/;v=1/token",
            "/oauth/./token",
            "/x/../oauth/token",
            "/x/%2e%2e/oauth/token",
            "/oauth\\token",
            "/oauth/token%20",
            "/oauth/token%00.json",
            "/oauth/token/more",
            "/oauth/token.json",
            "/oauth/token.",
            "/oauth/token+",
            "/oauth/token:x",
            "/oauth/token,x",
            "/oauth/token(1)",
            "/oauth/token%3fx",
            "/oauth/token%23x",
            "/oauth/token%253fx",
            "/oauth/token%2525253Fx",
            "/oauth/%20token",
            "/oauth/+token",
            "/oauth/to%0aken",
            "/oauth/token/%252e%252e",
            "/oauth/token/%252e%252e/rates",
            "/rates/%252e%252e/oauth/token",
            "/rates%252f..%252foauth%252ftoken",
            "/oauth/%%37%34oken",
        ] {
            assert!(token.holds(path), "{path}");
        }
        for path in [
            "/oauth",
            "/oauth/tokens",
            "/oauth/token-x",
            "/oauth/xtoken",
            "/rate/oauth/token",
            "/rate%2foauth/token",
            "/",
            "/oauth/.well-known/token",
            "/rates/a%20b/100%25",
        ] {
            assert!(!token.holds(path), "{path}");
        }
    }

    #[test]
    fn a_parameter_of_a_path_that_is_not_plain_may_be_read_as_none_or_many() {
        let keys = Below::new("/v2/users/{id}/api_keys");
        for path in [
            "/v2/users/u_1/api_keys",
            "/v2/users/u_1/api_keys.json",
            "/v2/users/u_1%2Fx/api_keys",
            "/v2/users/a%2fb%2fc/api_keys",
            "/v2/users/%20/api_keys",
            "/v2/users//api_keys",
            "/v2/users/;u_1/api_keys",
            "/v2/users/;u_1/../api_keys",
            "/v2/users/%252e/api_keys",
            "/v2/users/%252e%252e/api_keys",
            "/v2/users/api_keys%2F/api_keys",
            "/v2/users/u.1/api%5fkeys",
        ] {
            assert!(keys.holds(path), "{path}");
        }
        for path in [
            "/v2/users/u_1",
            "/v2/users/api_keys",
            "/v2/users/u_1/api",
            "/v2/users/a%20b",
            "/v2/users/u_1/x/api_keys",
            "/v3/users/a%2fb/api_keys",
        ] {
            assert!(!keys.holds(path), "{path}");
        }
    }

    #[test]
    fn what_cannot_be_judged_is_held() {
        let token = Below::new("/oauth/token");
        for path in [
            "/oauth%c0%aftoken",
            "/rates%EF%BC%8Fx",
            "/v2/api%EF%BC%BFkeys",
            "/oauth/token%C2%A0",
            "/oauth/%E2%80%8Btoken",
            "/oauth/to%E2%84%AAen",
            "/%E6%9D%B1%E4%BA%AC",
            "/rates/%C3%25BC",
            "/rates/%ff",
            "/rates/%25u0074",
            "/rates/%252525252e",
            "/rates/%2e%2e",
            "/rates/...",
            "/rates/%2e%2e%20",
        ] {
            assert!(token.holds(path), "{path}");
        }
        assert!(token.holds(&format!("/rates/%{}41", "25".repeat(2000))));
    }

    #[test]
    fn accented_letters_are_names_own() {
        let token = Below::new("/oauth/token");
        for path in [
            "/locations/M%C3%BCnchen",
            "/oauth/M%C3%BCnchen",
            "/rates/caf%C3%A9.json",
        ] {
            assert!(!token.holds(path), "{path}");
        }
        // Folded, they may be a name's.
        for path in ["/oauth/tok%C3%A9n", "/%C3%B5auth/token", "/oauth/token%C3%A9"] {
            assert!(token.holds(path), "{path}");
        }
    }

    #[test]
    fn endpoints_names_may_have_dots() {
        let token = Below::new("/as/token.oauth2");
        assert!(token.holds("/as/token.oauth2") && token.holds("/as/Token%2eoauth2.json"));
        assert!(!token.holds("/as/token.oauth"));
    }
}
