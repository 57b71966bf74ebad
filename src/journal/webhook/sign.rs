//! Signatures of Standard Webhooks.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::crypto;

/// What such secrets begin with, where they are written down.
const PREFIX: &str = "whsec_";

/// How many octets a secret has.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// Why a text is no webhook secret.
///
/// User action: make one with `echo whsec_$(openssl rand -base64 32)`, and give it to both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a webhook secret is `whsec_` and the base64 of 24 to 64 octets")]
#[non_exhaustive]
pub struct BadWebhookSecret;

/// What deliveries are signed with, and checked with at the other end.
#[derive(Clone)]
pub struct WebhookSecret(std::sync::Arc<Zeroizing<Vec<u8>>>);

impl WebhookSecret {
    /// The secret in this text: `whsec_` and base64.
    ///
    /// # Errors
    /// [`BadWebhookSecret`].
    pub fn parse(text: &str) -> Result<Self, BadWebhookSecret> {
        let encoded = text.strip_prefix(PREFIX).ok_or(BadWebhookSecret)?;
        let octets = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| BadWebhookSecret)?);
        match LENGTHS.contains(&octets.len()) {
            true => Ok(Self(std::sync::Arc::new(octets))),
            false => Err(BadWebhookSecret),
        }
    }

    pub(super) fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        let mut signed = Vec::with_capacity(id.len() + timestamp.len() + body.len() + 2);
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            signed.extend_from_slice(part);
        }
        format!("v1,{}", STANDARD.encode(crypto::hmac_sha256(&self.0, &signed)))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_specification() {
        // The example of standardwebhooks.com's libraries.
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(format!("{secret:?}"), "WebhookSecret(redacted)");
    }

    #[test]
    fn secrets_of_other_forms_are_refused() {
        let of = |octets: usize| format!("whsec_{}", STANDARD.encode(vec![7; octets]));
        for text in [
            "",
            "whsec_",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_!!!!",
            &of(23),
            &of(65),
        ] {
            assert_eq!(WebhookSecret::parse(text).err(), Some(BadWebhookSecret), "{text}");
        }
        assert!(WebhookSecret::parse(&of(24)).is_ok() && WebhookSecret::parse(&of(64)).is_ok());
    }
}
