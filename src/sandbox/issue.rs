//! Makes tokens, and writes the answers of token endpoints.

use serde_json::Value;

use super::grants::{Granted, Source};
use super::imitations::{Imitation, Issued, TokenEndpoint};
use super::registration::Registration;
use super::registry::{BoundTo, Token};
use super::script::Says;
use super::server::Shared;
use crate::clock::Clock;
use crate::secret::RefreshToken;

/// Makes an access token and remembers it; the answer is in the carrier's manner.
pub(super) fn issue(
    shared: &Shared,
    (imitation, endpoint): (&dyn Imitation, &TokenEndpoint),
    client: &Registration,
    granted: &Granted,
    BoundTo { jkt, x5t }: BoundTo,
    refresh: Option<&(RefreshToken, u64)>,
    says: &Says,
) -> Value {
    let lifetime = endpoint.lifetime.unwrap_or(shared.settings.lifetime);
    let text = shared.seed.secret(endpoint.octets);
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
            carrier: imitation.id(),
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
    let mut body = (endpoint.answer)(&Issued {
        token: &text,
        bound: jkt.is_some(),
        lifetime,
        client: &client.client_id,
        scope: granted.scope.as_deref(),
        now,
        refresh,
        refresh_lifetime: endpoint.refresh.lifetime(),
        exchanged: matches!(granted.source, Source::Exchanged),
    });
    if let (Some(members), Says::TokenWith(Value::Object(others))) = (body.as_object_mut(), says) {
        for (name, value) in others {
            match value {
                Value::Null => members.remove(name),
                value => members.insert(name.clone(), value.clone()),
            };
        }
    }
    body
}
