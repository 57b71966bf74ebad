//! Forms that hold secrets (`application/x-www-form-urlencoded`): wiped, and never in two places.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use http::HeaderValue;
use zeroize::Zeroizing;

/// The media type of a form.
pub(super) const MEDIA: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// The media type of the same as JSON.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The parameters of one request, in their order. `Debug` shows the names.
#[derive(Clone, Default)]
pub(crate) struct Form(Vec<(Cow<'static, str>, Zeroizing<String>)>);

impl Form {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A form that asks for a token by this grant.
    pub(super) fn of_grant(grant_type: &str) -> Self {
        Self::new().with("grant_type", grant_type)
    }

    /// Takes a parameter out.
    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    pub(crate) fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.add(name, value);
        self
    }

    pub(crate) fn add(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        self.0.push((name.into(), Zeroizing::new(value.into())));
    }

    /// The form's text. The octets are wiped when the last who shares them lets go.
    pub(super) fn encode(&self) -> Bytes {
        Bytes::from_owner(Zeroizing::new(self.text().into_bytes()))
    }

    /// The same as one JSON object, each parameter a text; of several with one name the last stays.
    pub(super) fn encode_json(&self) -> Bytes {
        let longest: usize = self.0.iter().map(|(name, value)| name.len() + value.len()).sum();
        // Room for the worst case of six octets for one, and for quotes, as above.
        let mut text = Zeroizing::new(Vec::with_capacity(6 * longest + 6 * self.0.len() + 2));
        let members: BTreeMap<&str, &str> = self.0.iter().map(|(name, value)| (&**name, value.as_str())).collect();
        // Texts can always be written.
        if serde_json::to_writer(&mut *text, &members).is_err() {
            text.clear();
        }
        Bytes::from_owner(text)
    }

    /// The same as the query of a URL.
    pub(super) fn text(&self) -> String {
        let room: usize = self.0.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        // Room for the worst case of three octets for one, so that the text with the secret in it never moves.
        let mut text = form_urlencoded::Serializer::new(String::with_capacity(3 * room));
        text.extend_pairs(self.0.iter().map(|(name, value)| (&**name, value.as_str())));
        text.finish()
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_and_not_shown() {
        let form = Form::of_grant("refresh_token").with("refresh_token", "sEcReTmArKeR&a=b c");
        assert_eq!(
            form.encode(),
            "grant_type=refresh_token&refresh_token=sEcReTmArKeR%26a%3Db+c"
        );
        assert_eq!(format!("{form:?}"), r#"{"grant_type", "refresh_token"}"#);
        assert_eq!(
            form.with("q", "\"\u{1}").encode_json(),
            r#"{"grant_type":"refresh_token","q":"\"\u0001","refresh_token":"sEcReTmArKeR&a=b c"}"#
        );
    }
}
