//! The issuer's endpoints, and the way of a token request.

use std::sync::Arc;

use http::{Method, StatusCode};

use super::accounts::Holder;
use super::builder::Vendors;
use super::canned::Canned;
use super::check::supply;
use super::client_auth::authenticate;
use super::form::Fields;
use super::grants::{self, Granted, Refused};
use super::imitations::plain::Plain;
use super::imitations::{Callers, Imitation, TokenEndpoint};
use super::issue::issue;
use super::locate::fields;
use super::record::Arrived;
use super::registration::Registration;
use super::registry::BoundTo;
use super::script::{Endpoint, Says};
use super::server::{Outcome, Shared, oauth_error};
use super::{authorization, metadata, par, token_status};
use crate::clock::Clock;

/// Serves a request to one of the issuer's endpoints.
pub(super) async fn serve(shared: &Shared, request: &Arrived, says: &Says) -> Outcome {
    let imitation = request.imitation;
    let fields = fields(shared, imitation, &request.path, &request.headers, &request.body);
    match request.endpoint {
        Endpoint::Metadata => metadata::serve(shared, request),
        Endpoint::Authorization => authorization::serve(shared, request, says),
        _ if request.method != Method::POST => {
            Outcome::refused(Canned::empty(405).header("allow", "POST"), "method_not_allowed")
        }
        Endpoint::Token => match imitation.callers() {
            Callers::Tokens(endpoint) => token(shared, (imitation, endpoint), request, &fields, says).await,
            Callers::Credentials(_) => Outcome::refused(imitation.not_found(&request.method), "not_found"),
        },
        Endpoint::Par => par::serve(shared, request, &fields).await,
        _ => token_status::serve(shared, request, &fields),
    }
}

/// Who speaks, and how its token endpoint is.
type Speaker<'a> = (&'a dyn Imitation, &'a TokenEndpoint);

async fn token(shared: &Shared, speaker: Speaker<'_>, request: &Arrived, fields: &Fields, says: &Says) -> Outcome {
    let (imitation, endpoint) = speaker;
    if let Some(limit) = imitation.token_limit().filter(|_| shared.settings.vendor_limits)
        && shared
            .limits
            .token_blocked(imitation.id(), &limit, shared.clock.monotonic())
    {
        return Outcome::refused((limit.blocked)(), "blocked");
    }
    let (client, granted) = match entitled(shared, speaker, request, fields) {
        Ok(entitled) => entitled,
        Err(refused) => return *refused,
    };
    let missing = |what: &str, reason: &str| {
        let words = format!("{what} is required");
        Outcome::refused(oauth_error(StatusCode::BAD_REQUEST, "invalid_request", &words), reason)
    };
    let as_today = imitation.id() != Plain.id() && shared.settings.vendors == Vendors::AsToday;
    let required = shared.settings.require_dpop || client.dpop_bound || granted.bound_to.jkt.is_some();
    let proven = match request.headers.contains_key("dpop") && !as_today {
        true => match shared
            .issuer_checks
            .token_request(request, &client.client_id, granted.bound_to.jkt)
            .await
        {
            Ok(proven) => Some(proven),
            Err(refusal) => return refusal.at_issuer(),
        },
        false if required => return missing("a DPoP proof", "E_PROOF_MISSING"),
        false => None,
    };
    let shown = request.peer.certificate;
    if client.certificate_bound && shown.is_none() {
        return missing("a client certificate", "certificate_missing");
    }
    if granted.bound_to.x5t.is_some() && granted.bound_to.x5t != shown {
        return bad_grant(imitation, &"invalid_grant".into());
    }
    let proved = BoundTo {
        jkt: proven.as_ref().and_then(|proven| proven.jkt),
        x5t: shown.filter(|_| client.certificate_bound),
    };
    let refresh = match grants::redeem(shared, &client, endpoint, &granted, proved) {
        Ok(refresh) => refresh,
        Err(refused) => return bad_grant(imitation, &refused),
    };
    let bound_to = match says {
        Says::Unbound => BoundTo::default(),
        _ => proved,
    };
    let body = issue(shared, speaker, &client, &granted, bound_to, refresh.as_ref(), says);
    let canned = Canned::json(200, &body).no_store();
    match proven {
        Some(proven) => Outcome::accepted(supply(canned, proven.nonce.as_ref()), proven.checks),
        None => Outcome::accepted(canned, Vec::new()),
    }
}

/// The client that asks, and what it is entitled to.
fn entitled(
    shared: &Shared,
    speaker: Speaker<'_>,
    request: &Arrived,
    fields: &Fields,
) -> Result<(Arc<Registration>, Granted), Box<Outcome>> {
    let (imitation, endpoint) = speaker;
    let bad_grant = |refused: Refused| Box::new(bad_grant(imitation, &refused));
    if imitation.id() == Plain.id() && fields.repeated() {
        return Err(bad_grant("invalid_request".into()));
    }
    if grants::is_assertion(endpoint, fields) {
        return grants::by_assertion(shared, request, fields).map_err(bad_grant);
    }
    let client = authenticate(shared, imitation, request, fields)?;
    let granted = grants::granted(shared, &client, speaker, request, fields).map_err(bad_grant)?;
    let holder = Holder {
        client: &client.client_id,
        tenant: client.tenant.as_ref(),
        carrier: imitation.id(),
        accounts: &shared.accounts,
    };
    match imitation.refuses_token(&request.headers, fields, &holder) {
        None => Ok((client, granted)),
        Some(refused) => Err(Box::new(Outcome::refused(refused.no_store(), "not_admitted"))),
    }
}

fn bad_grant(imitation: &dyn Imitation, refused: &Refused) -> Outcome {
    Outcome::refused(imitation.bad_grant(refused.error).no_store(), refused.reason)
}
