//! Where a credential goes: with calls, and into token requests.

use std::borrow::Cow;

use http::HeaderName;

use crate::crypto::Digest;
use crate::owner::Environment;

/// Where a call carries its token, or the credential itself where there are no tokens.
///
/// A token that is bound to a proof key goes into `Authorization: DPoP` whatever is said here (RFC 9449 7.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CredentialAt {
    /// `Authorization`, behind the scheme of its type: `Bearer`, also for an API key.
    #[default]
    Authorization,
    /// This header, alone: `x-amz-access-token` for a token, `API-Key` for an API key.
    Header(HeaderName),
    /// `Authorization: Basic` with client id and secret (RFC 7617). For credentials that are used without a token.
    Basic,
    /// A header for the client id and one for the secret. For credentials that are used without a token.
    Headers {
        /// For the client id.
        id: HeaderName,
        /// For the secret.
        secret: HeaderName,
    },
}

impl CredentialAt {
    /// Writes what tells this place from others into a digest.
    pub(crate) fn identify(&self, digest: &mut Digest) {
        let texts = match self {
            Self::Authorization => ["authorization", "", ""],
            Self::Header(name) => ["header", name.as_str(), ""],
            Self::Basic => ["basic", "", ""],
            Self::Headers { id, secret } => ["headers", id.as_str(), secret.as_str()],
        };
        texts.iter().for_each(|text| digest.text(text));
    }
}

/// What a connection's credential holds beside id and secret, and where that goes: a child account's key, the account that
/// a platform acts for.
///
/// ```
/// use shipbound::credentials::{CredentialPart, PartAt};
///
/// let child_key = CredentialPart::required("child_key", PartAt::TokenForm("child_Key".into()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CredentialPart {
    /// Its name, by which the credential knows it ([`Credential::with_part`](super::Credential::with_part)).
    pub name: Cow<'static, str>,
    /// Where it goes.
    pub at: PartAt,
    /// Whether a credential without it is of no use. One that is not required is left out where it is absent.
    pub required: bool,
}

impl CredentialPart {
    /// Writes what tells this part from others into a digest.
    pub(crate) fn identify(&self, digest: &mut Digest) {
        let (kind, place) = match &self.at {
            PartAt::TokenForm(name) => ("form", &**name),
            PartAt::TokenHeader(name) => ("token header", name.as_str()),
            PartAt::CallHeader(name) => ("call header", name.as_str()),
        };
        [&*self.name, kind, place].iter().for_each(|text| digest.text(text));
        digest.bytes(&[u8::from(self.required)]);
    }

    /// A part without which nothing is sent.
    pub fn required(name: impl Into<Cow<'static, str>>, at: PartAt) -> Self {
        Self {
            name: name.into(),
            at,
            required: true,
        }
    }

    /// A part that connections may have.
    pub fn optional(name: impl Into<Cow<'static, str>>, at: PartAt) -> Self {
        Self {
            name: name.into(),
            at,
            required: false,
        }
    }
}

/// Where a part of a credential goes. A header that is named here is refused from callers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PartAt {
    /// A parameter of this name in token requests.
    TokenForm(Cow<'static, str>),
    /// This header of token requests.
    TokenHeader(HeaderName),
    /// This header of every call.
    CallHeader(HeaderName),
}

/// By which form of a secret is seen which of the carrier's systems it is for.
///
/// ```
/// use shipbound::credentials::KeyForm;
/// use shipbound::owner::Environment;
///
/// let test = KeyForm::new("EZTK", Environment::Sandbox);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyForm {
    /// What such secrets begin with.
    pub prefix: Cow<'static, str>,
    /// Where they are for.
    pub environment: Environment,
}

impl KeyForm {
    /// Writes what tells this form from others into a digest.
    pub(crate) fn identify(&self, digest: &mut Digest) {
        digest.text(&self.prefix);
        digest.text(self.environment.as_str());
    }

    /// Secrets that begin so are for this environment.
    pub fn new(prefix: impl Into<Cow<'static, str>>, environment: Environment) -> Self {
        Self {
            prefix: prefix.into(),
            environment,
        }
    }

    /// The environment that a secret of these forms is for; `None` where its form does not tell.
    pub(crate) fn environment_of(forms: &[Self], secret: &str) -> Option<Environment> {
        let known = forms.iter().find(|form| secret.starts_with(&*form.prefix));
        known.map(|form| form.environment)
    }
}
