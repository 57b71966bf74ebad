//! Pushed authorization requests (RFC 9126).

use http::StatusCode;
use serde_json::json;

use super::authorization::{self, Failure};
use super::canned::Canned;
use super::check::supply;
use super::client_auth::authenticate;
use super::form::Fields;
use super::imitations::plain::Plain;
use super::record::Arrived;
use super::server::{Outcome, Shared, oauth_error};

/// Takes a request in, and gives the reference to it. The key of a proof that comes along is the code's (RFC 9449 10.1).
pub(super) async fn serve(shared: &Shared, request: &Arrived, fields: &Fields) -> Outcome {
    let refuse = |error: &str, reason: &str| {
        let canned = oauth_error(StatusCode::BAD_REQUEST, error, "this request cannot be pushed");
        Outcome::refused(canned, reason)
    };
    let client = match authenticate(shared, &Plain, request, fields) {
        Ok(client) => client,
        Err(refused) => return *refused,
    };
    // RFC 9126 2.1: the id is there as in any authorization request, also where a header says it.
    if fields.get("request_uri").is_some() || fields.get("client_id").is_none_or(|id| id != client.client_id) {
        return refuse("invalid_request", "invalid_request");
    }
    let mut pushed = match authorization::read(&client, &Plain, fields) {
        Ok(pushed) => pushed,
        Err(Failure::Page(reason)) => return refuse("invalid_request", reason),
        Err(Failure::Redirect { error, .. }) => return refuse(error, error),
    };
    let (checks, nonce) = match request.headers.contains_key("dpop") {
        false => (Vec::new(), None),
        true => match shared
            .issuer_checks
            .token_request(request, &client.client_id, None)
            .await
        {
            Err(refusal) => return refusal.at_issuer(),
            Ok(proven) if pushed.dpop_jkt.is_some() && pushed.dpop_jkt != proven.jkt => {
                return refuse("invalid_dpop_proof", "E_KEY_BINDING");
            }
            Ok(proven) => {
                pushed.dpop_jkt = proven.jkt;
                (proven.checks, proven.nonce)
            }
        },
    };
    let (uri, lifetime) = authorization::push(shared, pushed);
    let body = json!({"request_uri": uri, "expires_in": lifetime.as_secs()});
    let canned = Canned::json(201, &body).no_store();
    Outcome::accepted(supply(canned, nonce.as_ref()), checks)
}
