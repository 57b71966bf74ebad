//! Public keys as JWKs (RFC 7517, RFC 7518 6, RFC 8037), read strictly: one key has one form, and so one thumbprint.

use std::fmt;

use thiserror::Error;

use super::{Algorithm, Thumbprint, base64url, ed25519};
use crate::json::{Object, Value};

/// Members that no public key has (RFC 7518 6.2.2, 6.3.2, 6.4.1; RFC 8037 2).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The greatest RSA exponent that is read: more only makes checking slow.
const RSA_MAX_EXPONENT: u64 = (1 << 33) - 1;

/// Why a public key was refused. The refusal never shows the key's members: one of them may be private.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidJwk {
    /// A required member is absent, has the wrong type, length or encoding, or the point is not on the curve. Let the
    /// peer send the key in the form of RFC 7518 6 with full-length coordinates.
    #[error("the JWK is malformed or no point of its curve")]
    Malformed,
    /// The JWK has a private or symmetric member, even if an empty one. Treat the key as disclosed and replace it.
    #[error("the JWK holds private key material")]
    PrivateMember,
    /// An RSA key outside 2048 to 8192 bits or with an unfit exponent, or an Ed25519 point of small order. Use another
    /// key.
    #[error("the key is too weak or too large")]
    WeakKey,
    /// The key's type or curve is not one of those that this crate verifies with, or its `alg` belongs to another type.
    #[error("the key's type, curve or algorithm is not supported")]
    Algorithm,
}

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadSignature {
    /// It does not verify, or does not have the one form that the algorithm prescribes.
    #[error("the signature does not verify")]
    Mismatch,
    /// This build cannot tell: Ed25519 and PS256 need the feature `aws-lc-rs`.
    #[error("this build cannot verify signatures of this algorithm")]
    Unsupported,
}

/// A public key that signatures are verified with: P-256, Ed25519 or RSA.
///
/// Whatever value of this type exists has passed the checks: its point is on the curve (P-256), not of small order and
/// canonically encoded (Ed25519), its modulus has 2048 to 8192 bits and its exponent is odd and at least 3 (RSA).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicJwk(Key);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    P256 {
        x: [u8; 32],
        y: [u8; 32],
    },
    Ed25519([u8; 32]),
    Rsa {
        n: Box<[u8]>,
        e: Box<[u8]>,
        padding: Padding,
    },
}

/// Which signatures an RSA key makes. Not part of its JWK, hence of its thumbprint.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Padding {
    /// PS256.
    Pss,
    /// RS256: never of a key that was read from JSON.
    Pkcs1,
}

impl PublicJwk {
    /// The P-256 key with these coordinates, big-endian.
    ///
    /// # Errors
    /// [`InvalidJwk::Malformed`] when the point is not on the curve.
    pub fn p256(x: [u8; 32], y: [u8; 32]) -> Result<Self, InvalidJwk> {
        p256::PublicKey::from_sec1_bytes(&sec1(&x, &y)).map_err(|_| InvalidJwk::Malformed)?;
        Ok(Self(Key::P256 { x, y }))
    }

    /// The Ed25519 key with this encoded point (RFC 8032 5.1.2).
    ///
    /// # Errors
    /// [`InvalidJwk::WeakKey`] for a point of small order, [`InvalidJwk::Malformed`] for a second encoding of a point.
    pub fn ed25519(point: [u8; 32]) -> Result<Self, InvalidJwk> {
        if !ed25519::is_canonical(&point) {
            return Err(InvalidJwk::Malformed);
        }
        if ed25519::has_small_order(&point) {
            return Err(InvalidJwk::WeakKey);
        }
        Ok(Self(Key::Ed25519(point)))
    }

    /// The RSA key with this modulus and public exponent, big-endian.
    ///
    /// # Errors
    /// [`InvalidJwk::Malformed`] when either is empty or starts with a zero octet; [`InvalidJwk::WeakKey`] when the
    /// modulus is even or has less than 2048 or more than 8192 bits, or the exponent is even, below 3 or above 2^33 - 1.
    pub fn rsa(n: &[u8], e: &[u8]) -> Result<Self, InvalidJwk> {
        let ([first, .., last], [leading, ..]) = (n, e) else {
            return Err(InvalidJwk::Malformed);
        };
        if *first == 0 || *leading == 0 {
            return Err(InvalidJwk::Malformed);
        }
        let bits = n.len().saturating_mul(8) - first.leading_zeros() as usize;
        let exponent = match e.len() {
            1..=8 => e.iter().fold(0, |value: u64, octet| value << 8 | u64::from(*octet)),
            _ => u64::MAX,
        };
        let fit = (3..=RSA_MAX_EXPONENT).contains(&exponent) && exponent % 2 == 1;
        if !RSA_BITS.contains(&bits) || last % 2 == 0 || !fit {
            return Err(InvalidJwk::WeakKey);
        }
        Ok(Self(Key::Rsa {
            n: n.into(),
            e: e.into(),
            padding: Padding::Pss,
        }))
    }

