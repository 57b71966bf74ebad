//! How a client authenticates to the issuer. One way per request, never two (RFC 6749 2.3).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use crate::credentials::{Credential, CredentialError};
use crate::crypto::Digest;
use crate::error::ErrorKind;
use crate::exchange::Draft;
use crate::exchange::quirks::{BodyEncoding, TokenRequestShape};
use crate::secret::ClientSecret;

use super::assertion::{AssertionProfile, Assertions, CLIENT_ASSERTION_TYPE, Kind};
use super::form::{self, Form};

/// The way in which the client shows who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientAuth {
    /// `client_secret_basic`: an `Authorization: Basic` header (RFC 6749 2.3.1).
    #[default]
    Basic,
    /// `client_secret_post`: two parameters of the form (RFC 6749 2.3.1).
    Post,
    /// `private_key_jwt`: an assertion, signed anew for each request (RFC 7523 2.2).
    PrivateKeyJwt(AssertionProfile),
    /// `tls_client_auth` or `self_signed_tls_client_auth`: the client certificate of the connection (RFC 8705 2). Which of
    /// the two is a matter of the registration. Needs a binding that shows a certificate.
    Tls,
    /// A header for the id and one for the secret, as DPD wants it. No RFC has this.
    Headers {
        /// For the client id.
        id: HeaderName,
        /// For the secret.
        secret: HeaderName,
    },
    /// `none`: a public client gives its id alone.
    None,
}

impl ClientAuth {
    /// `form` as an authenticated request. Secrets and assertions in it are made for this one attempt.
    pub(super) async fn request(
        &self,
        mut form: Form,
        credential: &Credential,
        assertions: &Assertions<'_>,
        shape: &TokenRequestShape,
    ) -> Result<Draft, ErrorKind> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let secret = || credential.client_secret().ok_or(CredentialError::NoSecret);
        match self {
            Self::Basic => {
                headers.insert(AUTHORIZATION, basic(credential, secret()?)?);
            }
            Self::Post => {
                form.add(shape.client_id.clone(), credential.client_id());
                form.add(shape.client_secret.clone(), secret()?.expose());
            }
            Self::Headers { id, secret: header } => {
                headers.insert(id, header_value(credential.client_id())?);
                headers.insert(header, header_value(secret()?.expose())?);
            }
            Self::PrivateKeyJwt(profile) => {
                let assertion = assertions.make(profile, credential, Kind::ClientAuthentication).await?;
                form.add("client_id", credential.client_id());
                form.add("client_assertion_type", CLIENT_ASSERTION_TYPE);
                form.add("client_assertion", assertion.expose());
            }
            // RFC 8705 2: the id is sent with every request.
            Self::Tls | Self::None => form.add(shape.client_id.clone(), credential.client_id()),
        }
        let (media, body) = match shape.encoding {
            BodyEncoding::Form => (form::MEDIA, form.encode()),
            BodyEncoding::Json => (form::JSON, form.encode_json()),
        };
        headers.insert(CONTENT_TYPE, media);
        Ok(Draft { headers, body })
    }

    /// The method's names in metadata (RFC 8414 2): two for client certificates, which requests do not tell apart.
    pub const fn names(&self) -> &'static [&'static str] {
        match self {
            Self::Basic => &["client_secret_basic"],
            Self::Post => &["client_secret_post"],
            Self::Headers { .. } => &["headers of the carrier's own"],
            Self::PrivateKeyJwt(_) => &["private_key_jwt"],
            Self::Tls => &["tls_client_auth", "self_signed_tls_client_auth"],
            Self::None => &["none"],
        }
    }

    /// Writes what tells this way from others into a digest.
    pub(crate) fn identify(&self, digest: &mut Digest) {
        self.names().iter().for_each(|name| digest.text(name));
        match self {
            Self::PrivateKeyJwt(profile) => profile.identify(digest),
            Self::Headers { id, secret } => [id, secret].iter().for_each(|name| digest.text(name.as_str())),
            _ => {}
        }
    }
}

/// Both parts are form-urlencoded before they are joined (RFC 6749 2.3.1), so a colon in the id does no harm.
fn basic(credential: &Credential, secret: &ClientSecret) -> Result<HeaderValue, ErrorKind> {
    let encoded = |text: &str| {
        let mut encoded = Zeroizing::new(String::with_capacity(3 * text.len()));
        encoded.extend(form_urlencoded::byte_serialize(text.as_bytes()));
        encoded
    };
    basic_value(&encoded(credential.client_id()), &encoded(secret.expose()))
}

/// `Authorization: Basic` of name and password (RFC 7617).
pub(super) fn basic_value(name: &str, password: &str) -> Result<HeaderValue, ErrorKind> {
    let mut pair = Zeroizing::new(String::with_capacity(name.len() + password.len() + 1));
    pair.push_str(name);
    pair.push(':');
    pair.push_str(password);
    let mut value = Zeroizing::new(String::with_capacity(6 + pair.len().div_ceil(3) * 4));
    value.push_str("Basic ");
    STANDARD.encode_string(pair.as_bytes(), &mut value);
    header_value(&value)
}

/// A secret as a header's value: wiped when the last that shares it lets go.
pub(super) fn header_value(secret: &str) -> Result<HeaderValue, ErrorKind> {
    let octets = Bytes::from_owner(Zeroizing::new(secret.as_bytes().to_vec()));
    let mut value = HeaderValue::from_maybe_shared(octets).map_err(|_illegal| CredentialError::Syntax)?;
    value.set_sensitive(true);
    Ok(value)
}
