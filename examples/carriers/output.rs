//! What is printed: a table, or one JSON object a line.

use std::io::IsTerminal;

use serde_json::json;

use crate::tried::Row;

pub(crate) struct Output {
    json: bool,
    colour: bool,
    carriers: usize,
    failed: Vec<String>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            colour: !json && std::io::stdout().is_terminal(),
            carriers: 0,
            failed: Vec::new(),
        }
    }

    pub(crate) fn head(&self) {
        if !self.json {
            println!(
                "Nobody real is called. Carriers with a * are not imitated: what answers them is made up for this table.\n"
            );
            println!(
                "{}",
                line([
                    "carrier",
                    "api",
                    "credential",
                    "binding",
                    "ttl",
                    "probe",
                    "call",
                    "throttled"
                ])
            );
        }
    }

    pub(crate) fn row(&mut self, row: &Row) {
        self.carriers += 1;
        if !row.ok() {
            self.failed.push(row.carrier.clone());
        }
        if self.json {
            let line = json!({
                "carrier": row.carrier,
                "api": row.api,
                "imitated": row.imitated,
                "credential": row.credential,
                "binding": row.binding,
                "ttl_s": row.ttl_s,
                "probe": row.probe,
                "call": row.call,
                "throttled": row.throttled,
                "ok": row.ok(),
            });
            println!("{line}");
            return;
        }
        let carrier = format!("{}{}", row.carrier, if row.imitated { "" } else { " *" });
        let ttl = row.ttl_s.map_or("-".to_owned(), |seconds| format!("{seconds} s"));
        let cells = [
            &*carrier,
            row.api,
            row.credential,
            &row.binding,
            &ttl,
            row.probe,
            &row.call,
            &row.throttled,
        ];
        println!("{}", self.paint(if row.ok() { "0" } else { "31" }, &line(cells)));
    }

    /// Whether all went as it must.
    pub(crate) fn summary(&self) -> bool {
        let ok = self.failed.is_empty() && self.carriers > 0;
        if self.json {
            println!(
                "{}",
                json!({"event": "summary", "profiles": self.carriers, "failed": self.failed, "ok": ok})
            );
        } else {
            println!(
                "\n{} profiles, {} not as they must be. Not in the table, since an assertion key of the shipper's is needed: iSHARE, \
                 Maskinporten.",
                self.carriers,
                self.failed.len()
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

fn line([carrier, api, credential, binding, ttl, probe, call, throttled]: [&str; 8]) -> String {
    format!("{carrier:<25} {api:<26} {credential:<21} {binding:<7} {ttl:>8}  {probe:<12} {call:<5} {throttled}")
}
