//! What is printed: a few lines of text, or one JSON object a line. No text that a server chose, and no secret.

use http::Method;
use serde_json::{Value, json};
use shipbound::Error;
use shipbound::carriers::{CarrierFault, CarrierProfile, LookUp, Replacement};
use shipbound::client::{Response, Verification};

pub(crate) struct Output {
    json: bool,
    works: bool,
    answered: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            works: false,
            answered: false,
        }
    }

    /// Whom the example talks to; `variables` are those that would change that.
    pub(crate) fn carrier(&self, profile: &CarrierProfile, is_imitation: bool, variables: &str) {
        let (id, name) = (profile.id().as_str(), profile.name());
        self.line(
            || json!({"event": "carrier", "carrier": id, "name": name, "imitation": is_imitation}),
            || match is_imitation {
                true => format!("An imitation of {name} (for {name} itself set {variables})"),
                false => format!("{name}, {} system", profile.environment().as_str()),
            },
        );
    }

    pub(crate) fn credential(&mut self, found: &Verification) {
        self.works = found.works();
        let (standing, sentence) = (found.standing().as_str(), found.to_string());
        let error = found.error().map(Error::code);
        self.line(
            || {
                json!({
                    "event": "credential",
                    "standing": standing,
                    "sentence": sentence,
                    "fault": found.fault().map(kind),
                    "error": error,
                })
            },
            || item("credential", &sentence),
        );
    }

    pub(crate) fn call(&mut self, profile: &CarrierProfile, outcome: Result<&Response, &Error>) {
        // Some carriers answer 404 for a parcel that they do not know, to who may ask.
        let proved = |answer: &Response| {
            let test = profile.how_to_test();
            answer.status().is_success() || test.is_some_and(|test| test.proved_by.contains(&answer.status()))
        };
        self.answered = outcome.is_ok_and(proved);
        let (answer, report, fault) = match outcome {
            Ok(answer) => (Some(answer), Some(answer.report()), answer.fault()),
            Err(error) => (error.response(), error.report(), error.fault()),
        };
        let status = answer.map(Response::status);
        let attempts = report.map_or(0, |report| report.attempts);
        let error = outcome.err();
        self.line(
            || {
                json!({
                    "event": "call",
                    "status": status.map(|status| status.as_u16()),
                    "attempts": attempts,
                    "fault": fault.map(kind),
                    "error": error.map(Error::code),
                })
            },
            || {
                let status = status.map_or("no answer".to_owned(), |status| status.to_string());
                let refused = fault.map_or(String::new(), |fault| format!(": {fault}"));
                let told = error.map_or(String::new(), |error| format!("; {error}: {}", error.advice()));
                item("call", &format!("{status} after {attempts} attempt(s){refused}{told}"))
            },
        );
    }

    /// What is to be done when the answer to a purchase is lost.
    pub(crate) fn look_up(&self, how: &LookUp) {
        let (name, route, words) = match how {
            LookUp::Call { method, route, by } => ("call", format!("{method} {route}, by "), by.as_ref()),
            LookUp::Repeat => (
                "repeat",
                String::new(),
                "sending it again with the same idempotency key",
            ),
            LookUp::None { instead } => ("none", "no call; ".to_owned(), instead.as_ref()),
            _ => ("unknown", String::new(), ""),
        };
        self.line(
            || json!({"event": "look_up", "how": name, "told": format!("{route}{words}")}),
            || item("look up", &format!("{route}{words}")),
        );
    }

    /// How the credential is ended and replaced.
    pub(crate) fn replacement(&self, how: &Replacement) {
        let (revoke, replace) = (how.revoke.as_ref().map(called), how.replace.as_ref().map(called));
        self.line(
            || json!({"event": "replacement", "revoke": revoke, "replace": replace, "steps": how.steps}),
            || {
                let call = |call: &Option<String>| call.clone().unwrap_or_else(|| "by hand".to_owned());
                let steps = how.steps.len();
                let told = format!("ended {}, made {}; {steps} steps", call(&revoke), call(&replace));
                item("replace", &told)
            },
        );
    }

    /// Whether all went as it must.
    pub(crate) fn summary(&self) -> bool {
        let ok = self.works && self.answered;
        self.line(
            || json!({"event": "summary", "credential": self.works, "call": self.answered, "ok": ok}),
            || if ok { "as it must be" } else { "NOT as it must be" }.to_owned(),
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

/// A name and what is told of it, in lines of at most 100 columns unless a word is longer.
fn item(name: &str, text: &str) -> String {
    let mut lines = format!("  {name:<10}");
    let mut column = lines.len();
    for word in text.split(' ') {
        if column + 1 + word.len() > 100 {
            lines.push_str("\n            ");
            column = 12;
        }
        lines.push(' ');
        lines.push_str(word);
        column += 1 + word.len();
    }
    lines
}

fn kind(fault: &CarrierFault) -> &'static str {
    fault.kind().as_str()
}

fn called((method, route): &(Method, impl AsRef<str>)) -> String {
    format!("by {method} {}", route.as_ref())
}
