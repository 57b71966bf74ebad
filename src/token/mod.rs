//! Access tokens: asked for, read, kept.
//!
//! The client never looks into an access token: whether one is bound is read from `token_type` (RFC 9449 5), and asked of
//! the issuer where more certainty is wanted.

mod admission;
pub mod answer;
pub mod assertion;
pub mod cache;
pub mod capabilities;
pub mod client_auth;
pub mod companion;
pub mod consent;
mod current;
pub(crate) mod discovery;
mod errand;
mod form;
pub mod grant;
pub mod introspection;
mod lease;
pub(crate) mod left;
pub mod metadata;
mod placed;
mod refresh;
pub mod revocation;
pub(crate) mod slot;
pub(crate) mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::crypto::Digest;

use self::form::Form;
use self::grant::GrantType;

pub use self::lease::Lease;

/// The longest access token that is accepted, in octets.
pub const MAX_TOKEN: usize = 16 * 1024;

/// Scopes that ask for an ID token and for a refresh token (OpenID Connect Core 3.1.2.1 and 11). Issuers leave them out of the
/// scope of the access token, which they are no part of; whether a refresh token came is seen without them.
const NOT_OF_THE_API: [&str; 2] = ["openid", "offline_access"];

/// An access token: opaque, redacted, wiped. Its characters are those that may follow a scheme in `Authorization`
/// (`token68`, RFC 9110 11.2), or any visible ones where the carrier's profile says so.
pub(crate) struct AccessToken(Zeroizing<String>);

impl AccessToken {
    /// `None` where the text could not stand in an `Authorization` header.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let body = text.trim_end_matches('=');
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
        (!body.is_empty() && body.bytes().all(legal)).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// `None` where the text has characters that are not visible (RFC 6749 A.12), or a space, which headers lose at their ends.
    pub(crate) fn of_any_characters(text: &str) -> Option<Self> {
        let legal = |byte: u8| matches!(byte, 0x21..=0x7e);
        (!text.is_empty() && text.bytes().all(legal)).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(redacted)")
    }
}

/// What tokens of a client are asked for: by which grant, with which scopes, resources and further parameters.
///
/// ```
/// use shipbound::token::TokenRequest;
///
/// let request = TokenRequest::new().scope("ship:write")?.resource("https://api.carrier.example/ship")?;
/// # Ok::<(), shipbound::token::InvalidRequest>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenRequest {
    grant: GrantType,
    scopes: BTreeSet<String>,
    resources: BTreeSet<String>,
    parameters: Vec<(String, String)>,
}

/// Why something cannot be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidRequest {
    /// A scope is empty or has characters that RFC 6749 3.3 does not allow: a space, `"` or `\` for instance.
    #[error("a scope is empty or has characters that are not allowed: give several scopes one by one")]
    Scope,
    /// A resource is not an absolute URI without fragment (RFC 8707 2).
    #[error("a resource is not an absolute URI without fragment")]
    Resource,
    /// A parameter that was given before, that the library sets itself, or that would be a secret.
    #[error("a parameter that was given before, that the library sets itself, or that would be a secret")]
    Parameter,
}

impl TokenRequest {
    /// Nothing in particular, by client credentials: whatever the issuer gives.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks by this grant. Default: [`GrantType::ClientCredentials`].
    #[must_use]
    pub fn grant(mut self, grant: GrantType) -> Self {
        self.grant = grant;
        self
    }

    /// By which grant is asked.
    pub fn grant_type(&self) -> &GrantType {
        &self.grant
    }

    /// Asks for a scope more.
    ///
    /// # Errors
    /// [`InvalidRequest::Scope`] when it is not one scope token (RFC 6749 3.3).
    pub fn scope(mut self, scope: &str) -> Result<Self, InvalidRequest> {
        let legal = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if scope.is_empty() || !scope.bytes().all(legal) {
            return Err(InvalidRequest::Scope);
        }
        self.scopes.insert(scope.to_owned());
        Ok(self)
    }

    /// Asks for a token for this resource (RFC 8707).
    ///
    /// # Errors
    /// [`InvalidRequest::Resource`] when it is not an absolute URI without fragment.
    pub fn resource(mut self, resource: &str) -> Result<Self, InvalidRequest> {
        if !is_absolute_uri(resource) {
            return Err(InvalidRequest::Resource);
        }
        self.resources.insert(resource.to_owned());
        Ok(self)
    }

