//! Why a request was refused: the exact reason for the operator, one general text for the peer.

use std::fmt;
use std::sync::Arc;

use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};

use super::{Role, Scheme};

pub(super) const DPOP: HeaderName = HeaderName::from_static("dpop");
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// Which check failed. For logs, metrics and alarms; a peer that learns it learns how to do better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The algorithm is absent, not allowed, or does not fit the key.
    Algorithm,
    /// `ath` is not the hash of the presented token.
    Ath,
    /// `ath` is absent at a resource.
    AthMissing,
    /// A required claim is absent.
    ClaimMissing,
    /// A claim has the wrong JSON type or is out of range.
    ClaimType,
    /// The verifier's own clock was set back so far that a replay could no longer be told. Look at the time service.
    Clock,
    /// The header demands an extension (`crit`, `b64`).
    Critical,
    /// A token came as `Bearer` where only DPoP is taken. If it was a bound one, somebody may hold a stolen token.
    Downgrade,
    /// The proof's own `exp` has passed.
    Expired,
    /// `htm` is not the request's method.
    Method,
    /// `htu` is invalid or not the request's URI.
    Uri,
    /// `iat` is further ahead than the policy allows. Look at the client's clock.
    IssuedAhead,
    /// `iat` is older than the policy allows, or from before the replay log started.
    IssuedBefore,
    /// `jti` is empty, too long, or has control characters.
    Jti,
    /// `jwk` is absent or invalid.
    Jwk,
    /// The key of the proof, or the client's certificate, is not the one that the token is bound to.
    KeyBinding,
    /// Not one well-formed compact JWS of JSON objects.
    Malformed,
    /// More than one `Authorization` field.
    MultipleMethods,
    /// More than one `DPoP` field.
    MultipleProofs,
    /// The proof's own `nbf` is ahead.
    NotBefore,
    /// The nonce is not a recent one of this server.
    NonceMismatch,
    /// A nonce is required and absent.
    NonceMissing,
    /// The proof is longer than the policy allows.
    Oversize,
    /// The header holds private or symmetric key material. That key is to be treated as disclosed.
    PrivateKey,
    /// No `DPoP` field.
    ProofMissing,
    /// The client or the key has as many live proofs in the replay log as it may have, or the log is full.
    Quota,
    /// The `jti` was seen before with this key.
    Replay,
    /// The signature does not verify.
    Signature,
    /// The access token is not active.
    TokenInvalid,
    /// No usable `Authorization` field.
    TokenMissing,
    /// The access token is not bound, or not to what its scheme asks for: `DPoP` to a proof key, `Bearer` to a client
    /// certificate.
    TokenUnbound,
    /// `typ` is not `dpop+jwt`.
    Type,
    /// The replay log did not answer, so nothing can be accepted.
    Unavailable,
    /// The key is too small, too large or degenerate.
    WeakKey,
}

impl Reason {
    /// A stable code for logs and metric labels, `E_HTU` for instance.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Algorithm => "E_ALG",
            Self::Ath => "E_ATH",
            Self::AthMissing => "E_ATH_MISSING",
            Self::ClaimMissing => "E_CLAIM_MISSING",
            Self::ClaimType => "E_CLAIM_TYPE",
            Self::Clock => "E_CLOCK",
            Self::Critical => "E_CRIT",
            Self::Downgrade => "E_DOWNGRADE",
            Self::Expired => "E_EXP",
            Self::Method => "E_HTM",
            Self::Uri => "E_HTU",
            Self::IssuedAhead => "E_IAT_FUTURE",
            Self::IssuedBefore => "E_IAT_OLD",
            Self::Jti => "E_JTI",
            Self::Jwk => "E_JWK",
            Self::KeyBinding => "E_KEY_BINDING",
            Self::Malformed => "E_MALFORMED",
            Self::MultipleMethods => "E_MULTIPLE_METHODS",
            Self::MultipleProofs => "E_MULTIPLE_PROOFS",
            Self::NotBefore => "E_NBF",
            Self::NonceMismatch => "E_NONCE_MISMATCH",
            Self::NonceMissing => "E_NONCE_MISSING",
            Self::Oversize => "E_OVERSIZE",
            Self::PrivateKey => "E_PRIVATE_KEY",
            Self::ProofMissing => "E_PROOF_MISSING",
            Self::Quota => "E_QUOTA",
            Self::Replay => "E_REPLAY",
            Self::Signature => "E_SIGNATURE",
            Self::TokenInvalid => "E_TOKEN_INVALID",
            Self::TokenMissing => "E_TOKEN_MISSING",
            Self::TokenUnbound => "E_TOKEN_UNBOUND",
            Self::Type => "E_TYP",
            Self::Unavailable => "E_UNAVAILABLE",
            Self::WeakKey => "E_WEAK_KEY",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A refused request: what to log ([`reason`](Self::reason)) and what to answer (everything else).
///
/// The answer depends on the OAuth error alone, so that a peer cannot use the verifier to try things out. It never holds
/// anything of the proof or the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    role: Role,
    scheme: Scheme,
    reason: Reason,
    algorithms: Arc<str>,
    nonce: Option<HeaderValue>,
}

