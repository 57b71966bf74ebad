//! What is printed: short lines with a little colour on a terminal, or one JSON object a line.

use std::io::IsTerminal;

use serde_json::{Value, json};
use shipbound::client::Response;
use shipbound::jose::Thumbprint;
use shipbound::owner::TenantId;
use shipbound::sandbox::Recorded;

use crate::exchange::Exchange;
use crate::shippers::Connections;
use crate::thief::Theft;

#[derive(Default)]
pub(crate) struct Output {
    json: bool,
    colour: bool,
    bought: usize,
    without_token: usize,
    refused: usize,
    stolen: usize,
    apart: usize,
    exchanged: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            colour: !json && std::io::stdout().is_terminal(),
            ..Self::default()
        }
    }

    pub(crate) fn title(&self, who: &str, what: &str) {
        if !self.json {
            println!("\n{}  {what}", self.paint("1", who));
        }
    }

    pub(crate) fn shipment(&mut self, shipper: &TenantId, x5t: Thumbprint, answer: &Response, arrived: &Recorded) {
        let report = answer.report();
        let proved = arrived.claims().and_then(|claims| claims.jkt.clone());
        let as_shown = report.x5t == arrived.certificate() && report.jkt.map(|jkt| jkt.to_string()) == proved;
        if answer.status().as_u16() == 201 && as_shown && report.x5t == Some(x5t) {
            self.bought += 1;
        }
        let tracking: Option<String> = answer
            .json::<Value>()
            .ok()
            .and_then(|body| Some(body.get("trackingNumber")?.as_str()?.to_owned()));
        if self.json {
            println!("{}", call("shipment", shipper, answer, arrived));
            return;
        }
        self.call(
            shipper,
            answer,
            arrived,
            &format!("label {}", tracking.as_deref().unwrap_or("-")),
        );
        println!(
            "              {} token, checked {}",
            arrived.scheme().unwrap_or("-"),
            arrived.checks().join(" ")
        );
    }

    pub(crate) fn without_token(&mut self, shipper: &TenantId, x5t: Thumbprint, answer: &Response, arrived: &Recorded) {
        let unsaid = arrived.header("authorization").is_none() && arrived.proof().is_none();
        if answer.status().is_success() && unsaid && arrived.certificate() == Some(x5t) {
            self.without_token += 1;
        }
        if self.json {
            println!("{}", call("call_without_token", shipper, answer, arrived));
            return;
        }
        self.call(shipper, answer, arrived, "cars, no token sent");
    }

    fn call(&self, shipper: &TenantId, answer: &Response, arrived: &Recorded, what: &str) {
        println!(
            "  {:<7} {} {what:<20} connection {:<2} {:<7}  x5t {}",
            shipper.as_str(),
            self.paint(
                if answer.status().is_success() { "32" } else { "31" },
                answer.status().as_str()
            ),
            arrived.connection(),
            kind(arrived.resumed()),
            short(arrived.certificate()),
        );
    }

    pub(crate) fn theft(&mut self, theft: &Theft) {
        let refused = theft.status == 401;
        if refused {
            self.refused += 1;
        } else {
            self.stolen += 1;
        }
        if self.json {
            let line = json!({
                "event": "theft",
                "attempt": theft.name,
                "status": theft.status,
                "error": theft.error,
                "refused": refused,
            });
            println!("{line}");
            return;
        }
        let status = self.paint(if refused { "32" } else { "31" }, &theft.status.to_string());
        let outcome = if refused {
            theft.error.as_str()
        } else {
            "a label, at acme's cost"
        };
        println!("  {:<52} {status} {outcome}", theft.told);
    }

    pub(crate) fn connections(&mut self, seen: &Connections) {
        let resumed = seen.handshakes.iter().filter(|(_, resumed)| *resumed).count();
        let full = seen.handshakes.len() - resumed;
        if seen.strangers == 0 && resumed > 0 && full > 0 {
            self.apart += 1;
        }
        if self.json {
            let handshakes = seen.handshakes.iter();
            let handshakes: Vec<_> = handshakes
                .map(|(number, resumed)| json!({"connection": number, "resumed": resumed}))
                .collect();
            let line = json!({
                "event": "connections",
                "tenant": seen.shipper.as_str(),
                "x5t": seen.x5t.to_string(),
                "handshakes": handshakes,
                "requests_on_others_connections": seen.strangers,
            });
            println!("{line}");
            return;
        }
        let handshakes = seen.handshakes.iter();
        let handshakes: Vec<_> = handshakes
            .map(|(number, resumed)| format!("{number} {}", kind(*resumed)))
            .collect();
        println!(
            "  {:<7} x5t {}  connections {}; requests on others' connections: {}",
            seen.shipper.as_str(),
            short(Some(seen.x5t)),
            handshakes.join(", "),
            seen.strangers
        );
    }

    pub(crate) fn exchange(&mut self, seen: &Exchange) {
        self.exchanged = seen.failed == 0 && seen.stale == 0 && seen.tokens == 2 && seen.resumed == Some(false);
        if self.json {
            let line = json!({
                "event": "exchange",
                "old_x5t": seen.old.to_string(),
                "new_x5t": seen.new.to_string(),
                "calls": seen.calls,
                "failed": seen.failed,
                "new_resumed": seen.resumed,
                "calls_with_old_token_since": seen.stale,
                "tokens": seen.tokens,
            });
            println!("{line}");
            return;
        }
        println!(
            "  x5t {} gave way to x5t {}",
            short(Some(seen.old)),
            short(Some(seen.new))
        );
        println!(
            "  first handshake with the new one: {}",
            seen.resumed.map_or("none", kind)
        );
        println!(
            "  {} calls, {} failed; tokens asked for: {}; calls with the old token since: {}",
            seen.calls, seen.failed, seen.tokens, seen.stale
        );
    }

    /// Whether all went as it must.
    pub(crate) fn summary(&self) -> bool {
        let ok = self.bought == 5
            && self.without_token == 2
            && self.refused == 4
            && self.stolen == 0
            && self.apart == 2
            && self.exchanged;
        if self.json {
            let line = json!({
                "event": "summary",
                "shipments": self.bought,
                "calls_without_token": self.without_token,
                "thefts_refused": self.refused,
                "thefts": self.stolen,
                "shippers_apart": self.apart == 2,
                "exchanged": self.exchanged,
                "ok": ok,
            });
            println!("{line}");
        } else {
            let verdict = if ok {
                self.paint("32", "as it must be")
            } else {
                self.paint("31", "NOT as it must be")
            };
            println!(
                "\n{} labels bought, {} thefts refused, {} succeeded: {verdict}",
                self.bought, self.refused, self.stolen
            );
        }
        ok
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// A call, and the connection that it came on.
fn call(event: &str, shipper: &TenantId, answer: &Response, arrived: &Recorded) -> Value {
    json!({
        "event": event,
        "tenant": shipper.as_str(),
        "status": answer.status().as_u16(),
        "scheme": arrived.scheme(),
        "connection": arrived.connection(),
        "handshake": kind(arrived.resumed()),
        "x5t": arrived.certificate().map(|x5t| x5t.to_string()),
        "jkt": answer.report().jkt.map(|jkt| jkt.to_string()),
        "checked": arrived.checks(),
    })
}

fn kind(resumed: bool) -> &'static str {
    if resumed { "resumed" } else { "full" }
}

fn short(x5t: Option<Thumbprint>) -> String {
    x5t.map_or("-".to_owned(), |x5t| {
        format!("{}…", x5t.to_string().chars().take(10).collect::<String>())
    })
}
