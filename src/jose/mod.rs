//! Public keys, thumbprints and signatures of JOSE: what proofs are made of and checked with.
//!
//! Three algorithms and no others: ES256 everywhere, Ed25519 and PS256 with the feature `aws-lc-rs`. An algorithm belongs
//! to a key's type, so no header can pair a key with an algorithm of another kind (RFC 8725 3.1). RS256 is made for old
//! issuers' sake, in client assertions, and is read nowhere.

pub(crate) mod base64url;
mod ed25519;
mod jwk;
pub(crate) mod oid;
mod thumbprint;
pub(crate) mod x5c;

use crate::json::{Object, Value};

pub use jwk::{BadSignature, InvalidJwk, PublicJwk};
pub use thumbprint::{Thumbprint, ath};

/// A signature algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256 (RFC 7518 3.4).
    Es256,
    /// EdDSA on Curve25519 (RFC 8037 3.1), in JWS headers `EdDSA` or `Ed25519` (RFC 9864 2.2).
    Ed25519,
    /// RSASSA-PSS with SHA-256 and a salt of 32 octets (RFC 7518 3.5).
    Ps256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 3.3). Legacy: FAPI 2.0 5.4.1 forbids it. It signs client assertions for
    /// issuers that take nothing better, never proofs; whatever is read from others is refused with it. See
    /// [`LocalKey::into_rs256`](crate::keys::LocalKey::into_rs256).
    Rs256,
}

impl Algorithm {
    /// `ES256`, `Ed25519`, `PS256` or `RS256`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Ed25519 => "Ed25519",
            Self::Ps256 => "PS256",
            Self::Rs256 => "RS256",
        }
    }

    /// The names that a JWS header may use, the one most peers know first: `EdDSA` before `Ed25519`.
    pub const fn jws_names(self) -> &'static [&'static str] {
        match self {
            Self::Es256 => &["ES256"],
            Self::Ed25519 => &["EdDSA", "Ed25519"],
            Self::Ps256 => &["PS256"],
            Self::Rs256 => &["RS256"],
        }
    }

    /// The algorithm that a JWS header names, exactly as written; `None` for everything else, `none` first of
    /// all, and `RS256`: it is made, never read.
    pub fn from_jws_name(name: &str) -> Option<Self> {
        match name {
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::Ed25519),
            "PS256" => Some(Self::Ps256),
            _ => None,
        }
    }
}

/// Verifies a compact JWS (RFC 7515 7.1) with a key that is already known, and gives its payload.
///
/// # Errors
/// [`BadSignature::Mismatch`] unless the JWS has three canonical segments, a header that is one JSON object with an `alg`
/// that fits the key and without `crit` or `b64`, and a signature that verifies; [`BadSignature::Unsupported`] as in
/// [`PublicJwk::verify`].
pub fn verify_compact(jws: &str, key: &PublicJwk) -> Result<Vec<u8>, BadSignature> {
    let parts = CompactJws::split(jws).ok_or(BadSignature::Mismatch)?;
    let header = Object::parse(&parts.header).map_err(|_| BadSignature::Mismatch)?;
    let algorithm = header
        .get("alg")
        .and_then(Value::as_str)
        .and_then(Algorithm::from_jws_name);
    if algorithm != Some(key.algorithm()) || header.get("crit").is_some() || header.get("b64").is_some() {
        return Err(BadSignature::Mismatch);
    }
    key.verify(parts.signed.as_bytes(), &parts.signature)?;
    Ok(parts.payload)
}

/// The parts of a compact JWS, decoded but not looked into.
#[derive(Debug)]
pub(crate) struct CompactJws<'a> {
    pub(crate) header: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    /// Header and payload segment with the dot between them: what is signed.
    pub(crate) signed: &'a str,
}

impl<'a> CompactJws<'a> {
    /// Three segments of canonical base64url, or `None`.
    pub(crate) fn split(jws: &'a str) -> Option<Self> {
        let (signed, signature) = jws.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        // A fourth segment leaves a dot inside one of the three, which no decoder takes.
        Some(Self {
            header: base64url::decode(header)?,
            payload: base64url::decode(payload)?,
            signature: base64url::decode(signature)?,
            signed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for algorithm in [Algorithm::Es256, Algorithm::Ed25519, Algorithm::Ps256] {
            for name in algorithm.jws_names() {
                assert_eq!(Algorithm::from_jws_name(name), Some(algorithm));
            }
        }
        assert_eq!(Algorithm::Rs256.jws_names(), ["RS256"]);
        for name in ["none", "None", "HS256", "RS256", "es256", "ES256 ", ""] {
            assert_eq!(Algorithm::from_jws_name(name), None);
        }
    }

    #[test]
    fn a_compact_jws_has_three_segments() {
        assert!(CompactJws::split("e30.e30.").is_some());
        for jws in ["", "e30", "e30.e30", "e30.e30.e30.e30", "e30=.e30.e30", "e30.e30.e30\n"] {
            assert!(CompactJws::split(jws).is_none(), "{jws:?}");
        }
    }
}
