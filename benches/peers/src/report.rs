//! What a run says: a table or JSON lines on standard output, goals on standard error.

use crate::harness::{Measured, Options, quantile};

/// Prints what one benchmark measured.
#[derive(Debug)]
pub struct Report<'a> {
    bench: &'static str,
    options: &'a Options,
}

impl<'a> Report<'a> {
    /// A report of the benchmark of this name.
    #[must_use]
    pub fn new(bench: &'static str, options: &'a Options) -> Self {
        Self { bench, options }
    }

    /// Prints `rows` of `measured`: what each is called in the table, and which case it is. The first is the floor of the ratios.
    pub fn table(&self, table: &str, measured: &Measured, rows: &[(&str, &str)]) {
        let Some((_, floor)) = rows.first() else { return };
        if !self.options.json {
            println!("\n{} {table} ({} rounds)", self.bench, measured.rounds(floor).len());
            println!(
                "{:<28} {:>12} {:>12} {:>9} {:>17}",
                "", "median ns", "p10 ns", "ratio", "ratio p25..p75"
            );
        }
        for (id, case) in rows {
            let (times, ratios) = (measured.rounds(case), measured.ratios(case, floor));
            let (median, ratio) = (quantile(times, 0.5), quantile(&ratios, 0.5));
            if self.options.json {
                let line = serde_json::json!({
                    "bench": self.bench, "table": table, "id": id, "rounds": times.len(),
                    "median_ns": rounded(median, 1), "p10_ns": rounded(quantile(times, 0.1), 1), "ratio": rounded(ratio, 4),
                });
                println!("{line}");
            } else {
                let (low, high) = (quantile(&ratios, 0.25), quantile(&ratios, 0.75));
                println!(
                    "{id:<28} {median:>12.1} {:>12.1} {ratio:>9.3} {:>17}",
                    quantile(times, 0.1),
                    format!("{low:.3}..{high:.3}")
                );
            }
        }
    }

    /// Says whether a goal was met: `value` at most `limit`.
    pub fn at_most(&self, what: &str, value: f64, limit: f64) {
        verdict(what, value, "at most", limit, value <= limit);
    }

    /// Says whether a goal was met: `value` at least `limit`.
    pub fn at_least(&self, what: &str, value: f64, limit: f64) {
        verdict(what, value, "at least", limit, value >= limit);
    }
}

fn verdict(what: &str, value: f64, relation: &str, limit: f64, met: bool) {
    let met = if met { "met" } else { "MISSED" };
    eprintln!("goal {met}: {what} = {value:.3}, {relation} {limit}");
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}
