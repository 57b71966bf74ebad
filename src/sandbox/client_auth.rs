//! Whether a client is who it says (RFC 6749 2.3, RFC 7523 2.2, RFC 8705 2), at every endpoint of the issuer.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode, header};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::assertion::{self, AssertionClaims, Expected, Use, Wrong};
use super::form::{self, Fields};
use super::handshake::Peer;
use super::imitations::{Callers, ClientShown, Imitation, Refresh};
use super::record::Arrived;
use super::registration::{AuthMethod, Registration};
use super::server::{Outcome, Shared, oauth_error};
use crate::clock::{Clock, Timestamp};
use crate::crypto;
use crate::json::Object;

/// The only type of client assertions (RFC 7523 2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Name and password, as claimed.
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

/// The client that a request says it comes from, believed or not.
pub(super) fn claimed_client(
    headers: &HeaderMap,
    fields: &Fields,
    assertion: Option<&AssertionClaims>,
) -> Option<String> {
    basic(headers)
        .map(|claimed| claimed.id)
        .or_else(|| fields.get("client_id").map(str::to_owned))
        .or_else(|| assertion?.iss.clone())
}

/// What a client shows of itself: one thing in a request (RFC 6749 2.3).
enum Shown<'a> {
    Secret(Claimed),
    Assertion(&'a str),
    /// Its id alone; a certificate may be on the connection.
    Id(&'a str),
    /// A refresh token, which says itself whose it is.
    Refresh(&'a str),
}

/// Why a client was not authenticated.
enum Failure {
    /// Two clients, or two ways, in one request.
    Twice,
    /// The client is unknown, or does not prove to be the one.
    Client { basic: bool, reason: &'static str },
    /// It shows nothing.
    Nothing,
}

impl Failure {
    fn client(reason: &'static str) -> Self {
        Self::Client { basic: false, reason }
    }
}

/// The client that sent this, if it proves to be the one that it says; else the refusal.
pub(super) fn authenticate(
    shared: &Shared,
    imitation: &dyn Imitation,
    request: &Arrived,
    fields: &Fields,
) -> Result<Arc<Registration>, Box<Outcome>> {
    let authenticated =
        shown(imitation, request, fields).and_then(|shown| prove(shared, imitation, request, fields, shown));
    authenticated.map_err(|failure| {
        let (canned, reason) = match failure {
            Failure::Twice => (
                oauth_error(
                    StatusCode::BAD_REQUEST,
                    "invalid_request",
                    "two clients, or two ways of client authentication",
                ),
                "invalid_request",
            ),
            Failure::Nothing => (imitation.no_credentials(), "invalid_client"),
            Failure::Client { basic: false, reason } => (imitation.bad_credentials(), reason),
            Failure::Client { basic: true, reason } => (
                imitation
                    .bad_credentials()
                    .header("www-authenticate", "Basic realm=\"sandbox\""),
                reason,
            ),
        };
        Box::new(Outcome::refused(canned.no_store(), reason))
    })
}

fn shown<'a>(imitation: &dyn Imitation, request: &Arrived, fields: &'a Fields) -> Result<Shown<'a>, Failure> {
    let Callers::Tokens(endpoint) = imitation.callers() else {
        return Err(Failure::Nothing);
    };
    let by_header = basic(&request.headers);
    let id = fields.get("client_id");
    let by_body = id.zip(fields.get("client_secret")).map(|(id, secret)| Claimed {
        id: id.to_owned(),
        secret: secret.to_owned(),
        basic: false,
    });
    let by_certificate = id.filter(|_| request.peer.certificate.is_some()).map(Shown::Id);
    let code = fields.get("grant_type") == Some("authorization_code");
    if let (Refresh::Always(_), Some("refresh_token")) = (endpoint.refresh, fields.get("grant_type")) {
        return fields.get("refresh_token").map(Shown::Refresh).ok_or(Failure::Nothing);
    }
    match endpoint.client {
        ClientShown::Body if by_header.is_some() => Err(Failure::client("invalid_client")),
        ClientShown::Body => by_body.map(Shown::Secret).or(by_certificate).ok_or(Failure::Nothing),
        ClientShown::BasicOrBody => {
            let secret = by_header.or(by_body).map(Shown::Secret);
            secret.or(by_certificate).ok_or(Failure::Nothing)
        }
        ClientShown::Basic => match by_header {
            Some(claimed) => Ok(Shown::Secret(claimed)),
            // UPS with PKCE leaves Basic out.
            None if code && fields.get("code_verifier").is_some() => id.map(Shown::Id).ok_or(Failure::Nothing),
            None => Err(Failure::Nothing),
        },
        ClientShown::AsRegistered => {
            let assertion = fields.get("client_assertion");
            match (by_header, by_body, assertion) {
                (Some(claimed), None, None) if id.is_some_and(|other| other != claimed.id) => Err(Failure::Twice),
                (Some(claimed), None, None) | (None, Some(claimed), None) => Ok(Shown::Secret(claimed)),
                (None, None, Some(assertion)) if fields.get("client_assertion_type") == Some(JWT_BEARER) => {
                    Ok(Shown::Assertion(assertion))
                }
                (None, None, Some(_)) => Err(Failure::client("client_assertion_type")),
                (None, None, None) => id.map(Shown::Id).ok_or(Failure::Nothing),
                _ => Err(Failure::Twice),
            }
        }
    }
}

fn prove(
    shared: &Shared,
    imitation: &dyn Imitation,
    request: &Arrived,
    fields: &Fields,
    shown: Shown<'_>,
) -> Result<Arc<Registration>, Failure> {
    let known = |id: &str| shared.clients.find(id);
    match shown {
        Shown::Secret(claimed) => {
            let refused = Failure::Client {
                basic: claimed.basic,
                reason: "invalid_client",
            };
            known(&claimed.id)
                .filter(|client| client.has_secret(&claimed.secret))
                .ok_or(refused)
        }
        Shown::Assertion(jwt) => {
            let says = AssertionClaims::read(jwt).and_then(|claims| claims.sub);
            let id = says.ok_or(Failure::client("assertion_form"))?;
            if fields.get("client_id").is_some_and(|other| other != id) {
                return Err(Failure::client("assertion_sub"));
            }
            let client = known(&id).ok_or(Failure::client("invalid_client"))?;
            match check_assertion(shared, &client, Use::Client, jwt) {
                Ok(_) => Ok(client),
                Err(Wrong(reason)) => Err(Failure::client(reason)),
            }
        }
        Shown::Id(id) => {
            let way = match imitation.callers() {
                Callers::Tokens(endpoint) => endpoint.client,
                Callers::Credentials(_) => return Err(Failure::Nothing),
            };
            known(id)
                .filter(|client| match client.method {
                    AuthMethod::Nothing => matches!(way, ClientShown::AsRegistered | ClientShown::Basic),
                    AuthMethod::Secret(_) => way == ClientShown::Basic,
                    _ => client.has_certificate(shared, &request.peer),
                })
                .ok_or(Failure::client("invalid_client"))
        }
        Shown::Refresh(text) => {
            let client = shared.tokens.holder(text).and_then(|id| known(&id));
            client.ok_or(Failure::client("invalid_grant"))
        }
    }
}

/// Checks an assertion of this client's, and uses it up.
pub(super) fn check_assertion(shared: &Shared, client: &Registration, usage: Use, jwt: &str) -> Result<Object, Wrong> {
    let AuthMethod::Keys(keys) = &client.method else {
        return Err(Wrong("invalid_client"));
    };
    let mtls = shared.mtls_issuer();
    let issuers = [Some(&shared.issuer), mtls.as_ref()];
    let token_endpoints: Vec<_> = issuers
        .iter()
        .flatten()
        .map(|issuer| format!("{issuer}/token"))
        .collect();
    let expected = Expected {
        usage,
        client_id: &client.client_id,
        keys,
        rules: &client.rules,
        issuer: &shared.issuer,
        token_endpoints: &token_endpoints,
        now: shared.clock.now(),
    };
    assertion::check(jwt, &expected, &shared.assertions)
}

impl Registration {
    /// Whether it names itself and proves nothing.
    pub(super) fn is_public(&self) -> bool {
        matches!(self.method, AuthMethod::Nothing)
    }

    pub(super) fn has_secret(&self, secret: &str) -> bool {
        match &self.method {
            AuthMethod::Secret(own) => crypto::constant_time_eq(own.expose().as_bytes(), secret.as_bytes()),
            _ => false,
        }
    }

    fn has_certificate(&self, shared: &Shared, peer: &Peer) -> bool {
        match &self.method {
            AuthMethod::Subject(name) => {
                let now: Timestamp = shared.clock.now();
                common_name(peer).as_ref() == Some(name) && shared.authority.vouches_for(&peer.chain, now)
            }
            AuthMethod::Certificates(known) => peer.certificate.is_some_and(|shown| known.contains(&shown)),
            _ => false,
        }
    }
}

/// The common name of the certificate's subject.
fn common_name(peer: &Peer) -> Option<String> {
    let certificate = Certificate::from_der(peer.chain.first()?).ok()?;
    let name = certificate.tbs_certificate().subject().common_name().ok()??;
    Some(name.value().into_owned())
}
