//! What is printed: aligned lines with a little colour on a terminal, or one JSON object a line.

use std::io::IsTerminal;

use serde_json::json;
use shipbound::client::Response;
use shipbound::owner::TenantId;
use shipbound::sandbox::Recorded;

use crate::thief::Theft;

pub(crate) struct Output {
    json: bool,
    colour: bool,
    shipments: usize,
    bought: usize,
    refused: usize,
    stolen: usize,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let colour = !json && std::io::stdout().is_terminal();
        Self {
            json,
            colour,
            shipments: 0,
            bought: 0,
            refused: 0,
            stolen: 0,
        }
    }

    pub(crate) fn title(&self, who: &str, what: &str) {
        if !self.json {
            println!("\n{}  {what}", self.paint("1", who));
        }
    }

    pub(crate) fn shipment(&mut self, shipper: &TenantId, answer: &Response, arrived: &Recorded) {
        self.shipments += 1;
        let claims = arrived.claims().cloned().unwrap_or_default();
        let tracking: Option<String> = answer
            .json::<serde_json::Value>()
            .ok()
            .and_then(|body| Some(body.get("trackingNumber")?.as_str()?.to_owned()));
        let jkt = answer.report().jkt.map(|jkt| jkt.to_string()).unwrap_or_default();
        if answer.status().as_u16() == 201 && arrived.accepted() && claims.jkt.as_deref() == Some(jkt.as_str()) {
            self.bought += 1;
        }
        if self.json {
            let line = json!({
                "event": "shipment",
                "tenant": shipper.as_str(),
                "status": answer.status().as_u16(),
                "tracking_number": tracking,
                "scheme": arrived.scheme(),
                "jkt": jkt,
                "proof": { "htm": claims.htm, "htu": claims.htu, "iat": claims.iat, "jti": claims.jti, "ath": claims.ath },
                "checked": arrived.checks(),
            });
            println!("{line}");
            return;
        }
        let short = |text: &Option<String>| text.as_deref().unwrap_or("-").chars().take(10).collect::<String>();
        let status = self.paint("32", answer.status().as_str());
        println!(
            "  {:<7} {status} label {}",
            shipper.as_str(),
            tracking.as_deref().unwrap_or("-")
        );
        println!(
            "          sent     {} token · proof by key {}…",
            arrived.scheme().unwrap_or("-"),
            short(&Some(jkt))
        );
        println!(
            "                   htm {} · htu {}",
            claims.htm.as_deref().unwrap_or("-"),
            claims.htu.as_deref().unwrap_or("-")
        );
        println!(
            "                   jti {}… · ath {}…",
            short(&claims.jti),
            short(&claims.ath)
        );
        println!("          checked  {}", arrived.checks().join(" "));
    }

    pub(crate) fn theft(&mut self, theft: &Theft) {
        let refused = theft.status >= 400;
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
        println!("  {:<46} {status} {outcome}", theft.told);
    }

    /// Whether all went as it must.
    pub(crate) fn summary(&self) -> bool {
        let ok = self.shipments == 2 && self.bought == self.shipments && self.stolen == 0 && self.refused == 6;
        if self.json {
            let line = json!({
                "event": "summary",
                "shipments": self.bought,
                "thefts_refused": self.refused,
                "thefts": self.stolen,
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
