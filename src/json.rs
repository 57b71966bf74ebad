//! Strict JSON: one object and nothing after it, no member twice, limited depth (RFC 8259, RFC 8725 2.4).
//!
//! Proofs and token answers are read with this. serde_json does the parsing; what is added is that a second member of one
//! name (also when it hides behind escapes) is an error instead of a winner, and that errors say which kind and nothing
//! else: the text may hold a token. Strings are wiped on drop; serde_json's own scratch space for strings with escapes is not.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use thiserror::Error;
use zeroize::Zeroizing;

/// How deep objects and arrays may be nested, the outermost object included.
pub(crate) const MAX_DEPTH: usize = 16;

/// serde_json's name for a number when something in the build switched its `arbitrary_precision` on.
const NUMBER_TOKEN: &str = "$serde_json::private::Number";

/// Why a text was refused. Never holds any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum JsonError {
    /// Not UTF-8, not JSON, not an object, or something follows the object.
    #[error("not one JSON object")]
    NotJson,
    /// A member occurs twice in one object.
    #[error("a JSON object has a member twice")]
    DuplicateMember,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("JSON is nested too deep")]
    TooDeep,
}

/// A JSON object.
#[derive(Clone, Default)]
pub(crate) struct Object(BTreeMap<String, Value>);

impl Object {
    /// Reads a text that is one object.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, JsonError> {
        let cause = Cell::new(JsonError::NotJson);
        let mut parser = serde_json::Deserializer::from_slice(text);
        let seed = Seed {
            depth: 0,
            cause: &cause,
        };
        let value = seed.deserialize(&mut parser).map_err(|_| cause.get())?;
        parser.end().map_err(|_| JsonError::NotJson)?;
        match value {
            Value::Object(object) => Ok(object),
            _ => Err(JsonError::NotJson),
        }
    }

    /// All members, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The member of this name, if there is one.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({} members)", self.0.len())
    }
}

/// A JSON number, as exact as 64 bits allow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Unsigned(u64),
    Negative(i64),
    Float(f64),
}

impl Number {
    /// The number, when it was written as an integer that fits.
    pub(crate) fn as_i64(self) -> Option<i64> {
        match self {
            Self::Unsigned(number) => i64::try_from(number).ok(),
            Self::Negative(number) => Some(number),
            Self::Float(_) => None,
        }
    }

    /// The number, when it was written as an integer that fits.
    pub(crate) fn as_u64(self) -> Option<u64> {
        match self {
            Self::Unsigned(number) => Some(number),
            Self::Negative(_) | Self::Float(_) => None,
        }
    }

    /// The nearest floating-point number, always finite.
    #[expect(
        clippy::cast_precision_loss,
        reason = "asked for by name; exact views are as_i64 and as_u64"
    )]
    pub(crate) fn as_f64(self) -> f64 {
        match self {
            Self::Unsigned(number) => number as f64,
            Self::Negative(number) => number as f64,
            Self::Float(number) => number,
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse() {
            return Some(Self::Unsigned(number));
        }
        if let Ok(number) = text.parse() {
            return Some(Self::Negative(number));
        }
        text.parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .map(Self::Float)
    }
}

/// A JSON value.
#[derive(Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    Text(Zeroizing<String>),
    Array(Vec<Value>),
    Object(Object),
}

impl Value {
    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_number(&self) -> Option<Number> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub(crate) fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    pub(crate) fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    pub(crate) fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "Null",
            Self::Bool(_) => "Bool",
            Self::Number(_) => "Number",
            Self::Text(_) => "Text",
            Self::Array(_) => "Array",
            Self::Object(_) => "Object",
        })
    }
}

/// Reads one value that stands `depth` containers deep, and leaves the kind of a refusal in `cause`.
#[derive(Clone, Copy)]
struct Seed<'a> {
    depth: usize,
    cause: &'a Cell<JsonError>,
}