impl Rejection {
    pub(super) fn new(role: Role, reason: Reason, algorithms: &Arc<str>, nonce: Option<HeaderValue>) -> Self {
        Self {
            role,
            scheme: Scheme::Dpop,
            reason,
            algorithms: Arc::clone(algorithms),
            nonce,
        }
    }

    /// This refusal where tokens of `scheme` are asked for.
    pub(super) fn by(mut self, scheme: Scheme) -> Self {
        self.scheme = scheme;
        self
    }

    /// Which check failed: for the operator, not for the peer.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The status of the answer: 401 at a resource and 400 at a token endpoint (RFC 9449 5, 7.1); 400 for two
    /// `Authorization` fields; 429 and 503 when the replay log refuses for its own reasons.
    pub fn status(&self) -> StatusCode {
        match (self.reason, self.role) {
            (Reason::Quota, _) => StatusCode::TOO_MANY_REQUESTS,
            (Reason::Unavailable, _) => StatusCode::SERVICE_UNAVAILABLE,
            (Reason::MultipleMethods, _) | (_, Role::Token) => StatusCode::BAD_REQUEST,
            (_, Role::Resource) => StatusCode::UNAUTHORIZED,
        }
    }

    /// The OAuth error code; none when the request had no usable credentials (RFC 6750 3.1) or the log refused.
    pub fn oauth_error(&self) -> Option<&'static str> {
        match (self.reason, self.role) {
            (Reason::Quota | Reason::Unavailable | Reason::TokenMissing, _) => None,
            (Reason::MultipleMethods, _) => Some("invalid_request"),
            (Reason::NonceMissing | Reason::NonceMismatch, _) => Some("use_dpop_nonce"),
            (Reason::KeyBinding, Role::Token) => Some("invalid_grant"),
            (Reason::Downgrade | Reason::KeyBinding | Reason::TokenInvalid | Reason::TokenUnbound, _) => {
                Some("invalid_token")
            }
            _ => Some("invalid_dpop_proof"),
        }
    }

    /// The nonce that the peer is to use, where the refusal was about nonces.
    pub fn nonce(&self) -> Option<&HeaderValue> {
        self.nonce.as_ref()
    }

    /// The `WWW-Authenticate` challenge of a resource (RFC 9449 7.1), with the algorithms that it takes; one for `Bearer` (RFC
    /// 6750 3) where a certificate-bound token was refused. None at a token endpoint, and none for 429 and 503.
    pub fn www_authenticate(&self) -> Option<HeaderValue> {
        if self.role == Role::Token || matches!(self.reason, Reason::Quota | Reason::Unavailable) {
            return None;
        }
        let error = self
            .oauth_error()
            .map(|error| format!(r#" error="{error}", error_description="{}""#, describe(error)));
        let text = match (self.scheme, error) {
            (Scheme::Dpop, Some(error)) => format!(r#"DPoP{error}, algs="{}""#, self.algorithms),
            (Scheme::Dpop, None) => format!(r#"DPoP algs="{}""#, self.algorithms),
            (Scheme::Bearer, error) => format!("Bearer{}", error.unwrap_or_default()),
        };
        HeaderValue::try_from(text).ok()
    }

    /// The JSON body of a token endpoint's answer (RFC 6749 5.2). A resource may send it as well, or no body at all.
    pub fn body(&self) -> String {
        match self.oauth_error() {
            Some(error) => format!(r#"{{"error":"{error}","error_description":"{}"}}"#, describe(error)),
            None => "{}".to_owned(),
        }
    }

    /// Sets the answer's header fields: the challenge, `DPoP-Nonce`, and `Cache-Control: no-store` (RFC 9449 8.2).
    pub fn fill_headers(&self, headers: &mut HeaderMap) {
        if let Some(challenge) = self.www_authenticate() {
            headers.append(WWW_AUTHENTICATE, challenge);
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(nonce) = &self.nonce {
            headers.insert(DPOP_NONCE, nonce.clone());
        }
    }
}

/// Sets `DPoP-Nonce` and the `Cache-Control` that belongs to it.
pub(super) fn fill_nonce(headers: &mut HeaderMap, nonce: &HeaderValue) {
    headers.insert(DPOP_NONCE, nonce.clone());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

fn describe(error: &str) -> &'static str {
    match error {
        "invalid_request" => "more than one method of authentication",
        "invalid_token" => "the access token cannot be used in this request",
        "invalid_grant" => "the grant belongs to another key",
        "use_dpop_nonce" => "a nonce of this server is required in the DPoP proof",
        _ => "the DPoP proof was not accepted",
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused: {}", self.reason.code())
    }
}

impl std::error::Error for Rejection {}

#[cfg(test)]
mod tests {
    use super::*;

    fn reject(role: Role, reason: Reason) -> Rejection {
        Rejection::new(role, reason, &"ES256".into(), None)
    }

    #[test]
    fn the_peer_learns_the_oauth_error_and_nothing_finer() {
        let one = reject(Role::Resource, Reason::Replay);
        for reason in [
            Reason::Signature,
            Reason::Uri,
            Reason::PrivateKey,
            Reason::Clock,
            Reason::Jti,
        ] {
            let other = reject(Role::Resource, reason);
            assert_eq!(other.www_authenticate(), one.www_authenticate(), "{reason}");
            assert_eq!((other.body(), other.status()), (one.body(), one.status()), "{reason}");
        }
        assert_eq!(
            one.www_authenticate().unwrap(),
            r#"DPoP error="invalid_dpop_proof", error_description="the DPoP proof was not accepted", algs="ES256""#
        );
    }

    #[test]
    fn without_credentials_there_is_a_challenge_and_no_error() {
        let rejection = reject(Role::Resource, Reason::TokenMissing);
        assert_eq!(rejection.www_authenticate().unwrap(), r#"DPoP algs="ES256""#);
        assert_eq!(rejection.oauth_error(), None);
    }

    #[test]
    fn a_token_endpoint_answers_400_and_no_challenge() {
        let rejection = reject(Role::Token, Reason::Signature);
        assert_eq!(
            (rejection.status(), rejection.www_authenticate()),
            (StatusCode::BAD_REQUEST, None)
        );
        assert_eq!(
            reject(Role::Token, Reason::KeyBinding).oauth_error(),
            Some("invalid_grant")
        );
    }

    #[test]
    fn answers_with_a_nonce_are_not_stored() {
        let nonce = HeaderValue::from_static("n-1");
        let mut headers = HeaderMap::new();
        Rejection::new(
            Role::Resource,
            Reason::NonceMissing,
            &"ES256".into(),
            Some(nonce.clone()),
        )
        .fill_headers(&mut headers);
        assert_eq!(headers.get("dpop-nonce"), Some(&nonce));
        assert_eq!(headers.get(CACHE_CONTROL).unwrap(), "no-store");
        let mut headers = HeaderMap::new();
        fill_nonce(&mut headers, &nonce);
        assert_eq!(headers.get(CACHE_CONTROL).unwrap(), "no-store");
    }

    #[test]
    fn a_full_or_silent_log_is_no_fault_of_the_proof() {
        assert_eq!(
            reject(Role::Resource, Reason::Quota).status(),
            StatusCode::TOO_MANY_REQUESTS
        );
        let down = reject(Role::Resource, Reason::Unavailable);
        assert_eq!(down.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!((down.www_authenticate(), down.oauth_error()), (None, None));
    }
}
