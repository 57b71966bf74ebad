//! The issuer: metadata, token endpoint, revocation, introspection.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};

use super::builder::{MetadataAt, Vendors};
use super::canned::Canned;
use super::check::{Passed, supply};
use super::record::Arrived;
use super::registry::{Grant, Token};
use super::script::{Endpoint, Says};
use super::server::{Outcome, Place, Shared, oauth_error};
use super::{fedex, form, ups};
use crate::clock::Clock;
use crate::secret::RefreshToken;

/// In whose manner a token endpoint speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
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

struct Claimed {
    id: String,
    secret: String,
    basic: bool,
}

/// Name and password of `Authorization: Basic`, both form-encoded inside (RFC 6749 2.3.1).
fn basic(headers: &HeaderMap) -> Option<Claimed> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = STANDARD.decode(encoded.trim()).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    let (id, secret) = pair.split_at_checked(colon)?;
    Some(Claimed {
        id: form::decode(id),
        secret: form::decode(secret.get(1..)?),
        basic: true,
    })
}

/// The parameters of a request: a form, or the members of a JSON object (USPS takes both).
fn parameters(headers: &HeaderMap, body: &[u8]) -> Vec<(String, String)> {
    let json = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    if !json {
        return form::parse(body);
    }
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
        return Vec::new();
    };
    let text = |value: Value| value.as_str().map(str::to_owned);
    members
        .into_iter()
        .filter_map(|(name, value)| Some((name, text(value)?)))
        .collect()
}

fn parameter<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    parameters
        .iter()
        .find_map(|(field, value)| (field == name).then_some(value.as_str()))
}

/// The client that a request says it comes from, believed or not.
pub(super) fn claimed_client(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    match basic(headers) {
        Some(claimed) => Some(claimed.id),
        None => parameter(&parameters(headers, body), "client_id").map(str::to_owned),
    }
}

/// Serves a request to one of the issuer's endpoints.
pub(super) async fn serve(shared: &Shared, place: &Place, request: &Arrived, says: &Says) -> Outcome {
    match request.endpoint {
        Endpoint::Metadata => metadata(shared, request),
        Endpoint::Token => token(shared, place, request, says).await,
        _ => about_a_token(shared, request),
    }
}

fn metadata(shared: &Shared, request: &Arrived) -> Outcome {
    let path = &shared.settings.issuer_path;
    let here = match shared.settings.metadata {
        MetadataAt::OAuth => format!("/.well-known/oauth-authorization-server{path}"),
        MetadataAt::OpenId => format!("{path}/.well-known/openid-configuration"),
        MetadataAt::Nowhere => String::new(),
    };
    if request.method != Method::GET || request.path != here {
        return Outcome::refused(Canned::empty(404), "not_found");
    }
    let issuer = &shared.issuer;
    let methods = ["client_secret_basic", "client_secret_post"];
    let document = json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/token"),
        "revocation_endpoint": format!("{issuer}/revoke"),
        "introspection_endpoint": format!("{issuer}/introspect"),
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials", "refresh_token"],
        "token_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_methods_supported": methods,
        "dpop_signing_alg_values_supported": super::check::ALGORITHMS,
    });
    Outcome::accepted(Canned::json(200, &document), Vec::new())
}

