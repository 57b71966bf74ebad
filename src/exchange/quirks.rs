//! Where a carrier differs from the RFCs, as plain values that its profile fills in.

use std::borrow::Cow;

use http::HeaderName;

use crate::crypto::Digest;

/// How the answers of one carrier are to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quirks {
    /// Bodies of a 401 whose challenge, if there is one, names no error, that mean "not processed, the token is not good":
    /// such a call is repeated once with a new token, a POST too. Any one of them is enough.
    pub not_processed: Vec<BodyCode>,
    /// The shape of token requests.
    pub token_request: TokenRequestShape,
    /// The shape of token answers.
    pub token_answer: TokenAnswerShape,
    /// Whether a refresh token stays good after it was used (FAPI 2.0 5.3.2.1 has issuers do so): a refresh whose answer was
    /// lost is then repeated once, where it would otherwise end the shipper's consent. Default: no.
    pub refresh_token_stays: bool,
    /// Whether the exchange of an authorization code leaves the client's authentication out and gives its id alone, as UPS
    /// wants it where PKCE is used. Default: no.
    pub code_without_authentication: bool,
    /// Whether requests for revocation and introspection carry a proof; RFC 9449 has proofs for token requests alone. Default:
    /// no.
    pub proofs_everywhere: bool,
}

/// A value at one place of a JSON body.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BodyCode {
    /// Where: a JSON pointer (RFC 6901), `/errors/0/code` for instance.
    pub pointer: Cow<'static, str>,
    /// The string that stands there.
    pub code: Cow<'static, str>,
}

impl BodyCode {
    /// The string `code` at the place `pointer`.
    pub fn new(pointer: impl Into<Cow<'static, str>>, code: impl Into<Cow<'static, str>>) -> Self {
        Self {
            pointer: pointer.into(),
            code: code.into(),
        }
    }
}

/// How a token request is written, where carriers do so in their own way.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenRequestShape {
    /// How its body is written. Default: as a form (RFC 6749 B).
    pub encoding: BodyEncoding,
    /// The parameter that holds the client id, where that is in the body. Default `client_id`.
    pub client_id: &'static str,
    /// The parameter that holds the secret, where that is in the body. Default `client_secret`.
    pub client_secret: &'static str,
    /// Whether `grant_type` is sent. Default: yes.
    pub grant_type: bool,
}

impl Default for TokenRequestShape {
    fn default() -> Self {
        Self {
            encoding: BodyEncoding::Form,
            client_id: "client_id",
            client_secret: "client_secret",
            grant_type: true,
        }
    }
}

impl TokenRequestShape {
    /// Writes what tells this shape from others into a digest.
    pub(crate) fn identify(&self, digest: &mut Digest) {
        let Self {
            encoding,
            client_id,
            client_secret,
            grant_type,
        } = self;
        digest.text(client_id);
        digest.text(client_secret);
        digest.bytes(&[u8::from(*grant_type), u8::from(*encoding == BodyEncoding::Json)]);
    }
}

/// How the body of a token request is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BodyEncoding {
    /// `application/x-www-form-urlencoded`.
    #[default]
    Form,
    /// One JSON object whose members are texts.
    Json,
}

/// The members of a token answer that carriers name or type in their own way.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenAnswerShape {
    /// The member that holds the access token. Default `access_token`.
    pub access_token: &'static str,
    /// Where the lifetime stands. Default `expires_in`, in seconds.
    pub lifetime: LifetimeAt,
    /// The header field that holds the access token, in the place of the body, which is not looked at then. Default: none.
    pub in_header: Option<HeaderName>,
    /// Whether the token may have any visible characters (RFC 6749 A.12 without the space) in the place of those that may
    /// follow a scheme in `Authorization`: Amazon's tokens have a `|`. For tokens that go into a header of their own. Default: no.
    pub any_characters: bool,
    /// Whether `token_type` may be absent; what has no type is a bearer token, and is refused where a binding is required.
    /// Default: no.
    pub token_type_optional: bool,
}

impl Default for TokenAnswerShape {
    fn default() -> Self {
        Self {
            access_token: "access_token",
            lifetime: LifetimeAt::Seconds("expires_in"),
            in_header: None,
            any_characters: false,
            token_type_optional: false,
        }
    }
}

impl TokenAnswerShape {
    /// Writes what tells this shape from others into a digest.
    pub(crate) fn identify(&self, digest: &mut Digest) {
        let Self {
            access_token,
            lifetime,
            in_header,
            any_characters,
            token_type_optional,
        } = self;
        digest.text(access_token);
        digest.text(in_header.as_ref().map_or("", HeaderName::as_str));
        digest.bytes(&[any_characters, token_type_optional].map(|flag| u8::from(*flag)));
        let (kind, name, seconds) = match lifetime {
            LifetimeAt::Seconds(name) => ("seconds", &**name, 0),
            LifetimeAt::UnixSeconds(name) => ("unix", &**name, 0),
            LifetimeAt::Fixed(seconds) => ("fixed", "", *seconds),
        };
        digest.text(kind);
        digest.text(name);
        digest.bytes(&seconds.to_be_bytes());
    }
}

/// Where a token answer tells how long the token lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LifetimeAt {
    /// A member with seconds from now, as a number or a decimal string.
    Seconds(&'static str),
    /// A member with seconds since 1970, as a number or a decimal string.
    UnixSeconds(&'static str),
    /// Nowhere: this many seconds.
    Fixed(u32),
}
