//! Key pairs on a token: made, found, looked at, signed with, destroyed. All of this blocks.

use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use p256::pkcs8::der::Encode;

use super::failure::{Fault, Pkcs11Failure};
use crate::jose::{Algorithm, PublicJwk, oid};
use crate::keys::Signature;

/// CKA_ID of an object: a digest of all that it belongs to.
pub(super) type Name = [u8; 32];

const RSA_BITS: u64 = 2048;
const RSA_EXPONENT: [u8; 3] = [1, 0, 1];

/// Makes a key pair of this name, reads back that it cannot be exported, and has it sign once. What does not pass is destroyed.
pub(super) fn generate(session: &Session, name: &Name, label: &str, algorithm: Algorithm) -> Result<PublicJwk, Fault> {
    if !find(session, name, None)?.is_empty() {
        return Err(Fault::Mismatch);
    }
    let (mechanism, kind) = match algorithm {
        Algorithm::Es256 => {
            let curve = oid::P256
                .to_der()
                .map_err(|_| Fault::Failed(Pkcs11Failure::Unsupported))?;
            (Mechanism::EccKeyPairGen, vec![Attribute::EcParams(curve)])
        }
        Algorithm::Ps256 => (
            Mechanism::RsaPkcsKeyPairGen,
            vec![
                Attribute::ModulusBits(RSA_BITS.into()),
                Attribute::PublicExponent(RSA_EXPONENT.to_vec()),
            ],
        ),
        Algorithm::Ed25519 | Algorithm::Rs256 => return Err(Fault::Failed(Pkcs11Failure::Unsupported)),
    };
    let both = [
        Attribute::Token(true),
        Attribute::Id(name.to_vec()),
        Attribute::Label(label.as_bytes().to_vec()),
    ];
    let public: Vec<_> = both
        .iter()
        .cloned()
        .chain(kind)
        .chain([
            Attribute::Verify(true),
            Attribute::Encrypt(false),
            Attribute::Wrap(false),
        ])
        .collect();
    let private: Vec<_> = both
        .iter()
        .cloned()
        .chain([
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            Attribute::SignRecover(false),
            Attribute::Decrypt(false),
            Attribute::Unwrap(false),
            Attribute::Derive(false),
        ])
        .collect();
    let _handles = session.generate_key_pair(&mechanism, &public, &private)?;
    let checked = look_up(session, name, algorithm).and_then(|(private, public)| {
        let probe = b"one signature before a key is trusted";
        let signature = sign(session, private, algorithm, &crate::crypto::sha256(probe))?;
        match public.verify(probe, signature.as_bytes()) {
            Ok(()) => Ok(public),
            Err(_) => Err(Fault::Mismatch),
        }
    });
    if checked.is_err() {
        destroy(session, name)?;
    }
    checked
}

/// The one private object of this name, which cannot be exported and does nothing but sign, with the public half beside it.
pub(super) fn look_up(
    session: &Session,
    name: &Name,
    algorithm: Algorithm,
) -> Result<(ObjectHandle, PublicJwk), Fault> {
    let private = one(session, name, ObjectClass::PRIVATE_KEY)?;
    check_kept(session, private)?;
    let forbidden = session.get_attributes(
        private,
        &[
            AttributeType::Decrypt,
            AttributeType::SignRecover,
            AttributeType::Unwrap,
            AttributeType::Derive,
        ],
    )?;
    let allows = |attribute: &Attribute| {
        matches!(
            attribute,
            Attribute::Decrypt(true) | Attribute::SignRecover(true) | Attribute::Unwrap(true) | Attribute::Derive(true)
        )
    };
    if forbidden.iter().any(allows) {
        return Err(Fault::Mismatch);
    }
    let public = match one(session, name, ObjectClass::PUBLIC_KEY) {
        // A private half alone is not what was made.
        Err(Fault::Missing) => return Err(Fault::Mismatch),
        found => found?,
    };
    Ok((private, public_jwk(session, public, algorithm)?))
}

/// Reads back what keeps a key inside. A token that does not tell is not believed.
pub(super) fn check_kept(session: &Session, key: ObjectHandle) -> Result<(), Fault> {
    let told = session.get_attributes(
        key,
        &[
            AttributeType::Sensitive,
            AttributeType::Extractable,
            AttributeType::NeverExtractable,
            AttributeType::AlwaysSensitive,
        ],
    )?;
    match told.as_slice() {
        [
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::NeverExtractable(true),
            Attribute::AlwaysSensitive(true),
        ] => Ok(()),
        _ => Err(Fault::Mismatch),
    }
}

