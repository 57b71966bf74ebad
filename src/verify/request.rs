//! What a verifier is told: the request as it came in, and what is known about the token.

use http::Method;
use http::header::{AUTHORIZATION, HeaderMap};

use super::Reason;
use crate::binding::Confirmation;
use crate::jose::Thumbprint;
use crate::token::introspection::Introspection;

/// Where a proof is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A protected resource: an access token comes with the proof (RFC 9449 7).
    Resource,
    /// A token endpoint, or one that requests are pushed to: no access token (RFC 9449 5, 10.1).
    Token,
}

/// A request as it came in. `Debug` shows the method and the number of headers: the others hold tokens and addresses.
#[derive(Clone, Copy)]
pub struct Received<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) certificate: Option<Thumbprint>,
}

impl<'a> Received<'a> {
    /// A request with this method and these header fields for the target `uri`: the scheme and authority of the service's
    /// own configuration and the path as it stood in the request line. [`PublicOrigin`](super::htu::PublicOrigin) puts
    /// the two together; neither `Host` nor `X-Forwarded-Host` is ever looked at.
    pub fn new(method: &'a Method, uri: &'a str, headers: &'a HeaderMap) -> Self {
        Self {
            method,
            uri,
            headers,
            certificate: None,
        }
    }

    /// The thumbprint of the certificate that the client proved in the TLS handshake (`x5t#S256`, RFC 8705 3.1):
    /// [`Thumbprint::of_certificate`] of what the TLS stack says that the peer has shown, never of anything in the request
    /// (RFC 8705 3).
    ///
    /// Behind a proxy that ends TLS, the certificate arrives in a header, `Client-Cert` of RFC 9440 for instance, which anybody
    /// can write (RFC 8705 6.5). Take it only on connections from that one proxy, by its address and its own certificate as
    /// they were configured, and have the proxy remove the header from every request that it did not write it into.
    ///
    /// The TLS stack has to ask for a certificate. For the binding alone it may take any (6.2). Where certificates also say who
    /// a client is (`tls_client_auth`), let it trust the few authorities that clients were registered with: a subject alone can
    /// be had from any authority (7.4).
    #[must_use]
    pub fn client_certificate(mut self, x5t: Thumbprint) -> Self {
        self.certificate = Some(x5t);
        self
    }
}

impl std::fmt::Debug for Received<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Received")
            .field("method", self.method)
            .field("headers", &self.headers.len())
            .finish_non_exhaustive()
    }
}

/// What a token says about its sender (`cnf`, RFC 7800). There is no default: a resource must be able to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenConfirmation {
    /// Bound to a proof key: `jkt` (RFC 9449 6).
    Jkt(Thumbprint),
    /// Bound to a client certificate: `x5t#S256` (RFC 8705 3.1).
    X5t(Thumbprint),
    /// Bound to both; both are required.
    Both {
        /// The proof key.
        jkt: Thumbprint,
        /// The client certificate.
        x5t: Thumbprint,
    },
    /// The token has no `cnf`.
    Unbound,
    /// There is a `cnf` and it cannot be understood. No key equals it.
    Unreadable,
}

impl TokenConfirmation {
    /// The confirmation with these members of `cnf`. A member that is no thumbprint makes it unreadable; a `cnf` with
    /// neither member is to be given as [`Unreadable`](Self::Unreadable) by the caller, who alone knows that it is there.
    pub fn from_members(jkt: Option<&str>, x5t: Option<&str>) -> Self {
        let read = |text: Option<&str>| text.map(Thumbprint::from_base64url);
        match (read(jkt), read(x5t)) {
            (None, None) => Self::Unbound,
            (Some(Some(jkt)), None) => Self::Jkt(jkt),
            (None, Some(Some(x5t))) => Self::X5t(x5t),
            (Some(Some(jkt)), Some(Some(x5t))) => Self::Both { jkt, x5t },
            _ => Self::Unreadable,
        }
    }
}

/// What validating the access token gave (by introspection, or from a signed JWT): done before, and outside of this room.
#[derive(Clone, Copy, Debug)]
pub struct TokenFacts<'a> {
    pub(super) active: bool,
    pub(super) confirmation: TokenConfirmation,
    pub(super) client: Option<&'a str>,
}

impl<'a> TokenFacts<'a> {
    /// The token is valid now, and this is its confirmation.
    pub fn active(confirmation: TokenConfirmation) -> Self {
        Self {
            active: true,
            confirmation,
            client: None,
        }
    }

