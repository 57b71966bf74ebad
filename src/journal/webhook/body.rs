//! What a delivery says of an event. Nothing secret, no address of a person, no text that somebody else chose.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::journal::{Event, EventKind, KeyChange};
use crate::throttle::CountedBy;

/// Whether somebody should look at it.
pub(super) fn is_alert(kind: &EventKind) -> bool {
    match kind {
        EventKind::Key(key) => !matches!(
            key.change,
            KeyChange::Made | KeyChange::Promoted { .. } | KeyChange::Destroyed
        ),
        EventKind::RotationRun(run) => run.failed > 0,
        EventKind::Blocked { counted_by, .. } => *counted_by == CountedBy::Address,
        EventKind::RotationBlind { .. }
        | EventKind::CertificateDue { .. }
        | EventKind::CertificateEnding { .. }
        | EventKind::CertificateNotTaken { .. }
        | EventKind::CredentialNotTaken
        | EventKind::RevocationGivenUp
        | EventKind::StateRolledBack { .. }
        | EventKind::AnchorAdopted { .. }
        | EventKind::RestoreAccepted { .. }
        | EventKind::RemovalUnfinished { .. }
        | EventKind::ConnectionUnreadable { .. }
        | EventKind::ConnectionsUnavailable
        | EventKind::ConnectionsStale
        | EventKind::AlertsUndelivered { .. }
        | EventKind::UnboundTokenRefused => true,
        _ => false,
    }
}

/// Whether it only reminds: many of these come at once, and one that is lost comes again, or is followed by worse.
pub(super) fn is_reminder(kind: &EventKind) -> bool {
    match kind {
        EventKind::Key(key) => matches!(key.change, KeyChange::DueSoon { .. } | KeyChange::HeldByGrant { .. }),
        EventKind::CertificateDue { overdue, .. } => !overdue,
        _ => false,
    }
}

/// The body, as JSON.
pub(super) fn of(event: &Event, dropped: u64) -> Vec<u8> {
    let (name, mut data) = describe(&event.kind);
    if let Some(connection) = &event.connection {
        let mut add = |name: &str, value: &str| data.insert(name.to_owned(), value.into());
        add("tenant", connection.tenant().id().as_str());
        add("carrier", connection.carrier().as_str());
        add("environment", connection.environment().as_str());
        add("account", connection.account().as_str());
    }
    let mut body = Map::new();
    body.insert("type".to_owned(), name.into());
    body.insert("timestamp".to_owned(), event.at.to_string().into());
    body.insert("data".to_owned(), data.into());
    if dropped > 0 {
        body.insert("dropped".to_owned(), dropped.into());
    }
    Value::Object(body).to_string().into_bytes()
}

