//! What is printed beside the pages: a line for each thing that happens, as text or as JSON.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use shipbound::Error;
use shipbound::owner::Tenant;

use crate::carrier::{Label, Seen};

pub(crate) struct Output {
    json: bool,
    connected: AtomicUsize,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            connected: AtomicUsize::new(0),
        }
    }

    pub(crate) fn listening(&self, url: &str, carrier: &str) {
        self.line(
            || json!({"event": "listening", "url": url, "carrier": carrier}),
            || format!("Open {url} in a browser to connect an account at {carrier}. Ctrl-C ends."),
        );
    }

    pub(crate) fn connected(&self, shipper: &Tenant) {
        self.connected.fetch_add(1, Ordering::Relaxed);
        let id = shipper.id().as_str();
        self.line(
            || json!({"event": "connected", "tenant": id}),
            || format!("{id:<12} has consented, and the code was exchanged"),
        );
    }

    pub(crate) fn not_connected(&self, shipper: &Tenant, error: &Error) {
        let id = shipper.id().as_str();
        let cause = std::error::Error::source(error).map(ToString::to_string);
        self.line(
            || json!({"event": "not_connected", "tenant": id, "error": error.code(), "cause": cause}),
            || {
                format!(
                    "{id:<12} is not connected: {error}: {}",
                    cause.as_deref().unwrap_or("-")
                )
            },
        );
    }

    pub(crate) fn label(&self, shipper: &Tenant, label: &Label) {
        let (id, token) = (shipper.id().as_str(), label.token.name());
        self.line(
            || {
                json!({
                    "event": "label",
                    "tenant": id,
                    "status": label.status,
                    "tracking_number": label.tracking,
                    "token": token,
                })
            },
            || {
                format!(
                    "{id:<12} {} label {} with the {token} token",
                    label.status, label.tracking
                )
            },
        );
    }

    pub(crate) fn not_bought(&self, shipper: &Tenant, error: &Error) {
        let id = shipper.id().as_str();
        self.line(
            || json!({"event": "label", "tenant": id, "error": error.code()}),
            || format!("{id:<12} no label: {error}"),
        );
    }

    /// Whether all went as it must: an account was connected, a label bought with its first token, another after a refresh.
    pub(crate) fn summary(&self, seen: &Seen) -> bool {
        let connected = self.connected.load(Ordering::Relaxed);
        let ok = connected > 0
            && (seen.codes, seen.refreshes) == (connected, connected)
            && (seen.labels, seen.tokens) == (2 * connected, 2 * connected);
        self.line(
            || {
                json!({
                    "event": "summary",
                    "connected": connected,
                    "codes": seen.codes,
                    "refreshes": seen.refreshes,
                    "labels": seen.labels,
                    "tokens": seen.tokens,
                    "ok": ok,
                })
            },
            || {
                let verdict = if ok { "as it must be" } else { "NOT as it must be" };
                format!(
                    "{connected} connected, {} labels bought, {} refreshes: {verdict}",
                    seen.labels, seen.refreshes
                )
            },
        );
        ok
    }

    fn line(&self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) {
        if self.json {
            println!("{}", json());
        } else {
            println!("{}", text());
        }
    }
}
