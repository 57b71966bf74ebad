//! What is printed: a bar that fills, or one JSON object a line.

use std::io::{IsTerminal, Write};

use serde_json::json;
use shipbound::rotation::{Outcome, Progress};

/// How wide the bar is, in characters.
const WIDTH: u64 = 40;

pub(crate) struct Output {
    json: bool,
    is_terminal: bool,
    told: u64,
}

pub(crate) struct Summary {
    pub(crate) keys: usize,
    pub(crate) rotated: u64,
    pub(crate) failed: u64,
    pub(crate) p99_us_before: u64,
    pub(crate) p99_us_during: u64,
    pub(crate) ok: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            is_terminal: !json && std::io::stdout().is_terminal(),
            told: 0,
        }
    }

    pub(crate) fn made(&self, keys: usize, store: &str) {
        match self.json {
            true => println!("{}", json!({"event": "made", "keys": keys, "store": store})),
            false => println!("{keys} keys in {store}; shippers call meanwhile"),
        }
    }

    pub(crate) fn progress(&mut self, progress: &Progress) {
        if let Outcome::Failed { step, code } = progress.outcome {
            self.failure(step.as_str(), code, progress.failed);
        }
        let seen = progress.done + progress.failed;
        let all = (seen + progress.left).max(1);
        let percent = seen * 100 / all;
        let is_step = percent > self.told || seen == all;
        if !is_step {
            return;
        }
        self.told = percent;
        if self.is_terminal {
            let filled = usize::try_from(percent * WIDTH / 100).unwrap_or(0);
            let bar = format!("{}{}", "#".repeat(filled), ".".repeat(40 - filled));
            print!(
                "\r[{bar}] {percent:3} %  {} rotated, {} failed, {} left ",
                progress.done, progress.failed, progress.left
            );
            // A bar that cannot be shown is no reason to stop.
            let _shown = std::io::stdout().flush();
            if seen == all {
                println!();
            }
        } else if self.json {
            let (done, failed, left) = (progress.done, progress.failed, progress.left);
            println!(
                "{}",
                json!({"event": "progress", "done": done, "failed": failed, "left": left})
            );
        } else if percent.is_multiple_of(25) {
            println!("{percent:3} %  {} rotated, {} failed", progress.done, progress.failed);
        }
    }

    /// The first few failures, each by what failed.
    fn failure(&self, step: &str, code: &str, number: u64) {
        match self.json {
            true => println!("{}", json!({"event": "failure", "step": step, "code": code})),
            false if number <= 3 => println!("\na key was not rotated: {step}, {code}"),
            false => {}
        }
    }

    pub(crate) fn check(&self, holds: bool, what: &str) {
        match self.json {
            true => println!("{}", json!({"event": "check", "what": what, "holds": holds})),
            false => println!("{}  {what}", if holds { "yes" } else { "NO " }),
        }
    }

    pub(crate) fn summary(&self, of: &Summary) {
        if self.json {
            let line = json!({
                "keys": of.keys,
                "rotated": of.rotated,
                "failed": of.failed,
                "p99_us_before": of.p99_us_before,
                "p99_us_during": of.p99_us_during,
                "ok": of.ok,
            });
            println!("{line}");
            return;
        }
        let ms = |us: u64| format!("{}.{} ms", us / 1_000, us % 1_000 / 100);
        let (before, during) = (ms(of.p99_us_before), ms(of.p99_us_during));
        println!(
            "{} of {} keys rotated; 99 of 100 calls within {before} before, {during} meanwhile",
            of.rotated, of.keys
        );
    }
}
