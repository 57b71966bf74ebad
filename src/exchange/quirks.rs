//! Where a carrier differs from the RFCs, as plain values that its profile fills in.

use std::borrow::Cow;

/// How the answers of one carrier are to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quirks {
    /// Bodies of a 401 whose challenge, if there is one, names no error, that mean "not processed, the token is not good":
    /// such a call is repeated once with a new token, a POST too. Any one of them is enough.
    pub not_processed: Vec<BodyCode>,
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

/// The members of a token answer that carriers name or type in their own way.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenAnswerShape {
    /// The member that holds the access token. Default `access_token`.
    pub access_token: &'static str,
    /// Where the lifetime stands. Default `expires_in`, in seconds.
    pub lifetime: LifetimeAt,
    /// Whether `token_type` may be absent; what has no type is a bearer token, and is refused where a binding is required.
    /// Default: no.
    pub token_type_optional: bool,
}

impl Default for TokenAnswerShape {
    fn default() -> Self {
        Self {
            access_token: "access_token",
            lifetime: LifetimeAt::Seconds("expires_in"),
            token_type_optional: false,
        }
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
