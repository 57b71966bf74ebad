//! The parameters of a request: `application/x-www-form-urlencoded`, as a server reads it, or JSON.

use std::collections::HashSet;

use http::{HeaderMap, header};
use serde_json::Value;

/// A request's parameters, in the order in which they came.
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// The fields of a form; none where the body is something else (RFC 6749 3.2).
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Self {
        match has_type(headers, "application/x-www-form-urlencoded") {
            true => Self(parse(body)),
            false => Self(Vec::new()),
        }
    }

    /// The text members of a JSON object, where nothing but JSON is taken.
    pub(super) fn read_json(headers: &HeaderMap, body: &[u8]) -> Self {
        if !has_type(headers, "application/json") {
            return Self(Vec::new());
        }
        let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
            return Self(Vec::new());
        };
        let text = |value: Value| value.as_str().map(str::to_owned);
        let members = members.into_iter();
        Self(members.filter_map(|(name, value)| Some((name, text(value)?))).collect())
    }

    /// Either of both.
    pub(super) fn read_either(headers: &HeaderMap, body: &[u8]) -> Self {
        match has_type(headers, "application/json") {
            true => Self::read_json(headers, body),
            false => Self::read(headers, body),
        }
    }

    /// These under other names, each given behind its own. What had another name before is left out.
    pub(super) fn renamed(self, names: &[(&str, &str)]) -> Self {
        let renamed = |name: &str| names.iter().find(|(own, _)| *own == name);
        let fields = self.0.into_iter();
        Self(
            fields
                .filter_map(|(name, value)| Some((renamed(&name)?.1.to_owned(), value)))
                .collect(),
        )
    }

    /// These and one more.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Those of a query.
    pub(super) fn of_query(query: Option<&str>) -> Self {
        Self(parse(query.unwrap_or_default().as_bytes()))
    }

    /// Whether a parameter is there twice (RFC 6749 3.2), other than those that may be (RFC 8693 2.1, RFC 8707 2).
    pub(super) fn repeated(&self) -> bool {
        let mut seen = HashSet::new();
        let mut once = self
            .0
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "resource" | "audience"));
        once.any(|(name, _)| !seen.insert(name))
    }

    /// The parameter of this name, the first where there are several.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut named = self.0.iter().filter(|(field, _)| field == name);
        named.next().map(|(_, value)| value.as_str())
    }
}

fn has_type(headers: &HeaderMap, wanted: &str) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(wanted)
}

/// The fields in the order in which they came. What is not UTF-8 after decoding is replaced.
pub(super) fn parse(body: &[u8]) -> Vec<(String, String)> {
    body.split(|byte| *byte == b'&')
        .filter(|field| !field.is_empty())
        .map(|field| {
            let mut halves = field.splitn(2, |byte| *byte == b'=');
            let mut half = || decode(halves.next().unwrap_or_default());
            (half(), half())
        })
        .collect()
}

/// Undoes percent-encoding and `+`. A `%` without two hexadecimal digits stays as it is.
pub(super) fn decode(text: &[u8]) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        decoded.push(match (byte, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                _ => b'%',
            },
            (byte, _) => *byte,
        });
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded() {
        let fields = parse(b"a=1+2&b=%C3%A9%2b&c&d=%zz%4");
        let wanted = [("a", "1 2"), ("b", "\u{e9}+"), ("c", ""), ("d", "%zz%4")];
        assert_eq!(fields, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
