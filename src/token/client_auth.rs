//! How a client authenticates to the issuer. One way per request, never two (RFC 6749 2.3).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

use crate::credentials::{Credential, CredentialError};
use crate::crypto::Digest;
use crate::error::ErrorKind;
use crate::exchange::Draft;
use crate::secret::ClientSecret;

use super::assertion::{AssertionProfile, Assertions, CLIENT_ASSERTION_TYPE, Kind};
use super::form::{Form, MEDIA};

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
    ) -> Result<Draft, ErrorKind> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, MEDIA);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let secret = || credential.client_secret().ok_or(CredentialError::NoSecret);
        match self {
            Self::Basic => {
                headers.insert(AUTHORIZATION, basic(credential, secret()?)?);
            }
            Self::Post => {
                form.add("client_id", credential.client_id());
                form.add("client_secret", secret()?.expose());
            }
            Self::PrivateKeyJwt(profile) => {
                let assertion = assertions.make(profile, credential, Kind::ClientAuthentication).await?;
                form.add("client_id", credential.client_id());
                form.add("client_assertion_type", CLIENT_ASSERTION_TYPE);
                form.add("client_assertion", assertion.expose());
            }
            // RFC 8705 2: the id is sent with every request.
            Self::Tls | Self::None => form.add("client_id", credential.client_id()),
        }
        Ok(Draft {
            headers,
            body: form.encode(),
        })
    }

    /// The method's names in metadata (RFC 8414 2): two for client certificates, which requests do not tell apart.
    pub const fn names(&self) -> &'static [&'static str] {
        match self {
            Self::Basic => &["client_secret_basic"],
            Self::Post => &["client_secret_post"],
            Self::PrivateKeyJwt(_) => &["private_key_jwt"],
            Self::Tls => &["tls_client_auth", "self_signed_tls_client_auth"],
            Self::None => &["none"],
        }
    }

    /// Writes what tells this way from others into a digest.
    pub(crate) fn identify(&self, digest: &mut Digest) {
        self.names().iter().for_each(|name| digest.text(name));
        if let Self::PrivateKeyJwt(profile) = self {
            profile.identify(digest);
        }
    }
}

/// Both parts are form-urlencoded before they are joined (RFC 6749 2.3.1), so a colon in the id does no harm.
fn basic(credential: &Credential, secret: &ClientSecret) -> Result<HeaderValue, ErrorKind> {
    let secret = secret.expose();
    let mut pair = Zeroizing::new(String::with_capacity(
        3 * (credential.client_id().len() + secret.len()) + 1,
    ));
    pair.extend(form_urlencoded::byte_serialize(credential.client_id().as_bytes()));
    pair.push(':');
    pair.extend(form_urlencoded::byte_serialize(secret.as_bytes()));
    let mut value = Zeroizing::new(String::with_capacity(6 + pair.len().div_ceil(3) * 4));
    value.push_str("Basic ");
    STANDARD.encode_string(pair.as_bytes(), &mut value);
    let value = HeaderValue::from_maybe_shared(Bytes::from_owner(Zeroizing::new(value.as_bytes().to_vec())));
    let mut value = value.map_err(|_| ErrorKind::Build("the client id or secret cannot stand in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}
