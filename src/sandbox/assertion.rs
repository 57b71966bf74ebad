//! Assertions: JWTs that clients sign to say who they are (RFC 7523 2.2), or whom a token is for (RFC 7523 2.1).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value as Loose;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::time::Time;

use super::registration::JwtRules;
use crate::clock::Timestamp;
use crate::crypto;
use crate::jose::{Algorithm, CompactJws, PublicJwk};
use crate::json::{Number, Object, Value};

/// What assertions may be signed with.
pub(super) const ALGORITHMS: [&str; 5] = ["ES256", "EdDSA", "Ed25519", "PS256", "RS256"];

/// How far ahead a client's clock may be, in seconds.
const AHEAD: i64 = 10;

/// How many `jti` are remembered. Those that have expired are forgotten to make room; where that makes none, nothing more is
/// accepted.
const REMEMBERED: usize = 65_536;

/// What an assertion that came along says, read without believing it: `None` where a member is absent or of another type.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct AssertionClaims {
    /// `iss`.
    pub iss: Option<String>,
    /// `sub`.
    pub sub: Option<String>,
    /// `aud` as it stands: a text, or a list.
    pub aud: Option<Loose>,
    /// `jti`.
    pub jti: Option<String>,
    /// `exp`, seconds since 1970.
    pub exp: Option<i64>,
    /// `iat`, seconds since 1970.
    pub iat: Option<i64>,
    /// `scope`.
    pub scope: Option<String>,
    /// `typ` of the header.
    pub typ: Option<String>,
    /// `alg` of the header.
    pub alg: Option<String>,
    /// `kid` of the header.
    pub kid: Option<String>,
    /// How many certificates are in the header's `x5c`.
    pub x5c: usize,
}

impl AssertionClaims {
    pub(super) fn read(jwt: &str) -> Option<Self> {
        let mut segments = jwt.split('.');
        let mut object = || -> Option<Loose> {
            let bytes = URL_SAFE_NO_PAD.decode(segments.next()?).ok()?;
            serde_json::from_slice(&bytes).ok()
        };
        let (header, claims) = (object()?, object()?);
        let text = |from: &Loose, name: &str| from.get(name)?.as_str().map(str::to_owned);
        let seconds = |name: &str| claims.get(name).and_then(Loose::as_i64);
        Some(Self {
            iss: text(&claims, "iss"),
            sub: text(&claims, "sub"),
            aud: claims.get("aud").cloned(),
            jti: text(&claims, "jti"),
            exp: seconds("exp"),
            iat: seconds("iat"),
            scope: text(&claims, "scope"),
            typ: text(&header, "typ"),
            alg: text(&header, "alg"),
            kid: text(&header, "kid"),
            x5c: header.get("x5c").and_then(Loose::as_array).map_or(0, Vec::len),
        })
    }
}

/// What an assertion is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Client authentication (RFC 7523 2.2).
    Client,
    /// An authorization grant (RFC 7523 2.1).
    Grant,
}

impl Use {
    fn typ(self) -> &'static str {
        match self {
            Self::Client => "client-authentication+jwt",
            Self::Grant => "authorization-grant+jwt",
        }
    }

    /// How long an assertion may live, in seconds: Maskinporten's limit for grants.
    fn longest(self) -> i64 {
        match self {
            Self::Client => 300,
            Self::Grant => 120,
        }
    }
}

/// What an assertion is held against.
pub(super) struct Expected<'a> {
    pub(super) usage: Use,
    pub(super) client_id: &'a str,
    /// The client's keys, each with its `kid`.
    pub(super) keys: &'a [(String, PublicJwk)],
    pub(super) rules: &'a JwtRules,
    pub(super) issuer: &'a str,
    pub(super) token_endpoints: &'a [String],
    pub(super) now: Timestamp,
}

/// The part of an assertion that was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wrong(pub(super) &'static str);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The assertions that were used.
#[derive(Default)]
pub(super) struct Used(Mutex<HashMap<[u8; 32], i64>>);

