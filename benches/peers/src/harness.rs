//! Interleaved rounds: every case runs one batch a round, and cases are compared within the round.

use std::fmt;
use std::time::{Duration, Instant};

/// What the command line asks for.
#[derive(Debug, Clone)]
pub struct Options {
    /// One JSON object per case instead of tables.
    pub json: bool,
    /// How many rounds each table runs; figures that decide take at least 41.
    pub rounds: usize,
    /// How long a batch should take, as a share of what the case asks for.
    pub batch_scale: f64,
    /// Only tables whose name contains one of these; all when empty.
    pub filters: Vec<String>,
}

impl Options {
    /// Reads the process's arguments; prints the usage and ends the process when they make no sense.
    ///
    /// Without Cargo's `--bench` (that is, under `cargo test --benches`) the run is a quick one that only shows that everything works.
    #[must_use]
    pub fn from_args() -> Self {
        match Self::parse(lexopt::Parser::from_env()) {
            Ok(options) => options,
            Err(error) => {
                eprintln!("{error}\nusage: [--json] [--rounds N] [--quick] [TABLE...]");
                std::process::exit(2);
            }
        }
    }

    fn parse(mut arguments: lexopt::Parser) -> Result<Self, lexopt::Error> {
        use lexopt::prelude::*;
        let (mut json, mut rounds, mut quick, mut benching) = (false, None, false, false);
        let mut filters = Vec::new();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("json") => json = true,
                Long("rounds") => rounds = Some(arguments.value()?.parse::<usize>()?.max(1)),
                Long("quick") => quick = true,
                Long("bench") => benching = true,
                Value(filter) => filters.push(filter.string()?),
                other => return Err(other.unexpected()),
            }
        }
        let quick = quick || !benching;
        Ok(Self {
            json,
            rounds: rounds.unwrap_or(if quick { 5 } else { 41 }),
            batch_scale: if quick { 0.1 } else { 1.0 },
            filters,
        })
    }

    /// Whether a table of this name was asked for.
    #[must_use]
    pub fn wants(&self, table: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| table.contains(filter.as_str()))
    }
}

/// A thing to measure.
pub struct Case<'a> {
    id: String,
    batch: Duration,
    run: Box<dyn FnMut(u64) -> f64 + 'a>,
}

impl fmt::Debug for Case<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Case")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl<'a> Case<'a> {
    /// `operation` is run in a loop; the figure of a batch is the mean time of one.
    ///
    /// What it returns is kept from the optimiser and dropped inside the measured time, as a caller would.
    pub fn new<T>(id: impl Into<String>, mut operation: impl FnMut() -> T + 'a) -> Self {
        Self::batched(id, move |iterations| {
            let started = Instant::now();
            for _ in 0..iterations {
                std::hint::black_box(operation());
            }
            started.elapsed().as_nanos() as f64 / iterations as f64
        })
    }

    /// `run` does that many operations and says how many nanoseconds one took: a mean over threads, a median of latencies.
    pub fn batched(id: impl Into<String>, run: impl FnMut(u64) -> f64 + 'a) -> Self {
        Self {
            id: id.into(),
            batch: Duration::from_millis(50),
            run: Box::new(run),
        }
    }

    /// How long one batch should take; 50 ms unless told.
    #[must_use]
    pub fn batch(mut self, batch: Duration) -> Self {
        self.batch = batch;
        self
    }

    /// How many operations fill a batch. Doubles up to a tenth of it, so that this also warms up.
    fn calibrate(&mut self, scale: f64) -> u64 {
        let wanted = self.batch.as_nanos() as f64 * scale;
        let mut iterations = 1_u64;
        loop {
            // Not the time around the batch: starting threads is not what fills it.
            let one = (self.run)(iterations).max(0.1);
            if one * iterations as f64 >= wanted / 10.0 {
                return ((wanted / one) as u64).max(1);
            }
            iterations = iterations.saturating_mul(2);
        }
    }
}

/// Nanoseconds per operation of each case in each round.
#[derive(Debug, Clone)]
pub struct Measured {
    cases: Vec<(String, Vec<f64>)>,
}

/// Runs all cases, one batch each per round, each round starting with the next case.
#[must_use]
pub fn interleave(options: &Options, mut cases: Vec<Case<'_>>) -> Measured {
    let iterations: Vec<u64> = cases
        .iter_mut()
        .map(|case| case.calibrate(options.batch_scale))
        .collect();
    let mut figures = vec![Vec::with_capacity(options.rounds); cases.len()];
    for round in 0..options.rounds {
        for turn in 0..cases.len() {
            let index = (round + turn) % cases.len();
            let figure = (cases[index].run)(iterations[index]);
            figures[index].push(figure);
        }
    }
    Measured {
        cases: cases.into_iter().map(|case| case.id).zip(figures).collect(),
    }
}

