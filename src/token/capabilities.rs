//! What an issuer says of itself in its metadata.

use std::collections::BTreeSet;

use crate::binding::BindingKind;
use crate::json::{Object, Value};

use super::metadata::{IssuerEndpoint, MetadataError};

/// The most names that are kept of a list, and the longest.
const MOST_NAMES: usize = 64;
const LONGEST_NAME: usize = 128;

/// The member by which an issuer says whether it binds tokens to client certificates (RFC 8705 3.3).
const CERTIFICATE_BOUND: &str = "tls_client_certificate_bound_access_tokens";

/// What an issuer says that it can do. A list that the issuer does not have is `None`: that says nothing either way.
///
/// Names are those of the IANA registries; what cannot be one is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The endpoints that it names.
    pub endpoints: BTreeSet<IssuerEndpoint>,
    /// The algorithms of proofs that it takes (RFC 9449 5.1): an issuer that has this list binds tokens to proof keys.
    pub dpop_algorithms: Option<Vec<String>>,
    /// Whether it binds tokens to client certificates (RFC 8705 3.3).
    pub certificate_bound_tokens: Option<bool>,
    /// Whether it has endpoints of their own for clients that use mutual TLS (RFC 8705 5).
    pub mtls_aliases: bool,
    /// How clients may authenticate (RFC 8414 2).
    pub auth_methods: Option<Vec<String>>,
    /// The algorithms of client assertions that it takes (RFC 8414 2).
    pub auth_algorithms: Option<Vec<String>>,
    /// The grants that it takes (RFC 8414 2).
    pub grant_types: Option<Vec<String>>,
    /// The methods of PKCE that it takes (RFC 7636).
    pub challenge_methods: Option<Vec<String>>,
    /// Whether authorization requests must be pushed (RFC 9126 5).
    pub requires_pushed_authorization: bool,
    /// Whether answers to authorization requests name the issuer (RFC 9207 3).
    pub iss_parameter: bool,
}

impl Capabilities {
    /// What the document says, endpoints apart. What a binding depends on must have its type; a member of another type that
    /// nothing depends on was not said.
    pub(super) fn read(document: &Object) -> Result<Self, MetadataError> {
        let list = |member| names(document.get(member)).unwrap_or_default();
        let flag = |member| flag(document.get(member)).unwrap_or_default();
        Ok(Self {
            endpoints: BTreeSet::new(),
            mtls_aliases: false,
            dpop_algorithms: names(document.get("dpop_signing_alg_values_supported"))?,
            certificate_bound_tokens: flag(CERTIFICATE_BOUND),
            auth_methods: list("token_endpoint_auth_methods_supported"),
            auth_algorithms: list("token_endpoint_auth_signing_alg_values_supported"),
            grant_types: list("grant_types_supported"),
            challenge_methods: list("code_challenge_methods_supported"),
            requires_pushed_authorization: flag("require_pushed_authorization_requests").unwrap_or(false),
            iss_parameter: flag("authorization_response_iss_parameter_supported").unwrap_or(false),
        })
    }

    /// What the issuer says that it binds tokens to.
    pub fn offers(&self) -> Vec<BindingKind> {
        let proofs = self.dpop_algorithms.as_ref().is_some_and(|listed| !listed.is_empty());
        let certificates = self.certificate_bound_tokens == Some(true);
        let offers = [(proofs, BindingKind::Dpop), (certificates, BindingKind::Mtls)];
        offers
            .into_iter()
            .filter_map(|(offered, kind)| offered.then_some(kind))
            .collect()
    }

    /// Whether the issuer names this endpoint.
    pub fn has(&self, endpoint: IssuerEndpoint) -> bool {
        self.endpoints.contains(&endpoint)
    }
}

/// Whether the document says in the wrong type what clients with certificates depend on.
pub(super) fn has_broken_certificate_flag(document: &Object) -> bool {
    flag(document.get(CERTIFICATE_BOUND)).is_err()
}

fn names(value: Option<&Value>) -> Result<Option<Vec<String>>, MetadataError> {
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let list = value.as_array().ok_or(MetadataError::WrongType)?;
    let sane = |name: &&str| {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:+/".contains(&byte);
        name.len() <= LONGEST_NAME && name.bytes().all(legal)
    };
    let names = list.iter().filter_map(Value::as_str).filter(sane);
    Ok(Some(names.take(MOST_NAMES).map(str::to_owned).collect()))
}

fn flag(value: Option<&Value>) -> Result<Option<bool>, MetadataError> {
    match value.filter(|value| !value.is_null()) {
        None => Ok(None),
        Some(value) => value.as_bool().map(Some).ok_or(MetadataError::WrongType),
    }
}
