//! The issuer: token endpoint, revocation, introspection.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::builder::Vendors;
use super::canned::Canned;
use super::check::supply;
use super::client_auth::authenticate;
use super::form::Fields;
use super::record::Arrived;
use super::registration::Registration;
use super::registry::{Grant, Token};
use super::script::{Endpoint, Says};
use super::server::{Outcome, Place, Shared, oauth_error};
use super::{fedex, metadata, ups};
use crate::clock::Clock;
use crate::jose::Thumbprint;
use crate::secret::RefreshToken;

/// In whose manner a token endpoint speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    OAuth,
    FedEx,
    Ups,
}

fn dialect(shared: &Shared, place: &Place, path: &str) -> Option<Dialect> {
    let own = |name: &str| place.issuer && path.strip_prefix(shared.settings.issuer_path.as_str()) == Some(name);
    match path {
        fedex::TOKEN => Some(Dialect::FedEx),
        ups::TOKEN | ups::REFRESH => Some(Dialect::Ups),
        _ if own("/token") || shared.token_paths.holds(path) => Some(Dialect::OAuth),
        _ => None,
    }
}

/// Which endpoint a path is at this place.
pub(super) fn endpoint(shared: &Shared, place: &Place, path: &str) -> Endpoint {
    let own = |name: &str| place.issuer && path.strip_prefix(shared.settings.issuer_path.as_str()) == Some(name);
    if dialect(shared, place, path).is_some() {
        Endpoint::Token
    } else if own("/revoke") {
        Endpoint::Revocation
    } else if own("/introspect") {
        Endpoint::Introspection
    } else if place.issuer && path.contains("/.well-known/") {
        Endpoint::Metadata
    } else {
        Endpoint::Api
    }
}

/// Serves a request to one of the issuer's endpoints.
pub(super) async fn serve(shared: &Shared, place: &Place, request: &Arrived, says: &Says) -> Outcome {
    match request.endpoint {
        Endpoint::Metadata => metadata::serve(shared, request),
        Endpoint::Token => token(shared, place, request, says).await,
        _ => about_a_token(shared, request),
    }
}

async fn token(shared: &Shared, place: &Place, request: &Arrived, says: &Says) -> Outcome {
    let dialect = dialect(shared, place, &request.path).unwrap_or(Dialect::OAuth);
    if request.method != Method::POST {
        return Outcome::refused(Canned::empty(405).header("allow", "POST"), "method_not_allowed");
    }
    if dialect == Dialect::FedEx
        && shared.settings.vendor_limits
        && shared.limits.token_blocked(shared.clock.monotonic())
    {
        return Outcome::refused(fedex::blocked(), "FORBIDDEN.ERROR");
    }
    let fields = Fields::read(&request.headers, &request.body);
    let client = match authenticate(shared, dialect, request, &fields) {
        Ok(client) => client,
        Err(refused) => return *refused,
    };
    let grant = match granted(shared, &client.client_id, dialect, &fields) {
        Ok(grant) => grant,
        Err(error) => {
            let canned = match dialect {
                Dialect::FedEx => fedex::error(400, "BAD.REQUEST.ERROR", "The grant type is missing or not supported."),
                Dialect::Ups => ups::error(400, "10400", "Invalid/Missing Grant"),
                Dialect::OAuth => oauth_error(StatusCode::BAD_REQUEST, error, "this grant cannot be used"),
            };
            return Outcome::refused(canned.no_store(), error);
        }
    };

    let as_today = dialect != Dialect::OAuth && shared.settings.vendors == Vendors::AsToday;
    let proven = match request.headers.contains_key("dpop") && !as_today {
        true => match shared.issuer_checks.token_request(request, &client.client_id).await {
            Ok(proven) => Some(proven),
            Err(refusal) => return refusal.at_issuer(),
        },
        false if shared.settings.require_dpop || client.dpop_bound => {
            let error = oauth_error(StatusCode::BAD_REQUEST, "invalid_request", "a DPoP proof is required");
            return Outcome::refused(error, "E_PROOF_MISSING");
        }
        false => None,
    };
    let x5t = request.peer.certificate.filter(|_| client.certificate_bound);
    if client.certificate_bound && x5t.is_none() {
        let error = oauth_error(
            StatusCode::BAD_REQUEST,
            "invalid_request",
            "a client certificate is required",
        );
        return Outcome::refused(error, "certificate_missing");
    }
    let bound_to = match says {
        Says::Unbound => BoundTo::default(),
        _ => BoundTo {
            jkt: proven.as_ref().and_then(|proven| proven.jkt),
            x5t,
        },
    };
    let body = issue(shared, dialect, &client, &grant, bound_to, says);
    let canned = Canned::json(200, &body).no_store();
    let (canned, checks) = match proven {
        Some(proven) => (supply(canned, proven.nonce.as_ref()), proven.checks),
        None => (canned, Vec::new()),
    };
    Outcome::accepted(canned, checks)
}

/// What a token is bound to.
#[derive(Clone, Copy, Default)]
struct BoundTo {
    jkt: Option<Thumbprint>,
    x5t: Option<Thumbprint>,
}

