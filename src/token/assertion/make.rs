//! One assertion: header, claims, signature.

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::credentials::Credential;
use crate::crypto;
use crate::jose::{Algorithm, base64url, x5c};
use crate::keys::{KeyError, KeyHandle, Purpose};
use crate::owner::Owner;

use super::{AssertionError, AssertionProfile, AssertionTyp, Audience};

/// What an assertion is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occasion<'a> {
    pub(crate) profile: &'a AssertionProfile,
    /// Who may have it signed: [`AssertionProfile::owner`].
    pub(crate) owner: &'a Owner,
    pub(crate) key: &'a KeyHandle,
    pub(crate) credential: &'a Credential,
    /// The issuer that was configured, as it was written.
    pub(crate) issuer: Option<&'a str>,
    /// The URL of the endpoint that the assertion is sent to.
    pub(crate) endpoint: &'a str,
    /// The clock's time. Offsets that were learned from servers are for proofs alone.
    pub(crate) now: Timestamp,
}

/// What an assertion is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind<'a> {
    ClientAuthentication,
    Grant(Grant<'a>),
}

/// What a grant says beyond who asks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Grant<'a> {
    /// Scopes with spaces between them.
    pub(crate) scope: Option<&'a str>,
    pub(crate) resources: &'a [&'a str],
}

/// A signed assertion. Whoever has it is the client until it expires: it is wiped, and has no `Debug`.
pub(crate) struct Assertion(Zeroizing<String>);

impl Assertion {
    /// Makes an assertion, never two with one `jti`.
    pub(crate) async fn make(occasion: &Occasion<'_>, kind: Kind<'_>) -> Result<Self, AssertionError> {
        let Occasion { profile, key, .. } = occasion;
        key.check(occasion.owner, Purpose::ClientAssertion)?;
        if key.algorithm() == Algorithm::Rs256 && !profile.rs256 {
            return Err(AssertionError::Rs256);
        }
        let header = header(occasion, kind)?.to_string();
        let claims = claims(occasion, kind)?.to_string();
        let room = [header.len(), claims.len(), key.public().signature_len()].map(base64url::encoded_len);
        // The exact length, so that the text never moves and leaves no copy.
        let mut text = Zeroizing::new(String::with_capacity(room.iter().sum::<usize>() + 2));
        text.push_str(&base64url::encode(header.as_bytes()));
        text.push('.');
        text.push_str(&base64url::encode(claims.as_bytes()));
        let signature = key.sign(text.as_bytes()).wait().await?;
        text.push('.');
        text.push_str(&Zeroizing::new(base64url::encode(signature.as_bytes())));
        Ok(Self(text))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

fn header(occasion: &Occasion<'_>, kind: Kind<'_>) -> Result<Value, AssertionError> {
    let Occasion {
        profile,
        key,
        credential,
        ..
    } = occasion;
    let mut header = Map::new();
    let typ = match (profile.typ, kind) {
        (AssertionTyp::Explicit, Kind::ClientAuthentication) => Some("client-authentication+jwt"),
        (AssertionTyp::Explicit, Kind::Grant(_)) => Some("authorization-grant+jwt"),
        (AssertionTyp::Jwt, _) => Some("JWT"),
        (AssertionTyp::None, _) => None,
    };
    if let Some(typ) = typ {
        header.insert("typ".to_owned(), typ.into());
    }
    let alg = match key.algorithm() {
        // RFC 9864 is young: the name that FAPI 2.0 5.4.1 has.
        Algorithm::Ed25519 => "EdDSA",
        algorithm => algorithm.name(),
    };
    header.insert("alg".to_owned(), alg.into());
    match credential.kid() {
        Some(kid) => header.insert("kid".to_owned(), kid.into()),
        // Some issuers look for the key by any kid that they get, before they look at certificates.
        None if profile.x5c => None,
        None => header.insert("kid".to_owned(), key.jkt().to_string().into()),
    };
    if profile.x5c {
        let chain = credential.x5c().unwrap_or_default();
        let own = chain.first().ok_or(AssertionError::NoCertificates)?;
        if !x5c::certifies(own, key.public()).ok_or(AssertionError::CertificateMalformed)? {
            return Err(AssertionError::CertificateMismatch);
        }
        header.insert("x5c".to_owned(), x5c::encode(chain).into());
    }
    Ok(Value::Object(header))
}

fn claims(occasion: &Occasion<'_>, kind: Kind<'_>) -> Result<Value, AssertionError> {
    let profile = occasion.profile;
    let client = occasion.credential.client_id();
    let audience = match &profile.audience {
        Audience::Issuer => occasion.issuer,
        Audience::TokenEndpoint => Some(occasion.endpoint),
        Audience::Exactly(audience) => Some(audience.as_str()),
    };
    let audience = audience
        .filter(|audience| !audience.is_empty())
        .ok_or(AssertionError::NoAudience)?;
    let mut random = [0; 16];
    crypto::random(&mut random).map_err(|_failed| KeyError::Randomness)?;
    let expires = occasion.now + profile.lifetime;

    let mut claims = Map::new();
    let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    set("iss", client.into());
    set("aud", audience.into());
    set("iat", occasion.now.unix_seconds().into());
    set("exp", expires.unix_seconds().into());
    set("jti", base64url::encode(&random).into());
    match kind {
        Kind::ClientAuthentication => {
            set("sub", client.into());
        }
        Kind::Grant(grant) => {
            if let Some(scope) = grant.scope {
                set("scope", scope.into());
            }
            match grant.resources {
                [] => {}
                [one] => {
                    set("resource", (*one).into());
                }
                several => {
                    set("resource", several.into());
                }
            }
        }
    }
    Ok(Value::Object(claims))
}
