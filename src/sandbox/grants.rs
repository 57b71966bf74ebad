//! What a token request is entitled to: which grants there are, and when each is used up.
//!
//! A grant is looked at first and used up last, so that a nonce challenge between the two costs nothing.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::assertion::{AssertionClaims, Use, Wrong};
use super::client_auth::check_assertion;
use super::form::Fields;
use super::imitations::{Imitation, Refresh, TokenEndpoint};
use super::record::Arrived;
use super::registration::Registration;
use super::registry::{BoundTo, Grant};
use super::server::Shared;
use crate::clock::Clock;
use crate::crypto;
use crate::json::Value;
use crate::secret::RefreshToken;

/// RFC 7523 2.1.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// RFC 8693 2.1.
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// RFC 8693 3.
pub(super) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The grant types of the issuer itself.
pub(super) const TYPES: [&str; 5] = [
    "client_credentials",
    "refresh_token",
    "authorization_code",
    JWT_BEARER,
    TOKEN_EXCHANGE,
];

/// Those and `password`, which the issuer's metadata does not tell of (RFC 9700 2.4).
pub(super) const SERVED: [&str; 6] = {
    let [one, two, three, four, five] = TYPES;
    [one, two, three, four, five, "password"]
};

/// What a request is entitled to.
pub(super) struct Granted {
    pub(super) scope: Option<String>,
    /// What must be proved for it.
    pub(super) bound_to: BoundTo,
    pub(super) source: Source,
}

/// Where that comes from.
pub(super) enum Source {
    /// The client itself, or an assertion that is used up already.
    Client,
    Exchanged,
    Code {
        text: String,
        family: u64,
    },
    Refresh {
        text: String,
        grant: Grant,
    },
}

/// Why there is no token: the OAuth error, and what is recorded.
pub(super) struct Refused {
    pub(super) error: &'static str,
    pub(super) reason: &'static str,
}

impl From<&'static str> for Refused {
    fn from(error: &'static str) -> Self {
        Self { error, reason: error }
    }
}

/// Whether the request's grant says itself whose it is, so that no client authentication goes with it (RFC 7523 3.1).
pub(super) fn is_assertion(endpoint: &TokenEndpoint, fields: &Fields) -> bool {
    endpoint.grants.contains(&JWT_BEARER) && fields.get("grant_type") == Some(JWT_BEARER)
}

/// What an authenticated client's request is entitled to.
pub(super) fn granted(
    shared: &Shared,
    client: &Registration,
    (imitation, endpoint): (&dyn Imitation, &TokenEndpoint),
    request: &Arrived,
    fields: &Fields,
) -> Result<Granted, Refused> {
    let kind = fields.get("grant_type").ok_or("invalid_request")?;
    if !endpoint.grants.contains(&kind) || !imitation.redeems(kind, &request.path) {
        return Err("unsupported_grant_type".into());
    }
    let named = ["username", "password"].iter().all(|name| fields.get(name).is_some());
    match kind {
        "refresh_token" => return refreshed(shared, client, fields),
        "authorization_code" => return code(shared, client, fields),
        "password" if !named => return Err("invalid_request".into()),
        "password" => {}
        _ if client.is_public() => return Err("unauthorized_client".into()),
        TOKEN_EXCHANGE => return exchanged(shared, fields),
        _ => {}
    }
    Ok(Granted {
        scope: fields.get("scope").map(str::to_owned),
        bound_to: BoundTo::default(),
        source: Source::Client,
    })
}

/// RFC 7523 2.1, as Maskinporten has it: the assertion names the client and the scope, and nothing else is said.
pub(super) fn by_assertion(
    shared: &Shared,
    request: &Arrived,
    fields: &Fields,
) -> Result<(Arc<Registration>, Granted), Refused> {
    let wrong = |Wrong(reason)| Refused {
        error: "invalid_grant",
        reason,
    };
    let beside = ["client_secret", "client_assertion"];
    if request.headers.contains_key("authorization") || beside.iter().any(|name| fields.get(name).is_some()) {
        return Err("invalid_request".into());
    }
    let jwt = fields.get("assertion").ok_or("invalid_request")?;
    let says = AssertionClaims::read(jwt).and_then(|claims| claims.iss);
    let id = says.ok_or(wrong(Wrong("assertion_form")))?;
    if fields.get("client_id").is_some_and(|other| other != id) {
        return Err(wrong(Wrong("assertion_iss")));
    }
    let client = shared.clients.find(&id).ok_or(wrong(Wrong("invalid_client")))?;
    let claims = check_assertion(shared, &client, Use::Grant, jwt).map_err(wrong)?;
    let scope = claims.get("scope").and_then(Value::as_str).or(fields.get("scope"));
    let granted = Granted {
        scope: scope.map(str::to_owned),
        bound_to: BoundTo::default(),
        source: Source::Client,
    };
    Ok((client, granted))
}

/// RFC 6749 6: for the scope that was granted, or less.
fn refreshed(shared: &Shared, client: &Registration, fields: &Fields) -> Result<Granted, Refused> {
    let text = fields.get("refresh_token").ok_or("invalid_request")?;
    let (reuse, now) = (shared.settings.refresh_reuse, shared.clock.monotonic());
    let grant = shared.tokens.grant(text, &client.client_id, reuse, now);
    let grant = grant.ok_or("invalid_grant")?;
    Ok(Granted {
        scope: no_more_than(grant.scope.as_deref(), fields)?,
        bound_to: grant.bound_to,
        source: Source::Refresh {
            text: text.to_owned(),
            grant,
        },
    })
}

