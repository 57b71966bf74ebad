//! RFC 7638 thumbprints, and the hash of an access token.

use std::fmt;

use super::base64url;
use crate::crypto::sha256;

/// The SHA-256 thumbprint of a public key (RFC 7638), or of a certificate (`x5t#S256`, RFC 8705 3.1): 32 octets.
///
/// Shown as 43 characters of base64url, the form of `cnf.jkt`. Equal thumbprints are equal octets; a text of another
/// length or in a non-canonical form is no thumbprint at all.
///
/// ```
/// use shipbound::jose::Thumbprint;
///
/// let jkt = Thumbprint::from_base64url("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I").ok_or("no thumbprint")?;
/// assert_eq!(jkt.to_string(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// The thumbprint with these octets.
    pub const fn from_bytes(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// The thumbprint that `text` shows; `None` unless it is 32 octets in canonical base64url without padding.
    pub fn from_base64url(text: &str) -> Option<Self> {
        base64url::decode_array(text).map(Self)
    }

    /// The octets.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The thumbprint of a certificate in DER, `x5t#S256` (RFC 8705 3.1).
    pub fn of_certificate(der: &[u8]) -> Self {
        Self::of(der)
    }

    pub(crate) fn of(data: &[u8]) -> Self {
        Self(sha256(data))
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64url::encode(&self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a proof's `ath` claim must be for this access token (RFC 9449 4.2): the SHA-256 of its text, in base64url.
pub fn ath(token: &str) -> String {
    base64url::encode(&sha256(token.as_bytes()))
}
