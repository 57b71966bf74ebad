//! What a Transit engine tells of a key, judged.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use p256::pkcs8::Document;
use p256::pkcs8::spki::SubjectPublicKeyInfoRef;

use super::failure::TransitFailure;
use crate::jose::{Algorithm, PublicJwk, x5c};
use crate::json::{Object, Value};
use crate::keys::KeyError;

/// What is not as it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Changed;

/// The engine's name for keys that sign with this.
pub(super) fn type_of(algorithm: Algorithm) -> Result<&'static str, KeyError> {
    match algorithm {
        Algorithm::Es256 => Ok("ecdsa-p256"),
        Algorithm::Ed25519 => Ok("ed25519"),
        Algorithm::Ps256 => Ok("rsa-2048"),
        Algorithm::Rs256 => Err(KeyError::Unsupported {
            algorithm,
            hint: "keys in Transit sign ES256, Ed25519 or PS256",
        }),
    }
}

/// Whether a key of this type was made inside and stays there: whoever imported one may have it still. A server that does not
/// tell whether it gives keys out is not believed.
pub(super) fn is_kept(key: &Object, types: &[&str]) -> bool {
    let is = |name: &str, wanted: bool| key.get(name).and_then(Value::as_bool) == Some(wanted);
    let kind = key.get("type").and_then(Value::as_str).unwrap_or_default();
    let was_imported = is("imported_key", true) || key.get("imported_key_allow_rotation").is_some();
    types.contains(&kind) && is("exportable", false) && is("allow_plaintext_backup", false) && !was_imported
}

/// A number among what is told of a key.
pub(super) fn number(key: &Object, name: &str) -> Option<u64> {
    key.get(name)?.as_number()?.as_u64()
}

/// The public half of a key that is as it was made: kept inside, one version and no more.
pub(super) fn public(key: &Object, algorithm: Algorithm) -> Result<Result<PublicJwk, Changed>, TransitFailure> {
    let kind = type_of(algorithm).map_err(|_unsupported| TransitFailure::Answer)?;
    let derived = key.get("derived").and_then(Value::as_bool) == Some(true);
    let versions = key
        .get("keys")
        .and_then(Value::as_object)
        .ok_or(TransitFailure::Answer)?;
    if !is_kept(key, &[kind]) || derived || number(key, "latest_version") != Some(1) || versions.iter().count() != 1 {
        return Ok(Err(Changed));
    }
    let text = versions
        .get("1")
        .and_then(Value::as_object)
        .and_then(|version| version.get("public_key"))
        .and_then(Value::as_str)
        .ok_or(TransitFailure::Answer)?;
    let jwk = match algorithm {
        Algorithm::Ed25519 => {
            let point = STANDARD.decode(text).ok().and_then(|octets| octets.try_into().ok());
            point.and_then(|point| PublicJwk::ed25519(point).ok())
        }
        _ => spki(text),
    };
    jwk.filter(|jwk| jwk.algorithm() == algorithm)
        .map(Ok)
        .ok_or(TransitFailure::Answer)
}

fn spki(pem: &str) -> Option<PublicJwk> {
    let (label, document) = Document::from_pem(pem.trim()).ok()?;
    if label != "PUBLIC KEY" {
        return None;
    }
    x5c::public_jwk(&document.decode_msg::<SubjectPublicKeyInfoRef<'_>>().ok()?)
}