/// What a request is entitled to.
struct Granted {
    scope: Option<String>,
    /// The refresh token that was presented.
    refreshed: Option<String>,
}

fn granted(shared: &Shared, client: &str, dialect: Dialect, fields: &Fields) -> Result<Granted, &'static str> {
    let scope = fields.get("scope").map(str::to_owned);
    match (fields.get("grant_type"), dialect) {
        (Some("client_credentials"), _) => {}
        (Some("csp_credentials" | "client_pc_credentials"), Dialect::FedEx) => {}
        (Some("password"), Dialect::OAuth) if fields.get("username").is_some() && fields.get("password").is_some() => {}
        (Some("refresh_token"), Dialect::OAuth | Dialect::Ups) => {
            let presented = fields.get("refresh_token").ok_or("invalid_request")?;
            let grant = shared.tokens.grant(presented, client).ok_or("invalid_grant")?;
            return Ok(Granted {
                scope: scope.or(grant.scope),
                refreshed: Some(presented.to_owned()),
            });
        }
        (Some(_), _) => return Err("unsupported_grant_type"),
        (None, _) => return Err("invalid_request"),
    }
    Ok(Granted { scope, refreshed: None })
}

/// Makes a token, remembers it, and writes the answer in the dialect's manner.
fn issue(
    shared: &Shared,
    dialect: Dialect,
    client: &Registration,
    granted: &Granted,
    BoundTo { jkt, x5t }: BoundTo,
    says: &Says,
) -> Value {
    let lifetime = match dialect {
        Dialect::Ups => ups::LIFETIME,
        _ => shared.settings.lifetime,
    };
    let text = shared.seed.secret(if dialect == Dialect::Ups { 750 } else { 32 });
    let (now, monotonic) = (shared.clock.now(), shared.clock.monotonic());
    shared.tokens.put(
        &text,
        Token {
            client: client.client_id.clone(),
            tenant: client.tenant.clone(),
            jkt,
            x5t,
            scope: granted.scope.clone(),
            issued_at: now,
            expires_at: now + lifetime,
            expires: monotonic + lifetime,
            revoked: false,
        },
    );
    let bound = jkt.is_some();
    let mut body = match dialect {
        Dialect::FedEx => fedex::token(&text, bound, lifetime),
        Dialect::Ups => ups::token(&text, bound, &client.client_id, now),
        Dialect::OAuth => json!({
            "access_token": text,
            "token_type": if bound { "DPoP" } else { "Bearer" },
            "expires_in": lifetime.as_secs(),
        }),
    };
    let mut add = |name: &str, value: Value| {
        if let Some(members) = body.as_object_mut() {
            match value {
                Value::Null => members.remove(name),
                value => members.insert(name.to_owned(), value),
            };
        }
    };
    if let (Dialect::OAuth, Some(scope)) = (dialect, &granted.scope) {
        add("scope", Value::from(scope.as_str()));
    }
    if let Some(presented) = granted.refreshed.as_deref().filter(|_| shared.settings.rotate_refresh) {
        let next = RefreshToken::new(shared.seed.secret(32));
        shared.tokens.spend_grant(presented);
        add("refresh_token", Value::from(next.expose()));
        let grant = Grant {
            client: client.client_id.clone(),
            scope: granted.scope.clone(),
        };
        shared.tokens.put_grant(&next, grant);
    }
    if let Says::TokenWith(Value::Object(members)) = says {
        for (name, value) in members {
            add(name, value.clone());
        }
    }
    body
}

/// Revocation (RFC 7009) and introspection (RFC 7662).
fn about_a_token(shared: &Shared, request: &Arrived) -> Outcome {
    if request.method != Method::POST {
        return Outcome::refused(Canned::empty(405).header("allow", "POST"), "method_not_allowed");
    }
    let fields = Fields::read(&request.headers, &request.body);
    let client = match authenticate(shared, Dialect::OAuth, request, &fields) {
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
    let body = match active {
        None => json!({"active": false}),
        Some(token) => {
            let mut body = json!({
                "active": true,
                "client_id": token.client,
                "token_type": if token.jkt.is_some() { "DPoP" } else { "Bearer" },
                "iat": token.issued_at.unix_seconds(),
                "exp": token.expires_at.unix_seconds(),
            });
            if let Some(members) = body.as_object_mut() {
                if let Some(scope) = token.scope {
                    members.insert("scope".to_owned(), Value::from(scope));
                }
                let bound_to = [("jkt", token.jkt), ("x5t#S256", token.x5t)];
                let cnf: serde_json::Map<_, _> = bound_to
                    .into_iter()
                    .filter_map(|(name, thumbprint)| Some((name.to_owned(), json!(thumbprint?.to_string()))))
                    .collect();
                if !cnf.is_empty() {
                    members.insert("cnf".to_owned(), Value::Object(cnf));
                }
            }
            body
        }
    };
    Outcome::accepted(Canned::json(200, &body).no_store(), Vec::new())
}
