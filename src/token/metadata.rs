//! An issuer's metadata (RFC 8414): where its endpoints are, those for mutual TLS included (RFC 8705 5), and what it can do.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use thiserror::Error;

use crate::binding::BindingKind;
use crate::json::{Object, Value};
use crate::target::danger::Loopback;
use crate::target::widely::Below;
use crate::target::{Origin, Target, TargetError};

use super::capabilities::{Capabilities, has_broken_certificate_flag};
use super::client_auth::ClientAuth;

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

/// An endpoint of an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum IssuerEndpoint {
    /// Where tokens are asked for (RFC 6749 3.2).
    Token,
    /// Where refresh tokens are exchanged by issuers that do so elsewhere than at the token endpoint, as UPS does. Metadata
    /// does not know it.
    Refresh,
    /// Where shippers give their consent (RFC 6749 3.1).
    Authorization,
    /// Where authorization requests are pushed (RFC 9126).
    PushedAuthorization,
    /// Where tokens are revoked (RFC 7009).
    Revocation,
    /// Where the issuer tells what a token is worth (RFC 7662).
    Introspection,
}

impl IssuerEndpoint {
    /// Those that metadata can name.
    const IN_METADATA: [Self; 5] = [
        Self::Token,
        Self::Authorization,
        Self::PushedAuthorization,
        Self::Revocation,
        Self::Introspection,
    ];

    /// The member of metadata that names it.
    const fn member(self) -> &'static str {
        match self {
            Self::Token | Self::Refresh => "token_endpoint",
            Self::Authorization => "authorization_endpoint",
            Self::PushedAuthorization => "pushed_authorization_request_endpoint",
            Self::Revocation => "revocation_endpoint",
            Self::Introspection => "introspection_endpoint",
        }
    }

    /// Whether the client calls it itself, with its certificate where it has one; the shipper's browser calls the others.
    const fn is_ours(self) -> bool {
        !matches!(self, Self::Authorization)
    }
}

impl fmt::Display for IssuerEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token => "token endpoint",
            Self::Refresh => "refresh endpoint",
            Self::Authorization => "authorization endpoint",
            Self::PushedAuthorization => "pushed authorization request endpoint",
            Self::Revocation => "revocation endpoint",
            Self::Introspection => "introspection endpoint",
        })
    }
}

/// Why an issuer's metadata cannot be used. Of a document that is not the issuer's nothing is used (RFC 8414 3.3).
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
    /// An endpoint is not a URL that can be used, or the token endpoint is missing.
    #[error("the {0} is missing or cannot be used")]
    Endpoint(IssuerEndpoint, #[source] Option<TargetError>),
    /// An endpoint lies on an origin that was not allowed.
    #[error("the {0} lies on an origin that was not allowed")]
    ForeignEndpoint(IssuerEndpoint),
    /// The issuer has aliases for clients that use mutual TLS, and none for this endpoint (RFC 8705 5): on the conventional
    /// one a certificate might not be asked for, and the token would not be bound.
    #[error("the issuer has aliases for mutual TLS, but none for its {0}")]
    PartialAliases(IssuerEndpoint),
    /// The issuer says that it binds no tokens to client certificates (RFC 8705 3.3).
    #[error("the issuer says that it binds no tokens to client certificates")]
    NoCertificateBinding,
    /// The issuer lists how clients authenticate, and not the way of this client: an error where FAPI 2.0 is held to.
    #[error("the issuer does not list the client's way to authenticate")]
    AuthNotListed,
    /// The issuer has no such endpoint.
    #[error("the issuer has no {0}")]
    NotOffered(IssuerEndpoint),
    /// A member that the binding of tokens depends on has the wrong type: `dpop_signing_alg_values_supported`, and for clients
    /// that show certificates `tls_client_certificate_bound_access_tokens` and `mtls_endpoint_aliases`. Other members of the
    /// wrong type are passed over.
    #[error("a member has the wrong type")]
    WrongType,
}

/// What is used of an issuer's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    conventional: Endpoints,
    /// `mtls_endpoint_aliases` (RFC 8705 5); `None` where the issuer has none.
    aliases: Option<Endpoints>,
    /// What only clients with certificates need has the wrong type.
    broken_for_mtls: bool,
    pub(crate) capabilities: Capabilities,
}

/// Where endpoints are. One that cannot be used is an error for whoever needs it, not for the others.
type Endpoints = BTreeMap<IssuerEndpoint, Result<Target, MetadataError>>;

