//! Tokens that are bound to a client certificate (RFC 8705 3): no proof, the TLS connection itself is the proof.

use std::sync::Arc;

use super::rejection::{Reason, Rejection};
use super::request::{self, Received, Role, Scheme, TokenConfirmation, TokenFacts};
use crate::jose::Thumbprint;

/// Checks a request at a resource that takes certificate-bound tokens: the token came as `Bearer`, it is active, and the
/// certificate of the request's TLS connection is the one that it is bound to. Gives the certificate's thumbprint.
///
/// Whether a certificate was there is told with [`Received::client_certificate`], which says where it may come from. Nothing
/// more is looked at: who issued the certificate does not matter to the binding (RFC 8705 6.2), so the TLS stack may take
/// any, self-signed ones too, as long as the client proved its key in the handshake.
///
/// A service that takes proofs as well asks [`ProofVerifier::presented`](super::ProofVerifier::presented) for the scheme, and
/// [`ProofVerifier::verify_resource`](super::ProofVerifier::verify_resource) where it is `DPoP`. Tokens that are bound to a
/// proof key too are refused here: their proof is not asked for.
///
/// ```
/// use http::{HeaderMap, HeaderValue, Method, header};
/// use shipbound::jose::Thumbprint;
/// use shipbound::verify::{Received, TokenConfirmation, TokenFacts, verify_certificate};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let der_of_the_tls_connection = b"a certificate";
/// let x5t = Thumbprint::of_certificate(der_of_the_tls_connection);
/// let mut headers = HeaderMap::new();
/// headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer mF_9.B5f-4.1JqM"));
/// let uri = "https://api.carrier.example/rates";
/// let request = Received::new(&Method::GET, uri, &headers).client_certificate(x5t);
///
/// // What introspection or the token itself says (RFC 8705 3.1, 3.2).
/// let token = TokenFacts::active(TokenConfirmation::X5t(x5t));
/// assert_eq!(verify_certificate(&request, &token)?, x5t);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// A [`Rejection`]: log its reason, answer with what it says, which is 401 `invalid_token` (RFC 8705 3) with a challenge for
/// `Bearer`.
pub fn verify_certificate(request: &Received<'_>, token: &TokenFacts<'_>) -> Result<Thumbprint, Rejection> {
    judge(request, token).map_err(|reason| {
        // A challenge for `Bearer` names no algorithms.
        let none: Arc<str> = Arc::default();
        Rejection::new(Role::Resource, reason, &none, None).by(Scheme::Bearer)
    })
}

fn judge(request: &Received<'_>, token: &TokenFacts<'_>) -> Result<Thumbprint, Reason> {
    if request::presented(request.headers)?.scheme == Scheme::Dpop {
        return Err(Reason::TokenUnbound);
    }
    if !token.active {
        return Err(Reason::TokenInvalid);
    }
    match token.confirmation {
        TokenConfirmation::X5t(x5t) if request.certificate == Some(x5t) => Ok(x5t),
        TokenConfirmation::X5t(_) | TokenConfirmation::Unreadable => Err(Reason::KeyBinding),
        // RFC 9449 7.2: a token that is bound to a proof key is not taken without a proof.
        TokenConfirmation::Jkt(_) | TokenConfirmation::Both { .. } => Err(Reason::Downgrade),
        TokenConfirmation::Unbound => Err(Reason::TokenUnbound),
    }
}

#[cfg(test)]
mod tests {
    use http::header::{AUTHORIZATION, HeaderMap, WWW_AUTHENTICATE};
    use http::{HeaderValue, Method};

    use super::*;

    const X5T: Thumbprint = Thumbprint::from_bytes([1; 32]);
    const OTHER: Thumbprint = Thumbprint::from_bytes([2; 32]);

    fn asked(
        authorization: &'static str,
        shown: Option<Thumbprint>,
        token: &TokenFacts<'_>,
    ) -> Result<Thumbprint, Rejection> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static(authorization));
        // RFC 9440: what a peer writes into a header is not what TLS says.
        headers.insert("client-cert", HeaderValue::from_static(":AQEB:"));
        let request = Received::new(&Method::GET, "https://api.carrier.example/", &headers);
        let request = match shown {
            Some(x5t) => request.client_certificate(x5t),
            None => request,
        };
        verify_certificate(&request, token)
    }

    #[test]
    fn the_certificate_must_be_the_tokens_own() {
        let token = TokenFacts::active(TokenConfirmation::X5t(X5T));
        assert_eq!(asked("Bearer t", Some(X5T), &token), Ok(X5T));
        assert_eq!(asked("bEARER  t", Some(X5T), &token), Ok(X5T));
        for shown in [None, Some(OTHER)] {
            let refused = asked("Bearer t", shown, &token).unwrap_err();
            assert_eq!(refused.reason(), Reason::KeyBinding);
            assert_eq!(
                (refused.status().as_u16(), refused.oauth_error()),
                (401, Some("invalid_token"))
            );
        }
    }

    #[test]
    fn every_other_token_is_refused_whatever_is_shown() {
        let (jkt, x5t) = (OTHER, X5T);
        for (token, reason) in [
            (TokenFacts::inactive(), Reason::TokenInvalid),
            (TokenFacts::active(TokenConfirmation::Unbound), Reason::TokenUnbound),
            (TokenFacts::active(TokenConfirmation::Unreadable), Reason::KeyBinding),
            (TokenFacts::active(TokenConfirmation::Jkt(jkt)), Reason::Downgrade),
            // The digest of a proof key is not that of a certificate.
            (TokenFacts::active(TokenConfirmation::Jkt(x5t)), Reason::Downgrade),
            (
                TokenFacts::active(TokenConfirmation::Both { jkt, x5t }),
                Reason::Downgrade,
            ),
        ] {
            let refused = asked("Bearer t", Some(X5T), &token).unwrap_err();
            assert_eq!(refused.reason(), reason);
            assert_eq!(
                (refused.status().as_u16(), refused.oauth_error()),
                (401, Some("invalid_token"))
            );
        }
        let bound = TokenFacts::active(TokenConfirmation::X5t(X5T));
        let refused = asked("DPoP t", Some(X5T), &bound).unwrap_err();
        assert_eq!(refused.reason(), Reason::TokenUnbound);
        let refused = asked("Basic t", Some(X5T), &bound).unwrap_err();
        assert_eq!((refused.reason(), refused.oauth_error()), (Reason::TokenMissing, None));
    }

    #[test]
    fn the_challenge_is_one_for_bearer_tokens() {
        let mut headers = HeaderMap::new();
        let token = TokenFacts::active(TokenConfirmation::X5t(X5T));
        asked("Bearer t", None, &token).unwrap_err().fill_headers(&mut headers);
        assert_eq!(
            headers[WWW_AUTHENTICATE],
            r#"Bearer error="invalid_token", error_description="the access token cannot be used in this request""#
        );
        let bare = asked("Basic t", None, &token).unwrap_err();
        assert_eq!(bare.www_authenticate().unwrap(), "Bearer");
    }
}
