//! What is read of a certificate. Who issued it is the server's business (RFC 8705 7.5).

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::asn1::{ContextSpecific, ObjectIdentifier};
use x509_cert::der::referenced::OwnedToRef;
use x509_cert::der::{self, Decode, Encode, SliceReader, TagNumber};
use x509_cert::ext::pkix::ExtendedKeyUsage;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::IdentityError;
use crate::clock::Timestamp;
use crate::jose::{PublicJwk, Thumbprint, oid, x5c};

const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Signatures over MD2, MD4, MD5 and SHA-1.
const WEAK_SIGNATURES: [ObjectIdentifier; 7] = [
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.2"),
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.3"),
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.4"),
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5"),
    ObjectIdentifier::new_unwrap("1.3.14.3.2.29"),
    ObjectIdentifier::new_unwrap("1.2.840.10045.4.1"),
    ObjectIdentifier::new_unwrap("1.2.840.10040.4.3"),
];

const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");

/// The arc of SHA-2 and SHA-3.
const NIST_HASHES: &str = "2.16.840.1.101.3.4.2.";

const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const ANY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// What is known of the client's own certificate.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) x5t: Thumbprint,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

impl Facts {
    /// The facts, and the public key.
    ///
    /// The whole chain is looked at: servers that refuse a weak signature do so wherever it is.
    pub(super) fn of(
        own: &CertificateDer<'_>,
        authorities: &[CertificateDer<'_>],
    ) -> Result<(Self, PublicKey), IdentityError> {
        let parsed = parse(own)?;
        check_usage(&parsed)?;
        let key = PublicKey::of(parsed.tbs_certificate().subject_public_key_info())?;
        for authority in authorities {
            parse(authority)?;
        }
        let validity = parsed.tbs_certificate().validity();
        let facts = Self {
            x5t: Thumbprint::of_certificate(own),
            not_before: timestamp(validity.not_before.to_unix_duration()),
            not_after: timestamp(validity.not_after.to_unix_duration()),
        };
        Ok((facts, key))
    }
}

/// The public key of a certificate, which is known to be strong enough.
pub(super) struct PublicKey {
    /// Its `SubjectPublicKeyInfo` in DER.
    pub(super) spki: Vec<u8>,
    /// The same as keys of a store say it; `None` for kinds that no store has.
    pub(super) jwk: Option<PublicJwk>,
}

impl PublicKey {
    fn of(info: &SubjectPublicKeyInfoOwned) -> Result<Self, IdentityError> {
        let octets = info.subject_public_key.as_bytes().ok_or(IdentityError::Malformed)?;
        match info.algorithm.oid {
            oid::RSA => {
                let (n, _) = x5c::rsa_numbers(octets).map_err(|_| IdentityError::Malformed)?;
                let n = n.as_bytes();
                let bits = n.len().saturating_mul(8) - n.first().map_or(0, |first| first.leading_zeros() as usize);
                if !RSA_BITS.contains(&bits) {
                    return Err(IdentityError::Weak);
                }
            }
            oid::EC => {
                let curve = info
                    .algorithm
                    .parameters
                    .as_ref()
                    .and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok())
                    .ok_or(IdentityError::Weak)?;
                if ![oid::P256, P384, P521].contains(&curve) {
                    return Err(IdentityError::Weak);
                }
            }
            oid::ED25519 => {}
            _ => return Err(IdentityError::Weak),
        }
        Ok(Self {
            spki: info.to_der().map_err(|_| IdentityError::Malformed)?,
            jwk: x5c::public_jwk(&info.owned_to_ref()),
        })
    }
}

fn parse(certificate: &CertificateDer<'_>) -> Result<Certificate, IdentityError> {
    let parsed = Certificate::from_der(certificate).map_err(|_| IdentityError::Malformed)?;
    // A signature that vouches for nothing but itself cannot be forged to any use.
    let self_signed = parsed.tbs_certificate().issuer() == parsed.tbs_certificate().subject();
    let signature = parsed.signature_algorithm();
    let weak = WEAK_SIGNATURES.contains(&signature.oid)
        || (signature.oid == RSA_PSS && signature.parameters.as_ref().is_none_or(hash_is_weak));
    if weak && !self_signed {
        return Err(IdentityError::Weak);
    }
    Ok(parsed)
}

/// `RSASSA-PSS-params` names its hash first, unless it is SHA-1 (RFC 8017 A.2.3). What is named must be of SHA-2 or SHA-3.
fn hash_is_weak(parameters: &der::Any) -> bool {
    let named = || -> der::Result<AlgorithmIdentifierOwned> {
        let mut reader = SliceReader::new(parameters.value())?;
        let hash = ContextSpecific::decode_explicit(&mut reader, TagNumber(0))?;
        hash.map(|hash| hash.value).ok_or_else(|| der::ErrorKind::Failed.into())
    };
    !named().is_ok_and(|hash| hash.oid.to_string().starts_with(NIST_HASHES))
}

fn check_usage(certificate: &Certificate) -> Result<(), IdentityError> {
    let usage = certificate
        .tbs_certificate()
        .get_extension::<ExtendedKeyUsage>()
        .map_err(|_| IdentityError::Malformed)?;
    match usage {
        Some((_critical, ExtendedKeyUsage(purposes)))
            if !purposes
                .iter()
                .any(|purpose| [CLIENT_AUTH, ANY_USAGE].contains(purpose)) =>
        {
            Err(IdentityError::NotForClients)
        }
        _ => Ok(()),
    }
}

fn timestamp(since_1970: Duration) -> Timestamp {
    Timestamp::UNIX_EPOCH + since_1970
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::testing::group;

    /// RFC 8705 appendix A, read as the certificate of an identity is; the rest of the group is a verifier's.
    #[test]
    fn the_thumbprint_is_that_of_the_certificate_in_der() {
        let [vector, ..] = &group("x5t_s256", 9)[..] else {
            panic!()
        };
        let der = STANDARD
            .decode(vector["input"]["certificate_der_b64"].as_str().unwrap())
            .unwrap();
        let (facts, _) = Facts::of(&CertificateDer::from(der), &[]).unwrap();
        assert_eq!(vector["expect"]["x5t#S256"], facts.x5t.to_string());
        assert_eq!(facts.not_before.unix_seconds(), 1_539_866_229);
        assert_eq!(facts.not_after.unix_seconds(), 1_651_495_029);
    }
}