impl Metadata {
    /// Reads the document that `issuer` serves. Endpoints must lie on one of the allowed origins.
    pub(crate) fn read(
        issuer: &Issuer,
        headers: &HeaderMap,
        body: &[u8],
        allowed: &[Origin],
        exempt: &[Loopback],
    ) -> Result<Self, MetadataError> {
        if !is_json(headers) {
            return Err(MetadataError::NotJson);
        }
        let document = Object::parse(body).map_err(|_category| MetadataError::NotJson)?;
        if document.get("issuer").and_then(Value::as_str) != Some(issuer.as_str()) {
            return Err(MetadataError::OtherIssuer);
        }
        let places = Places {
            issuer,
            allowed,
            exempt,
        };
        let conventional = places.of(|member| document.get(member));
        match conventional.get(&IssuerEndpoint::Token) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(*error),
            None => return Err(MetadataError::Endpoint(IssuerEndpoint::Token, None)),
        }
        let aliases = document
            .get("mtls_endpoint_aliases")
            .filter(|aliases| !aliases.is_null());
        let members = aliases.and_then(Value::as_object);
        let broken_for_mtls = aliases.is_some() != members.is_some() || has_broken_certificate_flag(&document);
        let aliases = members
            .map(|members| places.of(|member| members.get(member)))
            .filter(|aliases| !aliases.is_empty());
        let mut capabilities = Capabilities::read(&document)?;
        capabilities.endpoints = conventional.keys().copied().collect();
        capabilities.mtls_aliases = aliases.is_some();
        Ok(Self {
            conventional,
            aliases,
            broken_for_mtls,
            capabilities,
        })
    }

    /// Where the endpoint is, for a client that shows a certificate or one that does not.
    ///
    /// # Errors
    /// What is wrong with it, or that there is none.
    pub(crate) fn endpoint(&self, which: IssuerEndpoint, mtls: bool) -> Result<&Target, MetadataError> {
        let aliases = self.aliases.as_ref().filter(|_| mtls && which.is_ours());
        match (self.conventional.get(&which), aliases) {
            (Some(_), Some(aliases)) => aliases
                .get(&which)
                .ok_or(MetadataError::PartialAliases(which))?
                .as_ref()
                .map_err(|error| *error),
            (Some(place), None) => place.as_ref().map_err(|error| *error),
            (None, _) => Err(MetadataError::NotOffered(which)),
        }
    }

    /// Whether this place is one of its endpoints, however its path is written.
    pub(crate) fn names(&self, target: &Target) -> bool {
        let aliases = self.aliases.iter().flat_map(BTreeMap::values);
        let endpoints = self.conventional.values().chain(aliases).flatten();
        let mut there = endpoints.filter(|endpoint| endpoint.origin() == target.origin());
        there.any(|endpoint| match endpoint.path() {
            // Of an endpoint at the root not everything is a part.
            "/" => target.path() == "/",
            path => Below::new(path).holds(target.path()),
        })
    }

    /// Whether a client that shows a certificate, and takes no token that is bound more weakly than `minimum`, can work with
    /// this issuer.
    ///
    /// # Errors
    /// Where an endpoint that such a client may come to need has no alias, or one that cannot be used: what
    /// [`Metadata::endpoint`] would say, so that this is found out now and not in the incident for which a token has to be
    /// revoked. [`MetadataError::NoCertificateBinding`] where the certificate alone binds; [`MetadataError::WrongType`].
    pub(crate) fn check_mtls(&self, minimum: BindingKind) -> Result<(), MetadataError> {
        if self.broken_for_mtls {
            return Err(MetadataError::WrongType);
        }
        if minimum > BindingKind::Dpop && self.capabilities.certificate_bound_tokens == Some(false) {
            return Err(MetadataError::NoCertificateBinding);
        }
        if self.aliases.is_none() {
            return Ok(());
        }
        let mut ours = self.conventional.keys().filter(|which| which.is_ours());
        ours.try_for_each(|which| self.endpoint(*which, true).map(drop))
    }

    /// Whether the issuer takes what a FAPI 2.0 client does.
    ///
    /// # Errors
    /// [`MetadataError::AuthNotListed`]; [`MetadataError::NoCertificateBinding`] where tokens are to be bound to a certificate
    /// alone, and the issuer does not say that it does that (RFC 8705 3.3: it then does not).
    pub(crate) fn check_fapi(&self, auth: &ClientAuth, binding: BindingKind) -> Result<(), MetadataError> {
        if binding == BindingKind::Mtls && self.capabilities.certificate_bound_tokens != Some(true) {
            return Err(MetadataError::NoCertificateBinding);
        }
        // RFC 8414 2: an issuer without a list takes client_secret_basic, which is none of FAPI's.
        let listed = self.capabilities.auth_methods.as_deref().unwrap_or_default();
        match auth.names().iter().any(|name| listed.iter().any(|one| one == name)) {
            true => Ok(()),
            false => Err(MetadataError::AuthNotListed),
        }
    }
}

/// What decides whether an endpoint may be where the metadata says.
struct Places<'a> {
    issuer: &'a Issuer,
    allowed: &'a [Origin],
    exempt: &'a [Loopback],
}

impl Places<'_> {
    fn of<'v>(&self, member: impl Fn(&str) -> Option<&'v Value>) -> Endpoints {
        let named = |which: IssuerEndpoint| {
            let value = member(which.member()).filter(|value| !value.is_null())?;
            Some((which, self.parse(which, value)))
        };
        IssuerEndpoint::IN_METADATA.into_iter().filter_map(named).collect()
    }

    fn parse(&self, which: IssuerEndpoint, value: &Value) -> Result<Target, MetadataError> {
        // RFC 6749 3.1, 3.2: no fragment.
        let url = value
            .as_str()
            .filter(|url| !url.contains('#'))
            .ok_or(MetadataError::Endpoint(which, None))?;
        let target =
            Target::parse_allowing(url, self.exempt).map_err(|error| MetadataError::Endpoint(which, Some(error)))?;
        if target.origin() == self.issuer.origin() || self.allowed.contains(target.origin()) {
            Ok(target)
        } else {
            Err(MetadataError::ForeignEndpoint(which))
        }
    }
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let media = value.split(';').next().unwrap_or_default().trim();
    media.eq_ignore_ascii_case("application/json")
}
