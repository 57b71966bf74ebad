//! Private JWKs (RFC 7517, 7518 6, RFC 8037 2).

use zeroize::Zeroizing;

use super::Halves;
use super::import::MAX_OCTETS;
use crate::jose::{Algorithm, PublicJwk, base64url};
use crate::json::{Object, Value};
use crate::keys::KeyImportError;

/// What the JWK holds, and its `kid`.
pub(super) fn read(text: &[u8]) -> Result<(Halves, Option<Box<str>>), KeyImportError> {
    if text.len() > MAX_OCTETS {
        return Err(KeyImportError::TooLarge);
    }
    let jwk = Object::parse(text).map_err(|_| KeyImportError::Malformed)?;
    let curve = jwk.get("crv").and_then(Value::as_str);
    let algorithm = match (text_of(&jwk, "kty")?, curve) {
        ("EC", Some("P-256")) => Algorithm::Es256,
        ("OKP", Some("Ed25519")) => Algorithm::Ed25519,
        ("RSA", _) => Algorithm::Ps256,
        _ => return Err(KeyImportError::UnsupportedKey),
    };
    check_use(&jwk, algorithm)?;
    if jwk.get("d").is_none() {
        return Err(KeyImportError::NotPrivate);
    }
    let kid = match jwk.get("kid") {
        None => None,
        Some(kid) => Some(kid.as_str().ok_or(KeyImportError::Malformed)?.into()),
    };
    let halves = match algorithm {
        Algorithm::Es256 => {
            let (x, y) = (public_octets(&jwk, "x")?, public_octets(&jwk, "y")?);
            PublicJwk::p256(x, y).map_err(|_| KeyImportError::InvalidPublicKey)?;
            Ok(Halves::P256 {
                scalar: number(&jwk, "d")?,
                point: Some([&[4_u8][..], &x, &y].concat()),
            })
        }
        Algorithm::Ed25519 => Ok(Halves::Ed25519 {
            seed: number(&jwk, "d")?,
            point: Some(public_octets(&jwk, "x")?.to_vec()),
        }),
        Algorithm::Ps256 | Algorithm::Rs256 => rsa(&jwk),
    }?;
    Ok((halves, kid))
}

#[cfg(feature = "rsa")]
fn rsa(jwk: &Object) -> Result<Halves, KeyImportError> {
    if jwk.get("oth").is_some() {
        return Err(KeyImportError::UnsupportedKey);
    }
    let [p, q, dp, dq, qi] = ["p", "q", "dp", "dq", "qi"];
    // RFC 7518 6.3.2: with one of them, all of them.
    let factors = match [p, q, dp, dq, qi].iter().filter(|name| jwk.get(name).is_some()).count() {
        0 => None,
        5 => Some(super::rsa::Factors {
            p: number(jwk, p)?,
            q: number(jwk, q)?,
            dp: number(jwk, dp)?,
            dq: number(jwk, dq)?,
            qi: number(jwk, qi)?,
        }),
        _ => return Err(KeyImportError::Malformed),
    };
    Ok(Halves::Rsa(Box::new(super::rsa::Numbers {
        n: number(jwk, "n")?,
        e: number(jwk, "e")?,
        d: number(jwk, "d")?,
        factors,
    })))
}

#[cfg(not(feature = "rsa"))]
fn rsa(_jwk: &Object) -> Result<Halves, KeyImportError> {
    Err(KeyImportError::FeatureNeeded { feature: "rsa" })
}

/// A key that is marked for something else is left to that (RFC 7517 4.2-4.4).
fn check_use(jwk: &Object, algorithm: Algorithm) -> Result<(), KeyImportError> {
    let is = |name: &str, fits: &dyn Fn(&Value) -> bool| jwk.get(name).is_none_or(fits);
    let signs = is("alg", &|value| {
        value.as_str().and_then(Algorithm::from_jws_name) == Some(algorithm)
    }) && is("use", &|value| value.as_str() == Some("sig"))
        && is("key_ops", &|value| {
            let operations = value.as_array().unwrap_or_default();
            operations.iter().any(|operation| operation.as_str() == Some("sign"))
        });
    if signs {
        Ok(())
    } else {
        Err(KeyImportError::UnsupportedKey)
    }
}

fn text_of<'a>(jwk: &'a Object, name: &str) -> Result<&'a str, KeyImportError> {
    jwk.get(name).and_then(Value::as_str).ok_or(KeyImportError::Malformed)
}

fn number(jwk: &Object, name: &str) -> Result<Zeroizing<Vec<u8>>, KeyImportError> {
    base64url::decode(text_of(jwk, name)?)
        .map(Zeroizing::new)
        .ok_or(KeyImportError::Malformed)
}

fn public_octets(jwk: &Object, name: &str) -> Result<[u8; 32], KeyImportError> {
    base64url::decode_array(text_of(jwk, name)?).ok_or(KeyImportError::Malformed)
}
