//! The error codes of OAuth, as far as they may be shown.

use std::fmt;

/// The codes that are shown. A server can put anything into `error`, also the secret or the token that it was given.
const KNOWN_CODES: [&str; 21] = [
    "access_denied",
    "insufficient_scope",
    "insufficient_user_authentication",
    "interaction_required",
    "invalid_authorization_details",
    "invalid_client",
    "invalid_client_metadata",
    "invalid_dpop_proof",
    "invalid_grant",
    "invalid_request",
    "invalid_scope",
    "invalid_target",
    "invalid_token",
    "server_error",
    "slow_down",
    "temporarily_unavailable",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_response_type",
    "unsupported_token_type",
    "use_dpop_nonce",
];

/// An `error` of RFC 6749 5.2 as a server gave it: at most 64 of its legal characters, the rest cut.
///
/// `Display` and `Debug` show codes that are registered with IANA for OAuth; others are a text that a server chose, which
/// [`as_str`](Self::as_str) alone gives.
#[derive(Clone, PartialEq, Eq)]
pub struct OAuthCode(Box<str>);

impl OAuthCode {
    pub(crate) fn new(text: &str) -> Self {
        let legal = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        Self(
            text.chars()
                .take(64)
                .take_while(legal)
                .collect::<String>()
                .into_boxed_str(),
        )
    }

    /// The code's text, `invalid_client` for instance. Written by the server: not for logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OAuthCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if KNOWN_CODES.contains(&&*self.0) {
            &self.0
        } else {
            "a code of its own"
        })
    }
}

impl fmt::Debug for OAuthCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OAuthCode({self})")
    }
}
