//! An issuer's metadata (RFC 8414): where its endpoints are, and which proofs it accepts.

use std::fmt;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use thiserror::Error;

use crate::json::{Object, Value};
use crate::target::danger::Loopback;
use crate::target::{Origin, Target, TargetError};

/// The issuer of tokens, by the URL that its metadata must repeat to the letter (RFC 8414 3.3).
///
/// ```
/// use shipbound::token::metadata::Issuer;
///
/// let issuer = Issuer::new("https://auth.carrier.example/tenant1")?;
/// assert_eq!(
///     issuer.well_known().map(|url| url.as_str().to_owned()),
///     [
///         "https://auth.carrier.example/.well-known/oauth-authorization-server/tenant1",
///         "https://auth.carrier.example/tenant1/.well-known/openid-configuration",
///     ]
/// );
/// # Ok::<(), shipbound::token::metadata::MetadataError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Issuer {
    text: Arc<str>,
    well_known: [Target; 2],
}

impl Issuer {
    /// The issuer with this URL.
    ///
    /// # Errors
    /// [`MetadataError::Issuer`] when it is not an `https` URL without query and fragment (RFC 8414 2).
    pub fn new(text: &str) -> Result<Self, MetadataError> {
        Self::allowing(text, &[])
    }

    /// The issuer with this URL, which may be on one of these loopback authorities.
    ///
    /// # Errors
    /// As [`Issuer::new`].
    pub fn allowing(text: &str, exempt: &[Loopback]) -> Result<Self, MetadataError> {
        if text.contains(['?', '#']) {
            return Err(MetadataError::Issuer(None));
        }
        let refused = |error| MetadataError::Issuer(Some(error));
        let target = Target::parse_allowing(text, exempt).map_err(refused)?;
        let path = target.path().trim_end_matches('/');
        let at = |path: &str| {
            let url = format!("{}{path}", target.origin());
            Target::parse_allowing(&url, exempt).map_err(refused)
        };
        let well_known = [
            at(&format!("/.well-known/oauth-authorization-server{path}"))?,
            at(&format!("{path}/.well-known/openid-configuration"))?,
        ];
        Ok(Self {
            text: text.into(),
            well_known,
        })
    }

    /// The issuer's URL as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where its metadata may be: first as RFC 8414 3.1 says, then as OpenID Connect Discovery does.
    pub fn well_known(&self) -> [&Target; 2] {
        let [oauth, openid] = &self.well_known;
        [oauth, openid]
    }

    /// The issuer's own origin.
    pub fn origin(&self) -> &Origin {
        let [oauth, _] = &self.well_known;
        oauth.origin()
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issuer({})", self.text)
    }
}

/// Why an issuer's metadata cannot be used. Nothing of a document with a fault is used (RFC 8414 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// The issuer's URL is not an `https` URL without query and fragment.
    #[error("the issuer's URL cannot be used")]
    Issuer(#[source] Option<TargetError>),
    /// Neither well-known place has a document.
    #[error("no metadata at the issuer: status {0}")]
    NotFound(StatusCode),
    /// Not `application/json`, or not one JSON object.
    #[error("not one JSON object")]
    NotJson,
    /// The document names another issuer, or none (RFC 8414 3.3).
    #[error("the document is not this issuer's")]
    OtherIssuer,
    /// An endpoint is missing or is not a URL that can be used.
    #[error("the token endpoint is missing or cannot be used")]
    Endpoint(#[source] Option<TargetError>),
    /// An endpoint lies on an origin that was not allowed.
    #[error("the token endpoint lies on an origin that was not allowed")]
    ForeignEndpoint,
    /// A member has the wrong type.
    #[error("a member has the wrong type")]
    WrongType,
}

/// What is used of an issuer's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) token_endpoint: Target,
    /// `dpop_signing_alg_values_supported` (RFC 9449 5.1); `None` where the issuer does not say.
    pub(crate) algorithms: Option<Vec<String>>,
}

impl Metadata {
    /// Reads the document that `issuer` serves. Endpoints must lie on one of the allowed origins.
    pub(crate) fn read(
        issuer: &Issuer,
        headers: &HeaderMap,
        body: &[u8],
        allowed: &[Origin],
        exempt: &[Loopback],
    ) -> Result<Self, MetadataError> {
        let media = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if !media
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .eq_ignore_ascii_case("application/json")
        {
            return Err(MetadataError::NotJson);
        }
        let document = Object::parse(body).map_err(|_category| MetadataError::NotJson)?;
        if document.get("issuer").and_then(Value::as_str) != Some(issuer.as_str()) {
            return Err(MetadataError::OtherIssuer);
        }
        let endpoint = document
            .get("token_endpoint")
            .and_then(Value::as_str)
            .ok_or(MetadataError::Endpoint(None))?;
        // RFC 6749 3.2: no fragment.
        if endpoint.contains('#') {
            return Err(MetadataError::Endpoint(None));
        }
        let token_endpoint =
            Target::parse_allowing(endpoint, exempt).map_err(|error| MetadataError::Endpoint(Some(error)))?;
        if token_endpoint.origin() != issuer.origin() && !allowed.contains(token_endpoint.origin()) {
            return Err(MetadataError::ForeignEndpoint);
        }
        let algorithms = match document.get("dpop_signing_alg_values_supported") {
            None => None,
            Some(value) => {
                let names = value.as_array().ok_or(MetadataError::WrongType)?;
                Some(names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            }
        };
        Ok(Self {
            token_endpoint,
            algorithms,
        })
    }
}