    /// Reads a JWK from its JSON text. Members that don't matter here (`kid`, `x5c`, ...) are ignored, and nothing that
    /// they point to is ever fetched.
    ///
    /// # Errors
    /// [`InvalidJwk`] says which rule the key broke. A text that is not one JSON object, or that has a member twice, is
    /// [`InvalidJwk::Malformed`].
    ///
    /// ```
    /// use shipbound::jose::PublicJwk;
    ///
    /// let jwk = PublicJwk::from_json(br#"{"kty":"OKP","crv":"Ed25519",
    ///     "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#)?;
    /// assert_eq!(jwk.thumbprint().to_string(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    /// # Ok::<(), shipbound::jose::InvalidJwk>(())
    /// ```
    pub fn from_json(text: &[u8]) -> Result<Self, InvalidJwk> {
        Self::from_object(&Object::parse(text).map_err(|_| InvalidJwk::Malformed)?)
    }

    pub(crate) fn from_object(jwk: &Object) -> Result<Self, InvalidJwk> {
        if PRIVATE_MEMBERS.iter().any(|name| jwk.get(name).is_some()) {
            return Err(InvalidJwk::PrivateMember);
        }
        let key = match text(jwk, "kty")? {
            "EC" if text(jwk, "crv")? == "P-256" => Self::p256(octets(jwk, "x")?, octets(jwk, "y")?),
            "OKP" if text(jwk, "crv")? == "Ed25519" => Self::ed25519(octets(jwk, "x")?),
            "RSA" => {
                let integer = |name| base64url::decode(text(jwk, name)?).ok_or(InvalidJwk::Malformed);
                Self::rsa(&integer("n")?, &integer("e")?)
            }
            _ => Err(InvalidJwk::Algorithm),
        }?;
        if jwk.get("use").is_some_and(|usage| usage.as_str() != Some("sig")) {
            return Err(InvalidJwk::Malformed);
        }
        if let Some(operations) = jwk.get("key_ops") {
            let operations = operations.as_array().ok_or(InvalidJwk::Malformed)?;
            if !operations.iter().any(|operation| operation.as_str() == Some("verify")) {
                return Err(InvalidJwk::Malformed);
            }
        }
        match jwk.get("alg").map(Value::as_str) {
            None => Ok(key),
            Some(Some(name)) if key.fits(name) => Ok(key),
            Some(_) => Err(InvalidJwk::Algorithm),
        }
    }

    /// This RSA key, for RS256 in the place of PS256; `None` for other keys.
    pub(crate) fn into_rs256(self) -> Option<Self> {
        match self.0 {
            Key::Rsa { n, e, .. } => Some(Self(Key::Rsa {
                n,
                e,
                padding: Padding::Pkcs1,
            })),
            Key::P256 { .. } | Key::Ed25519(_) => None,
        }
    }

    /// Whether a key of this type can have this `alg` at all, also where this crate does not use it (RFC 7518 3.1).
    fn fits(&self, alg: &str) -> bool {
        match &self.0 {
            Key::P256 { .. } => alg == "ES256",
            Key::Ed25519(_) => matches!(alg, "EdDSA" | "Ed25519"),
            Key::Rsa { .. } => matches!(alg, "PS256" | "PS384" | "PS512" | "RS256" | "RS384" | "RS512"),
        }
    }

