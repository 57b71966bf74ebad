//! Events as `tracing` records, under the target `shipbound`.

use ::tracing::{debug, error, info, warn};

use crate::act::Act;
use crate::exchange::fault::FaultKind;
use crate::throttle::CountedBy;

use super::{Event, EventKind, KeyChange, KeyEvent, Sink};

/// Writes every event to the `tracing` subscriber of the process: attempts at debug, calls and tokens at info, what needs
/// a look at warn, what stops every tenant at error.
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingSink;

impl Sink for TracingSink {
    fn record(&self, event: &Event) {
        let of = event.connection.as_ref();
        let tenant = of.map(|of| of.tenant().id().as_str());
        let carrier = of.map(|of| of.carrier().as_str());
        let environment = of.map(|of| of.environment().as_str());
        let account = of.map(|of| of.account().as_str());
        match &event.kind {
            EventKind::Attempt(attempt) => debug!(
                target: "shipbound",
                tenant,
                carrier,
                environment,
                account,
                role = ?attempt.role,
                server = %attempt.origin,
                method = %attempt.method,
                status = attempt.status.map(|status| status.as_u16()),
                stage = ?attempt.stage,
                repeat = ?attempt.repeat,
                binding = attempt.binding.as_str(),
                took_us = micros(attempt.took),
                "attempt"
            ),
            EventKind::Call(call) => info!(
                target: "shipbound",
                tenant,
                carrier,
                environment,
                account,
                method = %call.method,
                route = &*call.route,
                address = call.address.map(|address| address.to_string()),
                status = call.status.map(|status| status.as_u16()),
                stage = ?call.stage,
                error = call.error,
                fault = call.fault.map(FaultKind::as_str),
                attempts = call.attempts,
                binding = call.binding.map(|binding| binding.as_str()),
                took_us = micros(call.took),
                "call"
            ),
            EventKind::TokenIssued {
                binding,
                jkt,
                x5t,
                lifetime,
            } => info!(
                target: "shipbound",
                tenant,
                carrier,
                environment,
                account,
                binding = binding.as_str(),
                jkt = jkt.map(|jkt| jkt.to_string()),
                x5t = x5t.map(|x5t| x5t.to_string()),
                lifetime_s = lifetime.as_secs(),
                "token issued"
            ),
            EventKind::TokenFailed { code, pause } => {
                warn!(target: "shipbound", tenant, carrier, environment, account, code, pause_s = pause.as_secs(), "no token");
            }
            EventKind::UnboundTokenRefused => {
                warn!(target: "shipbound", tenant, carrier, environment, account, "the issuer gave an unbound token; it was refused");
            }
            EventKind::TokenRefused => {
                info!(target: "shipbound", tenant, carrier, environment, account, "the carrier refused the token")
            }
            EventKind::LegacyAssertion => {
                warn!(target: "shipbound", tenant, carrier, environment, account, "a client assertion of the older kind was used");
            }
            EventKind::Blocked {
                role,
                counted_by,
                lasts,
            } if *counted_by == CountedBy::Address => {
                error!(
                    target: "shipbound",
                    tenant,
                    carrier,
                    environment,
                    account,
                    ?role,
                    lasts_s = lasts.as_secs(),
                    "the carrier says that it blocks this address"
                );
            }
            EventKind::Blocked { role, lasts, .. } => {
                warn!(
                    target: "shipbound",
                    tenant,
                    carrier,
                    environment,
                    account,
                    ?role,
                    lasts_s = lasts.as_secs(),
                    "the carrier says that it blocks this connection"
                );
            }
            EventKind::BudgetUnavailable => {
                warn!(target: "shipbound", tenant, carrier, environment, account, "the keeper of the budget was not told of a block");
            }
            EventKind::CredentialNotTaken => {
                warn!(target: "shipbound", tenant, carrier, environment, account, "a new credential was refused; the old one goes on");
            }
            EventKind::PersonalPath { route } => {
                warn!(target: "shipbound", tenant, carrier, environment, account, route = &**route, "a personal path stood in a proof");
            }
            EventKind::ConnectionChanged { change, revision, act } => info!(
                target: "shipbound",
                tenant,
                carrier,
                environment,
                account,
                change = change.as_str(),
                revision,
                actor = act.actor(),
                reason = act.reason(),
                ticket = act.ticket(),
                "a connection was changed"
            ),
            EventKind::RemovalUnfinished { step, code } => {
                warn!(target: "shipbound", tenant, carrier, environment, account, step, code, "a removal is not finished");
            }
            EventKind::ConnectionUnreadable { number } => {
                error!(target: "shipbound", tenant, carrier, environment, account, number, "a connection's record cannot be read");
            }
            EventKind::ConnectionsUnavailable => {
                warn!(target: "shipbound", "the store of connections does not answer");
            }
            EventKind::AlertsUndelivered { code } => {
                error!(target: "shipbound", code, "an endpoint of alerts was not told of something");
            }
            EventKind::ConnectionsStale => {
                error!(target: "shipbound", "the store of connections has not answered for too long; no call is let through");
            }
            EventKind::ClockOffset { role, offset_seconds } => {
                warn!(target: "shipbound", tenant, carrier, environment, account, ?role, offset_seconds, "a server's clock differs");
            }
            EventKind::RevocationGivenUp => {
                warn!(target: "shipbound", tenant, carrier, environment, account, "the issuer was not told of a revocation");
            }
            EventKind::CertificateExchanged { old, new, not_after } => {
                info!(target: "shipbound", %old, %new, %not_after, "a client certificate was exchanged");
            }
            EventKind::CertificateNotTaken { code } => {
                warn!(target: "shipbound", code, "a newer client certificate was not taken");
            }
            EventKind::CertificateEnding { x5t, not_after } => {
                warn!(target: "shipbound", %x5t, %not_after, "a client certificate ends");
            }
            EventKind::CertificateDue { x5t, age, due, overdue } => {
                warn!(target: "shipbound", %x5t, age_s = age.as_secs(), %due, overdue, "a client certificate is old");
            }
            EventKind::Key(of_key) => key(event, of_key),
            EventKind::RotationRun(run) => info!(
                target: "shipbound",
                rotated = run.rotated,
                failed = run.failed,
                held = run.held,
                waiting = run.waiting,
                actor = run.act.as_ref().map(Act::actor),
                ticket = run.act.as_ref().map(Act::ticket),
                "keys were rotated"
            ),
            EventKind::RotationBlind { code } => {
                warn!(target: "shipbound", code, "rotation cannot see which keys there are");
            }
            EventKind::BindingOffered {
                carrier,
                environment,
                binding,
            } => {
                warn!(
                    target: "shipbound",
                    carrier = carrier.as_str(),
                    environment = environment.as_str(),
                    binding = binding.as_str(),
                    "the issuer offers a binding"
                );
            }
            EventKind::StateRolledBack { deployment, code } => {
                error!(target: "shipbound", %deployment, code, "the database was rolled back: nothing signs");
            }
            EventKind::AnchorAdopted { deployment, act } => {
                warn!(target: "shipbound", %deployment, actor = act.actor(), ticket = act.ticket(), "the database's state was taken without an anchor");
            }
            EventKind::RestoreAccepted { deployment, act } => {
                warn!(target: "shipbound", %deployment, actor = act.actor(), ticket = act.ticket(), "a restored backup was accepted");
            }
            EventKind::Acted { what, act } => {
                info!(target: "shipbound", tenant, carrier, environment, account, what, actor = act.actor(), ticket = act.ticket(), "an act");
            }
            EventKind::NonceIgnored { role, reason } => {
                warn!(target: "shipbound", tenant, carrier, environment, account, ?role, %reason, "a nonce was ignored");
            }
        }
    }
}