impl Seed<'_> {
    fn inside<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(self.refuse(JsonError::TooDeep));
        }
        Ok(Self {
            depth: self.depth + 1,
            ..self
        })
    }

    fn refuse<E: serde::de::Error>(self, cause: JsonError) -> E {
        self.cause.set(cause);
        E::custom("refused")
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(Number::Unsigned(number)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(Number::Negative(number)))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Value, E> {
        if number.is_finite() {
            Ok(Value::Number(Number::Float(number)))
        } else {
            Err(E::custom("refused"))
        }
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inside)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut object = BTreeMap::new();
        while let Some(name) = members.next_key::<String>()? {
            if name == NUMBER_TOKEN {
                let text: String = members.next_value()?;
                let number = Number::from_text(&text).ok_or_else(|| A::Error::custom("refused"))?;
                return Ok(Value::Number(number));
            }
            let value = members.next_value_seed(inside)?;
            if object.insert(name, value).is_some() {
                return Err(self.refuse(JsonError::DuplicateMember));
            }
        }
        Ok(Value::Object(Object(object)))
    }
}

/// Writes a value that holds secrets, once and into a buffer of its size, so that no copy is left behind. `None` when it has more
/// than `most` octets.
#[cfg(feature = "sql")]
pub(crate) fn write(value: &impl serde::Serialize, most: usize) -> Option<Zeroizing<Vec<u8>>> {
    struct Count(usize);

    impl std::io::Write for Count {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            self.0 += octets.len();
            Ok(octets.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).ok()?;
    if count.0 > most {
        return None;
    }
    let mut written = Zeroizing::new(Vec::with_capacity(count.0));
    serde_json::to_writer(&mut *written, value).ok()?;
    Some(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &[u8]) -> JsonError {
        Object::parse(text).expect_err("refused")
    }

    #[test]
    fn values_keep_their_types() {
        let text =
            br#" {"s":"a\u0062","u":18446744073709551615,"i":-1,"f":1.5,"t":true,"n":null,"a":[1,"x"],"o":{"k":"v"}} "#;
        let object = Object::parse(text).unwrap();
        assert_eq!(object.get("s").and_then(Value::as_str), Some("ab"));
        let number = |name: &str| object.get(name).and_then(Value::as_number).unwrap();
        assert_eq!(number("u").as_u64(), Some(u64::MAX));
        assert_eq!(number("u").as_i64(), None);
        assert_eq!(number("i").as_i64(), Some(-1));
        assert_eq!((number("f").as_i64(), number("f").as_f64()), (None, 1.5));
        assert!(matches!(object.get("t"), Some(Value::Bool(true))));
        assert!(object.get("n").unwrap().is_null());
        assert_eq!(object.get("a").and_then(Value::as_array).map(<[Value]>::len), Some(2));
        let inner = object.get("o").and_then(Value::as_object).unwrap();
        assert_eq!(inner.get("k").and_then(Value::as_str), Some("v"));
        assert!(object.get("absent").is_none());
        assert_eq!(format!("{object:?}"), "Object(8 members)");
    }

    #[test]
    fn a_member_twice_is_refused_also_through_escapes_and_deep_inside() {
        assert_eq!(refused(br#"{"a":1,"a":1}"#), JsonError::DuplicateMember);
        assert_eq!(refused(br#"{"alg":1,"\u0061lg":2}"#), JsonError::DuplicateMember);
        assert_eq!(refused(br#"{"o":[{"a":1,"b":2,"a":3}]}"#), JsonError::DuplicateMember);
    }

    #[test]
    fn only_one_whole_object_is_read() {
        for text in [
            &b""[..],
            b"[]",
            b"\"{}\"",
            b"1",
            b"{} x",
            b"{}{}",
            b"{\"a\":1,}",
            b"{\"a\":01}",
            b"{\"a\":NaN}",
            b"{\"a\":1e999}",
            b"{'a':1}",
            b"\xef\xbb\xbf{}",
            b"{\"a\":\"\xff\"}",
            b"{\"a\xff\":1}",
            b"{\"a\":\"\\ud800\"}",
            b"{\"a\":\"\n\"}",
            b"{\"a\":1",
        ] {
            assert_eq!(refused(text), JsonError::NotJson, "{text:?}");
        }
    }

    #[test]
    fn depth_ends_at_the_limit() {
        let nested = |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(Object::parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(refused(nested(MAX_DEPTH + 1).as_bytes()), JsonError::TooDeep);
        assert_eq!(refused(nested(100_000).as_bytes()), JsonError::TooDeep);
    }

    #[test]
    fn debug_shows_no_content() {
        let object = Object::parse(br#"{"access_token":"hunter2-hunter2"}"#).unwrap();
        let shown = format!("{object:?} {:?}", object.get("access_token"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
