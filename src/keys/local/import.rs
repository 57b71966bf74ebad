//! PEM and DER: which structure it is, and what is in it.

use ::p256::pkcs8::PrivateKeyInfoRef;
use ::p256::pkcs8::der::asn1::{AnyRef, BitStringRef, OctetStringRef};
use ::p256::pkcs8::der::{self, Decode, ErrorKind, Reader, SliceReader, Tag, TagMode, TagNumber, Tagged};
use ::p256::pkcs8::{ObjectIdentifier, der::pem as rfc7468};
use zeroize::Zeroizing;

use super::Halves;
use crate::jose::oid::{EC, ED25519, P256, RSA};
use crate::keys::KeyImportError;

/// No private key that is taken in here is larger: RSA with 8192 bits has some 6 KiB in PEM.
pub(super) const MAX_OCTETS: usize = 16 * 1024;

/// The private key in a PEM text.
pub(super) fn pem(text: &[u8]) -> Result<Halves, KeyImportError> {
    if text.len() > MAX_OCTETS {
        return Err(KeyImportError::TooLarge);
    }
    let text = std::str::from_utf8(text).map_err(|_| KeyImportError::UnknownFormat)?;
    let block = the_one_block(text)?;
    // How OpenSSL's older format marks an encrypted key (RFC 1421).
    if block.contains("Proc-Type:") {
        return Err(KeyImportError::Encrypted);
    }
    let label = block
        .strip_prefix(BEGIN)
        .and_then(|rest| rest.split_once(DASHES))
        .map(|(label, _)| label)
        .ok_or(KeyImportError::UnknownFormat)?;
    let read: fn(&[u8]) -> Result<Halves, KeyImportError> = match label {
        "PRIVATE KEY" => pkcs8,
        "EC PRIVATE KEY" => |der| sec1(der, None),
        "RSA PRIVATE KEY" => pkcs1,
        "ENCRYPTED PRIVATE KEY" => return Err(KeyImportError::Encrypted),
        "PUBLIC KEY" | "RSA PUBLIC KEY" | "CERTIFICATE" => return Err(KeyImportError::NotPrivate),
        _ => return Err(KeyImportError::UnknownFormat),
    };
    let (_label, der) = rfc7468::decode_vec(block.as_bytes()).map_err(|_| KeyImportError::Malformed)?;
    read(&Zeroizing::new(der))
}

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// The text of the only block, after the parameters that OpenSSL likes to write before an EC key.
fn the_one_block(text: &str) -> Result<&str, KeyImportError> {
    let mut rest = text.trim_ascii();
    if rest.starts_with("-----BEGIN EC PARAMETERS-----") {
        let (_parameters, after) = rest
            .split_once("-----END EC PARAMETERS-----")
            .ok_or(KeyImportError::Malformed)?;
        rest = after.trim_ascii_start();
    }
    if !rest.starts_with(BEGIN) {
        return Err(KeyImportError::UnknownFormat);
    }
    let (_body, end) = rest.split_once(END).ok_or(KeyImportError::Malformed)?;
    let (_label, after) = end.split_once(DASHES).ok_or(KeyImportError::Malformed)?;
    if after.is_empty() {
        Ok(rest)
    } else {
        Err(KeyImportError::TrailingData)
    }
}