    /// Sends a further parameter, its name's case as it is. Not for secrets: those belong into the credential store.
    ///
    /// # Errors
    /// [`InvalidRequest::Parameter`] for a parameter that was given before (RFC 6749 3.2), that the library sets itself, or
    /// that would be a secret.
    pub fn parameter(mut self, name: &str, value: &str) -> Result<Self, InvalidRequest> {
        const OWN: [&str; 25] = [
            "grant_type",
            "client_id",
            "client_secret",
            "client_assertion",
            "client_assertion_type",
            "assertion",
            "password",
            "refresh_token",
            "actor_token",
            "code",
            "code_verifier",
            "redirect_uri",
            "requested_token_type",
            "response_type",
            "state",
            "code_challenge",
            "code_challenge_method",
            "dpop_jkt",
            "request",
            "request_uri",
            "scope",
            "subject_token",
            "subject_token_type",
            "token",
            "resource",
        ];
        let given = self.parameters.iter().any(|(known, _)| known == name);
        if name.is_empty() || given || OWN.contains(&name) {
            return Err(InvalidRequest::Parameter);
        }
        self.parameters.push((name.to_owned(), value.to_owned()));
        Ok(self)
    }

    /// The form, as far as it depends neither on the connection nor on the attempt.
    pub(crate) fn form(&self) -> Form {
        let mut form = Form::of_grant(self.grant.name());
        if let GrantType::TokenExchange(exchange) = &self.grant {
            if let Some(requested) = &exchange.requested_token_type {
                form.add("requested_token_type", requested.as_str());
            }
            if let Some(audience) = &exchange.audience {
                form.add("audience", audience.as_str());
            }
        }
        self.describe(&mut form);
        form
    }

    /// Writes what is asked for into a form: scopes, resources, further parameters.
    pub(crate) fn describe(&self, form: &mut Form) {
        if let Some(scope) = self.scope_text() {
            form.add("scope", scope);
        }
        for resource in &self.resources {
            form.add("resource", resource.as_str());
        }
        for (name, value) in &self.parameters {
            form.add(name.clone(), value.as_str());
        }
    }

    /// The scopes as one text, in order; `None` where none is asked for.
    pub(crate) fn scope_text(&self) -> Option<String> {
        let scopes: Vec<_> = self.scopes.iter().map(String::as_str).collect();
        (!scopes.is_empty()).then(|| scopes.join(" "))
    }

    /// The resources, in order.
    pub(crate) fn resources(&self) -> impl Iterator<Item = &str> {
        self.resources.iter().map(String::as_str)
    }

    /// RFC 6749 5.1: an answer that names scopes names all that were granted; one that names none grants what was asked for. Scopes
    /// that say nothing of the API may be left out.
    pub(crate) fn check_granted(&self, granted: Option<&str>) -> Result<(), answer::TokenAnswerError> {
        let Some(granted) = granted.filter(|granted| !granted.is_empty()) else {
            return Ok(());
        };
        let granted: BTreeSet<&str> = granted.split(' ').collect();
        let mut asked = self.scopes.iter().map(String::as_str);
        let all = asked.all(|scope| granted.contains(scope) || NOT_OF_THE_API.contains(&scope));
        if all {
            Ok(())
        } else {
            Err(answer::TokenAnswerError::ScopeNotGranted)
        }
    }

    /// Writes what tells this request from others into a digest.
    pub(crate) fn identify(&self, digest: &mut Digest) {
        digest.text(self.grant.name());
        match &self.grant {
            GrantType::JwtBearer(profile) => profile.identify(digest),
            GrantType::TokenExchange(exchange) => {
                let optional = |text: &Option<String>| text.clone().unwrap_or_default();
                digest.text(&exchange.subject_token_type);
                digest.text(&optional(&exchange.requested_token_type));
                digest.text(&optional(&exchange.audience));
            }
            GrantType::ClientCredentials | GrantType::RefreshToken | GrantType::OfCarrier(_) => {}
        }
        for part in [&self.scopes, &self.resources] {
            digest.count(part.len());
            part.iter().for_each(|text| digest.text(text));
        }
        digest.count(self.parameters.len());
        for (name, value) in &self.parameters {
            digest.text(name);
            digest.text(value);
        }
    }
}

/// RFC 3986 4.3: a scheme and something behind it, in the characters of URIs, without a fragment.
fn is_absolute_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let in_rest = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=%".contains(&byte);
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(in_scheme)
        && !rest.is_empty()
        && rest.bytes().all(in_rest)
}

/// Where tokens of a client come from. URLs are text, parsed when the client is built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenAt {
    /// From this token endpoint: for carriers without metadata.
    Endpoint(String),
    /// From the token endpoint that this issuer's metadata names (RFC 8414).
    Issuer(String),
    /// From nowhere: there are no tokens, and the client certificate alone says who calls. Needs a binding that shows one.
    Nowhere,
    /// From nowhere: the connection's credential itself goes with every call, an API key or a name and password.
    Credential,
}