/// Whether the client is who it says; else the refusal.
fn authenticate(
    shared: &Shared,
    dialect: Dialect,
    request: &Arrived,
    fields: &[(String, String)],
) -> Result<String, Box<Outcome>> {
    let refuse = |canned: Canned, reason: &str| Err(Box::new(Outcome::refused(canned.no_store(), reason)));
    let invalid_client = |basic: bool| {
        let canned = match dialect {
            Dialect::FedEx => fedex::bad_credentials(),
            Dialect::Ups => ups::bad_client(),
            Dialect::OAuth => oauth_error(
                StatusCode::UNAUTHORIZED,
                "invalid_client",
                "unknown client or wrong secret",
            ),
        };
        match basic {
            true => canned.header("www-authenticate", "Basic realm=\"sandbox\""),
            false => canned,
        }
    };
    let by_body = parameter(fields, "client_id").zip(parameter(fields, "client_secret"));
    let claimed = match (basic(&request.headers), by_body) {
        (Some(_), Some(_)) if dialect == Dialect::OAuth => {
            let error = oauth_error(
                StatusCode::BAD_REQUEST,
                "invalid_request",
                "two ways of client authentication",
            );
            return refuse(error, "invalid_request");
        }
        (Some(_), _) if dialect == Dialect::FedEx => None,
        (None, _) if dialect == Dialect::Ups => return refuse(ups::no_authorization(), "invalid_client"),
        (Some(basic), _) => Some(basic),
        (None, Some((id, secret))) => Some(Claimed {
            id: id.to_owned(),
            secret: secret.to_owned(),
            basic: false,
        }),
        (None, None) => None,
    };
    match claimed {
        Some(claimed) if shared.clients.accepts(&claimed.id, &claimed.secret) => Ok(claimed.id),
        Some(claimed) => refuse(invalid_client(claimed.basic), "invalid_client"),
        None => refuse(invalid_client(false), "invalid_client"),
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
    let fields = parameters(&request.headers, &request.body);
    let client = match authenticate(shared, dialect, request, &fields) {
        Ok(client) => client,
        Err(refused) => return *refused,
    };
    let grant = match granted(shared, &client, dialect, &fields) {
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
        true => match shared.issuer_checks.token_request(request, &client).await {
            Ok(proven) => Some(proven),
            Err(refusal) => return refusal.at_issuer(),
        },
        false if shared.settings.require_dpop => {
            let error = oauth_error(StatusCode::BAD_REQUEST, "invalid_request", "a DPoP proof is required");
            return Outcome::refused(error, "E_PROOF_MISSING");
        }
        false => None,
    };
    let body = issue(shared, dialect, &client, &grant, proven.as_ref(), says);
    let canned = Canned::json(200, &body).no_store();
    let (canned, checks) = match proven {
        Some(proven) => (supply(canned, proven.nonce.as_ref()), proven.checks),
        None => (canned, Vec::new()),
    };
    Outcome::accepted(canned, checks)
}

/// What a request is entitled to.
struct Granted {
    scope: Option<String>,
    /// The refresh token that was presented.
    refreshed: Option<String>,
}

fn granted(
    shared: &Shared,
    client: &str,
    dialect: Dialect,
    fields: &[(String, String)],
) -> Result<Granted, &'static str> {
    let scope = parameter(fields, "scope").map(str::to_owned);
    match (parameter(fields, "grant_type"), dialect) {
        (Some("client_credentials"), _) => {}
        (Some("csp_credentials" | "client_pc_credentials"), Dialect::FedEx) => {}
        (Some("password"), Dialect::OAuth)
            if parameter(fields, "username").is_some() && parameter(fields, "password").is_some() => {}
        (Some("refresh_token"), Dialect::OAuth | Dialect::Ups) => {
            let presented = parameter(fields, "refresh_token").ok_or("invalid_request")?;
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
    client: &str,
    granted: &Granted,
    proven: Option<&Passed>,
    says: &Says,
) -> Value {
    let lifetime = match dialect {
        Dialect::Ups => ups::LIFETIME,
        _ => shared.settings.lifetime,
    };
    let text = shared.seed.secret(if dialect == Dialect::Ups { 750 } else { 32 });
    let jkt = proven
        .and_then(|proven| proven.jkt)
        .filter(|_| !matches!(says, Says::Unbound));
    let (now, monotonic) = (shared.clock.now(), shared.clock.monotonic());
    shared.tokens.put(
        &text,
        Token {
            client: client.to_owned(),
            tenant: shared.clients.tenant_of(client),
            jkt,
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
        Dialect::Ups => ups::token(&text, bound, client, now),
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
            client: client.to_owned(),
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
    let fields = parameters(&request.headers, &request.body);
    let client = match authenticate(shared, Dialect::OAuth, request, &fields) {
        Ok(client) => client,
        Err(refused) => return *refused,
    };
    let Some(text) = parameter(&fields, "token") else {
        let error = oauth_error(
            StatusCode::BAD_REQUEST,
            "invalid_request",
            "the parameter token is missing",
        );
        return Outcome::refused(error, "invalid_request");
    };
    if request.endpoint == Endpoint::Revocation {
        shared.tokens.revoke(text, &client);
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
                if let Some(jkt) = token.jkt {
                    members.insert("cnf".to_owned(), json!({"jkt": jkt.to_string()}));
                }
            }
            body
        }
    };
    Outcome::accepted(Canned::json(200, &body).no_store(), Vec::new())
}
