//! By which grant tokens are asked for.

use std::borrow::Cow;
use std::fmt;

use async_trait::async_trait;

use crate::error::Error;
use crate::owner::ConnectionId;
use crate::secret::SubjectToken;

use super::assertion::{self, AssertionProfile};

/// By which grant tokens are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrantType {
    /// Client credentials (RFC 6749 4.4): the client asks for itself.
    #[default]
    ClientCredentials,
    /// A signed assertion (RFC 7523 2.1), made anew for each request with the connection's assertion key, as Maskinporten
    /// wants it.
    JwtBearer(AssertionProfile),
    /// A token of another issuer is exchanged (RFC 8693). Where that comes from is said with `ClientBuilder::subject`.
    TokenExchange(TokenExchange),
    /// What a shipper's consent gave: the connection's refresh token in the grant store (RFC 6749 6).
    RefreshToken,
    /// A grant of the carrier's own, by the client's credential and its [parts](crate::credentials::CredentialPart).
    OfCarrier(CarrierGrant),
}

/// A `grant_type` that no RFC knows: FedEx's `csp_credentials` for instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CarrierGrant(Cow<'static, str>);

impl CarrierGrant {
    /// The grant of this name; `None` for those that have a [`GrantType`] of their own, and for `password`: a shipper's
    /// password is not to be handed to a client (RFC 9700 2.4), and where a carrier asks for it all the same its profile here
    /// says so.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Option<Self> {
        let name = name.into();
        let legal = !name.is_empty() && name.bytes().all(|byte| matches!(byte, 0x21..=0x7e));
        let known = [
            "client_credentials",
            "authorization_code",
            "refresh_token",
            "password",
            "implicit",
        ];
        (legal && !known.contains(&&*name) && !name.starts_with("urn:ietf:")).then_some(Self(name))
    }

    /// A grant of a profile of this crate; a test looks at each of them.
    pub(crate) const fn of_profile(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }
}

impl GrantType {
    /// The `grant_type` of a token request.
    pub fn name(&self) -> &str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::JwtBearer(_) => assertion::GRANT_TYPE,
            Self::TokenExchange(_) => "urn:ietf:params:oauth:grant-type:token-exchange",
            Self::RefreshToken => "refresh_token",
            Self::OfCarrier(grant) => &grant.0,
        }
    }
}

/// What is said of the tokens in an exchange (RFC 8693 2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenExchange {
    /// `subject_token_type`. Default: an access token.
    pub subject_token_type: String,
    /// `requested_token_type`. Default: what the issuer gives.
    pub requested_token_type: Option<String>,
    /// `audience`. Default: none.
    pub audience: Option<String>,
}

/// The type of an OAuth access token in an exchange (RFC 8693 3).
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

impl Default for TokenExchange {
    fn default() -> Self {
        Self {
            subject_token_type: ACCESS_TOKEN.to_owned(),
            requested_token_type: None,
            audience: None,
        }
    }
}

impl TokenExchange {
    /// An access token for an access token.
    pub fn new() -> Self {
        Self::default()
    }

    /// For whom the new token is.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// What kind of token goes in: a URN of RFC 8693 3, for a JWT for instance.
    #[must_use]
    pub fn subject_token_type(mut self, urn: impl Into<String>) -> Self {
        self.subject_token_type = urn.into();
        self
    }

    /// What kind of token is to come out: a URN of RFC 8693 3.
    #[must_use]
    pub fn requested_token_type(mut self, urn: impl Into<String>) -> Self {
        self.requested_token_type = Some(urn.into());
        self
    }
}

/// Where tokens come from that are exchanged for others: another [`Client`](crate::Client), or the application.
#[async_trait]
pub trait SubjectTokens: fmt::Debug + Send + Sync {
    /// A token of this connection's tenant that is good now.
    ///
    /// # Errors
    /// Why there is none; it becomes the error of the call that needed it.
    async fn subject_token(&self, connection: &ConnectionId) -> Result<SubjectToken, Error>;
}