impl Used {
    /// Whether this one is used for the first time.
    fn first(&self, client_id: &str, jti: &str, until: i64, now: i64) -> bool {
        let mut digest = crypto::Digest::default();
        digest.text(client_id);
        digest.text(jti);
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= REMEMBERED {
            used.retain(|_, until| *until > now);
        }
        used.len() < REMEMBERED && used.insert(digest.finish(), until).is_none()
    }

    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Checks an assertion, and gives its claims. It is used up when everything else held.
pub(super) fn check(jwt: &str, expected: &Expected<'_>, used: &Used) -> Result<Object, Wrong> {
    let parts = CompactJws::split(jwt).ok_or(Wrong("assertion_form"))?;
    let header = Object::parse(&parts.header).map_err(|_| Wrong("assertion_form"))?;
    let claims = Object::parse(&parts.payload).map_err(|_| Wrong("assertion_form"))?;
    if header.get("crit").is_some() || header.get("b64").is_some() {
        return Err(Wrong("assertion_form"));
    }
    check_typ(&header, expected)?;
    check_signature(&header, &parts, expected)?;

    let text = |name| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(expected.client_id) {
        return Err(Wrong("assertion_iss"));
    }
    // Whom a grant is for is another question than who signed it.
    if expected.usage == Use::Client && text("sub") != Some(expected.client_id) {
        return Err(Wrong("assertion_sub"));
    }
    // As text, exactly: not in a list, and not as a URL that comes to the same.
    let audience = text("aud").ok_or(Wrong("assertion_aud"))?;
    let fits = match &expected.rules.audience {
        Some(own) => audience == own,
        None => {
            audience == expected.issuer
                || expected.rules.token_endpoint && expected.token_endpoints.iter().any(|url| url == audience)
        }
    };
    if !fits {
        return Err(Wrong("assertion_aud"));
    }
    let until = check_times(&claims, expected)?;
    match text("jti") {
        Some(jti) if !jti.is_empty() => {
            let now = expected.now.unix_seconds();
            match used.first(expected.client_id, jti, until, now) {
                true => Ok(claims),
                false => Err(Wrong("assertion_replay")),
            }
        }
        _ => Err(Wrong("assertion_jti")),
    }
}

fn check_typ(header: &Object, expected: &Expected<'_>) -> Result<(), Wrong> {
    let typ = match header.get("typ") {
        None => None,
        Some(typ) => Some(typ.as_str().ok_or(Wrong("assertion_typ"))?),
    };
    let explicit = typ == Some(expected.usage.typ());
    let untyped = typ.is_none_or(|typ| typ.eq_ignore_ascii_case("JWT"));
    match expected.rules.explicit_typ {
        Some(true) if explicit => Ok(()),
        Some(false) if untyped => Ok(()),
        None if explicit || untyped => Ok(()),
        _ => Err(Wrong("assertion_typ")),
    }
}

fn check_times(claims: &Object, expected: &Expected<'_>) -> Result<i64, Wrong> {
    let now = expected.now.unix_seconds();
    let seconds = |name, wrong| match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_number().and_then(Number::as_i64) {
            Some(seconds) => Ok(Some(seconds)),
            None => Err(Wrong(wrong)),
        },
    };
    let exp = seconds("exp", "assertion_exp")?.ok_or(Wrong("assertion_exp"))?;
    let iat = seconds("iat", "assertion_iat")?;
    let begins = match expected.usage {
        Use::Client => now.saturating_add(AHEAD),
        Use::Grant => iat.ok_or(Wrong("assertion_iat"))?,
    };
    if exp <= now || exp.saturating_sub(begins) > expected.usage.longest() {
        return Err(Wrong("assertion_exp"));
    }
    if iat.is_some_and(|iat| iat > now.saturating_add(AHEAD)) {
        return Err(Wrong("assertion_iat"));
    }
    if seconds("nbf", "assertion_nbf")?.is_some_and(|nbf| nbf > now.saturating_add(AHEAD)) {
        return Err(Wrong("assertion_nbf"));
    }
    Ok(exp)
}