impl Measured {
    /// The figures of a case, one per round.
    ///
    /// # Panics
    ///
    /// If there is no such case.
    #[must_use]
    pub fn rounds(&self, id: &str) -> &[f64] {
        let found = self.cases.iter().find(|(name, _)| name == id);
        &found.unwrap_or_else(|| panic!("no case {id}")).1
    }

    /// The names of the cases, in the order in which they were given.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.cases.iter().map(|(id, _)| id.as_str())
    }

    /// Adds a case that is computed from others of the same round.
    ///
    /// # Panics
    ///
    /// If the two cases differ in their rounds, or one of them does not exist.
    pub fn derive(&mut self, id: &str, from: [&str; 2], compute: impl Fn(f64, f64) -> f64) {
        let [left, right] = from.map(|name| self.rounds(name).to_vec());
        assert_eq!(left.len(), right.len(), "cases of one table have the same rounds");
        let figures = left
            .into_iter()
            .zip(right)
            .map(|(left, right)| compute(left, right))
            .collect();
        self.cases.push((id.to_owned(), figures));
    }

    /// The same-round ratios of a case to another.
    #[must_use]
    pub fn ratios(&self, id: &str, to: &str) -> Vec<f64> {
        self.rounds(id)
            .iter()
            .zip(self.rounds(to))
            .map(|(figure, floor)| figure / floor)
            .collect()
    }

    /// The median time of a case, in nanoseconds.
    #[must_use]
    pub fn median(&self, id: &str) -> f64 {
        quantile(self.rounds(id), 0.5)
    }

    /// The median of a case's same-round ratios to another.
    #[must_use]
    pub fn ratio(&self, id: &str, to: &str) -> f64 {
        quantile(&self.ratios(id, to), 0.5)
    }
}

/// The value below which this share of `values` lies; between two values, their mean weighted by nearness.
///
/// # Panics
///
/// If `values` is empty or holds a NaN.
#[must_use]
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(|left, right| left.partial_cmp(right).expect("no measured time is NaN"));
    let position = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[position.floor() as usize], sorted[position.ceil() as usize]);
    below + (above - below) * position.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Options {
        Options::parse(lexopt::Parser::from_args(arguments)).unwrap()
    }

    #[test]
    fn a_full_run_has_the_rounds_that_decide_and_a_test_run_has_few() {
        assert_eq!(options(&["--bench"]).rounds, 41);
        assert!(options(&["--bench", "--quick"]).rounds < 41);
        assert!(options(&[]).rounds < 41);
        assert_eq!(options(&["--bench", "--rounds", "7"]).rounds, 7);
        assert!(Options::parse(lexopt::Parser::from_args(["--jsn"])).is_err());
    }

    #[test]
    fn a_filter_keeps_tables_that_contain_it() {
        let options = options(&["tls13/64"]);
        assert!(options.wants("tls13/64/bearer") && !options.wants("http1/64/bearer"));
    }

    #[test]
    fn every_case_runs_once_a_round_and_the_order_rotates() {
        let order = std::cell::RefCell::new(Vec::new());
        let case = |id: &'static str, batch| {
            let order = &order;
            Case::batched(id, move |_| {
                order.borrow_mut().push(id);
                1.0
            })
            .batch(batch)
        };
        let cases = vec![
            case("a", Duration::ZERO),
            case("b", Duration::ZERO),
            case("c", Duration::ZERO),
        ];
        let measured = interleave(&options(&["--rounds", "3"]), cases);
        assert_eq!(order.borrow()[3..], ["a", "b", "c", "b", "c", "a", "c", "a", "b"]);
        assert!(measured.ids().all(|id| measured.rounds(id).len() == 3));
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let measured = Measured {
            cases: vec![
                ("floor".into(), vec![10.0, 100.0, 20.0]),
                ("case".into(), vec![20.0, 200.0, 30.0]),
            ],
        };
        // The medians of the times would say 30 / 20.
        assert!((measured.ratio("case", "floor") - 2.0).abs() < 1e-9);
        assert!((measured.median("floor") - 20.0).abs() < 1e-9);
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        assert!((quantile(&[4.0, 1.0, 3.0, 2.0], 0.5) - 2.5).abs() < 1e-9);
        assert!((quantile(&[1.0, 2.0], 1.0) - 2.0).abs() < 1e-9);
    }
}
