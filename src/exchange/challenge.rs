//! `WWW-Authenticate` (RFC 9110 11.6.1): several challenges in one or more fields, read without splitting on commas that
//! stand inside quoted strings.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// The most octets of all fields together that are read: more is treated as malformed.
const MAX_OCTETS: usize = 8 * 1024;

/// One challenge: its scheme and parameter names in lower case, as both compare without case (RFC 9110 11.1, 11.2).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) scheme: String,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) token68: Option<String>,
}

impl Challenge {
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.params
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Every challenge of an answer, in order; `None` when a field is malformed, repeats a parameter or is too long, since then
/// nothing in it can be relied upon.
pub(crate) fn parse(headers: &HeaderMap) -> Option<Vec<Challenge>> {
    let fields = headers.get_all(WWW_AUTHENTICATE);
    if fields.iter().map(|field| field.len()).sum::<usize>() > MAX_OCTETS {
        return None;
    }
    let mut challenges = Vec::new();
    for field in fields {
        Reader { rest: field.as_bytes() }.challenges(&mut challenges)?;
    }
    Some(challenges)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn challenges(&mut self, into: &mut Vec<Challenge>) -> Option<()> {
        loop {
            self.skip(|byte| is_space(byte) || byte == b',');
            if self.rest.is_empty() {
                return Some(());
            }
            let scheme = lower(self.token()?);
            let mut challenge = Challenge {
                scheme,
                params: Vec::new(),
                token68: None,
            };
            if !self.at_element_end() {
                if !self.rest.first().copied().is_some_and(is_space) {
                    return None;
                }
                self.skip(is_space);
                if !self.at_element_end() {
                    match self.token68() {
                        Some(token) => challenge.token68 = Some(token),
                        None => self.params(&mut challenge.params)?,
                    }
                }
            }
            into.push(challenge);
        }
    }

    /// `name = value` parts up to the end of the field, or to a comma behind which another challenge begins.
    fn params(&mut self, into: &mut Vec<(String, String)>) -> Option<()> {
        loop {
            let name = lower(self.token()?);
            self.skip(is_space);
            self.expect(b'=')?;
            self.skip(is_space);
            let value = if self.rest.first() == Some(&b'"') {
                self.quoted()?
            } else {
                text(self.token()?)
            };
            if into.iter().any(|(known, _)| *known == name) {
                return None;
            }
            into.push((name, value));
            if !self.at_element_end() {
                return None;
            }
            let next = Reader { rest: self.rest }.next_param();
            match next {
                Some(rest) => self.rest = rest,
                None => return Some(()),
            }
        }
    }

    /// What is left from the next list element on, if that is a parameter and not a challenge.
    fn next_param(mut self) -> Option<&'a [u8]> {
        self.skip(|byte| is_space(byte) || byte == b',');
        let rest = self.rest;
        self.token()?;
        self.skip(is_space);
        (self.rest.first() == Some(&b'=')).then_some(rest)
    }

    /// A token68 that fills the element; nothing is consumed where there is none.
    fn token68(&mut self) -> Option<String> {
        let legal = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
        let length = self.rest.iter().take_while(|byte| legal(byte)).count();
        let padding = self.rest.iter().skip(length).take_while(|byte| **byte == b'=').count();
        let (token, rest) = self.rest.split_at_checked(length + padding)?;
        let mut after = Reader { rest };
        if length == 0 || !after.at_element_end() {
            return None;
        }
        self.rest = after.rest;
        Some(text(token))
    }

    fn quoted(&mut self) -> Option<String> {
        self.expect(b'"')?;
        let mut value = Vec::new();
        loop {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            match byte {
                b'"' => return Some(text(&value)),
                b'\\' => {
                    let (&escaped, rest) = self.rest.split_first()?;
                    self.rest = rest;
                    value.push(escaped);
                }
                _ => value.push(byte),
            }
        }
    }

    fn token(&mut self) -> Option<&'a [u8]> {
        let legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        let length = self.rest.iter().take_while(|byte| legal(byte)).count();
        let (token, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        (length > 0).then_some(token)
    }

    /// Skips spaces; whether the element ends here.
    fn at_element_end(&mut self) -> bool {
        let spaces = self.rest.iter().take_while(|byte| is_space(**byte)).count();
        match self.rest.get(spaces) {
            None | Some(b',') => {
                self.rest = self.rest.get(spaces..).unwrap_or_default();
                true
            }
            Some(_) => false,
        }
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        (byte == wanted).then_some(())
    }

    fn skip(&mut self, unwanted: impl Fn(u8) -> bool) {
        let length = self.rest.iter().take_while(|byte| unwanted(**byte)).count();
        self.rest = self.rest.get(length..).unwrap_or_default();
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn lower(token: &[u8]) -> String {
    text(token).to_ascii_lowercase()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