    /// The algorithm that signatures of this key are verified with.
    pub fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Key::P256 { .. } => Algorithm::Es256,
            Key::Ed25519(_) => Algorithm::Ed25519,
            Key::Rsa {
                padding: Padding::Pss, ..
            } => Algorithm::Ps256,
            Key::Rsa {
                padding: Padding::Pkcs1,
                ..
            } => Algorithm::Rs256,
        }
    }

    /// The length of its signatures, in octets.
    pub(crate) fn signature_len(&self) -> usize {
        match &self.0 {
            Key::P256 { .. } | Key::Ed25519(_) => 64,
            Key::Rsa { n, .. } => n.len(),
        }
    }

    /// The required members in lexicographic order and nothing else: what RFC 7638 3 hashes.
    pub fn to_json(&self) -> String {
        let text = base64url::encode;
        match &self.0 {
            Key::P256 { x, y } => {
                format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, text(x), text(y))
            }
            Key::Ed25519(x) => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, text(x)),
            Key::Rsa { n, e, .. } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, text(e), text(n)),
        }
    }

    /// The key's RFC 7638 thumbprint, `jkt` in a token's confirmation.
    pub fn thumbprint(&self) -> Thumbprint {
        Thumbprint::of(self.to_json().as_bytes())
    }

    /// Whether `signature` is this key's over `message`: 64 octets R, S for ES256 (RFC 7518 3.4); 64 octets for Ed25519,
    /// strictly (RFC 8032 5.1.7); PS256 with a salt as long as the hash (RFC 7518 3.5); RS256 for the public half of a key
    /// that was made for it, and no other.
    ///
    /// # Errors
    /// [`BadSignature::Mismatch`] when it is not; [`BadSignature::Unsupported`] for all but ES256 in a build without the
    /// feature `aws-lc-rs`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        match &self.0 {
            Key::P256 { x, y } => backend::es256(&sec1(x, y), message, signature),
            Key::Ed25519(point) => {
                // A small-order R belongs to no signature that an honest signer makes.
                let r = signature.first_chunk().ok_or(BadSignature::Mismatch)?;
                if ed25519::has_small_order(r) {
                    return Err(BadSignature::Mismatch);
                }
                backend::ed25519(point, message, signature)
            }
            Key::Rsa { n, e, padding } => backend::rsa(n, e, *padding, message, signature),
        }
    }
}

impl fmt::Debug for PublicJwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicJwk({}, {})", self.algorithm().name(), self.thumbprint())
    }
}

fn text<'a>(jwk: &'a Object, name: &str) -> Result<&'a str, InvalidJwk> {
    jwk.get(name).and_then(Value::as_str).ok_or(InvalidJwk::Malformed)
}

fn octets(jwk: &Object, name: &str) -> Result<[u8; 32], InvalidJwk> {
    base64url::decode_array(text(jwk, name)?).ok_or(InvalidJwk::Malformed)
}

/// The uncompressed point of SEC 1 2.3.3.
fn sec1(x: &[u8; 32], y: &[u8; 32]) -> [u8; 65] {
    let mut point = [4; 65];
    for (to, octet) in point.iter_mut().skip(1).zip(x.iter().chain(y)) {
        *to = *octet;
    }
    point
}

#[cfg(feature = "aws-lc-rs")]
mod backend {
    use aws_lc_rs::signature;

    use super::{BadSignature, Padding};

    pub(super) fn es256(point: &[u8; 65], message: &[u8], signed: &[u8]) -> Result<(), BadSignature> {
        signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
            .verify(message, signed)
            .map_err(|_| BadSignature::Mismatch)
    }

    pub(super) fn ed25519(point: &[u8; 32], message: &[u8], signed: &[u8]) -> Result<(), BadSignature> {
        signature::UnparsedPublicKey::new(&signature::ED25519, point)
            .verify(message, signed)
            .map_err(|_| BadSignature::Mismatch)
    }

    pub(super) fn rsa(n: &[u8], e: &[u8], padding: Padding, message: &[u8], signed: &[u8]) -> Result<(), BadSignature> {
        let parameters = match padding {
            Padding::Pss => &signature::RSA_PSS_2048_8192_SHA256,
            Padding::Pkcs1 => &signature::RSA_PKCS1_2048_8192_SHA256,
        };
        signature::RsaPublicKeyComponents { n, e }
            .verify(parameters, message, signed)
            .map_err(|_| BadSignature::Mismatch)
    }
}

#[cfg(not(feature = "aws-lc-rs"))]
mod backend {
    use p256::ecdsa::signature::Verifier;
    use p256::ecdsa::{Signature, VerifyingKey};

    use super::{BadSignature, Padding};

    pub(super) fn es256(point: &[u8; 65], message: &[u8], signed: &[u8]) -> Result<(), BadSignature> {
        let key = VerifyingKey::from_sec1_bytes(point).map_err(|_| BadSignature::Mismatch)?;
        let signed = Signature::from_slice(signed).map_err(|_| BadSignature::Mismatch)?;
        key.verify(message, &signed).map_err(|_| BadSignature::Mismatch)
    }

