//! Certificates in a JOSE header (`x5c`, RFC 7515 4.1.6).
//!
//! All that is read of a certificate here is its public key, and that in every build: x509-cert comes with the feature `mtls`,
//! and whether a certificate fits a key must not depend on a feature.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::VerifyingKey;
use p256::pkcs8::ObjectIdentifier;
use p256::pkcs8::der::asn1::UintRef;
use p256::pkcs8::der::{self, Reader, SliceReader, TagMode, TagNumber};
use p256::pkcs8::spki::SubjectPublicKeyInfoRef;

use super::{PublicJwk, oid};

/// The header's value: standard base64 with padding, not base64url.
pub(crate) fn encode(chain: &[Vec<u8>]) -> Vec<String> {
    chain.iter().map(|der| STANDARD.encode(der)).collect()
}

/// Whether this certificate in DER is one of `key`; `None` where it is no X.509 certificate.
pub(crate) fn certifies(certificate: &[u8], key: &PublicJwk) -> Option<bool> {
    let certified = subject_public_key(certificate).ok()?;
    Some(public_jwk(&certified).is_some_and(|certified| certified.thumbprint() == key.thumbprint()))
}

/// RFC 5280 4.1: what stands before and after the key is stepped over.
fn subject_public_key(certificate: &[u8]) -> der::Result<SubjectPublicKeyInfoRef<'_>> {
    let mut reader = SliceReader::new(certificate)?;
    let key = reader.sequence(|fields| {
        let key = fields.sequence(|tbs| {
            let _version: Option<u8> = tbs.context_specific(TagNumber(0), TagMode::Explicit)?;
            for _field in ["serialNumber", "signature", "issuer", "validity", "subject"] {
                tbs.tlv_bytes()?;
            }
            let key = tbs.decode()?;
            while !tbs.is_finished() {
                tbs.tlv_bytes()?;
            }
            Ok::<_, der::Error>(key)
        })?;
        for _field in ["signatureAlgorithm", "signatureValue"] {
            fields.tlv_bytes()?;
        }
        Ok::<_, der::Error>(key)
    })?;
    reader.finish()?;
    Ok(key)
}

/// `None` for a key that this crate does not sign with.
pub(crate) fn public_jwk(key: &SubjectPublicKeyInfoRef<'_>) -> Option<PublicJwk> {
    let octets = key.subject_public_key.as_bytes()?;
    match key.algorithm.oid {
        oid::EC => {
            let curve: ObjectIdentifier = key.algorithm.parameters?.decode_as().ok()?;
            if curve != oid::P256 {
                return None;
            }
            let point = VerifyingKey::from_sec1_bytes(octets).ok()?.to_sec1_point(false);
            let [_uncompressed, coordinates @ ..] = point.as_bytes() else {
                return None;
            };
            let (x, y) = coordinates.split_at_checked(32)?;
            PublicJwk::p256(x.try_into().ok()?, y.try_into().ok()?).ok()
        }
        oid::ED25519 => PublicJwk::ed25519(octets.try_into().ok()?).ok(),
        oid::RSA => {
            let (n, e) = rsa_numbers(octets).ok()?;
            PublicJwk::rsa(n.as_bytes(), e.as_bytes()).ok()
        }
        _ => None,
    }
}

/// An `RSAPublicKey` (RFC 8017 A.1.1).
pub(crate) fn rsa_numbers(octets: &[u8]) -> der::Result<(UintRef<'_>, UintRef<'_>)> {
    let mut reader = SliceReader::new(octets)?;
    let numbers = reader.sequence(|fields| Ok::<_, der::Error>((fields.decode()?, fields.decode()?)))?;
    reader.finish()?;
    Ok(numbers)
}