fn describe(kind: &EventKind) -> (String, Map<String, Value>) {
    let (name, data) = match kind {
        EventKind::Attempt(attempt) => (
            "attempt",
            json!({
                "status": attempt.status.map(|status| status.as_u16()),
                "stage": attempt.stage.to_string(),
                "took_us": micros(attempt.took),
            }),
        ),
        EventKind::Call(call) => (
            "call",
            json!({
                "route": &*call.route,
                "status": call.status.map(|status| status.as_u16()),
                "error": call.error,
                "attempts": call.attempts,
                "took_us": micros(call.took),
            }),
        ),
        EventKind::TokenIssued { binding, lifetime, .. } => (
            "token.issued",
            json!({"binding": binding.as_str(), "lifetime_s": lifetime.as_secs()}),
        ),
        EventKind::TokenFailed { code, pause } => ("token.failed", json!({"code": code, "pause_s": pause.as_secs()})),
        EventKind::UnboundTokenRefused => ("token.unbound", json!({})),
        EventKind::TokenRefused => ("token.refused", json!({})),
        EventKind::LegacyAssertion => ("assertion.legacy", json!({})),
        EventKind::Blocked { counted_by, lasts, .. } => (
            "blocked",
            json!({"address": *counted_by == CountedBy::Address, "lasts_s": lasts.as_secs()}),
        ),
        EventKind::BudgetUnavailable => ("budget.unavailable", json!({})),
        EventKind::CredentialNotTaken => ("credential.not-taken", json!({})),
        EventKind::PersonalPath { route } => ("personal-path", json!({"route": &**route})),
        EventKind::ClockOffset { offset_seconds, .. } => ("clock-offset", json!({"offset_s": offset_seconds})),
        EventKind::RevocationGivenUp => ("revocation.given-up", json!({})),
        EventKind::CertificateExchanged { old, new, not_after } => (
            "certificate.exchanged",
            json!({"old": old.to_string(), "new": new.to_string(), "not_after": not_after.to_string()}),
        ),
        EventKind::CertificateNotTaken { code } => ("certificate.not-taken", json!({"code": code})),
        EventKind::CertificateEnding { x5t, not_after } => (
            "certificate.ending",
            json!({"x5t": x5t.to_string(), "not_after": not_after.to_string()}),
        ),
        EventKind::CertificateDue { x5t, age, due, overdue } => (
            if *overdue {
                "certificate.overdue"
            } else {
                "certificate.due-soon"
            },
            json!({"x5t": x5t.to_string(), "age_s": age.as_secs(), "due": due.to_string()}),
        ),
        EventKind::BindingOffered {
            carrier,
            environment,
            binding,
        } => (
            "binding.offered",
            json!({"carrier": carrier.as_str(), "environment": environment.as_str(), "binding": binding.as_str()}),
        ),
        EventKind::StateRolledBack { deployment, code } => (
            "state.rolled-back",
            json!({"deployment": deployment.as_str(), "code": code}),
        ),
        EventKind::AnchorAdopted { deployment, act } => (
            "state.anchor-adopted",
            json!({"deployment": deployment.as_str(), "ticket": act.ticket()}),
        ),
        EventKind::RestoreAccepted { deployment, act } => (
            "state.restore-accepted",
            json!({"deployment": deployment.as_str(), "ticket": act.ticket()}),
        ),
        EventKind::Acted { what, act } => ("acted", json!({"what": what, "ticket": act.ticket()})),
        EventKind::NonceIgnored { .. } => ("nonce.ignored", json!({})),
        EventKind::ConnectionChanged { change, revision, act } => (
            "connection.changed",
            json!({"change": change.as_str(), "revision": revision, "ticket": act.ticket()}),
        ),
        EventKind::RemovalUnfinished { step, code } => {
            ("connection.removal-unfinished", json!({"step": step, "code": code}))
        }
        EventKind::ConnectionUnreadable { number } => ("connection.unreadable", json!({"number": number})),
        EventKind::ConnectionsUnavailable => ("connections.unavailable", json!({})),
        EventKind::ConnectionsStale => ("connections.stale", json!({})),
        EventKind::AlertsUndelivered { code } => ("alerts.undelivered", json!({"code": code})),
        EventKind::RotationRun(run) => (
            "rotation.run",
            json!({
                "rotated": run.rotated,
                "failed": run.failed,
                "held": run.held,
                "waiting": run.waiting,
                "ticket": run.act.as_ref().map(|act| act.ticket()),
            }),
        ),
        EventKind::RotationBlind { code } => ("rotation.blind", json!({"code": code})),
        EventKind::Key(key) => {
            let mut data = json!({
                "key": key.key.to_string(),
                "jkt": key.jkt.to_string(),
                "purpose": key.purpose.as_str(),
                "ticket": key.act.as_ref().map(|act| act.ticket()),
            });
            add(&mut data, &key.change);
            return (format!("key.{}", key.change.as_str()), object(data));
        }
    };
    (name.to_owned(), object(data))
}

fn add(data: &mut Value, change: &KeyChange) {
    let more = match change {
        KeyChange::Made | KeyChange::Destroyed | KeyChange::Compromised => json!({}),
        KeyChange::Promoted { replaces, drain_until } => json!({
            "replaces": replaces.map(|key| key.to_string()),
            "drain_until": drain_until.to_string(),
        }),
        KeyChange::FromTheFuture { promoted } => json!({"promoted": promoted.to_string()}),
        KeyChange::HeldByGrant { age } => json!({"age_s": age.as_secs()}),
        KeyChange::DueSoon { age, due } | KeyChange::Overdue { age, due } => {
            json!({"age_s": age.as_secs(), "due": due.to_string()})
        }
        KeyChange::RotationFailed { step, code } => json!({"step": step, "code": code}),
    };
    if let (Some(data), Value::Object(more)) = (data.as_object_mut(), more) {
        data.extend(more);
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