    pub(super) fn ed25519(_: &[u8; 32], _: &[u8], _: &[u8]) -> Result<(), BadSignature> {
        Err(BadSignature::Unsupported)
    }

    pub(super) fn rsa(_: &[u8], _: &[u8], _: Padding, _: &[u8], _: &[u8]) -> Result<(), BadSignature> {
        Err(BadSignature::Unsupported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

    fn ec(more: &str) -> Result<PublicJwk, InvalidJwk> {
        PublicJwk::from_json(format!(r#"{{"kty":"EC","crv":"P-256","x":"{X}","y":"{Y}"{more}}}"#).as_bytes())
    }

    #[test]
    fn what_a_key_says_about_its_use_must_fit() {
        let key = ec("").unwrap();
        assert_eq!(
            ec(r#","kid":"k","use":"sig","alg":"ES256","key_ops":["verify"]"#).as_ref(),
            Ok(&key)
        );
        for (more, why) in [
            (r#","use":"enc""#, InvalidJwk::Malformed),
            (r#","use":1"#, InvalidJwk::Malformed),
            (r#","key_ops":["sign"]"#, InvalidJwk::Malformed),
            (r#","key_ops":"verify""#, InvalidJwk::Malformed),
            (r#","alg":"EdDSA""#, InvalidJwk::Algorithm),
            (r#","alg":null"#, InvalidJwk::Algorithm),
            (r#","x":"AA""#, InvalidJwk::Malformed),
        ] {
            assert_eq!(ec(more), Err(why), "{more}");
        }
    }

    #[test]
    fn private_members_are_refused_even_empty_and_never_shown() {
        for name in PRIVATE_MEMBERS {
            for value in [r#""""#, "null", r#""c2VjcmV0""#] {
                assert_eq!(ec(&format!(r#","{name}":{value}"#)), Err(InvalidJwk::PrivateMember));
            }
        }
        assert!(!InvalidJwk::PrivateMember.to_string().contains("c2VjcmV0"));
    }

    #[test]
    fn rsa_limits_hold_at_their_edges() {
        let modulus = |bits: usize| {
            let mut n = vec![0xff; bits.div_ceil(8)];
            n[0] >>= n.len() * 8 - bits;
            n
        };
        for (bits, ok) in [(2047, false), (2048, true), (8192, true), (8193, false)] {
            assert_eq!(PublicJwk::rsa(&modulus(bits), &[1, 0, 1]).is_ok(), ok, "{bits}");
        }
        for (e, why) in [
            (&[][..], InvalidJwk::Malformed),
            (&[0, 3][..], InvalidJwk::Malformed),
            (&[1][..], InvalidJwk::WeakKey),
            (&[2][..], InvalidJwk::WeakKey),
            (&[2, 0, 0, 0, 1][..], InvalidJwk::WeakKey),
            (&[0xff; 9][..], InvalidJwk::WeakKey),
        ] {
            assert_eq!(PublicJwk::rsa(&modulus(2048), e), Err(why), "{e:?}");
        }
        for e in [&[3][..], &[1, 0xff, 0xff, 0xff, 0xff]] {
            assert!(PublicJwk::rsa(&modulus(2048), e).is_ok(), "{e:?}");
        }
        let mut even = modulus(2048);
        even[255] = 0xfe;
        assert_eq!(PublicJwk::rsa(&even, &[3]), Err(InvalidJwk::WeakKey));
        assert_eq!(PublicJwk::rsa(&[], &[3]), Err(InvalidJwk::Malformed));
    }

    #[test]
    fn points_off_the_curve_are_refused() {
        assert_eq!(PublicJwk::p256([0; 32], [0; 32]), Err(InvalidJwk::Malformed));
        assert_eq!(PublicJwk::p256([0xff; 32], [1; 32]), Err(InvalidJwk::Malformed));
        assert_eq!(PublicJwk::ed25519([0; 32]), Err(InvalidJwk::WeakKey));
        assert_eq!(PublicJwk::ed25519([0xff; 32]), Err(InvalidJwk::Malformed));
    }

    #[test]
    fn a_signature_of_another_length_is_none() {
        let key = ec("").unwrap();
        for length in [0, 63, 65, 72] {
            assert_eq!(key.verify(b"", &vec![1; length]), Err(BadSignature::Mismatch));
        }
    }
}
