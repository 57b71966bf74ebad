//! Revocation (RFC 7009) and introspection (RFC 7662).

use std::sync::Arc;

use http::{StatusCode, header};
use serde_json::{Map, Value, json};

use super::canned::Canned;
use super::client_auth::authenticate;
use super::form::Fields;
use super::imitations::Imitation;
use super::imitations::plain::Plain;
use super::record::Arrived;
use super::registration::Registration;
use super::registry::Token;
use super::script::Endpoint;
use super::server::{Outcome, Shared, oauth_error};

/// Serves a request about a token.
pub(super) fn serve(shared: &Shared, request: &Arrived, fields: &Fields) -> Outcome {
    let imitation = request.imitation;
    let carrier = imitation.id() != Plain.id();
    let by_token = carrier.then(|| bearer(shared, request)).flatten();
    let client = match by_token.map_or_else(|| authenticate(shared, imitation, request, fields), Ok) {
        // Who need not prove anything could try tokens out (RFC 7662 2.1).
        Ok(client) if request.endpoint == Endpoint::Introspection && client.is_public() => {
            return Outcome::refused(imitation.bad_credentials().no_store(), "invalid_client");
        }
        Ok(client) => client,
        Err(refused) => return *refused,
    };
    let Some(text) = fields.get("token") else {
        let error = oauth_error(
            StatusCode::BAD_REQUEST,
            "invalid_request",
            "the parameter token is missing",
        );
        return Outcome::refused(error, "invalid_request");
    };
    if request.endpoint == Endpoint::Revocation {
        shared.tokens.revoke(text, &client.client_id);
        return Outcome::accepted(Canned::empty(200), Vec::new());
    }
    let active = shared.tokens.find(text).filter(|token| token.active(&*shared.clock));
    let body = active.map_or_else(|| json!({"active": false}), |token| Value::Object(describe(token)));
    Outcome::accepted(Canned::json(200, &body).no_store(), Vec::new())
}

/// The client whose access token authorises a call, as USPS has it.
fn bearer(shared: &Shared, request: &Arrived) -> Option<Arc<Registration>> {
    let value = request.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let token = shared.tokens.find(value.strip_prefix("Bearer ")?)?;
    let usable = token.active(&*shared.clock) && token.jkt.is_none() && token.x5t.is_none();
    shared.clients.find(&token.client).filter(|_| usable)
}

fn describe(token: Token) -> Map<String, Value> {
    let mut told = Map::new();
    let mut tell = |name: &str, value: Value| told.insert(name.to_owned(), value);
    tell("active", json!(true));
    tell("client_id", json!(token.client));
    tell("token_type", json!(if token.jkt.is_some() { "DPoP" } else { "Bearer" }));
    tell("iat", json!(token.issued_at.unix_seconds()));
    tell("exp", json!(token.expires_at.unix_seconds()));
    if let Some(scope) = token.scope {
        tell("scope", json!(scope));
    }
    let bound_to = [("jkt", token.jkt), ("x5t#S256", token.x5t)];
    let cnf: Map<_, _> = bound_to
        .into_iter()
        .filter_map(|(name, thumbprint)| Some((name.to_owned(), json!(thumbprint?.to_string()))))
        .collect();
    if !cnf.is_empty() {
        tell("cnf", Value::Object(cnf));
    }
    told
}