/// The key is the one that `kid` names. An assertion with certificates may leave `kid` out: the first is its key's (RFC 7515
/// 4.1.6).
fn check_signature(header: &Object, parts: &CompactJws<'_>, expected: &Expected<'_>) -> Result<(), Wrong> {
    let alg = header
        .get("alg")
        .and_then(Value::as_str)
        .ok_or(Wrong("assertion_alg"))?;
    if !ALGORITHMS.contains(&alg) {
        return Err(Wrong("assertion_alg"));
    }
    let certificate = match header.get("x5c") {
        None if expected.rules.certificates => return Err(Wrong("assertion_x5c")),
        None => None,
        Some(chain) => Some(first_certificate(chain).ok_or(Wrong("assertion_x5c"))?),
    };
    let kid = match header.get("kid") {
        None if certificate.is_some() => None,
        kid => Some(kid.and_then(Value::as_str).ok_or(Wrong("assertion_kid"))?),
    };
    let mut named = expected
        .keys
        .iter()
        .filter(|(own, _)| kid.is_none_or(|kid| kid == own))
        .peekable();
    if named.peek().is_none() {
        return Err(Wrong("assertion_kid"));
    }
    if !named.any(|(_, key)| verifies(key, alg, parts)) {
        return Err(Wrong("assertion_signature"));
    }
    match certificate {
        // What verifies with both is signed by a key that both have.
        Some(certificate) if !verifies_with(&certificate, alg, parts) => Err(Wrong("assertion_x5c")),
        Some(certificate) if !is_valid_at(&certificate, expected.now) => Err(Wrong("assertion_x5c_ended")),
        _ => Ok(()),
    }
}

fn verifies(key: &PublicJwk, alg: &str, parts: &CompactJws<'_>) -> bool {
    if alg == "RS256" {
        return verifies_rs256(key, parts).is_some();
    }
    let fits = Algorithm::from_jws_name(alg) == Some(key.algorithm());
    fits && key.verify(parts.signed.as_bytes(), &parts.signature).is_ok()
}

/// RS256 by the members of an RSA key, which the crate itself verifies with PS256 alone.
fn verifies_rs256(key: &PublicJwk, parts: &CompactJws<'_>) -> Option<()> {
    let jwk = Object::parse(key.to_json().as_bytes()).ok()?;
    let integer = |name| URL_SAFE_NO_PAD.decode(jwk.get(name)?.as_str()?).ok();
    let (n, e) = (integer("n")?, integer("e")?);
    RsaPublicKeyComponents { n, e }
        .verify(
            &signature::RSA_PKCS1_2048_8192_SHA256,
            parts.signed.as_bytes(),
            &parts.signature,
        )
        .ok()
}

fn first_certificate(chain: &Value) -> Option<Certificate> {
    let text = chain.as_array()?.first()?.as_str()?;
    Certificate::from_der(&STANDARD.decode(text).ok()?).ok()
}

fn is_valid_at(certificate: &Certificate, now: Timestamp) -> bool {
    let validity = certificate.tbs_certificate().validity();
    let seconds = |time: Time| i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    (seconds(validity.not_before)..=seconds(validity.not_after)).contains(&now.unix_seconds())
}

fn verifies_with(certificate: &Certificate, alg: &str, parts: &CompactJws<'_>) -> bool {
    let spki = certificate.tbs_certificate().subject_public_key_info();
    let Some(key) = spki.subject_public_key.as_bytes() else {
        return false;
    };
    let algorithm: &dyn signature::VerificationAlgorithm = match alg {
        "ES256" => &signature::ECDSA_P256_SHA256_FIXED,
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
        _ => &signature::ED25519,
    };
    UnparsedPublicKey::new(algorithm, key)
        .verify(parts.signed.as_bytes(), &parts.signature)
        .is_ok()
}