/// A `PrivateKeyInfo` or `OneAsymmetricKey` (RFC 5958).
pub(super) fn pkcs8(octets: &[u8]) -> Result<Halves, KeyImportError> {
    if octets.len() > MAX_OCTETS {
        return Err(KeyImportError::TooLarge);
    }
    let info = PrivateKeyInfoRef::from_der(octets).map_err(|error| {
        if is_encrypted(octets) {
            KeyImportError::Encrypted
        } else {
            category(&error)
        }
    })?;
    let point = info.public_key.map(|bits| octets_of(&bits)).transpose()?;
    let inner = info.private_key.as_bytes();
    match info.algorithm.oid {
        EC => {
            let curve = info.algorithm.parameters.ok_or(KeyImportError::Malformed)?;
            let curve = curve
                .decode_as::<ObjectIdentifier>()
                .map_err(|_| KeyImportError::UnsupportedKey)?;
            let halves = sec1(inner, Some(curve))?;
            match halves {
                Halves::P256 {
                    scalar,
                    point: Some(within),
                } => match point {
                    Some(outer) if outer != within => Err(KeyImportError::Mismatch),
                    _ => Ok(Halves::P256 {
                        scalar,
                        point: Some(within),
                    }),
                },
                Halves::P256 { scalar, point: None } => Ok(Halves::P256 { scalar, point }),
                other => Ok(other),
            }
        }
        ED25519 => {
            if info.algorithm.parameters.is_some() {
                return Err(KeyImportError::Malformed);
            }
            let seed = <&OctetStringRef>::from_der(inner).map_err(|error| category(&error))?;
            Ok(Halves::Ed25519 {
                seed: Zeroizing::new(seed.as_bytes().to_vec()),
                point,
            })
        }
        RSA => {
            // RFC 8017 A.1: the parameters are NULL.
            match info.algorithm.parameters {
                Some(parameters) if parameters.tag() == Tag::Null => pkcs1(inner),
                _ => Err(KeyImportError::Malformed),
            }
        }
        _ => Err(KeyImportError::UnsupportedKey),
    }
}

/// An `ECPrivateKey` (RFC 5915). Where it names no curve itself, `curve` does.
fn sec1(octets: &[u8], curve: Option<ObjectIdentifier>) -> Result<Halves, KeyImportError> {
    struct Fields<'a> {
        version: u8,
        scalar: &'a OctetStringRef,
        curve: Option<ObjectIdentifier>,
        point: Option<BitStringRef<'a>>,
    }
    let read = |octets| -> der::Result<Fields<'_>> {
        let mut reader = SliceReader::new(octets)?;
        let fields = reader.sequence(|fields| {
            Ok::<_, der::Error>(Fields {
                version: fields.decode()?,
                scalar: fields.decode()?,
                curve: fields.context_specific(TagNumber(0), TagMode::Explicit)?,
                point: fields.context_specific(TagNumber(1), TagMode::Explicit)?,
            })
        })?;
        reader.finish()?;
        Ok(fields)
    };
    let fields = read(octets).map_err(|error| category(&error))?;
    if fields.version != 1 {
        return Err(KeyImportError::Malformed);
    }
    // Both may name the curve; then both have to name the same.
    let named = [curve, fields.curve];
    if named.iter().all(Option::is_none) {
        return Err(KeyImportError::Malformed);
    }
    if named.into_iter().flatten().any(|curve| curve != P256) {
        return Err(KeyImportError::UnsupportedKey);
    }
    Ok(Halves::P256 {
        scalar: Zeroizing::new(fields.scalar.as_bytes().to_vec()),
        point: fields.point.map(|bits| octets_of(&bits)).transpose()?,
    })
}

/// An `RSAPrivateKey` (RFC 8017 A.1.2).
#[cfg(feature = "rsa")]
fn pkcs1(octets: &[u8]) -> Result<Halves, KeyImportError> {
    Ok(Halves::Rsa(Box::new(super::rsa::Numbers::from_pkcs1(octets)?)))
}

#[cfg(not(feature = "rsa"))]
fn pkcs1(_octets: &[u8]) -> Result<Halves, KeyImportError> {
    Err(KeyImportError::FeatureNeeded { feature: "rsa" })
}

fn octets_of(bits: &BitStringRef<'_>) -> Result<Vec<u8>, KeyImportError> {
    bits.as_bytes().map(<[u8]>::to_vec).ok_or(KeyImportError::Malformed)
}

/// An `EncryptedPrivateKeyInfo` starts with an algorithm where a private key has its version.
fn is_encrypted(octets: &[u8]) -> bool {
    let first = || -> der::Result<Tag> {
        let mut reader = SliceReader::new(octets)?;
        reader.sequence(|fields| {
            let algorithm: AnyRef<'_> = fields.decode()?;
            let _data: &OctetStringRef = fields.decode()?;
            Ok(algorithm.tag())
        })
    };
    first() == Ok(Tag::Sequence)
}

fn category(error: &der::Error) -> KeyImportError {
    match error.kind() {
        ErrorKind::TrailingData { .. } => KeyImportError::TrailingData,
        _ => KeyImportError::Malformed,
    }
}