/// Signs a SHA-256 digest.
pub(super) fn sign(
    session: &Session,
    private: ObjectHandle,
    algorithm: Algorithm,
    digest: &[u8; 32],
) -> Result<Signature, Fault> {
    let mechanism = match algorithm {
        Algorithm::Es256 => Mechanism::Ecdsa,
        Algorithm::Ps256 => Mechanism::RsaPkcsPss(PkcsPssParams {
            hash_alg: MechanismType::SHA256,
            mgf: PkcsMgfType::MGF1_SHA256,
            s_len: 32_u64.into(),
        }),
        Algorithm::Ed25519 | Algorithm::Rs256 => return Err(Fault::Failed(Pkcs11Failure::Unsupported)),
    };
    Ok(Signature::from(session.sign(&mechanism, private, digest)?))
}

/// Destroys all objects of this name, decoys among them.
pub(super) fn destroy(session: &Session, name: &Name) -> Result<(), Fault> {
    for object in find(session, name, None)? {
        session.destroy_object(object)?;
    }
    Ok(())
}

/// The one object of this name and class.
pub(super) fn one(session: &Session, name: &Name, class: ObjectClass) -> Result<ObjectHandle, Fault> {
    match find(session, name, Some(class))?.as_slice() {
        [] => Err(Fault::Missing),
        [one] => Ok(*one),
        [_, _, ..] => Err(Fault::Mismatch),
    }
}

fn find(session: &Session, name: &Name, class: Option<ObjectClass>) -> Result<Vec<ObjectHandle>, Fault> {
    let mut template = vec![Attribute::Id(name.to_vec())];
    template.extend(class.map(Attribute::Class));
    Ok(session.find_objects(&template)?)
}

fn public_jwk(session: &Session, public: ObjectHandle, algorithm: Algorithm) -> Result<PublicJwk, Fault> {
    let (kind, members) = match algorithm {
        Algorithm::Es256 => (KeyType::EC, [AttributeType::EcParams, AttributeType::EcPoint]),
        _ => (KeyType::RSA, [AttributeType::Modulus, AttributeType::PublicExponent]),
    };
    let told = session.get_attributes(public, &[AttributeType::KeyType, members[0], members[1]])?;
    let jwk = match told.as_slice() {
        [
            Attribute::KeyType(told),
            Attribute::EcParams(curve),
            Attribute::EcPoint(point),
        ] if *told == kind => p256(curve, point),
        [
            Attribute::KeyType(told),
            Attribute::Modulus(n),
            Attribute::PublicExponent(e),
        ] if *told == kind => PublicJwk::rsa(unpadded(n), unpadded(e)).ok(),
        _ => None,
    };
    jwk.ok_or(Fault::Mismatch)
}

/// CKA_EC_POINT is an OCTET STRING of DER around the point (PKCS#11 6.3.3); some tokens give the point alone.
fn p256(curve: &[u8], point: &[u8]) -> Option<PublicJwk> {
    if curve != oid::P256.to_der().ok()? {
        return None;
    }
    let coordinates = match point {
        [0x04, 0x41, 0x04, coordinates @ ..] | [0x04, coordinates @ ..] if coordinates.len() == 64 => coordinates,
        _ => return None,
    };
    let (x, y) = coordinates.split_at_checked(32)?;
    PublicJwk::p256(x.try_into().ok()?, y.try_into().ok()?).ok()
}

fn unpadded(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|octet| **octet == 0).count();
    number.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use p256::elliptic_curve::sec1::ToSec1Point;

    use super::*;

    #[test]
    fn a_point_is_read_in_both_forms_and_no_other() {
        let curve = oid::P256.to_der().unwrap();
        let point = p256::SecretKey::from_slice(&[7; 32])
            .unwrap()
            .public_key()
            .to_sec1_point(false);
        let point = point.as_bytes();
        let wrapped = [&[0x04, 0x41], point].concat();
        assert_eq!(p256(&curve, point), p256(&curve, &wrapped));
        assert!(p256(&curve, point).is_some());
        for wrong in [&wrapped[..66], &point[1..], &[wrapped.as_slice(), &[0]].concat(), &[]] {
            assert!(p256(&curve, wrong).is_none());
        }
        assert!(p256(&oid::EC.to_der().unwrap(), point).is_none());
        assert_eq!(unpadded(&[0, 0, 3, 0]), [3, 0]);
    }
}
