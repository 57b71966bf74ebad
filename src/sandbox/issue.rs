//! Makes tokens, and writes the answers of token endpoints.

use serde_json::{Map, Value, json};

use super::dialect::Dialect;
use super::grants::{ACCESS_TOKEN, Granted, Source};
use super::registration::Registration;
use super::registry::{BoundTo, Token};
use super::script::Says;
use super::server::Shared;
use super::{fedex, ups, usps};
use crate::clock::{Clock, Timestamp};
use crate::secret::RefreshToken;

/// Makes an access token and remembers it; the answer is in the dialect's manner.
pub(super) fn issue(
    shared: &Shared,
    dialect: Dialect,
    client: &Registration,
    granted: &Granted,
    BoundTo { jkt, x5t }: BoundTo,
    refresh: Option<&(RefreshToken, u64)>,
    says: &Says,
) -> Value {
    let (lifetime, octets) = match dialect {
        Dialect::Ups => (ups::LIFETIME, 750),
        Dialect::Usps => (usps::LIFETIME, 32),
        Dialect::OAuth | Dialect::FedEx => (shared.settings.lifetime, 32),
    };
    let text = shared.seed.secret(octets);
    let (now, monotonic) = (shared.clock.now(), shared.clock.monotonic());
    let family = match &granted.source {
        Source::Client | Source::Exchanged => None,
        Source::Code { family, .. } => Some(*family),
        Source::Refresh { grant, .. } => Some(grant.family),
    };
    shared.tokens.put(
        &text,
        Token {
            client: client.client_id.clone(),
            tenant: client.tenant.clone(),
            jkt,
            x5t,
            scope: granted.scope.clone(),
            family,
            issued_at: now,
            expires_at: now + lifetime,
            expires: monotonic + lifetime,
            revoked: false,
        },
    );
    let bound = jkt.is_some();
    let scope = granted.scope.as_deref();
    let mut body = match dialect {
        Dialect::FedEx => fedex::token(&text, bound, lifetime),
        Dialect::Ups => ups::token(&text, bound, &client.client_id, now),
        Dialect::Usps => usps::token(&text, bound, &client.client_id, scope.unwrap_or_default(), now),
        Dialect::OAuth => json!({
            "access_token": text,
            "token_type": if bound { "DPoP" } else { "Bearer" },
            "expires_in": lifetime.as_secs(),
        }),
    };
    let Some(members) = body.as_object_mut() else {
        return body;
    };
    if let (Dialect::OAuth, Some(scope)) = (dialect, scope) {
        members.insert("scope".to_owned(), json!(scope));
    }
    if let Source::Exchanged = granted.source {
        members.insert("issued_token_type".to_owned(), json!(ACCESS_TOKEN));
    }
    if let Some((token, count)) = refresh {
        members.insert("refresh_token".to_owned(), json!(token.expose()));
        if matches!(dialect, Dialect::Ups | Dialect::Usps) {
            members.extend(about_refresh(*count, now));
        }
    }
    if let Says::TokenWith(Value::Object(others)) = says {
        for (name, value) in others {
            match value {
                Value::Null => members.remove(name),
                value => members.insert(name.clone(), value.clone()),
            };
        }
    }
    body
}

/// What UPS and USPS say of a refresh token: every value is a string.
fn about_refresh(count: u64, now: Timestamp) -> Map<String, Value> {
    [
        ("refresh_token_issued_at", ups::milliseconds(now)),
        ("refresh_token_expires_in", ups::REFRESH_LIFETIME.as_secs().to_string()),
        ("refresh_token_status", "approved".to_owned()),
        ("refresh_count", count.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), Value::from(value)))
    .collect()
}