    /// What the token's issuer says of it (RFC 7662): its confirmation and its client. Whoever keeps the answer looks at
    /// [`Introspection::good_until`] first; whether the scope is enough is for the service to say.
    ///
    /// ```
    /// use http::{HeaderMap, StatusCode};
    /// use shipbound::clock::Timestamp;
    /// use shipbound::token::introspection::Introspection;
    /// use shipbound::verify::{ProofVerifier, Received, Rejection, TokenFacts, Verified};
    ///
    /// # async fn judge(
    /// #     verifier: &ProofVerifier, request: &Received<'_>, now: Timestamp,
    /// #     (status, headers, body): (StatusCode, &HeaderMap, &[u8]),
    /// # ) -> Result<Verified, Rejection> {
    /// // The issuer was asked about the token that the request presents, and this is its answer.
    /// let told = Introspection::read(status, headers, body, now);
    /// let facts = match &told {
    ///     Ok(token) => TokenFacts::from_introspection(token),
    ///     Err(_) => TokenFacts::inactive(),
    /// };
    /// verifier.verify_resource(request, &facts).await
    /// # }
    /// ```
    pub fn from_introspection(token: &'a Introspection) -> Self {
        let bound = token.confirmations();
        let facts = Self::active(match (Confirmation::jkt(bound), Confirmation::x5t(bound)) {
            (None, None) => TokenConfirmation::Unbound,
            (Some(jkt), None) => TokenConfirmation::Jkt(jkt),
            (None, Some(x5t)) => TokenConfirmation::X5t(x5t),
            (Some(jkt), Some(x5t)) => TokenConfirmation::Both { jkt, x5t },
        });
        match token.client_id() {
            Some(client) => facts.client(client),
            None => facts,
        }
    }

    /// The token is expired, revoked, unknown or not for this resource.
    pub fn inactive() -> Self {
        Self {
            active: false,
            confirmation: TokenConfirmation::Unreadable,
            client: None,
        }
    }

    /// The client that the token was issued to (`client_id`, or `azp`). The replay log's quota is by client: without it
    /// all clients share one.
    #[must_use]
    pub fn client(mut self, id: &'a str) -> Self {
        self.client = Some(id);
        self
    }
}

/// What a token endpoint knows before it looks at the proof.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrantFacts<'a> {
    pub(super) client: Option<&'a str>,
    pub(super) bound_to: Option<Thumbprint>,
}

impl<'a> GrantFacts<'a> {
    /// The grant is bound to no key yet: any key may be proved, and the token will be bound to it.
    pub fn unbound() -> Self {
        Self::default()
    }

    /// The grant is bound to this key: by `dpop_jkt` or a proof at the pushed request (RFC 9449 10), or as the refresh
    /// token of a public client (RFC 9449 5).
    pub fn bound_to(jkt: Thumbprint) -> Self {
        Self {
            client: None,
            bound_to: Some(jkt),
        }
    }

    /// The client, authenticated before: its proofs count against its own quota in the replay log.
    #[must_use]
    pub fn client(mut self, id: &'a str) -> Self {
        self.client = Some(id);
        self
    }
}

/// The scheme that an access token came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `DPoP`.
    Dpop,
    /// `Bearer`.
    Bearer,
}

/// The access token of a request: what the service validates before it asks the verifier.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    /// The scheme.
    pub scheme: Scheme,
    /// The token's text. Keep it out of logs.
    pub token: &'a str,
}

impl std::fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Presented({:?}, redacted)", self.scheme)
    }
}

/// Exactly one `Authorization` field: scheme, 1*SP, token68 (RFC 9110 11.4).
pub(super) fn presented(headers: &HeaderMap) -> Result<Presented<'_>, Reason> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let field = fields.next().ok_or(Reason::TokenMissing)?;
    if fields.next().is_some() {
        return Err(Reason::MultipleMethods);
    }
    let text = field.to_str().map_err(|_| Reason::TokenMissing)?;
    let (scheme, token) = text.split_once(' ').ok_or(Reason::TokenMissing)?;
    let token = token.trim_start_matches(' ');
    let scheme = if scheme.eq_ignore_ascii_case("DPoP") {
        Scheme::Dpop
    } else if scheme.eq_ignore_ascii_case("Bearer") {
        Scheme::Bearer
    } else {
        return Err(Reason::TokenMissing);
    };
    if !is_token68(token) {
        return Err(Reason::TokenMissing);
    }
    Ok(Presented { scheme, token })
}

fn is_token68(text: &str) -> bool {
    let core = text.trim_end_matches('=');
    !core.is_empty()
        && core
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token68_is_what_the_rfc_says() {
        for text in ["a", "mF_9.B5f-4.1JqM==", "~+/"] {
            assert!(is_token68(text), "{text}");
        }
        for text in ["", "=", "a=b", "a b", "a,b", "a\"", "\u{e4}"] {
            assert!(!is_token68(text), "{text}");
        }
    }

    #[test]
    fn members_that_are_no_thumbprints_never_read_as_unbound() {
        assert_eq!(TokenConfirmation::from_members(None, None), TokenConfirmation::Unbound);
        for (jkt, x5t) in [(Some(""), None), (None, Some("AA")), (Some("x"), Some("x"))] {
            assert_eq!(TokenConfirmation::from_members(jkt, x5t), TokenConfirmation::Unreadable);
        }
    }

    #[test]
    fn debug_shows_no_token() {
        let presented = Presented {
            scheme: Scheme::Dpop,
            token: "hunter2",
        };
        assert!(!format!("{presented:?}").contains("hunter2"));
    }
}