/// RFC 7636 4.1.
fn is_verifier(text: &str) -> bool {
    (43..=128).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

/// RFC 6749 4.1.3 and RFC 7636 4.6.
fn code(shared: &Shared, client: &Registration, fields: &Fields) -> Result<Granted, Refused> {
    let text = fields.get("code").ok_or("invalid_request")?;
    let code = shared
        .authorizations
        .code(text, &client.client_id, shared.clock.monotonic());
    let code = match code {
        Some(code) if code.used => {
            // Somebody has it who should not (RFC 6749 4.1.2).
            shared.tokens.revoke_family(code.family);
            return Err("invalid_grant".into());
        }
        code => code.ok_or("invalid_grant")?,
    };
    if fields.get("redirect_uri") != Some(&code.request.redirect_uri) {
        return Err("invalid_grant".into());
    }
    let proved = match (&code.request.challenge, fields.get("code_verifier")) {
        (None, None) => true,
        (Some(challenge), Some(verifier)) => {
            let hashed = URL_SAFE_NO_PAD.encode(crypto::sha256(verifier.as_bytes()));
            is_verifier(verifier) && crypto::constant_time_eq(hashed.as_bytes(), challenge.as_bytes())
        }
        _ => false,
    };
    if !proved {
        return Err("invalid_grant".into());
    }
    Ok(Granted {
        scope: code.request.scope,
        bound_to: BoundTo {
            jkt: code.request.dpop_jkt,
            x5t: None,
        },
        source: Source::Code {
            text: text.to_owned(),
            family: code.family,
        },
    })
}

/// The scope that is asked for, which is `held` where none is and never goes beyond it.
fn no_more_than(held: Option<&str>, fields: &Fields) -> Result<Option<String>, Refused> {
    let asked = fields.get("scope");
    if let (Some(asked), Some(held)) = (asked, held)
        && !asked.split(' ').all(|one| held.split(' ').any(|own| own == one))
    {
        return Err("invalid_scope".into());
    }
    Ok(asked.or(held).map(str::to_owned))
}

/// RFC 8693 2.1: one of this issuer's access tokens for another.
fn exchanged(shared: &Shared, fields: &Fields) -> Result<Granted, Refused> {
    let subject = fields.get("subject_token").ok_or("invalid_request")?;
    let requested = fields.get("requested_token_type").unwrap_or(ACCESS_TOKEN);
    if fields.get("subject_token_type") != Some(ACCESS_TOKEN) || requested != ACCESS_TOKEN {
        return Err("invalid_request".into());
    }
    // RFC 8707 2: an absolute URI without a fragment.
    if fields
        .get("resource")
        .is_some_and(|resource| !resource.contains(':') || resource.contains('#'))
    {
        return Err("invalid_target".into());
    }
    let token = shared.tokens.find(subject).filter(|token| token.active(&*shared.clock));
    let token = token.ok_or("invalid_request")?;
    Ok(Granted {
        scope: no_more_than(token.scope.as_deref(), fields)?,
        bound_to: BoundTo::default(),
        source: Source::Exchanged,
    })
}

/// Uses the grant up, and gives the refresh token that comes of it, if one does, with how often the consent was refreshed.
pub(super) fn redeem(
    shared: &Shared,
    client: &Registration,
    endpoint: &TokenEndpoint,
    granted: &Granted,
    proved: BoundTo,
) -> Result<Option<(RefreshToken, u64)>, Refused> {
    let next = RefreshToken::new(shared.seed.secret(32));
    let expires = endpoint
        .refresh
        .lifetime()
        .map(|lifetime| shared.clock.monotonic() + lifetime);
    let first = |family: u64| Grant {
        client: client.client_id.clone(),
        scope: granted.scope.clone(),
        family,
        bound_to: if client.is_public() { proved } else { BoundTo::default() },
        count: 0,
        expires,
        successor: None,
    };
    match &granted.source {
        Source::Client if matches!(endpoint.refresh, Refresh::Always(_)) => {
            shared.tokens.put_grant(&next, first(shared.tokens.new_family()));
            Ok(Some((next, 0)))
        }
        Source::Client | Source::Exchanged => Ok(None),
        Source::Code { text, family } => {
            if !shared.authorizations.use_code(text) {
                return Err("invalid_grant".into());
            }
            shared.tokens.put_grant(&next, first(*family));
            Ok(Some((next, 0)))
        }
        Source::Refresh { .. } if !shared.settings.rotate_refresh => Ok(None),
        Source::Refresh { text, grant } => {
            let count = grant.count.saturating_add(1);
            let grant = Grant {
                count,
                expires: expires.or(grant.expires),
                successor: None,
                ..grant.clone()
            };
            match shared.tokens.rotate(text, &next, grant, shared.settings.refresh_reuse) {
                true => Ok(Some((next, count))),
                false => Err("invalid_grant".into()),
            }
        }
    }
}
