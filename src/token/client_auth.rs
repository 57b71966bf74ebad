//! How a client authenticates to the issuer (RFC 6749 2.3.1). One way per request, never two.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

use crate::credentials::Credential;

/// The way in which the client's id and secret travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientAuth {
    /// `client_secret_basic`: an `Authorization: Basic` header.
    #[default]
    Basic,
    /// `client_secret_post`: two parameters of the form.
    Post,
}

impl ClientAuth {
    /// The headers and the body of a request with this form, authenticated. Both are made new for every attempt.
    pub(crate) fn request(self, form: &[(&str, String)], credential: &Credential) -> Option<(HeaderMap, Bytes)> {
        let secret = credential.client_secret()?.expose();
        let room: usize = form.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        // Room for the worst case of three octets for one, so that the text with the secret in it never moves.
        let text = String::with_capacity(3 * (room + credential.client_id().len() + secret.len() + 32));
        let mut body = form_urlencoded::Serializer::new(text);
        body.extend_pairs(form);
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        match self {
            Self::Basic => {
                headers.insert(AUTHORIZATION, basic(credential)?);
            }
            Self::Post => {
                body.append_pair("client_id", credential.client_id());
                body.append_pair("client_secret", secret);
            }
        }
        Some((headers, Bytes::from_owner(Zeroizing::new(body.finish().into_bytes()))))
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "client_secret_basic",
            Self::Post => "client_secret_post",
        }
    }
}

/// Both parts are form-urlencoded before they are joined (RFC 6749 2.3.1), so a colon in the id does no harm.
fn basic(credential: &Credential) -> Option<HeaderValue> {
    let secret = credential.client_secret()?.expose();
    let mut pair = Zeroizing::new(String::with_capacity(
        3 * (credential.client_id().len() + secret.len()) + 1,
    ));
    pair.extend(form_urlencoded::byte_serialize(credential.client_id().as_bytes()));
    pair.push(':');
    pair.extend(form_urlencoded::byte_serialize(secret.as_bytes()));
    let mut value = Zeroizing::new(String::with_capacity(6 + pair.len().div_ceil(3) * 4));
    value.push_str("Basic ");
    STANDARD.encode_string(pair.as_bytes(), &mut value);
    let mut value =
        HeaderValue::from_maybe_shared(Bytes::from_owner(Zeroizing::new(value.as_bytes().to_vec()))).ok()?;
    value.set_sensitive(true);
    Some(value)
}
