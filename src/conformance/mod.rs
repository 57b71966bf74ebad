//! Suites that a store of anybody's can be put through: does it keep what this crate relies on?
//!
//! A suite takes a way to open the store, runs its checks against it, and gives a [`Report`]. It never panics, deletes nothing
//! that it has not made, and uses owners that no earlier run has used: it may run against a database that is not empty. What
//! it leaves behind belongs to tenants whose names begin with `conformance-`.
//!
//! Two processes are two times the same store, opened one after the other. Where a store forgets with its process it is said
//! (`within_one_process`), and what concerns the second one is left out.
//!
//! ```
//! use std::sync::Arc;
//!
//! use shipbound::clock::{ManualClock, Timestamp};
//! use shipbound::conformance::{self, KeyStores, OpenKeys};
//! use shipbound::keys::{Authority, LocalKeys, MemoryKeyRecords, RecordedKeys};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let clock = Arc::new(ManualClock::at(Timestamp::from_unix_seconds(1_800_000_000)));
//! let (records, holder) = (Arc::new(MemoryKeyRecords::new()), Arc::new(LocalKeys::new()));
//! let stores = KeyStores::new(clock.clone(), move || {
//!     let keys = RecordedKeys::new(records.clone(), holder.clone(), clock.clone(), Authority::default());
//!     async { OpenKeys::from(keys) }
//! });
//! let report = conformance::key_store(&stores).await;
//! assert!(report.has_passed(), "{report}");
//! # }
//! ```

mod credentials;
mod grants;
mod keys;
mod owners;
mod replay;
mod stores;

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

pub use self::credentials::{CredentialStores, OpenCredentials, credential_store};
pub use self::grants::{GrantStores, OpenGrants, grant_store};
pub use self::keys::{KeyStores, OpenKeys, key_store};
pub use self::replay::{ReplayLogs, replay_log};
pub use self::stores::Stores;

/// How the checks of a suite went, in their order.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Report {
    checks: Vec<(&'static str, Option<String>)>,
}

impl Report {
    /// Whether no check failed.
    pub fn has_passed(&self) -> bool {
        self.failed().next().is_none()
    }

    /// The names of all checks that ran.
    pub fn checks(&self) -> impl Iterator<Item = &'static str> {
        self.checks.iter().map(|(name, _)| *name)
    }

    /// The checks that failed, each with what was found.
    pub fn failed(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.checks
            .iter()
            .filter_map(|(name, found)| Some((*name, found.as_deref()?)))
    }

    /// Whether the check with this name failed.
    pub fn has_failed(&self, check: &str) -> bool {
        self.failed().any(|(name, _)| name == check)
    }

    async fn run(&mut self, name: &'static str, check: impl Future<Output = Outcome>) {
        self.checks.push((name, check.await.err().map(|found| found.0)));
    }
}

impl fmt::Display for Report {
    /// A line for each check that failed, or one that says how many there were.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.has_passed() {
            return write!(f, "{} checks passed", self.checks.len());
        }
        for (name, found) in self.failed() {
            writeln!(f, "{name}: {found}")?;
        }
        Ok(())
    }
}

/// What a check found.
struct Found(String);

type Outcome = Result<(), Found>;

impl<T: fmt::Display> From<T> for Found {
    fn from(found: T) -> Self {
        Self(found.to_string())
    }
}

/// What a check demands.
fn demand(holds: bool, otherwise: impl fmt::Display) -> Outcome {
    if holds { Ok(()) } else { Err(Found::from(otherwise)) }
}

/// Something that a harness does when it is told to.
type Doing<A> = Arc<dyn Fn(A) -> BoxFuture<'static, ()> + Send + Sync>;
