//! The proof itself: one compact JWS with a public key in its header (RFC 9449 4.2, 4.3 checks 1 to 7).

use http::header::HeaderMap;

use super::Reason;
use super::policy::Policy;
use super::rejection::DPOP;
use crate::jose::{Algorithm, CompactJws, InvalidJwk, PublicJwk};
use crate::json::{Object, Value};

/// A proof whose form, header and key are right. Nothing is said about its signature yet.
#[derive(Debug)]
pub(super) struct Proof<'a> {
    pub(super) key: PublicJwk,
    pub(super) claims: Object,
    jws: CompactJws<'a>,
}

impl<'a> Proof<'a> {
    /// Reads the one `DPoP` field. The size is checked before anything else is done with it.
    pub(super) fn read(headers: &'a HeaderMap, policy: &Policy) -> Result<Self, Reason> {
        let mut fields = headers.get_all(DPOP).iter();
        let field = fields.next().ok_or(Reason::ProofMissing)?;
        if fields.next().is_some() {
            return Err(Reason::MultipleProofs);
        }
        if field.len() > policy.max_proof_bytes {
            return Err(Reason::Oversize);
        }
        let text = field.to_str().map_err(|_| Reason::Malformed)?;
        let jws = CompactJws::split(text).ok_or(Reason::Malformed)?;
        let header = Object::parse(&jws.header).map_err(|_| Reason::Malformed)?;
        let key = key_of(&header, policy)?;
        if jws.signature.is_empty() {
            return Err(Reason::Malformed);
        }
        let claims = Object::parse(&jws.payload).map_err(|_| Reason::Malformed)?;
        Ok(Self { key, claims, jws })
    }

    /// Whether the key in the header made the signature.
    pub(super) fn verify_signature(&self) -> Result<(), Reason> {
        self.key
            .verify(self.jws.signed.as_bytes(), &self.jws.signature)
            .map_err(|_| Reason::Signature)
    }
}

/// The key of a header whose `typ`, `alg` and extensions are right. `kid`, `jku`, `x5u` and `x5c` are not looked at.
fn key_of(header: &Object, policy: &Policy) -> Result<PublicJwk, Reason> {
    let text = |name| header.get(name).and_then(Value::as_str);
    if text("typ") != Some("dpop+jwt") {
        return Err(Reason::Type);
    }
    let algorithm = text("alg")
        .and_then(Algorithm::from_jws_name)
        .filter(|algorithm| policy.algorithms.contains(algorithm))
        .ok_or(Reason::Algorithm)?;
    // No extension is understood; `b64` without `crit` is one that hides (RFC 7797 6).
    if header.get("crit").is_some() || header.get("b64").is_some() {
        return Err(Reason::Critical);
    }
    let jwk = header.get("jwk").and_then(Value::as_object).ok_or(Reason::Jwk)?;
    let key = PublicJwk::from_object(jwk).map_err(|invalid| match invalid {
        InvalidJwk::Malformed => Reason::Jwk,
        InvalidJwk::PrivateMember => Reason::PrivateKey,
        InvalidJwk::WeakKey => Reason::WeakKey,
        InvalidJwk::Algorithm => Reason::Algorithm,
    })?;
    let declared = jwk.get("alg").and_then(Value::as_str);
    let agrees = |name| Algorithm::from_jws_name(name) == Some(algorithm);
    if key.algorithm() == algorithm && declared.is_none_or(agrees) {
        Ok(key)
    } else {
        Err(Reason::Algorithm)
    }
}
