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
    /// The same for a 403, where a carrier says so that a token has ended. Default: none.
    pub not_processed_forbidden: Vec<BodyCode>,
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

impl Quirks {
    /// A carrier that keeps to the RFCs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds to [`Quirks::not_processed`]. A code that also stands in refusals of calls that were carried out buys labels twice.
    #[must_use]
    pub fn not_processed(mut self, code: BodyCode) -> Self {
        self.not_processed.push(code);
        self
    }

    /// Adds to [`Quirks::not_processed_forbidden`].
    #[must_use]
    pub fn not_processed_forbidden(mut self, code: BodyCode) -> Self {
        self.not_processed_forbidden.push(code);
        self
    }

    /// Sets [`Quirks::token_request`].
    #[must_use]
    pub fn token_request(mut self, shape: TokenRequestShape) -> Self {
        self.token_request = shape;
        self
    }

    /// Sets [`Quirks::token_answer`].
    #[must_use]
    pub fn token_answer(mut self, shape: TokenAnswerShape) -> Self {
        self.token_answer = shape;
        self
    }

    /// Says [`Quirks::refresh_token_stays`].
    #[must_use]
    pub fn refresh_token_stays(mut self) -> Self {
        self.refresh_token_stays = true;
        self
    }

    /// Says [`Quirks::code_without_authentication`].
    #[must_use]
    pub fn code_without_authentication(mut self) -> Self {
        self.code_without_authentication = true;
        self
    }

    /// Says [`Quirks::proofs_everywhere`].
    #[must_use]
    pub fn proofs_everywhere(mut self) -> Self {
        self.proofs_everywhere = true;
        self
    }
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
    pub client_id: Cow<'static, str>,
    /// The parameter that holds the secret, where that is in the body. Default `client_secret`.
    pub client_secret: Cow<'static, str>,
    /// Whether `grant_type` is sent. Default: yes.
    pub grant_type: bool,
}

impl Default for TokenRequestShape {
    fn default() -> Self {
        Self {
            encoding: BodyEncoding::Form,
            client_id: Cow::Borrowed("client_id"),
            client_secret: Cow::Borrowed("client_secret"),
            grant_type: true,
        }
    }
}

impl TokenRequestShape {
    /// As RFC 6749 has it.
    pub fn new() -> Self {
        Self::default()
    }

    /// As JSON.
    #[must_use]
    pub fn json(mut self) -> Self {
        self.encoding = BodyEncoding::Json;
        self
    }

    /// With these names for client id and secret in the body.
    #[must_use]
    pub fn named(
        mut self,
        client_id: impl Into<Cow<'static, str>>,
        client_secret: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.client_id = client_id.into();
        self.client_secret = client_secret.into();
        self
    }

    /// Without `grant_type`.
    #[must_use]
    pub fn without_grant_type(mut self) -> Self {
        self.grant_type = false;
        self
    }

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
    pub access_token: Cow<'static, str>,
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
            access_token: Cow::Borrowed("access_token"),
            lifetime: LifetimeAt::Seconds(Cow::Borrowed("expires_in")),
            in_header: None,
            any_characters: false,
            token_type_optional: false,
        }
    }
}

impl LifetimeAt {
    /// Seconds from now in this member.
    pub fn seconds(member: impl Into<Cow<'static, str>>) -> Self {
        Self::Seconds(member.into())
    }

    /// Seconds since 1970 in this member.
    pub fn unix_seconds(member: impl Into<Cow<'static, str>>) -> Self {
        Self::UnixSeconds(member.into())
    }
}

impl TokenAnswerShape {
    /// As RFC 6749 has it.
    pub fn new() -> Self {
        Self::default()
    }

    /// With the token in this member.
    #[must_use]
    pub fn access_token(mut self, member: impl Into<Cow<'static, str>>) -> Self {
        self.access_token = member.into();
        self
    }

    /// With the lifetime there.
    #[must_use]
    pub fn lifetime(mut self, at: LifetimeAt) -> Self {
        self.lifetime = at;
        self
    }

    /// With the token in this header field.
    #[must_use]
    pub fn in_header(mut self, name: HeaderName) -> Self {
        self.in_header = Some(name);
        self
    }

    /// With tokens of any visible characters.
    #[must_use]
    pub fn any_characters(mut self) -> Self {
        self.any_characters = true;
        self
    }

    /// Perhaps without `token_type`.
    #[must_use]
    pub fn without_type(mut self) -> Self {
        self.token_type_optional = true;
        self
    }

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
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LifetimeAt {
    /// A member with seconds from now, as a number or a decimal string.
    Seconds(Cow<'static, str>),
    /// A member with seconds since 1970, as a number or a decimal string.
    UnixSeconds(Cow<'static, str>),
    /// Nowhere: this many seconds.
    Fixed(u32),
}