fn key(event: &Event, of: &KeyEvent) {
    let connection = event.connection.as_ref();
    let tenant = connection.map(|of| of.tenant().id().as_str());
    let carrier = connection.map(|of| of.carrier().as_str());
    let environment = connection.map(|of| of.environment().as_str());
    let account = connection.map(|of| of.account().as_str());
    let (step, code) = match &of.change {
        KeyChange::RotationFailed { step, code } => (Some(*step), Some(*code)),
        _ => (None, None),
    };
    let (age_s, due) = match &of.change {
        KeyChange::DueSoon { age, due } | KeyChange::Overdue { age, due } => (Some(age.as_secs()), Some(*due)),
        KeyChange::HeldByGrant { age } => (Some(age.as_secs()), None),
        _ => (None, None),
    };
    let (key, jkt, purpose) = (of.key, of.jkt, of.purpose.as_str());
    let (change, due) = (of.change.as_str(), due.map(|due| due.to_string()));
    let (actor, ticket) = (of.act.as_ref().map(Act::actor), of.act.as_ref().map(Act::ticket));
    // One macro call for each level: a level is part of the call site.
    macro_rules! tell {
        ($level:ident) => {
            $level!(
                target: "shipbound", tenant, carrier, environment, account, %key, %jkt, purpose, change, step, code, age_s, due,
                actor, ticket, "key"
            )
        };
    }
    match of.change {
        KeyChange::Made | KeyChange::Promoted { .. } | KeyChange::Destroyed => tell!(info),
        _ => tell!(warn),
    }
}

fn micros(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
