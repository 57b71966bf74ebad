//! Whether a client is who it says (RFC 6749 2.3, RFC 8705 2), at every endpoint of the issuer.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode, header};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::canned::Canned;
use super::form::{self, Fields};
use super::handshake::Peer;
use super::issuer::Dialect;
use super::record::Arrived;
use super::registration::{Method, Registration};
use super::server::{Outcome, Shared, oauth_error};
use super::{fedex, ups};
use crate::clock::{Clock, Timestamp};
use crate::crypto;

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
pub(super) fn claimed_client(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    match basic(headers) {
        Some(claimed) => Some(claimed.id),
        None => Fields::read(headers, body).get("client_id").map(str::to_owned),
    }
}

/// The client that sent this, if it proves to be the one that it says; else the refusal.
pub(super) fn authenticate(
    shared: &Shared,
    dialect: Dialect,
    request: &Arrived,
    fields: &Fields,
) -> Result<Arc<Registration>, Box<Outcome>> {
    let refuse = |canned: Canned, reason: &str| Box::new(Outcome::refused(canned.no_store(), reason));
    let by_header = basic(&request.headers);
    let by_body = fields.get("client_id").zip(fields.get("client_secret"));
    let claimed = match (by_header, by_body) {
        (Some(_), Some(_)) if dialect == Dialect::OAuth => {
            let error = oauth_error(
                StatusCode::BAD_REQUEST,
                "invalid_request",
                "two ways of client authentication",
            );
            return Err(refuse(error, "invalid_request"));
        }
        (Some(_), _) if dialect == Dialect::FedEx => None,
        (None, _) if dialect == Dialect::Ups => return Err(refuse(ups::no_authorization(), "invalid_client")),
        (Some(basic), _) => Some(basic),
        (None, Some((id, secret))) => Some(Claimed {
            id: id.to_owned(),
            secret: secret.to_owned(),
            basic: false,
        }),
        (None, None) => None,
    };
    let known = match &claimed {
        Some(claimed) => shared
            .clients
            .find(&claimed.id)
            .filter(|client| client.has_secret(&claimed.secret)),
        None => fields
            .get("client_id")
            .and_then(|id| shared.clients.find(id))
            .filter(|client| client.has_certificate(shared, &request.peer)),
    };
    known.ok_or_else(|| {
        let canned = refused(dialect);
        let canned = match claimed {
            Some(claimed) if claimed.basic => canned.header("www-authenticate", "Basic realm=\"sandbox\""),
            _ => canned,
        };
        refuse(canned, "invalid_client")
    })
}

fn refused(dialect: Dialect) -> Canned {
    match dialect {
        Dialect::FedEx => fedex::bad_credentials(),
        Dialect::Ups => ups::bad_client(),
        Dialect::OAuth => oauth_error(
            StatusCode::UNAUTHORIZED,
            "invalid_client",
            "unknown client, or not authenticated as it is registered",
        ),
    }
}

impl Registration {
    fn has_secret(&self, secret: &str) -> bool {
        match &self.method {
            Method::Secret(own) => crypto::constant_time_eq(own.expose().as_bytes(), secret.as_bytes()),
            _ => false,
        }
    }

    fn has_certificate(&self, shared: &Shared, peer: &Peer) -> bool {
        match &self.method {
            Method::Subject(name) => {
                let now: Timestamp = shared.clock.now();
                common_name(peer).as_ref() == Some(name) && shared.authority.vouches_for(&peer.chain, now)
            }
            Method::Certificates(known) => peer.certificate.is_some_and(|shown| known.contains(&shown)),
            Method::Secret(_) => false,
        }
    }
}

/// The common name of the certificate's subject.
fn common_name(peer: &Peer) -> Option<String> {
    let certificate = Certificate::from_der(peer.chain.first()?).ok()?;
    let name = certificate.tbs_certificate().subject().common_name().ok()??;
    Some(name.value().into_owned())
}
